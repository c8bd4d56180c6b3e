"""Where the price stands in its recent range, on a fixed scale: stochastics, Williams' %R, CCI, ultimate oscillator."""

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.catalogue.channels import range_of
from cryptoquant.features.catalogue.momentum import rsi_step
from cryptoquant.features.feature import CLOSE, HIGH, LOW, TRUE_RANGE, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.extremes import extreme_size, peaks
from cryptoquant.features.folds.memory import blank, keep
from cryptoquant.features.folds.sums import SHORT, short_sums, sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["cci", "stochastic", "stochastic_rsi", "ultimate_oscillator", "williams_r"]


@borrowing
def places(values: Floats, tops: Floats, bottoms: Floats, rows: int, out: Floats) -> None:
    """Write where values stand between two levels, 0 to 100; 0 where the levels meet."""
    for row in range(rows):
        width = tops[row] - bottoms[row]
        out[row] = 100.0 * (values[row] - bottoms[row]) / width if width > 0.0 else 0.0


@borrowing
def smoothed(
    state: Floats, base: int, window: int, values: Floats, rows: int, seen: int, missing: int, out: Floats
) -> None:
    """Write the mean of the last ``window`` values of a series whose first ``missing`` are NaN."""
    skip = min(max(missing - seen, 0), rows)
    found, fresh = out[skip:rows], values[skip:rows]
    if window <= SHORT:
        short_sums(state, base, window, fresh, seen + skip - missing, found)
    else:
        sums(state, base, window, fresh, seen + skip - missing, found)
    for row in range(rows - skip):
        found[row] /= window
    blank(out[:rows], missing - seen)


@borrowing
def stochastic_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write slow %K and %D; state: the extremes, then both means."""
    at, rows, seen, to = run
    window, missing = int(settings[0]), int(settings[0]) - 1
    tops, bottoms, raw, lines = scratch[0], scratch[1], scratch[2], out[0, to : to + rows]
    range_of(state, 0, window, bars, at, rows, seen, tops, bottoms)
    places(floats_at(bars[CLOSE], at + rows)[at:], tops, bottoms, rows, raw)
    base = 2 * (window + 2)
    for column in range(out.shape[0]):
        smooth = int(settings[1 + column])
        smoothed(state, base, smooth, raw if column == 0 else lines, rows, seen, missing, out[column, to : to + rows])
        base += smooth + 2
        missing += smooth - 1
    blank(lines, missing - seen)


@borrowing
def stochastic_rsi_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write fast %K and %D of the relative strength index; state: that of the index, the extremes, the mean."""
    at, rows, seen, to = run
    window, range_window, signal = int(settings[0]), int(settings[1]), int(settings[2])
    lines, signals = out[0, to : to + rows], out[1, to : to + rows]
    rsi_step(state, settings, bars, (at, rows, seen, 0), scratch, scratch)
    skip = min(max(window - 1 - seen, 0), rows)
    index, tops, bottoms = scratch[0, skip:rows], scratch[1], scratch[2]
    count, begun = rows - skip, seen + skip - window + 1
    peaks(state, 2, range_window, 1.0, index, begun, tops)
    peaks(state, range_window + 4, range_window, -1.0, index, begun, bottoms)
    places(index, tops, bottoms, count, lines[skip:])
    smoothed(state, 2 * range_window + 6, signal, lines, rows, seen, window + range_window - 2, signals)
    blank(lines, window + range_window + signal - 3 - seen)


