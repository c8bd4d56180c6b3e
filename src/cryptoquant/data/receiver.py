"""The ear of the recorder: one connection to the venue at a time, every frame into the log, every silence explained."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from cryptoquant.data.alpaca import Alpaca, ender, run_stream
from cryptoquant.data.log import Log
from cryptoquant.data.message import SubscriptionMessage, is_control, read_frame
from cryptoquant.data.recorder_status import Counters
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.subscription import Subscription
from cryptoquant.errors import (
    AuthenticationError,
    CryptoquantError,
    LogFullError,
    StoreError,
    VenueError,
    VenueUnreachableError,
)
from cryptoquant.market.time import iso

Channel = Literal["trades", "quotes", "bars", "updatedBars", "dailyBars", "orderbooks"]
KIND_OF_CHANNEL = {
    "trades": "trades",
    "quotes": "quotes",
    "bars": "bars",
    "updatedBars": "bars",
    "dailyBars": "daily_bars",
    "orderbooks": "books",
}
CONNECT_ATTEMPTS = 5
FATAL: dict[str, tuple[str, ...]] = {
    "failed": ("auth failed", "not authenticated", "insufficient", "HTTP 401", "HTTP 403"),
    "error": ("402 ", "409 ", "411 "),
}
WAITED_OUT = ("406", "429")
Confirmed = Callable[[int, int, str], None]
log = logging.getLogger("cryptoquant.recorder")


class Receiver:
    """Runs the SDK's stream and taps its frames.

    What ends it: refused keys (402, 409, 411, HTTP 401 and 403), five attempts without a first confirmed subscription
    (as when the symbols are refused: 400, 405, 410), a failed disk, and `stop`. Everything else is waited out by the
    SDK with growing, random pauses: lost connections, 406 (the venue still counts the connection that was lost), 404,
    407, 500. A confirmation that lacks some of what was asked for is listed in the status.

    Parameters
    ----------
    on_confirmed
        Called in the stream's loop when a subscription is confirmed: since when messages may be missing (ns UTC, 0 when
        none can be), the present, and why.

    Attributes
    ----------
    connection
        The number of the present connection; it rises by one with each, from what the recorder has set.
    """

    def __init__(
        self,
        source: Alpaca,
        channels: Sequence[Channel],
        symbols: Sequence[str],
        counters: Counters,
        clock: Callable[[], int],
        on_confirmed: Confirmed,
    ) -> None:
        self.source, self.channels, self.symbols = source, channels, symbols
        self.count, self.clock, self.on_confirmed = counters, clock, on_confirmed
        self.failure: CryptoquantError | None = None
        self.log: Log | None = None
        self.subscriptions: tuple[Subscription, ...] = ()
        self.ended = threading.Event()
        self.missing_since, self.cause = 0, "recorder was not running"
        self.connection = 0
        self._opened: float | None = None
        self._was_confirmed = self._is_waiting = False
        self._ending = threading.Event()
        self._cancel: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: Callable[[], None] = lambda: None

    def opened(self, abort: Callable[[], None]) -> None:
        """Note a new socket."""
        self.connection += 1
        self._socket, self._opened = abort, time.monotonic()

    @property
    def unconfirmed_s(self) -> float:
        """Seconds since the present connection was opened without a confirmed subscription; 0 when there is one."""
        opened = self._opened
        return 0.0 if opened is None else time.monotonic() - opened

    def take(self, frame: bytes) -> bool:
        """Keep one frame, stamped with the clock; return whether it is a control message."""
        now = self.clock()
        is_ours = is_control(frame)
        self.count.frames += 1
        self.count.frame_bytes += len(frame)
        self.count.last_known = now
        self.keep(now, RecordKind.FRAME, frame)
        if is_ours:
            self._heed(frame, now)
        return is_ours

    def keep(self, now: int, kind: RecordKind, payload: bytes) -> bool:
        """Append a record to the log and hand it to the subscriptions; return whether it was taken."""
        if self.log is None:
            self.count.dropped += kind == RecordKind.FRAME
            return False
        try:
            sequence = self.log.append(now, self.connection, kind, payload)
        except LogFullError as error:
            self.say(str(error))
            if kind != RecordKind.PAGE:
                self.count.dropped += 1
                self._silence(now, "the disk was too slow")
                self._hang_up()
            return False
        except StoreError as error:
            self.failure = error
            self._cancel()
            return False
        record = Record(sequence, now, self.connection, kind, payload)
        for subscription in self.subscriptions:
            subscription.push(record)
        return True

    def say(self, text: str) -> None:
        """Add a line to the status and to the log of the program."""
        self.count.error_count += 1
        self.count.errors.append(f"{iso(self.clock())} {text}")
        log.warning(text)

    def reconnect(self, cause: str, since: int | None = None) -> None:
        """End the present connection, from any thread; the SDK makes a new one.

        What came after ``since`` (ns UTC) may be missing; by default after the last frame.
        """
        self.say(cause)

        def end() -> None:
            self._silence(self.count.last_known if since is None else since, cause)
            self._socket()

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(end)

    def _hang_up(self) -> None:
        """End the present connection, from any thread."""
        if self._loop is None or self._loop.is_closed():
            self._socket()
        else:
            self._loop.call_soon_threadsafe(self._socket)

    def run(self) -> None:
        """Receive until the end, in the thread that calls."""
        try:
            asyncio.run(self._stream())
        except asyncio.CancelledError:
            pass
        except (CryptoquantError, OSError, ValueError) as error:
            self.failure = error if isinstance(error, CryptoquantError) else VenueError(f"stream: {error}")
        finally:
            self.count.is_connected = self.count.is_subscribed = False
            self.ended.set()

    def stop(self) -> None:
        """End the connection, from any thread."""
        self._ending.set()
        self._cancel()

    async def _stream(self) -> None:
        stream = self.source.data_stream(self._note, tap=self)
        subscribe = {
            "trades": stream.subscribe_trades,
            "quotes": stream.subscribe_quotes,
            "bars": stream.subscribe_bars,
            "updatedBars": stream.subscribe_updated_bars,
            "dailyBars": stream.subscribe_daily_bars,
            "orderbooks": stream.subscribe_orderbooks,
        }
        for channel in self.channels:
            subscribe[channel](_nothing, *self.symbols)
        self._loop, self._cancel = asyncio.get_running_loop(), ender()
        if not self._ending.is_set():
            await run_stream(stream)

    def _silence(self, since: int, cause: str) -> None:
        """Note since when messages may be missing; the first reason counts until a subscription is confirmed."""
        if not self.missing_since and since:
            self.missing_since, self.cause = since, cause

    def _heed(self, frame: bytes, now: int) -> None:
        """Check a confirmed subscription against what was asked for; a silence before it is over then."""
        for message in read_frame(frame):
            if message.__class__ is not SubscriptionMessage:
                continue
            wanted = {channel: set(self.symbols) for channel in self.channels}
            lacking = {
                channel: sorted(symbols - set(getattr(message, channel)))
                for channel, symbols in wanted.items()
                if not symbols <= set(getattr(message, channel)) and "*" not in getattr(message, channel)
            }
            if lacking:
                self.say(f"the venue did not confirm {lacking}")
            since, self.missing_since = self.missing_since, 0
            self.count.is_subscribed = self._was_confirmed = True
            self.count.attempts, self._opened = 0, None
            self.on_confirmed(since, now, self.cause)
            if since and self.missing_since:
                # The ledger could not take it, and the connection is being closed: the outage goes on.
                self.missing_since = since

    def _note(self, event: str, text: str) -> None:
        """Take an event of the connection: count it, or end the recording when it cannot go on."""
        count, where = self.count, self.source.data_stream_url or "Alpaca"
        if event == "connected":
            self._silence(count.last_known if count.connects else 0, "connection lost")
            count.is_connected, count.connects = True, count.connects + 1
        if event == "closed":
            self._silence(count.last_known if count.is_subscribed else 0, "connection lost")
            count.attempts += count.is_connected and not count.is_subscribed and not self._is_waiting
            count.is_connected = count.is_subscribed = self._is_waiting = False
            self._opened = None
        if event in ("connected", "closed", "subscribed"):
            return
        self.say(f"{event}: {text}")
        self._is_waiting |= any(code in text for code in WAITED_OUT)
        count.attempts += event == "failed" and not self._is_waiting
        if any(reason in text for reason in FATAL.get(event, ())):
            self.failure = AuthenticationError(f"{where}: keys refused: {text}")
        elif not self._was_confirmed and count.attempts >= CONNECT_ATTEMPTS:
            what = "subscription was confirmed" if count.connects else "connection"
            self.failure = VenueUnreachableError(f"{where}: no {what} in {count.attempts} attempts: {text}")
        if self.failure is not None:
            self._cancel()


async def _nothing(message: object) -> None:
    """Take a message that the tap has kept already."""
