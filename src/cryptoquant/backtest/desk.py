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

# An order's columns. SOURCE: row of the order table, -1 for one that came from a weight. PARENT: the order whose fill
# made it, -1 for none. PART: which slice of a change, or which fill of the parent. FRESH: the row in which it came to
# life, of whose bar only FRESH_OPEN to FRESH_HIGH_FIRST is left for it. LEAVES: it was asked to end. ENDED: it ended
# otherwise than by being filled. ARRIVES: the first row in which a request to end another order is heard.
(
    SYMBOL, SIGN, KIND, LIFE, LOTS, LEFT, LIMIT_AT, STOP_AT, TRAIL, BEST, DECIDED, EXPIRES, GROUP, REDUCES,
    STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, STOP_PRICE, TARGET_PRICE, REPLACES, SOURCE, PARENT, PART, ROLE, FILLED,
    RESERVE_AT, COLLAR, LEAVES, ENDED, ARRIVES, FRESH, FRESH_OPEN, FRESH_HIGH, FRESH_LOW, FRESH_HIGH_FIRST, COLUMNS,
) = range(36)  # fmt: skip
PLAIN, STOP_EXIT, TARGET_EXIT, LIQUIDATION = range(4)
NO_PROTECTION = (math.nan, math.nan, math.nan, math.nan, math.nan)

# A fill's columns.
(
    OF, ROW, FILL_LOTS, PRICE, LOTS_CHANGE, CASH_CHANGE, FEE, SLIPPAGE, IMPACT, LIQUIDITY, AT_OPEN, SHARE, FILL_COLUMNS,
) = range(13)  # fmt: skip

# An ending's columns: the order (-1: refused before it was one), where it was decided, where it ended and as what
# (a reason of ``matching``, or CANCELLED), for which symbol, part and signed lots.
END_OF, END_DECIDED, END_ROW, END_SYMBOL, END_PART, END_LOTS, END_CODE, END_AT_OPEN, END_COLUMNS = range(9)
CANCELLED = -1.0

# Counters.
ORDERS, QUEUED, FILLS, ENDS, GROUPS, LIQUIDATIONS, COUNTERS = range(7)


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
    """What is held and owed: cash in units at ``purse[0]``; arrays by symbol; ``traded`` counts the 30-day volume.

    ``used`` and ``used_row`` are the lots of a bar that are taken, and of which bar; ``stopped`` is the sign of a
    position that a stop or target closed and that is not to be opened again.
    """

    purse: Floats
    lots: Floats
    lot: Floats
    bounds: Floats
    used: Floats
    used_row: Integers
    stopped: Floats
    traded: Floats


class Desk(NamedTuple):
    """The orders, those that are open in the order of their arrival, and the records of what became of them."""

    orders: Floats
    queue: Integers
    fills: Floats
    ends: Floats
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
    line, it = desk.ends[desk.counts[ENDS]], desk.orders[order]
    line[END_OF], line[END_DECIDED], line[END_ROW], line[END_SYMBOL] = order, it[DECIDED], row, it[SYMBOL]
    line[END_PART], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = it[PART], it[SIGN] * it[LOTS], code, at_open
    desk.counts[ENDS] += 1
    it[LEFT], it[ENDED] = 0.0, 1.0
    if it[ROLE] == LIQUIDATION:
        desk.counts[LIQUIDATIONS] -= 1


@kernel
def refuse_change(desk: Desk, row: int, column: int, lots: float, code: int) -> None:
    """Record that a wanted change of ``lots`` (signed) is refused before it becomes an order."""
    line = desk.ends[desk.counts[ENDS]]
    line[END_OF], line[END_DECIDED], line[END_ROW], line[END_SYMBOL] = -1.0, row, row, column
    line[END_PART], line[END_LOTS], line[END_CODE], line[END_AT_OPEN] = 0.0, lots, code, False
    desk.counts[ENDS] += 1


@kernel
def new_order(desk: Desk, column: int, sign: float, kind: int, lots: float, row: int) -> int:
    """Add an order with everything else at rest, not queued yet; return its number."""
    order: int = desk.counts[ORDERS]
    desk.counts[ORDERS] += 1
    it = desk.orders[order]
    it[:] = 0.0
    it[LIMIT_AT : BEST + 1] = math.nan
    it[STOP_LOSS : TARGET_PRICE + 1] = math.nan
    it[SYMBOL], it[SIGN], it[KIND], it[LIFE], it[LOTS], it[LEFT], it[DECIDED] = column, sign, kind, GTC, lots, lots, row
    it[EXPIRES], it[REPLACES], it[SOURCE], it[PARENT], it[FRESH] = math.inf, -1.0, -1.0, -1.0, -1.0
    return order


