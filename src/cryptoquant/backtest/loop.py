"""The compiled simulator loop: target weights through the kernels of execution and matching, slice by slice."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.trading.execution import is_tradable, leg_count, leg_lots, wanted_lots
from cryptoquant.trading.matching import NO_CASH, buying_power, fill_price, refusal, settle
from cryptoquant.trading.portfolio import equity_units

Floats = NDArray[np.float64]
FILL_COLUMNS, REFUSAL_COLUMNS = 10, 6


@kernel
def grown(records: Floats, count: int) -> Floats:
    """Return ``records`` with room for one more row."""
    if count < len(records):
        return records
    larger = np.empty((2 * len(records), records.shape[1]))
    larger[:count] = records[:count]
    return larger


@kernel
def run_weights(
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    weights: Floats,
    lot: Floats,
    bounds: Floats,
    terms: Floats,
    flags: NDArray[np.bool_],
    plan: Floats,
    cash: float,
) -> tuple[Floats, Floats, Floats]:
    """Trade ``weights`` (slices, symbols) and return the curve, the fills and the refusals.

    Parameters
    ----------
    open_, high, low, close
        Shape (slices, symbols), NaN where absent.
    bounds
        Shape (symbols, 4): smallest value, largest value, smallest quantity, shorts allowed.
    terms
        Taker fee (fraction), slippage (fraction), quote currency in a cash unit, collar of a market buy (fraction).
    flags
        Whole lots, fee in quote currency, shorts allowed.
    plan
        Reserve and band of the execution.

    Returns
    -------
    curve
        Shape (slices, 2): equity and cash in cash units.
    fills
        Rows of slice decided, slice filled, symbol, leg, signed lots, price, lots change, cash change, fee, slippage.
    refusals
        Rows of slice decided, slice refused, symbol, leg, signed lots, reason.
    """
    slices, symbols = weights.shape
    fee_rate, slippage, unit = terms[0], terms[1], terms[2]
    is_whole, in_quote, allows_short = flags[0], flags[1], flags[2]
    lots, marks = np.zeros(symbols), np.full(symbols, np.nan)
    pending, decided = np.zeros(symbols), np.zeros(symbols, dtype=np.int64)
    legs = np.ones(symbols, dtype=np.int64)
    queue, queued = np.empty(symbols, dtype=np.int64), 0
    changes = np.zeros(symbols)
    curve = np.empty((slices, 2))
    fills, filled = np.empty((64, FILL_COLUMNS)), 0
    refusals, refused = np.empty((64, REFUSAL_COLUMNS)), 0
    for row in range(slices):
        left = 0
        for place in range(queued):
            column = queue[place]
            opened = open_[row, column]
            if np.isnan(opened):
                queue[left] = column
                left += 1
                continue
            change, count = pending[column], legs[column]
            pending[column] = 0.0
            sign = 1.0 if change > 0.0 else -1.0
            price = fill_price(sign, 0, np.nan, opened, high[row, column], low[row, column], slippage)
            for leg in range(count):
                size = leg_lots(abs(change), count, leg, is_whole)
                gain, paid, fee = settle(sign, size, price, fee_rate, lot[column], unit, is_whole, in_quote)
                places = [float(decided[column]), float(row), float(column), float(leg), sign * size]
                if cash + paid < 0.0 and sign > 0.0 and not allows_short:
                    refusals = grown(refusals, refused)
                    refusals[refused] = np.array([*places, float(NO_CASH)])
                    refused += 1
                    continue
                lots[column] += gain
                cash += paid
                cost = max(sign * (price - opened) * size * lot[column], 0.0)
                fills = grown(fills, filled)
                fills[filled] = np.array([*places, price, gain, paid, fee, cost])
                filled += 1
        queued = left
        for column in range(symbols):
            if not np.isnan(close[row, column]):
                marks[column] = close[row, column]
        units = equity_units(cash, lots, lot, marks, unit)
        curve[row, 0], curve[row, 1] = units, cash
        equity = units * unit
        for column in range(symbols):
            changes[column] = 0.0
            weight, mark = weights[row, column], marks[column]
            if not is_tradable(weight, equity, mark * lot[column]) or pending[column] != 0.0:
                continue
            change = wanted_lots(weight, equity, mark, lots[column], lot[column], plan[0], plan[1], is_whole)
            if change == 0.0:
                continue
            sign = 1.0 if change > 0.0 else -1.0
            limits = (bounds[column, 0], np.inf, bounds[column, 2], bounds[column, 3] != 0.0)
            code = refusal(sign, abs(change), mark, lots[column], lot[column], limits)
            if code:
                refusals = grown(refusals, refused)
                refusals[refused] = np.array([float(row), float(row), float(column), 0.0, change, float(code)])
                refused += 1
            else:
                changes[column] = change
        free = cash * unit
        for place in range(queued):
            column = queue[place]
            if pending[column] > 0.0:
                free -= buying_power(pending[column], lot[column], marks[column], terms[3])
        for sign in (-1.0, 1.0):
            for column in range(symbols):
                if changes[column] * sign <= 0.0:
                    continue
                if sign > 0.0:
                    needed = buying_power(changes[column], lot[column], marks[column], terms[3])
                    if needed > free:
                        refusals = grown(refusals, refused)
                        refusals[refused] = np.array(
                            [float(row), float(row), float(column), 0.0, changes[column], float(NO_CASH)]
                        )
                        refused += 1
                        continue
                    free -= needed
                pending[column], decided[column] = changes[column], row
                legs[column] = leg_count(abs(changes[column]), lot[column], marks[column], bounds[column, 1])
                queue[queued] = column
                queued += 1
    return curve, fills[:filled], refusals[:refused]


@kernel
def mark_books(
    places: NDArray[np.int64],
    after: Floats,
    close: Floats,
    book: tuple[Floats, Floats, Floats, float, float],
    equity: Floats,
    cash: Floats,
) -> None:
    """Write equity and cash, in cash units, at every close.

    Parameters
    ----------
    places, after
        Shape (changes, 2): slice and symbol of a change; lots of the symbol and cash after it.
    close
        Shape (slices, symbols), NaN where absent.
    book
        At the start: lots, coins in a lot and marks, shape (symbols,); cash; quote currency in a cash unit.
    """
    lots, lot, marks, money, unit = book
    change = 0
    for row in range(len(close)):
        while change < len(places) and places[change, 0] == row:
            lots[places[change, 1]], money = after[change, 0], after[change, 1]
            change += 1
        for column in range(len(marks)):
            if not np.isnan(close[row, column]):
                marks[column] = close[row, column]
        equity[row], cash[row] = equity_units(money, lots, lot, marks, unit), money
