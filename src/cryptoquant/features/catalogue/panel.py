"""One symbol against all others of the same close: steps over a whole slice.

Absent symbols neither count nor step; the result does not depend on the order of the symbols, to the bit.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.features.feature import Feature, feature_of, whole
from cryptoquant.features.folds.memory import ring, ring_size
from cryptoquant.market.slice import Floats

__all__ = ["cross_sectional_rank", "cross_sectional_zscore", "relative_return"]


@kernel
def window_returns(
    state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats
) -> NDArray[np.float64]:
    """Write each present symbol's log return into ``out[:, 0]``; return the defined ones in rising order."""
    window = int(settings[0])
    defined = np.empty(bars.shape[0])
    count = 0
    for symbol in range(bars.shape[0]):
        if present[symbol]:
            value = math.log(bars[symbol, 0] / ring(state[symbol], 0, window, bars[symbol, 0]))
            out[symbol, 0] = value
            if not math.isnan(value):
                defined[count] = value
                count += 1
    return np.sort(defined[:count])


@kernel
def relative_return_step(
    state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats
) -> None:
    """Write each return minus the mean; sums in rising order, so that the order of symbols does not matter."""
    ordered = window_returns(state, settings, bars, present, out)
    total = 0.0
    for value in ordered:
        total += value
    mean = total / max(len(ordered), 1)
    for symbol in range(bars.shape[0]):
        out[symbol, 0] -= mean


@kernel
def cross_sectional_rank_step(
    state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats
) -> None:
    """Write each return's rank from 0 to 1, ties shared."""
    ordered = window_returns(state, settings, bars, present, out)
    for symbol in range(bars.shape[0]):
        value = out[symbol, 0]
        if math.isnan(value):
            continue
        below = np.searchsorted(ordered, value, side="left")
        upto = np.searchsorted(ordered, value, side="right")
        out[symbol, 0] = 0.5 if len(ordered) == 1 else (below + upto - 1.0) / 2.0 / (len(ordered) - 1.0)


@kernel
def cross_sectional_zscore_step(
    state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats
) -> None:
    """Write each return's distance to the mean in sample deviations; sums in rising order."""
    ordered = window_returns(state, settings, bars, present, out)
    total = 0.0
    for value in ordered:
        total += value
    mean = total / max(len(ordered), 1)
    squares = 0.0
    for value in ordered:
        squares += (value - mean) ** 2
    spread = math.sqrt(squares / max(len(ordered) - 1, 1))
    if len(ordered) > 0 and ordered[0] == ordered[-1]:
        spread = 0.0
    for symbol in range(bars.shape[0]):
        value = out[symbol, 0]
        if not math.isnan(value):
            out[symbol, 0] = 0.0 if spread == 0.0 else (value - mean) / spread


def relative_return(window: int) -> Feature:
    """Return a symbol's log return over ``window`` of its bars minus the mean over the symbols of the slice.

    Formula: r[i] - mean over present j of r[j], r = ln(close[t] / close[t - window]); symbols without enough bars do
    not count; one symbol alone gives 0. Source: the contrarian weights of Lo, MacKinlay
    (1990), Review of Financial Studies 3, without their sign and scale. Inputs:
    close of all symbols. Output: ``relative_return_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1
    bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_returns(relative_return_step, window)


def cross_sectional_rank(window: int) -> Feature:
    """Return the rank of a symbol's log return over ``window`` of its bars among the symbols of the slice, 0 to 1.

    Formula: (average rank - 1) / (symbols - 1), 1 for the best; ties share their rank; one symbol alone gives 0.5.
    Source: Jegadeesh, Titman (1993), Journal of Finance 48. Inputs: close of all symbols. Output:
    ``cross_sectional_rank_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_returns(cross_sectional_rank_step, window)


def cross_sectional_zscore(window: int) -> Feature:
    """Return how many deviations a symbol's log return over ``window`` of its bars is above the mean of the slice.

    Formula: (r[i] - mean r) / sqrt(sum (r[j] - mean r)^2 / (symbols - 1)) over the present symbols with enough bars; 0
    for one symbol alone and where all moved alike. Source: the standardised characteristics of Fama, MacBeth (1973),
    Journal of Political Economy 81. Inputs: close of all symbols. Output: ``cross_sectional_zscore_{window}``, a pure
    number. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_returns(cross_sectional_zscore_step, window)


def _of_returns(step: Callable[..., None], window: int) -> Feature:
    window = whole(step.__name__.removesuffix("_step"), "window", window)
    return feature_of(
        step, ("close",), window, parameters={"window": window}, state_size=ring_size(window), across=True
    )
