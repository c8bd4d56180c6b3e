"""Weights that are traded at the opens alone: the compiled loop without a desk, for runs that need none.

A market order is filled whole at the next open that there is, or refused. Where nothing else can happen (no limit, no
exit, no share of a volume, no financing) an open order is a line of what was sent, and the loop needs no more than the
same kernels of execution and matching. ``run_market`` gives the same bits.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    DECIDED,
    END_COLUMNS,
    FILL_COLUMNS,
    PART,
    SENT_COLUMNS,
    SENT_LIMIT,
    SENT_LOTS,
    SOURCE,
    SYMBOL,
    Market,
    Rules,
    with_room,
    write_end,
    write_fill,
    write_refusal,
)
from cryptoquant.backtest.loop import Trace, refresh_marks, with_places
from cryptoquant.backtest.quiet import first_number, next_wish
from cryptoquant.compiled import kernel
from cryptoquant.trading.execution import Plan, is_tradable, leg_lots, order_count, wanted_lots
from cryptoquant.trading.matching import (
    MARKET,
    NO_CASH,
    TAKER,
    buying_power,
    deal_at,
    refusal,
    uncovered,
    volatility_of,
)
from cryptoquant.trading.portfolio import equity_units
from cryptoquant.trading.schedule import note_volume, rates_at, trailing_volume

Floats = NDArray[np.float64]


def is_enough(rules: Rules, plan: Plan) -> bool:
    """Return whether all that can happen is that market orders are filled whole or refused."""
    is_plain = math.isnan(plan.limit) and not plan.life and all(math.isnan(level) for level in plan[4:])
    financing = rules.financing
    return is_plain and math.isinf(rules.terms.participation) and not financing.every and not financing.maintenance


@kernel
def run_market_orders(
    market: Market, weights: Floats, rules: Rules, plan: Plan, lot: Floats, bounds: Floats, cash: float, traded: Floats
) -> Trace:
    """Trade weights by market orders and return what happened; the parameters are those of ``run_market``.

    All arrays stay in this one function: to hand one on costs more than an order does.
    """
    opens, close, times, volumes, variance = market.open, market.close, market.times, market.volume, market.variance
    terms, rates, width, unit = rules.terms, rules.rates, market.width, rules.terms.unit
    has_volume, has_variance, has_rates = volumes.size > 0, variance.size > 0, len(rates) > 0
    (slices, symbols), flat = opens.shape, weights.reshape(-1)
    lots, marks, changes = np.zeros(symbols), np.full(symbols, math.nan), np.zeros(symbols)
    legs, open_legs = np.zeros(symbols, dtype=np.int64), np.zeros(symbols, dtype=np.int64)
    waiting = np.empty(64, dtype=np.int64)  # the open orders, as lines of ``sent``, in the order of their arrival
    sent, fills, ends = np.empty((64, SENT_COLUMNS)), np.empty((64, FILL_COLUMNS)), np.empty((64, END_COLUMNS))
    all_sent, all_fills, all_ends, waits = 0, 0, 0, 0
    row, seen = 0, -1
    while row < slices:
        closed = times[row]
        opened, left = closed - width, 0
        if all_fills + waits > len(fills):
            fills = with_room(fills, all_fills, waits)
        if all_ends + waits + symbols > len(ends):
            ends = with_room(ends, all_ends, waits + symbols)
        for place in range(waits):
            order = waiting[place]
            column, decided = int(sent[order, SYMBOL]), int(sent[order, DECIDED])
            open_, asked = opens[row, column], sent[order, SENT_LOTS]
            if open_ != open_ or times[decided] + terms.latency > opened:
                waiting[left] = order
                left += 1
                continue
            open_legs[column] -= 1
            sign, size, held = 1.0 if asked > 0.0 else -1.0, abs(asked), lots[column]
            volume = volumes[row, column] if has_volume else math.nan
            volatility = volatility_of(variance[row, column]) if has_variance else 0.0
            rate = terms.taker
            if has_rates:
                rate = rates_at(rates, opened, trailing_volume(traded, opened))[1]
            deal = deal_at(sign, MARKET, math.nan, size, open_, TAKER, volume, volatility, rate, lot[column], terms)
            refused = 0 if terms.allows_short else uncovered(sign, size, held, cash, deal.cash_change)
            if refused:
                write_end(ends[all_ends], sent[order], row, asked, refused, True)
                all_ends += 1
                continue
            cash += deal.cash_change
            lots[column] = held + deal.lots_change
            if has_rates:
                note_volume(traded, opened, size * lot[column] * deal.price)
            write_fill(fills[all_fills], sent[order], row, 0.0, asked, deal, TAKER, True)
            all_fills += 1
        waits = left
        is_asked = False
        for column in range(symbols):
            is_asked = is_asked or weights[row, column] == weights[row, column]
        if is_asked:
            refresh_marks(marks, close, seen, row)
            seen = row
            equity = equity_units(cash, lots, lot, marks, unit) * unit
            wanted = 0
            for column in range(symbols):
                weight, mark, held = weights[row, column], marks[column], lots[column]
                changes[column] = 0.0
                if open_legs[column] > 0 or not is_tradable(weight, equity, mark * lot[column]):
                    continue
                change = wanted_lots(weight, equity, mark, held, lot[column], plan, bounds[column, 0], terms.is_whole)
                if change == 0.0:
                    continue
                limits = (bounds[column, 0], bounds[column, 1], bounds[column, 2], bounds[column, 3] != 0.0)
                legs[column], code = order_count(change, mark, held, lot[column], limits)
                if code:
                    write_refusal(ends[all_ends], column, row, 0, change, code)
                    all_ends += 1
                    continue
                changes[column] = change
                wanted += legs[column]
            if wanted:
                if all_sent + wanted > len(sent):
                    sent = with_room(sent, all_sent, wanted)
                if waits + wanted > len(waiting):
                    waiting = with_places(waiting, waits, wanted)
                if all_ends + wanted + symbols > len(ends):
                    ends = with_room(ends, all_ends, wanted + symbols)
                free = cash * unit
                for place in range(waits):
                    asked, column = sent[waiting[place], SENT_LOTS], int(sent[waiting[place], SYMBOL])
                    if asked > 0.0:
                        free -= buying_power(asked, lot[column], marks[column], terms.collar)
                for column in range(symbols):
                    if changes[column] > 0.0:
                        needed = buying_power(changes[column], lot[column], marks[column], terms.collar)
                        if needed > free:
                            write_refusal(ends[all_ends], column, row, 0, changes[column], NO_CASH)
                            all_ends += 1
                            changes[column] = 0.0
                        else:
                            free -= needed
                for sign in (-1.0, 1.0):
                    for column in range(symbols):
                        if changes[column] * sign <= 0.0:
                            continue
                        mark, reserved = marks[column], 0.0
                        limits = (bounds[column, 0], bounds[column, 1], bounds[column, 2], bounds[column, 3] != 0.0)
                        for leg in range(legs[column]):
                            size = leg_lots(abs(changes[column]), legs[column], leg, terms.is_whole)
                            code = refusal(sign, size, mark, lots[column] - reserved, lot[column], limits)
                            if code:
                                write_refusal(ends[all_ends], column, row, leg, sign * size, code)
                                all_ends += 1
                                continue
                            if sign < 0.0:
                                reserved += size
                            line = sent[all_sent]
                            line[:] = 0.0
                            line[SYMBOL], line[DECIDED], line[PART], line[SOURCE] = column, row, leg, -1.0
                            line[SENT_LOTS], line[SENT_LIMIT] = sign * size, math.nan
                            waiting[waits] = all_sent
                            open_legs[column] += 1
                            all_sent, waits = all_sent + 1, waits + 1
        row += 1
        if waits:
            continue
        if symbols > 1:
            row = first_number(flat, row * symbols) // symbols
        else:
            row, marks[0] = next_wish(
                flat,
                close.reshape(-1),
                row,
                marks[0],
                cash,
                lots[0],
                lot[0],
                plan,
                bounds[0, 0],
                unit,
                terms.is_whole,
            )
    return Trace(sent[:all_sent], fills[:all_fills], ends[:all_ends], np.empty((0, 2)))
