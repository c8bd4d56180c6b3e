"""How many independent trials a set of trials amounts to: neighbours in a grid are hardly more than one."""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.curve import ROUNDING


def effective_trials(returns: NDArray[np.float64]) -> float:
    """Return the effective rank of the correlations between trials: 1 for identical ones, N for N uncorrelated ones.

    The exponential of the entropy of their eigenvalues. Trials that never moved are alike and count as one more.
    NaN without a trial, and for fewer than two periods.

    Source: Roy & Vetterli (2007), "The Effective Rank: A Measure of Effective Dimensionality", EUSIPCO; taken for the
    number of trials by Lopez de Prado, Lipton & Zoonekynd (2026).

    Parameters
    ----------
    returns
        Shape (periods, trials).
    """
    periods, trials = returns.shape
    if periods < 2 or trials < 1:
        return math.nan
    centred = returns - returns.mean(axis=0)
    deviation = np.sqrt((centred * centred).mean(axis=0))
    moves = deviation > ROUNDING * np.abs(returns.mean(axis=0))
    idle = int(not moves.all())
    if not moves.any():
        return 1.0
    scores = centred[:, moves] / (deviation[moves] * math.sqrt(periods))
    spread = np.linalg.svd(scores, compute_uv=False) ** 2
    shares = spread[spread > ROUNDING * spread.sum()] / spread.sum()
    rank = math.exp(-float((shares * np.log(shares)).sum()))
    return min(max(rank, 1.0) + idle, float(trials))
