"""The feed: what the recorder hears and what the venue says of our orders, in one queue."""

import asyncio
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from cryptoquant.data.alpaca import Alpaca, ender, run_stream
from cryptoquant.data.decode import messages
from cryptoquant.data.events import Event, event_of
from cryptoquant.data.message import is_control
from cryptoquant.data.receiver import Channel
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store
from cryptoquant.errors import AuthenticationError, CryptoquantError, VenueUnreachableError
from cryptoquant.live.dispatcher import Answer
from cryptoquant.market.schema import Bar, Quote

READY_SECONDS = 20.0
QUIETLY = RecorderOptions(linger=timedelta(seconds=0.02), flush_every=timedelta(minutes=5))
"""How to record beside trading: disk and interpreter are free until the orders of a frame are on their way."""
POLL_SECONDS = 0.002


class OrderUpdate:
    """A change of an order, as the venue's stream tells it."""

    __slots__ = ("data", "time")

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.time: str = data["timestamp"]


Item = Event | OrderUpdate | Answer
WANTED: dict[str, type[Any]] = {"bars": Bar, "quotes": Quote}


class Feed:
    """Brings market data from a recorder and order updates from the SDK's stream, each in threads of its own.

    An account has one data connection, and the recorder has it: what is traded on is thereby in the store. Where a
    recorder of another process writes into the same store, its log is followed.

    Parameters
    ----------
    symbols
        Whose minute bars, and quotes if wanted, to take.
    clock
        Nanoseconds UTC of the present, for the receive time.
    follows
        Whether another process records into the store.

    Attributes
    ----------
    arrived
        When the newest record came (``time.perf_counter``), for measuring.
    updates_lost
        Whether the order stream was away since this was last set to False: then orders must be looked up.
    """

    def __init__(
        self,
        connection: Alpaca,
        store: Store,
        symbols: Sequence[str],
        clock: Callable[[], int],
        *,
        channels: Sequence[Channel] = ("bars",),
        follows: bool = False,
    ) -> None:
        self.connection, self.store, self.symbols, self.channels = connection, store, tuple(symbols), tuple(channels)
        self.clock, self.follows = clock, follows
        self.wanted = tuple(WANTED[channel] for channel in channels)
        self.failure = ""
        self.arrived = 0.0
        self.heard = time.monotonic()
        self.updates_lost = False
        self.received = {"data": 0, "trading": 0}
        self._items: queue.SimpleQueue[tuple[float, Record | OrderUpdate | Answer]] = queue.SimpleQueue()
        self._ready: list[Item] = []
        self._connection_number = -1
        self._recorder: Recorder | None = None
        self._listening, self._ending = threading.Event(), threading.Event()
        self._cancel: Callable[[], None] = lambda: None
        self._threads: list[threading.Thread] = []

    def start(self) -> "Feed":
        """Connect both streams and wait until the venue has confirmed them.

        Raises
        ------
        AuthenticationError, VenueUnreachableError
            A stream was refused, or did not come up in time.
        StoreError
            Another recorder uses the store or the account.
        """
        try:
            if self.follows:
                self._launch(self._follow, "follower")
            else:
                self._recorder = Recorder(
                    self.store,
                    self.symbols,
                    self.connection,
                    channels=self.channels,
                    options=QUIETLY,
                    clock=self.clock,
                )
                self._recorder.open()
                self._recorder.subscribe(forward=self._put)
                self._recorder.start()
            self._launch(lambda: asyncio.run(self._trading()), "updates")
            self._await_confirmation(time.monotonic() + READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._guard, args=(work,), name=f"feed-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _await_confirmation(self, deadline: float) -> None:
        while not (self._listening.is_set() and self.is_subscribed):
            self.check()
            if "auth" in self.failure or time.monotonic() > deadline:  # whatever else was refused is asked for again
                reason = self.failure or f"no confirmation in {READY_SECONDS:.0f} s"
                error = AuthenticationError if "auth" in reason else VenueUnreachableError
                raise error(f"the order stream: {reason}")
            time.sleep(POLL_SECONDS)

    @property
    def is_subscribed(self) -> bool:
        """Whether market data is on its way."""
        return self._recorder is None or self._recorder.status().is_subscribed

    @property
    def is_listening(self) -> bool:
        """Whether the order stream is up, as far as this side can know."""
        return self._listening.is_set()

    def stop(self) -> None:
        """Close both streams; what was received is in the store."""
        self._ending.set()
        self._cancel()
        for thread in self._threads:
            thread.join(timeout=5.0)
        if self._recorder is not None:
            self._recorder.stop()

    def put(self, answer: Answer) -> None:
        """Queue the answer to a request among what comes."""
        self._items.put((time.perf_counter(), answer))

    def next(self, timeout: float) -> Item | None:
        """Return the next item, None when none comes in time (seconds); a frame without items is passed over."""
        deadline = time.monotonic() + timeout
        while not self._ready:
            try:
                self.arrived, found = self._items.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            self._ready = list(self._read(found))
        return self._ready.pop(0)

    def check(self) -> None:
        """Raise the error that has ended a stream."""
        if self._recorder is not None and self._recorder.failure is not None:
            raise self._recorder.failure
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        if ended:
            raise VenueUnreachableError(f"{', '.join(ended)} has ended: {self.failure}")

    def drain(self, data: int, trading: int, timeout: float = 20.0) -> list[Item]:
        """Return all items once so many data points and order updates have arrived on the present connections.

        Raises
        ------
        VenueUnreachableError
            They did not arrive in time (seconds).
        """
        deadline, items = time.monotonic() + timeout, list[Item]()
        while True:
            while (item := self.next(0)) is not None:
                items.append(item)
            if self.received["data"] >= data and self.received["trading"] >= trading:
                return items
            if time.monotonic() > deadline:
                raise VenueUnreachableError(f"the feed got {self.received}, the venue sent {data} and {trading}")
            time.sleep(POLL_SECONDS)

    def _put(self, record: Record) -> None:
        self._items.put((time.perf_counter(), record))

    def _read(self, found: Record | OrderUpdate | Answer) -> Iterator[Item]:
        if isinstance(found, OrderUpdate):
            self.received["trading"] += 1
            yield found
        elif isinstance(found, Answer):
            yield found
        elif found.kind == RecordKind.FRAME and not is_control(found.payload):
            if found.connection != self._connection_number:
                self._connection_number, self.received["data"] = found.connection, 0
            heard = messages(found)
            self.received["data"] += len(heard)
            self.heard = time.monotonic()
            for message in heard:
                event = event_of(message, found.received)
                if isinstance(event, self.wanted) and event.symbol in self.symbols:
                    yield event

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except asyncio.CancelledError:
            self.failure = self.failure or "the stream was closed"
        except (OSError, ValueError, CryptoquantError) as error:
            self.failure = str(error) or type(error).__name__

    def _follow(self) -> None:
        with self.store.follow() as follower:
            while not self._ending.is_set():
                for record in follower.records(0.2):
                    self._put(record)

    async def _trading(self) -> None:
        stream = self.connection.trading_stream(functools.partial(self._note))
        self._cancel = ender()

        async def take(message: dict[str, Any]) -> None:
            self._items.put((time.perf_counter(), OrderUpdate(message["data"])))

        stream.subscribe_trade_updates(take)
        await run_stream(stream)

    def _note(self, event: str, text: str) -> None:
        if event == "subscribed":
            self.received["trading"], self.failure = 0, ""
            self._listening.set()
        elif event == "closed" and self._listening.is_set():
            self._listening.clear()
            self.updates_lost = True
        elif event in ("failed", "error"):
            self.failure = text
