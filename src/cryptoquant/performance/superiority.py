"""Whether the best of many trials beats cash by more than luck: White's reality check and Hansen's test."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.bootstrap import Rows, autocovariances, optimal_block, stationary_indices
from cryptoquant.performance.curve import ROUNDING

Floats = NDArray[np.float64]
VALUES_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Superiority:
    """p-values that no trial is better than holding cash; NaN where no trial ever moved.

    Attributes
    ----------
    reality_check
        Of the largest mean return (White 2000).
    lower, consistent, upper
        Of the largest mean in its standard errors, studentised (Hansen 2005): poor trials count not at all, only if
        they might be as good as cash, or as much as any; only the last is as cautious as the reality check.
    """

    reality_check: float
    lower: float
    consistent: float
    upper: float


def superiority(returns: Floats, *, draws: int = 1_000, block: float | None = None, seed: int = 0) -> Superiority:
    """Return how probable so good a best trial is, if none is better than cash.

    Source: White (2000), "A Reality Check for Data Snooping", Econometrica 68(5); Hansen (2005), "A Test for Superior
    Predictive Ability", Journal of Business & Economic Statistics 23(4).

    Parameters
    ----------
    returns
        Over cash, shape (periods, trials). Trials that never move are left out.
    block
        Mean length of the blocks of the stationary bootstrap; by default the largest that suits a trial.

    Raises
    ------
    ValueError
        Fewer than three periods.
    """
    if len(returns) < 3:
        raise ValueError(f"superiority needs at least three periods, found {len(returns)}")
    mean = returns.mean(axis=0)
    moving = returns[:, returns.std(axis=0) > ROUNDING * np.abs(mean)]
    if not moving.shape[1]:
        return Superiority(math.nan, math.nan, math.nan, math.nan)
    if block is None:
        block = max(optimal_block(column) for column in moving.T)
    return p_values(moving, resampled_means(moving, block, draws, seed), bootstrap_deviation(moving, block))


def resampled_means(returns: Floats, block: float, draws: int, seed: int) -> Floats:
    """Return the mean of each trial in each resampled history, shape (draws, trials).

    Parameters
    ----------
    returns
        Shape (periods, trials); all trials of a history are resampled together.
    """
    periods, rng, parts = len(returns), np.random.default_rng(seed), []
    at_once = max(1, VALUES_AT_ONCE // periods)
    for start in range(0, draws, at_once):
        rows = stationary_indices(periods, block, min(at_once, draws - start), rng)
        parts.append(times_drawn(rows, periods) @ returns / periods)
    return np.concatenate(parts)


def times_drawn(rows: Rows, periods: int) -> Floats:
    """Return how often each period is in each history, shape (draws, periods)."""
    draws = len(rows)
    flat = rows + periods * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * periods).reshape(draws, periods).astype(np.float64)


def bootstrap_deviation(returns: Floats, block: float) -> Floats:
    """Return the deviation of the root of the periods times a resampled mean, shape (trials,), without resampling.

    Source: Politis & Romano (1994), "The Stationary Bootstrap", lemma 1; Hansen (2005), section 3.1.

    Parameters
    ----------
    returns
        Shape (periods, trials).
    """
    periods = len(returns)
    lags = np.arange(1, periods)
    stays = 1.0 - 1.0 / block
    kernel = (1.0 - lags / periods) * stays**lags + lags / periods * stays ** (periods - lags)
    covariances = autocovariances(returns, periods - 1)
    variance: Floats = covariances[0] + 2.0 * kernel @ covariances[1:]
    return np.sqrt(np.maximum(variance, 0.0))


def p_values(returns: Floats, resampled: Floats, deviation: Floats) -> Superiority:
    """Return the p-values; the data count as one draw more, so that none is zero (Davison & Hinkley 1997, eq. 4.11).

    Parameters
    ----------
    returns
        Shape (periods, trials).
    resampled
        Of ``resampled_means``.
    deviation
        Of ``bootstrap_deviation``.
    """
    mean, root = returns.mean(axis=0), math.sqrt(len(returns))
    reality = _share(resampled - mean, mean)
    threshold = -deviation / root * math.sqrt(2.0 * math.log(math.log(len(returns))))
    centres = (np.maximum(mean, 0.0), np.where(mean >= threshold, mean, 0.0), mean)
    return Superiority(reality, *(_share((resampled - centre) / deviation, mean / deviation) for centre in centres))


def _share(drawn: Floats, seen: Floats) -> float:
    best, least = np.maximum(drawn.max(axis=1), 0.0), max(float(seen.max()), 0.0)
    return (1.0 + int(np.count_nonzero(best >= least))) / (1.0 + len(best))
