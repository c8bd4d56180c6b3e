"""How a run did beside its benchmark: what it owes to the market, and what it added."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.curve import ROUNDING
from cryptoquant.performance.metrics import periods_per_year, returns_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Relative:
    """A run against its benchmark, from simple returns per period; all NaN without one, or if it never moves.

    Attributes
    ----------
    alpha
        Mean return less beta times the benchmark's, times the periods in a year (Jensen 1968, no risk-free rate).
    beta
        Covariance of both over the variance of the benchmark.
    correlation
        Pearson's; NaN when the run itself never moves.
    tracking_error
        Standard deviation (ddof 1) of the difference of the returns, annual.
    information_ratio
        Mean over standard deviation (ddof 1) of the difference, annual (Grinold & Kahn 2000, chapter 5).
    up_capture, down_capture
        Mean return over the benchmark's mean return, in the periods in which the benchmark rose or fell.
    excess_return
        Total return less the benchmark's.
    """

    alpha: float
    beta: float
    correlation: float
    tracking_error: float
    information_ratio: float
    up_capture: float
    down_capture: float
    excess_return: float


UNKNOWN = Relative(*[math.nan] * 8)


def relative_of(equity: pl.DataFrame, initial: float) -> Relative:
    """Return how a run did beside its benchmark.

    Parameters
    ----------
    equity
        Columns time, equity and, where known, benchmark; both begin at ``initial``.
    initial
        Equity before the first period.
    """
    if "benchmark" not in equity.columns:
        return UNKNOWN
    both = equity.select("time", "equity", pl.col("benchmark").cast(pl.Float64).fill_null(math.nan))
    held, market = both["equity"].to_numpy(), both["benchmark"].to_numpy()
    own, theirs = returns_of(held, initial), returns_of(market, initial)
    if len(own) < 2 or not np.isfinite(own).all() or not np.isfinite(theirs).all():
        return UNKNOWN
    covariance = np.cov(own, theirs, ddof=1)
    if not _moves(theirs):
        return UNKNOWN
    per_year = periods_per_year(both["time"].dt.epoch("ns").to_numpy(writable=True))
    beta, apart = float(covariance[0, 1] / covariance[1, 1]), own - theirs
    error = float(apart.std(ddof=1))
    spread = math.sqrt(covariance[0, 0] * covariance[1, 1])
    return Relative(
        alpha=float(own.mean() - beta * theirs.mean()) * per_year,
        beta=beta,
        correlation=float(covariance[0, 1]) / spread if _moves(own) else math.nan,
        tracking_error=error * math.sqrt(per_year),
        information_ratio=float(apart.mean()) / error * math.sqrt(per_year) if _moves(apart) else math.nan,
        up_capture=_captured(own, theirs, theirs > 0),
        down_capture=_captured(own, theirs, theirs < 0),
        excess_return=float(held[-1] - market[-1]) / initial,
    )


def _moves(returns: Floats) -> bool:
    return float(returns.std(ddof=1)) > ROUNDING * abs(float(returns.mean()))


def _captured(own: Floats, theirs: Floats, rows: NDArray[np.bool_]) -> float:
    return float(own[rows].mean() / theirs[rows].mean()) if rows.any() else math.nan
