"""Folds that weigh the last bars by their place: the linearly weighted mean, and the straight line of best fit.

As in ``rolling`` a window is the head of the present block and the tail of the block before, in deviations from the
first value of the present block: constant cost, and nothing drifts. A spike costs digits while it is in the window: at
its far end, where it weighs least, a factor of ``window`` squared on the rounding; once it has left, none.
"""

from cryptoquant.compiled import borrowing
from cryptoquant.features.rolling import blank
from cryptoquant.market.slice import Floats


def weighted_size(window: int) -> int:
    """Return the state that ``weighted_means`` needs, in floats."""
    return window + 4


def line_size(window: int) -> int:
    """Return the state that ``lines`` needs, in floats."""
    return 3 * window + 7


@borrowing
def weighted_means(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, out: Floats
) -> None:
    """Write the mean of the last ``window`` values with weights 1 (oldest) to ``window``; reads ``window`` again.

    With each bar the weights of the head fall by 1, its weighted sum by its plain sum.
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
def lines(
    state: Floats,
    base: int,
    window: int,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    slopes: Floats,
    fits: Floats,
) -> None:
    """Write the slope per bar of the least-squares line through the last ``window`` values, and its R squared.

    R squared is 0 where the values stand still. Reads ``window`` values again.
    """
    tails = state[base + 4 : base + 5 + window]
    weighted_tails = state[base + 5 + window : base + 6 + 2 * window]
    square_tails = state[base + 6 + 2 * window : base + 7 + 3 * window]
    spread = window * (window * float(window) - 1.0) / 12.0
    middle, share = (window + 1.0) / 2.0, 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = values[at + done]
            state[base] = anchor
            state[base + 1] = 0.0
            state[base + 2] = 0.0
            state[base + 3] = 0.0
            if seen + done >= window:
                before = values[at + done - window : at + done]
                total = 0.0
                weighted = 0.0
                square_total = 0.0
                for place in range(window - 1, 0, -1):
                    deviation = before[place] - anchor
                    total += deviation
                    weighted += total
                    square_total += deviation * deviation
                    tails[place] = total
                    weighted_tails[place] = weighted
                    square_tails[place] = square_total
        anchor = state[base]
        head = state[base + 1]
        weighted_head = state[base + 2]
        square_head = state[base + 3]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        weighted_tail = weighted_tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        found = slopes[done : done + count]
        found_fits = fits[done : done + count]
        for row in range(count):
            deviation = present[row] - anchor
            weighted_head += window * deviation - head
            head += deviation
            square_head += deviation * deviation
            total = head + tail[row]
            found[row] = weighted_head + weighted_tail[row] - middle * total
            found_fits[row] = square_head + square_tail[row] - total * total * share
        for row in range(count):
            product, square = found[row], spread * found_fits[row]
            fit = product * product / square if square > 0.0 else 0.0
            found[row] = product / spread
            found_fits[row] = fit if fit < 1.0 else 1.0
        state[base + 1] = head
        state[base + 2] = weighted_head
        state[base + 3] = square_head
        done += count
        position = position + count if position + count < window else 0
    blank(slopes[:rows], window - 1 - seen)
    blank(fits[:rows], window - 1 - seen)
