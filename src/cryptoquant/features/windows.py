"""More folds over the last bars: trend lines, places of extremes, rises and falls, sorted windows and correlations.

They are called as the folds of ``rolling`` are, and built from the same two blocks. Where a series is not among the
inputs but made by the step, the fold takes the values of the run alone and keeps the present block in its state.
"""

import math

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.rolling import blank
from cryptoquant.market.slice import Floats

STILL = 2e-5


def line_size(window: int) -> int:
    """Return the state that ``lines`` needs, in floats."""
    return 3 * window + 7


def place_size(window: int) -> int:
    """Return the state that ``places`` needs, in floats."""
    return 2 * window + 4


def change_size(window: int) -> int:
    """Return the state that ``changes`` needs, in floats."""
    return 2 * window + 4


def sorted_size(window: int) -> int:
    """Return the state that ``sorted_values`` needs, in floats."""
    return window + 1


def kept_size(window: int) -> int:
    """Return the state that ``kept_moments`` needs, in floats."""
    return 3 * window + 5


def pair_size(window: int) -> int:
    """Return the state that ``correlations`` needs, in floats."""
    return 8 * window + 14


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
    """Write mean, sum of squared deviations, and sum of (x - mean x) (y - mean y) with x the number of the bar.

    Reads ``window`` values again. Ages are summed instead of x: each value of the present block grows older by the sum
    of the block, each of the block before by as much as the place in the present one.
    """
    tails = state[base + 4 : base + 5 + window]
    square_tails = state[base + 5 + window : base + 6 + 2 * window]
    aged_tails = state[base + 6 + 2 * window : base + 7 + 3 * window]
    share = 1.0 / window
    middle = (window - 1.0) / 2.0
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
                square_total = 0.0
                aged_total = 0.0
                for place in range(window - 1, 0, -1):
                    deviation = before[place] - anchor
                    total += deviation
                    square_total += deviation * deviation
                    aged_total += (window - place) * deviation
                    tails[place] = total
                    square_tails[place] = square_total
                    aged_tails[place] = aged_total
        anchor = state[base]
        head = state[base + 1]
        square_head = state[base + 2]
        aged = state[base + 3]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        aged_tail = aged_tails[position + 1 : position + 1 + count]
        found = averages[done : done + count]
        found_squares = squares[done : done + count]
        found_slants = slants[done : done + count]
        for row in range(count):
            deviation = present[row] - anchor
            aged += head
            head += deviation
            square_head += deviation * deviation
            total = head + tail[row]
            shift = total * share
            square = (square_head + square_tail[row]) - total * shift
            found[row] = anchor + shift
            found_squares[row] = square if square > 0.0 else 0.0
            found_slants[row] = middle * total - (aged + (position + row) * tail[row] + aged_tail[row])
        state[base + 1] = head
        state[base + 2] = square_head
        state[base + 3] = aged
        done += count
        position = position + count if position + count < window else 0
    blank(averages[:rows], window - 1 - seen)
    blank(squares[:rows], window - 1 - seen)
    blank(slants[:rows], window - 1 - seen)


