"""The straight line of best fit through the last values: all that its slope, its fit and its residual follow from."""

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats


def lines_size(window: int) -> int:
    """Return the state that ``lines`` needs, in floats."""
    return 3 * window + 7


@borrowing
def lines(
    state: Floats,
    base: int,
    window: int,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    averages: Floats,
    squares: Floats,
    slants: Floats,
) -> None:
    """Write mean, sum of squared deviations, and sum of (i - mean i) (x - mean x) with i the number of the bar.

    With each bar the weights of the head fall by 1, its weighted sum by its plain sum. Reads ``window`` values again.
    """
    tails = state[base + 4 : base + 5 + window]
    weighted_tails = state[base + 5 + window : base + 6 + 2 * window]
    square_tails = state[base + 6 + 2 * window : base + 7 + 3 * window]
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
        found = averages[done : done + count]
        found_squares = squares[done : done + count]
        found_slants = slants[done : done + count]
        for row in range(count):
            deviation = present[row] - anchor
            weighted_head += window * deviation - head
            head += deviation
            square_head += deviation * deviation
            total = head + tail[row]
            shift = total * share
            square = (square_head + square_tail[row]) - total * shift
            found[row] = anchor + shift
            found_squares[row] = square if square > 0.0 else 0.0
            found_slants[row] = weighted_head + weighted_tail[row] - middle * total
        state[base + 1] = head
        state[base + 2] = weighted_head
        state[base + 3] = square_head
        done += count
        position = position + count if position + count < window else 0
    blank(averages[:rows], window - 1 - seen)
    blank(squares[:rows], window - 1 - seen)
    blank(slants[:rows], window - 1 - seen)
