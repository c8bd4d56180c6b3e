"""The simulator: a compiled loop for weights and an event driver for strategies, over the same matching rules.

A decision at the close of a slice is filled at the next bar's open, never at the close that it saw.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.loop import mark_books, run_weights
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.schema import SIGNALS, to_polars, validate
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Panel
from cryptoquant.performance.report import Report, build_report, fills_frame, rejections_frame
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.matching import REASONS, Matcher, bounds_of
from cryptoquant.trading.order import Fill, Order, Rejection, Side, client_order_id
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import BASIS_POINT, Costs, Venue

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """What a driver returns: the curve by slice and the facts in order.

    Attributes
    ----------
    equity, cash, exposure
        Shape (slices,), quote currency; exposure is the signed share of the equity invested.
    orders, fills, rejections
        In the order in which they happened.
    """

    equity: Floats
    cash: Floats
    exposure: Floats
    orders: list[Order]
    fills: list[Fill]
    rejections: list[Rejection]


def simulate(
    what: Any,
    market: Any,
    costs: Costs | None = None,
    *,
    cash: float = 100_000.0,
    signals: Any = None,
    venue: Venue | None = None,
    execution: Execution | None = None,
    limits: RiskLimits | None = None,
    name: str | None = None,
) -> Report:
    """Trade the past and report what came of it.

    Parameters
    ----------
    what
        A strategy, or target weights: an array of shape (slices, symbols) or (slices,) for one symbol, NaN to hold, or
        a frame with columns time, symbol, weight (times are closes; a missing row holds).
    market
        A frame of bars of one timeframe (polars or pandas), or a Panel.
    costs
        Fees and slippage; by default Alpaca's tier 1.
    cash
        Quote currency at the start.
    signals
        Frame of the signals schema, for strategies that read signals.
    venue
        Rules; by default Alpaca's (spot, long only). ``costs`` is part of it: give one of the two.
    limits
        Risk limits for a strategy's orders; by default none.

    Raises
    ------
    SchemaError, DataError
        Impossible bars, weights that are longer than the market or infinite, or signals of unknown symbols.
    """
    if isinstance(what, type):
        raise TypeError(f"wanted a strategy, found the class {what.__name__}: call it, {what.__name__}(...)")
    if signals is None and getattr(what, "reads_signals", False):
        raise ValueError(f"{type(what).__name__} reads signals: give signals=, a frame of the signals schema")
    panel = market if isinstance(market, Panel) else Panel.from_frame(market)
    rules = _rules(venue, costs)
    plan = execution or Execution()
    if isinstance(what, Strategy):
        engine = Engine(what, rules, panel.symbols, cash, execution=plan, limits=limits)
        run = drive(engine, panel, signal_rows(signals, panel))
        return report_of(name or describe(what), run, panel, rules, cash, signals=signals)
    if signals is not None or limits is not None:
        raise ValueError("signals and limits go with a strategy; weights are traded as they are")
    run = simulate_weights(weights_of(what, panel), panel, rules, cash, plan)
    return report_of(name or "target weights", run, panel, rules, cash)


def drive(engine: Engine, panel: Panel, signals: dict[int, list[Signal]]) -> Run:
    """Drive an engine through a panel by events: match, signal, decide, submit; slice by slice.

    ``signals`` holds the signals of each close by its time; one that is known later than its slice is not shown.
    """
    matcher, book = Matcher(engine.venue, _books_like(engine)), engine.portfolio
    tape = Tape(book)
    orders: list[Order] = []
    fills: list[Fill] = []
    rejections: list[Rejection] = []
    for market in panel:
        if matcher.open:
            for outcome in matcher.match(market, market.time - panel.width):
                engine.on(outcome)
                if isinstance(outcome, Fill):
                    fills.append(outcome)
                    tape.note(market.row, book.index(outcome.symbol))
                elif isinstance(outcome, Rejection):
                    rejections.append(outcome)
        if signals:
            for signal in signals.get(market.time, ()):
                if signal.known <= market.known:
                    engine.on(signal)
        for said in engine.on(market):
            if isinstance(said, Rejection):
                rejections.append(said)
                continue
            orders.append(said)
            refused = matcher.submit(said, book.marks.item(book.index(said.symbol)))
            if refused is not None:
                engine.on(refused)
                rejections.append(refused)
    equity, cash = tape.curve(panel)
    return Run(equity, cash, 1.0 - cash / equity, orders, fills, rejections)


class Tape:
    """What changed in a book and when, from which its curve is computed afterwards in one compiled pass."""

    def __init__(self, book: Portfolio) -> None:
        self._book = book
        self._start = (book.lots.copy(), book.marks, book.cash)
        self._places: list[tuple[int, int]] = []
        self._after: list[tuple[float, float]] = []

    def note(self, row: int, place: int) -> None:
        """Remember what the book holds of a symbol, and its cash, after a change in a slice."""
        self._places.append((row, place))
        self._after.append((self._book.lots.item(place), self._book.cash))

    def curve(self, panel: Panel) -> tuple[Floats, Floats]:
        """Return equity and cash at every close, shape (slices,), in quote currency."""
        book = self._book
        places, after = np.array(self._places, dtype=np.int64), np.array(self._after, dtype=np.float64)
        equity, cash = np.empty(len(panel)), np.empty(len(panel))
        lots, marks, money = self._start
        shape = (len(self._places), 2)
        mark_books(
            places.reshape(shape),
            after.reshape(shape),
            panel.field("close"),
            (lots.copy(), book.lot, marks.copy(), money, book.unit),
            equity,
            cash,
        )
        return equity * book.unit, cash * book.unit


def simulate_weights(weights: Floats, panel: Panel, venue: Venue, cash: float, execution: Execution) -> Run:
    """Trade target weights of shape (slices, symbols) by the compiled loop; NaN holds."""
    book = Portfolio(panel.symbols, venue, cash)
    bounds = np.array([bounds_of(venue, symbol) for symbol in panel.symbols], dtype=np.float64)
    costs = venue.costs
    terms = np.array([costs.taker_bps * BASIS_POINT, costs.slippage_bps * BASIS_POINT, venue.unit, venue.collar])
    flags = np.array([not venue.is_continuous, costs.fee_asset == "quote", venue.allows_short])
    open_, high, low, close = (panel.field(field) for field in ("open", "high", "low", "close"))
    plan = np.array([execution.reserve, execution.band])
    curve, records, refused = run_weights(
        open_, high, low, close, weights, book.lot, bounds, terms, flags, plan, book.cash
    )
    fills = [_fill_of(record, panel, book.profile) for record in records]
    orders = [
        Order(fill.order_id, fill.profile, fill.symbol, fill.side, fill.lots, int(panel.times[int(record[0])]))
        for fill, record in zip(fills, records, strict=True)
    ]
    rejections = [_rejection_of(record, panel, book.profile) for record in refused]
    equity, cash_units = curve[:, 0] * venue.unit, curve[:, 1] * venue.unit
    return Run(equity, cash_units, 1.0 - cash_units / equity, orders, fills, rejections)


def _fill_of(record: Floats, panel: Panel, profile: str) -> Fill:
    decided, row, column, leg = (int(record[i]) for i in range(4))
    symbol = panel.symbols[column]
    order_id = client_order_id(profile, symbol, int(panel.times[decided]), leg)
    return Fill(
        order_id=order_id,
        execution_id=f"{order_id}-x",
        profile=profile,
        symbol=symbol,
        side="buy" if record[4] > 0 else "sell",
        lots=float(abs(record[4])),
        price=float(record[5]),
        time=int(panel.times[row]) - panel.width,
        lots_change=float(record[6]),
        cash_change=float(record[7]),
        fee=float(record[8]),
        slippage=float(record[9]),
    )


def _rejection_of(record: Floats, panel: Panel, profile: str) -> Rejection:
    decided, row, column, leg = (int(record[i]) for i in range(4))
    change, code = float(record[4]), int(record[5])
    symbol, time = panel.symbols[column], int(panel.times[decided])
    at = time if row == decided else int(panel.times[row]) - panel.width
    side: Side = "buy" if change > 0 else "sell"
    return Rejection(client_order_id(profile, symbol, time, leg), profile, symbol, side, abs(change), at, REASONS[code])


def weights_of(what: Any, panel: Panel) -> Floats:
    """Return target weights as a contiguous array of shape (slices, symbols) from an array or a frame."""
    shape = (len(panel), len(panel.symbols))
    if isinstance(what, np.ndarray | list | tuple):
        array = np.asarray(what, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        if array.shape != shape:
            raise SchemaError(f"weights of shape {array.shape}, the market has {shape} slices and symbols")
    else:
        array = _weights_from_frame(to_polars(what), panel)
    if np.isinf(array).any():
        row, column = (int(i) for i in np.argwhere(np.isinf(array))[0])
        raise SchemaError(f"weights: infinite for {panel.symbols[column]} in slice {row}")
    return np.ascontiguousarray(array)


def _weights_from_frame(frame: pl.DataFrame, panel: Panel) -> Floats:
    absent = {"time", "symbol", "weight"} - set(frame.columns)
    if absent:
        raise SchemaError(f"weights: missing column {', '.join(sorted(absent))}; found {', '.join(frame.columns)}")
    times = frame["time"].dt.epoch("ns").to_numpy()
    rows = np.searchsorted(panel.times, times)
    known = (rows < len(panel)) & (panel.times[np.minimum(rows, len(panel) - 1)] == times)
    if not known.all():
        raise SchemaError(f"weights: no slice closes at {frame['time'][int(np.argmin(known))]}")
    strangers = sorted(set(frame["symbol"].unique()) - set(panel.symbols))
    if strangers:
        raise DataError(f"weights: {', '.join(strangers)} not in the market ({', '.join(panel.symbols)})")
    columns = [panel.symbols.index(symbol) for symbol in frame["symbol"]]
    array = np.full((len(panel), len(panel.symbols)), np.nan)
    array[rows, columns] = frame["weight"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return array


def signal_rows(signals: Any, panel: Panel) -> dict[int, list[Signal]]:
    """Return the signals of a frame by the time of their slice.

    Raises
    ------
    DataError
        A signal is for a symbol that the market does not hold.
    """
    found: dict[int, list[Signal]] = defaultdict(list)
    if signals is None:
        return found
    frame = validate(signals, "signals")
    strangers = sorted(set(frame["symbol"].unique()) - set(panel.symbols))
    if strangers:
        raise DataError(f"signals: {', '.join(strangers)} not in the market ({', '.join(panel.symbols)})")
    table = frame.with_columns(
        pl.col("time").dt.epoch("ns"), pl.col("known").dt.epoch("ns"), pl.col("horizon").dt.total_nanoseconds()
    ).select(*SIGNALS)
    for name, symbol, time, known, kind, value, horizon in table.iter_rows():
        found[time].append(Signal(name, symbol, time, known, kind, value, horizon))
    return found


def report_of(name: str, run: Run, panel: Panel, venue: Venue, cash: float, *, signals: Any = None) -> Report:
    """Return the report of a run, with buy and hold of the universe beside it."""
    stamps = pl.from_epoch(pl.Series("time", panel.times), "ns").dt.replace_time_zone("UTC")
    equity = pl.DataFrame(
        {
            "time": stamps,
            "equity": run.equity,
            "cash": run.cash,
            "exposure": run.exposure,
            "benchmark": buy_and_hold(panel, cash),
        }
    )
    prices = pl.DataFrame({"time": stamps, **dict(zip(panel.symbols, panel.field("close").T, strict=True))}).unpivot(
        index="time", variable_name="symbol", value_name="close"
    )
    return build_report(
        name,
        equity,
        (fills_frame(run.fills, venue), rejections_frame(run.rejections, venue)),
        cash,
        venue.costs,
        prices=prices.drop_nans("close"),
        signals=None if signals is None else validate(signals, "signals"),
    )


def buy_and_hold(panel: Panel, cash: float) -> Floats:
    """Return the equity of equal parts of the universe bought at each symbol's first close; one without is cash."""
    closes = np.ascontiguousarray(panel.field("close"))
    row = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, None])
    last = np.take_along_axis(closes, np.maximum.accumulate(row, axis=0), axis=0)
    first = np.array([column[np.argmax(~np.isnan(column))] for column in closes.T])
    curve: Floats = cash * np.where(np.isnan(last), 1.0, last / first).mean(axis=1)
    return curve


def describe(strategy: Strategy) -> str:
    """Return a strategy's name and parameters."""
    return repr(strategy)


def _rules(venue: Venue | None, costs: Costs | None) -> Venue:
    if venue is not None and costs is not None and venue.costs != costs:
        raise ValueError("costs are given twice: in the venue and beside it")
    return venue if venue is not None else Venue.alpaca(costs)


def _books_like(engine: Engine) -> Portfolio:
    books = Portfolio(engine.portfolio.symbols, engine.venue, 0.0, engine.portfolio.profile)
    books.cash = engine.portfolio.cash
    books.lots = engine.portfolio.lots.copy()
    return books