@borrowing
def places(
    state: Floats,
    base: int,
    window: int,
    sign: float,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    tops: Floats,
    orders: Floats,
) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``window`` values, and which of them it is.

    The oldest is 1, the present one ``window``; of equals the oldest counts. Reads ``window`` values again.
    """
    tails = state[base + 2 : base + 3 + window]
    tail_places = state[base + 3 + window : base + 4 + 2 * window]
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            top = -np.inf
            where = 0.0
            state[base] = top
            tails[window] = top
            if seen + done >= window:
                before = values[at + done - window : at + done]
                for place in range(window - 1, 0, -1):
                    value = sign * before[place]
                    where = where if value < top else float(place)
                    top = top if value < top else value
                    tails[place] = top
                    tail_places[place] = where
        head = state[base]
        head_place = state[base + 1]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        tail = tails[position + 1 : position + 1 + count]
        tail_place = tail_places[position + 1 : position + 1 + count]
        found = tops[done : done + count]
        found_orders = orders[done : done + count]
        for row in range(count):
            value = sign * present[row]
            here = float(position + row)
            head_place = here if value > head else head_place
            head = value if value > head else head
            is_older = tail[row] >= head
            found[row] = sign * (tail[row] if is_older else head)
            found_orders[row] = (tail_place[row] if is_older else window + head_place) - here
        state[base] = head
        state[base + 1] = head_place
        done += count
        position = position + count if position + count < window else 0
    blank(tops[:rows], window - 1 - seen)
    blank(orders[:rows], window - 1 - seen)


@borrowing
def changes(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, rises: Floats, falls: Floats
) -> None:
    """Write the sums of the last ``window`` rises and falls from value to value; reads ``window + 1`` values again."""
    rise_tails = state[base + 2 : base + 3 + window]
    fall_tails = state[base + 3 + window : base + 4 + 2 * window]
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            state[base] = 0.0
            state[base + 1] = 0.0
            if seen + done >= window:
                old = values[at + done - window : at + done]
                older = values[at + done - window - 1 : at + done]
                rise = 0.0
                fall = 0.0
                for place in range(window - 1, 0, -1):
                    change = old[place] - older[place]
                    rise += change if change > 0.0 else 0.0
                    fall -= change if change < 0.0 else 0.0
                    rise_tails[place] = rise
                    fall_tails[place] = fall
        rise = state[base]
        fall = state[base + 1]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        before = values[at + done - 1 : at + done + count]
        rise_tail = rise_tails[position + 1 : position + 1 + count]
        fall_tail = fall_tails[position + 1 : position + 1 + count]
        found_rises = rises[done : done + count]
        found_falls = falls[done : done + count]
        for row in range(count):
            change = present[row] - before[row]
            rise += change if change > 0.0 else 0.0
            fall -= change if change < 0.0 else 0.0
            found_rises[row] = rise + rise_tail[row]
            found_falls[row] = fall + fall_tail[row]
        state[base] = rise
        state[base + 1] = fall
        done += count
        position = position + count if position + count < window else 0
    blank(rises[:rows], window - 1 - seen)
    blank(falls[:rows], window - 1 - seen)


@borrowing
def turns(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, rises: Floats, falls: Floats
) -> None:
    """Write how many of the last ``window`` changes were rises and how many falls; reads ``window + 1`` values again.

    Whole numbers are exact, so what leaves the window may be subtracted. State: 2 floats.
    """
    rising, falling = state[base], state[base + 1]
    present = values[at : at + rows]
    before = values[at - 1 : at - 1 + rows]
    early = min(max(window - seen, 0), rows)
    for row in range(early):
        rising += 1.0 if present[row] > before[row] else 0.0
        falling += 1.0 if present[row] < before[row] else 0.0
        rises[row] = rising
        falls[row] = falling
    if early < rows:
        old = values[at + early - window : at + rows - window]
        older = values[at + early - window - 1 : at + rows - window - 1]
        new, newer = before[early:], present[early:]
        found_rises, found_falls = rises[early:rows], falls[early:rows]
        for row in range(rows - early):
            come = 1.0 if newer[row] > new[row] else 0.0
            gone = 1.0 if old[row] > older[row] else 0.0
            rising += come - gone
            come = 1.0 if newer[row] < new[row] else 0.0
            gone = 1.0 if old[row] < older[row] else 0.0
            falling += come - gone
            found_rises[row] = rising
            found_falls[row] = falling
    state[base], state[base + 1] = rising, falling
    blank(rises[:rows], window - 1 - seen)
    blank(falls[:rows], window - 1 - seen)


@borrowing
def sorted_values(
    state: Floats,
    base: int,
    window: int,
    share: float,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    uppers: Floats,
    lowers: Floats,
    ranks: Floats,
) -> None:
    """Write the quantiles of ``share`` and 1 - ``share`` of the last ``window`` values, and the rank of the last one.

    A quantile lies between its neighbours in proportion; equals share their mean rank. Reads ``window`` values again.
    Each bar writes the sorted window anew, in one pass without a branch: with c what is left without the value that
    leaves, the new one is min(c[k], max(value, c[k - 1])). Places not yet filled are infinite, as is one behind them.
    """
    high, low = share * (window - 1), (1.0 - share) * (window - 1)
    high_place, low_place = int(high), int(low)
    high_next, low_next = min(high_place + 1, window - 1), min(low_place + 1, window - 1)
    high_part, low_part = high - high_place, low - low_place
    ordered = state[base : base + window + 1]
    if seen == 0:
        for place in range(window + 1):
            ordered[place] = np.inf
    for row in range(rows):
        value = values[at + row]
        gone = values[at + row - window] if seen + row >= window else np.inf
        before = value
        here = ordered[0]
        for place in range(window):
            after = ordered[place + 1]
            left = here if here < gone else after
            found = left if left < before else before
            ordered[place] = found
            before = left if left > value else value
            here = after
        uppers[row] = ordered[high_place] + (ordered[high_next] - ordered[high_place]) * high_part
        lowers[row] = ordered[low_place] + (ordered[low_next] - ordered[low_place]) * low_part
    for row in range(max(window - 1 - seen, 0), rows):
        value = values[at + row]
        recent = values[at + row + 1 - window : at + row + 1]
        smaller = 0
        alike = 0
        for place in range(window):
            smaller += 1 if recent[place] < value else 0
            alike += 1 if recent[place] <= value else 0
        ranks[row] = 0.5 * (smaller + alike + 1)
    blank(uppers[:rows], window - 1 - seen)
    blank(lowers[:rows], window - 1 - seen)
    blank(ranks[:rows], window - 1 - seen)


@borrowing
def kept_moments(
    state: Floats, base: int, window: int, made: Floats, rows: int, seen: int, averages: Floats, squares: Floats
) -> None:
    """Write mean and sum of squared deviations of the last ``window`` values of a series that the step makes."""
    kept = state[base + 3 : base + 3 + window]
    tails = state[base + 3 + window : base + 4 + 2 * window]
    square_tails = state[base + 4 + 2 * window : base + 5 + 3 * window]
    share = 1.0 / window
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            anchor = made[done]
            state[base] = anchor
            state[base + 1] = 0.0
            state[base + 2] = 0.0
            total = 0.0
            square_total = 0.0
            for place in range(window - 1, 0, -1):
                deviation = kept[place] - anchor
                total += deviation
                square_total += deviation * deviation
                tails[place] = total
                square_tails[place] = square_total
        anchor = state[base]
        head = state[base + 1]
        square_head = state[base + 2]
        count = min(window - position, rows - done)
        present = made[done : done + count]
        keep = kept[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        square_tail = square_tails[position + 1 : position + 1 + count]
        found = averages[done : done + count]
        found_squares = squares[done : done + count]
        for row in range(count):
            keep[row] = present[row]
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
def correlations(
    state: Floats, base: int, window: int, first: Floats, second: Floats, rows: int, seen: int, out: Floats
) -> None:
    """Write Pearson's correlation of the last ``window`` pairs of two series that the step makes.

    A pair that is not finite is left out. NaN where a series stands still: its deviation is not above ``STILL``.
    """
    sums = state[base + 2 : base + 8]
    kept_first = state[base + 8 : base + 8 + window]
    kept_second = state[base + 8 + window : base + 8 + 2 * window]
    tails = state[base + 8 + 2 * window : base + 14 + 8 * window]
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            is_pair = (first[done] - first[done]) + (second[done] - second[done]) == 0.0
            state[base] = first[done] if is_pair else 0.0
            state[base + 1] = second[done] if is_pair else 0.0
            for index in range(6):
                sums[index] = 0.0
            n, x, y, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for place in range(window - 1, 0, -1):
                a, b = kept_first[place] - state[base], kept_second[place] - state[base + 1]
                is_pair = (a - a) + (b - b) == 0.0
                a, b = a if is_pair else 0.0, b if is_pair else 0.0
                n += 1.0 if is_pair else 0.0
                x += a
                y += b
                xx += a * a
                yy += b * b
                xy += a * b
                tail = tails[6 * place : 6 * place + 6]
                tail[0], tail[1], tail[2], tail[3], tail[4], tail[5] = n, x, y, xx, yy, xy
        n, x, y, xx, yy, xy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
        count = min(window - position, rows - done)
        left, right = first[done : done + count], second[done : done + count]
        keep_left, keep_right = kept_first[position : position + count], kept_second[position : position + count]
        found = out[done : done + count]
        for row in range(count):
            keep_left[row], keep_right[row] = left[row], right[row]
            a, b = left[row] - state[base], right[row] - state[base + 1]
            is_pair = (a - a) + (b - b) == 0.0
            a, b = a if is_pair else 0.0, b if is_pair else 0.0
            n += 1.0 if is_pair else 0.0
            x += a
            y += b
            xx += a * a
            yy += b * b
            xy += a * b
            tail = tails[6 * (position + row + 1) : 6 * (position + row + 1) + 6]
            pairs = n + tail[0]
            mean, other = (x + tail[1]) / pairs, (y + tail[2]) / pairs
            spread = (xx + tail[3]) - (x + tail[1]) * mean
            wide = (yy + tail[4]) - (y + tail[2]) * other
            common = (xy + tail[5]) - (x + tail[1]) * other
            least = STILL * STILL * (pairs - 1.0)
            is_moving = pairs > 1.0 and spread > least and wide > least
            share = common / math.sqrt(spread * wide) if is_moving else np.nan
            share = 1.0 if share > 1.0 else share
            found[row] = -1.0 if share < -1.0 else share
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = n, x, y, xx, yy, xy
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)
