"""Rows in which nothing happens, passed at once: no wish that changes anything, no open order that is touched."""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    BEST,
    CASH,
    EXPIRES,
    KIND,
    LIFE,
    LIMIT_AT,
    QUEUED,
    REPLACES,
    SIGN,
    STOP_AT,
    TRAIL,
    Book,
    Desk,
    Market,
)
from cryptoquant.compiled import borrowing
from cryptoquant.trading.execution import Plan, is_tradable, wanted_lots
from cryptoquant.trading.matching import (
    FOK,
    IOC,
    LIMIT,
    MARKET,
    TRAILING,
    Terms,
    trail_level,
)

Floats = NDArray[np.float64]
MANY, FEW = 64, 8  # rows that are looked at side by side


@borrowing
def first_number(values: Floats, start: int) -> int:
    """Return the first place from ``start`` on that is no NaN, the length for none; 64 places at once while all are."""
    place = start
    while place + 64 <= len(values):
        found, some = 0, values[place : place + 64]
        for index in range(64):
            found += 1 if some[index] == some[index] else 0
        if found:
            break
        place += 64
    while place < len(values) and values[place] != values[place]:
        place += 1
    return place


@borrowing
def keeps(
    weights: Floats, closes: Floats, cash: float, held: float, lot: float, plan: Plan, dust: float, is_whole: bool
) -> bool:
    """Return whether it is certain that every close is there and no weight changes a position; False says nothing.

    The question of ``wanted_lots``, asked of values instead of lots and with room for a lot and for rounding, without a
    division or a branch, so that machine code answers it for several rows at once.
    """
    unsure = 0
    if held == 0.0:
        for index in range(len(weights)):
            unsure += 0 if (weights[index] == 0.0) & (closes[index] == closes[index]) else 1
        return unsure == 0
    sign = 1.0 if held > 0.0 else -1.0
    share, coins, rest, band = sign * (1.0 - plan.reserve), abs(held) * lot, lot if is_whole else 0.0, plan.band
    for index in range(len(weights)):
        price = closes[index]
        value = coins * price
        equity = cash + sign * value
        target = share * weights[index] * equity
        large, small = target if target > value else value, value if target > value else target
        slack = 1e-9 * large + rest * price
        unsure += 0 if (large - small + slack < band * equity) & (small - slack > dust) else 1
    return unsure == 0


@borrowing
def next_wish(
    weights: Floats,
    closes: Floats,
    row: int,
    mark: float,
    cash: float,
    held: float,
    lot: float,
    plan: Plan,
    dust: float,
    unit: float,
    is_whole: bool,
) -> tuple[int, float]:
    """Return the next row, from ``row`` on, whose weight changes anything, and the mark before it.

    ``weights`` and ``closes``, shape (slices,), are those of the only symbol; no order is open. It asks for each weight
    what a decision would ask.
    """
    slices = len(weights)
    while row < slices:
        row = first_number(weights, row)
        wanted, prices = weights[row:], closes[row:]
        size = MANY
        while len(wanted) >= size and wanted[size - 1] == wanted[size - 1]:
            if keeps(wanted[:size], prices[:size], cash * unit, held, lot, plan, dust, is_whole):
                row, mark = row + size, prices[size - 1]
                wanted, prices = weights[row:], closes[row:]
            elif size == MANY:
                size = FEW
            else:
                break
        passed = min(FEW, len(wanted))
        for index in range(passed):
            weight, price = wanted[index], prices[index]
            if weight != weight:
                passed = index
                break
            if price == price:
                mark = price
            equity = (cash + held * lot * mark / unit if held != 0.0 else cash) * unit
            if price != price or (
                is_tradable(weight, equity, mark * lot)
                and wanted_lots(weight, equity, mark, held, lot, plan, dust, is_whole) != 0.0
            ):
                return row + index, mark
        row += passed
    return slices, mark


@borrowing
def next_asked(weights: Floats, close: Floats, row: int, marks: Floats, book: Book, plan: Plan, terms: Terms) -> int:
    """Return the next row, from ``row`` on, in which a weight is to be decided on; no order is open.

    The mark of an only symbol is brought up to the rows that are passed.
    """
    symbols = weights.shape[1]
    if symbols > 1 or book.stopped[0] != 0.0:
        due: int = first_number(weights.reshape(-1), row * symbols) // symbols
        return due
    held, lot, dust, cash = book.lots[0], book.lot[0], book.bounds[0, 0], book.purse[CASH]
    row, marks[0] = next_wish(
        weights.reshape(-1), close.reshape(-1), row, marks[0], cash, held, lot, plan, dust, terms.unit, terms.is_whole
    )
    return row


@borrowing
def quiet_until(desk: Desk, market: Market, weights: Floats, row: int, stop: int) -> int:
    """Return the next row, at most ``stop``, in which a decision is due or an open order of the only symbol is touched.

    It may stop early but never late: a row in which nothing happens changes nothing.
    """
    orders, queue, queued = desk.orders, desk.queue, desk.counts[QUEUED]
    low, high = market.low, market.high
    below, above = -math.inf, math.inf
    for place in range(queued):
        it = orders[queue[place]]
        sign, kind = it[SIGN], it[KIND]
        if kind == MARKET or it[LIFE] == IOC or it[LIFE] == FOK or it[REPLACES] >= 0.0:
            return row
        if it[EXPIRES] < stop:
            stop = max(int(it[EXPIRES]), row)
        level, best = it[STOP_AT], math.nan
        if kind == LIMIT:
            level, sign = it[LIMIT_AT], -sign
        elif kind == TRAILING:
            best = it[BEST]
            level = trail_level(sign, level, it[TRAIL], best)
        if sign > 0.0:
            above = min(above, level)
            if best == best:
                below = max(below, best)
        else:
            below = max(below, level)
            if best == best:
                above = min(above, best)
    lows, highs = low[row:stop, 0], high[row:stop, 0]
    if len(weights) == 0:
        for index in range(len(lows)):
            if not (lows[index] > below and highs[index] < above):
                return row + index
        return row + len(lows)
    wanted = weights[row:stop, 0]
    for index in range(len(lows)):
        if not (lows[index] > below and highs[index] < above) or wanted[index] == wanted[index]:
            return row + index
    return row + len(lows)
