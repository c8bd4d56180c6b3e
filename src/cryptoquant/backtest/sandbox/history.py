"""What has been, over HTTP: bars, trades, quotes, the latest of each, snapshots. Nothing after the present moment."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.market import DAY, Market
from cryptoquant.backtest.sandbox.wire import Body, rest
from cryptoquant.data.synthetic import Tick, ticks
from cryptoquant.market.schema import Bar, BookUpdate, Quote, Trade
from cryptoquant.market.time import from_iso, to_ns

PREFIX = "/v1beta3/crypto/us"
SYMBOL = re.compile(r"^[A-Z]+/[A-Z]+$")
DEFAULT_LIMIT, LARGEST_LIMIT = 1_000, 10_000

Answer = tuple[int, bytes]
Kind = Literal["trades", "quotes"]


@dataclass(frozen=True, slots=True)
class Query:
    """A checked request for a range.

    Attributes
    ----------
    symbols
        Sorted: pages go by symbol, then time.
    start, end
        Nanoseconds UTC, both inclusive.
    token
        Symbol and time of the first row of this page, None for the first page.
    """

    symbols: tuple[str, ...]
    start: int
    end: int
    limit: int
    descending: bool
    token: tuple[str, int] | None

    @classmethod
    def read(cls, parameters: Mapping[str, str], now: int) -> "Query":
        """Return the query of the parameters of a URL; the start is the day's midnight by default.

        Raises
        ------
        ValueError
            A parameter cannot be used; the message is what Alpaca's error body says.
        """
        symbols = read_symbols(parameters)
        start = _instant(parameters["start"]) if parameters.get("start") else now // DAY * DAY
        end = _instant(parameters["end"]) if parameters.get("end") else now
        if start > end:
            raise ValueError("end should not be before start")
        try:
            limit = int(parameters.get("limit") or DEFAULT_LIMIT)
        except ValueError:
            limit = 0
        if not 1 <= limit <= LARGEST_LIMIT:
            raise ValueError(f"invalid limit: {parameters['limit']} is not between 1 and {LARGEST_LIMIT}")
        sort = parameters.get("sort") or "asc"
        if sort not in ("asc", "desc"):
            raise ValueError(f"invalid sort: {sort}")
        token = parameters.get("page_token")
        return cls(symbols, start, end, limit, sort == "desc", _read_token(token) if token else None)

    def bounds(self, symbol: str) -> tuple[int, int] | None:
        """Return the inclusive range of a symbol that is left at this page, None when it was delivered before."""
        if self.token is None or symbol > self.token[0]:
            return self.start, self.end
        if symbol < self.token[0]:
            return None
        return (self.start, self.token[1]) if self.descending else (self.token[1], self.end)


def read_symbols(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sorted symbols of a request; only the slash form is taken."""
    symbols = tuple(sorted({part for part in (parameters.get("symbols") or "").split(",") if part}))
    if not symbols:
        raise ValueError("symbols is required")
    for symbol in symbols:
        if SYMBOL.match(symbol) is None:
            raise ValueError(f"invalid symbol: {symbol} does not match {SYMBOL.pattern}")
    return symbols


def _instant(text: str) -> int:
    return to_ns(text) if len(text) == 10 else from_iso(text)


def _write_token(symbol: str, ns: int) -> str:
    return base64.urlsafe_b64encode(f"{symbol}|{ns}".encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    try:
        symbol, _, ns = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        return symbol, int(ns)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"invalid page_token: {token}") from error


