"""How far values lie from their mean: sums of squared deviations, and of their third and fourth powers."""

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats


def moments_size(window: int) -> int:
    """Return the state that ``moments`` needs, in floats."""
    return 2 * window + 5


def spreads_size(window: int) -> int:
    """Return the state that ``spreads`` needs, in floats."""
    return 2 * window + 5


def powers_size(window: int) -> int:
    """Return the state that ``powers`` needs, in floats."""
    return 4 * window + 9


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
def spreads(
    state: Floats, base: int, window: int, values: Floats, seen: int, averages: Floats, squares: Floats
) -> None:
    """Write the mean and the sum of squared deviations of the last ``window`` numbers."""
    tails = state[base + 3 : base + 4 + window]
    square_tails = state[base + 4 + window : base + 5 + 2 * window]
    rows = len(values)
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = values[done]
            state[base] = anchor
            state[base + 1] = 0.0
            state[base + 2] = 0.0
            if seen + done >= window:
                total = 0.0
                square_total = 0.0
                for place in range(window - 1, 0, -1):
                    deviation = tails[place] - anchor
                    total += deviation
                    square_total += deviation * deviation
                    tails[place] = total
                    square_tails[place] = square_total
        anchor = state[base]
        head = state[base + 1]
        square_head = state[base + 2]
        count = min(window - position, rows - done)
        fresh = values[done : done + count]
        kept = tails[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        found = averages[done : done + count]
        found_squares = squares[done : done + count]
        for row in range(count):
            value = fresh[row]
            deviation = value - anchor
            head += deviation
            square_head += deviation * deviation
            total = head + tail[row]
            shift = total * share
            square = (square_head + square_tail[row]) - total * shift
            kept[row] = value
            found[row] = anchor + shift
            found_squares[row] = square if square > 0.0 else 0.0
        state[base + 1] = head
        state[base + 2] = square_head
        done += count
        position = position + count if position + count < window else 0
    blank(averages[:rows], window - 1 - seen)
    blank(squares[:rows], window - 1 - seen)


@borrowing
def powers(
    state: Floats, base: int, window: int, values: Floats, seen: int, squares: Floats, cubes: Floats, fourths: Floats
) -> None:
    """Write the sums of the second, third and fourth powers of the deviations of the last ``window`` numbers.

    In the worst case, a window whose anchor is its one outlier, cancellation costs some ten windows of rounding.
    """
    width = window + 1
    tails = state[base + 5 : base + 5 + width]
    square_tails = state[base + 5 + width : base + 5 + 2 * width]
    cube_tails = state[base + 5 + 2 * width : base + 5 + 3 * width]
    fourth_tails = state[base + 5 + 3 * width : base + 5 + 4 * width]
    rows = len(values)
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = values[done]
            state[base] = anchor
            for power in range(1, 5):
                state[base + power] = 0.0
            if seen + done >= window:
                first = 0.0
                second = 0.0
                third = 0.0
                fourth = 0.0
                for place in range(window - 1, 0, -1):
                    deviation = tails[place] - anchor
                    square = deviation * deviation
                    first += deviation
                    second += square
                    third += square * deviation
                    fourth += square * square
                    tails[place] = first
                    square_tails[place] = second
                    cube_tails[place] = third
                    fourth_tails[place] = fourth
        anchor = state[base]
        head = state[base + 1]
        square_head = state[base + 2]
        cube_head = state[base + 3]
        fourth_head = state[base + 4]
        count = min(window - position, rows - done)
        fresh = values[done : done + count]
        kept = tails[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        cube_tail = cube_tails[position + 1 : position + 1 + count]
        fourth_tail = fourth_tails[position + 1 : position + 1 + count]
        found_squares = squares[done : done + count]
        found_cubes = cubes[done : done + count]
        found_fourths = fourths[done : done + count]
        for row in range(count):
            value = fresh[row]
            deviation = value - anchor
            square = deviation * deviation
            head += deviation
            square_head += square
            cube_head += square * deviation
            fourth_head += square * square
            first = head + tail[row]
            second = square_head + square_tail[row]
            third = cube_head + cube_tail[row]
            fourth = fourth_head + fourth_tail[row]
            shift = first * share
            spread = second - first * shift
            kept[row] = value
            found_squares[row] = spread if spread > 0.0 else 0.0
            found_cubes[row] = third - shift * (3.0 * second - 2.0 * shift * first)
            found_fourths[row] = fourth - shift * (4.0 * third - shift * (6.0 * second - 3.0 * shift * first))
        state[base + 1] = head
        state[base + 2] = square_head
        state[base + 3] = cube_head
        state[base + 4] = fourth_head
        done += count
        position = position + count if position + count < window else 0
    missing = window - 1 - seen
    blank(squares[:rows], missing)
    blank(cubes[:rows], missing)
    blank(fourths[:rows], missing)
