"""How two series go together: sums of products and squares of their deviations, and the correlation."""

import math

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats


def products_size(window: int) -> int:
    """Return the state that ``products`` needs, in floats."""
    return 6 * window + 14


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
    pairs: Floats,
) -> None:
    """Write the sums of products and of squares of the deviations of the last ``window`` pairs of numbers.

    A pair that is not finite is left out; ``pairs`` says how many are left. Where a block begins with no pair, the
    deviations are those from 0.
    """
    heads, width = state[base + 2 : base + 8], window + 1
    counts = state[base + 8 : base + 8 + width]
    tails = state[base + 8 + width : base + 8 + 2 * width]
    other_tails = state[base + 8 + 2 * width : base + 8 + 3 * width]
    square_tails = state[base + 8 + 3 * width : base + 8 + 4 * width]
    other_square_tails = state[base + 8 + 4 * width : base + 8 + 5 * width]
    mixed_tails = state[base + 8 + 5 * width : base + 8 + 6 * width]
    rows = len(firsts)
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            first, second = firsts[done], seconds[done]
            is_pair = (first - first) + (second - second) == 0.0
            state[base] = first if is_pair else 0.0
            state[base + 1] = second if is_pair else 0.0
            for index in range(6):
                heads[index] = 0.0
        anchor, other_anchor = state[base], state[base + 1]
        if position == 0 and seen + done >= window:
            n, x, y, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for place in range(window - 1, 0, -1):
                a, b = tails[place] - anchor, other_tails[place] - other_anchor
                if (a - a) + (b - b) == 0.0:
                    n += 1.0
                    x += a
                    y += b
                    xx += a * a
                    yy += b * b
                    xy += a * b
                counts[place], tails[place], other_tails[place] = n, x, y
                square_tails[place], other_square_tails[place], mixed_tails[place] = xx, yy, xy
        n, x, y, xx, yy, xy = heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]
        count = min(window - position, rows - done)
        after = position + 1
        fresh, other_fresh = firsts[done : done + count], seconds[done : done + count]
        kept, other_kept = tails[position : position + count], other_tails[position : position + count]
        older = counts[after : after + count]
        tail, other_tail = tails[after : after + count], other_tails[after : after + count]
        square_tail, other_square_tail = square_tails[after : after + count], other_square_tails[after : after + count]
        mixed_tail = mixed_tails[after : after + count]
        found, found_pairs = mixed[done : done + count], pairs[done : done + count]
        found_squares, found_others = first_squares[done : done + count], second_squares[done : done + count]
        for row in range(count):
            first, second = fresh[row], other_fresh[row]
            kept[row], other_kept[row] = first, second
            a, b = first - anchor, second - other_anchor
            if (a - a) + (b - b) == 0.0:
                n += 1.0
                x += a
                y += b
                xx += a * a
                yy += b * b
                xy += a * b
            number, total, other_total = n + older[row], x + tail[row], y + other_tail[row]
            share = 1.0 / number
            shift = total * share
            square = (xx + square_tail[row]) - total * shift
            other_square = (yy + other_square_tail[row]) - other_total * other_total * share
            found[row] = (xy + mixed_tail[row]) - other_total * shift
            found_squares[row] = square if square > 0.0 else 0.0
            found_others[row] = other_square if other_square > 0.0 else 0.0
            found_pairs[row] = number
        heads[0], heads[1], heads[2], heads[3], heads[4], heads[5] = n, x, y, xx, yy, xy
        done += count
        position = position + count if position + count < window else 0
    missing = window - 1 - seen
    blank(mixed[:rows], missing)
    blank(first_squares[:rows], missing)
    blank(second_squares[:rows], missing)
    blank(pairs[:rows], missing)


@borrowing
def correlation_of(mixed: float, first_square: float, second_square: float) -> float:
    """Return Pearson's correlation from sums of products and squares of deviations; 0 where one side stands still."""
    scale = math.sqrt(first_square) * math.sqrt(second_square)
    found = mixed / scale
    found = 0.0 if scale == 0.0 else found
    found = 1.0 if found > 1.0 else found
    return -1.0 if found < -1.0 else found
