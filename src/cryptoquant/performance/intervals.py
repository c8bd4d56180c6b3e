"""How far a Sharpe ratio, a growth rate and a drawdown could be from what was seen: intervals by resampled histories.

Sharpe ratio and growth: symmetric studentised bootstrap intervals (Ledoit & Wolf 2008, "Robust performance hypothesis
testing with the Sharpe ratio", Journal of Empirical Finance 15, section 3.2), over stationary blocks of automatic
length. The plain percentile interval is too narrow where returns have memory. Growth is studentised in log returns.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.bootstrap import Rows, long_run_variance, optimal_block, stationary_blocks
from cryptoquant.performance.curve import ROUNDING
from cryptoquant.performance.metrics import sharpe_ratio

Floats = NDArray[np.float64]
FEWEST = 10
VALUES_AT_ONCE = 100_000
SMALLEST_WEALTH = 1e-300
STRONGEST_MEMORY = 0.97


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval; NaN where it is not defined."""

    low: float
    high: float
    confidence: float


class Draws(NamedTuple):
    """What resampled histories gave: distances from the sample in standard errors, infinite where one never moves.

    Attributes
    ----------
    fall
        The largest drawdown of each history.
    """

    sharpe: Floats
    growth: Floats
    fall: Floats


class _Blocks(NamedTuple):
    """The blocks of all draws in a row: the row at which each begins, and the block with which each draw begins."""

    row: Rows
    draw: Rows


def bootstrap_intervals(
    returns: Floats, per_year: float, *, confidence: float = 0.95, draws: int = 1_000, seed: int = 0
) -> dict[str, Interval]:
    """Return intervals of the annual Sharpe ratio (``sharpe``), the growth per year (``cagr``) and ``max_drawdown``.

    The first two are confidence intervals. The third is a prediction band for another history of the same length: its
    paths are resampled, each with the error of another draw's mean added, as the true mean is not known.

    The first two are not defined, NaN, for fewer than ten returns, and where so many draws never move that the
    quantile is among them; growth is not either after a loss of everything.

    Parameters
    ----------
    returns
        Simple returns, shape (periods,).
    """
    nothing = Interval(math.nan, math.nan, confidence)
    found = dict.fromkeys(("sharpe", "cagr", "max_drawdown"), nothing)
    if len(returns) < 2 or not np.isfinite(returns).all():
        return found
    growth = np.log(np.maximum(1.0 + returns, SMALLEST_WEALTH))
    drawn = resample(returns, growth, draws, seed)
    low, high = np.quantile(drawn.fall, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    found["max_drawdown"] = Interval(float(low), float(high), confidence)
    ratio = sharpe_ratio(returns)
    if len(returns) < FEWEST or math.isnan(ratio):
        return found
    reach = _quantile(drawn.sharpe, confidence) * standard_error(sharpe_influence(returns))
    if math.isfinite(reach):
        root = math.sqrt(per_year)
        found["sharpe"] = Interval((ratio - reach) * root, (ratio + reach) * root, confidence)
    reach, mean = _quantile(drawn.growth, confidence) * standard_error(growth), float(growth.mean())
    if math.isfinite(reach) and returns.min() > -1.0:
        found["cagr"] = Interval(_grown(mean - reach, per_year), _grown(mean + reach, per_year), confidence)
    return found


def sharpe_influence(returns: Floats) -> Floats:
    """Return what each return adds to the Sharpe ratio, shape (periods,): ``z - SR (z^2 - 1) / 2`` by standard scores.

    Source: the delta method; Lo (2002), "The Statistics of Sharpe Ratios", FAJ 58(4), appendix.
    """
    scores = (returns - returns.mean()) / returns.std()
    influence: Floats = scores - sharpe_ratio(returns) / 2.0 * (scores * scores - 1.0)
    return influence


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean of a series with memory: prewhitened by an AR(1), then a flat-top kernel.

    Source: Andrews & Monahan (1992), "An Improved Heteroskedasticity and Autocorrelation Consistent Covariance Matrix
    Estimator", Econometrica 60(4); ``long_run_variance``.
    """
    centred = values - values.mean()
    before = float(centred[:-1] @ centred[:-1])
    memory = float(centred[1:] @ centred[:-1]) / before if before > 0.0 else 0.0
    memory = min(max(memory, -STRONGEST_MEMORY), STRONGEST_MEMORY)
    left = centred[1:] - memory * centred[:-1]
    return math.sqrt(long_run_variance(left) / len(values)) / (1.0 - memory)


def resample(returns: Floats, growth: Floats, draws: int, seed: int) -> Draws:
    """Return what ``draws`` resampled histories gave.

    Parameters
    ----------
    returns, growth
        Simple and logarithmic returns, shape (periods,).
    """
    block, rng = optimal_block(returns), np.random.default_rng(seed)
    at_once, parts = max(2, VALUES_AT_ONCE // len(returns)), []
    for start in range(0, draws, at_once):
        rows, fresh = stationary_blocks(len(returns), block, min(at_once, draws - start), rng)
        count = np.count_nonzero(fresh, axis=1)
        blocks = _Blocks(np.flatnonzero(fresh), np.cumsum(count) - count)
        drawn = growth[rows]
        error = drawn.mean(axis=1) - growth.mean()
        distance = _studentised(error, drawn - drawn.mean(axis=1, keepdims=True), blocks)
        fall = _falls(drawn + np.roll(error, 1)[:, None])
        parts.append(Draws(_sharpe_distances(returns[rows], sharpe_ratio(returns), blocks), distance, fall))
    return Draws(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _sharpe_distances(drawn: Floats, seen: float, blocks: _Blocks) -> Floats:
    mean, deviation = drawn.mean(axis=1, keepdims=True), drawn.std(axis=1, keepdims=True)
    moves = deviation > ROUNDING * np.abs(mean)
    deviation = np.where(moves, deviation, np.nan)
    ratio = mean / deviation * math.sqrt((drawn.shape[1] - 1) / drawn.shape[1])
    scores = (drawn - mean) / deviation
    return _studentised(ratio[:, 0] - seen, scores - ratio / 2.0 * (scores * scores - 1.0), blocks)


def _studentised(error: Floats, influence: Floats, blocks: _Blocks) -> Floats:
    """Return errors in standard errors of the draws themselves, by their blocks (Goetze & Kuensch 1996)."""
    added = np.add.reduceat(influence.ravel(), blocks.row)
    own = np.sqrt(np.add.reduceat(added * added, blocks.draw)) / influence.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance: Floats = np.abs(error) / own
    return np.where(np.isfinite(distance), distance, math.inf)


def _falls(growth: Floats) -> Floats:
    wealth = np.cumsum(growth, axis=1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=1), 0.0)
    falls: Floats = np.expm1((wealth - peak).min(axis=1))
    return falls


def _quantile(distances: Floats, confidence: float) -> float:
    rank = min(math.ceil(confidence * (len(distances) + 1)), len(distances)) - 1
    return float(np.partition(distances, rank)[rank])


def _grown(mean: float, per_year: float) -> float:
    power = mean * per_year
    return math.expm1(power) if power < 700.0 else math.inf
