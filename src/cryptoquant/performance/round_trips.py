"""Closed trades: what was bought and sold again, by average cost, in one compiled pass over the fills."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.compiled import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ROUNDING_SHARE = 1e-9


class Trades(NamedTuple):
    """Closed trades as arrays, in the order in which they closed; times in nanoseconds UTC.

    Attributes
    ----------
    symbol
        Number of the symbol, as in the fills.
    quantity
        Signed by the position that it closed: negative for a short one.
    gained
        Profit over cost.
    """

    symbol: Integers
    opened: Integers
    closed: Integers
    quantity: Floats
    profit: Floats
    gained: Floats
    is_final: NDArray[np.bool_]


@kernel
def closed_trades(
    symbol: Integers, time: Integers, quantity: Floats, value: Floats
) -> tuple[Integers, Integers, Integers, Floats, Floats, Floats, NDArray[np.bool_]]:
    """Return the fields of ``Trades`` from fills in time order: changes of quantity and of value, net of fees."""
    fills = len(symbol)
    symbols = 0
    for i in range(fills):
        symbols = max(symbols, symbol[i] + 1)
    held, spent, since = np.zeros(symbols), np.zeros(symbols), np.zeros(symbols, dtype=np.int64)
    of, opened, closed = np.empty(fills, np.int64), np.empty(fills, np.int64), np.empty(fills, np.int64)
    size, profit, gained = np.empty(fills), np.empty(fills), np.empty(fills)
    is_final = np.empty(fills, dtype=np.bool_)
    count = 0
    for i in range(fills):
        s, q, v = symbol[i], quantity[i], value[i]
        h = held[s]
        if h == 0.0 or q == 0.0 or (h > 0.0) == (q > 0.0):
            if h == 0.0:
                since[s] = time[i]
            held[s] = h + q
            spent[s] += v
            continue
        cost, got = spent[s] * min(1.0, abs(q / h)), v * min(1.0, abs(h / q))
        left = h + q
        is_flat, is_through = abs(left) <= ROUNDING_SHARE * abs(h), abs(q) > abs(h)
        of[count], opened[count], closed[count] = s, since[s], time[i]
        size[count] = min(abs(h), abs(q)) * (1.0 if h > 0.0 else -1.0)
        profit[count] = cost + got
        gained[count] = profit[count] / abs(cost) if cost != 0.0 else np.nan
        is_final[count] = is_flat or is_through
        count += 1
        if is_flat:
            held[s], spent[s] = 0.0, 0.0
        elif is_through:
            held[s], spent[s], since[s] = left, v - got, time[i]
        else:
            held[s], spent[s] = left, spent[s] - cost
    return (
        of[:count],
        opened[:count],
        closed[:count],
        size[:count],
        profit[:count],
        gained[:count],
        is_final[:count],
    )


def round_trips(fills: pl.DataFrame) -> pl.DataFrame:
    """Return closed trades, by average cost.

    Every reduction of a position is a trade of the part that it closes; the one that ends it is final. A fill through
    zero closes one position and opens the opposite one. A rest below a billionth of the position is rounding, not a
    position.

    Parameters
    ----------
    fills
        Columns symbol, time, quantity_change and value_change (net of fees: coins and quote currency), in time order.

    Returns
    -------
    pl.DataFrame
        Columns symbol, side (long or short), opened, closed, quantity, profit (after fees), return, is_final.
    """
    names = fills["symbol"].unique().sort()
    instant = fills.schema["time"]
    found = Trades(
        *closed_trades(
            symbol_numbers(fills["symbol"]),
            fills["time"].to_physical().to_numpy(writable=True),
            fills["quantity_change"].to_numpy(writable=True),
            fills["value_change"].to_numpy(writable=True),
        )
    )
    return pl.DataFrame(
        {
            "symbol": names.gather(found.symbol),
            "side": pl.Series(np.where(found.quantity > 0, "long", "short"), dtype=pl.String),
            "opened": pl.Series(found.opened).cast(instant),
            "closed": pl.Series(found.closed).cast(instant),
            "quantity": np.abs(found.quantity),
            "profit": found.profit,
            "return": found.gained,
            "is_final": found.is_final,
        }
    ).sort("closed", "symbol", maintain_order=True)


def symbol_numbers(symbols: pl.Series) -> Integers:
    """Return the place of each symbol among the sorted names."""
    numbers: Integers = (symbols.rank("dense").cast(pl.Int64) - 1).to_numpy(writable=True)
    return numbers
