"""What many trials do to a Sharpe ratio, by the formulas of 2026: the best of K is high by luck, and less spread.

Source: Lopez de Prado, Lipton & Zoonekynd (2026), as ``sharpe_test``; ``significance`` holds the deflation of 2014.
Sharpe ratios are per observation.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.sharpe_test import sharpe_variance
from cryptoquant.performance.significance import SharpeEstimate, expected_maximum

Floats = NDArray[np.float64]
WIDEST, POINTS = 12.0, 4_001


def maximum_of_normals(count: int) -> tuple[float, float]:
    """Return mean and deviation of the largest of ``count`` independent standard normals.

    ``E[m^p]`` is the integral of ``x^p K f(x) F(x)^(K-1)``, here by the trapezoidal rule, exact to nine digits.

    Raises
    ------
    ValueError
        The count is below one.
    """
    from scipy.special import log_ndtr

    if count < 1:
        raise ValueError(f"the largest of nothing is not defined, found {count}")
    x, step = np.linspace(-WIDEST, WIDEST, POINTS, retstep=True)
    logarithm = math.log(count) - x * x / 2.0 - math.log(2.0 * math.pi) / 2.0 + (count - 1) * log_ndtr(x)
    density = np.exp(logarithm) * float(step)
    mean = float(x @ density)
    return mean, math.sqrt(float((x - mean) ** 2 @ density))


def deflated_sharpe_2026(returns: SharpeEstimate, trial_sharpes: Floats, benchmark: float = 0.0) -> float:
    """Return the probability that the Sharpe ratio beats the best that chance finds in that many trials.

    ``Z[(SR - SR0 - sqrt(V) E) / (sqrt(V) D)]``: V the variance of the trials' ratios, E the expected maximum of 2014, D
    the deviation of the maximum of as many standard normals. NaN for a constant series or fewer than two trials.

    Ours is the case of a V below s^2, the variance by which the ratio of one trial is uncertain (``sharpe_variance``
    at the benchmark): then the trials are correlated, by ``1 - V / s^2``, and share an error of the variance
    ``s^2 - V`` that no choice among them takes away. It is added, ``V D^2 + s^2 - V`` below the root, so that trials
    that are all alike leave the probabilistic Sharpe ratio of 2026. From s^2 on nothing is added.

    Parameters
    ----------
    trial_sharpes
        Sharpe ratio per observation of every study trial on the same calendar.
    """
    count = len(trial_sharpes)
    return deflated_by(returns, float(np.var(trial_sharpes, ddof=1)), count, benchmark) if count > 1 else math.nan


def deflated_by(returns: SharpeEstimate, variance: float, count: int, benchmark: float = 0.0) -> float:
    """Return ``deflated_sharpe_2026`` of two or more trials whose ratios have this variance."""
    from scipy.special import ndtr

    if math.isnan(returns.sharpe) or math.isnan(returns.autocorrelation) or math.isnan(variance):
        return math.nan
    shared = max(sharpe_variance(returns, benchmark) - variance, 0.0)
    spread = math.sqrt(variance * maximum_of_normals(count)[1] ** 2 + shared)
    return float(ndtr((returns.sharpe - benchmark - expected_maximum(variance, count)) / spread))


def family_wise_threshold(variance: float, trials: int, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the Sharpe ratio that none of so many skill-less trials exceeds, with this confidence; exact.

    ``SR0 + Z^-1[(1 - a)^(1/K)] sqrt(V)``.

    Parameters
    ----------
    variance
        Of the trials' Sharpe ratios.
    """
    from scipy.special import ndtri

    return benchmark + float(ndtri(confidence ** (1.0 / trials))) * math.sqrt(variance)
