"""The orders of a compiled run: one row of numbers for each, and what a bar makes of them.

These kernels do with rows what ``Matcher`` does with objects, by the same kernels of ``trading.matching``; a test holds
both equal to the last bit.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.trading.financing import FinancingTerms
from cryptoquant.trading.matching import (
    ACCEPTED,
    FOK,
    GTC,
    IOC,
    LIMIT,
    LIQUIDATING,
    MARKET,
    NO_CASH,
    NOTHING,
    REPLACED,
    SHORT,
    STOP,
    STOP_LIMIT,
    TAKER,
    TRAILING,
    TRIGGERED,
    Terms,
    buying_power,
    exit_level,
    fill_price,
    impact,
    is_high_first,
    is_target_first,
    price_paid,
    refusal,
    rest_of_bar,
    room,
    settle,
    touch,
    trail_level,
    volatility_of,
)
from cryptoquant.trading.schedule import note_volume, rates_at, trailing_volume

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Who an order is: its symbol, the row in which it was decided, which slice of a change it is, its row in the table of
# orders (-1: it came from a weight), what it is for, and for an exit which fill of its parent made it. These columns
# are the first ones of every record.
SYMBOL, DECIDED, PART, SOURCE, ROLE, CHILD = range(6)
PLAIN, STOP_EXIT, TARGET_EXIT, LIQUIDATION = range(4)

# What else an order is. EXPIRES: the first row that it takes no part in. LEAVES: it was asked to end. ARRIVES: the
# first row in which a request to end another order is heard. FRESH: the row in which an exit came to life, of whose
# bar only FRESH_OPEN to FRESH_HIGH_FIRST is left for it.
(
    SIGN, KIND, LIFE, LOTS, LEFT, LIMIT_AT, STOP_AT, TRAIL, BEST, EXPIRES, GROUP, REDUCES,
    STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, STOP_PRICE, TARGET_PRICE, REPLACES, FILLED,
    RESERVE_AT, COLLAR, LEAVES, ARRIVES, FRESH, FRESH_OPEN, FRESH_HIGH, FRESH_LOW, FRESH_HIGH_FIRST, COLUMNS,
) = range(6, 35)  # fmt: skip

# What else a record of an accepted order, of a fill and of an ending says.
SENT_LOTS, SENT_LIMIT, SENT_PROTECTED, SENT_COLUMNS = range(6, 10)
(
    ROW, NUMBER, FILL_LOTS, PRICE, LOTS_CHANGE, CASH_CHANGE, FEE, SLIPPAGE, IMPACT, LIQUIDITY, AT_OPEN, SHARE,
    FILL_COLUMNS,
) = range(6, 19)  # fmt: skip
END_ROW, END_LOTS, END_CODE, END_AT_OPEN, END_COLUMNS = range(6, 11)
CANCELLED = -1.0

CANCEL_REQUEST = -1

# What became of an order of the table.
UNSENT, OPEN, FILLED_UP, ENDED = range(4)

# The purse: cash in units, and the cash in quote currency that no open order holds back.
CASH, FREE = range(2)

# Counters. ROWS: order rows ever used at once; IDLE: rows that wait to be used again.
ROWS, IDLE, QUEUED, SENT, FILLS, ENDS, GROUPS, LIQUIDATIONS, REDUCERS, COUNTERS = range(10)


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
    fate: Integers
    counts: Integers


class Rules(NamedTuple):
    """Everything that does not change in a run."""

    terms: Terms
    rates: Floats
    financing: FinancingTerms


@kernel
def with_room(rows: Floats, count: int, more: int) -> Floats:
    """Return ``rows`` with room for ``more`` rows beyond ``count``."""
    if count + more <= len(rows):
        return rows
    larger = np.empty((2 * len(rows) + more, rows.shape[1]))
    larger[:count] = rows[:count]
    return larger


@kernel
def end_order(desk: Desk, order: int, row: int, code: float, at_open: bool) -> None:
    """Record that an order ends, refused or cancelled, and close it."""
    counts, it = desk.counts, desk.orders[order]
    line = desk.ends[counts[ENDS]]
    line[:ROW] = it[:ROW]
    line[END_ROW], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = row, it[SIGN] * it[LOTS], code, at_open
    counts[ENDS] += 1
    it[LEFT] = 0.0
    if it[ROLE] == LIQUIDATION:
        counts[LIQUIDATIONS] -= 1
    if it[SOURCE] >= 0.0 and it[ROLE] == PLAIN:
        desk.fate[int(it[SOURCE])] = ENDED


@kernel
def refuse_change(ends: Floats, counts: Integers, row: int, column: int, lots: float, code: int) -> None:
    """Record that a wanted change of ``lots`` (signed) is refused before it becomes an order."""
    line = ends[counts[ENDS]]
    line[SYMBOL], line[DECIDED], line[PART], line[SOURCE], line[ROLE], line[CHILD] = column, row, 0.0, -1.0, PLAIN, 0.0
    line[END_ROW], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = row, lots, code, False
    counts[ENDS] += 1


@kernel
def new_order(orders: Floats, idle: Integers, counts: Integers) -> int:
    """Return the row of a new order."""
    order: int = counts[ROWS]
    if counts[IDLE] > 0:
        counts[IDLE] -= 1
        order = idle[counts[IDLE]]
    else:
        counts[ROWS] += 1
    return order


@kernel
def begin_order(it: Floats, column: int, row: int, sign: float, kind: int, lots: float) -> None:
    """Write an order with everything else at rest."""
    it[:] = 0.0
    it[LIMIT_AT : BEST + 1] = math.nan
    it[STOP_LOSS : TARGET_PRICE + 1] = math.nan
    it[SYMBOL], it[DECIDED], it[SIGN], it[KIND], it[LIFE], it[LOTS], it[LEFT] = column, row, sign, kind, GTC, lots, lots
    it[EXPIRES], it[REPLACES], it[SOURCE], it[FRESH] = math.inf, -1.0, -1.0, -1.0


@kernel
def is_held_back(it: Floats) -> bool:
    """Return whether an open order rests at the venue, so that it reserves what it would give."""
    is_open: bool = it[LEFT] > 0.0 and it[REDUCES] == 0.0 and it[LEAVES] == 0.0
    return is_open and it[KIND] != STOP and it[KIND] != TRAILING


@kernel
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


@kernel
def send_orders(
    desk: Desk, book: Book, terms: Terms, made: Integers, marks: Floats, number: int, checks_cash: bool
) -> None:
    """Let the venue take the ``number`` orders that lie behind the queue into it, or refuse them, in their order."""
    orders, queue, idle, sent, counts = desk.orders, desk.queue, desk.idle, desk.sent, desk.counts
    fate, bounds, purse, reserved, lots, all_lot = (
        desk.fate,
        book.bounds,
        book.purse,
        book.reserved,
        book.lots,
        book.lot,
    )
    first = counts[QUEUED]
    hold_back(desk, book, terms.unit)
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
        it[BEST] = price
        if code == ACCEPTED and kind != STOP and kind != TRAILING and it[REDUCES] == 0.0:
            asked, lot = price if kind == MARKET else it[LIMIT_AT], all_lot[column]
            limits = (bounds[column, 0], bounds[column, 1], bounds[column, 2], bounds[column, 3] != 0.0)
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


@kernel
def protect(desk: Desk, order: int, row: int, price: float, rest: tuple[float, float, float, bool]) -> None:
    """Bring the exits of a fill to life: a stop and a target for what it brought, for the rest of this bar."""
    orders, queue, counts = desk.orders, desk.queue, desk.counts
    parent = orders[order]
    column, sign, trailing = int(parent[SYMBOL]), parent[SIGN], parent[TRAILING_STOP]
    net = abs(desk.fills[counts[FILLS] - 1, LOTS_CHANGE])
    stop = exit_level(-sign, parent[STOP_LOSS], price, parent[STOP_PRICE])
    target = exit_level(sign, parent[TAKE_PROFIT], price, parent[TARGET_PRICE])
    has_stop, has_target = not (math.isnan(stop) and math.isnan(trailing)), not math.isnan(target)
    if net <= 0.0:
        return
    group = 0
    if has_stop and has_target:
        counts[GROUPS] += 1
        group = -counts[GROUPS]
    for role in (STOP_EXIT, TARGET_EXIT):
        if not (has_stop if role == STOP_EXIT else has_target):
            continue
        kind = LIMIT if role == TARGET_EXIT else (STOP if math.isnan(trailing) else TRAILING)
        child = new_order(orders, desk.idle, counts)
        it = orders[child]
        begin_order(it, column, int(parent[DECIDED]), -sign, kind, net)
        it[PART], it[SOURCE] = parent[PART], parent[SOURCE]
        it[ROLE], it[CHILD] = role, parent[FILLED] - 1.0
        it[REDUCES], it[GROUP], it[BEST], it[FRESH] = 1.0, group, price, row
        it[FRESH_OPEN], it[FRESH_HIGH], it[FRESH_LOW], it[FRESH_HIGH_FIRST] = rest[0], rest[1], rest[2], rest[3]
        if role == TARGET_EXIT:
            it[LIMIT_AT] = target
        else:
            it[STOP_AT], it[TRAIL] = stop, trailing
        queue[counts[QUEUED]] = child
        counts[QUEUED] += 1
        counts[REDUCERS] += 1


@kernel
def share_out(desk: Desk, order: int, row: int, lots: float) -> None:
    """Take what an order filled from the others of its group, which end when nothing is left of them."""
    orders, queue = desk.orders, desk.queue
    group = orders[order, GROUP]
    for place in range(desk.counts[QUEUED]):
        other = queue[place]
        if other == order or orders[other, GROUP] != group or orders[other, LEFT] <= 0.0:
            continue
        if orders[other, LEFT] > lots:
            orders[other, LEFT] -= lots
        else:
            end_order(desk, other, row, CANCELLED, False)


@kernel
def close_exits(desk: Desk, column: int, row: int) -> None:
    """Cancel what may only reduce a position that is closed."""
    orders, queue = desk.orders, desk.queue
    for place in range(desk.counts[QUEUED]):
        order = queue[place]
        if orders[order, REDUCES] != 0.0 and orders[order, LEFT] > 0.0 and orders[order, SYMBOL] == column:
            end_order(desk, order, row, CANCELLED, False)


@kernel
def is_pair(one: Floats, two: Floats) -> bool:
    """Return whether two neighbours of the queue are a stop and a target of one group, both open."""
    if one[GROUP] == 0.0 or one[GROUP] != two[GROUP] or two[LEFT] <= 0.0:
        return False
    return bool((one[KIND] == LIMIT) != (two[KIND] == LIMIT))


@kernel
def match_row(desk: Desk, book: Book, market: Market, rules: Rules, row: int) -> None:
    """Take the open orders through the bars of a slice, in the order of their arrival; those that ended leave.

    Of a stop and a target that lie side by side, the one that the path reaches first comes first. All arrays are taken
    apart at the head: each use through a tuple would count a reference.
    """
    orders, queue, counts, fills = desk.orders, desk.queue, desk.counts, desk.fills
    lots, purse, used, used_row, traded = book.lots, book.purse, book.used, book.used_row, book.traded
    opens, highs, lows, closes, volumes = market.open, market.high, market.low, market.close, market.volume
    all_lot, variance, times, terms, rates = book.lot, market.variance, market.times, rules.terms, rules.rates
    closed, opened, path = times[row], times[row] - market.width, terms.path
    has_range, has_volume, has_variance, has_rates = highs.size > 0, volumes.size > 0, variance.size > 0, len(rates) > 0
    moves_price = terms.impact_linear > 0.0 or terms.impact_sqrt > 0.0
    expired = False
    for place in range(counts[QUEUED]):
        if orders[queue[place], EXPIRES] <= row:
            end_order(desk, queue[place], row, CANCELLED, True)
            expired = True
    if expired:
        leave_queue(desk)
    place, second = 0, -1
    while place < counts[QUEUED] or second >= 0:
        if second >= 0:
            order, second = second, -1
            if orders[order, LEFT] <= 0.0:
                continue
        else:
            order = queue[place]
            place += 1
            if orders[order, LEFT] <= 0.0:
                continue
            column = int(orders[order, SYMBOL])
            if opens[row, column] != opens[row, column]:
                continue
            is_fresh = orders[order, FRESH] == row
            decided = int(max(orders[order, DECIDED], orders[order, FRESH]))
            if not is_fresh and times[decided] + terms.latency > opened:
                continue
            if orders[order, REPLACES] >= 0.0:
                replaced = int(orders[order, REPLACES])
                orders[order, REPLACES] = -1.0
                if desk.fate[replaced] != ENDED:
                    end_order(desk, order, row, float(REPLACED), True)
                    continue
            if orders[order, GROUP] != 0.0 and place < counts[QUEUED] and is_pair(orders[order], orders[queue[place]]):
                second = queue[place]
                place += 1
                stop, target = (second, order) if orders[order, KIND] == LIMIT else (order, second)
                open_, high_first, sign = (
                    opens[row, column],
                    orders[order, FRESH_HIGH_FIRST] != 0.0,
                    -orders[order, SIGN],
                )
                if is_fresh:
                    open_ = orders[order, FRESH_OPEN]
                else:
                    high_first = is_high_first(path, sign, open_, highs[row, column], lows[row, column])
                is_first = is_target_first(sign, orders[target, LIMIT_AT], open_, high_first)
                order, second = (target, stop) if is_first else (stop, target)
        it = orders[order]
        column, sign, kind, limit, life = int(it[SYMBOL]), it[SIGN], int(it[KIND]), it[LIMIT_AT], it[LIFE]
        whole_open = opens[row, column]
        open_, high, low = whole_open, math.nan, math.nan
        if it[FRESH] == row:
            open_, high, low = it[FRESH_OPEN], it[FRESH_HIGH], it[FRESH_LOW]
        elif has_range:
            high, low = highs[row, column], lows[row, column]
        level = trail_level(sign, it[STOP_AT], it[TRAIL], it[BEST]) if kind == TRAILING else it[STOP_AT]
        reference, liquidity = touch(sign, kind, limit, level, open_, high, low)
        is_at_open = liquidity == TAKER and reference == whole_open
        immediate = life in (IOC, FOK)
        if immediate and not is_at_open:
            end_order(desk, order, row, CANCELLED, False)
            continue
        if liquidity == TRIGGERED:
            it[KIND] = LIMIT
            continue
        if liquidity == NOTHING:
            if kind == TRAILING:
                it[BEST] = max(it[BEST], high) if sign < 0.0 else min(it[BEST], low)
            continue
        if kind != MARKET and kind != LIMIT:
            it[KIND] = LIMIT if kind == STOP_LIMIT else MARKET
            if kind != STOP_LIMIT:
                it[RESERVE_AT], it[COLLAR] = reference, terms.collar
        size, lot, held = it[LEFT], all_lot[column], lots[column]
        if it[REDUCES] != 0.0:
            if held * sign >= 0.0:
                end_order(desk, order, row, CANCELLED, False)
                continue
            size = min(size, abs(held))
        volume = volumes[row, column] if has_volume else math.nan
        if terms.participation < math.inf:
            if used_row[column] != row:
                used_row[column], used[column] = row, 0.0
            available = room(terms.participation, volume, lot, used[column], terms.is_whole)
            if (life == FOK and available < size) or (immediate and available <= 0.0):
                end_order(desk, order, row, CANCELLED, False)
                continue
            size = min(size, available)
            if size <= 0.0:
                continue
        slip, push = 0.0, 0.0
        if liquidity == TAKER:
            volatility = volatility_of(variance[row, column]) if has_variance else 0.0
            slip = terms.slippage + terms.volatility_share * volatility
            if moves_price:
                push = impact(size, lot, volume, volatility, terms.impact_linear, terms.impact_sqrt)
        price = fill_price(sign, kind, limit, reference, liquidity, slip + push)
        still = fill_price(sign, kind, limit, reference, liquidity, slip) if push > 0.0 else price
        moment = opened if is_at_open else closed
        rate = terms.taker if liquidity == TAKER else terms.maker
        if has_rates:
            maker, taker = rates_at(rates, moment, trailing_volume(traded, moment))
            rate = taker if liquidity == TAKER else maker
        gain, paid, fee = settle(sign, size, price, rate, lot, terms.unit, terms.is_whole, terms.in_quote)
        if not terms.allows_short:
            refused = NO_CASH if sign > 0.0 and purse[CASH] + paid < 0.0 else ACCEPTED
            if sign < 0.0 and size > held:
                refused = SHORT
            if refused:
                end_order(desk, order, row, float(refused), is_at_open)
                continue
        purse[CASH] += paid
        held += gain
        lots[column] = held
        used[column] += size
        if has_rates:
            note_volume(traded, moment, size * lot * price)
        line = fills[counts[FILLS]]
        for index in range(ROW):
            line[index] = it[index]
        line[ROW], line[NUMBER], line[FILL_LOTS], line[PRICE] = row, it[FILLED], sign * size, price
        line[LOTS_CHANGE], line[CASH_CHANGE], line[FEE] = gain, paid, fee
        line[SLIPPAGE] = price_paid(sign, still, reference, size, lot)
        line[IMPACT] = price_paid(sign, price, still, size, lot)
        line[LIQUIDITY], line[AT_OPEN] = liquidity, is_at_open
        line[SHARE] = size * lot / volume if volume > 0.0 else math.nan
        counts[FILLS] += 1
        it[FILLED] += 1.0
        it[LEFT] -= size
        is_filled_up = it[LEFT] <= 0.0
        if it[GROUP] != 0.0:
            share_out(desk, order, row, size)
        if is_protected(it):
            rest = rest_of_bar(path, sign, reference, whole_open, high, low, closes[row, column])
            protect(desk, order, row, price, rest)
        if counts[REDUCERS] and (held == 0.0 or (it[REDUCES] != 0.0 and held * sign >= 0.0)):
            if it[ROLE] == STOP_EXIT or it[ROLE] == TARGET_EXIT:
                book.stopped[column] = -sign
            close_exits(desk, column, row)
        if it[LEFT] > 0.0 and immediate:
            end_order(desk, order, row, CANCELLED, False)
        if is_filled_up:
            if it[ROLE] == LIQUIDATION:
                counts[LIQUIDATIONS] -= 1
            elif it[SOURCE] >= 0.0 and it[ROLE] == PLAIN:
                desk.fate[int(it[SOURCE])] = FILLED_UP
    leave_queue(desk)


@kernel
def is_protected(it: Floats) -> bool:
    """Return whether an order brings exits to life when it fills."""
    total = 0.0
    for place in range(STOP_LOSS, TARGET_PRICE + 1):
        total += 1.0 if it[place] == it[place] else 0.0
    return total > 0.0


@kernel
def leave_queue(desk: Desk) -> None:
    """Take the orders that ended out of the queue; their rows may be used again."""
    orders, queue, idle, counts = desk.orders, desk.queue, desk.idle, desk.counts
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
