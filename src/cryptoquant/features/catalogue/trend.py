"""Which way the market goes and how firmly: MACD, directional movement, Aroon, and the straight line of best fit."""

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, HIGH, LOW, TRUE_RANGE, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.averages import seeded
from cryptoquant.features.folds.extremes import places, places_size
from cryptoquant.features.folds.lines import lines, lines_size
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats

__all__ = ["adx", "aroon", "linear_trend", "macd"]


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
            slow_average = seeded(slow_average, close[row], slow_weight, slow, count)
            fast_average = seeded(fast_average, close[row], fast_weight, fast, count - slow + fast)
            line = fast_average - slow_average
            average = seeded(average, line, signal_weight, signal, count - slow + 1)
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
    for column in range(out.shape[0]):
        blank(out[column, to : to + rows], slow + signal - 2 - seen)


@borrowing
def adx_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write strength and both directional indicators; state: averages of both movements, of the range, of strength.

    The first averages divide ``window`` - 1 movements by ``window``, as Wilder's sums begin.
    """
    at, rows, seen, to = run
    window = int(settings[0])
    weight = 1.0 / window
    highs, lows = floats_at(bars[HIGH], at + rows), floats_at(bars[LOW], at + rows)
    high, high_before = highs[at:], highs[at - 1 : at - 1 + rows]
    low, low_before = lows[at:], lows[at - 1 : at - 1 + rows]
    ranges = floats_at(bars[TRUE_RANGE], at + rows)[at:]
    strengths, pluses, minuses = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    spans = scratch[0]
    for row in range(rows):
        up, down = high[row] - high_before[row], low_before[row] - low[row]
        pluses[row] = up if up > down and up > 0.0 else 0.0
        minuses[row] = down if down > up and down > 0.0 else 0.0
    plus, minus, span, average = state[0], state[1], state[2], state[3]
    early = min(max(window - 1 - seen, 0), rows)
    for row in range(early):
        plus = fused(pluses[row], weight, plus)
        minus = fused(minuses[row], weight, minus)
        span = fused(ranges[row], weight, span)
        spans[row] = span
    for row in range(early, rows):
        plus = fused(pluses[row] - plus, weight, plus)
        minus = fused(minuses[row] - minus, weight, minus)
        span = fused(ranges[row] - span, weight, span)
        pluses[row], minuses[row], spans[row] = plus, minus, span
    for row in range(rows):
        share = 100.0 / spans[row] if spans[row] > 0.0 else 0.0
        pluses[row], minuses[row] = pluses[row] * share, minuses[row] * share
        gap, total = abs(pluses[row] - minuses[row]), pluses[row] + minuses[row]
        strengths[row] = 100.0 * gap / total if total > 0.0 else -1.0
    seeds = min(max(2 * window - 1 - seen, 0), rows)
    for row in range(early, seeds):
        average += strengths[row] * weight if strengths[row] > 0.0 else 0.0
        strengths[row] = average
    for row in range(seeds, rows):
        strength = strengths[row] if strengths[row] >= 0.0 else average
        average = fused(strength - average, weight, average)
        strengths[row] = average
    state[0], state[1], state[2], state[3] = plus, minus, span, average
    for column in range(out.shape[0]):
        blank(out[column, to : to + rows], 2 * window - 2 - seen)


@borrowing
def aroon_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write Aroon up, down and their difference."""
    at, rows, seen, to = run
    window = int(settings[0])
    ups, downs, gaps = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    for index in range(2):
        # One call for both: the lows lie behind the highs in the bars, and are the highs of the market upside down.
        extremes, orders = floats_at(bars[HIGH + index], at + rows), out[index, to : to + rows]
        base, sign = index * (2 * window + 6), 1.0 - 2.0 * index
        places(state, base, window + 1, sign, True, extremes, at, rows, seen, scratch[0], orders)
    share = 100.0 / window
    for row in range(rows):
        ups[row], downs[row] = share * (ups[row] - 1.0), share * (downs[row] - 1.0)
        gaps[row] = ups[row] - downs[row]


