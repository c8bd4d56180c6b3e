"""What a fold remembers of a series, and the NaN that it says while it remembers too little."""

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.market.slice import Floats


def ring_size(window: int) -> int:
    """Return the state that ``ring`` needs, in floats."""
    return window + 1


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
def keep(tail: Floats, values: Floats) -> None:
    """Let ``tail`` hold the last values that have passed, oldest first."""
    count, rows = len(tail), len(values)
    fresh = min(rows, count)
    for place in range(count - fresh):
        tail[place] = tail[place + fresh]
    kept, last = tail[count - fresh : count], values[rows - fresh : rows]
    for place in range(fresh):
        kept[place] = last[place]


@borrowing
def blank(out: Floats, count: int) -> None:
    """Write NaN over the first ``count`` numbers, or over all if there are fewer."""
    for row in range(min(count, len(out))):
        out[row] = np.nan
