"""From the Sharpe ratio of a period to that of a year, where returns remember those before.

Source: Lo (2002), "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4).
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def annualisation_factor(autocorrelations: Floats, periods: int) -> float:
    """Return what the Sharpe ratio of a period is multiplied by: ``q / sqrt(q + 2 sum_k (q - k) rho_k)`` (eq. 15).

    Without autocorrelation it is the root of ``periods``. NaN where the sum is not above zero.

    Parameters
    ----------
    autocorrelations
        At lags 1, 2, ...; those that are missing are zero, those from ``periods`` on play no part.
    periods
        In a year: q.
    """
    known = np.asarray(autocorrelations, dtype=np.float64)[: periods - 1]
    lags = np.arange(1, len(known) + 1)
    total = periods + 2.0 * float(((periods - lags) * known).sum())
    return periods / math.sqrt(total) if total > 0.0 else math.nan


def autoregressive_factor(memory: float, periods: int) -> float:
    """Return ``annualisation_factor`` of an AR(1), whose autocorrelation at lag k is the k-th power of ``memory``.

    Examples
    --------
    >>> [round(autoregressive_factor(memory, 12), 2) for memory in (-0.2, 0.0, 0.2)]
    [4.17, 3.46, 2.88]
    """
    kept = (1.0 - memory**periods) / (periods * (1.0 - memory))
    return math.sqrt(periods / (1.0 + 2.0 * memory / (1.0 - memory) * (1.0 - kept)))


def independent_error(sharpe: float, observations: int) -> float:
    """Return the standard error of the Sharpe ratio of independent normal returns, ``sqrt((1 + SR^2/2) / T)``."""
    return math.sqrt((1.0 + sharpe * sharpe / 2.0) / observations)
