"""Taking part in what a recorder hears: in its own process, or in another by following its log."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.events import Event, events
from cryptoquant.data.log import Cipher
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.market.instrument import normalize_symbol

LIMIT_BYTES = 16 << 20
Kinds = Collection[str] | None


class Subscription:
    """The stream as events, for a consumer in a thread of the recorder's process.

    Frames wait undecoded; the consumer's own thread decodes them in `next`. A consumer that is too slow loses the
    oldest frames, which are counted, and never slows the recorder.

    Parameters
    ----------
    kinds, symbols
        What to give; None for all.
    limit_bytes
        How much may wait for the consumer.
    history
        Whether pages of the venue's history, by which gaps are filled, are given too; see
        `cryptoquant.data.events.events`. By default only what comes over the stream is, each message once and in order.
    forward
        Takes each record at once, in the recorder's thread, in the place of `next`; it must not wait.

    Attributes
    ----------
    dropped
        Frames that were dropped because ``limit_bytes`` waited.
    """

    def __init__(
        self,
        kinds: Kinds = None,
        symbols: Collection[str] | None = None,
        *,
        limit_bytes: int = LIMIT_BYTES,
        history: bool = False,
        forward: Callable[[Record], None] | None = None,
        on_close: Callable[["Subscription"], None] = lambda subscription: None,
    ) -> None:
        self.kinds, self.symbols, self.history = kinds, _pairs(symbols), history
        self.dropped = 0
        self._forward = forward
        self._limit, self._bytes = limit_bytes, 0
        self._records: deque[Record] = deque()
        self._arrived = threading.Condition()
        self._is_closed = False
        self._on_close = on_close

    def push(self, record: Record) -> None:
        """Take a record from the recorder, without waiting for the consumer; one that holds no events is left."""
        if record.kind != RecordKind.FRAME and not (self.history and record.kind == RecordKind.PAGE):
            return
        if self._forward is not None:
            self._forward(record)
            return
        with self._arrived:
            self._records.append(record)
            self._bytes += len(record.payload)
            while self._bytes > self._limit and len(self._records) > 1:
                self._bytes -= len(self._records.popleft().payload)
                self.dropped += 1
            self._arrived.notify()

    def next(self, timeout: float | None = None) -> list[Event]:
        """Return the events that came since the last call, waiting up to ``timeout`` seconds for the first.

        An empty list means that none came in time, that what came was not asked for, or that the subscription is
        closed.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._records or self._is_closed, timeout)
            records, self._records, self._bytes = list(self._records), deque(), 0
        return events(records, self.kinds, self.symbols, history=self.history)

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the subscription is closed."""
        while not self._is_closed or self._records:
            yield from self.next(0.5)

    def close(self) -> None:
        """End the subscription; what has arrived can still be taken."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify_all()
        self._on_close(self)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Follower:
    """The stream as events, for another process on the same machine: it reads the recorder's log as it grows.

    The recorder does not know of it and is not slowed. A follower sees a message a few milliseconds after the recorder
    has received it, possibly before it is durable: a power cut may take it back, the death of the recorder not.

    Parameters
    ----------
    root
        Folder of the store.
    kinds, symbols
        What to give; None for all.
    after
        Sequence of the log after which to begin.
    history
        As for `Subscription`: by default only what came over the stream.
    """

    def __init__(
        self,
        root: Path,
        kinds: Kinds = None,
        symbols: Collection[str] | None = None,
        *,
        after: int = 0,
        history: bool = False,
        cipher: Cipher | None = None,
    ) -> None:
        self.kinds, self.symbols, self.history = kinds, _pairs(symbols), history
        self._reader = LogReader(LocalDisk(root), after=after, cipher=cipher)

    @property
    def last(self) -> int:
        """The sequence of the last record that was read."""
        return self._reader.last

    @property
    def missed(self) -> int:
        """Records that the recorder had published and removed before this follower came to them."""
        return self._reader.missed

    def next(self, timeout: float = 1.0) -> list[Event]:
        """Return the next events, or none when no record came in ``timeout`` seconds or only such as have none."""
        return events(self._reader.follow(timeout), self.kinds, self.symbols, history=self.history)

    def records(self, timeout: float = 1.0) -> list[Record]:
        """Return the next records of the log as they are, or none when none came in ``timeout`` seconds."""
        return self._reader.follow(timeout)

    def __iter__(self) -> Iterator[Event]:
        """Yield events for ever."""
        while True:
            yield from self.next()

    def close(self) -> None:
        """Give the files back."""
        self._reader.close()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pairs(symbols: Collection[str] | None) -> frozenset[str] | None:
    if symbols is None:
        return None
    return frozenset(normalize_symbol(name) for name in ([symbols] if isinstance(symbols, str) else symbols))
