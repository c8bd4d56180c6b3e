"""What is the same for every account, over HTTP: the pairs, the clock and the calendar."""

from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from cryptoquant.backtest.sandbox.activities import instant
from cryptoquant.backtest.sandbox.exchange import DAY, Exchange
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.refusal import absent, invalid_request
from cryptoquant.backtest.sandbox.trading import Handled, answer, refuse
from cryptoquant.backtest.sandbox.wire import Body, asset_body, clock_body
from cryptoquant.market.instrument import compact_symbol
from cryptoquant.market.time import iso


class ReferenceApi:
    """Answers requests about the venue itself."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def handlers(self) -> Sequence[Handled]:
        """Return method, path and handler of each address."""
        return (
            ("GET", "/assets", self.assets),
            ("GET", "/assets/{symbol:path}", self.asset),
            ("GET", "/clock", self.clock),
            ("GET", "/calendar", self.calendar),
        )

    async def assets(self, exchange: Exchange, request: Request) -> Response:
        """Return the pairs of this market, which are all active and have no attributes."""
        wanted = {"asset_class": "crypto", "status": "active", "exchange": "CRYPTO", "attributes": ""}
        query = request.query_params
        is_wanted = all(query.get(name, value) in (value, "") for name, value in wanted.items())
        listed = exchange.instruments.values() if is_wanted else ()
        return answer([asset_body(exchange, instrument) for instrument in listed])

    async def asset(self, exchange: Exchange, request: Request) -> Response:
        """Return one pair, by its symbol with or without the slash, or by its id."""
        symbol = listed_symbol(exchange, request.path_params["symbol"])
        if symbol is None:
            return refuse(absent(f"asset not found for {request.path_params['symbol']}"))
        return answer(asset_body(exchange, exchange.instruments[symbol]))

    async def clock(self, exchange: Exchange, request: Request) -> Response:
        """Return the market's moment."""
        return answer(clock_body(self.market.now))

    async def calendar(self, exchange: Exchange, request: Request) -> Response:
        """Return the days of the market between ``start`` and ``end``, both inclusive, all of them open."""
        query = request.query_params
        try:
            start, end = instant(query.get("start"), self.market.begin), instant(query.get("end"), self.market.end)
        except ValueError as error:
            return refuse(invalid_request(str(error)))
        return answer(list(_days(max(start, self.market.begin), min(end, self.market.end))))


def _days(start: int, end: int) -> Iterator[Body]:
    for day in range(start // DAY, end // DAY + 1):
        date = iso(day * DAY)[:10]
        sessions = {"session_open": "0000", "session_close": "2359"}
        yield {"date": date, "open": "00:00", "close": "23:59", **sessions, "settlement_date": date}


def listed_symbol(exchange: Exchange, text: str) -> str | None:
    """Return the slash form of a symbol written with or without the slash, or of an asset's id; None when unknown."""
    if text in exchange.instruments:
        return text
    for symbol, identity in exchange.asset_ids.items():
        if text in (identity, compact_symbol(symbol)):
            return symbol
    return None
