"""Averages of the close, from the plain one to Kaufman's, as prices or as what the close stands above them."""

from collections.abc import Callable

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import CLOSE, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.averages import (
    exponential,
    means,
    means_size,
    seeded,
    weighted_means,
    weighted_means_size,
)
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["dema", "ema", "kama", "sma", "tema", "wma"]

KAMA_FAST, KAMA_SLOW = 2.0 / 3.0, 2.0 / 31.0


@borrowing
def above(close: Floats, levels: Floats) -> None:
    """Turn levels of the price into close / level - 1."""
    for row in range(len(close)):
        levels[row] = close[row] / levels[row] - 1.0


@borrowing
def sma_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the mean of the last ``settings[0]`` closes."""
    at, rows, seen, to = run
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    means(state, 0, int(settings[0]), closes, at, rows, seen, found)
    if settings[1] > 0.0:
        above(closes[at:], found)


@borrowing
def ema_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the exponential average of the closes."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    exponential(state, 0, window, 2.0 / (window + 1.0), closes, at, rows, seen, found)
    if settings[1] > 0.0:
        above(closes[at:], found)


@borrowing
def wma_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the linearly weighted mean of the last ``settings[0]`` closes."""
    at, rows, seen, to = run
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    weighted_means(state, 0, int(settings[0]), closes, at, rows, seen, found)
    if settings[1] > 0.0:
        above(closes[at:], found)


@borrowing
def chain(state: Floats, window: int, values: Floats, rows: int, seen: int, averages: Floats) -> None:
    """Write the exponential average of values, that of it, and that of that; each is seeded when it can be."""
    ones, twos, threes = averages[0], averages[1], averages[2]
    weight = 2.0 / (window + 1.0)
    one, two, three = state[0], state[1], state[2]
    early = min(max(3 * window - 2 - seen, 0), rows)
    for row in range(rows):
        if row < early:
            count = seen + row + 1
            one = seeded(one, values[row], weight, window, count)
            two = seeded(two, one, weight, window, count - window + 1)
            three = seeded(three, two, weight, window, count - 2 * window + 2)
        else:
            one = fused(values[row] - one, weight, one)
            two = fused(one - two, weight, two)
            three = fused(two - three, weight, three)
        ones[row], twos[row], threes[row] = one, two, three
    state[0], state[1], state[2] = one, two, three


@borrowing
def dema_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write 2 EMA - EMA of EMA."""
    at, rows, seen, to = run
    window = int(settings[0])
    close, found = floats_at(bars[CLOSE], at + rows)[at:], out[0, to : to + rows]
    chain(state, window, close, rows, seen, scratch)
    ones, twos = scratch[0], scratch[1]
    for row in range(rows):
        found[row] = 2.0 * ones[row] - twos[row]
    if settings[1] > 0.0:
        above(close, found)
    blank(found, 2 * window - 2 - seen)


@borrowing
def tema_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write 3 EMA - 3 EMA of EMA + EMA of EMA of EMA."""
    at, rows, seen, to = run
    window = int(settings[0])
    close, found = floats_at(bars[CLOSE], at + rows)[at:], out[0, to : to + rows]
    chain(state, window, close, rows, seen, scratch)
    ones, twos, threes = scratch[0], scratch[1], scratch[2]
    for row in range(rows):
        found[row] = 3.0 * ones[row] - 3.0 * twos[row] + threes[row]
    if settings[1] > 0.0:
        above(close, found)
    blank(found, 3 * window - 3 - seen)


@borrowing
def kama_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write Kaufman's average; state: the average, then the memory of the path."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    steps, weights = scratch[0][:rows], scratch[1]
    for row in range(rows):
        steps[row] = abs(close[row] - before[row])
    sums(state, 1, window, steps, seen, weights)
    early = min(max(window - 1 - seen, 0), rows)
    begin, late, path = closes[at + early - window :], close[early:], weights[early:rows]
    for row in range(rows - early):
        change = abs(late[row] - begin[row])
        efficiency = change / path[row] if path[row] > change else 1.0
        weight = efficiency * (KAMA_FAST - KAMA_SLOW) + KAMA_SLOW
        path[row] = weight * weight
    average = before[early] if early < rows and seen + early == window - 1 else state[0]
    for row in range(early, rows):
        average = fused(close[row] - average, weights[row], average)
        found[row] = average
    state[0] = average
    if settings[1] > 0.0:
        above(close, found)
    blank(found, window - 1 - seen)


