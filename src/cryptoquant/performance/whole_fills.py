"""Fills made whole: an order that a venue takes only in parts fills as one, whatever the size of the account."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.round_trips import symbol_numbers

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def whole_rows(symbol: Integers, time: Integers, quantity: Floats, value: Floats) -> tuple[Integers, Floats, Floats]:
    """Return fills with those that follow each other in one symbol, at one time and in one direction as one.

    Parameters
    ----------
    symbol, time, quantity, value
        Shape (fills,), in time order; changes of quantity and of value are signed.

    Returns
    -------
    tuple
        The row at which each whole fill begins, in order, and its summed quantity and value.
    """
    if not len(symbol):
        return np.empty(0, dtype=np.int64), quantity, value
    order = np.argsort(symbol, kind="stable")
    keys = (symbol[order], time[order], np.sign(quantity[order]))
    is_first = np.concatenate([[True], np.logical_or.reduce([key[1:] != key[:-1] for key in keys])])
    starts = np.flatnonzero(is_first)
    rows = order[starts]
    back = np.argsort(rows, kind="stable")
    sums = [np.add.reduceat(column[order], starts)[back] for column in (quantity, value)]
    return rows[back], sums[0], sums[1]


def whole_fills(fills: pl.DataFrame) -> pl.DataFrame:
    """Return the symbol, time, quantity_change and value_change of whole fills; see ``whole_rows``."""
    rows, quantity, value = whole_rows(
        symbol_numbers(fills["symbol"]),
        fills["time"].to_physical().to_numpy(),
        fills["quantity_change"].to_numpy(),
        fills["value_change"].to_numpy(),
    )
    return pl.DataFrame(
        {
            "symbol": fills["symbol"].gather(rows),
            "time": fills["time"].gather(rows),
            "quantity_change": quantity,
            "value_change": value,
        }
    )
