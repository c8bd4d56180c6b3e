"""How sure one can be of a Sharpe ratio: its probability, its deflation by trials, and bootstrap intervals.

Sharpe ratios are per observation inside every formula here, never annual; kurtosis is Pearson's (normal: 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.metrics import drawdowns, moments, sharpe_ratio

Floats = NDArray[np.float64]
EULER_MASCHERONI = 0.577_215_664_901_532_9


@dataclass(frozen=True, slots=True)
class SharpeEstimate:
    """A Sharpe ratio per observation with what its uncertainty needs: every formula here reads returns through it."""

    sharpe: float
    observations: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @classmethod
    def of(cls, returns: Floats) -> "SharpeEstimate":
        """Return the estimate of a series of returns, shape (observations,)."""
        return cls(sharpe_ratio(returns), len(returns), *moments(returns))

    @property
    def variance(self) -> float:
        """``1 - g3 SR + (g4 - 1)/4 SR^2``: the variance of the estimate times the observations (Mertens 2002)."""
        return 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2


def probabilistic_sharpe(returns: Floats | SharpeEstimate, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds ``benchmark`` (both per observation).

    The 2012 variant: ``Z[(SR - SR0) sqrt(T - 1) / sqrt(V(SR))]``. NaN for a constant series.

    Source: Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), eq. 9.

    Examples
    --------
    >>> round(probabilistic_sharpe(SharpeEstimate(sharpe=0.1, observations=101)), 4)
    0.8407
    """
    from scipy.stats import norm

    found = _estimate(returns)
    if math.isnan(found.sharpe):
        return math.nan
    excess = found.sharpe - benchmark
    return float(norm.cdf(excess * math.sqrt((found.observations - 1) / max(found.variance, 1e-12))))


def expected_maximum(variance: float, trials: int) -> float:
    """Return the expected largest Sharpe ratio of ``trials`` skill-less ones with the given variance.

    Source: Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), eq. 1.

    Raises
    ------
    ValueError
        Fewer than two trials: the formula is not defined.
    """
    from scipy.stats import norm

    if trials < 2:
        raise ValueError(f"the expected maximum needs at least two trials, found {trials}")
    first, second = norm.ppf(1.0 - 1.0 / trials), norm.ppf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * float((1.0 - EULER_MASCHERONI) * first + EULER_MASCHERONI * second)


def deflated_sharpe(returns: Floats | SharpeEstimate, trial_sharpes: Floats) -> float:
    """Return the probabilistic Sharpe ratio against the best that chance finds in that many trials (2014 variant).

    Parameters
    ----------
    returns
        Of the chosen configuration, shape (periods,), or their estimate.
    trial_sharpes
        Sharpe ratio per observation of every study trial on the same calendar, at least two.
    """
    variance = float(np.var(trial_sharpes, ddof=1)) if len(trial_sharpes) > 1 else 0.0
    return probabilistic_sharpe(returns, expected_maximum(variance, len(trial_sharpes)))


def minimum_track_record(returns: Floats | SharpeEstimate, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return how many observations would show a Sharpe ratio above ``benchmark`` with this confidence.

    ``1 + V(SR) (z / (SR - SR0))^2``; infinite when the ratio is not above the benchmark, NaN for a constant series.

    Source: Bailey & Lopez de Prado (2012), eq. 11.
    """
    from scipy.stats import norm

    found = _estimate(returns)
    if math.isnan(found.sharpe):
        return math.nan
    if found.sharpe <= benchmark:
        return math.inf
    return 1.0 + found.variance * (float(norm.ppf(confidence)) / (found.sharpe - benchmark)) ** 2


def _estimate(returns: Floats | SharpeEstimate) -> SharpeEstimate:
    return returns if isinstance(returns, SharpeEstimate) else SharpeEstimate.of(returns)


def stationary_indices(length: int, block: float, draws: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """Return resampled row numbers, shape (draws, length), in blocks of geometric length with mean ``block``.

    Source: Politis & Romano (1994), "The Stationary Bootstrap", JASA 89(428).
    """
    rng = np.random.default_rng(seed)
    fresh = rng.random((draws, length)) < 1.0 / block
    fresh[:, 0] = True
    starts = rng.integers(0, length, (draws, length))
    position = np.where(fresh, np.arange(length), 0)
    anchor = np.maximum.accumulate(position, axis=1)
    rows: NDArray[np.int64] = (np.take_along_axis(starts, anchor, axis=1) + np.arange(length) - anchor) % length
    return rows


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided bootstrap interval."""

    low: float
    high: float
    confidence: float


def bootstrap_intervals(
    returns: Floats, per_year: float, *, confidence: float = 0.95, draws: int = 1_000, seed: int = 0
) -> dict[str, Interval]:
    """Return percentile intervals of the annual Sharpe ratio and of the largest drawdown by the stationary bootstrap.

    The mean block is the cube root of the length times 1.5, at least 5 (a plain rule; Politis & White 2004 refine it).
    """
    block = max(5.0, 1.5 * len(returns) ** (1 / 3))
    sharpes, worst = np.full(draws, np.nan), np.full(draws, np.nan)
    for draw in range(draws if len(returns) else 0):
        rows = stationary_indices(len(returns), block, 1, (seed, draw))[0]
        sample = returns[rows]
        sharpes[draw] = sharpe_ratio(sample, per_year)
        worst[draw] = drawdowns(np.cumprod(1.0 + sample), 1.0).min()
    tail = (1.0 - confidence) / 2.0
    found = {}
    for name, values in (("sharpe", sharpes), ("max_drawdown", worst)):
        finite = values[np.isfinite(values)]
        low, high = np.quantile(finite, [tail, 1.0 - tail]) if len(finite) else (math.nan, math.nan)
        found[name] = Interval(float(low), float(high), confidence)
    return found
