"""The market-data websocket: connect, authenticate, subscribe, and receive trades, quotes, books and bars."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import msgpack
import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cryptoquant.backtest.sandbox.accounts import Account, Accounts
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.history import PREFIX
from cryptoquant.backtest.sandbox.line import Parting, part
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.outbox import Outbox, Packet
from cryptoquant.backtest.sandbox.spoil import CORRUPT, CORRUPT_TEXT, spoilable, spoiled
from cryptoquant.backtest.sandbox.wire import CHANNELS, Body, frame, point
from cryptoquant.data.synthetic import ticks
from cryptoquant.market.schema import Bar, BookUpdate, Quote, Trade

SYMBOL = re.compile(r"^([A-Z]+/[A-Z]+|\*)$")
TICK_CHANNELS = {Trade: "trades", Quote: "quotes", BookUpdate: "orderbooks"}
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    410: "invalid subscribe action for this feed",
}
Point = tuple[str, str, Body]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What the streams allow.

    Parameters
    ----------
    authentication
        How long a connection may stay without valid keys (error 404 afterwards).
    subscriptions
        Largest number of pairs of channel and symbol (error 405 beyond), None for any number.
    sending
        How long a frame may wait for a client that does not read, before it is dropped.
    """

    authentication: timedelta = timedelta(seconds=10)
    subscriptions: int | None = None
    sending: timedelta = timedelta(seconds=10)


@dataclass(slots=True, eq=False)
class Connection:
    """One client: its codec, its subscriptions, what is on its way, and how many data points were put on its socket.

    ``account`` is None until it has shown its keys.
    """

    socket: WebSocket
    as_msgpack: bool
    outbox: Outbox
    account: Account | None = None
    subscriptions: dict[str, set[str]] = field(default_factory=lambda: {channel: set() for channel in CHANNELS})
    serving: asyncio.Task[None] | None = None
    is_dropped: bool = False
    sent: int = 0

    async def send(self, points: Sequence[Body]) -> None:
        """Put one frame on the socket."""
        await self.write(frame(points, as_msgpack=self.as_msgpack))

    async def write(self, content: bytes) -> None:
        """Put the content of one frame on the socket."""
        if self.as_msgpack:
            await self.socket.send_bytes(content)
        else:
            await self.socket.send_text(content.decode())

    def drop(self) -> None:
        """End the connection without a word: its buffer is full, so error 407 would not arrive either."""
        self.is_dropped = True
        if self.serving is not None:
            self.serving.cancel()

    async def receive(self) -> Any:
        """Return the next message, None when it cannot be read."""
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data = message.get("bytes") or (message.get("text") or "").encode()
        try:
            return msgpack.unpackb(data) if self.as_msgpack else msgspec.json.decode(data)
        except (ValueError, msgpack.exceptions.UnpackException):
            return None

    def wants(self, channel: str, symbol: str) -> bool:
        """Whether the client has subscribed to a channel of a symbol."""
        symbols = self.subscriptions[channel]
        return symbol in symbols or "*" in symbols

    def wants_any(self, channels: Sequence[str], symbol: str) -> bool:
        """Whether the client has subscribed to one of the channels of a symbol."""
        return any(self.wants(channel, symbol) for channel in channels)


