"""What a run is given, looked at before it begins: impossible bars and infinite weights, as fast as memory."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.errors import SchemaError
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.market.time import iso

Floats = NDArray[np.float64]


def checked(panel: Panel) -> Panel:
    """Return a panel whose bars are possible, as those of a frame are; an absent one has no close.

    Raises
    ------
    SchemaError
        Names the symbol, the close and the prices of the first bar that is impossible.
    """
    if panel.is_checked:
        return panel
    open_, close = panel.field("open"), panel.field("close")
    high, low = (panel.columns.get(name) for name in ("high", "low"))
    if high is None or low is None:
        high, low = np.fmax(open_, close), np.fmin(open_, close)
    prices = (open_, high, low, close)
    if count_impossible(*(price.reshape(-1) for price in prices)):
        right = (low > 0.0) & (low <= open_) & (low <= close) & (open_ <= high) & (close <= high) & (high < np.inf)
        row, column = (int(place) for place in np.argwhere(~right & ~np.isnan(close))[0])
        found = ", ".join(f"{name} {price[row, column]}" for name, price in zip(FIELDS, prices, strict=False))
        where = f"{panel.symbols[column]} {iso(int(panel.times[row]))}"
        raise SchemaError(f"panel: {where}: wanted 0 < low <= open, close <= high < inf, found {found}")
    object.__setattr__(panel, "is_checked", True)
    return panel


@kernel
def count_impossible(open_: Floats, high: Floats, low: Floats, close: Floats) -> int:
    """Return how many bars that have a close are impossible, all of shape (bars,).

    Without a branch, so that it runs as fast as memory.
    """
    count = 0
    for place in range(len(close)):
        a, h, b, c = open_[place], high[place], low[place], close[place]
        right = (b > 0.0) & (b <= a) & (b <= c) & (a <= h) & (c <= h) & (h < np.inf)
        count += (not right) & (c == c)
    return count


@kernel
def count_infinite(values: Floats) -> int:
    """Return how many values are infinite."""
    count = 0
    for place in range(len(values)):
        count += 1 if abs(values[place]) == np.inf else 0
    return count
