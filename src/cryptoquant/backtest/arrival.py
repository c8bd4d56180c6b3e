"""What the venue does with orders that arrive: it takes them into the queue or refuses them, with a reason."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    ARRIVES,
    BEST,
    CANCEL_REQUEST,
    CASH,
    COLLAR,
    DECIDED,
    EXPIRES,
    FREE,
    IDLE,
    IS_HELD,
    KIND,
    LEAVES,
    LEFT,
    LIMIT_AT,
    LIQUIDATIONS,
    LOTS,
    OPEN,
    QUEUED,
    REDUCERS,
    REDUCES,
    REPLACES,
    RESERVE_AT,
    ROW,
    SENT,
    SENT_LIMIT,
    SENT_LOTS,
    SENT_PROTECTED,
    SIGN,
    SOURCE,
    SYMBOL,
    Book,
    Desk,
    end_order,
    is_held_back,
    is_protected,
    limits_of,
)
from cryptoquant.compiled import borrowing
from cryptoquant.trading.matching import (
    ACCEPTED,
    LIQUIDATING,
    MARKET,
    NO_CASH,
    REPLACED,
    STOP,
    TRAILING,
    Terms,
    buying_power,
    refusal,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@borrowing
def hold_back(desk: Desk, book: Book, unit: float) -> None:
    """Write what the open orders at the venue hold back: the lots of each symbol, and the cash that is left free."""
    orders, queue, reserved, purse, lot = desk.orders, desk.queue, book.reserved, book.purse, book.lot
    reserved[:] = 0.0
    free = purse[CASH] * unit
    for place in range(desk.counts[QUEUED]):
        it = orders[queue[place]]
        if not is_held_back(it):
            continue
        column = int(it[SYMBOL])
        if it[SIGN] < 0.0:
            reserved[column] += it[LEFT]
        else:
            free -= buying_power(it[LEFT], lot[column], it[RESERVE_AT], it[COLLAR])
    purse[FREE] = free


@borrowing
def send_orders(
    desk: Desk, book: Book, terms: Terms, made: Integers, marks: Floats, number: int, checks_cash: bool
) -> None:
    """Let the venue take the ``number`` orders that lie behind the queue into it, or refuse them, in their order."""
    orders, queue, idle, sent, counts = desk.orders, desk.queue, desk.idle, desk.sent, desk.counts
    purse, reserved, lots, all_lot = book.purse, book.reserved, book.lots, book.lot
    fate, first = desk.fate, counts[QUEUED]
    if first or checks_cash:
        hold_back(desk, book, terms.unit)
    else:
        reserved[:] = 0.0
    for place in range(first, first + number):
        order = queue[place]
        it = orders[order]
        source, replaced, kind = int(it[SOURCE]), int(it[REPLACES]), it[KIND]
        code = LIQUIDATING if counts[LIQUIDATIONS] > 0 else ACCEPTED
        if replaced >= 0:
            if fate[replaced] == OPEN:
                old = orders[made[replaced]]
                old[LEAVES], old[EXPIRES] = 1.0, min(old[EXPIRES], it[ARRIVES])
                hold_back(desk, book, terms.unit)
            elif kind != CANCEL_REQUEST:
                code = REPLACED
        if kind == CANCEL_REQUEST:
            it[LEFT] = 0.0
            idle[counts[IDLE]] = order
            counts[IDLE] += 1
            continue
        column, sign = int(it[SYMBOL]), it[SIGN]
        price = marks[column]
        it[BEST], it[IS_HELD] = price, 1.0 if kind in (STOP, TRAILING) else 0.0
        if code == ACCEPTED and kind != STOP and kind != TRAILING and it[REDUCES] == 0.0:
            asked, lot = price if kind == MARKET else it[LIMIT_AT], all_lot[column]
            limits = limits_of(book, column)
            code = refusal(sign, it[LOTS], asked, lots[column] - reserved[column], lot, limits)
            collar = terms.collar if kind == MARKET else 0.0 * terms.collar
            needed = buying_power(it[LOTS], lot, asked, collar)
            if code == ACCEPTED and checks_cash and sign > 0.0 and needed > purse[FREE]:
                code = NO_CASH
            if code == ACCEPTED:
                it[RESERVE_AT], it[COLLAR] = asked, collar
                if sign < 0.0:
                    reserved[column] += it[LEFT]
                else:
                    purse[FREE] -= needed
        if code != ACCEPTED:
            end_order(desk, order, int(it[DECIDED]), float(code), False)
            idle[counts[IDLE]] = order
            counts[IDLE] += 1
            continue
        if it[REDUCES] != 0.0:
            counts[REDUCERS] += 1
        if source >= 0:
            fate[source], made[source] = OPEN, order
        line = sent[counts[SENT]]
        for index in range(ROW):
            line[index] = it[index]
        line[SENT_LOTS], line[SENT_LIMIT], line[SENT_PROTECTED] = sign * it[LOTS], it[LIMIT_AT], is_protected(it)
        counts[SENT] += 1
        queue[counts[QUEUED]] = order
        counts[QUEUED] += 1
