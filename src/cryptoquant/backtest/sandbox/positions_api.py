"""Positions over HTTP: list, find and close, in whole or in part, as Alpaca's paper venue does."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal, InvalidOperation

from starlette.requests import Request
from starlette.responses import Response

from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.orders_api import OrdersApi, cancel_open, pending_body
from cryptoquant.backtest.sandbox.reference_api import listed_symbol
from cryptoquant.backtest.sandbox.refusal import Refusal, absent, invalid_order, invalid_request
from cryptoquant.backtest.sandbox.trading import Handled, answer, refuse
from cryptoquant.backtest.sandbox.wire import Body, position_body, refusal_body
from cryptoquant.market.instrument import compact_symbol

HUNDRED = Decimal(100)


class PositionsApi:
    """Answers requests about positions; a position is closed by an order, which ``orders`` places."""

    def __init__(self, market: Market, orders: OrdersApi) -> None:
        self.market, self.orders = market, orders

    def handlers(self) -> Sequence[Handled]:
        """Return method, path and handler of each address; a symbol with a slash is at none of them."""
        return (
            ("GET", "/positions", self.positions),
            ("DELETE", "/positions", self.close_all),
            ("GET", "/positions/{symbol}", self.position),
            ("DELETE", "/positions/{symbol}", self.close),
        )

    async def positions(self, exchange: Exchange, request: Request) -> Response:
        """Return what is held."""
        return answer([position_body(exchange, symbol) for symbol in _held(exchange)])

    async def position(self, exchange: Exchange, request: Request) -> Response:
        """Return what is held of a symbol, written without a slash."""
        symbol = listed_symbol(exchange, request.path_params["symbol"])
        if symbol is None or symbol not in _held(exchange):
            return refuse(absent("position does not exist"))
        return answer(position_body(exchange, symbol))

    async def close(self, exchange: Exchange, request: Request) -> Response:
        """Sell a position, or ``qty`` coins or ``percentage`` of it, at the market."""
        symbol = listed_symbol(exchange, request.path_params["symbol"])
        if symbol is None or symbol not in _held(exchange):
            return refuse(absent("position does not exist"))
        part = _part(exchange, symbol, request.query_params)
        if isinstance(part, Refusal):
            return refuse(part)
        return await self.orders.placed(exchange, exchange.close_position(symbol, self.market.now, part))

    async def close_all(self, exchange: Exchange, request: Request) -> Response:
        """Sell every position at the market, after canceling the open orders when asked to."""
        if request.query_params.get("cancel_orders", "").lower() == "true":
            cancel_open(exchange, self.market.now)
        results: list[Body] = []
        for symbol in _held(exchange):
            outcome = exchange.close_position(symbol, self.market.now)
            if isinstance(outcome, Refusal):
                status, body = outcome.status, refusal_body(outcome)
            else:
                status, body = 200, pending_body(outcome, exchange)
            results.append({"symbol": compact_symbol(symbol), "status": status, "body": body})
        await self.orders.updates.flush()
        return answer(results, 207)


def _held(exchange: Exchange) -> list[str]:
    return [symbol for symbol in exchange.symbols if exchange.position(symbol).lots]


def _part(exchange: Exchange, symbol: str, query: Mapping[str, str]) -> Decimal | Refusal | None:
    """Return the coins to sell, None for all that is free."""
    if "qty" in query and "percentage" in query:
        return invalid_request("only one of qty or percentage is accepted")
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
    held = exchange.coins(symbol, exchange.position(symbol).lots)
    increment = exchange.instruments[symbol].quantity_increment
    return (held * number / HUNDRED).quantize(increment, rounding=ROUND_DOWN)
