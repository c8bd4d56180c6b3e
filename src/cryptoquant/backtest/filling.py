"""What a bar does with the open orders: fills, exits that come to life with them, and the ends of others.

These kernels do with rows what ``Matcher`` does with objects, by the same kernels of ``trading.matching``; a test holds
both equal to the last bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    BEST,
    CANCELLED,
    CASH,
    CHILD,
    COLLAR,
    DECIDED,
    ENDED,
    EXPIRES,
    FILLED,
    FILLED_UP,
    FILLS,
    FRESH,
    FRESH_HIGH,
    FRESH_HIGH_FIRST,
    FRESH_LOW,
    FRESH_OPEN,
    GROUP,
    GROUPS,
    IS_HELD,
    KIND,
    LEFT,
    LIFE,
    LIMIT_AT,
    LIQUIDATION,
    LIQUIDATIONS,
    LOTS_CHANGE,
    PART,
    PLAIN,
    QUEUED,
    REDUCERS,
    REDUCES,
    REPLACES,
    RESERVE_AT,
    ROLE,
    SIGN,
    SOURCE,
    STOP_AT,
    STOP_EXIT,
    STOP_LOSS,
    STOP_PRICE,
    SYMBOL,
    TAKE_PROFIT,
    TARGET_EXIT,
    TARGET_PRICE,
    TRAIL,
    TRAILING_STOP,
    Book,
    Desk,
    Market,
    Rules,
    begin_order,
    end_order,
    is_protected,
    leave_queue,
    new_order,
    write_fill,
)
from cryptoquant.compiled import borrowing
from cryptoquant.trading.matching import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    FOK,
    IOC,
    LIMIT,
    MARKET,
    NOTHING,
    REPLACED,
    STOP,
    STOP_LIMIT,
    TAKER,
    TRAILING,
    TRIGGERED,
    deal_at,
    exit_level,
    is_high_first,
    is_target_first,
    rest_of_bar,
    room,
    touch,
    trail_level,
    uncovered,
    volatility_of,
)
from cryptoquant.trading.schedule import note_volume, rates_at, trailing_volume

Floats = NDArray[np.float64]


@borrowing
def protect(desk: Desk, order: int, row: int, price: float, rest: tuple[float, float, float, bool]) -> None:
    """Bring the exits of a fill to life: a stop and a target for what it brought, for the rest of this bar."""
    orders, queue, counts = desk.orders, desk.queue, desk.counts
    parent = orders[order]
    column, sign, trailing = int(parent[SYMBOL]), parent[SIGN], parent[TRAILING_STOP]
    net = abs(desk.fills[counts[FILLS] - 1, LOTS_CHANGE])
    stop = exit_level(-sign, parent[STOP_LOSS], price, parent[STOP_PRICE])
    target = exit_level(sign, parent[TAKE_PROFIT], price, parent[TARGET_PRICE])
    has_stop, has_target = not (math.isnan(stop) and math.isnan(trailing)), target > 0.0
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


@borrowing
def share_out(desk: Desk, order: int, row: int, lots: float, at_open: bool) -> None:
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
            end_order(desk, other, row, CANCELLED, at_open)


@borrowing
def close_exits(desk: Desk, column: int, row: int, at_open: bool) -> None:
    """Cancel what may only reduce a position that is closed."""
    orders, queue = desk.orders, desk.queue
    for place in range(desk.counts[QUEUED]):
        order = queue[place]
        if orders[order, REDUCES] != 0.0 and orders[order, LEFT] > 0.0 and orders[order, SYMBOL] == column:
            end_order(desk, order, row, CANCELLED, at_open)


@borrowing
def is_pair(one: Floats, two: Floats) -> bool:
    """Return whether two neighbours of the queue are a stop and a target of one group, both open."""
    if one[GROUP] == 0.0 or one[GROUP] != two[GROUP] or two[LEFT] <= 0.0:
        return False
    return bool((one[KIND] == LIMIT) != (two[KIND] == LIMIT))


@borrowing
def match_row(desk: Desk, book: Book, market: Market, rules: Rules, row: int) -> None:
    """Take the open orders through the bars of a slice; those that ended leave.

    First comes what the opens alone fill, over all symbols, then what happens inside the bars; both in the order of
    arrival. Of a stop and a target that lie side by side, the one that the path reaches first comes first.
    """
    orders, queue, counts = desk.orders, desk.queue, desk.counts
    expired = 0
    for place in range(counts[QUEUED]):
        if orders[queue[place], EXPIRES] <= row:
            end_order(desk, queue[place], row, CANCELLED, True)
            expired += 1
    if expired:
        leave_queue(orders, queue, desk.idle, counts)
    for turn in range(2):
        inside = turn == 1
        if counts[QUEUED] and (not inside or market.high.size):
            match_queue(desk, book, market, rules, row, inside)
            leave_queue(orders, queue, desk.idle, counts)


@borrowing
def match_queue(desk: Desk, book: Book, market: Market, rules: Rules, row: int, inside: bool) -> None:
    """Let the open orders meet the opens of their bars, or the bars behind them."""
    orders, queue, counts, fills = desk.orders, desk.queue, desk.counts, desk.fills
    lots, purse, used, used_row, traded = book.lots, book.purse, book.used, book.used_row, book.traded
    opens, highs, lows, closes, volumes = market.open, market.high, market.low, market.close, market.volume
    all_lot, variance, times, terms, rates = book.lot, market.variance, market.times, rules.terms, rules.rates
    closed, opened, path = times[row], times[row] - market.width, terms.path
    has_volume, has_variance, has_rates, bounds = volumes.size > 0, variance.size > 0, len(rates) > 0, book.bounds
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
            if is_fresh and not inside:
                continue
            decided = int(max(orders[order, DECIDED], orders[order, FRESH]))
            if not is_fresh and times[decided] + terms.latency > opened:
                continue
            if orders[order, REPLACES] >= 0.0:
                replaced = int(orders[order, REPLACES])
                orders[order, REPLACES] = -1.0
                if desk.fate[replaced] != ENDED:
                    end_order(desk, order, row, float(REPLACED), True)
                    continue
            if (
                inside
                and orders[order, GROUP] != 0.0
                and place < counts[QUEUED]
                and is_pair(orders[order], orders[queue[place]])
            ):
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
        if inside and kind == MARKET:
            continue
        whole_open = opens[row, column]
        open_, high, low = whole_open, whole_open, whole_open
        if it[FRESH] == row:
            open_, high, low = it[FRESH_OPEN], it[FRESH_HIGH], it[FRESH_LOW]
        elif inside:
            high, low = highs[row, column], lows[row, column]
        level = trail_level(sign, it[STOP_AT], it[TRAIL], it[BEST]) if kind == TRAILING else it[STOP_AT]
        reference, liquidity = touch(sign, kind, limit, level, open_, high, low)
        is_at_open = liquidity == TAKER and reference == whole_open
        immediate = life in (IOC, FOK)
        if immediate and not is_at_open:
            end_order(desk, order, row, CANCELLED, True)
            continue
        if liquidity == TRIGGERED:
            it[KIND] = LIMIT
            continue
        if liquidity == NOTHING:
            if inside and kind == TRAILING:
                it[BEST] = max(it[BEST], high) if sign < 0.0 else min(it[BEST], low)
            continue
        if kind != MARKET and kind != LIMIT:
            it[KIND] = LIMIT if kind == STOP_LIMIT else MARKET
            if kind != STOP_LIMIT:
                it[RESERVE_AT], it[COLLAR] = reference, terms.collar
        size, lot, held = it[LEFT], all_lot[column], lots[column]
        if it[REDUCES] != 0.0:
            if held * sign >= 0.0:
                end_order(desk, order, row, CANCELLED, is_at_open)
                continue
            size = min(size, abs(held))
        if it[FILLED] == 0.0 and (it[REDUCES] != 0.0 or it[IS_HELD] != 0.0):
            value = size * lot * reference
            if it[ROLE] != LIQUIDATION and value < bounds[column, 0]:
                end_order(desk, order, row, float(BELOW_MINIMUM), is_at_open)
                continue
            if it[REDUCES] == 0.0 and value > bounds[column, 1]:
                end_order(desk, order, row, float(ABOVE_MAXIMUM), is_at_open)
                continue
        volume = volumes[row, column] if has_volume else math.nan
        if terms.participation < math.inf:
            if used_row[column] != row:
                used_row[column], used[column] = row, 0.0
            available = room(terms.participation, volume, lot, used[column], terms.is_whole)
            if (life == FOK and available < size) or (immediate and available <= 0.0):
                end_order(desk, order, row, CANCELLED, is_at_open)
                continue
            size = min(size, available)
            if size <= 0.0:
                continue
        volatility = volatility_of(variance[row, column]) if has_variance else 0.0
        moment = opened if is_at_open else closed
        rate = terms.taker if liquidity == TAKER else terms.maker
        if has_rates:
            maker, taker = rates_at(rates, moment, trailing_volume(traded, moment))
            rate = taker if liquidity == TAKER else maker
        deal = deal_at(sign, kind, limit, size, reference, liquidity, volume, volatility, rate, lot, terms)
        if not terms.allows_short:
            refused = uncovered(sign, size, held, purse[CASH], deal.cash_change)
            if refused:
                end_order(desk, order, row, float(refused), is_at_open)
                continue
        purse[CASH] += deal.cash_change
        held += deal.lots_change
        lots[column] = held
        used[column] += size
        if has_rates:
            note_volume(traded, moment, size * lot * deal.price)
        write_fill(fills[counts[FILLS]], it, row, it[FILLED], sign * size, deal, liquidity, is_at_open)
        counts[FILLS] += 1
        it[FILLED] += 1.0
        it[LEFT] -= size
        is_filled_up = it[LEFT] <= 0.0
        if it[GROUP] != 0.0:
            share_out(desk, order, row, size, is_at_open)
        if is_protected(it):
            rest = rest_of_bar(
                path, sign, reference, whole_open, highs[row, column], lows[row, column], closes[row, column]
            )
            protect(desk, order, row, deal.price, rest)
        if counts[REDUCERS] and (held == 0.0 or (it[REDUCES] != 0.0 and held * sign >= 0.0)):
            if it[ROLE] == STOP_EXIT or it[ROLE] == TARGET_EXIT:
                book.stopped[column] = -sign
            close_exits(desk, column, row, is_at_open)
        if it[LEFT] > 0.0 and immediate:
            end_order(desk, order, row, CANCELLED, True)
        if is_filled_up:
            if it[ROLE] == LIQUIDATION:
                counts[LIQUIDATIONS] -= 1
            elif it[SOURCE] >= 0.0 and it[ROLE] == PLAIN:
                desk.fate[int(it[SOURCE])] = FILLED_UP
