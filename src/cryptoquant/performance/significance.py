"""How sure one can be of a Sharpe ratio, by the formulas of 2012 and 2014: its probability and its deflation by trials.

Sharpe ratios are per observation inside every formula here, never annual; kurtosis is Pearson's (normal: 3).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.bootstrap import stationary_indices as stationary_indices
from cryptoquant.performance.metrics import moments, sharpe_ratio

Floats = NDArray[np.float64]
EULER_MASCHERONI = 0.577_215_664_901_532_9


@dataclass(frozen=True, slots=True)
class SharpeEstimate:
    """A Sharpe ratio per observation with what its uncertainty needs: every formula reads returns through it.

    The autocorrelation, at lag one, is of the 2026 formulas in ``sharpe_test`` only.
    """

    sharpe: float
    observations: int
    skewness: float = 0.0
    kurtosis: float = 3.0
    autocorrelation: float = 0.0

    @classmethod
    def of(cls, returns: Floats) -> "SharpeEstimate":
        """Return the estimate of a series of returns, shape (observations,)."""
        return cls(sharpe_ratio(returns), len(returns), *moments(returns), autocorrelation(returns))

    @property
    def variance(self) -> float:
        """``1 - g3 SR + (g4 - 1)/4 SR^2``: the variance of the estimate times the observations (Mertens 2002)."""
        return 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2


def autocorrelation(returns: Floats) -> float:
    """Return the autocorrelation at lag one, between -1 and 1; NaN for a constant series."""
    if math.isnan(sharpe_ratio(returns)):
        return math.nan
    centred = returns - returns.mean()
    return float(centred[1:] @ centred[:-1]) / float(centred @ centred)


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


def minimum_backtest_years(annual_sharpe: float, trials: int) -> float:
    """Return the years below which so many skill-less trials are expected to find a Sharpe ratio this high.

    ``(E[max of N] / SR)^2``; infinite when the ratio is not above zero, NaN below two trials or without a ratio.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism", Notices of
    the AMS 61(5), theorem 1.
    """
    if trials < 2 or math.isnan(annual_sharpe):
        return math.nan
    return (expected_maximum(1.0, trials) / annual_sharpe) ** 2 if annual_sharpe > 0.0 else math.inf


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
