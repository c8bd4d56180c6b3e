"""Orders against random quotes, trades and books: what may never happen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.compiled import plain
from cryptoquant.market.book import Book
from cryptoquant.market.schema import BookUpdate, Quote
from cryptoquant.trading.matching import MARKET, TAKER, fill_price, settle
from cryptoquant.trading.order import Fill, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.ticks import TickMatcher
from cryptoquant.trading.venue import Costs, Venue
from cryptoquant.trading.working import average_price, lots_within, walk
from tests.market_makers import gapping_panel
from tests.trading.ticks import (
    BTC,
    LOT,
    SPOT,
    S,
    books_and_trades,
    fold,
    matcher,
    order,
    prices,
    quotes_and_trades,
    run,
    wishes,
)


@given(
    st.one_of(quotes_and_trades(), books_and_trades(), quotes_and_trades(kinds=("trade",))),
    wishes(),
    st.integers(0, 4),
    st.sampled_from(["conservative", "proportional"]),
    st.sampled_from([1.0, 0.3]),
)
def test_nothing_is_filled_that_was_not_ordered_and_the_books_are_the_fold_of_the_fills(
    events, wanted, latency, queue, share
):
    orders, cancels = wanted
    machine = matcher(150.0, 3.0, latency * S, queue=queue, participation=share)
    rows, refused = fold(events, orders, cancels, machine)
    outcomes = refused + [outcome for _, came in rows for outcome in came]
    by_id, made = {o.id: o for o in orders}, [o for o in outcomes if isinstance(o, Fill)]
    lost_to_group = {o.group for o in orders if o.group}
    for wish in orders:
        filled = sum(fill.lots for fill in made if fill.order_id == wish.id)
        ended = [o for o in outcomes if not isinstance(o, Fill) and o.order_id == wish.id]
        still = machine.open.get(wish.id)
        assert filled <= wish.lots
        assert len(ended) + (still is not None) + (filled == wish.lots and not ended) == 1
        if still is not None and wish.group not in lost_to_group:
            assert filled + still.left == wish.lots
        if ended and isinstance(ended[0], Rejection) and wish.group not in lost_to_group:
            assert filled + ended[0].lots == wish.lots
    for name in lost_to_group:
        members = [o for o in orders if o.group == name]
        assert sum(fill.lots for fill in made if by_id[fill.order_id].group == name) <= max(o.lots for o in members)
    again = Portfolio((BTC,), SPOT, 150.0)
    again.lots[0] = 3_000
    for fill in made:
        wish = by_id[fill.order_id]
        assert again.apply(fill)
        assert again.cash >= 0
        assert again.held(BTC) >= 0
        assert float(again.cash).is_integer()
        assert float(again.held(BTC)).is_integer()
        assert fill.time >= wish.time + (0 if wish.stop_price or wish.trail else latency * S)
        assert wish.limit_price is None or fill.price * wish.sign <= wish.limit_price * wish.sign
        assert wish.time_in_force != "gtt" or fill.time < wish.expires
        assert fill.slippage >= 0
    assert again.cash == machine.portfolio.cash
    assert np.array_equal(again.lots, machine.portfolio.lots)


@given(
    st.one_of(quotes_and_trades(), books_and_trades(), quotes_and_trades(kinds=("trade",))),
    wishes(),
    st.sampled_from([1.0, 0.5]),
)
def test_own_orders_never_share_more_than_an_event_brings(events, wanted, share):
    machine = matcher(10_000.0, 50.0, participation=share)
    rows, _ = fold(events, *wanted, machine)
    shown = Book(BTC)
    for event, came in rows:
        filled = {side: sum(f.lots for f in came if isinstance(f, Fill) and f.side == side) for side in ("buy", "sell")}
        if isinstance(event, Quote):
            room = {"buy": event.ask_size, "sell": event.bid_size}
        elif isinstance(event, BookUpdate):
            shown.update(event)
            bids, asks = shown.depth(99)
            room = {"buy": sum(size for _, size in asks), "sell": sum(size for _, size in bids)}
        else:
            assert sum(filled.values()) * LOT <= event.size * share + 1e-9
            continue
        assert all(filled[side] * LOT <= room[side] + 1e-9 for side in filled)


@given(st.one_of(quotes_and_trades(), books_and_trades()), prices, st.integers(1, 40), st.sampled_from(["buy", "sell"]))
def test_the_conservative_queue_never_fills_earlier_than_the_proportional_one(events, limit, tenths, side):
    filled = {}
    for model in ("conservative", "proportional"):
        machine, total = matcher(100_000.0, 50.0, queue=model), 0.0
        machine.submit(order("a", side, tenths / 10, 0, limit_price=limit))
        filled[model] = [total := total + sum(f.lots for f in machine.on(e) if isinstance(f, Fill)) for e in events]
    assert all(slow <= fast for slow, fast in zip(filled["conservative"], filled["proportional"], strict=True))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["buy", "sell"]))
def test_a_market_order_decided_at_an_open_fills_as_it_does_against_the_bar(seed, side):
    panel = gapping_panel(3, seed=seed)
    cash_, coins, lot = 1e6, 50.0, 1e-9
    venue = Venue(Costs(10.0, 25.0), minimum_notional=1.0)
    for bar in panel:
        open_, high, low = (float(bar.field(name).item(0)) for name in ("open", "high", "low"))
        machine = TickMatcher(venue, Portfolio((BTC,), venue, cash_))
        machine.portfolio.lots[0] = coins / lot
        wish = Order("a", "main", BTC, side, 2e9, bar.time)
        path = [Quote(BTC, bar.time + n, bar.time + n, p, 100.0, p, 100.0) for n, p in enumerate((open_, low, high))]
        came = run(machine, wish, *path)
        price = plain(fill_price)(wish.sign, MARKET, math.nan, open_, TAKER, 0.0)
        wanted = plain(settle)(wish.sign, 2e9, price, 25e-4, lot, 1e-6, True, False)
        assert [(f.price, f.lots_change, f.cash_change, f.fee) for f in came] == [(price, *wanted)]


@given(st.integers(1, 10**9), st.sampled_from([1e-9, 1e-8, 1e-5, 0.001, 0.1]))
def test_a_whole_number_of_lots_survives_the_way_through_coins(count, lot):
    assert lots_within(count * lot, lot, is_whole=True) == count
    assert lots_within((count + 0.5) * lot, lot, is_whole=True) == count


@given(st.lists(st.tuples(st.floats(1, 1e5), st.floats(1e-6, 1e3)), min_size=1, max_size=6), st.floats(1e-6, 1e4))
def test_a_walk_takes_the_best_levels_first_and_pays_a_price_between_them(levels, lots):
    taken = walk(levels, lots, 1.0, is_whole=False)
    total = sum(size for _, size in levels)
    assert sum(part for _, part in taken) == pytest.approx(min(lots, total))
    assert min(p for p, _ in taken) <= average_price(taken) <= max(p for p, _ in taken)
    assert all(part == size for (_, part), (_, size) in zip(taken[:-1], levels, strict=False))
