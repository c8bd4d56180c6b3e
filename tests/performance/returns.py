"""Daily returns with a known truth: without memory, with fat tails, with memory, and with clusters of volatility."""

import math
from functools import cache

import numpy as np
from scipy.signal import lfilter

DAYS, DEVIATION = 500, 0.02
SHARPE = 1.0 / math.sqrt(365)
KINDS = ("normal", "fat tails", "memory", "clusters")


def scores(kind: str, rng: np.random.Generator, length: int) -> np.ndarray:
    """Return values of mean zero and variance one."""
    if kind == "fat tails":
        return rng.standard_t(5, length) / math.sqrt(5 / 3)
    noise = rng.standard_normal(length + 500)
    if kind == "memory":
        return lfilter([math.sqrt(1 - 0.2**2)], [1.0, -0.2], noise)[500:]
    if kind == "clusters":
        variance = 1.0
        for number, shock in enumerate(noise):
            noise[number] = math.sqrt(variance) * shock
            variance = 0.05 + 0.1 * noise[number] ** 2 + 0.85 * variance
    return noise[500:]


def history(kind: str, seed: int, length: int = DAYS) -> np.ndarray:
    """Return daily returns of an annual Sharpe ratio of 1."""
    return DEVIATION * (SHARPE + scores(kind, np.random.default_rng([17, seed]), length))


@cache
def true_growth(kind: str) -> float:
    """Return the mean logarithmic return of a day, to about 1e-6."""
    drawn = scores(kind, np.random.default_rng(99), 400_000)
    drawn = (drawn - drawn.mean()) / drawn.std()
    return float(np.log1p(DEVIATION * (SHARPE + drawn)).mean())


def deepest_fall(returns: np.ndarray) -> float:
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return float((wealth / np.maximum.accumulate(wealth) - 1.0).min())
