"""Memories of the last bars: rings, moving averages, moments and extremes, each a fold over a flat float64 state.

Every fold takes ``(state, base, window, value)``, keeps its memory in ``state[base:]`` and starts from zeros. None of
them subtracts what leaves the window from a running total, so none drifts.
"""

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.market.slice import Floats

SHORT = 64


def ring_size(window: int) -> int:
    """Return the state that ``ring`` needs, in floats."""
    return window + 1


def moments_size(window: int) -> int:
    """Return the state that ``moments`` needs, in floats."""
    return 2 * window + 1 if window <= SHORT else 3 * window + 3


def highest_size(window: int) -> int:
    """Return the state that ``highest`` needs, in floats."""
    return 2 * window + 3


@borrowing
def ring(state: Floats, base: int, window: int, value: float) -> float:
    """Keep ``value``; return the value of ``window`` bars ago, NaN while there is none."""
    count = int(state[base])
    slot = base + 1 + count % window
    before: float = state[slot] if count >= window else np.nan
    state[slot] = value
    state[base] = count + 1
    return before


@borrowing
def ema(state: Floats, base: int, window: int, value: float) -> float:
    """Return the exponential average with weight 2 / (window + 1), seeded by the mean of the first ``window`` values.

    State: 2 floats. NaN before the seed is complete, as TA-Lib does it.
    """
    count = state[base] + 1.0
    state[base] = count
    if count <= window:
        state[base + 1] += value
        if count < window:
            return np.nan
        state[base + 1] /= window
    else:
        state[base + 1] += (value - state[base + 1]) * (2.0 / (window + 1.0))
    average: float = state[base + 1]
    return average


@borrowing
def wilder(state: Floats, base: int, window: int, value: float) -> float:
    """Return Wilder's average (weight 1 / window), seeded by the mean of the first ``window`` values.

    State: 2 floats. Wilder (1978), New Concepts in Technical Trading Systems.
    """
    count = state[base] + 1.0
    state[base] = count
    if count <= window:
        state[base + 1] += value
        if count < window:
            return np.nan
        state[base + 1] /= window
    else:
        state[base + 1] = (state[base + 1] * (window - 1.0) + value) / window
    average: float = state[base + 1]
    return average


@borrowing
def moments(state: Floats, base: int, window: int, value: float) -> tuple[float, float]:
    """Return the mean and the sum of squared deviations of the last ``window`` values, NaN while there are fewer.

    Up to ``SHORT`` values: two passes over the window in an order fixed by age, shifted by the oldest: the same bits
    wherever the series began. Beyond: two blocks that are merged (Chan, Golub, LeVeque 1983): constant cost, equal to
    rounding (about 1e-12 of the value) for different starts.
    """
    if window <= SHORT:
        return scanned_moments(state, base, window, value)
    return merged_moments(state, base, window, value)


@borrowing
def mean(state: Floats, base: int, window: int, value: float) -> float:
    """Return the mean of the last ``window`` values, NaN while there are fewer; as ``moments``, with its state."""
    if window <= SHORT:
        oldest = remember(state, base, window, value)
        return scanned_mean(state[oldest : oldest + window]) if state[base] >= window else np.nan
    average, _ = merged_moments(state, base, window, value)
    return average


@borrowing
def remember(state: Floats, base: int, window: int, value: float) -> int:
    """Keep ``value`` twice, a window apart, so that the last ``window`` values lie side by side; return their start."""
    count = int(state[base])
    slot = base + 1 + count % window
    state[slot] = value
    state[slot + window] = value
    state[base] = count + 1
    return slot + 1


@borrowing
def scanned_mean(values: Floats) -> float:
    """Return the mean, shifted by the oldest value; four sums side by side, in an order fixed by age."""
    shift = values[0]
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = len(values) // 4 * 4
    for index in range(0, whole, 4):
        first += values[index] - shift
        second += values[index + 1] - shift
        third += values[index + 2] - shift
        fourth += values[index + 3] - shift
    for index in range(whole, len(values)):
        first += values[index] - shift
    average: float = shift + ((first + second) + (third + fourth)) / len(values)
    return average


@borrowing
def scanned_moments(state: Floats, base: int, window: int, value: float) -> tuple[float, float]:
    """Return mean and squared deviations by two passes over the window."""
    oldest = remember(state, base, window, value)
    if state[base] < window:
        return np.nan, np.nan
    values = state[oldest : oldest + window]
    average = scanned_mean(values)
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = window // 4 * 4
    for index in range(0, whole, 4):
        first += (values[index] - average) ** 2
        second += (values[index + 1] - average) ** 2
        third += (values[index + 2] - average) ** 2
        fourth += (values[index + 3] - average) ** 2
    for index in range(whole, window):
        first += (values[index] - average) ** 2
    return average, (first + second) + (third + fourth)


@borrowing
def merged_moments(state: Floats, base: int, window: int, value: float) -> tuple[float, float]:
    """Return mean and squared deviations by merging the tail of the last block with the head of the present one."""
    count = int(state[base])
    position = count % window
    values, means, squares = base + 3, base + 3 + window, base + 3 + 2 * window
    if position == 0:
        state[base + 1] = 0.0
        state[base + 2] = 0.0
    size = position + 1.0
    delta = value - state[base + 1]
    average = state[base + 1] + delta / size
    square = state[base + 2] + delta * (value - average)
    state[base] = count + 1
    state[base + 1] = average
    state[base + 2] = square
    state[values + position] = value
    if position == window - 1:
        tail_mean = 0.0
        tail_square = 0.0
        for index in range(window - 1, -1, -1):
            item = state[values + index]
            step = item - tail_mean
            tail_mean += step / (window - index)
            tail_square += step * (item - tail_mean)
            state[means + index] = tail_mean
            state[squares + index] = tail_square
        return average, square
    if count < window:
        return np.nan, np.nan
    tail = state[means + position + 1]
    gap = average - tail
    return (
        tail + gap * (size / window),
        state[squares + position + 1] + square + gap * gap * (size * (window - size) / window),
    )


@borrowing
def highest(state: Floats, base: int, window: int, value: float) -> float:
    """Return the largest of the last ``window`` values by a falling queue, NaN while there are fewer.

    The smallest is ``-highest(state, base, window, -value)``. Lemire (2006), Streaming maximum-minimum filter.
    """
    count = int(state[base])
    head = int(state[base + 1])
    size = int(state[base + 2])
    values, ages = base + 3, base + 3 + window
    if size > 0 and state[ages + head] <= count - window:
        head = head + 1 if head + 1 < window else 0
        size -= 1
    while size > 0:
        last = head + size - 1
        if last >= window:
            last -= window
        if state[values + last] > value:
            break
        size -= 1
    tail = head + size
    if tail >= window:
        tail -= window
    state[values + tail] = value
    state[ages + tail] = count
    state[base] = count + 1
    state[base + 1] = head
    state[base + 2] = size + 1
    largest: float = state[values + head] if count + 1 >= window else np.nan
    return largest
