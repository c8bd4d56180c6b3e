"""The live stream into the store: receive at once, decode later, count everything."""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import polars as pl

from cryptoquant.data.alpaca import Alpaca, ender, run_stream
from cryptoquant.data.decode import CHANNELS, Rejected, decode
from cryptoquant.data.store import Store
from cryptoquant.errors import AuthenticationError, CryptoquantError, StoreError, VenueError, VenueUnreachableError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.time import iso

Channel = Literal["trades", "quotes", "bars", "updatedBars", "orderbooks"]
ALL_CHANNELS: tuple[Channel, ...] = ("trades", "quotes", "bars", "orderbooks")
QUEUE_LIMIT = 1_000_000
CONNECT_ATTEMPTS = 5
BATCH = 20_000
SILENT_AFTER = timedelta(minutes=3)
FATAL: dict[str, tuple[str, ...]] = {
    "failed": ("auth failed", "not authenticated", "insufficient", "HTTP 401", "HTTP 403"),
    "error": ("402 ", "409 ", "411 "),
}


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """The counters of a recorder.

    Attributes
    ----------
    received
        Messages taken from the stream: each is written, rejected, dropped, or still queued.
    written
        Rows in the store by kind; an order book message has one row a level.
    rejected
        Messages that could not be read; they are kept in ``quarantine.jsonl`` of the store.
    dropped
        Messages lost because the queue was full.
    early
        Bars received before their close by a clock that lags; ``known`` was set to the close.
    reconnects
        Connections after the first, also those made because a stream with minute bars was silent for three minutes;
        each is a gap, listed in ``gaps.jsonl`` of the store.
    last_known
        Receive time of the newest message (ns UTC), or 0.
    """

    is_running: bool
    is_connected: bool
    is_subscribed: bool
    received: int
    written: dict[str, int]
    queued: int
    rejected: int
    dropped: int
    early: int
    reconnects: int
    last_known: int
    errors: tuple[str, ...]


