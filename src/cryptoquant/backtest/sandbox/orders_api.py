"""Orders over HTTP: submit, list, find, replace and cancel, as Alpaca's paper venue does."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cryptoquant.backtest.sandbox.activities import ALWAYS, instant
from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.refusal import Refusal, absent, invalid_request
from cryptoquant.backtest.sandbox.ticket import Ticket, select
from cryptoquant.backtest.sandbox.trading import Handled, answer, refuse
from cryptoquant.backtest.sandbox.updates import TradeUpdates
from cryptoquant.backtest.sandbox.wire import Body, order_body, refusal_body
from cryptoquant.market.instrument import normalize_symbol

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 500
CHOICES = {"status": ("open", "closed", "all"), "direction": ("desc", "asc"), "side": ("buy", "sell")}


class OrdersApi:
    """Answers requests about orders; each that changes one tells the trade updates."""

    def __init__(self, market: Market, updates: TradeUpdates) -> None:
        self.market, self.updates = market, updates

    def handlers(self) -> Sequence[Handled]:
        """Return method, path and handler of each address."""
        return (
            ("POST", "/orders", self.submit),
            ("GET", "/orders", self.orders),
            ("DELETE", "/orders", self.cancel_all),
            ("GET", "/orders:by_client_order_id", self.order_by_client_id),
            ("GET", "/orders/{order_id}", self.order),
            ("PATCH", "/orders/{order_id}", self.replace),
            ("DELETE", "/orders/{order_id}", self.cancel),
        )

    async def submit(self, exchange: Exchange, request: Request) -> Response:
        """Take an order; the answer says ``pending_new``, the update ``new`` follows on the stream."""
        body = await read_object(request)
        outcome = body if isinstance(body, Refusal) else exchange.submit(body, self.market.now)
        return await self.placed(exchange, outcome)

    async def replace(self, exchange: Exchange, request: Request) -> Response:
        """Put a changed order in the place of an open one; the answer is the new order."""
        body = await read_object(request)
        order_id = request.path_params["order_id"]
        outcome = body if isinstance(body, Refusal) else exchange.replace(order_id, body, self.market.now)
        return await self.placed(exchange, outcome)

    async def orders(self, exchange: Exchange, request: Request) -> Response:
        """Return orders, newest first unless ``direction=asc``; ``after`` and ``until`` are exclusive.

        ``nested`` changes nothing: crypto orders have no legs.
        """
        query = request.query_params
        try:
            limit = int(query.get("limit", DEFAULT_LIMIT))
            between = instant(query.get("after"), -ALWAYS), instant(query.get("until"), ALWAYS)
            symbols = [normalize_symbol(symbol) for symbol in query.get("symbols", "").split(",") if symbol]
        except ValueError as error:
            return refuse(invalid_request(str(error)))
        if not 1 <= limit <= LARGEST_LIMIT:
            return refuse(invalid_request(f"limit must lie between 1 and {LARGEST_LIMIT}, found {limit}"))
        for name, known in CHOICES.items():
            if query.get(name, known[0]) not in known:
                return refuse(invalid_request(f"{name} must be one of {', '.join(known)}, found {query[name]}"))
        tickets = list(exchange.tickets.values())
        if query.get("direction", "desc") == "desc":
            tickets.reverse()
        sides = [query["side"]] if "side" in query else ["buy", "sell"]
        found = select(tickets, status=query.get("status", "open"), sides=sides, symbols=symbols, between=between)
        return answer([order_body(ticket, exchange) for ticket in found[:limit]])

    async def order(self, exchange: Exchange, request: Request) -> Response:
        """Return one order by its id."""
        order_id = request.path_params["order_id"]
        return _found(exchange, exchange.tickets.get(order_id), order_id)

    async def order_by_client_id(self, exchange: Exchange, request: Request) -> Response:
        """Return one order by the client's id."""
        client_id = request.query_params.get("client_order_id", "")
        return _found(exchange, exchange.find(client_id), client_id)

    async def cancel(self, exchange: Exchange, request: Request) -> Response:
        """Ask that one order is canceled."""
        outcome = exchange.cancel(request.path_params["order_id"], self.market.now)
        await self.updates.flush()
        return refuse(outcome) if isinstance(outcome, Refusal) else Response(status_code=204)

    async def cancel_all(self, exchange: Exchange, request: Request) -> Response:
        """Ask that every open order is canceled; one status for each."""
        said = cancel_open(exchange, self.market.now)
        await self.updates.flush()
        return answer(said, 207)

    async def placed(self, exchange: Exchange, outcome: Ticket | Refusal) -> Response:
        """Return the answer to an order that was asked for, after telling the updates."""
        await self.updates.flush()
        return refuse(outcome) if isinstance(outcome, Refusal) else answer(pending_body(outcome, exchange))


async def read_object(request: Request) -> Mapping[str, Any] | Refusal:
    """Return the JSON object that a request carries, or the refusal."""
    try:
        body = msgspec.json.decode(await request.body())
    except msgspec.DecodeError:
        body = None
    return body if isinstance(body, Mapping) else invalid_request("the body must be a JSON object")


def pending_body(ticket: Ticket, exchange: Exchange) -> Body:
    """Return an order as it is answered to the one who placed it: before the market has seen it."""
    return order_body(ticket, exchange, "pending_new")


def cancel_open(exchange: Exchange, now: int) -> list[Body]:
    """Ask that every open order is canceled; return Alpaca's list of ids and statuses."""
    said: list[Body] = []
    for order_id in list(exchange.matcher.open):
        outcome = exchange.cancel(order_id, now)
        if isinstance(outcome, Refusal):
            said.append({"id": order_id, "status": outcome.status, "body": refusal_body(outcome)})
        else:
            said.append({"id": order_id, "status": 200})
    return said


def _found(exchange: Exchange, ticket: Ticket | None, name: str) -> Response:
    if ticket is None:
        return refuse(absent(f"order not found for {name}"))
    return answer(order_body(ticket, exchange))