@dataclass(frozen=True, slots=True)
class History:
    """The past of a market in Alpaca's bodies; trades, quotes and books are drawn from the bars by ``seed``."""

    market: Market
    seed: int

    def bars(self, parameters: Mapping[str, str]) -> bytes:
        """Return the body of ``GET bars``: closed bars of any timeframe, stamped with their open."""
        query = Query.read(parameters, self.market.now)
        timeframe = parameters.get("timeframe") or ""
        found: dict[str, msgspec.Raw] = {}
        left, token = query.limit, None
        for symbol in (symbol for symbol in query.symbols if symbol in self.market.symbols):
            bounds = query.bounds(symbol)
            if bounds is None:
                continue
            series = self.market.series(symbol, timeframe)
            first = int(np.searchsorted(series.opens, bounds[0]))
            closed = int(np.searchsorted(series.closes, self.market.now, side="right"))
            last = min(int(np.searchsorted(series.opens, bounds[1], side="right")), closed)
            if first >= last:
                continue
            if not left:
                token = _write_token(symbol, int(series.opens[last - 1 if query.descending else first]))
                break
            taken = min(left, last - first)
            page = (last - taken, last) if query.descending else (first, first + taken)
            found[symbol] = msgspec.Raw(series.points(*page, descending=query.descending).encode())
            left -= taken
            if taken < last - first:
                token = _write_token(symbol, int(series.opens[page[0] - 1 if query.descending else page[1]]))
                break
        return msgspec.json.encode({"bars": found, "next_page_token": token})

    def ticks(self, kind: Kind, parameters: Mapping[str, str]) -> bytes:
        """Return the body of ``GET trades`` or ``GET quotes``."""
        query = Query.read(parameters, self.market.now)
        found: dict[str, list[Body]] = {}
        left, token = query.limit, None
        for symbol in (symbol for symbol in query.symbols if symbol in self.market.symbols):
            bounds = query.bounds(symbol)
            for tick in () if bounds is None else self._between(symbol, kind, bounds, descending=query.descending):
                if not left:
                    token = _write_token(symbol, tick.time)
                    break
                found.setdefault(symbol, []).append(rest(tick))
                left -= 1
            if token is not None:
                break
        return msgspec.json.encode({kind: found, "next_page_token": token})

    def _between(self, symbol: str, kind: Kind, bounds: tuple[int, int], *, descending: bool) -> Iterator[Tick]:
        series, wanted = self.market.base(symbol), Trade if kind == "trades" else Quote
        first = int(np.searchsorted(series.closes, bounds[0]))
        closed = int(np.searchsorted(series.closes, self.market.now, side="right"))
        last = min(int(np.searchsorted(series.opens, bounds[1], side="right")), closed)
        order = range(last - 1, first - 1, -1) if descending else range(first, last)
        for index in order:
            inside = ticks(series.bar(index), seed=self.seed)
            late = self.market.late_trade(symbol, index)
            if late is not None:
                inside = sorted([*inside, late], key=lambda tick: tick.time)
            for tick in reversed(inside) if descending else inside:
                if isinstance(tick, wanted) and bounds[0] <= tick.time <= bounds[1]:
                    yield tick

    def latest(self, kind: str, parameters: Mapping[str, str]) -> bytes:
        """Return the body of ``GET latest/{trades,quotes,bars,orderbooks}``."""
        finders: dict[str, Callable[[str], Trade | Quote | Bar | BookUpdate | None]] = {
            "trades": self.last_trade,
            "quotes": self.last_quote,
            "bars": self.market.latest,
            "orderbooks": self.book,
        }
        find = finders[kind]
        events = {s: find(s) for s in read_symbols(parameters) if s in self.market.symbols}
        return msgspec.json.encode({kind: {symbol: rest(event) for symbol, event in events.items() if event}})

    def snapshots(self, parameters: Mapping[str, str]) -> bytes:
        """Return the body of ``GET snapshots``; a part that does not exist yet is left out."""
        found = {}
        for symbol in (s for s in read_symbols(parameters) if s in self.market.symbols):
            parts: dict[str, Trade | Quote | Bar | None] = {
                "dailyBar": self.market.day(symbol),
                "latestQuote": self.last_quote(symbol),
                "latestTrade": self.last_trade(symbol),
                "minuteBar": self.market.latest(symbol),
                "prevDailyBar": self._previous_day(symbol),
            }
            found[symbol] = {name: rest(event) for name, event in parts.items() if event is not None}
        return msgspec.json.encode({"snapshots": found})

    def last_trade(self, symbol: str) -> Trade | None:
        """Return the last trade before the present."""
        bar = self.market.last(symbol, traded=True)
        inside = [] if bar is None else ticks(bar, seed=self.seed)
        return next((tick for tick in reversed(inside) if isinstance(tick, Trade)), None)

    def last_quote(self, symbol: str) -> Quote | None:
        """Return the last best bid and ask before the present."""
        bar = self.market.last(symbol)
        inside = [] if bar is None else ticks(bar, seed=self.seed)
        return next((tick for tick in reversed(inside) if isinstance(tick, Quote)), None)

    def book(self, symbol: str) -> BookUpdate | None:
        """Return the whole book at the present: best levels first."""
        bar = self.market.last(symbol)
        updates = [] if bar is None else [t for t in ticks(bar, seed=self.seed) if isinstance(t, BookUpdate)]
        bids: dict[float, float] = {}
        asks: dict[float, float] = {}
        for update in updates:
            bids = dict(update.bids) if update.reset else bids | dict(update.bids)
            asks = dict(update.asks) if update.reset else asks | dict(update.asks)
        if not updates:
            return None
        time = updates[-1].time
        return BookUpdate(symbol, time, time, _standing(bids, descending=True), _standing(asks, descending=False))

    def _previous_day(self, symbol: str) -> Bar | None:
        days = self.market.series(symbol, "1Day")
        index = int(np.searchsorted(days.opens, (self.market.now - 1) // DAY * DAY)) - 1
        return days.bar(index) if index >= 0 else None

    def routes(self, knows: Callable[[str | None, str | None], bool]) -> list[Route]:
        """Return the HTTP routes; keys are optional, but those that nobody ``knows`` are refused."""

        def route(path: str, answer: Callable[[Mapping[str, str]], bytes]) -> Route:
            async def respond(request: Request) -> Response:
                status, body = _guarded(answer, request, knows)
                return Response(body, status, media_type="application/json")

            return Route(PREFIX + path, respond)

        ranges = [route("/trades", partial(self.ticks, "trades")), route("/quotes", partial(self.ticks, "quotes"))]
        kinds = ("trades", "quotes", "bars", "orderbooks")
        latest = [route(f"/latest/{kind}", partial(self.latest, kind)) for kind in kinds]
        return [route("/bars", self.bars), route("/snapshots", self.snapshots), *ranges, *latest]


def _standing(levels: Mapping[float, float], *, descending: bool) -> tuple[tuple[float, float], ...]:
    return tuple(sorted(((price, size) for price, size in levels.items() if size > 0), reverse=descending))


def _guarded(
    answer: Callable[[Mapping[str, str]], bytes], request: Request, knows: Callable[[str | None, str | None], bool]
) -> Answer:
    given = request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key")
    if given != (None, None) and not knows(*given):
        return 401, _message("unauthorized")
    try:
        return 200, answer(request.query_params)
    except ValueError as error:
        return 400, _message(str(error))


def _message(text: Any) -> bytes:
    return msgspec.json.encode({"message": text})
