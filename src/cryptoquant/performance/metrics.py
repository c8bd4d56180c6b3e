"""Numbers that describe an equity curve and its trades; simple returns per period, a year of 365 days."""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.pace import median_gap
from cryptoquant.market.time import NANOSECONDS_PER_YEAR, to_datetime
from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.curve import ROUNDING, Curve, absorb, begin, curve_of
from cryptoquant.performance.round_trips import Trades, closed_trades, symbol_numbers
from cryptoquant.performance.whole_fills import whole_rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a report's table shows; rates are fractions, money in quote currency, volatility and ratios annual.

    Attributes
    ----------
    sharpe
        Mean over standard deviation (ddof 1) of the per-period returns times the root of the periods in a year; no
        risk-free rate. NaN when the curve never moves.
    sortino
        Mean over the root of the mean squared negative return, annual (Sortino & van der Meer 1991).
    calmar
        CAGR over the largest drawdown (Young 1991).
    exposure
        Share of the periods with an open position.
    turnover
        Traded value per year over the mean equity.
    trades
        Closed round trips; hit rate, profit factor and expectancy are theirs, after costs.
    slippage, impact
        Paid against the reference price, without and for having moved the price by the order's own size.
    """

    start: str
    end: str
    periods: int
    periods_per_year: float
    total_return: float
    cagr: float
    volatility: float
    sharpe: float
    sortino: float
    calmar: float
    max_drawdown: float
    max_drawdown_days: float
    skewness: float
    kurtosis: float
    exposure: float
    turnover: float
    fills: int
    trades: int
    hit_rate: float
    profit_factor: float
    expectancy: float
    fees: float
    slippage: float
    impact: float
    refused: int

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the numbers by name."""
        return asdict(self)


class FillColumns(NamedTuple):
    """Fills as arrays in time order: times in nanoseconds UTC, money in quote currency, quantities in coins.

    Attributes
    ----------
    symbol
        Number of the symbol, from 0.
    quantity_change, value_change
        What the books gained (negative: gave), net of the fee.
    """

    symbol: Integers
    time: Integers
    value: Floats
    quantity_change: Floats
    value_change: Floats
    fee: Floats
    slippage: Floats
    impact: Floats


def returns_of(equity: Floats, initial: float) -> Floats:
    """Return simple returns, shape (periods,), the first against the initial equity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        returns: Floats = equity / np.concatenate([[initial], equity[:-1]]) - 1.0
    return returns


def periods_per_year(times: Integers) -> float:
    """Return how many periods of the median length fit into 365 days; NaN for fewer than two times."""
    return NANOSECONDS_PER_YEAR / median_gap(times)


def sharpe_ratio(returns: Floats, per_year: float = 1.0) -> float:
    """Return mean / standard deviation (ddof 1) times the root of ``per_year``; NaN for a constant series."""
    if len(returns) < 2:
        return math.nan
    mean, deviation = float(np.mean(returns)), float(np.std(returns, ddof=1))
    moves = deviation > ROUNDING * abs(mean)
    return mean / deviation * math.sqrt(per_year) if moves else math.nan


def drawdowns(equity: Floats, initial: float) -> Floats:
    """Return the fraction below the highest equity so far (zero or negative), the initial equity included."""
    peak = np.maximum(np.maximum.accumulate(equity), initial)
    return equity / peak - 1.0


def moments(returns: Floats) -> tuple[float, float]:
    """Return skewness and Pearson kurtosis (normal: 3), by population moments; NaN for a constant series."""
    if len(returns) < 2:
        return math.nan, math.nan
    mean = float(np.mean(returns))
    centred = returns - mean
    squared = centred * centred
    variance = float(np.mean(squared))
    if not math.sqrt(variance) > ROUNDING * abs(mean):
        return math.nan, math.nan
    return float(np.mean(squared * centred)) / variance**1.5, float(np.mean(squared * squared)) / variance**2


def growth_per_year(total: float, years: float) -> float:
    """Return the compound growth per year of a total return; NaN without a length, infinite beyond all floats."""
    if math.isnan(years) or years <= 0:
        return math.nan
    if total <= -1.0:
        return -1.0
    power = math.log1p(total) / years
    return math.expm1(power) if power < 700 else math.inf


def monthly_returns(equity: pl.DataFrame, initial: float) -> pl.DataFrame:
    """Return the simple return of each UTC month: year, month, return; a close at midnight ends the day before.

    Parameters
    ----------
    equity
        Columns time and equity, in time order.
    initial
        Equity before the first period.
    """
    inside = pl.col("time") - pl.duration(nanoseconds=1)
    months = (
        equity.select(inside.dt.year().alias("year"), inside.dt.month().cast(pl.Int32).alias("month"), "equity")
        .group_by("year", "month", maintain_order=True)
        .last()
    )
    before = months["equity"].shift(1, fill_value=initial)
    return months.select("year", "month", (pl.col("equity") / before - 1.0).alias("return"))


def monthly_table(equity: pl.DataFrame, initial: float) -> pl.DataFrame:
    """Return ``monthly_returns`` as a table: a row for each year, a column for each month, and the year's return."""
    found = {(year, month): value for year, month, value in monthly_returns(equity, initial).iter_rows()}
    rows = []
    for year in sorted({year for year, _ in found}):
        months = [found.get((year, month)) for month in range(1, 13)]
        total = math.prod(1.0 + value for value in months if value is not None) - 1.0
        rows.append((year, *months, total))
    names = ("year", *MONTHS, "total")
    return pl.DataFrame(rows, schema={n: pl.Int32 if n == "year" else pl.Float64 for n in names}, orient="row")


