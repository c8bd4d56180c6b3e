"""The feed: minute bars and order updates from the venue's two streams, in one queue."""

import asyncio
import functools
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from cryptoquant.data.alpaca import Alpaca, ender, run_stream
from cryptoquant.data.events import event_of
from cryptoquant.data.message import BarMessage, Unreadable, instant, is_control, read_frame
from cryptoquant.errors import AuthenticationError, CryptoquantError, VenueUnreachableError
from cryptoquant.market.schema import Bar

READY_SECONDS = 15.0
POLL_SECONDS = 0.002
SILENT_SECONDS = 300.0
RECONNECT_SECONDS = 180.0


class OrderUpdate:
    """A change of an order, as the venue's stream tells it."""

    __slots__ = ("data", "time")

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.time: str = data["timestamp"]


class Feed:
    """Runs the SDK's data stream and order stream in threads of their own.

    Parameters
    ----------
    connection
        Where to.
    symbols
        Whose minute bars to take.
    clock
        Nanoseconds UTC of the present, for the receive time of bars.
    """

    def __init__(self, connection: Alpaca, symbols: tuple[str, ...], clock: Callable[[], int]) -> None:
        self.symbols = symbols
        self.clock = clock
        self.failure = ""
        self.rejected: list[str] = []
        self.received = {"data": 0, "trading": 0}
        self._items: queue.SimpleQueue[Bar | OrderUpdate] = queue.SimpleQueue()
        self._connection = connection
        self._heard = time.monotonic()
        self._subscribed, self._listening = threading.Event(), threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abort: Callable[[], None] | None = None
        self._cancels: dict[str, Callable[[], None]] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> "Feed":
        """Connect both streams and wait until the venue has confirmed them.

        Raises
        ------
        AuthenticationError, VenueUnreachableError
            A stream was refused, or did not come up in time.
        """
        for name, run in (("data", self._data), ("trading", self._trading)):
            thread = threading.Thread(target=self._guard, args=(run,), name=f"feed-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._heard = time.monotonic()
        try:
            self._await_confirmation(self._heard + READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def _await_confirmation(self, deadline: float) -> None:
        for event, name in ((self._subscribed, "data"), (self._listening, "order")):
            while not event.wait(0.05):
                if self.failure or time.monotonic() > deadline:
                    reason = self.failure or f"no confirmation in {READY_SECONDS:.0f} s"
                    error = AuthenticationError if "auth" in reason else VenueUnreachableError
                    raise error(f"the {name} stream: {reason}")

    def stop(self) -> None:
        """Close both streams."""
        for cancel in self._cancels.values():
            cancel()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def next(self, timeout: float) -> Bar | OrderUpdate | None:
        """Return the next item, None when none comes in time (seconds)."""
        try:
            return self._items.get(timeout=timeout)
        except queue.Empty:
            return None

    def check(self) -> None:
        """Raise VenueUnreachableError when a stream has ended, or when no bar came for a long time."""
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        if ended:
            raise VenueUnreachableError(f"{', '.join(ended)} has ended: {self.failure}")
        silent = time.monotonic() - self._heard
        if silent > RECONNECT_SECONDS and self._connection.control_url is None and self._loop is not None:
            abort, self._abort = self._abort, None
            if abort is not None:
                self._loop.call_soon_threadsafe(abort)
        if silent > SILENT_SECONDS:
            raise VenueUnreachableError(f"no bar for {silent:.0f} s; the last trouble: {self.failure or 'none told'}")

    def drain(self, data: int, trading: int, timeout: float = 10.0) -> list[Bar | OrderUpdate]:
        """Return all items once so many data points and order updates have arrived since the start.

        Raises
        ------
        VenueUnreachableError
            They did not arrive in time (seconds).
        """
        deadline = time.monotonic() + timeout
        while self.received["data"] < data or self.received["trading"] < trading:
            if time.monotonic() > deadline:
                raise VenueUnreachableError(f"the feed got {self.received}, the venue sent {data} and {trading}")
            time.sleep(POLL_SECONDS)
        items = []
        while (item := self.next(0)) is not None:
            items.append(item)
        return items

    def _guard(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            asyncio.run(run())
        except asyncio.CancelledError:
            self.failure = self.failure or "the stream was closed"
        except (OSError, ValueError, CryptoquantError) as error:
            self.failure = str(error) or type(error).__name__

    async def _data(self) -> None:
        stream = self._connection.data_stream(functools.partial(self._note, confirmed=self._subscribed), tap=self)
        self._loop, self._cancels["data"] = asyncio.get_running_loop(), ender()

        async def nothing(message: Any) -> None:
            """Take a message that the tap has seen already."""

        stream.subscribe_bars(nothing, *self.symbols)
        await run_stream(stream)

    def opened(self, abort: Callable[[], None]) -> None:
        """Note a new data socket."""
        self._abort = abort

    def take(self, frame: bytes) -> bool:
        """Take the bars of one frame; return whether it is a control message, which the SDK shall see."""
        if is_control(frame):
            return True
        messages = read_frame(frame)
        self.rejected += [f"{m.reason}: {m.text}"[:200] for m in messages if isinstance(m, Unreadable)]
        for message in messages:
            if isinstance(message, BarMessage):
                bar = event_of(message, max(self.clock(), instant(message.t)))
                if isinstance(bar, Bar):
                    self._items.put(bar)
                else:
                    self.rejected.append(f"an impossible bar: {message!r}"[:200])
        self.received["data"] += len(messages)
        self._heard = time.monotonic()
        return False

    async def _trading(self) -> None:
        stream = self._connection.trading_stream(functools.partial(self._note, confirmed=self._listening))
        self._cancels["trading"] = ender()

        async def take(message: dict[str, Any]) -> None:
            self._items.put(OrderUpdate(message["data"]))
            self.received["trading"] += 1

        stream.subscribe_trade_updates(take)
        await run_stream(stream)

    def _note(self, event: str, text: str, confirmed: threading.Event) -> None:
        if event == "subscribed":
            confirmed.set()
        elif event in ("failed", "error"):
            self.failure = text
