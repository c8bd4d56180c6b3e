"""What the same trades would have made in another order, or drawn anew: how much of a result is luck."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.robustness import Stress

Floats = NDArray[np.float64]
DRAWS = 1_000
PERCENTILE = 5
# Trades that are held in memory at once.
CHUNK = 2_000_000
# Of five trades one draw in 625 is five times the same one, of ten one in a billion.
LEAST_TRADES = 10
# A deviation below that part of the mean is rounding.
ROUNDING = 1e-12


def by_luck(trades: pl.DataFrame, initial: float, years: float, seed: int, limit: float) -> list[Stress]:
    """Return the fifth percentiles of a thousand runs of the same trades, drawn with replacement, and reordered.

    A trade is a whole position, from flat until its last close: parts that were closed on the way are not trades of
    their own, for they share one entry. It counts as the share that it added to the equity of its time, and shares
    compound. Sharpe ratios are of trades, mean over deviation times the root of the trades in a year, infinite with
    the sign of the mean where a run drew trades of one size only, 0 where these are nothing; the order changes the
    drawdown alone. Nothing is returned for fewer than ten trades, or where the equity was lost.

    Parameters
    ----------
    trades
        Columns symbol, opened and profit (in quote currency), a row for each close in the order of closes.
    initial
        Equity before the first.
    years
        Length of the run.
    limit
        For the trades that are drawn anew.
    """
    shares = shares_of(_positions(trades)["profit"].to_numpy(), initial)
    if len(shares) < LEAST_TRADES or not years > 0 or not (shares > -1.0).all():
        return []
    rng = np.random.default_rng(seed)
    rows = max(1, min(DRAWS, CHUNK // len(shares)))
    drawn, ordered = [], []
    for first in range(0, DRAWS, rows):
        count = min(rows, DRAWS - first)
        drawn.append(_judged(rng.choice(shares, (count, len(shares))), years))
        ordered.append(_judged(rng.permuted(np.tile(shares, (count, 1)), axis=1), years))
    words = f"{PERCENTILE}th percentile of {DRAWS:,} runs"
    return [
        Stress("luck", f"trades drawn anew, {words}", *_low(drawn), limit),
        Stress("luck", f"trades in another order, {words}", *_low(ordered)),
    ]


def _positions(trades: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each position with its whole profit, in the order of their last closes."""
    parts = trades.with_row_index("close").group_by("symbol", "opened")
    return parts.agg(pl.col("profit").sum(), pl.col("close").max()).sort("close")


def shares_of(profits: Floats, initial: float) -> Floats:
    """Return what each trade added, as a share of the equity before it; -1 from where nothing was left."""
    before = initial + np.concatenate([[0.0], np.cumsum(profits)[:-1]])
    is_alive = np.minimum.accumulate(before) > 0.0
    shares: Floats = np.where(is_alive, profits / np.where(is_alive, before, 1.0), -1.0)
    return shares


def _judged(shares: Floats, years: float) -> Floats:
    """Return Sharpe ratio, total return and deepest drawdown of each row of trades, shape (3, rows)."""
    wealth = np.cumprod(1.0 + shares, axis=1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=1), 1.0)
    mean, deviation = shares.mean(axis=1), shares.std(axis=1, ddof=1)
    is_even = deviation <= ROUNDING * np.abs(mean)
    certain = np.where(mean == 0.0, 0.0, np.copysign(np.inf, mean))
    sharpe = np.where(is_even, certain, mean / np.where(is_even, 1.0, deviation))
    deepest = np.minimum((wealth / peak - 1.0).min(axis=1), 0.0)
    return np.stack([sharpe * np.sqrt(shares.shape[1] / years), wealth[:, -1] - 1.0, deepest])


def _low(parts: list[Floats]) -> tuple[float, float, float]:
    """Return the percentile of each number, the run at or below it: between two of which one is infinite lies none."""
    found = np.percentile(np.concatenate(parts, axis=1), PERCENTILE, axis=1, method="lower")
    sharpe, total, deepest = (float(value) for value in found)
    return sharpe, total, deepest
