"""The trade_updates websocket: every change of an order, told to whoever listens. Nothing is repeated."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cryptoquant.backtest.sandbox.accounts import Account, Accounts
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.line import Parting, part
from cryptoquant.backtest.sandbox.outbox import Outbox, Packet
from cryptoquant.backtest.sandbox.stream import StreamLimits
from cryptoquant.backtest.sandbox.ticket import Update
from cryptoquant.backtest.sandbox.wire import update_body
from cryptoquant.market.time import iso

PATH = "/stream"
STREAM = "trade_updates"


@dataclass(slots=True, eq=False)
class Listener:
    """One authorized client: its account, whether it listens, and how many updates were put on its socket."""

    socket: WebSocket
    account: Account | None = None
    serving: asyncio.Task[None] | None = None
    listens: bool = False
    is_dropped: bool = False
    sent: int = 0


class TradeUpdates:
    """Tells each account's updates to its listeners; what happens while nobody listens is not kept for later."""

    def __init__(self, accounts: Accounts, limits: StreamLimits, faults: Faults) -> None:
        self.accounts, self.limits, self.faults = accounts, limits, faults
        self._outboxes: dict[Account, Outbox] = {}
        self._listeners: list[Listener] = []
        self._turn = asyncio.Lock()

    def sent(self, account: Account) -> int:
        """Return the updates put on the newest connection of an account."""
        return next((listener.sent for listener in reversed(self._listeners) if listener.account is account), 0)

    @property
    def listening(self) -> int:
        """Clients of all accounts that listen."""
        return sum(listener.listens for listener in self._listeners)

    def route(self) -> WebSocketRoute:
        """Return the route of the websocket."""
        return WebSocketRoute(PATH, self.serve)

    async def flush(self) -> None:
        """Send the updates that have come since the last call, in the order of each account."""
        async with self._turn:
            for account in list(self.accounts):
                exchange = account.exchange
                waiting = exchange.updates[exchange.told :]
                exchange.told += len(waiting)
                for update in waiting:
                    if self._of(account):
                        packets = self._outbox(account).put(self._packet(update, account), self.now, _occasion(update))
                        await self._put(account, packets)

    @property
    def now(self) -> int:
        """The market's present, ns UTC."""
        return self.accounts.market.now

    async def release(self) -> None:
        """Send the late updates whose time has come."""
        async with self._turn:
            for account, outbox in list(self._outboxes.items()):
                await self._put(account, outbox.due(self.now))

    async def lose(self, how: Parting) -> None:
        """Lose every connection as a fault says."""
        lost, self._listeners = self._listeners, []
        self._outboxes.clear()
        for listener in lost:
            listener.listens = False
            part(listener.socket.scope, how)

    def _of(self, account: Account) -> list[Listener]:
        return [one for one in self._listeners if one.listens and one.account is account]

    def _outbox(self, account: Account) -> Outbox:
        outbox = self._outboxes.get(account)
        if outbox is None:
            outbox = self._outboxes[account] = Outbox(self.faults, "trading")
        return outbox

    def _packet(self, update: Update, account: Account) -> Packet:
        body = update_body(update, account.exchange)
        offset = self.faults.offset(self.now)
        if offset:
            body["data"]["timestamp"] = iso(update.time + offset)
        return Packet(msgspec.json.encode(body), 1)

    async def _put(self, account: Account, packets: Sequence[Packet]) -> None:
        for packet in packets:
            for listener in self._of(account):
                await self._send(listener, packet.content)

    async def _send(self, listener: Listener, body: bytes) -> None:
        try:
            async with asyncio.timeout(self.limits.sending.total_seconds()):
                await listener.socket.send_bytes(body)
            listener.sent += 1
        except WebSocketDisconnect:
            listener.listens = False
        except TimeoutError:
            listener.listens, listener.is_dropped = False, True
            if listener.serving is not None:
                listener.serving.cancel()

    async def serve(self, socket: WebSocket) -> None:
        """Hold one connection from handshake to close."""
        await socket.accept()
        listener = Listener(socket, serving=asyncio.current_task())
        try:
            while True:
                await self._answer(listener, await _receive(socket))
        except WebSocketDisconnect:
            return
        except asyncio.CancelledError:
            if not listener.is_dropped:
                raise
        finally:
            if listener in self._listeners:
                self._listeners.remove(listener)

    async def _answer(self, listener: Listener, message: Any) -> None:
        action, data = (message.get("action"), message.get("data")) if isinstance(message, Mapping) else (None, None)
        data = data if isinstance(data, Mapping) else {}
        is_known = listener in self._listeners
        if action in ("authenticate", "auth"):
            key, secret = data.get("key_id", message.get("key")), data.get("secret_key", message.get("secret"))
            listener.account = self.accounts.find(key, secret)
            is_known = listener.account is not None
            if is_known and listener not in self._listeners:
                self._listeners.append(listener)
            await _authorization(listener, "authenticate", is_known=is_known)
        elif action == "listen" and is_known:
            streams = [name for name in data.get("streams") or () if name == STREAM]
            listener.listens = bool(streams)
            await _reply(listener, {"stream": "listening", "data": {"streams": streams}})
        else:
            await _authorization(listener, str(action), is_known=is_known)


def _occasion(update: Update) -> dict[str, str]:
    return {"symbol": update.ticket.request.symbol, "event": update.event}


async def _receive(socket: WebSocket) -> Any:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    try:
        return msgspec.json.decode(message.get("bytes") or (message.get("text") or "").encode())
    except msgspec.DecodeError:
        return None


async def _authorization(listener: Listener, action: str, *, is_known: bool) -> None:
    data = {"status": "authorized" if is_known else "unauthorized", "action": action}
    if not is_known:
        data["message"] = "access key verification failed"
    await _reply(listener, {"stream": "authorization", "data": data})


async def _reply(listener: Listener, body: Mapping[str, Any]) -> None:
    await listener.socket.send_bytes(msgspec.json.encode(body))
