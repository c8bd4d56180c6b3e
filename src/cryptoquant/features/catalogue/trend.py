"""Where the price stands against its own averages and its own range."""

import numpy as np

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, HIGH, LOW, Bars, Feature, Run, fading, whole
from cryptoquant.features.rolling import exponential, extreme, extreme_size, mean_size, means
from cryptoquant.market.slice import Floats

__all__ = ["donchian_position", "ema_ratio", "macd", "sma_ratio"]


@borrowing
def above_average(close: Floats, averages: Floats) -> None:
    """Turn averages into close / average - 1."""
    for row in range(len(close)):
        averages[row] = close[row] / averages[row] - 1.0


@borrowing
def sma_ratio_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write close / mean of the last ``settings[0]`` closes - 1."""
    at, rows, seen, to = run
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    means(state, 0, int(settings[0]), closes, at, rows, seen, found)
    above_average(closes[at:], found)


@borrowing
def ema_ratio_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write close / exponential average - 1."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    exponential(state, 0, window, 2.0 / (window + 1.0), closes, at, rows, seen, found)
    above_average(closes[at:], found)


@borrowing
def macd_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write line, signal and histogram; state: fast, slow and signal averages."""
    at, rows, seen, to = run
    fast, slow, signal = int(settings[0]), int(settings[1]), int(settings[2])
    fast_weight, slow_weight, signal_weight = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
    is_relative = settings[3] > 0.0
    close = floats_at(bars[CLOSE], at + rows)[at:]
    lines, averages, histograms = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    fast_average, slow_average, average = state[0], state[1], state[2]
    early = min(max(slow + signal - 1 - seen, 0), rows)
    for row in range(rows):
        if row < early:
            count = seen + row + 1
            if count <= slow:
                slow_average += close[row]
                fast_average += close[row] if count > slow - fast else 0.0
            else:
                slow_average = fused(close[row] - slow_average, slow_weight, slow_average)
                fast_average = fused(close[row] - fast_average, fast_weight, fast_average)
            if count == slow:
                slow_average /= slow
                fast_average /= fast
            line = fast_average - slow_average
            average += line if count >= slow else 0.0
            if count < slow + signal - 1:
                lines[row], averages[row], histograms[row] = np.nan, np.nan, np.nan
                continue
            average /= signal
        else:
            slow_average = fused(close[row] - slow_average, slow_weight, slow_average)
            fast_average = fused(close[row] - fast_average, fast_weight, fast_average)
            line = fast_average - slow_average
            average = fused(line - average, signal_weight, average)
        scale = close[row] if is_relative else 1.0
        lines[row] = line / scale
        averages[row] = average / scale
        histograms[row] = (line - average) / scale
    state[0], state[1], state[2] = fast_average, slow_average, average


@borrowing
def donchian_position_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write (close - lowest low) / (highest high - lowest low)."""
    at, rows, seen, to = run
    window = int(settings[0])
    tops, bottoms = scratch[0], scratch[1]
    extreme(state, 0, window, 1.0, floats_at(bars[HIGH], at + rows), at, rows, seen, tops)
    extreme(state, window + 2, window, -1.0, floats_at(bars[LOW], at + rows), at, rows, seen, bottoms)
    close = floats_at(bars[CLOSE], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        width = tops[row] - bottoms[row]
        found[row] = 0.5 if width == 0.0 else (close[row] - bottoms[row]) / width


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
        step=sma_ratio_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"sma_ratio_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=mean_size(window),
        history=window,
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
        step=ema_ratio_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"ema_ratio_{window}",),
        lookback=window - 1,
        memory="recursive",
        warm_up=window + fading(2 / (window + 1)),
        state_size=1,
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
        step=macd_step,
        parameters=(("fast", fast), ("slow", slow), ("signal", signal), ("relative", bool(relative))),
        settings=(float(fast), float(slow), float(signal), float(relative)),
        inputs=("close",),
        outputs=(f"{prefix}_{suffix}", f"{prefix}_signal_{suffix}", f"{prefix}_histogram_{suffix}"),
        lookback=slow + signal - 2,
        memory="recursive",
        warm_up=slow + signal - 1 + fading(2 / (slow + 1)) + fading(2 / (signal + 1)),
        state_size=3,
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
        step=donchian_position_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("high", "low", "close"),
        outputs=(f"donchian_position_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=2 * extreme_size(window),
        history=window,
    )
