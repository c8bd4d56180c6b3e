"""The stationary bootstrap: histories that could have been, resampled in blocks of a length that the data choose."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
FEWEST = 9


def stationary_indices(length: int, block: float, draws: int, seed: int | Sequence[int] | np.random.Generator) -> Rows:
    """Return resampled row numbers, shape (draws, length), in blocks of geometric length with mean ``block``.

    Source: Politis & Romano (1994), "The Stationary Bootstrap", JASA 89(428).
    """
    return stationary_blocks(length, block, draws, seed)[0]


def stationary_blocks(
    length: int, block: float, draws: int, seed: int | Sequence[int] | np.random.Generator
) -> tuple[Rows, NDArray[np.bool_]]:
    """Return ``stationary_indices``, and where a block begins, both of shape (draws, length)."""
    rng = np.random.default_rng(seed)
    fresh = rng.random((draws, length)) < 1.0 / block
    fresh[:, 0] = True
    starts = rng.integers(0, length, (draws, length))
    position = np.where(fresh, np.arange(length), 0)
    anchor = np.maximum.accumulate(position, axis=1)
    rows: Rows = np.take_along_axis(starts, anchor, axis=1) + np.arange(length) - anchor
    np.subtract(rows, length, out=rows, where=rows >= length)
    return rows, fresh


def autocovariances(values: Floats, lags: int) -> Floats:
    """Return the autocovariances at lags 0 to ``lags``, shape (lags + 1, ...), each a sum over the whole length.

    Parameters
    ----------
    values
        Shape (observations,) or (observations, series).
    """
    centred = values - values.mean(axis=0)
    length = len(centred)
    padded = 1 << (length + lags).bit_length()
    spectrum = np.fft.rfft(centred, padded, axis=0)
    covariances: Floats = np.fft.irfft(np.abs(spectrum) ** 2, padded, axis=0)[: lags + 1] / length
    return covariances


def optimal_block(values: Floats) -> float:
    """Return the mean block length that suits the memory of a series best, at least one observation.

    One, too, for a series that is constant or shorter than nine observations.

    Source: Politis & White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews
    23(1); corrected by Patton, Politis & White (2009), Econometric Reviews 28(4).
    """
    length = len(values)
    if length < FEWEST or np.ptp(values) == 0.0:
        return 1.0
    variance, lags, weighted = _flat_top(values)
    long_run, slope = variance + weighted.sum(), (weighted * lags).sum()
    largest = math.ceil(min(3.0 * math.sqrt(length), length / 3.0))
    best = largest if long_run == 0.0 else (slope**2 / long_run**2 * length) ** (1.0 / 3.0)
    return float(np.clip(best, 1.0, largest))


def long_run_variance(values: Floats) -> float:
    """Return the variance of a series and twice its autocovariances, weighted by a flat-top kernel of automatic width.

    The plain variance where the sum is not above zero, and for fewer than nine observations.

    Source: Politis & Romano (1995), "Bias-Corrected Nonparametric Spectral Estimation", Journal of Time Series Analysis
    16(1); width as in Politis & White (2004).
    """
    if len(values) < FEWEST or np.ptp(values) == 0.0:
        return float(np.var(values))
    variance, _, weighted = _flat_top(values)
    total = variance + float(weighted.sum())
    return total if total > 0.0 else variance


def _flat_top(values: Floats) -> tuple[float, Rows, Floats]:
    """Return the variance, and the lags with twice their weighted autocovariances."""
    window = max(5, int(math.log10(len(values))))
    most = min(math.ceil(math.sqrt(len(values))) + window, len(values) - 2)
    covariances = autocovariances(values, most)
    memory = _memory(values, covariances, window)
    lags = np.arange(1, memory + 1)
    weighted = 2.0 * np.minimum(1.0, 2.0 * (1.0 - lags / memory)) * covariances[1 : memory + 1]
    return float(covariances[0]), lags, weighted


def _memory(values: Floats, covariances: Floats, window: int) -> int:
    """Return twice the lag after which a whole window of autocorrelations lies inside the noise band."""
    length, most = len(values), len(covariances) - 1
    squares = (values - values.mean()) ** 2
    forward, total = np.cumsum(squares), float(squares.sum())
    lags = np.arange(most + 1)
    heads, tails = forward[length - 2 - lags], total - forward[lags]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.abs(covariances) * length / np.sqrt(heads * tails)
    inside = correlations < 2.0 * math.sqrt(math.log10(length) / length)
    runs = np.convolve(inside, np.ones(window), "valid")[: most - window + 1] == window
    return min(2 * max(int(np.argmax(runs)), 1), most) if runs.any() else most
