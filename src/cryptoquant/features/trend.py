"""Where the price stands against its own averages and its own range."""

import math

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Feature, fading, whole
from cryptoquant.features.rolling import ema, highest, highest_size, mean, moments_size
from cryptoquant.market.slice import Floats


@borrowing
def sma_ratio_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write close / mean of the last ``settings[0]`` closes - 1."""
    out[0] = bar[0] / mean(state, 0, int(settings[0]), bar[0]) - 1.0


@borrowing
def ema_ratio_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write close / exponential average - 1."""
    out[0] = bar[0] / ema(state, 0, int(settings[0]), bar[0]) - 1.0


@borrowing
def macd_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write line, signal and histogram; state: bars seen, fast (2), slow (2) and signal (2) averages."""
    fast, slow, signal = int(settings[0]), int(settings[1]), int(settings[2])
    close = bar[0]
    seen = state[0] + 1.0
    state[0] = seen
    out[:] = np.nan
    slow_average = ema(state, 3, slow, close)
    if seen <= slow - fast:
        return
    line = ema(state, 1, fast, close) - slow_average
    if math.isnan(line):
        return
    average = ema(state, 5, signal, line)
    if math.isnan(average):
        return
    scale = close if settings[3] > 0.0 else 1.0
    out[0] = line / scale
    out[1] = average / scale
    out[2] = (line - average) / scale


@borrowing
def donchian_position_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write (close - lowest low) / (highest high - lowest low); bar: high, low, close."""
    window = int(settings[0])
    top = highest(state, 0, window, bar[0])
    bottom = -highest(state, 2 * window + 3, window, -bar[1])
    width = top - bottom
    out[0] = 0.5 if width == 0.0 else (bar[2] - bottom) / width


def sma_ratio(window: int) -> Feature:
    """Return how far the close stands above its simple average, as a fraction.

    Formula: close / SMA(close, window) - 1, the average equal to TA-Lib's SMA. Inputs: close. Output:
    ``sma_ratio_{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("sma_ratio", "window", window)
    return Feature(
        name="sma_ratio",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"sma_ratio_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=moments_size(window),
    )


def ema_ratio(window: int) -> Feature:
    """Return how far the close stands above its exponential average, as a fraction.

    Formula: close / EMA(close, window) - 1 with weight 2 / (window + 1), seeded by the mean of the first ``window``
    closes, as TA-Lib's EMA. Inputs: close. Output: ``ema_ratio_{window}``. Lookback: window - 1. Memory: recursive.
    Warm-up: about 15 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("ema_ratio", "window", window)
    return Feature(
        name="ema_ratio",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"ema_ratio_{window}",),
        lookback=window - 1,
        memory="recursive",
        warm_up=window + fading(2 / (window + 1)),
        state_size=2,
    )


def macd(fast: int = 12, slow: int = 26, signal: int = 9, *, relative: bool = False) -> Feature:
    """Return moving average convergence and divergence: line, signal and histogram, equal to TA-Lib's MACD.

    Formula: line = EMA(close, fast) - EMA(close, slow), signal = EMA(line, signal), histogram = line - signal; both
    price averages get their seed at bar slow - 1. Source: Appel (1979). In units of the price; with ``relative`` as
    fractions of the close (comparable between symbols). Inputs: close. Outputs: ``macd_12_26_9``,
    ``macd_signal_12_26_9``, ``macd_histogram_12_26_9`` (``macd_relative_...``). Lookback: slow + signal - 2. Memory:
    recursive. Warm-up: about 15 times (slow + signal).

    Raises
    ------
    ValueError
        A window is smaller than 1, or fast is not below slow.
    """
    fast, slow = whole("macd", "fast", fast), whole("macd", "slow", slow)
    signal = whole("macd", "signal", signal)
    if fast >= slow:
        raise ValueError(f"macd: fast must be below slow, found fast {fast} and slow {slow}")
    prefix, suffix = ("macd_relative" if relative else "macd"), f"{fast}_{slow}_{signal}"
    return Feature(
        name="macd",
        parameters=(("fast", fast), ("slow", slow), ("signal", signal), ("relative", bool(relative))),
        settings=(float(fast), float(slow), float(signal), float(relative)),
        inputs=("close",),
        outputs=(f"{prefix}_{suffix}", f"{prefix}_signal_{suffix}", f"{prefix}_histogram_{suffix}"),
        lookback=slow + signal - 2,
        memory="recursive",
        warm_up=slow + signal - 1 + fading(2 / (slow + 1)) + fading(2 / (signal + 1)),
        state_size=7,
    )


def donchian_position(window: int) -> Feature:
    """Return where the close stands in the range of the last ``window`` bars: 0 at the low, 1 at the high.

    Formula: (close - lowest low) / (highest high - lowest low), this bar included; 0.5 when the range is a point.
    Source: Donchian's channel (1960). Inputs: high, low, close. Output: ``donchian_position_{window}``. Lookback:
    window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("donchian_position", "window", window)
    return Feature(
        name="donchian_position",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("high", "low", "close"),
        outputs=(f"donchian_position_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=2 * highest_size(window),
    )