def sma(window: int, *, relative: bool = False) -> Feature:
    """Return the simple moving average of the close, equal to TA-Lib's SMA.

    Formula: mean of the last ``window`` closes; with ``relative`` close / SMA - 1, comparable between symbols. Source:
    Murphy (1999), Technical Analysis of the Financial Markets, chapter 9. Inputs: close. Output: ``sma_{window}``, a
    price, or ``sma_relative_{window}``, a fraction. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("sma", "window", window)
    return _average(sma_step, window, relative, window - 1, state_size=means_size(window), history=window)


def ema(window: int, *, relative: bool = False) -> Feature:
    """Return the exponential moving average of the close, equal to TA-Lib's EMA.

    Formula: EMA += 2 / (window + 1) (close - EMA), seeded by the mean of the first ``window`` closes; with ``relative``
    close / EMA - 1. Source: Appel (2005), Technical Analysis: Power Tools for Active Investors, chapter 6. Inputs:
    close. Output: ``ema_{window}``, a price, or ``ema_relative_{window}``, a fraction. Lookback: window - 1. Memory:
    recursive. Warm-up: about 15 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("ema", "window", window)
    return _average(ema_step, window, relative, window - 1, fading_bars=fading(2 / (window + 1)), state_size=1)


def wma(window: int, *, relative: bool = False) -> Feature:
    """Return the linearly weighted moving average of the close, equal to TA-Lib's WMA.

    Formula: sum of i x[i] / sum of i, i from 1 for the oldest of the last ``window`` closes to ``window`` for this one;
    with ``relative`` close / WMA - 1. Source: Murphy (1999), chapter 9. Inputs: close. Output: ``wma_{window}``, a
    price, or ``wma_relative_{window}``, a fraction. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("wma", "window", window)
    return _average(wma_step, window, relative, window - 1, state_size=weighted_means_size(window), history=window)


def dema(window: int, *, relative: bool = False) -> Feature:
    """Return the double exponential moving average of the close, equal to TA-Lib's DEMA: less late than the EMA.

    Formula: 2 EMA - EMA(EMA), each seeded by the mean of its first ``window`` values; with ``relative`` close / DEMA -
    1. Source: Mulloy (1994), Technical Analysis of Stocks and Commodities 12(1). Inputs: close. Output:
    ``dema_{window}``, a price, or ``dema_relative_{window}``, a fraction. Lookback: 2 (window - 1). Memory: recursive.
    Warm-up: about 30 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("dema", "window", window)
    faded = 2 * fading(2 / (window + 1))
    return _average(dema_step, window, relative, 2 * (window - 1), fading_bars=faded, state_size=3)


def tema(window: int, *, relative: bool = False) -> Feature:
    """Return the triple exponential moving average of the close, equal to TA-Lib's TEMA.

    Formula: 3 EMA - 3 EMA(EMA) + EMA(EMA(EMA)), each seeded by the mean of its first ``window`` values; with
    ``relative`` close / TEMA - 1. Source: Mulloy (1994), Technical Analysis of Stocks and Commodities 12(2). Inputs:
    close. Output: ``tema_{window}``, a price, or ``tema_relative_{window}``, a fraction. Lookback: 3 (window - 1).
    Memory: recursive. Warm-up: about 45 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("tema", "window", window)
    faded = 3 * fading(2 / (window + 1))
    return _average(tema_step, window, relative, 3 * (window - 1), fading_bars=faded, state_size=3)


def kama(window: int = 10, *, relative: bool = False) -> Feature:
    """Return Kaufman's adaptive moving average of the close, equal to TA-Lib's KAMA: quick in trends, slow in noise.

    Formula: KAMA += (E (2/3 - 2/31) + 2/31)^2 (close - KAMA), E = |close - close[window ago]| / sum of the last
    ``window`` |changes|, 1 where nothing moved; it starts from close[window - 1]. With ``relative`` close / KAMA - 1.
    Source: Kaufman (1995), Smarter Trading. Inputs: close. Output: ``kama_{window}``, a price, or
    ``kama_relative_{window}``, a fraction. Lookback: window. Memory: recursive. Warm-up: window + 6,626 bars at most,
    as long as it takes a market that never trends to forget.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("kama", "window", window, 2)
    size = 1 + sums_size(window)
    faded = fading(KAMA_SLOW**2)
    return _average(kama_step, window, relative, window, fading_bars=faded, state_size=size, history=window, lead=1)


def _average(step: Callable[..., None], window: int, relative: bool, lookback: int, **others: int) -> Feature:
    name = step.__name__.removesuffix("_step")
    return feature_of(
        step,
        ("close",),
        lookback,
        outputs=(f"{name}_relative_{window}" if relative else f"{name}_{window}",),
        parameters={"window": window, "relative": bool(relative)},
        **others,
    )
