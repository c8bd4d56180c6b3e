"""Sums over the last minutes of a stream of events, in a memory that does not grow with the number of events.

A span of time is cut into ``PIECES`` equal pieces on the clock, and each piece keeps its sums. A sum over the span adds
the pieces up, oldest first, so that nothing is ever subtracted and nothing drifts. A piece holds what is known after
its beginning and up to its end. The span so begins at a border of a piece: when ``now`` lies on such a border, it is
the span before now without its first instant; otherwise it reaches back up to one piece further.
"""

import math

from cryptoquant.compiled import borrowing
from cryptoquant.market.slice import Floats

PIECES = 64


def span_size(columns: int) -> int:
    """Return the state that a span with a number of sums needs, in floats."""
    return 2 + (PIECES + 1) * columns


@borrowing
def piece_at(state: Floats, base: int, columns: int, seconds: float, time: float) -> int:
    """Return where the sums of the piece that holds a time begin; pieces that are left behind are emptied.

    A time before the last one counts to the piece of the last one.
    """
    number = math.ceil(time / (seconds / PIECES)) - 1.0
    last = state[base]
    if state[base + 1] == 0.0:
        last = number
        state[base + 1] = 1.0
    number = max(number, last)
    for step in range(int(min(number - last, PIECES + 1))):
        place = base + 2 + int((number - step) % (PIECES + 1)) * columns
        for column in range(columns):
            state[place + column] = 0.0
    state[base] = number
    return int(base + 2 + int(number % (PIECES + 1)) * columns)


@borrowing
def pieces_left(state: Floats, base: int, seconds: float, now: float) -> int:
    """Return how many pieces, counted back from the last one that was reached, lie in the span that ends now."""
    if state[base + 1] == 0.0:
        return 0
    passed = max(math.floor(now / (seconds / PIECES)) - state[base], 0.0)
    return int(max(PIECES + 1.0 - passed, 0.0))


@borrowing
def piece_back(state: Floats, base: int, columns: int, step: int) -> int:
    """Return where the sums of the piece begin that lies so many pieces before the last one that was reached."""
    return int(base + 2 + int((state[base] - step) % (PIECES + 1)) * columns)


@borrowing
def span_sum(state: Floats, base: int, columns: int, column: int, seconds: float, now: float) -> float:
    """Return a sum over the span that ends now; nothing is written."""
    total = 0.0
    for step in range(pieces_left(state, base, seconds, now) - 1, -1, -1):
        total += state[piece_back(state, base, columns, step) + column]
    return total