@borrowing
def williams_r_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the place of the close in the range, -100 to 0."""
    at, rows, seen, to = run
    window = int(settings[0])
    tops, bottoms, found = scratch[0], scratch[1], out[0, to : to + rows]
    range_of(state, 0, window, bars, at, rows, seen, tops, bottoms)
    close = floats_at(bars[CLOSE], at + rows)[at:]
    for row in range(rows):
        width = tops[row] - bottoms[row]
        found[row] = -100.0 * (tops[row] - close[row]) / width if width > 0.0 else 0.0
    blank(found, window - 1 - seen)


@borrowing
def cci_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the index of three times the typical price, since it has no scale; state: that of the last bars.

    Age after age over the whole run, so that the inner loops take several bars at once. The mean is summed as distances
    from the present price, which are 0 to the bit where the market stands still.
    """
    at, rows, seen, to = run
    window = int(settings[0])
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    close, found = floats_at(bars[CLOSE], at + rows)[at:], out[0, to : to + rows]
    prices, shifts, middles = scratch[0], scratch[1], scratch[2]
    for row in range(rows):
        prices[row] = high[row] + low[row] + close[row]
        shifts[row] = 0.0
    for age in range(1, window):
        early = min(age, rows)
        old = state[window - 1 - age : window - 1]
        for row in range(early):
            shifts[row] += old[row] - prices[row]
        young, present, shift = prices[: rows - early], prices[early:rows], shifts[early:rows]
        for row in range(rows - early):
            shift[row] += young[row] - present[row]
    for row in range(rows):
        shifts[row] /= window
        found[row] = abs(shifts[row])
        middles[row] = prices[row] + shifts[row]
    for age in range(1, window):
        early = min(age, rows)
        old = state[window - 1 - age : window - 1]
        for row in range(early):
            found[row] += abs(old[row] - middles[row])
        young, middle, total = prices[: rows - early], middles[early:rows], found[early:]
        for row in range(rows - early):
            total[row] += abs(young[row] - middle[row])
    for row in range(rows):
        found[row] = -shifts[row] / (0.015 * found[row] / window) if found[row] > 0.0 else 0.0
    keep(state[: window - 1], prices[:rows])
    blank(found, window - 1 - seen)


