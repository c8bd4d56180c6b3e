"""Behind the log: decode what is durable, and put it into the store's files so that each message counts once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from cryptoquant.data.decode import Decoded, decode
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.message import is_heard
from cryptoquant.data.segment import HEAD_SIZE, Record, RecordKind, position
from cryptoquant.data.store import Store

CHUNK_BYTES = 2 << 20
MANY_BYTES = CHUNK_BYTES // 4
MOST_ROWS = 1_000_000
STAMPED = {"trades", "quotes", "bars"}


@dataclass(slots=True)
class Published:
    """What a publisher has counted: messages decoded, those in quarantine, bars before their close, rows by kind."""

    messages: int = 0
    rejected: int = 0
    early: int = 0
    written: dict[str, int] = field(default_factory=dict)


class Publisher:
    """Follows the log and publishes its rows.

    What it holds in memory it can read again: a row counts once the store's manifest has the files of all rows up to a
    record, together with the number of that record, in one line. Only then does a segment of the log go.

    Parameters
    ----------
    on_decoded
        Called with each decoded chunk, in the publisher's thread.

    Attributes
    ----------
    received
        When the last decoded frame was received that shows that the stream was heard (ns UTC): with data, or the
        confirmation of a subscription. Pages of history and what else the connection says of itself show nothing.
    latest
        The newest time of the venue among the trades, quotes and bars that were decoded (ns UTC).
    """

    def __init__(
        self, store: Store, log: Log, reader: LogReader, *, on_decoded: Callable[[Decoded], None] = lambda decoded: None
    ) -> None:
        self.store, self.log, self.counts = store, log, Published()
        self.received = self.latest = 0
        self._reader, self._on_decoded = reader, on_decoded
        self._ahead: list[Record] = []
        self._last = reader.last
        self._rows: dict[str, list[pl.DataFrame]] = {}
        self._height = 0
        self._turn = threading.Lock()

    @property
    def decoded(self) -> int:
        """The last record that was decoded."""
        return self._last

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait that they should be published now."""
        return self._height >= MOST_ROWS

    def decode(self) -> int:
        """Decode the next durable records, about two megabytes at most; return how many bytes of the log they are."""
        with self._turn:
            return self._decode()

    def _decode(self) -> int:
        durable = self.log.durable
        records = self._ahead or self._reader.read(CHUNK_BYTES)
        count = sum(record.sequence <= durable for record in records)
        self._ahead = records  # whatever happens now, nothing that was read is passed over
        records, ahead = records[:count], records[count:]
        if not records:
            return 0
        decoded = decode(records)
        self._ahead = ahead
        for kind, frame in decoded.frames.items():
            self._rows.setdefault(kind, []).append(frame)
            self._height += frame.height
        self._last = records[-1].sequence
        said = (r.received for r in reversed(records) if r.kind == RecordKind.FRAME and is_heard(r.payload))
        self.received = max(self.received, next(said, 0))
        for kind in STAMPED & decoded.frames.keys():
            newest: int = decoded.frames[kind]["time"].to_physical().max()  # type: ignore[assignment]
            self.latest = max(self.latest, newest)
        self.counts.messages += decoded.messages
        self.counts.early += decoded.early
        self.counts.rejected += decoded.frames["quarantine"].height if "quarantine" in decoded.frames else 0
        self._on_decoded(decoded)
        return sum(HEAD_SIZE + len(record.payload) for record in records)

    def publish(self) -> None:
        """Put the decoded rows into the store; when that fails they are kept for the next time.

        Raises
        ------
        StoreError, OSError
            The store cannot be written.
        """
        with self._turn:
            self._publish()

    def _publish(self) -> None:
        published = self.store.published
        frames = {kind: pl.concat(parts) for kind, parts in self._rows.items()}
        is_new = self._last > published
        if is_new:
            # A write that failed may count all the same; what it published must not be published again.
            behind = pl.col("position") >= position(published + 1, 0)
            rest = {kind: frame.filter(behind) for kind, frame in frames.items()}
            self.store.publish_recent(rest, self._last, self.received)
        for kind, frame in frames.items():
            self.counts.written[kind] = self.counts.written.get(kind, 0) + frame.height
        self._rows, self._height = {}, 0
        if is_new:
            self.log.drop(self._last)

    def drain(self) -> None:
        """Decode and publish all that is durable now."""
        with self._turn:
            durable = self.log.durable
            while self._last < durable and self._decode():
                if self.is_full:
                    self._publish()
            self._publish()
