"""How far and how steadily the price has moved: returns, rate of change and the relative strength index."""

import math

import numpy as np

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, Bars, Feature, Run, fading, whole
from cryptoquant.market.slice import Floats

__all__ = ["log_return", "roc", "rsi"]


@borrowing
def log_return_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write ln(close / close of ``settings[0]`` bars ago)."""
    at, rows, _, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - window : at - window + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = math.log(close[row] / before[row])


@borrowing
def roc_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write close / close of ``settings[0]`` bars ago - 1."""
    at, rows, _, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - window : at - window + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = close[row] / before[row] - 1.0


@borrowing
def rsi_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write Wilder's index; state: the averages of gains and of losses."""
    at, rows, seen, to = run
    window = int(settings[0])
    weight = 1.0 / window
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    found = out[0, to : to + rows]
    gain, loss = state[0], state[1]
    seeds = min(max(window - seen, 0), rows)
    for row in range(seeds):
        change = close[row] - before[row]
        rise = change if change > 0.0 else 0.0
        gain += rise
        loss += rise - change
        found[row] = np.nan
    if seeds > 0 and seen + seeds == window:
        gain /= window
        loss /= window
        found[seeds - 1] = 100.0 * (gain / (gain + loss)) if gain + loss > 0.0 else 0.0
    for row in range(seeds, rows):
        change = close[row] - before[row]
        rise = change if change > 0.0 else 0.0
        gain = fused(rise - gain, weight, gain)
        loss = fused(rise - change - loss, weight, loss)
        found[row] = 100.0 * (gain / (gain + loss)) if gain + loss > 0.0 else 0.0
    state[0], state[1] = gain, loss


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
        step=log_return_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"log_return_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        history=window,
        lead=window,
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
        step=roc_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"roc_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        history=window,
        lead=window,
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
        step=rsi_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"rsi_{window}",),
        lookback=window,
        memory="recursive",
        warm_up=window + 1 + fading(1 / window),
        state_size=2,
        history=1,
        lead=1,
    )
