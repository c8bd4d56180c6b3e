"""Folds over numbers that a step makes as it goes: totals, spreads, powers and products of the last ones.

They are the two-block folds of ``rolling``, but remember the last ``window`` numbers themselves, so that nothing has to
be made again. ``present`` holds the numbers of the run, ``seen`` says how many came before it; the fold writes one
number per row, NaN while there are fewer than ``window``, and may write over what it reads. However a series is cut
into runs, the same bits come out. The place of a tail that has been used keeps the number that has come instead.
"""

import math

from cryptoquant.compiled import borrowing
from cryptoquant.features.rolling import blank
from cryptoquant.market.slice import Floats


def totals_size(window: int) -> int:
    """Return the state that ``totals`` needs, in floats."""
    return window + 2


def spreads_size(window: int) -> int:
    """Return the state that ``spreads`` needs, in floats."""
    return 2 * window + 5


def powers_size(window: int) -> int:
    """Return the state that ``powers`` needs, in floats."""
    return 4 * window + 9


def products_size(window: int) -> int:
    """Return the state that ``products`` needs, in floats."""
    return 5 * window + 12


@borrowing
def totals(state: Floats, base: int, window: int, present: Floats, seen: int, out: Floats) -> None:
    """Write the sum of the last ``window`` numbers of one sign: nothing cancels, so nothing is taken off them."""
    tails = state[base + 1 : base + 2 + window]
    rows = len(present)
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            state[base] = 0.0
            total = 0.0
            for place in range(window - 1, 0, -1):
                total += tails[place]
                tails[place] = total
        head = state[base]
        count = min(window - position, rows - done)
        fresh = present[done : done + count]
        kept = tails[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = fresh[row]
            head += value
            found[row] = head + tail[row]
            kept[row] = value
        state[base] = head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)


@borrowing
def spreads(
    state: Floats, base: int, window: int, present: Floats, seen: int, averages: Floats, squares: Floats
) -> None:
    """Write the mean and the sum of squared deviations of the last ``window`` numbers."""
    tails = state[base + 3 : base + 4 + window]
    square_tails = state[base + 4 + window : base + 5 + 2 * window]
    rows = len(present)
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = present[done]
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
        fresh = present[done : done + count]
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
    state: Floats, base: int, window: int, present: Floats, seen: int, squares: Floats, cubes: Floats, fourths: Floats
) -> None:
    """Write the sums of the second, third and fourth powers of the deviations of the last ``window`` numbers.

    In the worst case, a window whose anchor is its one outlier, cancellation costs some ten windows of rounding.
    """
    width = window + 1
    tails = state[base + 5 : base + 5 + width]
    square_tails = state[base + 5 + width : base + 5 + 2 * width]
    cube_tails = state[base + 5 + 2 * width : base + 5 + 3 * width]
    fourth_tails = state[base + 5 + 3 * width : base + 5 + 4 * width]
    rows = len(present)
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = present[done]
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
        fresh = present[done : done + count]
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


@borrowing
def products(
    state: Floats,
    base: int,
    window: int,
    firsts: Floats,
    seconds: Floats,
    seen: int,
    mixed: Floats,
    first_squares: Floats,
    second_squares: Floats,
) -> None:
    """Write the sums of products and of squares of the deviations of the last ``window`` pairs of numbers."""
    width = window + 1
    tails = state[base + 7 : base + 7 + width]
    second_tails = state[base + 7 + width : base + 7 + 2 * width]
    mixed_tails = state[base + 7 + 2 * width : base + 7 + 3 * width]
    square_tails = state[base + 7 + 3 * width : base + 7 + 4 * width]
    second_square_tails = state[base + 7 + 4 * width : base + 7 + 5 * width]
    rows = len(firsts)
    share = 1.0 / window
    position = seen % window
    for row in range(rows):
        if position == 0:
            anchor = firsts[row]
            second_anchor = seconds[row]
            state[base] = anchor
            state[base + 1] = second_anchor
            for place in range(2, 7):
                state[base + place] = 0.0
            if seen + row >= window:
                first_total = 0.0
                second_total = 0.0
                mixed_total = 0.0
                square_total = 0.0
                second_square_total = 0.0
                for place in range(window - 1, 0, -1):
                    x = tails[place] - anchor
                    y = second_tails[place] - second_anchor
                    first_total += x
                    second_total += y
                    mixed_total += x * y
                    square_total += x * x
                    second_square_total += y * y
                    tails[place] = first_total
                    second_tails[place] = second_total
                    mixed_tails[place] = mixed_total
                    square_tails[place] = square_total
                    second_square_tails[place] = second_square_total
        first, second = firsts[row], seconds[row]
        x, y = first - state[base], second - state[base + 1]
        state[base + 2] += x
        state[base + 3] += y
        state[base + 4] += x * y
        state[base + 5] += x * x
        state[base + 6] += y * y
        tails[position], second_tails[position] = first, second
        position += 1
        first_sum = state[base + 2] + tails[position]
        second_sum = state[base + 3] + second_tails[position]
        shift = first_sum * share
        spread = (state[base + 5] + square_tails[position]) - first_sum * shift
        second_spread = (state[base + 6] + second_square_tails[position]) - second_sum * second_sum * share
        mixed[row] = (state[base + 4] + mixed_tails[position]) - second_sum * shift
        first_squares[row] = spread if spread > 0.0 else 0.0
        second_squares[row] = second_spread if second_spread > 0.0 else 0.0
        position = position if position < window else 0
    missing = window - 1 - seen
    blank(mixed[:rows], missing)
    blank(first_squares[:rows], missing)
    blank(second_squares[:rows], missing)


@borrowing
def correlation_of(mixed: float, first_square: float, second_square: float) -> float:
    """Return Pearson's correlation from sums of products and squares of deviations; 0 where one side stands still."""
    scale = math.sqrt(first_square) * math.sqrt(second_square)
    found = 0.0 if scale == 0.0 else mixed / scale
    return min(max(found, -1.0), 1.0) if found == found else found