@borrowing
def linear_trend_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the slope of the closes, over the close where that is asked for, and R squared."""
    at, rows, seen, to = run
    closes, slopes, fits = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows], out[1, to : to + rows]
    window, close = int(settings[0]), closes[at:]
    lines(state, 0, window, closes, at, rows, seen, scratch[0], fits, slopes)
    share = 12.0 / (window * (window * float(window) - 1.0))
    for row in range(rows):
        slope = slopes[row] * share
        fit = slopes[row] * slope / fits[row] if fits[row] > 0.0 else 0.0
        fits[row] = fit if fit < 1.0 else 1.0
        slopes[row] = slope
    blank(fits, window - 1 - seen)
    if settings[1] > 0.0:
        for row in range(rows):
            slopes[row] /= close[row]


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
    return feature_of(
        macd_step,
        ("close",),
        slow + signal - 2,
        outputs=(f"{prefix}_{suffix}", f"{prefix}_signal_{suffix}", f"{prefix}_histogram_{suffix}"),
        fading_bars=fading(2 / (slow + 1)) + fading(2 / (signal + 1)),
        parameters={"fast": fast, "slow": slow, "signal": signal, "relative": bool(relative)},
        state_size=3,
    )


def adx(window: int = 14) -> Feature:
    """Return Wilder's directional movement: its strength and both indicators, 0 to 100, equal to TA-Lib's.

    Formula: +DI = 100 W(+DM) / W(true range), -DI the same of -DM; +DM is the rise of the high where it exceeds the
    fall of the low (0 otherwise), -DM the fall of the low where it exceeds the rise of the high; ADX = W(100 |+DI -
    -DI| / (+DI + -DI)), W Wilder's average. Where nothing moved, both are 0 and the ADX stays. Source: Wilder (1978),
    New Concepts in Technical Trading Systems, section IV. Inputs: high, low, close. Outputs: ``adx_{window}``,
    ``plus_di_{window}``, ``minus_di_{window}``, all from the first bar of the ADX on. Lookback: 2 window - 1. Memory:
    recursive. Warm-up: about 57 windows.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("adx", "window", window, 2)
    return feature_of(
        adx_step,
        ("high", "low", "true_range"),
        2 * window - 1,
        outputs=(f"adx_{window}", f"plus_di_{window}", f"minus_di_{window}"),
        fading_bars=2 * fading(1 / window),
        parameters={"window": window},
        state_size=4,
        history=1,
        lead=1,
    )


def aroon(window: int = 14) -> Feature:
    """Return how fresh the highest high and the lowest low are, 0 to 100, and the difference, equal to TA-Lib's AROON.

    Formula: up = 100 (window - bars since the highest high of the last window + 1 bars) / window, down the same of the
    lowest low, oscillator = up - down; the latest of equal extremes counts. Source: Chande (1995), Technical Analysis
    of Stocks and Commodities 13(9). Inputs: high, low. Outputs: ``aroon_up_{window}``, ``aroon_down_{window}``,
    ``aroon_oscillator_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("aroon", "window", window, 2)
    return feature_of(
        aroon_step,
        ("high", "low"),
        window,
        outputs=(f"aroon_up_{window}", f"aroon_down_{window}", f"aroon_oscillator_{window}"),
        parameters={"window": window},
        state_size=2 * places_size(window + 1),
        history=window + 1,
    )


def linear_trend(window: int, *, relative: bool = False) -> Feature:
    """Return the straight line of best fit through the last ``window`` closes: its slope and R squared.

    Formula: slope = sum (i - mean i)(x[i] - mean x) / sum (i - mean i)^2, TA-Lib's LINEARREG_SLOPE; R squared = (sum (i
    - mean i)(x[i] - mean x))^2 / (sum (i - mean i)^2 sum (x[i] - mean x)^2), 0 where the close stands still. Source:
    Greene (2018), Econometric Analysis, section 3.5. Inputs: close. Outputs: ``linear_trend_slope_{window}``, price
    per bar, and ``linear_trend_r_squared_{window}``, 0 to 1; with ``relative`` the slope over the close, a fraction per
    bar, as ``linear_trend_relative_slope_{window}`` and ``linear_trend_relative_r_squared_{window}``. Lookback: window
    - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("linear_trend", "window", window, 2)
    prefix = "linear_trend_relative" if relative else "linear_trend"
    return feature_of(
        linear_trend_step,
        ("close",),
        window - 1,
        outputs=(f"{prefix}_slope_{window}", f"{prefix}_r_squared_{window}"),
        parameters={"window": window, "relative": bool(relative)},
        state_size=lines_size(window),
        history=window,
    )
