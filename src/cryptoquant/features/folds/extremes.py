"""The highest and lowest of the last values, and which of them they are."""

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats


def extreme_size(window: int) -> int:
    """Return the state that ``extreme`` needs, in floats."""
    return window + 2


def peaks_size(window: int) -> int:
    """Return the state that ``peaks`` needs, in floats."""
    return window + 2


def places_size(window: int) -> int:
    """Return the state that ``places`` needs, in floats."""
    return 2 * window + 4


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


@borrowing
def peaks(state: Floats, base: int, window: int, sign: float, values: Floats, seen: int, out: Floats) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``window`` numbers."""
    tails = state[base + 1 : base + 2 + window]
    rows = len(values)
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            top = -np.inf
            state[base] = top
            tails[window] = top
            for place in range(window - 1, 0, -1):
                top = tails[place] if tails[place] > top else top
                tails[place] = top
        head = state[base]
        count = min(window - position, rows - done)
        fresh = values[done : done + count]
        kept = tails[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = sign * fresh[row]
            kept[row] = value
            head = value if value > head else head
            found[row] = sign * (tail[row] if tail[row] > head else head)
        state[base] = head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)


@borrowing
def places(
    state: Floats,
    base: int,
    window: int,
    sign: float,
    latest: bool,
    values: Floats,
    at: int,
    rows: int,
    seen: int,
    tops: Floats,
    orders: Floats,
) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``window`` values, and which of them it is.

    The oldest is 1, the present one ``window``; of equals the ``latest`` or the oldest counts. Reads ``window`` values
    again.
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
                    is_top = (value > top) | ((value == top) & (not latest))
                    where = float(place) if is_top else where
                    top = value if value > top else top
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
            value, here = sign * present[row], float(position + row)
            is_top = (value > head) | ((value == head) & latest)
            head_place = here if is_top else head_place
            head = value if value > head else head
            is_older = (tail[row] > head) | ((tail[row] == head) & (not latest))
            found[row] = sign * (tail[row] if tail[row] > head else head)
            found_orders[row] = (tail_place[row] if is_older else window + head_place) - here
        state[base] = head
        state[base + 1] = head_place
        done += count
        position = position + count if position + count < window else 0
    blank(tops[:rows], window - 1 - seen)
    blank(orders[:rows], window - 1 - seen)