class DataStream:
    """Serves one data connection of each account at a time, as Alpaca does; its second is refused with 406.

    A fault that strikes a frame strikes that of one account: they are served in the order in which they were opened.
    """

    def __init__(self, market: Market, seed: int, accounts: Accounts, limits: StreamLimits, faults: Faults) -> None:
        self.market, self.seed, self.accounts, self.limits, self.faults = market, seed, accounts, limits, faults
        self._current: dict[Account, Connection] = {}

    @property
    def connections(self) -> list[Connection]:
        """The authenticated connections, in the order in which their accounts were opened."""
        return [self._current[account] for account in self.accounts if account in self._current]

    def sent(self, account: Account) -> int:
        """Return the data points put on the connection of an account; control messages do not count."""
        connection = self._current.get(account)
        return 0 if connection is None else connection.sent

    @property
    def listening(self) -> int:
        """Clients of all accounts that have subscribed to something."""
        return sum(any(connection.subscriptions.values()) for connection in self._current.values())

    def route(self) -> WebSocketRoute:
        """Return the route of the websocket."""
        return WebSocketRoute(PREFIX, self.serve)

    async def publish(self, bar: Bar) -> None:
        """Send to each account what it has asked for of a bar that just closed: ticks, the bar, the day so far."""
        for connection in self.connections:
            await self._publish(connection, bar, self._points(bar, connection))

    async def publish_update(self, bar: Bar, trade: Trade) -> None:
        """Send a late trade and the bar that it has changed to each account that has asked for trades, updated bars."""
        found = [("trades", bar.symbol, point(trade)), ("updatedBars", bar.symbol, point(bar))]
        for connection in self.connections:
            await self._publish(connection, bar, [one for one in found if connection.wants(one[0], bar.symbol)])

    async def _publish(self, connection: Connection, bar: Bar, found: Sequence[Point]) -> None:
        points = [{"T": CHANNELS[channel], "S": symbol, **body} for channel, symbol, body in found]
        if not points:
            return
        now, occasion = self.market.now, {"symbol": bar.symbol}
        offset = self.faults.offset(now)
        if offset:
            points = [{**point, "t": point["t"] + offset} for point in points]
        fault = self.faults.take(spoilable(points), now, **occasion)
        if fault is not None:
            points = spoiled(points, fault, with_updates=connection.wants("updatedBars", bar.symbol))
        content = frame(points, as_msgpack=connection.as_msgpack)
        packet = Packet(content, len(points))
        if fault is not None and fault.kind == "data.corrupt":
            packet = Packet(CORRUPT if connection.as_msgpack else CORRUPT_TEXT, 0)
        await self._put(connection, connection.outbox.put(packet, now, occasion))

    async def release(self) -> None:
        """Send the late frames whose time has come."""
        for connection in self.connections:
            await self._put(connection, connection.outbox.due(self.market.now))

    async def _put(self, connection: Connection, packets: Sequence[Packet]) -> None:
        try:
            for packet in packets:
                async with asyncio.timeout(self.limits.sending.total_seconds()):
                    await connection.write(packet.content)
                connection.sent += packet.points
        except WebSocketDisconnect:
            self._leave(connection)
        except TimeoutError:
            self._leave(connection)
            connection.drop()

    async def lose(self, how: Parting | Literal["slow_client"]) -> None:
        """Lose every connection as a fault says."""
        for connection in self.connections:
            self._leave(connection)
            if how == "slow_client":
                await self._refuse(connection, 407)
            else:
                part(connection.socket.scope, how)

    def _points(self, bar: Bar, connection: Connection) -> list[Point]:
        symbol, points = bar.symbol, []
        if connection.wants_any(("trades", "quotes", "orderbooks"), symbol):
            for tick in ticks(bar, seed=self.seed):
                channel = TICK_CHANNELS[type(tick)]
                if connection.wants(channel, symbol):
                    points.append((channel, symbol, point(tick)))
        if connection.wants("bars", symbol):
            points.append(("bars", symbol, point(bar)))
        day = self.market.day(symbol) if connection.wants("dailyBars", symbol) else None
        if day is not None:
            points.append(("dailyBars", symbol, point(day)))
        return points

    async def serve(self, socket: WebSocket) -> None:
        """Hold one connection from handshake to close."""
        await socket.accept()
        is_msgpack = "msgpack" in socket.headers.get("content-type", "")
        connection = Connection(socket, is_msgpack, Outbox(self.faults, "data"))
        connection.serving = asyncio.current_task()
        try:
            await connection.send([{"T": "success", "msg": "connected"}])
            if await self._admit(connection):
                while True:
                    await self._answer(connection, await connection.receive())
        except WebSocketDisconnect:
            return
        except asyncio.CancelledError:
            if not connection.is_dropped:
                raise
        finally:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        if connection.account is not None and self._current.get(connection.account) is connection:
            del self._current[connection.account]

    async def _admit(self, connection: Connection) -> bool:
        """Return whether the connection has shown its keys in time, by header or message; otherwise it is closed."""
        headers = connection.socket.headers
        key, secret = headers.get("apca-api-key-id"), headers.get("apca-api-secret-key")
        if key is not None:
            return await self._authenticate(connection, {"key": key, "secret": secret})
        try:
            async with asyncio.timeout(self.limits.authentication.total_seconds()):
                while True:
                    message = await connection.receive()
                    if isinstance(message, Mapping) and message.get("action") == "auth":
                        break
                    await self._error(connection, 401 if isinstance(message, Mapping) else 400)
        except TimeoutError:
            return await self._refuse(connection, 404)
        return await self._authenticate(connection, message)

    async def _authenticate(self, connection: Connection, message: Mapping[str, Any]) -> bool:
        account = self.accounts.find(message.get("key"), message.get("secret"))
        if account is None:
            return await self._refuse(connection, 402)
        if account in self._current or self.faults.take({"data.limit"}, self.market.now) is not None:
            return await self._refuse(connection, 406)
        connection.account = account
        self._current[account] = connection
        await connection.send([{"T": "success", "msg": "authenticated"}])
        return True

    async def _refuse(self, connection: Connection, code: int) -> bool:
        await self._error(connection, code)
        await connection.socket.close()
        return False

    async def _error(self, connection: Connection, code: int) -> None:
        await connection.send([{"T": "error", "code": code, "msg": ERRORS[code]}])

    async def _answer(self, connection: Connection, message: Any) -> None:
        action = message.get("action") if isinstance(message, Mapping) else None
        if action == "auth":
            await self._error(connection, 403)
        elif action in ("subscribe", "unsubscribe"):
            wanted = {key: value for key, value in message.items() if key != "action"}
            code = self._change(connection, wanted, adds=action == "subscribe")
            if code:
                await self._error(connection, code)
            else:
                listed = {channel: sorted(symbols) for channel, symbols in connection.subscriptions.items()}
                await connection.send([{"T": "subscription", **listed}])
        else:
            await self._error(connection, 400)

    def _change(self, connection: Connection, wanted: Mapping[str, Any], *, adds: bool) -> int:
        """Change the subscriptions, or leave them all as they are and return the error's code."""
        if set(wanted) - set(CHANNELS):
            return 410
        for symbols in wanted.values():
            if not isinstance(symbols, list) or not all(isinstance(s, str) and SYMBOL.match(s) for s in symbols):
                return 400
        changed = {
            channel: have | set(wanted.get(channel, ())) if adds else have - set(wanted.get(channel, ()))
            for channel, have in connection.subscriptions.items()
        }
        size = sum(len(self.market.symbols) if "*" in have else len(have) for have in changed.values())
        if adds and self.limits.subscriptions is not None and size > self.limits.subscriptions:
            return 405
        connection.subscriptions = changed
        return 0