@kernel
def enqueue(desk: Desk, order: int) -> None:
    """Put an order behind the open ones."""
    desk.queue[desk.counts[QUEUED]] = order
    desk.counts[QUEUED] += 1


@kernel
def is_held_back(it: Floats) -> bool:
    """Return whether an open order rests at the venue, so that it reserves what it would give."""
    is_open: bool = it[LEFT] > 0.0 and it[REDUCES] == 0.0 and it[LEAVES] == 0.0
    return is_open and it[KIND] != STOP and it[KIND] != TRAILING


@kernel
def reserved_lots(desk: Desk, column: int) -> float:
    """Return the lots of a symbol that open sell orders at the venue hold back."""
    total = 0.0
    for place in range(desk.counts[QUEUED]):
        it = desk.orders[desk.queue[place]]
        if it[SYMBOL] == column and it[SIGN] < 0.0 and is_held_back(it):
            total += it[LEFT]
    return total


@kernel
def free_cash(desk: Desk, book: Book, unit: float) -> float:
    """Return the cash, in quote currency, that no open buy order at the venue holds back."""
    free: float = book.purse[0] * unit
    for place in range(desk.counts[QUEUED]):
        it = desk.orders[desk.queue[place]]
        if it[SIGN] > 0.0 and is_held_back(it):
            free -= buying_power(it[LEFT], book.lot[int(it[SYMBOL])], it[RESERVE_AT], it[COLLAR])
    return free


@kernel
def admit(desk: Desk, book: Book, terms: Terms, order: int, price: float, checks_cash: bool) -> int:
    """Return why the venue refuses a new order, 0 when it takes it; ``price`` is the last one of its symbol."""
    it = desk.orders[order]
    if desk.counts[LIQUIDATIONS] > 0:
        return LIQUIDATING
    kind, column = it[KIND], int(it[SYMBOL])
    it[BEST] = price
    if kind in (STOP, TRAILING) or it[REDUCES] != 0.0:
        return ACCEPTED
    asked = price if kind == MARKET else it[LIMIT_AT]
    limits = (
        book.bounds[column, 0],
        book.bounds[column, 1],
        book.bounds[column, 2],
        book.bounds[column, 3] != 0.0,
    )
    code = refusal(it[SIGN], it[LOTS], asked, book.lots[column] - reserved_lots(desk, column), book.lot[column], limits)
    if code != ACCEPTED:
        return code
    it[RESERVE_AT], it[COLLAR] = asked, terms.collar if kind == MARKET else 0.0 * terms.collar
    if not checks_cash or it[SIGN] < 0.0:
        return ACCEPTED
    needed = buying_power(it[LOTS], book.lot[column], asked, it[COLLAR])
    return NO_CASH if needed > free_cash(desk, book, terms.unit) else ACCEPTED


@kernel
def protect(desk: Desk, market: Market, path: int, order: int, row: int, reference: float, price: float) -> None:
    """Bring the exits of a fill to life: a stop and a target for what it brought, for the rest of this bar."""
    parent = desk.orders[order]
    column, sign = int(parent[SYMBOL]), parent[SIGN]
    net = abs(desk.fills[desk.counts[FILLS] - 1, LOTS_CHANGE])
    stop = exit_level(-sign, parent[STOP_LOSS], price, parent[STOP_PRICE])
    target = exit_level(sign, parent[TAKE_PROFIT], price, parent[TARGET_PRICE])
    has_stop = not math.isnan(stop) or not math.isnan(parent[TRAILING_STOP])
    has_target = not math.isnan(target)
    if net <= 0.0 or not (has_stop or has_target):
        return
    open_, high, low = market.open[row, column], market.high[row, column], market.low[row, column]
    rest = rest_of_bar(path, sign, reference, open_, high, low, market.close[row, column])
    group = 0
    if has_stop and has_target:
        desk.counts[GROUPS] += 1
        group = -desk.counts[GROUPS]
    for role in (STOP_EXIT, TARGET_EXIT):
        if not (has_stop if role == STOP_EXIT else has_target):
            continue
        kind = LIMIT if role == TARGET_EXIT else (STOP if math.isnan(parent[TRAILING_STOP]) else TRAILING)
        child = new_order(desk, column, -sign, kind, net, row)
        it = desk.orders[child]
        it[REDUCES], it[GROUP], it[PARENT], it[PART], it[ROLE] = 1.0, group, order, parent[FILLED] - 1.0, role
        it[BEST], it[FRESH], it[SOURCE] = price, row, parent[SOURCE]
        it[FRESH_OPEN], it[FRESH_HIGH], it[FRESH_LOW], it[FRESH_HIGH_FIRST] = rest[0], rest[1], rest[2], rest[3]
        if role == TARGET_EXIT:
            it[LIMIT_AT] = target
        else:
            it[STOP_AT], it[TRAIL] = stop, parent[TRAILING_STOP]
        enqueue(desk, child)


