"""What many trials do to a Sharpe ratio, by the formulas of 2026: the best of K is high by luck, and less spread.

Source: Lopez de Prado, Lipton & Zoonekynd (2026), as ``sharpe_test``; ``significance`` holds the deflation of 2014.
Sharpe ratios are per observation.
"""

import math

import numpy as np
from numpy.typing import NDArray

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
    the deviation of the maximum of as many standard normals. NaN for a constant series, fewer than two trials, or
    trials that are all alike.

    Parameters
    ----------
    trial_sharpes
        Sharpe ratio per observation of every study trial on the same calendar.
    """
    from scipy.special import ndtr

    count = len(trial_sharpes)
    variance = float(np.var(trial_sharpes, ddof=1)) if count > 1 else 0.0
    if math.isnan(returns.sharpe) or not variance > 0.0:
        return math.nan
    excess = returns.sharpe - benchmark - expected_maximum(variance, count)
    return float(ndtr(excess / (math.sqrt(variance) * maximum_of_normals(count)[1])))


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
