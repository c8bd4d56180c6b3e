"""Weights that are traded at the opens alone: the compiled loop without a desk, for runs that need none.

A market order is filled whole at the next open that there is, or refused. Where nothing else can happen (no limit, no
exit, no share of a volume, no financing) an open order is a line of what was sent, and the loop needs no more than the
same kernels of execution and matching. ``run_market`` gives the same bits.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    CASH,
    COUNTERS,
    DECIDED,
    END_COLUMNS,
    ENDS,
    FILL_COLUMNS,
    FILLS,
    PART,
    QUEUED,
    SENT,
    SENT_COLUMNS,
    SENT_LIMIT,
    SENT_LOTS,
    SOURCE,
    SYMBOL,
    Book,
    Market,
    Rules,
    limits_of,
    with_room,
    write_end,
    write_fill,
    write_refusal,
)
from cryptoquant.backtest.loop import Trace, refresh_marks, with_places
from cryptoquant.backtest.quiet import next_asked
from cryptoquant.compiled import borrowing, kernel
from cryptoquant.trading.execution import Plan, is_tradable, leg_lots, order_count, wanted_lots
from cryptoquant.trading.matching import (
    MARKET,
    NO_CASH,
    TAKER,
    Terms,
    buying_power,
    deal_at,
    refusal,
    uncovered,
    volatility_of,
)
from cryptoquant.trading.portfolio import equity_units
from cryptoquant.trading.schedule import note_volume, rates_at, trailing_volume

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Records(NamedTuple):
    """What was sent, filled and ended.

    ``waiting`` holds the lines of what was sent and is open, in the order of arrival, ``open_legs`` their number by
    symbol.
    """

    sent: Floats
    fills: Floats
    ends: Floats
    waiting: Integers
    open_legs: Integers
    counts: Integers


class Wishes(NamedTuple):
    """By symbol: the last known close, the signed lots to trade, and into how many orders."""

    marks: Floats
    changes: Floats
    legs: Integers


def is_enough(rules: Rules, plan: Plan) -> bool:
    """Return whether all that can happen is that market orders are filled whole or refused."""
    is_plain = math.isnan(plan.limit) and not plan.life and all(math.isnan(level) for level in plan[4:])
    financing = rules.financing
    return is_plain and math.isinf(rules.terms.participation) and not financing.every and not financing.maintenance


@kernel
def run_market_orders(
    market: Market, weights: Floats, rules: Rules, plan: Plan, lot: Floats, bounds: Floats, cash: float, traded: Floats
) -> Trace:
    """Trade weights by market orders and return what happened; the parameters are those of ``run_market``."""
    slices, symbols = market.close.shape
    purse, lots, nothing = np.array([cash, 0.0]), np.zeros(symbols), np.zeros(0)
    book = Book(purse, lots, lot, bounds, nothing, np.zeros(0, dtype=np.int64), np.zeros(symbols), nothing, traded)
    counts = np.zeros(COUNTERS, dtype=np.int64)
    records = Records(
        np.empty((0, SENT_COLUMNS)),
        np.empty((0, FILL_COLUMNS)),
        np.empty((0, END_COLUMNS)),
        np.empty(0, dtype=np.int64),
        np.zeros(symbols, dtype=np.int64),
        counts,
    )
    wishes = Wishes(np.full(symbols, math.nan), np.zeros(symbols), np.zeros(symbols, dtype=np.int64))
    row, more = counts[QUEUED], symbols  # zero, but not as a literal: all would be compiled a second time
    while row < slices:
        records = larger(records, more)
        row, more = trade_weights(records, book, wishes, market, weights, rules, plan, row)
    sent, fills, ends = records.sent[: counts[SENT]], records.fills[: counts[FILLS]], records.ends[: counts[ENDS]]
    return Trace(sent, fills, ends, np.empty((0, 2)))


@borrowing
def trade_weights(
    records: Records,
    book: Book,
    wishes: Wishes,
    market: Market,
    weights: Floats,
    rules: Rules,
    plan: Plan,
    row: int,
) -> tuple[int, int]:
    """Trade from ``row`` on; return the row that is next, and how many lines the records lack for it.

    A row that was begun may be begun again: what can fill in it is filled, and no order is sent.
    """
    terms, close, counts, marks = rules.terms, market.close, records.counts, wishes.marks
    slices, symbols = close.shape
    seen = -1
    while row < slices:
        if not has_room(records, counts[QUEUED] + symbols):
            return row, counts[QUEUED] + symbols
        if counts[QUEUED]:
            fill_at_open(records, book, market, rules, row)
        is_asked, ended = False, counts[ENDS]
        for column in range(symbols):
            is_asked = is_asked or weights[row, column] == weights[row, column]
        if is_asked:
            refresh_marks(marks, close, seen, row)
            seen = row
            wanted = decide_changes(records, book, wishes, weights, terms, plan, row)
            if wanted and not has_room(records, wanted + symbols):
                counts[ENDS] = ended
                return row, wanted + 2 * symbols
            if wanted:
                send_changes(records, book, wishes, terms, row)
        row += 1
        if counts[QUEUED]:
            continue
        row = next_asked(weights, close, row, marks, book, plan, terms)
    return row, 0


@borrowing
def has_room(records: Records, more: int) -> bool:
    """Return whether every record takes ``more`` lines."""
    counts = records.counts
    fits: bool = counts[SENT] + more <= len(records.sent) and counts[FILLS] + more <= len(records.fills)
    return fits and counts[ENDS] + more <= len(records.ends) and counts[QUEUED] + more <= len(records.waiting)


@kernel
def larger(records: Records, more: int) -> Records:
    """Return the records with room for ``more`` lines in each."""
    counts, more = records.counts, max(more, 64)
    return Records(
        with_room(records.sent, counts[SENT], more),
        with_room(records.fills, counts[FILLS], more),
        with_room(records.ends, counts[ENDS], more),
        with_places(records.waiting, counts[QUEUED], more),
        records.open_legs,
        counts,
    )


@borrowing
def fill_at_open(records: Records, book: Book, market: Market, rules: Rules, row: int) -> None:
    """Let the open orders meet the opens of a slice; one whose symbol has none, or that is under way, waits on."""
    sent, waiting, counts, terms, rates = records.sent, records.waiting, records.counts, rules.terms, rules.rates
    purse, lots, times, left = book.purse, book.lots, market.times, 0
    opened = times[row] - market.width
    for place in range(counts[QUEUED]):
        order = sent[waiting[place]]
        column, asked = int(order[SYMBOL]), order[SENT_LOTS]
        open_ = market.open[row, column]
        if open_ != open_ or times[int(order[DECIDED])] + terms.latency > opened:
            waiting[left] = waiting[place]
            left += 1
            continue
        records.open_legs[column] -= 1
        sign, size, lot = 1.0 if asked > 0.0 else -1.0, abs(asked), book.lot[column]
        volume = market.volume[row, column] if market.volume.size else math.nan
        volatility = volatility_of(market.variance[row, column]) if market.variance.size else 0.0
        rate = rates_at(rates, opened, trailing_volume(book.traded, opened))[1] if len(rates) else terms.taker
        deal = deal_at(sign, MARKET, math.nan, size, open_, TAKER, volume, volatility, rate, lot, terms)
        refused = 0 if terms.allows_short else uncovered(sign, size, lots[column], purse[CASH], deal.cash_change)
        if refused:
            write_end(records.ends[counts[ENDS]], order, row, asked, refused, True)
            counts[ENDS] += 1
            continue
        purse[CASH] += deal.cash_change
        lots[column] += deal.lots_change
        if len(rates):
            note_volume(book.traded, opened, size * lot * deal.price)
        write_fill(records.fills[counts[FILLS]], order, row, 0.0, asked, deal, TAKER, True)
        counts[FILLS] += 1
    counts[QUEUED] = left


@borrowing
def decide_changes(
    records: Records, book: Book, wishes: Wishes, weights: Floats, terms: Terms, plan: Plan, row: int
) -> int:
    """Write the signed lots to trade by symbol, as ``Execution`` does; return how many orders that takes."""
    lots, marks, counts, unit = book.lots, wishes.marks, records.counts, terms.unit
    equity = equity_units(book.purse[CASH], lots, book.lot, marks, unit) * unit
    wanted = 0
    for column in range(len(lots)):
        weight, mark, held, lot = weights[row, column], marks[column], lots[column], book.lot[column]
        wishes.changes[column] = 0.0
        if records.open_legs[column] > 0 or not is_tradable(weight, equity, mark * lot):
            continue
        limits = limits_of(book, column)
        change = wanted_lots(weight, equity, mark, held, lot, plan, limits[0], terms.is_whole)
        if change == 0.0:
            continue
        legs, code = order_count(change, mark, held, lot, limits, terms.is_whole)
        if code:
            write_refusal(records.ends[counts[ENDS]], column, row, 0, change, code)
            counts[ENDS] += 1
            continue
        wishes.changes[column], wishes.legs[column] = change, legs
        wanted += legs
    return wanted


@borrowing
def send_changes(records: Records, book: Book, wishes: Wishes, terms: Terms, row: int) -> None:
    """Send the orders of the changes, sells first, while the free cash lasts."""
    sent, waiting, counts, lots = records.sent, records.waiting, records.counts, book.lots
    changes, marks = wishes.changes, wishes.marks
    free = book.purse[CASH] * terms.unit
    for place in range(counts[QUEUED]):
        asked, column = sent[waiting[place], SENT_LOTS], int(sent[waiting[place], SYMBOL])
        if asked > 0.0:
            free -= buying_power(asked, book.lot[column], marks[column], terms.collar)
    for column in range(len(lots)):
        if changes[column] > 0.0:
            needed = buying_power(changes[column], book.lot[column], marks[column], terms.collar)
            if needed > free:
                write_refusal(records.ends[counts[ENDS]], column, row, 0, changes[column], NO_CASH)
                counts[ENDS] += 1
                changes[column] = 0.0
            else:
                free -= needed
    for sign in (-1.0, 1.0):
        for column in range(len(lots)):
            if changes[column] * sign <= 0.0:
                continue
            reserved, limits, legs = 0.0, limits_of(book, column), wishes.legs[column]
            for leg in range(legs):
                size = leg_lots(abs(changes[column]), legs, leg, terms.is_whole)
                code = refusal(sign, size, marks[column], lots[column] - reserved, book.lot[column], limits)
                if code:
                    write_refusal(records.ends[counts[ENDS]], column, row, leg, sign * size, code)
                    counts[ENDS] += 1
                    continue
                if sign < 0.0:
                    reserved += size
                line = sent[counts[SENT]]
                for index in range(SENT_COLUMNS):
                    line[index] = 0.0
                line[SYMBOL], line[DECIDED], line[PART], line[SOURCE] = column, row, leg, -1.0
                line[SENT_LOTS], line[SENT_LIMIT] = sign * size, math.nan
                waiting[counts[QUEUED]] = counts[SENT]
                counts[SENT] += 1
                counts[QUEUED] += 1
                records.open_legs[column] += 1
