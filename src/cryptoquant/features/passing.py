"""Folds over series that are made on the way and not kept: sums, extremes and exponential averages of what passes.

The folds of ``rolling`` read their window again from the bars. A series that a step makes itself, such as the money
that flows in, lies in scratch space and is gone after the run. These folds keep the last ``window`` values themselves:
each slot of the memory holds a value of the present block or, further on, the fold of the rest of the block before.
So nothing is ever subtracted, and however a series is cut into runs, the same bits come out.
"""

import numpy as np

from cryptoquant.compiled import borrowing, fused
from cryptoquant.features.rolling import blank
from cryptoquant.market.slice import Floats

SHORT = 8


def passing_size(window: int) -> int:
    """Return the state that ``sums`` and ``peaks`` need, in floats."""
    return window + 2


@borrowing
def keep(tail: Floats, count: int, values: Floats, rows: int) -> None:
    """Let ``tail`` hold the last ``count`` values, oldest first."""
    fresh = min(rows, count)
    for place in range(count - fresh):
        tail[place] = tail[place + fresh]
    kept, last = tail[count - fresh : count], values[rows - fresh : rows]
    for place in range(fresh):
        kept[place] = last[place]


@borrowing
def short_sums(state: Floats, base: int, window: int, values: Floats, rows: int, seen: int, out: Floats) -> None:
    """As ``sums``, age after age: for a window of up to ``SHORT`` values less than the blocks cost."""
    tail = state[base : base + window - 1]
    for row in range(rows):
        out[row] = values[row]
    for age in range(1, window):
        early = min(age, rows)
        old, young, found = tail[window - 1 - age :], values[: rows - early], out[early:rows]
        for row in range(early):
            out[row] += old[row]
        for row in range(rows - early):
            found[row] += young[row]
    keep(tail, window - 1, values, rows)
    blank(out[:rows], window - 1 - seen)


@borrowing
def sums(state: Floats, base: int, window: int, values: Floats, rows: int, seen: int, out: Floats) -> None:
    """Write the sum of the last ``window`` values, NaN while there are fewer; ``out`` must not be ``values``."""
    slots = state[base + 1 : base + 2 + window]
    head = state[base]
    position = seen % window
    done = 0
    while done < rows:
        head = head if position > 0 else 0.0
        count = min(window - position, rows - done)
        present = values[done : done + count]
        kept = slots[position : position + count]
        tail = slots[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = present[row]
            kept[row] = value
            head += value
            found[row] = head + tail[row]
        done += count
        position += count
        if position == window:
            position = 0
            total = 0.0
            for place in range(window - 1, 0, -1):
                total += slots[place]
                slots[place] = total
    state[base] = head
    blank(out[:rows], window - 1 - seen)


@borrowing
def peaks(
    state: Floats, base: int, window: int, sign: float, values: Floats, rows: int, seen: int, out: Floats
) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``window`` values, NaN while there are fewer."""
    slots = state[base + 1 : base + 2 + window]
    if seen == 0:
        for place in range(window + 1):
            slots[place] = -np.inf
    head = state[base]
    position = seen % window
    done = 0
    while done < rows:
        head = head if position > 0 else -np.inf
        count = min(window - position, rows - done)
        present = values[done : done + count]
        kept = slots[position : position + count]
        tail = slots[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = sign * present[row]
            kept[row] = value
            head = value if value > head else head
            found[row] = sign * (tail[row] if tail[row] > head else head)
        done += count
        position += count
        if position == window:
            position = 0
            top = -np.inf
            for place in range(window - 1, 0, -1):
                top = slots[place] if slots[place] > top else top
                slots[place] = top
    state[base] = head
    blank(out[:rows], window - 1 - seen)


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
