"""How often a market closes: the median time from one close to the next."""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel

Times = NDArray[np.int64]


@kernel
def regular_gap(times: Times) -> int:
    """Return the difference of all neighbouring times where it is one and the same, else 0."""
    gap, other = times[1] - times[0], 0
    for i in range(1, len(times)):
        other |= (times[i] - times[i - 1]) ^ gap
    return gap if other == 0 else 0


def median_gap(times: Times) -> float:
    """Return the median difference of neighbouring times, in nanoseconds; NaN for fewer than two."""
    if len(times) < 2:
        return math.nan
    return float(regular_gap(times) or np.median(np.diff(times)))
