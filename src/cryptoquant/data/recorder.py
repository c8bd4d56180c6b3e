"""The live stream into the store: on disk first, decoded behind it, watched for silence, every gap accounted for."""

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path

import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.backfill import Backfill, delay_of
from cryptoquant.data.clock import stamps_of
from cryptoquant.data.decode import Decoded
from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.encryption import opening, sealing
from cryptoquant.data.gaps import Gap, outage
from cryptoquant.data.lease import Lease
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.publisher import MANY_BYTES, Publisher
from cryptoquant.data.receiver import KIND_OF_CHANNEL, Channel, Receiver
from cryptoquant.data.recorder_status import Counters, RecorderOptions, RecorderStatus
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store
from cryptoquant.data.subscription import LIMIT_BYTES, Subscription
from cryptoquant.data.supervisor import Supervisor
from cryptoquant.errors import CryptoquantError, StoreError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.settings import settings

ALL_CHANNELS: tuple[Channel, ...] = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "orderbooks")
ROUND_SECONDS = 0.05
CHECK_SECONDS = 5.0
CONNECTION_BITS, GAP_BITS = 12, 32
"""Connections and gaps are numbered from the epoch of the recorder on, so that those of two recorders differ."""


class Recorder:
    """Records a live stream in threads of its own, so that it also works inside a running event loop.

    A frame is appended to a log in the store's folder before anything else is done with it, and is durable within
    milliseconds. Behind the log it is decoded and published to the store's files, each message exactly once, also when
    the process is killed in between. Readers of the store see it at once: what is not in a file yet they read from the
    log. A lost connection, a silent channel and the time between two recorders are rows of the gap ledger; trades,
    quotes and bars of a gap are fetched from the venue's history.

    Parameters
    ----------
    store
        Where rows go; a local folder.
    symbols
        Pairs.
    source
        The venue or a sandbox.
    channels
        Of ``trades``, ``quotes``, ``bars`` (minutes), ``updatedBars``, ``dailyBars`` and ``orderbooks``.
    options
        How often and how much.
    clock
        Receive time in nanoseconds UTC; by default the time of this machine, and in a sandbox the time of its market.

    Raises
    ------
    ValueError
        A channel is unknown, or there are no symbols.
    StoreError
        Another recorder writes into this store or uses this account (raised by `start`).
    """

    def __init__(
        self,
        store: Store,
        symbols: str | Sequence[str],
        source: Alpaca,
        *,
        channels: Sequence[Channel] = ALL_CHANNELS,
        options: RecorderOptions | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        unknown = [channel for channel in channels if channel not in KIND_OF_CHANNEL]
        if unknown or not channels:
            raise ValueError(f"channels: found {unknown or 'none'}, wanted some of {', '.join(ALL_CHANNELS)}")
        if not names:
            raise ValueError("symbols: found none, wanted at least one pair such as BTC/USD")
        self.store, self.source, self._clock = store, source, clock
        self.symbols = tuple(normalize_symbol(name) for name in names)
        self.channels, self.options = tuple(channels), options or RecorderOptions()
        self._count = Counters()
        self._receiver = Receiver(source, self.channels, self.symbols, self._count, self.clock, self._confirmed)
        self._failure: CryptoquantError | None = None
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._held = ExitStack()
        self._supervisor: Supervisor | None = None
        self._publisher: Publisher | None = None
        self._backfill: Backfill | None = None
        self._gaps = count(0)

    def clock(self) -> int:
        """Return the present, by which what arrives is stamped (ns UTC)."""
        if self._clock is None:
            self._clock = stamps_of(self.source)
        return self._clock()

    @property
    def failure(self) -> CryptoquantError | None:
        """What ended the recording, or None."""
        return self._failure or self._receiver.failure

    def start(self) -> "Recorder":
        """Start receiving and writing in the background; a second call changes nothing.

        Raises
        ------
        StoreError
            The store or the account is in use by another recorder, or the log cannot be opened.
        """
        if not self._threads:
            self.open()
            works = [self._receiver.run, self._publish_on, self._watch_on]
            if self.options.compact_every is not None:
                works.append(self._compact_on)
            for work in works:
                name = f"recorder-{work.__name__.strip('_')}"
                thread = threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            if self._backfill is not None:
                self._backfill.start()
        return self

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work of a thread; whatever ends it otherwise than at the end of the recording ends that too."""
        is_done = False
        try:
            work()
            is_done = True
        finally:
            if not is_done:
                self._failure = CryptoquantError(f"{work.__name__} of the recorder failed: {sys.exc_info()[1]!r}")
                self._receiver.say(str(self._failure))
                self._receiver.stop()

    def open(self) -> None:
        """Take the leases, recover the log and publish what an earlier recorder left in it."""
        if self._publisher is not None:
            return
        root, log = Path(self.store.root), None
        try:
            lease = self._held.enter_context(Lease(root / "log", "recorder"))
            if self.source.api_key:
                account = hashlib.sha256(f"{self.source.api_key} {self.source.data_stream_url}".encode()).hexdigest()
                self._held.enter_context(Lease(Path(settings().state).expanduser() / "leases", account[:16]))
            # Segments go for what the manifest says, so that must be durable, also what a killed recorder left in it.
            self.store.create()
            disk, options = LocalDisk(root), self.options
            log = Log(
                disk,
                epoch=lease.epoch,
                after=self.store.published,
                segment_bytes=options.segment_bytes,
                limit_bytes=options.limit_bytes,
                cipher=sealing(self.store.keys),
                linger=options.linger.total_seconds(),
            )
            reader = LogReader(disk, after=self.store.published, cipher=opening(self.store.keys))
            self._held.callback(reader.close)
            publisher = Publisher(self.store, log, reader, on_decoded=self._look)
            publisher.drain()
        except BaseException:
            if log is not None:
                log.close()
            self._held.close()
            raise
        self._publisher, self._receiver.log = publisher, log
        self._receiver.missing_since = max(publisher.received, self.store.received)
        self._receiver.connection = lease.epoch << CONNECTION_BITS
        self._supervisor = Supervisor(self.store, self._receiver, self._count, self.clock, self._lacking)
        self._gaps = count(lease.epoch << GAP_BITS)
        if options.backfill:
            delay = delay_of(self.source) if options.backfill_after is None else options.backfill_after
            self._backfill = Backfill(self.source, self._page, self._event, delay=delay, on_error=self._receiver.say)
            self._backfill.submit(self._unfilled())

    def take(self, frame: bytes) -> None:
        """Take a raw frame as if it had come over the socket."""
        self.open()
        self._receiver.take(frame)

    def subscribe(
        self,
        kinds: Collection[str] | None = None,
        symbols: Collection[str] | None = None,
        *,
        limit_bytes: int = LIMIT_BYTES,
        forward: Callable[[Record], None] | None = None,
    ) -> Subscription:
        """Return the stream as events from now on, for a consumer in another thread of this process.

        Parameters
        ----------
        kinds
            Of ``trades``, ``quotes``, ``bars`` and ``books``; by default all.
        symbols
            By default all that are recorded.
        limit_bytes
            How much may wait for the consumer before the oldest frames are dropped.
        forward
            Takes each record at once, in the recorder's thread, in the place of `Subscription.next`.
        """
        subscription = Subscription(
            kinds, symbols, limit_bytes=limit_bytes, forward=forward, on_close=self._unsubscribe
        )
        self._receiver.subscriptions = (*self._receiver.subscriptions, subscription)
        return subscription

    def _unsubscribe(self, gone: Subscription) -> None:
        self._receiver.subscriptions = tuple(s for s in self._receiver.subscriptions if s is not gone)

    def status(self) -> RecorderStatus:
        """Return the counters as they are now."""
        counters, publisher, log = self._count, self._publisher, self._receiver.log
        failure = () if self.failure is None else (str(self.failure),)
        return RecorderStatus(
            is_running=bool(self._threads) and not self._receiver.ended.is_set(),
            is_connected=counters.is_connected,
            is_subscribed=counters.is_subscribed,
            frames=counters.frames,
            frame_bytes=counters.frame_bytes,
            received=0 if publisher is None else publisher.counts.messages,
            written={} if publisher is None else dict(publisher.counts.written),
            queued=0 if publisher is None or log is None else log.durable - publisher.decoded,
            waiting_bytes=0 if log is None else log.waiting_bytes,
            dropped=counters.dropped,
            rejected=0 if publisher is None else publisher.counts.rejected,
            minutes=counters.minutes,
            short=counters.short,
            early=0 if publisher is None else publisher.counts.early,
            reconnects=max(0, counters.connects - 1),
            open_gaps=0 if self._backfill is None else self._backfill.waiting,
            rate=counters.rate,
            lag=counters.lag,
            skew=counters.skew,
            clock_steps=counters.clock_steps,
            last_known=counters.last_known,
            error_count=counters.error_count,
            errors=(*counters.errors, *failure),
        )

    def flush(self) -> None:
        """Publish everything that was taken so far.

        Raises
        ------
        StoreError
            The disk failed.
        """
        publisher, log = self._publisher, self._receiver.log
        if publisher is not None and log is not None:
            log.wait(log.sequence)
            publisher.drain()

    def stop(self) -> RecorderStatus:
        """Stop receiving, publish everything that was received, and return the final counters.

        Raises
        ------
        StoreError
            The disk failed, or what was received cannot be published now; it is in the log and the next recorder, or
            any reader of the store, takes it from there.
        """
        self._ending.set()
        self._receiver.stop()
        for thread in self._threads:
            thread.join()
        if self._backfill is not None:
            self._backfill.stop()
        for subscription in self._receiver.subscriptions:
            subscription.close()
        log, self._receiver.log = self._receiver.log, None
        try:
            if log is not None:
                log.close()
            if self._publisher is not None:
                self._publisher.drain()
        except OSError as error:
            raise StoreError(f"store {self.store.root}: what is in the log cannot be published: {error}") from error
        finally:
            self._held.close()
        return self.status()

    def run(
        self, until: timedelta | None = None, *, on_status: Callable[[RecorderStatus], None] | None = None
    ) -> RecorderStatus:
        """Record until the time is over, the stream fails for good or the user interrupts; return the counters.

        Parameters
        ----------
        on_status
            Called about once a second.

        Raises
        ------
        AuthenticationError, VenueUnreachableError
            The stream could not be opened; what was received before is kept.
        StoreError
            As `start` and `stop`.
        CryptoquantError
            A thread of the recorder failed for a reason that nobody foresaw; the log keeps what came.
        """
        self.start()
        deadline = None if until is None else time.monotonic() + until.total_seconds()
        try:
            while not self._receiver.ended.wait(1.0 if deadline is None else min(1.0, deadline - time.monotonic())):
                if on_status is not None:
                    on_status(self.status())
                if deadline is not None and time.monotonic() >= deadline:
                    break
        except KeyboardInterrupt:
            self._receiver.say("interrupted by the user")
        final = self.stop()
        if self.failure is not None:
            raise self.failure
        return final

    def _confirmed(self, since: int, now: int, cause: str) -> None:
        if since:
            self._outage(since, now, cause)
        if self._supervisor is not None:
            self._supervisor.expect(self._keys(), now)

    def _keys(self) -> list[tuple[str, str]]:
        """Return what is listened to: kinds and symbols."""
        kinds = dict.fromkeys(KIND_OF_CHANNEL[channel] for channel in self.channels)
        return [(kind, symbol) for kind in kinds for symbol in self.symbols]

    def _outage(self, start: int, end: int, cause: str) -> None:
        """Write the gaps of an outage that has just ended into the ledger, and have them filled."""
        start, end = sorted((start, end))  # a clock that was set back may have ended it before its begin
        reached = self._publisher.latest if self._publisher is not None else 0
        behind = int(max(0.0, -self._count.skew) * 1e9)
        gaps = outage(self._gaps, self._keys(), min(start, reached or start), end + behind, cause)
        for gap in gaps:
            self._event(gap.event())
        if self._backfill is not None:
            self._backfill.submit(gaps)

    def _lacking(self, symbol: str, start: int, end: int, cause: str) -> Gap:
        """Write a span of which trades are missing into the ledger."""
        gap = Gap(next(self._gaps), "trades", symbol, start, end, cause, "open")
        self._event(gap.event())
        return gap

    def _page(self, payload: bytes) -> None:
        if not self._receiver.keep(self.clock(), RecordKind.PAGE, payload):
            raise StoreError(f"store {self.store.root}: the log did not take a page of history")

    def _event(self, payload: bytes) -> None:
        self._receiver.keep(self.clock(), RecordKind.EVENT, payload)

    def _unfilled(self) -> list[Gap]:
        """Return the gaps that earlier recorders left open."""
        rows = self.store.gaps().filter(pl.col("state") == "open")
        table = rows.with_columns(pl.col(name).dt.epoch("ns") for name in ("time", "end"))
        return [
            Gap(row["id"], row["kind"], row["symbol"], row["time"], row["end"], row["cause"], "open")
            for row in table.iter_rows(named=True)
        ]

    def _look(self, decoded: Decoded) -> None:
        if self._supervisor is not None:
            self._supervisor.look(decoded)

    def _publish_on(self) -> None:
        """Decode some times a second, since many frames cost little more than one; publish now and then."""
        publisher = self._publisher
        if publisher is None:
            return
        last = time.monotonic()
        while not self._receiver.ended.is_set():
            try:
                # While the disk refuses files, what waits in memory must not grow without end: the log keeps it.
                busy = not publisher.is_full and publisher.decode() > MANY_BYTES
                if publisher.is_full or time.monotonic() - last > self.options.flush_every.total_seconds():
                    publisher.publish()
                    last = time.monotonic()
            except (CryptoquantError, OSError) as error:
                self._receiver.say(f"cannot publish, the log keeps it: {error}")
                last, busy = time.monotonic(), False
            if not busy:
                self._receiver.ended.wait(ROUND_SECONDS)

    def _watch_on(self) -> None:
        """Look now and then whether all is well."""
        while not self._receiver.ended.wait(CHECK_SECONDS):
            if self._supervisor is not None and self._publisher is not None:
                self._supervisor.check(self._publisher.counts.messages, self._backfill)

    def _compact_on(self) -> None:
        """Merge recent files into daily ones every now and then."""
        pause = self.options.compact_every
        while pause is not None and not self._receiver.ended.wait(pause.total_seconds()):
            try:
                self.store.compact()
                self.store.vacuum()
            except (CryptoquantError, OSError) as error:
                self._receiver.say(f"cannot compact: {error}")


def record(
    store: Store,
    symbols: str | Sequence[str],
    source: Alpaca,
    *,
    channels: Sequence[Channel] = ALL_CHANNELS,
    until: timedelta | None = None,
    options: RecorderOptions | None = None,
) -> RecorderStatus:
    """Record the live stream into the store until the time is over or the user interrupts; return the counters.

    See `Recorder` for the parameters and `Recorder.run` for the errors.
    """
    return Recorder(store, symbols, source, channels=channels, options=options).run(until)
