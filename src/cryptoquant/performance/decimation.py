"""Long curves at screen resolution: fewer points, the same extremes."""

import numpy as np
from numpy.typing import NDArray


def extreme_rows(values: NDArray[np.float64], limit: int = 1_500) -> NDArray[np.int64]:
    """Return the rows to draw, ascending: the first, the last, and the lowest and highest of each equal stretch.

    Parameters
    ----------
    values
        Shape (points,); rows that are not finite are left out.
    limit
        About how many rows to keep; shorter curves are kept whole.

    Examples
    --------
    >>> extreme_rows(np.array([0.0, 5.0, 1.0, 2.0, -3.0, 2.0]), limit=4).tolist()
    [0, 1, 3, 4, 5]
    """
    there = np.flatnonzero(np.isfinite(values)).astype(np.int64)
    if len(there) <= limit:
        return there
    stretches = np.array_split(there, max(1, limit // 2))
    low = [part[np.argmin(values[part])] for part in stretches]
    high = [part[np.argmax(values[part])] for part in stretches]
    rows: NDArray[np.int64] = np.unique(np.concatenate([there[:1], low, high, there[-1:]]))
    return rows
