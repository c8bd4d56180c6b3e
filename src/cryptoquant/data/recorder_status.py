"""What a recorder is asked to do, and what it says of itself."""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

LONGEST_LIST = 100


@dataclass(frozen=True)
class RecorderOptions:
    """How a recorder works.

    Parameters
    ----------
    flush_every
        How often decoded rows become files. Nothing depends on it but the size of the tail that reads decode: what was
        received is durable within milliseconds.
    compact_every
        How often recent files are merged into daily ones, None for never.
    backfill
        Whether outages are filled from the venue's history.
    backfill_after
        How long after an outage; by default a minute, in a sandbox at once.
    segment_bytes, limit_bytes
        Size of a file of the log, and how much may wait in memory for a slow disk.
    linger
        How long a frame waits before it is written to the log, twice as long at most; by default not at all. Who
        trades on the frames in the same process has interpreter and disk for itself meanwhile; what a ``kill -9``
        takes is a gap that the next recorder fills.
    """

    flush_every: timedelta = timedelta(seconds=10)
    compact_every: timedelta | None = timedelta(minutes=15)
    backfill: bool = True
    backfill_after: timedelta | None = None
    segment_bytes: int = 64 << 20
    limit_bytes: int = 256 << 20
    linger: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """The counters of a recorder.

    Attributes
    ----------
    frames, frame_bytes
        Frames taken from the stream, control messages included.
    received
        Data messages decoded so far, also from pages of history: each is in the store or about to be, the unreadable
        ones in its quarantine.
    written
        Rows in the store's files by kind; an order book message has one row a level.
    queued
        Records that are durable but not decoded yet; ``waiting_bytes`` wait for the disk.
    dropped
        Frames that could not be kept because the disk was too slow for too long; the connection is closed then, and
        the gap recorded.
    rejected
        Messages in quarantine.
    minutes, short
        Minutes whose bars were compared with the trades that came, and those of which trades were missing: each is a
        gap in the ledger and fetched again.
    early
        Bars received before their close by a clock that lags; ``known`` was set to the close.
    reconnects
        Connections after the first; each is a gap in the ledger (`Store.gaps`).
    open_gaps
        Gaps that are still to be filled.
    rate
        Messages per second, over the last seconds.
    lag
        Seconds from the venue's stamp to the receipt of the newest trades and quotes, the middle one; ``skew`` is the
        smallest seen lately: below zero, this machine's clock is behind the venue's by at least so much.
    clock_steps
        How often the clock of this machine jumped by more than a tenth of a second.
    last_known
        Receive time of the newest frame (ns UTC), or 0.
    error_count, errors
        How many troubles there were, and the last hundred in words; each is a warning of the logger
        ``cryptoquant.recorder`` too.
    """

    is_running: bool
    is_connected: bool
    is_subscribed: bool
    frames: int
    frame_bytes: int
    received: int
    written: dict[str, int]
    queued: int
    waiting_bytes: int
    dropped: int
    rejected: int
    minutes: int
    short: int
    early: int
    reconnects: int
    open_gaps: int
    rate: float
    lag: float
    skew: float
    clock_steps: int
    last_known: int
    error_count: int
    errors: tuple[str, ...]

    @property
    def line(self) -> str:
        """The status in one line for a person."""
        state = "recording" if self.is_subscribed else "connecting" if self.is_running else "stopped"
        rows = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.written.items())) or "no rows yet"
        said = f"{state}: {self.received:,} messages ({self.rate:,.0f}/s), {rows}; lag {self.lag * 1e3:,.0f} ms"
        troubles = {
            "reconnects": self.reconnects,
            "open gaps": self.open_gaps,
            "in quarantine": self.rejected,
            "dropped": self.dropped,
            "short minutes": self.short,
        }
        return said + "".join(f", {count:,} {name}" for name, count in troubles.items() if count)


@dataclass(slots=True)
class Counters:
    """What the threads of a recorder count; each field is written by one of them."""

    is_connected: bool = False
    is_subscribed: bool = False
    connects: int = 0
    attempts: int = 0
    frames: int = 0
    frame_bytes: int = 0
    dropped: int = 0
    minutes: int = 0
    short: int = 0
    last_known: int = 0
    clock_steps: int = 0
    rate: float = 0.0
    lag: float = 0.0
    skew: float = 0.0
    error_count: int = 0
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=LONGEST_LIST))