def daily_returns(equity: pl.DataFrame, initial: float) -> pl.DataFrame:
    """Return the simple return of each UTC day: time (midnight at its end), return; the columns of monthly_returns.

    A day that starts from an equity of nothing has a return of 0: nothing is left to gain or to lose.
    """
    end = (pl.col("time") - pl.duration(nanoseconds=1)).dt.truncate("1d") + pl.duration(days=1)
    days = equity.select(end.alias("time"), "equity").group_by("time", maintain_order=True).last()
    before = days["equity"].shift(1, fill_value=initial)
    grown = pl.when(before == 0.0).then(0.0).otherwise(pl.col("equity") / before - 1.0)
    return days.select("time", grown.alias("return"))


def statistics(equity: pl.DataFrame, fills: pl.DataFrame, initial: float, refused: int = 0) -> Statistics:
    """Return the statistics of a run from its tables.

    Parameters
    ----------
    equity
        Columns time, equity, exposure; one row for each period.
    fills
        Columns symbol, time, value, quantity_change, value_change, fee, slippage, impact.
    initial
        Equity before the first period.

    Raises
    ------
    ValueError
        The equity has no row.
    """
    state, times = begin(initial), equity["time"].dt.epoch("ns").to_numpy(writable=True)
    absorb(state, equity["equity"].to_numpy(writable=True), times)
    held = (equity["exposure"] != 0).mean()
    return statistics_of(state, times, fill_columns(fills), held if isinstance(held, float) else math.nan, refused)


def fill_columns(fills: pl.DataFrame) -> FillColumns:
    """Return a frame of fills as arrays."""
    names = ("value", "quantity_change", "value_change", "fee", "slippage", "impact")
    times = fills["time"].dt.epoch("ns").to_numpy(writable=True)
    return FillColumns(symbol_numbers(fills["symbol"]), times, *(fills[name].to_numpy(writable=True) for name in names))


def statistics_of(
    state: Floats,
    times: Integers,
    fills: FillColumns,
    exposure: float,
    refused: int = 0,
    per_year: float | None = None,
) -> Statistics:
    """Return the statistics of a run from the state that took its equity curve, without a table.

    Parameters
    ----------
    state
        Of ``curve.begin``, after ``curve.absorb`` of every period.
    times
        Shape (periods,), the end of each period.
    exposure
        Share of the periods with an open position.
    refused
        Orders that were refused.
    per_year
        Periods in a year, where they are known; by default ``periods_per_year(times)``.

    Raises
    ------
    ValueError
        The curve has no period.
    """
    curve, per_year = curve_of(state), periods_per_year(times) if per_year is None else per_year
    years, yearly = curve.periods / per_year, math.sqrt(per_year)
    total = _over(curve.last, curve.initial) - 1.0
    cagr = growth_per_year(total, years)
    profits = _profits(fills)
    trades, won, lost = len(profits), float(profits[profits > 0].sum()), -float(profits[profits < 0].sum())
    return Statistics(
        start=str(to_datetime(int(times[0]))),
        end=str(to_datetime(int(times[-1]))),
        periods=curve.periods,
        periods_per_year=per_year,
        total_return=total,
        cagr=cagr,
        volatility=curve.deviation * yearly,
        sharpe=_sharpe_of(curve) * yearly,
        sortino=_over(curve.mean, curve.downside) * yearly,
        calmar=_over(cagr, -curve.max_drawdown),
        max_drawdown=curve.max_drawdown,
        max_drawdown_days=curve.longest_drawdown_days,
        skewness=curve.skewness,
        kurtosis=curve.kurtosis,
        exposure=exposure,
        turnover=_over(_over(float(fills.value.sum()), curve.mean_equity), years),
        fills=len(fills.time),
        trades=trades,
        hit_rate=_over(int(np.count_nonzero(profits > 0)), trades),
        profit_factor=_over(won, lost),
        expectancy=_over(won - lost, trades),
        fees=float(fills.fee.sum()),
        slippage=float(fills.slippage.sum()),
        impact=float(fills.impact.sum()),
        refused=refused,
    )


def _profits(fills: FillColumns) -> Floats:
    """Return the profits of the closed trades."""
    rows, quantity, value = whole_rows(fills.symbol, fills.time, fills.quantity_change, fills.value_change)
    return Trades(*closed_trades(fills.symbol[rows], fills.time[rows], quantity, value)).profit


def _sharpe_of(curve: Curve) -> float:
    return curve.mean / curve.deviation if curve.deviation > ROUNDING * abs(curve.mean) else math.nan


def _over(part: float, whole: float) -> float:
    """Return the ratio; NaN where the whole is nothing."""
    return part / whole if whole != 0 else math.nan