@dataclass(slots=True)
class Counters:
    """What a recorder counts while it runs."""

    is_connected: bool = False
    is_subscribed: bool = False
    connects: int = 0
    attempts: int = 0
    received: int = 0
    rejected: int = 0
    dropped: int = 0
    early: int = 0
    last_known: int = 0
    written: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class Recorder:
    """Records a live stream in threads of its own, so that it also works inside a running event loop.

    Parameters
    ----------
    store
        Where rows go; each flush is seen by readers completely or not at all.
    symbols
        Pairs.
    source
        The venue or a sandbox.
    channels
        Of ``trades``, ``quotes``, ``bars`` (minutes), ``updatedBars`` and ``orderbooks``.
    flush_every
        How often rows are published. What was received since the last flush is lost when the process is killed.
    clock
        Receive time in nanoseconds UTC.

    Raises
    ------
    ValueError
        A channel is unknown, or there are no symbols.
    """

    def __init__(
        self,
        store: Store,
        symbols: str | Sequence[str],
        source: Alpaca,
        *,
        channels: Sequence[Channel] = ALL_CHANNELS,
        flush_every: timedelta = timedelta(seconds=30),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        unknown = [channel for channel in channels if channel not in CHANNELS]
        if unknown or not channels:
            raise ValueError(f"channels: found {unknown or 'none'}, wanted some of {', '.join(CHANNELS)}")
        if not names:
            raise ValueError("symbols: found none, wanted at least one pair such as BTC/USD")
        self.store, self.source, self.clock = store, source, clock
        self.symbols = tuple(normalize_symbol(name) for name in names)
        self.channels, self.flush_every = tuple(channels), flush_every
        self.failure: CryptoquantError | None = None
        self._flushing = threading.Lock()
        self._count = Counters()
        self._queue: queue.Queue[tuple[int, Any]] = queue.Queue(maxsize=QUEUE_LIMIT)
        self._unwritten: dict[str, list[Any]] = {}
        self._ending, self._ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._cancel: Callable[[], None] = lambda: None

    def start(self) -> "Recorder":
        """Start receiving and writing in the background; a second call changes nothing."""
        if not self._threads:
            for work in (self._receive, self._write_on):
                thread = threading.Thread(target=work, name=f"recorder{work.__name__}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def status(self) -> RecorderStatus:
        """Return the counters as they are now."""
        count = self._count
        failure = () if self.failure is None else (str(self.failure),)
        return RecorderStatus(
            is_running=bool(self._threads) and not self._ended.is_set(),
            is_connected=count.is_connected,
            is_subscribed=count.is_subscribed,
            received=count.received,
            written=dict(count.written),
            queued=self._queue.qsize(),
            rejected=count.rejected,
            dropped=count.dropped,
            early=count.early,
            reconnects=max(0, count.connects - 1),
            last_known=count.last_known,
            errors=(*count.errors, *failure),
        )

    def stop(self) -> RecorderStatus:
        """Stop receiving, write everything that was received, and return the final counters.

        Raises
        ------
        StoreError
            What was received cannot be written.
        """
        self._ending.set()
        self._cancel()
        for thread in self._threads:
            thread.join()
        if isinstance(self.failure, StoreError):
            raise self.failure
        return self.status()

    def run(self, until: timedelta | None = None) -> RecorderStatus:
        """Record until the time is over, the stream fails for good or the user interrupts; return the counters.

        Raises
        ------
        AuthenticationError, VenueUnreachableError
            The stream could not be opened; what was received before is written.
        """
        self.start()
        try:
            self._ended.wait(None if until is None else until.total_seconds())
        except KeyboardInterrupt:
            self._count.errors.append("interrupted by the user")
        final = self.stop()
        if self.failure is not None:
            raise self.failure
        return final

    def take(self, message: Any) -> None:
        """Take one raw message, stamped with the clock, without waiting."""
        known = self.clock()
        count = self._count
        count.received += 1
        count.last_known = known
        try:
            self._queue.put_nowait((known, message))
        except queue.Full:
            count.dropped += 1

    def flush(self) -> None:
        """Decode and publish what is queued; rows that cannot be written now are kept for the next flush."""
        with self._flushing:
            while not self._queue.empty():
                decoded = decode([self._queue.get_nowait() for _ in range(min(BATCH, self._queue.qsize()))])
                self._count.early += decoded.early
                self._quarantine(decoded.rejected)
                for kind, frame in decoded.frames.items():
                    self._unwritten.setdefault(kind, []).append(frame)
            for kind in list(self._unwritten):
                self._publish(kind)

    def _publish(self, kind: str) -> None:
        frame = pl.concat(self._unwritten[kind])
        rows = self.store.write(kind, frame, source="alpaca stream")
        self._count.written[kind] = self._count.written.get(kind, 0) + rows
        del self._unwritten[kind]

    def _quarantine(self, rejected: Sequence[Rejected]) -> None:
        lines = [{"known": iso(r.known), "reason": r.reason, "message": r.message} for r in rejected]
        self._append("quarantine.jsonl", lines)
        self._count.rejected += len(rejected)

    def _append(self, name: str, lines: Sequence[dict[str, Any]]) -> None:
        if lines:
            self.store.create()
            with (self.store.root / name).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, default=repr) + "\n" for line in lines)

    def _write_on(self) -> None:
        while not self._ended.wait(self.flush_every.total_seconds()):
            self._try_flush(is_last=False)
        self._try_flush(is_last=True)

    def _try_flush(self, *, is_last: bool) -> None:
        try:
            self.flush()
        except (CryptoquantError, OSError) as error:
            self._count.errors.append(f"{iso(self.clock())} cannot write: {error}")
            if is_last:
                self.failure = StoreError(
                    f"store {self.store.root}: {self._queue.qsize()} messages not written: {error}"
                )

    def _receive(self) -> None:
        try:
            asyncio.run(self._stream())
        except asyncio.CancelledError:
            pass
        except (CryptoquantError, OSError, ValueError) as error:
            self.failure = error if isinstance(error, CryptoquantError) else VenueError(f"stream: {error}")
        finally:
            self._count.is_connected = self._count.is_subscribed = False
            self._ended.set()

    async def _stream(self) -> None:
        is_regular = "bars" in self.channels
        stream = self.source.data_stream(self._note, silent_after=SILENT_AFTER if is_regular else None)

        async def handle(message: Any) -> None:
            self.take(message)

        subscribe = {
            "trades": stream.subscribe_trades,
            "quotes": stream.subscribe_quotes,
            "bars": stream.subscribe_bars,
            "updatedBars": stream.subscribe_updated_bars,
            "orderbooks": stream.subscribe_orderbooks,
        }
        for channel in self.channels:
            subscribe[channel](handle, *self.symbols)

        self._cancel = ender()
        if not self._ending.is_set():
            await run_stream(stream)

    def _note(self, event: str, text: str) -> None:
        """Take an event of the connection: count it, record a gap, or end the recording when it cannot go on."""
        count, where = self._count, self.source.data_stream_url or "Alpaca"
        if event == "connected":
            if count.connects and count.last_known:
                gap = {"start": iso(count.last_known), "end": iso(self.clock()), "symbols": list(self.symbols)}
                self._append("gaps.jsonl", [gap | {"channels": list(self.channels)}])
            count.is_connected, count.connects, count.attempts = True, count.connects + 1, 0
            return
        if event == "closed":
            count.is_connected = count.is_subscribed = False
        if event == "subscribed":
            count.is_subscribed = True
        if event in ("closed", "subscribed"):
            return
        count.errors.append(f"{iso(self.clock())} {event}: {text}")
        count.attempts += event == "failed"
        if any(reason in text for reason in FATAL.get(event, ())):
            self.failure = AuthenticationError(f"{where}: keys refused: {text}")
        elif not count.connects and count.attempts >= CONNECT_ATTEMPTS:
            self.failure = VenueUnreachableError(f"{where}: no connection in {count.attempts} attempts: {text}")
        if self.failure is not None:
            self._cancel()


def record(
    store: Store,
    symbols: str | Sequence[str],
    source: Alpaca,
    *,
    channels: Sequence[Channel] = ALL_CHANNELS,
    until: timedelta | None = None,
    flush_every: timedelta = timedelta(seconds=30),
) -> RecorderStatus:
    """Record the live stream into the store until the time is over or the user interrupts; return the counters.

    See `Recorder` for the parameters and `Recorder.run` for the errors.
    """
    return Recorder(store, symbols, source, channels=channels, flush_every=flush_every).run(until)
