"""How far and how steadily the price has moved: returns, rate of change and the relative strength index."""

import math

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Feature, fading, whole
from cryptoquant.features.rolling import ring, ring_size, wilder
from cryptoquant.market.slice import Floats


@borrowing
def log_return_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write ln(close / close of ``settings[0]`` bars ago)."""
    before = ring(state, 0, int(settings[0]), bar[0])
    out[0] = math.log(bar[0] / before)


@borrowing
def roc_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write close / close of ``settings[0]`` bars ago - 1."""
    before = ring(state, 0, int(settings[0]), bar[0])
    out[0] = bar[0] / before - 1.0


@borrowing
def rsi_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write Wilder's index; state: started, last close, averages of gains (2) and losses (2)."""
    window = int(settings[0])
    close = bar[0]
    out[0] = np.nan
    if state[0] > 0.0:
        change = close - state[1]
        gain = wilder(state, 2, window, max(change, 0.0))
        loss = wilder(state, 4, window, max(-change, 0.0))
        if not math.isnan(gain):
            moved = gain + loss
            out[0] = 100.0 * (gain / moved) if moved > 0.0 else 0.0
    state[0] = 1.0
    state[1] = close


def log_return(window: int) -> Feature:
    """Return the logarithmic return over ``window`` bars.

    Formula: ln(close[t] / close[t - window]); a pure number. Inputs: close. Output: ``log_return_{window}``. Lookback:
    window. Memory: finite. Warm-up: window + 1 bars. Source: Campbell, Lo, MacKinlay (1997), section 1.4.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("log_return", "window", window)
    return Feature(
        name="log_return",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"log_return_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        state_size=ring_size(window),
    )


def roc(window: int) -> Feature:
    """Return the rate of change (simple return) over ``window`` bars, as a fraction.

    Formula: close[t] / close[t - window] - 1, TA-Lib's ROCP. Inputs: close. Output: ``roc_{window}``. Lookback: window.
    Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("roc", "window", window)
    return Feature(
        name="roc",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"roc_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        state_size=ring_size(window),
    )


def rsi(window: int = 14) -> Feature:
    """Return Wilder's relative strength index, 0 to 100, equal to TA-Lib's RSI.

    Formula: 100 G / (G + L), G and L the Wilder averages of gains and losses of the close, seeded by the mean of the
    first ``window`` changes; 0 when nothing ever moved. Source: Wilder (1978), New Concepts in Technical Trading
    Systems, section VI. Inputs: close. Output: ``rsi_{window}``. Lookback: window. Memory: recursive. Warm-up: about
    28 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("rsi", "window", window)
    return Feature(
        name="rsi",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"rsi_{window}",),
        lookback=window,
        memory="recursive",
        warm_up=window + 1 + fading(1 / window),
        state_size=6,
    )
