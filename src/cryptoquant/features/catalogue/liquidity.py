"""How far the price moves for the money that is traded, read off bars."""

import numpy as np

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import CLOSE, LOG_RETURN, VOLUME, Bars, Feature, Run, feature_of, whole
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["amihud"]


@borrowing
def amihud_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the mean of |return| / money over the bars with trades; state: two sums."""
    at, rows, seen, to = run
    window = int(settings[0])
    returns, close = floats_at(bars[LOG_RETURN], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    volume = floats_at(bars[VOLUME], at + rows)[at:]
    ratios, counts, found = scratch[0, :rows], scratch[1, :rows], out[0, to : to + rows]
    for row in range(rows):
        money = close[row] * volume[row]
        ratios[row] = abs(returns[row]) / money if money > 0.0 else 0.0
        counts[row] = 1.0 if money > 0.0 else 0.0
    sums(state, 0, window, ratios, seen, ratios)
    sums(state, window + 2, window, counts, seen, counts)
    for row in range(rows):
        found[row] = ratios[row] / counts[row] if counts[row] != 0.0 else np.nan


def amihud(window: int = 20) -> Feature:
    """Return Amihud's illiquidity: the absolute log return per unit of money traded, averaged over ``window`` bars.

    Formula: mean of |r| / (close x volume) over the bars with trades, r = ln(close[t] / close[t-1]); NaN when there
    was none. Source: Amihud (2002), Journal of Financial Markets 5, equation 1. Per unit of the quote currency. Inputs:
    close, volume. Output: ``amihud_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("amihud", "window", window)
    return feature_of(
        amihud_step,
        ("log_return", "close", "volume"),
        window,
        parameters={"window": window},
        state_size=2 * sums_size(window),
        lead=1,
    )
