"""The door of the trading API: who may come in, how often, and how an answer is written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.accounts import Accounts
from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.meter import Meter
from cryptoquant.backtest.sandbox.refusal import TOO_MANY, TOO_MANY_REQUESTS, UNAUTHORIZED, Refusal
from cryptoquant.backtest.sandbox.wire import refusal_body

PREFIX = "/v2"

Handler = Callable[[Exchange, Request], Awaitable[Response]]
Handled = tuple[str, str, Handler]


class Api(Protocol):
    """A part of the trading API."""

    def handlers(self) -> Sequence[Handled]:
        """Return method, path below ``/v2`` and handler of each address; the handler gets the caller's exchange."""
        ...


class TradingApi:
    """Lets the accounts of a sandbox in, each to its own exchange.

    Parameters
    ----------
    parts
        What is behind the door; an earlier part wins an address.
    meter
        How many requests are allowed, None for any number.
    """

    def __init__(self, accounts: Accounts, parts: Sequence[Api], meter: Meter | None = None) -> None:
        self.accounts, self.parts, self.meter = accounts, parts, meter

    def routes(self) -> list[Route]:
        """Return the HTTP routes; all of them need the keys of an account."""
        return [
            Route(PREFIX + path, self._guarded(handler), methods=[method])
            for part in self.parts
            for method, path, handler in part.handlers()
        ]

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            key = request.headers.get("apca-api-key-id")
            account = self.accounts.find(key, request.headers.get("apca-api-secret-key"))
            if account is None:
                return answer({"message": "unauthorized"}, UNAUTHORIZED)
            if self.meter is None:
                return await handler(account.exchange, request)
            is_allowed, headers = self.meter.count(account.keys[0])
            too_many = Refusal(TOO_MANY, TOO_MANY_REQUESTS, "too many requests")
            response = await handler(account.exchange, request) if is_allowed else refuse(too_many)
            response.headers.update(headers)
            return response

        return respond


def answer(body: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def refuse(refused: Refusal) -> Response:
    """Return a refusal as a JSON response."""
    return answer(refusal_body(refused), refused.status)
