"""The compiled simulator loop: weights or orders through the kernels of execution and matching, from event to event."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.arrival import (
    send_orders,
)
from cryptoquant.backtest.desk import (
    BEGUN,
    CANCELLED,
    CASH,
    CHARGES,
    COLUMNS,
    COUNTERS,
    DECIDED,
    END_COLUMNS,
    ENDS,
    ENTERED,
    EXPIRES,
    FILL_COLUMNS,
    FILLS,
    IDLE,
    LEFT,
    LIFE,
    LIMIT_AT,
    LIQUIDATION,
    LIQUIDATIONS,
    PART,
    PLAIN,
    QUEUED,
    REDUCERS,
    REDUCES,
    ROLE,
    ROWS,
    SENT,
    SENT_COLUMNS,
    SIGN,
    SOURCE,
    STOP_LOSS,
    SYMBOL,
    TAKE_PROFIT,
    TRAILING_STOP,
    Book,
    Desk,
    Market,
    Rules,
    begin_order,
    end_order,
    leave_queue,
    limits_of,
    new_order,
    with_room,
    write_refusal,
)
from cryptoquant.backtest.filling import (
    match_row,
)
from cryptoquant.backtest.quiet import next_asked, quiet_until
from cryptoquant.compiled import borrowing, kernel
from cryptoquant.trading.execution import (
    Plan,
    is_tradable,
    leg_count,
    leg_lots,
    opens,
    order_count,
    wanted_lots,
)
from cryptoquant.trading.financing import financing_charge, is_short_of_margin
from cryptoquant.trading.matching import (
    GTC,
    GTT,
    LIMIT,
    MARKET,
    NO_CASH,
    Terms,
    buying_power,
    to_increment,
    volatility_step,
)
from cryptoquant.trading.portfolio import equity_units

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Trace(NamedTuple):
    """What a run leaves behind: accepted orders, fills and endings, and the charges as rows of slice and cash units."""

    sent: Floats
    fills: Floats
    ends: Floats
    charges: Floats


class Table(NamedTuple):
    """The given orders, the row of the desk at which each was made, and by symbol the last close and the change."""

    entries: Floats
    made: Integers
    marks: Floats
    changes: Floats


@kernel
def run_market(
    market: Market,
    weights: Floats,
    entries: Floats,
    rules: Rules,
    plan: Plan,
    lot: Floats,
    bounds: Floats,
    cash: float,
    traded: Floats,
) -> Trace:
    """Trade weights, or orders, through a market and return what happened.

    Parameters
    ----------
    weights
        Shape (slices, symbols), NaN to hold; (0, 0) where orders are given.
    entries
        The orders to send in the order of their decision, as rows of the desk's columns; (0, columns) for none.
    lot, bounds
        Coins in a lot, shape (symbols,); smallest value, largest value, smallest quantity, whether shorts are allowed,
        and price increment, shape (symbols, 5).
    cash
        At the start, in cash units.
    """
    slices, symbols = market.open.shape
    purse, lots, stopped = np.array([cash, 0.0]), np.zeros(symbols), np.zeros(symbols)
    used, used_row, reserved = np.zeros(symbols), np.full(symbols, -1), np.zeros(symbols)
    book = Book(purse, lots, lot, bounds, used, used_row, stopped, reserved, traded)
    counts = np.zeros(COUNTERS, dtype=np.int64)
    orders, queue, idle = np.empty((0, COLUMNS)), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    sent, fills, ends = np.empty((0, SENT_COLUMNS)), np.empty((0, FILL_COLUMNS)), np.empty((0, END_COLUMNS))
    fate, made = np.zeros(len(entries), dtype=np.int64), np.full(len(entries), -1)
    desk = Desk(orders, queue, idle, sent, fills, ends, np.empty((0, 2)), fate, counts)
    table = Table(entries, made, np.full(symbols, np.nan), np.zeros(symbols))
    row, more = counts[QUEUED], 32  # zero, but not as a literal, for which all would be compiled a second time
    while row < slices:
        desk = larger_desk(desk, 2 * more)
        row, more = trade_rows(desk, book, table, market, weights, rules, plan, row)
    sent, fills, ends = desk.sent[: counts[SENT]], desk.fills[: counts[FILLS]], desk.ends[: counts[ENDS]]
    return Trace(sent, fills, ends, desk.charges[: counts[CHARGES]])


@borrowing
def trade_rows(
    desk: Desk, book: Book, table: Table, market: Market, weights: Floats, rules: Rules, plan: Plan, row: int
) -> tuple[int, int]:
    """Trade from ``row`` on; return the row that is next, and how many lines the desk lacks for it.

    A row that ended so before its decision is not matched and charged again.
    """
    terms, counts, lots, purse, marks = rules.terms, desk.counts, book.lots, book.purse, table.marks
    entries, close, times, (slices, symbols) = table.entries, market.close, market.times, market.close.shape
    is_financed, margin = rules.financing.every > 0, rules.financing.maintenance
    has_weights, has_range = len(weights) > 0, symbols == 1 and market.high.size > 0
    spare, seen = spare_rows(desk), -1
    while row < slices:
        entry, due = counts[ENTERED], 0
        while entry + due < len(entries) and entries[entry + due, DECIDED] == row:
            due += 1
        more = 3 * counts[QUEUED] + due + symbols + 8
        if more > spare:
            return row, more
        spare -= more
        is_new = counts[BEGUN] <= row
        if counts[QUEUED] and is_new:
            match_row(desk, book, market, rules, row)
        has_changes = due > 0 or is_financed
        if has_weights:
            for column in range(symbols):
                has_changes = has_changes or weights[row, column] == weights[row, column]
        if has_changes:
            refresh_marks(marks, close, seen, row)
            seen = row
            if is_financed and is_new:
                before = times[row - 1] if row else times[row]
                charge = financing_charge(
                    purse[CASH] * terms.unit, lots, book.lot, marks, before, times[row], rules.financing
                )
                if charge != 0.0:
                    purse[CASH] -= charge / terms.unit
                    desk.charges[counts[CHARGES], 0], desk.charges[counts[CHARGES], 1] = row, charge / terms.unit
                    counts[CHARGES] += 1
            equity = equity_units(purse[CASH], lots, book.lot, marks, terms.unit) * terms.unit
            if margin > 0.0 and counts[LIQUIDATIONS] == 0 and is_short_of_margin(equity, lots, book.lot, marks, margin):
                liquidate(desk, lots, row)
            counts[BEGUN] = row + 1
            if has_weights:
                ended = counts[ENDS]
                wanted = decide(desk, book, terms, plan, marks, weights[row], table.changes, row, equity)
                if wanted and wanted + symbols > spare:
                    counts[ENDS] = ended
                    return row, 3 * counts[QUEUED] + wanted + 2 * symbols + 8
                if wanted:
                    spare -= wanted + symbols
                    number = write_changes(desk, book, market, terms, plan, marks, table.changes, row)
                    send_orders(desk, book, terms, table.made, marks, number, False)
            elif due:
                write_entries(desk, entries, entry, due)
                send_orders(desk, book, terms, table.made, marks, due, True)
                counts[ENTERED] += due
        row += 1
        if is_financed:
            continue
        stop = int(entries[counts[ENTERED], DECIDED]) if counts[ENTERED] < len(entries) else slices
        if counts[QUEUED]:
            row = quiet_until(desk, market, weights, row, stop) if has_range else row
        elif has_weights:
            row = next_asked(weights, close, row, marks, book, plan, terms)
        else:
            row = stop
    return row, 0


@borrowing
def spare_rows(desk: Desk) -> int:
    """Return how many rows every table of the desk has left."""
    counts = desk.counts
    spare = min(len(desk.orders) - counts[ROWS], len(desk.queue) - counts[QUEUED], len(desk.sent) - counts[SENT])
    spare = min(spare, len(desk.fills) - counts[FILLS], len(desk.charges) - counts[CHARGES])
    return int(min(spare, (len(desk.ends) - counts[ENDS]) // 2))


@kernel
def larger_desk(desk: Desk, more: int) -> Desk:
    """Return the desk with room for ``more`` rows in every table."""
    counts = desk.counts
    orders = with_room(desk.orders, counts[ROWS], more)
    return Desk(
        orders,
        with_places(desk.queue, counts[QUEUED], max(more, len(orders) - counts[QUEUED])),
        with_places(desk.idle, counts[IDLE], len(orders) - counts[IDLE]),
        with_room(desk.sent, counts[SENT], more),
        with_room(desk.fills, counts[FILLS], more),
        with_room(desk.ends, counts[ENDS], 2 * more),
        with_room(desk.charges, counts[CHARGES], more),
        desk.fate,
        counts,
    )


@kernel
def with_places(queue: Integers, count: int, more: int) -> Integers:
    """Return ``queue`` with room for ``more`` places beyond ``count``."""
    if count + more <= len(queue):
        return queue
    larger = np.empty(2 * (count + more), dtype=np.int64)
    for place in range(count):
        larger[place] = queue[place]
    return larger


@borrowing
def refresh_marks(marks: Floats, close: Floats, seen: int, row: int) -> None:
    """Bring the last known closes from row ``seen`` up to ``row``."""
    for column in range(len(marks)):
        back = row
        while back > seen and close[back, column] != close[back, column]:
            back -= 1
        if back > seen:
            marks[column] = close[back, column]


@borrowing
def liquidate(desk: Desk, lots: Floats, row: int) -> None:
    """Cancel all open orders and send one for each position that closes it."""
    orders, queue, counts = desk.orders, desk.queue, desk.counts
    for place in range(counts[QUEUED]):
        if orders[queue[place], LEFT] > 0.0:
            end_order(desk, queue[place], row, CANCELLED, False)
    leave_queue(orders, queue, desk.idle, counts)
    for column in range(len(lots)):
        held = lots[column]
        if held != 0.0:
            order = new_order(orders, desk.idle, counts)
            begin_order(orders[order], column, row, -1.0 if held > 0.0 else 1.0, MARKET, abs(held))
            orders[order, ROLE], orders[order, REDUCES] = LIQUIDATION, 1.0
            queue[counts[QUEUED]] = order
            counts[QUEUED] += 1
            counts[REDUCERS] += 1
            counts[LIQUIDATIONS] += 1


@borrowing
def decide(
    desk: Desk,
    book: Book,
    terms: Terms,
    plan: Plan,
    marks: Floats,
    weights: Floats,
    changes: Floats,
    row: int,
    equity: float,
) -> int:
    """Write the signed lots to trade by symbol into ``changes``, as ``Execution`` does; return how many orders."""
    orders, queue, counts, stopped, bounds = desk.orders, desk.queue, desk.counts, book.stopped, book.bounds
    wanted = 0
    changes[:] = 0.0
    for place in range(counts[QUEUED]):
        order = queue[place]
        if orders[order, ROLE] == PLAIN and orders[order, LEFT] > 0.0:
            changes[int(orders[order, SYMBOL])] = math.nan
    for column in range(len(marks)):
        weight, mark, lot, held = weights[column], marks[column], book.lot[column], book.lots[column]
        is_busy = changes[column] != changes[column]
        changes[column] = 0.0
        if weight != weight:
            continue
        if stopped[column] != 0.0:
            if weight * stopped[column] > 0.0:
                continue
            stopped[column] = 0.0
        if is_busy or not is_tradable(weight, equity, mark * lot):
            continue
        change = wanted_lots(weight, equity, mark, held, lot, plan, bounds[column, 0], terms.is_whole)
        if change == 0.0:
            continue
        limits = limits_of(book, column)
        legs, code = order_count(change, mark, held, lot, limits, terms.is_whole)
        if code:
            write_refusal(desk.ends[counts[ENDS]], column, row, 0, change, code)
            counts[ENDS] += 1
            continue
        changes[column] = change
        wanted += legs
    return wanted


@borrowing
def write_changes(
    desk: Desk, book: Book, market: Market, terms: Terms, plan: Plan, marks: Floats, changes: Floats, row: int
) -> int:
    """Write changes as orders behind the queue, sells first, while the free cash lasts; return how many."""
    orders, queue, idle, counts, ends = desk.orders, desk.queue, desk.idle, desk.counts, desk.ends
    bounds, lots, all_lot = book.bounds, book.lots, book.lot
    free, number = book.purse[CASH] * terms.unit, 0
    for place in range(counts[QUEUED]):
        it = orders[queue[place]]
        if it[SIGN] > 0.0 and it[ROLE] == PLAIN and it[LEFT] > 0.0:
            column = int(it[SYMBOL])
            free -= buying_power(it[LEFT], all_lot[column], marks[column], terms.collar)
    kind = LIMIT if plan.limit == plan.limit else MARKET
    expires = math.inf
    if plan.life > 0:
        expires = float(np.searchsorted(market.times, market.times[row] + plan.life + market.width))
    for sign in (-1.0, 1.0):
        for column in range(len(marks)):
            change = changes[column]
            if change * sign <= 0.0:
                continue
            lot, mark = all_lot[column], marks[column]
            if sign > 0.0:
                needed = buying_power(change, lot, mark, terms.collar)
                if needed > free:
                    write_refusal(ends[counts[ENDS]], column, row, 0, change, NO_CASH)
                    counts[ENDS] += 1
                    continue
                free -= needed
            legs = leg_count(abs(change), lot, mark, bounds[column, 1], terms.is_whole)
            is_opening = opens(lots[column], change)
            for leg in range(legs):
                size = leg_lots(abs(change), legs, leg, terms.is_whole)
                order = new_order(orders, idle, counts)
                it = orders[order]
                begin_order(it, column, row, sign, kind, size)
                it[PART], it[EXPIRES], it[LIFE] = leg, expires, GTT if plan.life > 0 else GTC
                if kind == LIMIT:
                    it[LIMIT_AT] = to_increment(mark * (1.0 - sign * plan.limit), bounds[column, 4], sign)
                if is_opening:
                    it[STOP_LOSS], it[TAKE_PROFIT], it[TRAILING_STOP] = plan.stop_loss, plan.take_profit, plan.trailing
                queue[counts[QUEUED] + number] = order
                number += 1
    return number


@borrowing
def write_entries(desk: Desk, entries: Floats, first: int, number: int) -> None:
    """Write orders of the table behind the queue."""
    orders, queue, counts = desk.orders, desk.queue, desk.counts
    for index in range(number):
        order = new_order(orders, desk.idle, counts)
        for column in range(COLUMNS):
            orders[order, column] = entries[first + index, column]
        orders[order, SOURCE] = first + index
        queue[counts[QUEUED] + index] = order


@kernel
def variances(close: Floats, out: Floats) -> None:
    """Write the variance of each symbol's returns that is known before each bar, both of shape (slices, symbols)."""
    for column in range(close.shape[1]):
        variance, before = math.nan, math.nan
        for row in range(len(close)):
            out[row, column] = variance
            variance = volatility_step(variance, before, close[row, column])
            if close[row, column] == close[row, column]:
                before = close[row, column]
