"""A Sharpe ratio tested by the formulas of 2026: returns may be skewed, fat-tailed and remember the day before.

Source of all: Lopez de Prado, Lipton & Zoonekynd (2026), "How to Use the Sharpe Ratio", ADIA Lab Research Paper 19,
SSRN 5520741. They differ from those of 2012 in ``significance``: the variance is that under the hypothesis, and holds
the autocorrelation at lag one. Never mix the two. Sharpe ratios are per observation, never annual.
"""

import math

from cryptoquant.performance.significance import SharpeEstimate

SMALLEST_VARIANCE = 1e-12
LARGEST_POWER = 700.0
WIDEST = 40.0


def sharpe_variance(estimate: SharpeEstimate, sharpe: float) -> float:
    """Return the variance of an estimated Sharpe ratio of such returns, if the true one is ``sharpe``.

    ``[(1+r)/(1-r) - (1+r+r^2)/(1-r^2) g3 s + (1+r^2)/(1-r^2) (g4-1)/4 s^2] / T`` with the autocorrelation r.
    """
    r, s = estimate.autocorrelation, sharpe
    drift = (1.0 + r) / (1.0 - r)
    cross = (1.0 + r + r * r) / (1.0 - r * r) * estimate.skewness * s
    spread = (1.0 + r * r) / (1.0 - r * r) * (estimate.kurtosis - 1.0) / 4.0 * s * s
    return max(drift - cross + spread, SMALLEST_VARIANCE) / estimate.observations


def sharpe_error(estimate: SharpeEstimate) -> float:
    """Return the standard error of the estimated Sharpe ratio; NaN for a constant series."""
    return math.sqrt(sharpe_variance(estimate, estimate.sharpe)) if _is_defined(estimate) else math.nan


def probabilistic_sharpe_2026(estimate: SharpeEstimate, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds ``benchmark``; NaN for a constant series.

    ``Z[(SR - SR0) / sqrt(var(SR0))]``.
    """
    return _probability(_distance(estimate, benchmark)) if _is_defined(estimate) else math.nan


def minimum_track_record_2026(estimate: SharpeEstimate, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return how many observations would show a Sharpe ratio above ``benchmark`` with this confidence.

    ``T var(SR0) (z / (SR - SR0))^2``; infinite when the ratio is not above the benchmark, NaN for a constant series.
    """
    if not _is_defined(estimate):
        return math.nan
    if estimate.sharpe <= benchmark:
        return math.inf
    unit = sharpe_variance(estimate, benchmark) * estimate.observations
    return unit * (_quantile(confidence) / (estimate.sharpe - benchmark)) ** 2


def critical_sharpe(estimate: SharpeEstimate, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the Sharpe ratio that must be seen to reject that the true one is ``benchmark``."""
    return benchmark + _quantile(confidence) * math.sqrt(sharpe_variance(estimate, benchmark))


def power(estimate: SharpeEstimate, alternative: float, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the probability that the test rejects ``benchmark`` when the true Sharpe ratio is ``alternative``."""
    critical = critical_sharpe(estimate, benchmark, confidence)
    return _probability((alternative - critical) / math.sqrt(sharpe_variance(estimate, alternative)))


def planned_false_discovery(level: float, power: float, prior: float) -> float:
    """Return the probability that there is no edge, given that the test rejected; pFDR, known before any data.

    Parameters
    ----------
    level, power
        Probabilities that the test rejects without and with an edge.
    prior
        Share of such strategies that have an edge.
    """
    false, true = level * (1.0 - prior), power * prior
    return false / (false + true)


def observed_false_discovery(
    estimate: SharpeEstimate, alternative: float, prior: float, benchmark: float = 0.0
) -> float:
    """Return the probability that there is no edge, given a Sharpe ratio as high as the one seen; oFDR.

    NaN for a constant series.

    Parameters
    ----------
    alternative
        Sharpe ratio of a strategy with an edge, per observation.
    prior
        Share of such strategies that have an edge.
    """
    if not _is_defined(estimate):
        return math.nan
    return _share_of_false(_distance(estimate, benchmark), _distance(estimate, alternative), prior)


def false_discovery_threshold(
    estimate: SharpeEstimate, alternative: float, prior: float, rate: float, benchmark: float = 0.0
) -> float:
    """Return the Sharpe ratio above which at most a share ``rate`` of the strategies has no edge; for one trial.

    Minus infinity when any ratio would do, NaN when none would.
    """
    from scipy.optimize import brentq

    spread, other = (math.sqrt(sharpe_variance(estimate, one)) for one in (benchmark, alternative))

    def excess(critical: float) -> float:
        return _share_of_false((critical - benchmark) / spread, (critical - alternative) / other, prior) - rate

    low, high = benchmark - WIDEST * spread, benchmark
    if excess(low) <= 0.0:
        return -math.inf
    while excess(high) > 0.0:
        high += spread
        if high > benchmark + WIDEST * spread:
            return math.nan
    return float(brentq(excess, low, high, xtol=1e-12))


def _share_of_false(without: float, with_edge: float, prior: float) -> float:
    """Return the share of those without an edge above a point that is so many deviations above either mean."""
    from scipy.special import log_ndtr

    odds = float(log_ndtr(-with_edge)) - float(log_ndtr(-without)) + math.log(prior / (1.0 - prior))
    return 1.0 / (1.0 + math.exp(odds)) if odds < LARGEST_POWER else 0.0


def _probability(distance: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(distance))


def _quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def _is_defined(estimate: SharpeEstimate) -> bool:
    return not (math.isnan(estimate.sharpe) or math.isnan(estimate.autocorrelation))


def _distance(estimate: SharpeEstimate, hypothesis: float) -> float:
    """Return how far the estimate is above a true Sharpe ratio, in standard errors under it."""
    return (estimate.sharpe - hypothesis) / math.sqrt(sharpe_variance(estimate, hypothesis))
