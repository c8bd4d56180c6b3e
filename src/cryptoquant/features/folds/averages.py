"""The mean of the last bars: plain, linearly weighted and exponential."""

import numpy as np

from cryptoquant.compiled import borrowing, fused
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats


def means_size(window: int) -> int:
    """Return the state that ``means`` needs, in floats."""
    return window + 3


def weighted_means_size(window: int) -> int:
    """Return the state that ``weighted_means`` needs, in floats."""
    return window + 4


@borrowing
def means(state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, out: Floats) -> None:
    """Write the mean of the last ``window`` values; reads ``window`` values again."""
    tails = state[base + 2 : base + 3 + window]
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = values[at + done]
            state[base] = anchor
            state[base + 1] = 0.0
            if seen + done >= window:
                before = values[at + done - window : at + done]
                total = 0.0
                for place in range(window - 1, 0, -1):
                    total += before[place] - anchor
                    tails[place] = total
        anchor = state[base]
        head = state[base + 1]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            head += present[row] - anchor
            found[row] = anchor + (head + tail[row]) * share
        state[base + 1] = head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)


@borrowing
def weighted_means(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, out: Floats
) -> None:
    """Write the mean of the last ``window`` values with weights 1 (oldest) to ``window``.

    With each bar the weights of the head fall by 1, its weighted sum by its plain sum. Reads ``window`` values again.
    """
    tails = state[base + 3 : base + 4 + window]
    share = 2.0 / (window * (window + 1.0))
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = values[at + done]
            state[base] = anchor
            state[base + 1] = 0.0
            state[base + 2] = 0.0
            if seen + done >= window:
                before = values[at + done - window : at + done]
                total = 0.0
                weighted = 0.0
                for place in range(window - 1, 0, -1):
                    total += before[place] - anchor
                    weighted += total
                    tails[place] = weighted
        anchor = state[base]
        head = state[base + 1]
        weighted_head = state[base + 2]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            deviation = present[row] - anchor
            weighted_head += window * deviation - head
            head += deviation
            found[row] = anchor + (weighted_head + tail[row]) * share
        state[base + 1] = head
        state[base + 2] = weighted_head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)


@borrowing
def exponential(
    state: Floats, base: int, window: int, weight: float, values: Floats, at: int, rows: int, seen: int, out: Floats
) -> None:
    """Write the exponential average, seeded by the mean of the first ``window`` values, as TA-Lib does it.

    Weight 2 / (window + 1) makes it an EMA, 1 / window the average of Wilder (1978), New Concepts in Technical Trading
    Systems. State: 1 float. No value before the present one is read again.
    """
    present = values[at : at + rows]
    average = state[base]
    seeds = min(max(window - seen, 0), rows)
    for row in range(seeds):
        average += present[row]
        out[row] = np.nan
    if seeds > 0 and seen + seeds == window:
        average /= window
        out[seeds - 1] = average
    for row in range(seeds, rows):
        average = fused(present[row] - average, weight, average)
        out[row] = average
    state[base] = average


@borrowing
def seeded(average: float, value: float, weight: float, window: int, count: int) -> float:
    """Return the exponential average after one more value, seeded by the mean of the first ``window`` values.

    ``count`` says how many values there are with this one; below 1 there is none yet. Below ``window`` the average is
    still a sum, and no number to show.
    """
    if count > window:
        return fused(value - average, weight, average)
    total = average + value if count > 0 else 0.0
    return total / window if count == window else total