@kernel
def share_out(desk: Desk, order: int, row: int, lots: float) -> None:
    """Take what an order filled from the others of its group, which end when nothing is left of them."""
    group = desk.orders[order, GROUP]
    for place in range(desk.counts[QUEUED]):
        other = desk.queue[place]
        it = desk.orders[other]
        if other == order or it[GROUP] != group or it[LEFT] <= 0.0:
            continue
        if it[LEFT] > lots:
            it[LEFT] -= lots
        else:
            end_order(desk, other, row, CANCELLED, False)


@kernel
def close_exits(desk: Desk, column: int, row: int) -> None:
    """Cancel what may only reduce a position that is closed."""
    for place in range(desk.counts[QUEUED]):
        it = desk.orders[desk.queue[place]]
        if it[LEFT] > 0.0 and it[REDUCES] != 0.0 and it[SYMBOL] == column:
            end_order(desk, desk.queue[place], row, CANCELLED, False)


@kernel
def attempt(desk: Desk, book: Book, market: Market, rules: Rules, order: int, row: int) -> None:
    """Let an order meet a bar: fill it as far as the bar allows, book it, and record what came of it."""
    it, terms = desk.orders[order], rules.terms
    column, sign, kind = int(it[SYMBOL]), it[SIGN], int(it[KIND])
    opened = market.open[row, column]
    open_, high, low = opened, opened, opened
    if kind != MARKET:
        high, low = market.high[row, column], market.low[row, column]
    if it[FRESH] == row:
        open_, high, low = it[FRESH_OPEN], it[FRESH_HIGH], it[FRESH_LOW]
    stop = trail_level(sign, it[STOP_AT], it[TRAIL], it[BEST]) if kind == TRAILING else it[STOP_AT]
    reference, liquidity = touch(sign, kind, it[LIMIT_AT], stop, open_, high, low)
    is_at_open = liquidity == TAKER and reference == opened
    immediate = it[LIFE] == IOC or it[LIFE] == FOK
    if immediate and not is_at_open:
        end_order(desk, order, row, CANCELLED, False)
        return
    if liquidity == TRIGGERED:
        it[KIND] = LIMIT
        return
    if liquidity == NOTHING:
        if kind == TRAILING:
            it[BEST] = max(it[BEST], high) if sign < 0.0 else min(it[BEST], low)
        return
    if kind != MARKET and kind != LIMIT:
        it[KIND] = LIMIT if kind == STOP_LIMIT else MARKET
        if kind != STOP_LIMIT:
            it[RESERVE_AT], it[COLLAR] = reference, terms.collar
    size, lot = it[LEFT], book.lot[column]
    if it[REDUCES] != 0.0:
        if book.lots[column] * sign >= 0.0:
            end_order(desk, order, row, CANCELLED, False)
            return
        size = min(size, abs(book.lots[column]))
    volume = market.volume[row, column] if market.volume.size else math.nan
    if book.used_row[column] != row:
        book.used_row[column], book.used[column] = row, 0.0
    available = room(terms.participation, volume, lot, book.used[column], terms.is_whole)
    if it[LIFE] == FOK and available < size:
        end_order(desk, order, row, CANCELLED, False)
        return
    size = min(size, available)
    if size <= 0.0:
        if immediate:
            end_order(desk, order, row, CANCELLED, False)
        return
    volatility = volatility_of(market.variance[row, column]) if market.variance.size else 0.0
    slip, push = 0.0, 0.0
    if liquidity == TAKER:
        slip = terms.slippage + terms.volatility_share * volatility
        if terms.impact_linear > 0.0 or terms.impact_sqrt > 0.0:
            push = impact(size, lot, volume, volatility, terms.impact_linear, terms.impact_sqrt)
    limit = it[LIMIT_AT]
    price = fill_price(sign, kind, limit, reference, liquidity, slip + push)
    still = fill_price(sign, kind, limit, reference, liquidity, slip) if push > 0.0 else price
    moment = market.times[row] - market.width if is_at_open else market.times[row]
    maker, taker = terms.maker, terms.taker
    if len(rules.rates):
        maker, taker = rates_at(rules.rates, moment, trailing_volume(book.traded, moment))
    gain, paid, fee = settle(
        sign, size, price, taker if liquidity == TAKER else maker, lot, terms.unit, terms.is_whole, terms.in_quote
    )
    if not terms.allows_short:
        if sign > 0.0 and book.purse[0] + paid < 0.0:
            end_order(desk, order, row, float(NO_CASH), is_at_open)
            return
        if sign < 0.0 and size > book.lots[column]:
            end_order(desk, order, row, float(SHORT), is_at_open)
            return
    book.purse[0] += paid
    book.lots[column] += gain
    book.used[column] += size
    if len(rules.rates):
        note_volume(book.traded, moment, size * lot * price)
    line = desk.fills[desk.counts[FILLS]]
    line[OF], line[ROW], line[FILL_LOTS], line[PRICE] = order, row, sign * size, price
    line[LOTS_CHANGE], line[CASH_CHANGE], line[FEE] = gain, paid, fee
    line[SLIPPAGE] = price_paid(sign, still, reference, size, lot)
    line[IMPACT] = price_paid(sign, price, still, size, lot)
    line[LIQUIDITY], line[AT_OPEN] = liquidity, is_at_open
    line[SHARE] = size * lot / volume if volume > 0.0 else math.nan
    desk.counts[FILLS] += 1
    it[FILLED] += 1.0
    it[LEFT] -= size
    if it[GROUP] != 0.0:
        share_out(desk, order, row, size)
    if it[ROLE] == PLAIN:
        protect(desk, market, terms.path, order, row, reference, price)
    if book.lots[column] == 0.0 or (it[REDUCES] != 0.0 and book.lots[column] * sign >= 0.0):
        if it[ROLE] == STOP_EXIT or it[ROLE] == TARGET_EXIT:
            book.stopped[column] = -sign
        close_exits(desk, column, row)
    if it[LEFT] > 0.0 and immediate:
        end_order(desk, order, row, CANCELLED, False)
    if it[LEFT] <= 0.0 and it[ENDED] == 0.0 and it[ROLE] == LIQUIDATION:
        desk.counts[LIQUIDATIONS] -= 1


