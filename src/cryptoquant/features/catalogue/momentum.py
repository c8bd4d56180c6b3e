"""How far and how steadily the price has moved: returns, rate of change, relative and true strength."""

import math
from collections.abc import Callable

import numpy as np

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.averages import seeded
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats

__all__ = ["log_return", "momentum", "roc", "rsi", "tsi"]


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


@borrowing
def momentum_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write close - close of ``settings[0]`` bars ago."""
    at, rows, _, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - window : at - window + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = close[row] - before[row]


@borrowing
def tsi_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the index; state: once and twice smoothed change, once and twice smoothed size of the change."""
    at, rows, seen, to = run
    slow, fast = int(settings[0]), int(settings[1])
    slow_weight, fast_weight = 2.0 / (slow + 1.0), 2.0 / (fast + 1.0)
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    found, sizes = out[0, to : to + rows], scratch[0]
    once, twice, size_once, size_twice = state[0], state[1], state[2], state[3]
    early = min(max(slow + fast - 1 - seen, 0), rows)
    for row in range(rows):
        change = close[row] - before[row]
        if row < early:
            count = seen + row + 1
            once = seeded(once, change, slow_weight, slow, count)
            twice = seeded(twice, once, fast_weight, fast, count - slow + 1)
            size_once = seeded(size_once, abs(change), slow_weight, slow, count)
            size_twice = seeded(size_twice, size_once, fast_weight, fast, count - slow + 1)
        else:
            once = fused(change - once, slow_weight, once)
            twice = fused(once - twice, fast_weight, twice)
            size_once = fused(abs(change) - size_once, slow_weight, size_once)
            size_twice = fused(size_once - size_twice, fast_weight, size_twice)
        found[row], sizes[row] = twice, size_twice
    for row in range(rows):
        found[row] = 100.0 * found[row] / sizes[row] if sizes[row] > 0.0 else 0.0
    state[0], state[1], state[2], state[3] = once, twice, size_once, size_twice
    blank(found, slow + fast - 2 - seen)


def log_return(window: int) -> Feature:
    """Return the logarithmic return over ``window`` bars.

    Formula: ln(close[t] / close[t - window]); a pure number. Inputs: close. Output: ``log_return_{window}``. Lookback:
    window. Memory: finite. Warm-up: window + 1 bars. Source: Campbell, Lo, MacKinlay (1997), section 1.4.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _change(log_return_step, window)


def roc(window: int) -> Feature:
    """Return the rate of change (simple return) over ``window`` bars, as a fraction.

    Formula: close[t] / close[t - window] - 1, TA-Lib's ROCP. Inputs: close. Output: ``roc_{window}``. Lookback: window.
    Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _change(roc_step, window)


def momentum(window: int = 10) -> Feature:
    """Return the change of the close over ``window`` bars in units of the price, equal to TA-Lib's MOM.

    Formula: close[t] - close[t - window]. Source: Murphy (1999), Technical Analysis of the Financial Markets, chapter
    10. Inputs: close. Output: ``momentum_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _change(momentum_step, window)


def _change(step: Callable[..., None], window: int) -> Feature:
    window = whole(step.__name__.removesuffix("_step"), "window", window)
    return feature_of(step, ("close",), window, parameters={"window": window}, history=window, lead=window)


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
    return feature_of(
        rsi_step,
        ("close",),
        window,
        fading_bars=fading(1 / window),
        parameters={"window": window},
        state_size=2,
        history=1,
        lead=1,
    )


def tsi(slow: int = 25, fast: int = 13) -> Feature:
    """Return Blau's true strength index, -100 to 100: the twice smoothed change over the twice smoothed |change|.

    Formula: 100 EMA(EMA(m, slow), fast) / EMA(EMA(|m|, slow), fast), m = close[t] - close[t-1]; every average is seeded
    by the mean of its first values, as TA-Lib's EMA; 0 when nothing ever moved. Source: Blau (1991), Technical Analysis
    of Stocks and Commodities 9(11). Inputs: close. Output: ``tsi_{slow}_{fast}``. Lookback: slow + fast - 1. Memory:
    recursive. Warm-up: about 15 times (slow + fast).

    Raises
    ------
    ValueError
        A window is smaller than 1.
    """
    slow, fast = whole("tsi", "slow", slow), whole("tsi", "fast", fast)
    return feature_of(
        tsi_step,
        ("close",),
        slow + fast - 1,
        fading_bars=fading(2 / (slow + 1)) + fading(2 / (fast + 1)),
        parameters={"slow": slow, "fast": fast},
        state_size=4,
        history=1,
        lead=1,
    )
