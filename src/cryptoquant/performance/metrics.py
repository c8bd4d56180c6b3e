"""Numbers that describe an equity curve and its trades; simple returns per period, a year of 365 days."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.time import NANOSECONDS_PER_YEAR

Floats = NDArray[np.float64]
ROUNDING = 1e-12
ROUNDING_SHARE = 1e-9


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
    refused: int

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the numbers by name."""
        return asdict(self)


def returns_of(equity: Floats, initial: float) -> Floats:
    """Return simple returns, shape (periods,), the first against the initial equity."""
    returns: Floats = equity / np.concatenate([[initial], equity[:-1]]) - 1.0
    return returns


def periods_per_year(times: NDArray[np.int64]) -> float:
    """Return how many periods of the median length fit into 365 days; NaN for fewer than two times."""
    if len(times) < 2:
        return math.nan
    return NANOSECONDS_PER_YEAR / float(np.median(np.diff(times)))


def sharpe_ratio(returns: Floats, per_year: float = 1.0) -> float:
    """Return mean / standard deviation (ddof 1) times the root of ``per_year``; NaN for a constant series."""
    if len(returns) < 2:
        return math.nan
    mean, deviation = float(np.mean(returns)), float(np.std(returns, ddof=1))
    moves = deviation > ROUNDING * abs(mean)
    return mean / deviation * math.sqrt(per_year) if moves else math.nan


def sortino_ratio(returns: Floats, per_year: float = 1.0) -> float:
    """Return mean / downside deviation against zero times the root of ``per_year``."""
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))) if len(returns) else 0.0
    return float(np.mean(returns)) / downside * math.sqrt(per_year) if downside > 0 else math.nan


def drawdowns(equity: Floats, initial: float) -> Floats:
    """Return the fraction below the highest equity so far (zero or negative), the initial equity included."""
    peak = np.maximum(np.maximum.accumulate(equity), initial)
    return equity / peak - 1.0


def longest_drawdown(times: NDArray[np.int64], equity: Floats, initial: float) -> float:
    """Return the longest time below an earlier high, in days."""
    if not len(times):
        return 0.0
    peaks = np.fmax.accumulate(np.concatenate([[initial], equity]))
    highs = np.where(equity >= peaks[:-1], times, times[0])
    return float((times - np.maximum.accumulate(highs)).max()) / 86_400e9


def moments(returns: Floats) -> tuple[float, float]:
    """Return skewness and Pearson kurtosis (normal: 3), by population moments; NaN for a constant series."""
    centred = returns - np.mean(returns) if len(returns) else returns
    squared = centred * centred
    variance = float(np.mean(squared)) if len(returns) else 0.0
    if variance <= 0:
        return math.nan, math.nan
    return float(np.mean(squared * centred)) / variance**1.5, float(np.mean(squared * squared)) / variance**2


def round_trips(fills: pl.DataFrame) -> pl.DataFrame:
    """Return closed trades, by average cost: symbol, opened, closed, quantity, profit (after fees), return, is_final.

    Every reduction of a position is a trade of the part that it closes; the one that ends it is final. A fill through
    zero closes one position and opens the opposite one. A rest below a billionth of the position is rounding, not a
    position.

    Parameters
    ----------
    fills
        Columns symbol, time, quantity_change and value_change (net of fees: coins and quote currency), in time order.
    """
    rows: list[tuple[Any, ...]] = []
    for (symbol,), part in fills.group_by("symbol", maintain_order=True):
        facts = part.select("time", "quantity_change", "value_change").iter_rows()
        rows += [(symbol, *trade) for trade in _closed_trades(facts)]
    instant = fills.schema["time"]
    schema = {
        "symbol": pl.String(),
        "opened": instant,
        "closed": instant,
        "quantity": pl.Float64(),
        "profit": pl.Float64(),
        "return": pl.Float64(),
        "is_final": pl.Boolean(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort("closed", "symbol", maintain_order=True)


def _closed_trades(facts: Iterable[tuple[Any, float, float]]) -> Iterator[tuple[Any, Any, float, float, float, bool]]:
    """Yield opened, closed, quantity, profit, return and finality of a symbol's trades from time, quantity, value."""
    held, spent, opened = 0.0, 0.0, None
    for time, quantity, value in facts:
        if held * quantity >= 0:
            opened = opened if held else time
            held, spent = held + quantity, spent + value
            continue
        cost = spent * min(1.0, abs(quantity / held))
        gained = value * min(1.0, abs(held / quantity))
        profit = cost + gained
        left = held + quantity
        is_flat = abs(left) <= ROUNDING_SHARE * abs(held)
        is_final = is_flat or left * held < 0
        yield opened, time, min(abs(held), abs(quantity)), profit, profit / abs(cost) if cost else math.nan, is_final
        if is_flat:
            held, spent = 0.0, 0.0
        elif left * held < 0:
            held, spent, opened = left, value - gained, time
        else:
            held, spent = left, spent - cost


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


def statistics(equity: pl.DataFrame, fills: pl.DataFrame, initial: float, refused: int = 0) -> Statistics:
    """Return the statistics of a run.

    Parameters
    ----------
    equity
        Columns time, equity, exposure; one row for each period.
    fills
        Columns symbol, time, value, quantity_change, value_change, fee, slippage.
    initial
        Equity before the first period.
    """
    if equity.is_empty():
        raise ValueError("an equity curve needs at least one period")
    return Statistics(**_of_curve(equity, initial), **_of_trading(equity, fills), refused=refused)


def _of_curve(equity: pl.DataFrame, initial: float) -> dict[str, Any]:
    times, curve = equity["time"].dt.epoch("ns").to_numpy(), equity["equity"].to_numpy()
    returns, per_year = returns_of(curve, initial), periods_per_year(times)
    total = float(curve[-1] / initial - 1.0)
    cagr = growth_per_year(total, len(curve) / per_year)
    worst = float(drawdowns(curve, initial).min())
    skewness, kurtosis = moments(returns)
    return {
        "start": str(equity["time"].item(0)),
        "end": str(equity["time"].item(-1)),
        "periods": len(curve),
        "periods_per_year": per_year,
        "total_return": total,
        "cagr": cagr,
        "volatility": float(np.std(returns, ddof=1)) * math.sqrt(per_year) if len(returns) > 1 else math.nan,
        "sharpe": sharpe_ratio(returns, per_year),
        "sortino": sortino_ratio(returns, per_year),
        "calmar": cagr / -worst if worst < 0 else math.nan,
        "max_drawdown": worst,
        "max_drawdown_days": longest_drawdown(times, curve, initial),
        "skewness": skewness,
        "kurtosis": kurtosis,
    }


def _of_trading(equity: pl.DataFrame, fills: pl.DataFrame) -> dict[str, Any]:
    curve = equity["equity"].to_numpy()
    years = len(curve) / periods_per_year(equity["time"].dt.epoch("ns").to_numpy())
    profits = round_trips(fills)["profit"].to_numpy()
    lost = -float(profits[profits < 0].sum())
    return {
        "exposure": float((equity["exposure"].to_numpy() != 0).mean()),
        "turnover": float(fills["value"].sum()) / float(curve.mean()) / years if years > 0 else math.nan,
        "fills": fills.height,
        "trades": len(profits),
        "hit_rate": float((profits > 0).mean()) if len(profits) else math.nan,
        "profit_factor": float(profits[profits > 0].sum()) / lost if lost > 0 else math.nan,
        "expectancy": float(profits.mean()) if len(profits) else math.nan,
        "fees": float(fills["fee"].sum()),
        "slippage": float(fills["slippage"].sum()),
    }