@kernel
def is_pair(desk: Desk, first: int, second: int) -> bool:
    """Return whether two neighbours of the queue are a stop and a target of one group, both open."""
    one, two = desk.orders[first], desk.orders[second]
    if first == second or one[GROUP] == 0.0 or one[GROUP] != two[GROUP] or two[LEFT] <= 0.0:
        return False
    has_limit: bool = one[KIND] == LIMIT
    return has_limit != (two[KIND] == LIMIT)


@kernel
def match_row(desk: Desk, book: Book, market: Market, rules: Rules, row: int) -> None:
    """Take the open orders through the bars of a slice, in the order of their arrival; those that ended leave.

    Of a stop and a target that lie side by side, the one that the path reaches first comes first.
    """
    opened, path = market.times[row] - market.width, rules.terms.path
    for place in range(desk.counts[QUEUED]):
        if desk.orders[desk.queue[place], EXPIRES] <= row:
            end_order(desk, desk.queue[place], row, CANCELLED, True)
    leave_queue(desk)
    place = 0
    while place < desk.counts[QUEUED]:
        order = desk.queue[place]
        it = desk.orders[order]
        place += 1
        if it[LEFT] <= 0.0:
            continue
        column = int(it[SYMBOL])
        if math.isnan(market.open[row, column]):
            continue
        if it[FRESH] != row and market.times[int(it[DECIDED])] + rules.terms.latency > opened:
            continue
        if it[REPLACES] >= 0.0:
            replaced = desk.orders[int(it[REPLACES])]
            it[REPLACES] = -1.0
            if replaced[ENDED] == 0.0:
                end_order(desk, order, row, float(REPLACED), True)
                continue
        second = desk.queue[place] if place < desk.counts[QUEUED] else order
        if is_pair(desk, order, second):
            place += 1
            stop, target = (second, order) if it[KIND] == LIMIT else (order, second)
            open_, high_first = market.open[row, column], False
            if it[FRESH] == row:
                open_, high_first = it[FRESH_OPEN], it[FRESH_HIGH_FIRST] != 0.0
            else:
                high, low = market.high[row, column], market.low[row, column]
                high_first = is_high_first(path, -it[SIGN], open_, high, low)
            if is_target_first(-it[SIGN], desk.orders[target, LIMIT_AT], open_, high_first):
                stop, target = target, stop
            attempt(desk, book, market, rules, stop, row)
            if desk.orders[target, LEFT] > 0.0:
                attempt(desk, book, market, rules, target, row)
            continue
        attempt(desk, book, market, rules, order, row)
    leave_queue(desk)


@kernel
def leave_queue(desk: Desk) -> None:
    """Take the orders that ended out of the queue."""
    left = 0
    for place in range(desk.counts[QUEUED]):
        if desk.orders[desk.queue[place], LEFT] > 0.0:
            desk.queue[left] = desk.queue[place]
            left += 1
    desk.counts[QUEUED] = left
