"""Sums over the last minutes of a stream of events, in a memory that does not grow with the number of events.

A span of time is cut into ``PIECES`` equal pieces on the clock, and each piece keeps its sums. A sum over the span adds
the pieces up, oldest first, so that nothing is ever subtracted and nothing drifts. The span so begins at a border of a
piece: when ``now`` lies on such a border it is exact, otherwise it reaches back up to one piece further.
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
    number = math.floor(time / (seconds / PIECES))
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
def span_sum(state: Floats, base: int, columns: int, column: int) -> float:
    """Return a sum over the span that ends with the piece that was reached last."""
    total = 0.0
    last = state[base]
    for step in range(PIECES, -1, -1):
        total += state[base + 2 + int((last - step) % (PIECES + 1)) * columns + column]
    return total
