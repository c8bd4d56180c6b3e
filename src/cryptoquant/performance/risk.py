"""How a curve may hurt: its losses, their tails, and how deep and how long it lay below its highs."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.metrics import daily_returns, drawdowns, returns_of, sharpe_ratio

Floats = NDArray[np.float64]
DAYS_PER_YEAR = 365
TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk of an equity curve; returns are simple and per period, as the curve is, unless a name says otherwise.

    Attributes
    ----------
    omega
        Sum of the gains over the sum of the losses, against a threshold of zero (Keating & Shadwick 2002).
    tail_ratio
        The 95th over the size of the 5th percentile of the returns.
    value_at_risk
        The 5th percentile of the returns of a period, historical: negative for a loss.
    expected_shortfall
        Mean of the returns at or below the value at risk (Acerbi & Tasche 2002), historical.
    average_drawdown, average_drawdown_days, longest_drawdown_days
        Over the spells below an earlier high, each counted once with its depth (negative) and its days.
    ulcer_index
        Root of the mean squared drawdown over all periods, a fraction (Martin & McCann 1989).
    daily_sharpe
        Annual Sharpe ratio of the returns of UTC days: ddof 1, 365 days, no risk-free rate.
    """

    omega: float
    tail_ratio: float
    value_at_risk: float
    expected_shortfall: float
    average_drawdown: float
    average_drawdown_days: float
    longest_drawdown_days: float
    ulcer_index: float
    daily_sharpe: float


def risk_of(equity: pl.DataFrame, initial: float) -> Risk:
    """Return the risk of a curve from its table (columns time and equity) and the equity before its first period."""
    returns = returns_of(equity["equity"].to_numpy(), initial)
    spells = drawdown_spells(equity, initial)
    depths, days = spells["depth"].to_numpy(), spells["days"].to_numpy()
    return Risk(
        omega=omega_ratio(returns),
        tail_ratio=tail_ratio(returns),
        value_at_risk=value_at_risk(returns),
        expected_shortfall=expected_shortfall(returns),
        average_drawdown=float(depths.mean()) if len(depths) else 0.0,
        average_drawdown_days=float(days.mean()) if len(days) else 0.0,
        longest_drawdown_days=float(days.max(initial=0.0)),
        ulcer_index=ulcer_index(drawdowns(equity["equity"].to_numpy(), initial)),
        daily_sharpe=sharpe_ratio(daily_returns(equity, initial)["return"].to_numpy(), DAYS_PER_YEAR),
    )


def omega_ratio(returns: Floats, threshold: float = 0.0) -> float:
    """Return the sum of what lies above a threshold over the sum of what lies below it; NaN when nothing does.

    Source: Keating & Shadwick (2002), "A Universal Performance Measure", Journal of Performance Measurement 6(3).

    Examples
    --------
    >>> omega_ratio(np.array([0.25, -0.125, 0.5, -0.25]))
    2.0
    """
    above = returns - threshold
    lost = -float(above[above < 0].sum())
    return float(above[above > 0].sum()) / lost if lost > 0 else math.nan


def tail_ratio(returns: Floats) -> float:
    """Return the 95th percentile over the size of the 5th; percentiles are interpolated linearly."""
    if not np.isfinite(returns).all() or not len(returns):
        return math.nan
    low, high = np.quantile(returns, [TAIL, 1.0 - TAIL])
    return float(high / abs(low)) if low != 0 else math.nan


def value_at_risk(returns: Floats, tail: float = TAIL) -> float:
    """Return the return of a period below which a share ``tail`` of all lies: historical, interpolated linearly."""
    return float(np.quantile(returns, tail)) if len(returns) and np.isfinite(returns).all() else math.nan


def expected_shortfall(returns: Floats, tail: float = TAIL) -> float:
    """Return the mean of the returns at or below the value at risk.

    Source: Acerbi & Tasche (2002), "On the coherence of expected shortfall", Journal of Banking & Finance 26(7).
    """
    bound = value_at_risk(returns, tail)
    return float(returns[returns <= bound].mean()) if not math.isnan(bound) else math.nan


def ulcer_index(fallen: Floats) -> float:
    """Return the root of the mean squared drawdown, a fraction.

    Source: Martin & McCann (1989), "The Investor's Guide to Fidelity Funds", chapter on the ulcer index.
    """
    return math.sqrt(float(np.mean(fallen * fallen)))


def drawdown_spells(equity: pl.DataFrame, initial: float) -> pl.DataFrame:
    """Return the spells below an earlier high, in time order.

    Parameters
    ----------
    equity
        Columns time and equity, in time order.
    initial
        Equity before the first period; it counts as a high at the first time.

    Returns
    -------
    pl.DataFrame
        Columns start (last time at the high), trough, end (last time below the high), depth (a negative fraction), days
        (from start to end) and is_recovered (whether a high followed).
    """
    values = equity["equity"].to_numpy()
    before = np.maximum(np.concatenate([[initial], np.maximum.accumulate(values)[:-1]]), initial)
    below = values < before
    edges = np.diff(np.concatenate([[False], below, [False]]).astype(np.int8))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    depths = np.where(below, drawdowns(values, initial), 0.0)
    depth = np.minimum.reduceat(depths, first) if len(first) else np.empty(0)
    spell = np.repeat(np.arange(len(first)), last - first + 1)
    rows = np.flatnonzero(below)
    deepest = rows[depths[rows] == depth[spell]]
    trough = deepest[np.searchsorted(deepest, first)]
    time = equity["time"]
    spells = pl.DataFrame(
        {
            "start": time.gather(np.maximum(first - 1, 0)),
            "trough": time.gather(trough),
            "end": time.gather(last),
            "depth": depth,
            "is_recovered": last < len(values) - 1,
        }
    )
    days = (pl.col("end") - pl.col("start")).dt.total_nanoseconds() / 86_400e9
    return spells.select("start", "trough", "end", "depth", days.alias("days"), "is_recovered")
