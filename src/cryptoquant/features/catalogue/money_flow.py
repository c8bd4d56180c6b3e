"""Whether money flows in or out, judged by where bars close in their range and which way typical prices go."""

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, HIGH, LOW, VOLUME, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["accumulation_distribution", "chaikin_money_flow", "chaikin_oscillator", "mfi"]


@borrowing
def flows(bars: Bars, at: int, rows: int, out: Floats) -> None:
    """Write the volume times where the bar closes in its range, from -1 at the low to 1 at the high."""
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    close, volume = floats_at(bars[CLOSE], at + rows)[at:], floats_at(bars[VOLUME], at + rows)[at:]
    for row in range(rows):
        width = high[row] - low[row]
        place = (close[row] - low[row]) - (high[row] - close[row])
        out[row] = place / width * volume[row] if width > 0.0 else 0.0


@borrowing
def accumulation_distribution_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the running total."""
    at, rows, _, to = run
    found = out[0, to : to + rows]
    flows(bars, at, rows, found)
    total = state[0]
    for row in range(rows):
        total += found[row]
        found[row] = total
    state[0] = total


@borrowing
def chaikin_oscillator_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write fast minus slow average of the line; state: how far each stands above the line, which nobody needs."""
    at, rows, seen, to = run
    fast_rest, slow_rest = 1.0 - 2.0 / (settings[0] + 1.0), 1.0 - 2.0 / (settings[1] + 1.0)
    found = out[0, to : to + rows]
    flows(bars, at, rows, found)
    if seen == 0:
        found[0] = 0.0
    fast, slow = state[0], state[1]
    for row in range(rows):
        fast = fused(fast, fast_rest, -fast_rest * found[row])
        slow = fused(slow, slow_rest, -slow_rest * found[row])
        found[row] = fast - slow
    state[0], state[1] = fast, slow
    longest = settings[1] if settings[1] > settings[0] else settings[0]
    blank(found, int(longest) - 1 - seen)


@borrowing
def chaikin_money_flow_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the flows over the volume of the last ``settings[0]`` bars."""
    at, rows, seen, to = run
    window = int(settings[0])
    volume, found = floats_at(bars[VOLUME], at + rows)[at:], out[0, to : to + rows]
    traded = scratch[0]
    flows(bars, at, rows, found)
    sums(state, 0, window, found, seen, found)
    sums(state, window + 2, window, volume, seen, traded)
    for row in range(rows):
        found[row] = found[row] / traded[row] if traded[row] > 0.0 else 0.0
    blank(found, window - 1 - seen)


@borrowing
def mfi_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the index; state: the sums of money at rising and at falling typical prices."""
    at, rows, seen, to = run
    window = int(settings[0])
    highs, lows = floats_at(bars[HIGH], at + rows), floats_at(bars[LOW], at + rows)
    closes, volume = floats_at(bars[CLOSE], at + rows), floats_at(bars[VOLUME], at + rows)[at:]
    high, high_before = highs[at:], highs[at - 1 : at - 1 + rows]
    low, low_before = lows[at:], lows[at - 1 : at - 1 + rows]
    close, close_before = closes[at:], closes[at - 1 : at - 1 + rows]
    falls, found = scratch[0][:rows], out[0, to : to + rows]
    for row in range(rows):
        typical = (high[row] + low[row] + close[row]) / 3.0
        before = (high_before[row] + low_before[row] + close_before[row]) / 3.0
        money = typical * volume[row]
        found[row] = money if typical > before else 0.0
        falls[row] = money if typical < before else 0.0
    sums(state, 0, window, found, seen, found)
    sums(state, window + 2, window, falls, seen, falls)
    for row in range(rows):
        total = found[row] + falls[row]
        found[row] = 100.0 * found[row] / total if total > 0.0 else 0.0
    blank(found, window - 1 - seen)


def accumulation_distribution() -> Feature:
    """Return Chaikin's accumulation/distribution line, equal to TA-Lib's AD.

    Formula: AD += volume ((close - low) - (high - close)) / (high - low), nothing where high and low meet. Source:
    Chaikin's line as in Achelis (2000), Technical Analysis from A to Z. Inputs: high, low, close, volume. Output:
    ``accumulation_distribution``, in units of volume. Lookback: 0. Memory: cumulative: the level depends on where the
    series begins, differences do not. Warm-up: 1 bar.
    """
    return feature_of(
        accumulation_distribution_step,
        ("high", "low", "close", "volume"),
        0,
        parameters={},
        memory="cumulative",
        state_size=1,
    )


def chaikin_oscillator(fast: int = 3, slow: int = 10) -> Feature:
    """Return Chaikin's oscillator: a fast minus a slow average of the accumulation line, equal to TA-Lib's ADOSC.

    Formula: EMA(AD, fast) - EMA(AD, slow), both seeded by the first value of AD; AD is ``accumulation_distribution``.
    The averages are kept as distances from AD, so that nothing is lost to rounding as AD grows. Source: Achelis (2000),
    Technical Analysis from A to Z. Inputs: high, low, close, volume. Output: ``chaikin_oscillator_3_10``, in units of
    volume. Lookback: the larger window - 1. Memory: recursive. Warm-up: about 15 windows.

    Raises
    ------
    ValueError
        A window is smaller than 2.
    """
    fast, slow = whole("chaikin_oscillator", "fast", fast, 2), whole("chaikin_oscillator", "slow", slow, 2)
    return feature_of(
        chaikin_oscillator_step,
        ("high", "low", "close", "volume"),
        max(fast, slow) - 1,
        fading_bars=fading(2 / (max(fast, slow) + 1)),
        parameters={"fast": fast, "slow": slow},
        state_size=2,
    )


def chaikin_money_flow(window: int = 21) -> Feature:
    """Return Chaikin's money flow, -1 to 1: the share of the volume that accumulates over ``window`` bars.

    Formula: sum of volume ((close - low) - (high - close)) / (high - low) / sum of volume; a bar whose high and low
    meet counts 0, and it is 0 when nothing traded in the whole window. Source: Achelis (2000), Technical Analysis from
    A to Z. Inputs: high, low, close, volume. Output: ``chaikin_money_flow_{window}``. Lookback: window - 1. Memory:
    finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("chaikin_money_flow", "window", window)
    return feature_of(
        chaikin_money_flow_step,
        ("high", "low", "close", "volume"),
        window - 1,
        parameters={"window": window},
        state_size=2 * sums_size(window),
    )


def mfi(window: int = 14) -> Feature:
    """Return the money flow index, 0 to 100, equal to TA-Lib's MFI: an RSI of the money that changes hands.

    Formula: 100 U / (U + D), U and D the sums of p volume over the bars of the last ``window`` whose typical price p =
    (high + low + close) / 3 is above or below that of the bar before; 0 where both are 0. Source: Quong, Soudack
    (1989), Technical Analysis of Stocks and Commodities 7(3). Inputs: high, low, close, volume. Output:
    ``mfi_{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("mfi", "window", window)
    return feature_of(
        mfi_step,
        ("high", "low", "close", "volume"),
        window,
        parameters={"window": window},
        state_size=2 * sums_size(window),
        history=1,
        lead=1,
    )
