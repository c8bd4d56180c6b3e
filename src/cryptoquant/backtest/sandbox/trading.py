"""The trading API over HTTP: account, orders, positions, assets, clock, activities, as Alpaca's paper venue does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.exchange import DAY, Exchange, Ticket, select
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.refusal import Refusal, absent, invalid_order, invalid_request
from cryptoquant.backtest.sandbox.updates import TradeUpdates
from cryptoquant.backtest.sandbox.wire import (
    Body,
    account_body,
    asset_body,
    asset_id,
    clock_body,
    fee_activity,
    fill_activity,
    order_body,
    position_body,
    refusal_body,
)
from cryptoquant.market.instrument import compact_symbol, normalize_symbol
from cryptoquant.market.time import from_iso, to_ns

PREFIX = "/v2"
DEFAULT_LIMIT, LARGEST_LIMIT = 50, 500
ALWAYS = 2**63 - 1
HUNDRED = Decimal(100)

Handler = Callable[[Request], Awaitable[Response]]


class TradingApi:
    """Answers HTTP requests from the exchange's state; each request that changes it tells the trade updates."""

    def __init__(self, market: Market, exchange: Exchange, updates: TradeUpdates, keys: tuple[str, str]) -> None:
        self.market, self.exchange, self.updates, self.keys = market, exchange, updates, keys

    def routes(self) -> list[Route]:
        """Return the HTTP routes; all of them need the keys."""
        handlers: Sequence[tuple[str, str, Handler]] = (
            ("GET", "/account", self.account),
            ("GET", "/account/activities", self.activities),
            ("GET", "/account/activities/{kind}", self.activities),
            ("GET", "/assets", self.assets),
            ("GET", "/assets/{symbol:path}", self.asset),
            ("GET", "/clock", self.clock),
            ("POST", "/orders", self.submit),
            ("GET", "/orders", self.orders),
            ("DELETE", "/orders", self.cancel_all),
            ("GET", "/orders:by_client_order_id", self.order_by_client_id),
            ("GET", "/orders/{order_id}", self.order),
            ("DELETE", "/orders/{order_id}", self.cancel),
            ("GET", "/positions", self.positions),
            ("DELETE", "/positions", self.close_all),
            ("GET", "/positions/{symbol}", self.position),
            ("DELETE", "/positions/{symbol}", self.close),
        )
        return [Route(PREFIX + path, self._guarded(handler), methods=[method]) for method, path, handler in handlers]

    def _guarded(self, handler: Handler) -> Handler:
        async def respond(request: Request) -> Response:
            if (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key")) != self.keys:
                return answer({"message": "unauthorized"}, 401)
            return await handler(request)

        return respond

    async def account(self, request: Request) -> Response:
        """Return the account."""
        return answer(account_body(self.exchange, self.market.start))

    async def clock(self, request: Request) -> Response:
        """Return the market's moment."""
        return answer(clock_body(self.market.now))

    async def activities(self, request: Request) -> Response:
        """Return fills, and the fees of the days that have ended: Alpaca posts CFEE at the end of the day."""
        kind, today = request.path_params.get("kind"), self.market.now // DAY
        found: list[Body] = []
        for fill in reversed(self.exchange.fills):
            if kind in (None, "FILL"):
                found.append(fill_activity(fill, self.exchange))
            if kind in (None, "CFEE") and fill.time // DAY < today:
                found.append(fee_activity(fill, self.exchange))
        return answer(found)

    async def assets(self, request: Request) -> Response:
        """Return the pairs of this market."""
        wanted = request.query_params.get("asset_class", "crypto") == "crypto"
        active = request.query_params.get("status", "active") == "active"
        listed = self.exchange.instruments.values() if wanted and active else ()
        return answer([asset_body(self.exchange, instrument) for instrument in listed])

    async def asset(self, request: Request) -> Response:
        """Return one pair, by its symbol with or without the slash, or by its id."""
        symbol = self._symbol(request.path_params["symbol"])
        if symbol is None:
            return refuse(absent(f"asset not found for {request.path_params['symbol']}"))
        return answer(asset_body(self.exchange, self.exchange.instruments[symbol]))

    async def submit(self, request: Request) -> Response:
        """Take an order; the answer says ``pending_new``, the update ``new`` follows on the stream."""
        try:
            body = msgspec.json.decode(await request.body())
        except msgspec.DecodeError:
            body = None
        if not isinstance(body, Mapping):
            return refuse(invalid_request("the body must be a JSON object"))
        return await self._placed(self.exchange.submit(body, self.market.now))

    async def orders(self, request: Request) -> Response:
        """Return orders, newest first unless ``direction=asc``; ``after`` and ``until`` are exclusive."""
        query = request.query_params
        try:
            limit = int(query.get("limit", DEFAULT_LIMIT))
            after = instant(query["after"]) if "after" in query else -ALWAYS
            until = instant(query["until"]) if "until" in query else ALWAYS
            symbols = [normalize_symbol(symbol) for symbol in query.get("symbols", "").split(",") if symbol]
        except ValueError as error:
            return refuse(invalid_request(str(error)))
        if not 1 <= limit <= LARGEST_LIMIT:
            return refuse(invalid_request(f"limit must lie between 1 and {LARGEST_LIMIT}, found {limit}"))
        sides = [query["side"]] if "side" in query else ["buy", "sell"]
        tickets = list(self.exchange.tickets.values())
        if query.get("direction", "desc") == "desc":
            tickets.reverse()
        status = query.get("status", "open")
        found = select(tickets, status=status, sides=sides, symbols=symbols, between=(after, until))
        return answer([order_body(ticket, self.exchange) for ticket in found[:limit]])

    async def order(self, request: Request) -> Response:
        """Return one order by its id."""
        return self._found(self.exchange.tickets.get(request.path_params["order_id"]), request.path_params["order_id"])

    async def order_by_client_id(self, request: Request) -> Response:
        """Return one order by the client's id."""
        client_id = request.query_params.get("client_order_id", "")
        return self._found(self.exchange.find(client_id), client_id)

    async def cancel(self, request: Request) -> Response:
        """Cancel one order."""
        outcome = self.exchange.cancel(request.path_params["order_id"], self.market.now)
        await self.updates.flush()
        return refuse(outcome) if isinstance(outcome, Refusal) else Response(status_code=204)

    async def cancel_all(self, request: Request) -> Response:
        """Cancel every open order; one status for each."""
        cancelled = self._cancel_open()
        await self.updates.flush()
        return answer([{"id": order_id, "status": 200} for order_id in cancelled], 207)

    async def positions(self, request: Request) -> Response:
        """Return what is held."""
        return answer([position_body(self.exchange, symbol) for symbol in self._held()])

    async def position(self, request: Request) -> Response:
        """Return what is held of a symbol, written without a slash."""
        symbol = self._symbol(request.path_params["symbol"])
        if symbol is None or symbol not in self._held():
            return refuse(absent("position does not exist"))
        return answer(position_body(self.exchange, symbol))

    async def close(self, request: Request) -> Response:
        """Sell a position, or ``qty`` coins or ``percentage`` of it, at the market."""
        symbol = self._symbol(request.path_params["symbol"])
        if symbol is None or symbol not in self._held():
            return refuse(absent("position does not exist"))
        part = self._part(symbol, request.query_params)
        if isinstance(part, Refusal):
            return refuse(part)
        return await self._placed(self.exchange.close_position(symbol, self.market.now, part))

    async def close_all(self, request: Request) -> Response:
        """Sell every position at the market, after cancelling the open orders when asked to."""
        if request.query_params.get("cancel_orders", "").lower() == "true":
            self._cancel_open()
        results = []
        for symbol in self._held():
            outcome = self.exchange.close_position(symbol, self.market.now)
            refused = isinstance(outcome, Refusal)
            body = refusal_body(outcome) if isinstance(outcome, Refusal) else self._pending(outcome)
            status = outcome.status if isinstance(outcome, Refusal) and refused else 200
            results.append({"symbol": compact_symbol(symbol), "status": status, "body": body})
        await self.updates.flush()
        return answer(results, 207)

    def _held(self) -> list[str]:
        return [symbol for symbol in self.exchange.symbols if self.exchange.position(symbol).lots]

    def _cancel_open(self) -> list[str]:
        cancelled = list(self.exchange.matcher.open)
        for order_id in cancelled:
            self.exchange.cancel(order_id, self.market.now)
        return cancelled

    def _symbol(self, text: str) -> str | None:
        names = {asset_id(self.exchange, symbol): symbol for symbol in self.exchange.symbols}
        names |= {compact_symbol(symbol): symbol for symbol in self.exchange.symbols}
        return text if text in self.exchange.symbols else names.get(text)

    def _part(self, symbol: str, query: Mapping[str, str]) -> Decimal | Refusal | None:
        name = "qty" if "qty" in query else "percentage" if "percentage" in query else None
        if name is None:
            return None
        try:
            number = Decimal(query[name])
        except InvalidOperation:
            return invalid_request(f"{name} must be a number, found {query[name]}")
        if not number.is_finite() or number <= 0 or (name == "percentage" and number > HUNDRED):
            return invalid_order(f"{name} out of range: {query[name]}")
        if name == "qty":
            return number
        held = self.exchange.coins(symbol, self.exchange.position(symbol).lots)
        increment = self.exchange.instruments[symbol].quantity_increment
        return (held * number / HUNDRED).quantize(increment, rounding=ROUND_DOWN)

    def _pending(self, ticket: Ticket) -> Body:
        return order_body(ticket, self.exchange, "pending_new")

    async def _placed(self, outcome: Ticket | Refusal) -> Response:
        await self.updates.flush()
        return refuse(outcome) if isinstance(outcome, Refusal) else answer(self._pending(outcome))

    def _found(self, ticket: Ticket | None, name: str) -> Response:
        if ticket is None:
            return refuse(absent(f"order not found for {name}"))
        return answer(order_body(ticket, self.exchange))


def instant(text: str) -> int:
    """Return nanoseconds of a date or of RFC 3339."""
    return to_ns(text) if len(text) == 10 else from_iso(text)


def answer(body: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def refuse(refused: Refusal) -> Response:
    """Return a refusal as a JSON response."""
    return answer(refusal_body(refused), refused.status)
