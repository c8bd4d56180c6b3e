"""The simulator: a compiled loop for weights and orders, and an event driver for strategies, over the same matching.

A decision at the close of a slice is filled at the next bar's open, never at the close that it saw.
"""

import math
from collections import defaultdict
from functools import partial
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.checking import checked, count_infinite
from cryptoquant.backtest.desk import COLUMNS, Market, Rules
from cryptoquant.backtest.loop import run_market, variances
from cryptoquant.backtest.market_orders import is_enough, run_market_orders
from cryptoquant.backtest.orders import Orders, moments
from cryptoquant.backtest.reader import Reader
from cryptoquant.backtest.rehearsal import trade
from cryptoquant.backtest.run import Run
from cryptoquant.backtest.tape import Tape, tape_of
from cryptoquant.backtest.wishes import Wishes
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.schema import SIGNALS, to_polars, validate
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import iso
from cryptoquant.performance.report import Report, fills_frame, rejections_frame
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution, Plan
from cryptoquant.trading.financing import FinancingTerms, financing_terms
from cryptoquant.trading.matching import Terms, bounds_of, rates_of, terms_of
from cryptoquant.trading.order import Cancel, Order
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.schedule import volume_state
from cryptoquant.trading.strategy import RuleOverBars, Strategy
from cryptoquant.trading.venue import Costs, Venue

Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", Terms, FinancingTerms, Plan)
NOTHING: Floats = np.empty((0, 0))
NOTHING.flags.writeable = False  # as a panel's columns are: a kernel is compiled for each kind of array


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

    What is decided at the close of a bar is filled in the bars after it, by the rules of ``venue``; what it refuses is
    no error and stands in the report's rejections.

    Parameters
    ----------
    what
        A strategy; or target weights, as an array of shape (slices, symbols), or (slices,) for one symbol, or as a
        frame with columns time, symbol, weight (times are closes; a missing row holds); or orders, as a list of
        ``Order`` or as a frame with a row for each.

        A weight is the share of the equity that is wanted in a symbol from that close on; NaN holds what is there. On a
        spot venue what the cash or the holdings do not cover is refused and recorded, never cut down; a research venue
        takes a weight below 0 as a short and above 1 as leverage.

        A frame of orders has the columns time (the close at which it is decided), symbol, side and quantity (in coins);
        where they apply id, type, limit, stop, trail, time_in_force, expires, group, reduces, replaces, and for its
        exits stop_loss, take_profit, trailing, stop_price, target_price, as in ``Order`` and ``Protection``. A row of
        type ``cancel`` ends the order that it names in ``replaces``.
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
    execution
        How weights, a strategy's too, become orders; not for orders, which are sent as they are.
    limits
        Risk limits for a strategy's orders; by default none.
    name
        The title of the report.

    Raises
    ------
    SchemaError
        Impossible bars; weights of another shape than the market, infinite, given twice, or at a time that is no close;
        orders with a column that is missing or unknown, an impossible value, or a quantity that is no multiple of the
        increment; signals of no slice of the market.
    DataError
        Weights, orders or signals of a symbol that is not in the market.
    ValueError
        Cash that is not above zero and finite, costs that are given twice, or an argument that ``what`` has no use for.
    TypeError
        Something that is none of these, such as a class where a strategy is wanted.

    Examples
    --------
    >>> import numpy as np
    >>> import polars as pl
    >>> from cryptoquant import Costs, SyntheticMarket, simulate
    >>> bars = SyntheticMarket(symbols=["BTC/USD"], days=2, timeframe="1h", seed=7).bars()
    >>> half = np.full(len(bars), np.nan)
    >>> half[0] = 0.5
    >>> simulate(half, bars, Costs.free()).statistics.fills
    1
    >>> orders = bars.head(1).select("time", "symbol", side=pl.lit("buy"), quantity=0.1, stop_loss=0.001)
    >>> simulate(orders, bars).fills.select("side", "reason").rows()
    [('buy', ''), ('sell', 'stop')]
    """
    if isinstance(what, type):
        raise TypeError(f"wanted a strategy, found the class {what.__name__}: call it, {what.__name__}(...)")
    if signals is None and getattr(what, "reads_signals", False):
        raise ValueError(f"{type(what).__name__} reads signals: give signals=, a frame of the signals schema")
    if not 0.0 < cash < math.inf:
        raise ValueError(f"cash must be above zero and finite, found {cash}")
    panel = checked(market) if isinstance(market, Panel) else Panel.from_frame(market)
    if not len(panel) or not panel.symbols:
        raise DataError(f"the market has {len(panel)} slices of {len(panel.symbols)} symbols, wanted at least one")
    rules = rules_of(venue, costs)
    plan = execution or Execution()
    if isinstance(what, Strategy):
        title = name or describe(what)
        if isinstance(what, RuleOverBars) and limits is None and signals is None:
            run = simulate_weights(weights_of(what.weights(panel), panel), panel, rules, cash, plan)
            return report_of(title, run, panel, rules, cash)
        engine = partial(Engine, what, rules, panel.symbols, cash, limits=limits)
        run = trade(engine, panel, plan, signal_rows(signals, panel))
        return report_of(title, run, panel, rules, cash, signals=signals)
    if signals is not None or limits is not None:
        raise ValueError("signals and limits go with a strategy; weights are traded as they are")
    if is_orders(what):
        if execution is not None:
            raise ValueError("execution goes with weights and strategies; orders are sent as they are")
        orders = (
            Orders.of(what, panel, rules) if isinstance(what, list | tuple) else Orders.from_frame(what, panel, rules)
        )
        return report_of(name or "orders", simulate_orders(orders, panel, rules, cash), panel, rules, cash)
    run = simulate_weights(weights_of(what, panel), panel, rules, cash, plan)
    return report_of(name or "target weights", run, panel, rules, cash)


def is_orders(what: Any) -> bool:
    """Return whether orders are given rather than weights: a list of Order, or a frame with a side and no weight.

    An empty list is no orders.
    """
    if isinstance(what, list | tuple):
        return not what or any(isinstance(one, Order | Cancel) for one in what)
    columns = set(getattr(what, "columns", ()))
    return "side" in columns and "weight" not in columns


def simulate_weights(weights: Floats, panel: Panel, venue: Venue, cash: float, execution: Execution) -> Run:
    """Trade target weights of shape (slices, symbols) by the compiled loop; NaN holds.

    An execution in parts, or one that moves its orders, goes by events.
    """
    if execution.parts > 1 or execution.reprice is not None:
        return trade(partial(Engine, Wishes(panel, weights), venue, panel.symbols, cash), panel, execution, {})
    needs_range = execution.limit_bps is not None or execution.protection is not None
    return _compiled(panel, venue, cash, execution, weights=weights, needs_range=needs_range)


def simulate_orders(orders: Orders, panel: Panel, venue: Venue, cash: float) -> Run:
    """Send orders that are known beforehand by the compiled loop."""
    return _compiled(panel, venue, cash, Execution(), orders=orders, needs_range=orders.needs_range)


def _compiled(
    panel: Panel,
    venue: Venue,
    cash: float,
    execution: Execution,
    *,
    weights: Floats | None = None,
    orders: Orders | None = None,
    needs_range: bool = False,
) -> Run:
    book = Portfolio(panel.symbols, venue, cash, orders.profile if orders is not None else "main")
    bounds = np.array(
        [(*bounds_of(venue, symbol), venue.instrument(symbol).price_increment) for symbol in panel.symbols], dtype=float
    )
    rules = Rules(_typed(terms_of(venue)), rates_of(venue), _typed(financing_terms(venue.financing)))
    entries = orders.rows if orders is not None else np.empty((0, COLUMNS))
    market = market_of(panel, venue, needs_range=needs_range)
    plan, wanted = _typed(execution.plan), np.empty((0, 0)) if weights is None else weights
    if weights is not None and is_enough(rules, plan):
        trace = run_market_orders(market, weights, rules, plan, book.lot, bounds, book.cash, volume_state())
    else:
        trace = run_market(market, wanted, entries, rules, plan, book.lot, bounds, book.cash, volume_state())
    tape = Tape(*tape_of(trace, book.cash, len(panel.symbols)), book.cash, book.lots)
    reader = Reader(trace, panel, venue, execution, book.profile, orders)
    return Run(panel, venue, tape, reader, reader.columns, reader.refused)


def _typed(terms: Numbers) -> Numbers:
    """Return numbers as the types that their names were given: 1 for a float would be compiled once more."""
    kinds = type(terms).__annotations__.values()
    return type(terms)(*(kind(value) for kind, value in zip(kinds, terms, strict=True)))


def market_of(panel: Panel, venue: Venue, *, needs_range: bool) -> Market:
    """Return the columns of a panel that a run reads."""
    costs, close, times = venue.costs, panel.field("close"), panel.times.view()
    times.flags.writeable = False
    variance = NOTHING
    if costs.reads_volatility:
        variance = np.empty(close.shape)
        variances(close, variance)
        variance.flags.writeable = False
    reads_volume = costs.reads_volume or venue.participation < math.inf
    return Market(
        times=times,
        width=panel.width,
        open=panel.field("open"),
        high=panel.field("high") if needs_range else NOTHING,
        low=panel.field("low") if needs_range else NOTHING,
        close=close,
        volume=panel.field("volume") if reads_volume else NOTHING,
        variance=variance,
    )


def weights_of(what: Any, panel: Panel) -> Floats:
    """Return target weights as a contiguous array of shape (slices, symbols) from an array or a frame."""
    shape = (len(panel), len(panel.symbols))
    if isinstance(what, np.ndarray | list | tuple):
        try:
            array = np.asarray(what, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"weights: no array of numbers: {error}") from error
        array = array[:, None] if array.ndim == 1 else array
        if array.shape != shape:
            raise SchemaError(f"weights of shape {array.shape}, the market has {shape} slices and symbols")
    else:
        array = _weights_from_frame(to_polars(what), panel)
    array = np.require(array, np.float64, ["C", "W"])
    if count_infinite(array.reshape(-1)):
        row, column = (int(i) for i in np.argwhere(np.isinf(array))[0])
        raise SchemaError(f"weights: infinite for {panel.symbols[column]} in slice {row}")
    return array


def _weights_from_frame(frame: pl.DataFrame, panel: Panel) -> Floats:
    absent = {"time", "symbol", "weight"} - set(frame.columns)
    if absent:
        raise SchemaError(f"weights: missing column {', '.join(sorted(absent))}; found {', '.join(frame.columns)}")
    times = moments(frame, "time", "weights")
    rows = np.searchsorted(panel.times, times)
    known = (rows < len(panel)) & (panel.times[np.minimum(rows, len(panel) - 1)] == times)
    if not known.all():
        raise SchemaError(f"weights: no slice closes at {frame['time'][int(np.argmin(known))]}")
    strangers = sorted(map(str, set(frame["symbol"].unique()) - set(panel.symbols)))
    if strangers:
        raise DataError(f"weights: {', '.join(strangers)} not in the market ({', '.join(panel.symbols)})")
    twice = frame.select("time", "symbol").is_duplicated()
    if twice.any():
        row = int(twice.arg_max() or 0)
        raise SchemaError(f"weights: {frame['symbol'][row]} {frame['time'][row]}: given twice, wanted one weight")
    if not frame.schema["weight"].is_numeric() and frame["weight"].null_count() < frame.height:
        raise SchemaError(f"weights: column weight is {frame.schema['weight']}, wanted numbers")
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
    met = frame["time"].dt.epoch("ns").is_in(panel.times.tolist())
    if frame.height and not met.any():
        span = f"{iso(int(panel.times[0]))} to {iso(int(panel.times[-1]))}"
        raise DataError(f"signals: none is of a slice of the market ({span}); the first is of {frame['time'][0]}")
    if strangers:
        raise DataError(f"signals: {', '.join(strangers)} not in the market ({', '.join(panel.symbols)})")
    given = to_polars(signals)
    if "dissimilarity" in given.columns:
        frame = frame.with_columns(given["dissimilarity"].cast(pl.Float64).fill_nan(None))
    table = frame.with_columns(
        pl.col("time").dt.epoch("ns"), pl.col("known").dt.epoch("ns"), pl.col("horizon").dt.total_nanoseconds()
    )
    for row in table.iter_rows():
        signal = Signal(*row)
        found[signal.time].append(signal)
    return found


def report_of(name: str, run: Run, panel: Panel, venue: Venue, cash: float, *, signals: Any = None) -> Report:
    """Return the report of a run, with buy and hold of the universe beside it; tables are made when they are read."""

    def equity() -> pl.DataFrame:
        columns = {"equity": run.equity, "cash": run.cash, "exposure": run.exposure}
        return pl.DataFrame({"time": stamps(panel), **columns, "benchmark": buy_and_hold(panel, cash)})

    def prices() -> pl.DataFrame:
        closes = dict(zip(panel.symbols, panel.field("close").T, strict=True))
        table = pl.DataFrame({"time": stamps(panel), **closes})
        return table.unpivot(index="time", variable_name="symbol", value_name="close").drop_nans("close")

    return Report(
        name=name,
        initial=cash,
        statistics=run.statistics(cash),
        costs=venue.costs,
        equity=equity,
        fills=lambda: fills_frame(run.fills, venue).with_columns(participation=pl.Series(run.participation)),
        rejections=lambda: rejections_frame(run.rejections, venue),
        signals=lambda: pl.DataFrame(schema=SIGNALS) if signals is None else validate(signals, "signals"),
        prices=prices,
        notes=notes_of(run),
    )


def stamps(panel: Panel) -> pl.Series:
    """Return the closes of a panel as times."""
    return pl.from_epoch(pl.Series("time", panel.times), "ns").dt.replace_time_zone("UTC")


def notes_of(run: Run) -> tuple[str, ...]:
    """Return what the numbers do not say: which holdings are valued at a price from before the end of the market."""
    closes = run.panel.field("close")
    absent = np.flatnonzero(np.isnan(closes[-1]))
    held = run.final_lots if len(absent) else np.empty(0)
    said = []
    for column in (place for place in absent.tolist() if held[place] != 0.0):
        last = int(np.flatnonzero(~np.isnan(closes[:, column]))[-1])
        symbol = run.panel.symbols[column]
        said.append(f"{symbol} has no bar after {stamps(run.panel)[last]}: what is held is valued at its last close")
    return tuple(said)


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


def rules_of(venue: Venue | None, costs: Costs | None) -> Venue:
    """Return the venue that is meant; costs alone mean Alpaca's.

    Raises
    ------
    ValueError
        Both say what a trade costs, and differ.
    """
    if venue is not None and costs is not None and venue.costs != costs:
        raise ValueError("costs are given twice: in the venue and beside it")
    return venue if venue is not None else Venue.alpaca(costs)