@borrowing
def ultimate_oscillator_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the oscillator; state: the sums of pressure and range over each window."""
    at, rows, seen, to = run
    closes, lows = floats_at(bars[CLOSE], at + rows), floats_at(bars[LOW], at + rows)
    close, before, low = closes[at:], closes[at - 1 : at - 1 + rows], lows[at:]
    ranges = floats_at(bars[TRUE_RANGE], at + rows)[at:]
    pressures, pressed, ranged, found = scratch[0][:rows], scratch[1], scratch[2], out[0, to : to + rows]
    for row in range(rows):
        pressures[row] = close[row] - (low[row] if low[row] < before[row] else before[row])
        found[row] = 0.0
    base, share = 0, 400.0 / 7.0
    for number in range(len(settings)):
        window = int(settings[number])
        sums(state, base, window, pressures, seen, pressed)
        sums(state, base + window + 2, window, ranges, seen, ranged)
        for row in range(rows):
            found[row] += share * pressed[row] / ranged[row] if ranged[row] > 0.0 else 0.0
        base += 2 * (window + 2)
        share *= 0.5
    blank(found, int(settings[2]) - 1 - seen)


def stochastic(window: int = 14, smooth: int = 3, signal: int = 3) -> Feature:
    """Return Lane's slow stochastic, 0 to 100: %K and its signal %D, equal to TA-Lib's STOCH.

    Formula: raw = 100 (close - lowest low) / (highest high - lowest low) of the last ``window`` bars, 0 where they
    meet; %K = SMA(raw, smooth), %D = SMA(%K, signal). Source: Lane (1984), Technical Analysis of Stocks and Commodities
    2(3). Inputs: high, low, close. Outputs: ``stochastic_k_14_3_3``, ``stochastic_d_14_3_3``. Lookback: window + smooth
    + signal - 3. Memory: finite. Warm-up: window + smooth + signal - 2 bars.

    Raises
    ------
    ValueError
        A window is smaller than 1.
    """
    window, smooth = whole("stochastic", "window", window), whole("stochastic", "smooth", smooth)
    signal = whole("stochastic", "signal", signal)
    return feature_of(
        stochastic_step,
        ("high", "low", "close"),
        window + smooth + signal - 3,
        outputs=tuple(f"stochastic_{line}_{window}_{smooth}_{signal}" for line in ("k", "d")),
        parameters={"window": window, "smooth": smooth, "signal": signal},
        state_size=2 * extreme_size(window) + sums_size(smooth) + sums_size(signal),
        history=window,
    )


def stochastic_rsi(window: int = 14, range_window: int = 14, signal: int = 3) -> Feature:
    """Return the stochastic of the relative strength index, 0 to 100: %K and %D, equal to TA-Lib's STOCHRSI.

    Formula: %K = 100 (RSI - lowest RSI) / (highest RSI - lowest RSI) of the last ``range_window`` values of
    RSI(window), 0 where they meet; %D = SMA(%K, signal). Source: Chande, Kroll (1994), The New Technical Trader,
    chapter 5 (there from 0 to 1). Inputs: close. Outputs: ``stochastic_rsi_k_14_14_3``, ``stochastic_rsi_d_14_14_3``.
    Lookback: window + range_window + signal - 2. Memory: recursive. Warm-up: about 30 windows.

    Raises
    ------
    ValueError
        A window is smaller than 1.
    """
    window, range_window = (
        whole("stochastic_rsi", "window", window),
        whole("stochastic_rsi", "range_window", range_window),
    )
    signal = whole("stochastic_rsi", "signal", signal)
    return feature_of(
        stochastic_rsi_step,
        ("close",),
        window + range_window + signal - 2,
        outputs=tuple(f"stochastic_rsi_{line}_{window}_{range_window}_{signal}" for line in ("k", "d")),
        fading_bars=fading(1 / window),
        parameters={"window": window, "range_window": range_window, "signal": signal},
        state_size=2 + 2 * sums_size(range_window) + sums_size(signal),
        history=1,
        lead=1,
    )


def williams_r(window: int = 14) -> Feature:
    """Return Williams' %R, from -100 at the lowest low to 0 at the highest high, equal to TA-Lib's WILLR.

    Formula: -100 (highest high - close) / (highest high - lowest low) of the last ``window`` bars, 0 where they meet.
    Source: Williams (1979), How I Made One Million Dollars Last Year Trading Commodities. Inputs: high, low, close.
    Output: ``williams_r_{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("williams_r", "window", window)
    return feature_of(
        williams_r_step,
        ("high", "low", "close"),
        window - 1,
        parameters={"window": window},
        state_size=2 * extreme_size(window),
        history=window,
    )


def cci(window: int = 20) -> Feature:
    """Return Lambert's commodity channel index, equal to TA-Lib's CCI; most values lie between -100 and 100.

    Formula: (p - mean p) / (0.015 mean |p - mean p|) of the last ``window`` typical prices p = (high + low + close) /
    3; 0 where they are all the same. Source: Lambert (1980), Commodities 9(10). Inputs: high, low, close. Output:
    ``cci_{window}``. Lookback: window - 1. Memory: finite, to the bit. Warm-up: window bars. Each bar costs time in
    proportion to the window.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("cci", "window", window, 2)
    return feature_of(
        cci_step,
        ("high", "low", "close"),
        window - 1,
        parameters={"window": window},
        state_size=window - 1,
    )


def ultimate_oscillator(short: int = 7, medium: int = 14, long: int = 28) -> Feature:
    """Return Williams' ultimate oscillator, 0 to 100, equal to TA-Lib's ULTOSC.

    Formula: 100 (4 A(short) + 2 A(medium) + A(long)) / 7, A(n) = sum of (close - min(low, close before)) / sum of true
    ranges over n bars, 0 where nothing moved. Source: Williams (1985), Technical Analysis of Stocks and Commodities
    3(4). Inputs: high, low, close. Output: ``ultimate_oscillator_7_14_28``. Lookback: long. Memory: finite. Warm-up:
    long + 1 bars.

    Raises
    ------
    ValueError
        A window is smaller than 1, or they do not rise.
    """
    name = "ultimate_oscillator"
    short, medium, long = whole(name, "short", short), whole(name, "medium", medium), whole(name, "long", long)
    if not short < medium < long:
        raise ValueError(f"{name}: wanted short < medium < long, found {short}, {medium} and {long}")
    return feature_of(
        ultimate_oscillator_step,
        ("low", "close", "true_range"),
        long,
        parameters={"short": short, "medium": medium, "long": long},
        state_size=2 * sum(sums_size(window) for window in (short, medium, long)),
        history=1,
        lead=1,
    )
