"""The door in front of the sandbox's web application, at which requests and handshakes meet their faults."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptoquant.backtest.sandbox.fault import KINDS, Fault
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.line import reset
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.wire import clock_body

CONTROL, CLOCK = "/sandbox", "/v2/clock"
HTTP_KINDS = {f"http.{name}" for name in KINDS["http"]}
TOO_MANY = {"code": 42910000, "message": "too many requests"}
PAGE = b"<html><body><h1>Bad Gateway</h1></body></html>"
JSON = "application/json"


class Gate:
    """An ASGI application around another.

    The control routes under ``/sandbox`` are never disturbed.

    Parameters
    ----------
    streams
        What the faults of a websocket are called (``data``, ``trading``), by its path.
    is_down
        Whether nobody is let in: whoever comes is reset.
    """

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        market: Market,
        streams: Mapping[str, str],
        is_down: Callable[[], bool],
    ) -> None:
        self.app, self.faults, self.market, self.streams, self.is_down = app, faults, market, streams, is_down

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or hold one websocket."""
        path = scope.get("path", "")
        if path.startswith(CONTROL) or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif self.is_down():
            await _reset(scope, receive)
        elif scope["type"] == "websocket":
            await self._handshake(scope, receive, send)
        else:
            fault = self.faults.take(HTTP_KINDS, self.market.now, method=scope["method"], path=path)
            if fault is None:
                await self._request(scope, receive, send)
            else:
                await self._disturb(fault, scope, receive, send)

    async def _handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        where = self.streams.get(scope["path"], "")
        if self.faults.take({f"{where}.refuse"}, self.market.now) is None:
            await self.app(scope, receive, send)
            return
        await receive()
        headers = [(b"content-type", JSON.encode())]
        await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": msgspec.json.encode(TOO_MANY)})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request done as always, but for a clock that is wrong."""
        offset = self.faults.offset(self.market.now)
        if not offset or scope["path"] != CLOCK:
            await self.app(scope, receive, send)
        elif (told := await self._done(scope, receive)) == 200:
            await _answer(send, told, clock_body(self.market.now + offset))
        else:
            await _answer(send, told, {"message": "unauthorized"})

    async def _done(self, scope: Scope, receive: Receive) -> int:
        """Have a request done, keep its answer back and return the status that it has."""
        status = 0

        async def swallow(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        await self.app(scope, receive, swallow)
        return status

    async def _disturb(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        kind = fault.kind
        if kind in ("http.reset", "http.hang"):
            await _read(receive)
        if kind in ("http.hang", "http.latency"):
            await asyncio.sleep(fault.seconds)
        if kind in ("http.accepted", "http.reset_after", "http.garbage"):
            await self._done(scope, receive)
        if kind == "http.latency":
            await self._request(scope, receive, send)
        elif kind in ("http.reset", "http.reset_after", "http.hang"):
            await _reset(scope, receive)
        elif kind == "http.garbage":
            await _answer(send, 200, PAGE)
        elif kind == "http.rate_limit":
            await _answer(send, 429, TOO_MANY, retry_after=math.ceil(fault.seconds))
        else:
            status = {"http.accepted": 504, "http.revoked": 401}.get(kind, fault.status)
            text = "unauthorized" if status == 401 else "the venue cannot answer now"
            await _answer(send, status, {"message": text})


async def _answer(send: Send, status: int, body: Any, *, retry_after: int | None = None) -> None:
    content, kind = (body, "text/html") if isinstance(body, bytes) else (msgspec.json.encode(body), JSON)
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _read(receive: Receive) -> None:
    """Read a request to its end: a client that is still sending would not always see the reset as one."""
    while (await receive()).get("more_body", False):
        pass


async def _reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection of a request, and wait until it is gone."""
    reset(scope)
    while not (await receive())["type"].endswith("disconnect"):
        pass
