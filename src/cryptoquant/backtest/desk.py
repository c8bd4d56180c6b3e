"""The orders of a compiled run as rows of numbers: their columns, the records of what became of them, and the books."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing, kernel
from cryptoquant.trading.financing import FinancingTerms
from cryptoquant.trading.matching import (
    GTC,
    STOP,
    TRAILING,
    Deal,
    Terms,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Who an order is: its symbol, the row in which it was decided, which slice of a change it is, its row in the table of
# orders (-1: it came from a weight), what it is for, and for an exit which fill of its parent made it. These columns
# are the first ones of every record.
SYMBOL, DECIDED, PART, SOURCE, ROLE, CHILD = range(6)
PLAIN, STOP_EXIT, TARGET_EXIT, LIQUIDATION = range(4)

# What else an order is. EXPIRES: the first row that it takes no part in. IS_HELD: the client holds it until its stop.
# LEAVES: it was asked to end. ARRIVES: the first row in which a request to end another order is heard. FRESH: the row
# in which an exit came to life, of whose bar only FRESH_OPEN to FRESH_HIGH_FIRST is left for it.
(
    SIGN, KIND, LIFE, LOTS, LEFT, LIMIT_AT, STOP_AT, TRAIL, BEST, EXPIRES, GROUP, REDUCES,
    STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, STOP_PRICE, TARGET_PRICE, REPLACES, FILLED,
    RESERVE_AT, COLLAR, IS_HELD, LEAVES, ARRIVES, FRESH, FRESH_OPEN, FRESH_HIGH, FRESH_LOW, FRESH_HIGH_FIRST, COLUMNS,
) = range(6, 36)  # fmt: skip

# What else a record of an accepted order, of a fill and of an ending says.
SENT_LOTS, SENT_LIMIT, SENT_PROTECTED, SENT_COLUMNS = range(6, 10)
(
    ROW, NUMBER, FILL_LOTS, PRICE, LOTS_CHANGE, CASH_CHANGE, FEE, SLIPPAGE, IMPACT, LIQUIDITY, AT_OPEN, FILL_COLUMNS,
) = range(6, 18)  # fmt: skip
END_ROW, END_LOTS, END_CODE, END_AT_OPEN, END_COLUMNS = range(6, 11)
CANCELLED = -1.0

CANCEL_REQUEST = -1

# What became of an order of the table.
UNSENT, OPEN, FILLED_UP, ENDED = range(4)

# The purse: cash in units, and the cash in quote currency that no open order holds back.
CASH, FREE = range(2)

# Counters. ROWS: order rows ever used at once; IDLE: rows that wait to be used again; ENTERED: orders of the table that
# were sent; BEGUN: the row after the last one that was matched.
ROWS, IDLE, QUEUED, SENT, FILLS, ENDS, CHARGES, ENTERED, BEGUN, GROUPS, LIQUIDATIONS, REDUCERS, COUNTERS = range(13)


class Market(NamedTuple):
    """Bars as the kernels read them: arrays of shape (slices, symbols), NaN where absent; (0, 0) where not needed.

    ``times`` are closes, ``width`` nanoseconds from open to close; ``variance`` is that of a bar's return, known before
    the bar.
    """

    times: Integers
    width: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    variance: Floats


class Book(NamedTuple):
    """What is held and owed: the purse, arrays by symbol, and in ``traded`` the value of the last 30 days.

    ``used`` and ``used_row`` are the lots of a bar that are taken, and of which bar; ``stopped`` is the sign of a
    position that a stop or target closed and that is not to be opened again; ``reserved`` are lots that open sell
    orders hold back.
    """

    purse: Floats
    lots: Floats
    lot: Floats
    bounds: Floats
    used: Floats
    used_row: Integers
    stopped: Floats
    reserved: Floats
    traded: Floats


class Desk(NamedTuple):
    """The open orders and the records of what became of them.

    ``queue`` holds the rows of the open orders in the order of their arrival, ``idle`` rows that are free again,
    ``fate`` what became of each order of the table.
    """

    orders: Floats
    queue: Integers
    idle: Integers
    sent: Floats
    fills: Floats
    ends: Floats
    charges: Floats
    fate: Integers
    counts: Integers


class Rules(NamedTuple):
    """Everything that does not change in a run."""

    terms: Terms
    rates: Floats
    financing: FinancingTerms


@borrowing
def limits_of(book: Book, column: int) -> tuple[float, float, float, bool]:
    """Return the limits of a symbol as ``refusal`` takes them."""
    bounds = book.bounds
    return bounds[column, 0], bounds[column, 1], bounds[column, 2], bounds[column, 3] != 0.0


@kernel
def with_room(rows: Floats, count: int, more: int) -> Floats:
    """Return ``rows`` with room for ``more`` rows beyond ``count``."""
    if count + more <= len(rows):
        return rows
    larger = np.empty((2 * len(rows) + more, rows.shape[1]))
    for row in range(count):  # a slice would be checked for its shape, which takes seconds to compile
        for column in range(rows.shape[1]):
            larger[row, column] = rows[row, column]
    return larger


@borrowing
def write_fill(
    line: Floats, it: Floats, row: int, number: float, lots: float, deal: Deal, liquidity: int, at_open: bool
) -> None:
    """Write the record of an order's fill number ``number``; ``lots`` are signed."""
    for index in range(ROW):
        line[index] = it[index]
    line[ROW], line[NUMBER], line[FILL_LOTS], line[PRICE] = row, number, lots, deal.price
    line[LOTS_CHANGE], line[CASH_CHANGE], line[FEE] = deal.lots_change, deal.cash_change, deal.fee
    line[SLIPPAGE], line[IMPACT], line[LIQUIDITY], line[AT_OPEN] = deal.slippage, deal.impact, liquidity, at_open


