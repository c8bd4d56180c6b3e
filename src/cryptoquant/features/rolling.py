"""Folds over the last bars: means, deviations, extremes and exponential averages, each over a run of bars.

Every fold takes its memory ``state[base:]`` (zeros at the start), a ``window``, the values of a series, and where a run
lies in it: ``at``, the place of its first value; ``rows``, how many there are; ``seen``, how many came before it since
the start. Values before ``at`` are read again as far back as the window reaches. It writes one number per row, NaN
while there are fewer than ``window`` values. However a series is cut into runs, the same bits come out.

A window is the head of the present block of ``window`` values and the tail of the block before (van Herk 1992; Gil,
Werman 1993): constant cost, and nothing that leaves is ever subtracted, so nothing drifts. Sums are taken of deviations
from the first value of the present block. Every window holds that value, so a spike that has left leaves no trace, and
cancellation costs at most a factor of ``window + 1`` on the rounding of the squares.
"""

import numpy as np

from cryptoquant.compiled import borrowing, fused
from cryptoquant.market.slice import Floats


def ring_size(window: int) -> int:
    """Return the state that ``ring`` needs, in floats."""
    return window + 1


def mean_size(window: int) -> int:
    """Return the state that ``means`` needs, in floats."""
    return window + 3


def moments_size(window: int) -> int:
    """Return the state that ``moments`` needs, in floats."""
    return 2 * window + 5


def extreme_size(window: int) -> int:
    """Return the state that ``extreme`` needs, in floats."""
    return window + 2


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
def blank(out: Floats, count: int) -> None:
    """Write NaN over the first ``count`` numbers, or over all if there are fewer."""
    for row in range(min(count, len(out))):
        out[row] = np.nan


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
def moments(
    state: Floats,
    base: int,
    window: int,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    averages: Floats,
    squares: Floats,
) -> None:
    """Write the mean and the sum of squared deviations of the last ``window`` values; reads ``window`` values again."""
    tails = state[base + 3 : base + 4 + window]
    square_tails = state[base + 4 + window : base + 5 + 2 * window]
    share = 1.0 / window
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
                square_total = 0.0
                for place in range(window - 1, 0, -1):
                    deviation = before[place] - anchor
                    total += deviation
                    square_total += deviation * deviation
                    tails[place] = total
                    square_tails[place] = square_total
        anchor = state[base]
        head = state[base + 1]
        square_head = state[base + 2]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        found = averages[done : done + count]
        found_squares = squares[done : done + count]
        for row in range(count):
            deviation = present[row] - anchor
            head += deviation
            square_head += deviation * deviation
            total = head + tail[row]
            shift = total * share
            square = (square_head + square_tail[row]) - total * shift
            found[row] = anchor + shift
            found_squares[row] = square if square > 0.0 else 0.0
        state[base + 1] = head
        state[base + 2] = square_head
        done += count
        position = position + count if position + count < window else 0
    blank(averages[:rows], window - 1 - seen)
    blank(squares[:rows], window - 1 - seen)


@borrowing
def extreme(
    state: Floats, base: int, window: int, sign: float, values: Floats, at: int, rows: int, seen: int, out: Floats
) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``window`` values; reads ``window`` values again."""
    tails = state[base + 1 : base + 2 + window]
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            top = -np.inf
            state[base] = top
            tails[window] = top
            if seen + done >= window:
                before = values[at + done - window : at + done]
                for place in range(window - 1, 0, -1):
                    value = sign * before[place]
                    top = value if value > top else top
                    tails[place] = top
        head = state[base]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = sign * present[row]
            head = value if value > head else head
            found[row] = sign * (tail[row] if tail[row] > head else head)
        state[base] = head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)
