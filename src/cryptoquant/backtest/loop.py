"""The compiled simulator loop: weights or orders through the kernels of execution and matching, from event to event."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    ARRIVES,
    BEST,
    CANCELLED,
    COLUMNS,
    COUNTERS,
    DECIDED,
    END_COLUMNS,
    ENDS,
    EXPIRES,
    FILL_COLUMNS,
    FILLS,
    KIND,
    LEAVES,
    LEFT,
    LIFE,
    LIMIT_AT,
    LIQUIDATION,
    LIQUIDATIONS,
    LOTS,
    ORDERS,
    PART,
    QUEUED,
    REDUCES,
    REPLACES,
    ROLE,
    SIGN,
    SOURCE,
    STOP_AT,
    STOP_LOSS,
    SYMBOL,
    TAKE_PROFIT,
    TRAIL,
    TRAILING_STOP,
    Book,
    Desk,
    Market,
    Rules,
    admit,
    end_order,
    enqueue,
    match_row,
    new_order,
    refuse_change,
    with_room,
)
from cryptoquant.compiled import kernel
from cryptoquant.trading.execution import Plan, is_tradable, leg_count, leg_lots, opens, wanted_lots
from cryptoquant.trading.financing import financing_charge, is_short_of_margin
from cryptoquant.trading.matching import (
    ACCEPTED,
    FOK,
    GTT,
    IOC,
    LIMIT,
    MARKET,
    NO_CASH,
    REPLACED,
    STOP,
    STOP_LIMIT,
    TRAILING,
    buying_power,
    refusal,
    to_increment,
    trail_level,
    volatility_step,
)
from cryptoquant.trading.portfolio import equity_units

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
CANCEL_REQUEST = -1


class Trace(NamedTuple):
    """What a run leaves behind: all orders, fills, endings, and the charges as rows of slice and cash units."""

    orders: Floats
    fills: Floats
    ends: Floats
    charges: Floats


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
    book = Book(
        np.array([cash]),
        np.zeros(symbols),
        lot,
        bounds,
        np.zeros(symbols),
        np.full(symbols, -1),
        np.zeros(symbols),
        traded,
    )
    counts = np.zeros(COUNTERS, dtype=np.int64)
    orders, queue = np.empty((256, COLUMNS)), np.empty(256, dtype=np.int64)
    fills, ends = np.empty((256, FILL_COLUMNS)), np.empty((256, END_COLUMNS))
    charges, charged = np.empty((0, 2)), 0
    made = np.full(len(entries), -1)
    marks, changes = np.full(symbols, np.nan), np.zeros(symbols)
    is_financed, has_weights = rules.financing.every > 0, len(weights) > 0
    entry, seen, row = 0, -1, 0
    while row < slices:
        queued = counts[QUEUED]
        due = 0
        while entry + due < len(entries) and entries[entry + due, DECIDED] == row:
            due += 1
        more = 3 * queued + due + symbols + 8
        orders, ends = with_room(orders, counts[ORDERS], more), with_room(ends, counts[ENDS], 2 * more)
        fills = with_room(fills, counts[FILLS], more)
        if queued + more > len(queue):
            larger = np.empty(2 * (queued + more), dtype=np.int64)
            larger[:queued] = queue[:queued]
            queue = larger
        desk = Desk(orders, queue, fills, ends, counts)
        if queued:
            match_row(desk, book, market, rules, row)
        has_changes = due > 0
        if has_weights:
            for column in range(symbols):
                has_changes = has_changes or weights[row, column] == weights[row, column]
        if has_changes or is_financed:
            refresh_marks(marks, market.close, seen, row)
            seen = row
        if is_financed:
            before = market.times[row - 1] if row else market.times[row]
            charge = financing_charge(
                book.purse[0] * rules.terms.unit, book.lots, lot, marks, before, market.times[row], rules.financing
            )
            if charge != 0.0:
                units = charge / rules.terms.unit
                book.purse[0] -= units
                charges = with_room(charges, charged, 1)
                charges[charged, 0], charges[charged, 1] = row, units
                charged += 1
        if has_changes or is_financed:
            equity = equity_units(book.purse[0], book.lots, lot, marks, rules.terms.unit) * rules.terms.unit
            margin = rules.financing.maintenance
            if margin > 0.0 and counts[LIQUIDATIONS] == 0 and is_short_of_margin(equity, book.lots, lot, marks, margin):
                liquidate(desk, book, row)
            if has_weights:
                wanted = decide(desk, book, rules, plan, marks, weights[row], changes, row, equity)
                if wanted:
                    most = counts[ORDERS] + wanted + 8
                    orders, ends = (
                        with_room(orders, counts[ORDERS], most),
                        with_room(ends, counts[ENDS], most + symbols),
                    )
                    if counts[QUEUED] + most > len(queue):
                        larger = np.empty(2 * (counts[QUEUED] + most), dtype=np.int64)
                        larger[: counts[QUEUED]] = queue[: counts[QUEUED]]
                        queue = larger
                    desk = Desk(orders, queue, fills, ends, counts)
                    send_changes(desk, book, market, rules, plan, marks, changes, row)
            for source in range(entry, entry + due):
                send_entry(desk, book, rules, entries[source], source, made, marks, row)
            entry += due
        row += 1
        if is_financed:
            continue
        stop = slices
        if entry < len(entries):
            stop = min(stop, int(entries[entry, DECIDED]))
        row = quiet_until(desk, market, weights, row, stop)
    return Trace(
        orders[: counts[ORDERS]].copy(),
        fills[: counts[FILLS]].copy(),
        ends[: counts[ENDS]].copy(),
        charges[:charged].copy(),
    )


@kernel
def refresh_marks(marks: Floats, close: Floats, seen: int, row: int) -> None:
    """Bring the last known closes from row ``seen`` up to ``row``."""
    for column in range(len(marks)):
        back = row
        while back > seen and close[back, column] != close[back, column]:
            back -= 1
        if back > seen:
            marks[column] = close[back, column]


@kernel
def quiet_until(desk: Desk, market: Market, weights: Floats, row: int, stop: int) -> int:
    """Return the next row, at most ``stop``, in which a decision is due or an open order may be touched.

    It may stop early but never late: a row in which nothing happens changes nothing.
    """
    queued, symbols = desk.counts[QUEUED], market.open.shape[1]
    has_weights = len(weights) > 0
    if queued == 0:
        if not has_weights:
            return stop
        if symbols == 1:
            while row < stop and weights[row, 0] != weights[row, 0]:
                row += 1
            return row
        while row < stop:
            for column in range(symbols):
                if weights[row, column] == weights[row, column]:
                    return row
            row += 1
        return row
    if symbols > 1 or queued > 2 or market.high.size == 0:
        return row
    below, above = -math.inf, math.inf
    for place in range(queued):
        it = desk.orders[desk.queue[place]]
        sign, kind = it[SIGN], it[KIND]
        if it[LIFE] == IOC or it[LIFE] == FOK or it[REPLACES] >= 0.0:
            return row
        if it[EXPIRES] < stop:
            stop = max(int(it[EXPIRES]), row)
        if kind == LIMIT:
            if sign > 0.0:
                below = max(below, it[LIMIT_AT])
            else:
                above = min(above, it[LIMIT_AT])
        elif kind in (STOP, STOP_LIMIT):
            if sign > 0.0:
                above = min(above, it[STOP_AT])
            else:
                below = max(below, it[STOP_AT])
        elif kind == TRAILING:
            level = trail_level(sign, it[STOP_AT], it[TRAIL], it[BEST])
            below = max(below, level if sign < 0.0 else it[BEST])
            above = min(above, it[BEST] if sign < 0.0 else level)
        else:
            return row
    low, high = market.low, market.high
    while row < stop and low[row, 0] > below and high[row, 0] < above:
        if has_weights and weights[row, 0] == weights[row, 0]:
            return row
        row += 1
    return row


@kernel
def liquidate(desk: Desk, book: Book, row: int) -> None:
    """Cancel all open orders and send one for each position that closes it."""
    for place in range(desk.counts[QUEUED]):
        if desk.orders[desk.queue[place], LEFT] > 0.0:
            end_order(desk, desk.queue[place], row, CANCELLED, False)
    desk.counts[QUEUED] = 0
    for column in range(len(book.lots)):
        held = book.lots[column]
        if held != 0.0:
            order = new_order(desk, column, -1.0 if held > 0.0 else 1.0, MARKET, abs(held), row)
            desk.orders[order, ROLE], desk.orders[order, REDUCES] = LIQUIDATION, 1.0
            enqueue(desk, order)
            desk.counts[LIQUIDATIONS] += 1


@kernel
def decide(
    desk: Desk,
    book: Book,
    rules: Rules,
    plan: Plan,
    marks: Floats,
    weights: Floats,
    changes: Floats,
    row: int,
    equity: float,
) -> int:
    """Write the signed lots to trade by symbol into ``changes``, as ``Execution`` does; return how many orders."""
    changes[:] = 0.0
    wanted = 0
    for column in range(len(marks)):
        weight, mark, lot, held = weights[column], marks[column], book.lot[column], book.lots[column]
        if weight != weight:
            continue
        if book.stopped[column] != 0.0:
            if weight * book.stopped[column] > 0.0:
                continue
            book.stopped[column] = 0.0
        if not is_tradable(weight, equity, mark * lot) or is_busy(desk, column):
            continue
        change = wanted_lots(weight, equity, mark, held, lot, plan, book.bounds[column, 0], rules.terms.is_whole)
        if change == 0.0:
            continue
        sign = 1.0 if change > 0.0 else -1.0
        limits = (book.bounds[column, 0], math.inf, book.bounds[column, 2], book.bounds[column, 3] != 0.0)
        code = refusal(sign, abs(change), mark, held, lot, limits)
        if code:
            refuse_change(desk, row, column, change, code)
            continue
        changes[column] = change
        wanted += leg_count(abs(change), lot, mark, book.bounds[column, 1])
    return wanted


@kernel
def is_busy(desk: Desk, column: int) -> bool:
    """Return whether an order that came from a weight is open for a symbol."""
    for place in range(desk.counts[QUEUED]):
        it = desk.orders[desk.queue[place]]
        if it[SYMBOL] == column and it[ROLE] == 0.0 and it[LEFT] > 0.0:
            return True
    return False


@kernel
def send_changes(
    desk: Desk, book: Book, market: Market, rules: Rules, plan: Plan, marks: Floats, changes: Floats, row: int
) -> None:
    """Turn changes into orders, sells first, while the free cash lasts."""
    terms, free = rules.terms, book.purse[0] * rules.terms.unit
    symbols, queued = len(marks), desk.counts[QUEUED]
    for place in range(queued):
        it = desk.orders[desk.queue[place]]
        if it[SIGN] > 0.0 and it[ROLE] == 0.0 and it[LEFT] > 0.0:
            column = int(it[SYMBOL])
            free -= buying_power(it[LEFT], book.lot[column], marks[column], terms.collar)
    for sign in (-1.0, 1.0):
        for column in range(symbols):
            change = changes[column]
            if change * sign <= 0.0:
                continue
            lot, mark = book.lot[column], marks[column]
            if sign > 0.0:
                needed = buying_power(change, lot, mark, terms.collar)
                if needed > free:
                    refuse_change(desk, row, column, change, NO_CASH)
                    continue
                free -= needed
            legs = leg_count(abs(change), lot, mark, book.bounds[column, 1])
            is_opening = opens(book.lots[column], change)
            for leg in range(legs):
                kind = LIMIT if plan.limit == plan.limit else MARKET
                size = leg_lots(abs(change), legs, leg, terms.is_whole)
                order = new_order(desk, column, sign, kind, size, row)
                it = desk.orders[order]
                it[PART] = leg
                if kind == LIMIT:
                    it[LIMIT_AT] = to_increment(mark * (1.0 - sign * plan.limit), book.bounds[column, 4], sign)
                if plan.life > 0:
                    it[LIFE] = GTT
                    it[EXPIRES] = np.searchsorted(market.times, market.times[row] + plan.life + market.width)
                if is_opening:
                    it[STOP_LOSS], it[TAKE_PROFIT], it[TRAILING_STOP] = plan.stop_loss, plan.take_profit, plan.trailing
                code = admit(desk, book, terms, order, mark, False)
                if code == ACCEPTED:
                    enqueue(desk, order)
                else:
                    end_order(desk, order, row, float(code), False)


@kernel
def send_entry(
    desk: Desk, book: Book, rules: Rules, given: Floats, source: int, made: Integers, marks: Floats, row: int
) -> None:
    """Send one order of the table, or the request to cancel one."""
    before = made[int(given[REPLACES])] if given[REPLACES] >= 0.0 else -1
    is_open = before >= 0 and desk.orders[before, LEFT] > 0.0
    if is_open:
        desk.orders[before, LEAVES] = 1.0
        desk.orders[before, EXPIRES] = min(desk.orders[before, EXPIRES], given[ARRIVES])
    if given[KIND] == CANCEL_REQUEST:
        return
    order = new_order(desk, int(given[SYMBOL]), given[SIGN], int(given[KIND]), given[LOTS], row)
    made[source] = order
    it = desk.orders[order]
    it[:] = given
    it[DECIDED], it[SOURCE], it[REPLACES], it[BEST] = row, source, before, marks[int(given[SYMBOL])]
    if given[REPLACES] >= 0.0 and not is_open:
        end_order(desk, order, row, float(REPLACED), False)
        return
    code = admit(desk, book, rules.terms, order, marks[int(given[SYMBOL])], True)
    if code == ACCEPTED:
        enqueue(desk, order)
    else:
        end_order(desk, order, row, float(code), False)


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