@borrowing
def write_end(line: Floats, it: Floats, row: int, lots: float, code: float, at_open: bool) -> None:
    """Write the record of an order's end; ``lots`` are signed."""
    for index in range(ROW):
        line[index] = it[index]
    line[END_ROW], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = row, lots, code, at_open


@borrowing
def write_refusal(line: Floats, column: int, row: int, part: int, lots: float, code: int) -> None:
    """Write the record of what is refused before it becomes an order; ``lots`` are signed."""
    line[SYMBOL], line[DECIDED], line[PART], line[SOURCE], line[ROLE], line[CHILD] = column, row, part, -1.0, PLAIN, 0.0
    line[END_ROW], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = row, lots, code, False


@borrowing
def end_order(desk: Desk, order: int, row: int, code: float, at_open: bool) -> None:
    """Record that an order ends, refused or cancelled, and close it."""
    counts, it = desk.counts, desk.orders[order]
    write_end(desk.ends[counts[ENDS]], it, row, it[SIGN] * it[LOTS], code, at_open)
    counts[ENDS] += 1
    it[LEFT] = 0.0
    if it[ROLE] == LIQUIDATION:
        counts[LIQUIDATIONS] -= 1
    if it[SOURCE] >= 0.0 and it[ROLE] == PLAIN:
        desk.fate[int(it[SOURCE])] = ENDED


@borrowing
def new_order(orders: Floats, idle: Integers, counts: Integers) -> int:
    """Return the row of a new order."""
    order: int = counts[ROWS]
    if counts[IDLE] > 0:
        counts[IDLE] -= 1
        order = idle[counts[IDLE]]
    else:
        counts[ROWS] += 1
    return order


@borrowing
def begin_order(it: Floats, column: int, row: int, sign: float, kind: int, lots: float) -> None:
    """Write an order with everything else at rest."""
    it[:] = 0.0
    it[LIMIT_AT : BEST + 1] = math.nan
    it[STOP_LOSS : TARGET_PRICE + 1] = math.nan
    it[SYMBOL], it[DECIDED], it[SIGN], it[KIND], it[LIFE], it[LOTS], it[LEFT] = column, row, sign, kind, GTC, lots, lots
    it[EXPIRES], it[REPLACES], it[SOURCE], it[FRESH] = math.inf, -1.0, -1.0, -1.0


@borrowing
def is_held_back(it: Floats) -> bool:
    """Return whether an open order rests at the venue, so that it reserves what it would give."""
    is_open: bool = it[LEFT] > 0.0 and it[REDUCES] == 0.0 and it[LEAVES] == 0.0
    return is_open and it[KIND] != STOP and it[KIND] != TRAILING


@borrowing
def is_protected(it: Floats) -> bool:
    """Return whether an order brings exits to life when it fills."""
    total = 0.0
    for place in range(STOP_LOSS, TARGET_PRICE + 1):
        total += 1.0 if it[place] == it[place] else 0.0
    return total > 0.0


@borrowing
def leave_queue(orders: Floats, queue: Integers, idle: Integers, counts: Integers) -> None:
    """Take the orders that ended out of the queue; their rows may be used again."""
    left = 0
    for place in range(counts[QUEUED]):
        order = queue[place]
        if orders[order, LEFT] > 0.0:
            queue[left] = order
            left += 1
        else:
            idle[counts[IDLE]] = order
            counts[IDLE] += 1
    counts[QUEUED] = left
