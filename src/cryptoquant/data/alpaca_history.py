"""What Alpaca tells of the past, page by page: bars, trades and quotes in our columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from cryptoquant.errors import VenueError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import INSTANT, SCHEMAS
from cryptoquant.market.time import Timeframe, from_iso, iso, span_ns, timeframe_name

PAGE_LIMIT = 10_000
KINDS = ("bars", "trades", "quotes")
SIDES = {"B": "B", "S": "S"}

Get = Callable[[str, Mapping[str, Any]], dict[str, Any]]
Row = tuple[Any, ...]


class _Stamped(msgspec.Struct):
    """A row of which only the time is of interest."""

    t: str


_Times = dict[str, list[_Stamped]] | None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its rows (schema of their kind, perhaps none) and the token of the next page, None after the last."""

    rows: pl.DataFrame
    token: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """What is asked for: one kind of rows of some symbols over a range (ns UTC).

    Bars lie in it whole, ``start <= open_time`` and ``time <= end``; of trades and quotes ``start <= time <= end``.

    Raises
    ------
    ValueError
        The kind is unknown, or bars come without a timeframe, or with one that Alpaca lacks.
    """

    kind: str
    symbols: tuple[str, ...]
    start: int
    end: int
    timeframe: Timeframe | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"history of {self.kind!r}: wanted one of {', '.join(KINDS)}")
        if self.kind == "bars":
            if self.timeframe is None:
                raise ValueError("history of bars: timeframe is missing, for example '1h'")
            alpaca_timeframe(self.timeframe)

    @property
    def width(self) -> int:
        """The length of a bar (ns), 0 for ticks."""
        return 0 if self.timeframe is None or self.kind != "bars" else span_ns(self.timeframe)

    def query(self, token: str | None = None) -> dict[str, Any]:
        """Return the parameters of a request."""
        asked: dict[str, Any] = {
            "symbols": ",".join(normalize_symbol(name) for name in self.symbols),
            "start": iso(self.start),
            "end": iso(self.end - self.width),
            "limit": PAGE_LIMIT,
            "sort": "asc",
        }
        if self.kind == "bars" and self.timeframe is not None:
            asked["timeframe"] = alpaca_timeframe(self.timeframe)
        return asked if token is None else {**asked, "page_token": token}


def pages(get: Get, span: Span, *, token: str | None = None) -> Iterator[Page]:
    """Yield the pages of a span as they come, from a token on where one is given.

    Parameters
    ----------
    get
        Takes a path and a query and returns the decoded answer.

    Raises
    ------
    VenueError
        A row cannot be read; besides what ``get`` raises.
    """
    for answer in bodies(get, span, token=token):
        listed: Mapping[str, Sequence[Mapping[str, Any]]] = answer.get(span.kind) or {}
        rows = [_row(span, symbol, row) for symbol, rows in listed.items() for row in rows]
        yield Page(_frame(span.kind, rows), answer.get("next_page_token") or None)


def bodies(get: Get, span: Span, *, token: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the answers that make up a span, from a token on where one is given; raises what ``get`` raises."""
    if span.end - span.width < span.start:
        return
    while True:
        answer = get(f"/crypto/us/{span.kind}", span.query(token))
        yield answer
        token = answer.get("next_page_token") or None
        if token is None:
            return


def times(kind: str, body: Any) -> dict[str, list[int]]:
    """Return by symbol the stamps (ns UTC; of bars the open) of the rows of an answer, in its order.

    Raises
    ------
    ValueError
        The answer is no page of this kind: it is no object, rows of the kind are absent or no lists by symbol, or a row
        is no object with a time.
    """
    page = msgspec.convert(body, dict[str, Any])
    if kind not in page:
        raise ValueError(f"found no {kind} in the answer")
    msgspec.convert(page.get("next_page_token"), str | None)
    found = msgspec.convert(page[kind], _Times) or {}
    return {symbol: [from_iso(row.t) for row in rows] for symbol, rows in found.items()}


def alpaca_timeframe(timeframe: Timeframe) -> str:
    """Return Alpaca's name of a timeframe.

    Examples
    --------
    >>> alpaca_timeframe("5m"), alpaca_timeframe("1h"), alpaca_timeframe("1d")
    ('5Min', '1Hour', '1Day')
    """
    seconds = span_ns(timeframe) // 1_000_000_000
    for unit, name, most in ((86_400, "Day", 1), (3_600, "Hour", 23), (60, "Min", 59)):
        if seconds % unit == 0 and seconds // unit <= most:
            return f"{seconds // unit}{name}"
    raise ValueError(f"Alpaca has no bars of {timeframe_name(timeframe)}: wanted 1m to 59m, 1h to 23h, or 1d")


def _row(span: Span, symbol: str, row: Mapping[str, Any]) -> Row:
    """Return a row in the order of its schema; Alpaca stamps a bar with its open, ``known`` of history is ``time``."""
    try:
        name, time = normalize_symbol(symbol), from_iso(row["t"])
        if span.kind == "bars":
            prices = (float(row["o"]), float(row["h"]), float(row["l"]), float(row["c"]), float(row["v"]))
            close = time + span.width
            return (name, close, close, time, *prices, int(row.get("n") or 0), float(row.get("vw") or 0.0))
        if span.kind == "trades":
            side = SIDES.get(row.get("tks", ""), "")
            return name, time, time, int(row["i"]), float(row["p"]), float(row["s"]), side
        return name, time, time, float(row["bp"]), float(row["bs"]), float(row["ap"]), float(row["as"])
    except (KeyError, TypeError, ValueError) as error:
        what = span.kind.removesuffix("s")
        raise VenueError(f"{symbol}: a {what} of the venue cannot be read ({error!r}): {row}") from error


def _frame(kind: str, rows: list[Row]) -> pl.DataFrame:
    schema = {name: pl.Int64 if dtype == INSTANT else dtype for name, dtype in SCHEMAS[kind].items()}
    instants = [name for name, dtype in SCHEMAS[kind].items() if dtype == INSTANT]
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in instants)
