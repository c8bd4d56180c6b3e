"""The connections under the sandbox's web server, which a fault can cut, reset or freeze."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from typing import Any, Literal, cast

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

Parting = Literal["drop", "half_open", "restart"]


class HttpLine(H11Protocol):
    """A connection of HTTP requests; what serves them finds it in ``scope["state"]["line"]``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection."""
        self.app_state = {**self.app_state, "line": self}
        super().connection_made(transport)


class StreamLine(WebSocketsSansIOProtocol):
    """A websocket; frozen, it neither says nor hears anything, not even pings, and its TCP connection stays open."""

    is_frozen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.app_state = {**self.app_state, "line": self}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hear what the client says."""
        if not self.is_frozen:
            super().data_received(data)

    async def send(self, message: Any) -> None:
        """Say something to the client."""
        if not self.is_frozen:
            await super().send(message)


def line_of(scope: MutableMapping[str, Any]) -> HttpLine | StreamLine:
    """Return the connection under a request or a websocket."""
    return cast("HttpLine | StreamLine", scope["state"]["line"])


def reset(scope: MutableMapping[str, Any]) -> None:
    """End a connection at once by a TCP reset."""
    transport = line_of(scope).transport
    under = transport.get_extra_info("socket")
    if under is not None and not transport.is_closing():
        under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def part(scope: MutableMapping[str, Any], how: Parting) -> None:
    """Lose a websocket: end TCP behind what was sent, freeze it, or reset it."""
    line = line_of(scope)
    if how == "restart":
        reset(scope)
    elif how == "drop":
        line.transport.close()
    elif isinstance(line, StreamLine):
        line.is_frozen = True
