"""Orders against quotes, trades and books: what may never happen, and what happens in markets worked out by hand."""

import math
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.compiled import plain
from cryptoquant.market.book import Book
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.trading.matching import MARKET, TAKER, fill_price, settle
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Order, Protection, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.queue_position import Place, after_display, after_trade
from cryptoquant.trading.ticks import TickMatcher, drive_ticks
from cryptoquant.trading.venue import Costs, Venue
from cryptoquant.trading.working import average_price, lots_within, walk
from tests.market_makers import gapping_panel

BTC = "BTC/USD"
S = 10**9
LOT = 0.001
SPOT = Venue(Costs(10.0, 25.0), {BTC: Instrument(BTC, Decimal("0.001"))}, minimum_notional=1.0)
FILE = "binance_spot_btcusdt_20240808.parquet"


def quote(time, bid, bid_size, ask, ask_size, known=0):
    return Quote(BTC, time * S, (known or time) * S, float(bid), float(bid_size), float(ask), float(ask_size))


def trade(time, price, size, side=""):
    return Trade(BTC, time * S, time * S, 0, float(price), float(size), side)


def book(time, bids=(), asks=(), *, reset=False):
    return BookUpdate(BTC, time * S, time * S, tuple(bids), tuple(asks), reset)


def order(name="a", side="buy", coins=1.0, time=0, **terms):
    terms = {"type": "limit" if "limit_price" in terms else "market", **terms}
    return Order(name, "main", BTC, side, float(round(coins / LOT)), time * S, **terms)


def matcher(cash=10_000.0, coins=0.0, latency=0, venue=SPOT, **terms):
    portfolio = Portfolio((BTC,), venue, cash)
    portfolio.lots[0] = round(coins / LOT)
    return TickMatcher(venue, portfolio, latency, **terms)


def run(machine, *items):
    """Feed orders, cancels and events as they come; return all outcomes."""
    outcomes = []
    for item in items:
        if isinstance(item, Order):
            refused = machine.submit(item)
            outcomes += [] if refused is None else [refused]
        elif isinstance(item, Cancel):
            machine.cancel(item)
        else:
            outcomes += machine.on(item)
    return outcomes


def fills(outcomes):
    """Coins, price, seconds and liquidity of the fills."""
    return [
        (round(fill.lots * LOT, 9), fill.price, fill.time // S, fill.liquidity)
        for fill in outcomes
        if isinstance(fill, Fill)
    ]


# The laws.

prices = st.integers(95, 105).map(float)
sizes = st.integers(1, 30).map(lambda tenths: tenths / 10)


@st.composite
def quotes_and_trades(draw, kinds=("quote", "trade")):
    events, time = [], 1
    for _ in range(draw(st.integers(1, 25))):
        time += draw(st.integers(0, 3))
        if draw(st.sampled_from(kinds)) == "quote":
            bid = draw(prices)
            events.append(quote(time, bid, draw(sizes), bid + draw(st.integers(1, 3)), draw(sizes)))
        else:
            events.append(trade(time, draw(prices), draw(sizes), draw(st.sampled_from(["", "B", "S"]))))
    return events


@st.composite
def books_and_trades(draw):
    levels = st.lists(st.tuples(prices, st.integers(0, 30).map(lambda tenths: tenths / 10)), max_size=4).map(tuple)
    events, time = [book(1, draw(levels), draw(levels), reset=True)], 1
    for _ in range(draw(st.integers(1, 20))):
        time += draw(st.integers(0, 3))
        if draw(st.booleans()):
            events.append(book(time, draw(levels), draw(levels), reset=draw(st.sampled_from([False] * 5 + [True]))))
        else:
            events.append(trade(time, draw(prices), draw(sizes), draw(st.sampled_from(["", "B", "S"]))))
    return events


@st.composite
def wishes(draw):
    made = []
    for number in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]))
        terms: dict = {"type": kind, "time_in_force": draw(st.sampled_from(["gtc", "gtc", "ioc", "fok", "gtt"]))}
        if kind in ("limit", "stop_limit"):
            terms["limit_price"] = draw(prices)
        if kind in ("stop", "stop_limit"):
            terms["stop_price"] = draw(prices)
        if kind == "trailing_stop":
            terms["trail"] = draw(st.sampled_from([0.01, 0.02, 0.05]))
        terms["group"] = draw(st.sampled_from(["", "", "g"]))
        time = draw(st.integers(0, 30)) if not terms["group"] else 3  # a group is sent together
        if terms["time_in_force"] == "gtt":
            terms["expires"] = (time + draw(st.integers(1, 15))) * S
        terms["reduces"] = draw(st.sampled_from([False, False, True]))
        if made and draw(st.integers(0, 4)) == 0:
            terms["replaces"] = made[0].id
        side, coins = draw(st.sampled_from(["buy", "sell"])), draw(st.integers(1, 40)) / 10
        made.append(order(f"o{number}", side, coins, time, **terms))
    cancels = [Cancel(o.id, "main", BTC, o.time + draw(st.integers(0, 9)) * S) for o in made if draw(st.booleans())]
    return made, cancels[:2]


def fold(events, orders, cancels, machine):
    """Drive everything by time and return (event, outcomes) pairs and what was refused at once."""
    rows, refused = [], []
    wanted = sorted([*orders, *cancels], key=lambda wish: wish.time)
    for event in events:
        while wanted and wanted[0].time <= event.time:
            refused += run(machine, wanted.pop(0))
        rows.append((event, machine.on(event)))
    for wish in wanted:
        refused += run(machine, wish)
    return rows, refused


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


# Taking.


def test_a_market_order_takes_a_quote_up_to_its_size_and_the_rest_waits():
    came = run(matcher(), order(coins=3), quote(1, 99, 5, 101, 2), quote(2, 100, 5, 102, 2))
    assert fills(came) == [(2.0, 101.0, 1, "taker"), (1.0, 102.0, 2, "taker")]
    # The middle on arrival was 100: two coins paid 1 more, the last one 2 more.
    assert [f.slippage for f in came] == pytest.approx([2.0, 2.0])
    assert came[0].fee == pytest.approx(202 * 0.0025)


def test_a_quote_that_comes_again_is_a_new_offer():
    came = run(matcher(), order(coins=3), quote(1, 99, 5, 101, 2), quote(2, 99, 5, 101, 2))
    assert fills(came) == [(2.0, 101.0, 1, "taker"), (1.0, 101.0, 2, "taker")]
    shown = [book(time, [(99.0, 5.0)], [(101.0, 2.0)], reset=True) for time in (1, 2)]
    assert fills(run(matcher(), order(coins=3), *shown)) == [(2.0, 101.0, 1, "taker"), (1.0, 101.0, 2, "taker")]


def test_a_limit_order_goes_on_taking_quotes_while_they_are_within_its_limit():
    machine = matcher()
    came = run(machine, order(coins=4, limit_price=103.0), quote(1, 99, 5, 101, 2), quote(2, 99, 5, 102, 1))
    assert fills(came) == [(2.0, 101.0, 1, "taker"), (1.0, 102.0, 2, "taker")]
    # Once the offers are above it, it rests; from then on the seller comes to it.
    assert fills(run(machine, quote(3, 99, 5, 104, 1), quote(4, 99, 5, 102, 1))) == [(1.0, 103.0, 4, "maker")]


def test_an_immediate_order_loses_the_rest_and_a_whole_one_everything():
    came = run(matcher(), order(coins=3, time_in_force="ioc"), quote(1, 99, 5, 101, 2))
    assert fills(came) == [(2.0, 101.0, 1, "taker")]
    assert isinstance(came[1], Cancellation)
    came = run(matcher(), order(coins=3, time_in_force="fok"), quote(1, 99, 5, 101, 2))
    assert [type(outcome) for outcome in came] == [Cancellation]
    came = run(matcher(), order(coins=2, time_in_force="fok"), quote(1, 99, 5, 101, 2))
    assert fills(came) == [(2.0, 101.0, 1, "taker")]


def test_an_order_walks_the_book_to_its_limit_and_rests_with_nothing_ahead():
    machine = matcher()
    shown = book(1, [(99.0, 4.0)], [(101.0, 1.0), (102.0, 1.0), (104.0, 9.0)], reset=True)
    came = run(machine, order(coins=3, limit_price=102.0), shown)
    # One coin at 101 and one at 102; the middle was 100.
    assert fills(came) == [(2.0, 101.5, 1, "taker")]
    assert came[0].slippage == pytest.approx(3.0)
    assert machine.open["a"].place == Place(0.0, 0.0)
    # The levels that it took are gone until the book shows them again.
    assert run(machine, book(2, [(98.0, 1.0)], [])) == []
    assert fills(run(machine, book(3, [], [(102.0, 0.4)]))) == [(0.4, 102.0, 3, "maker")]
    assert fills(run(machine, trade(4, 102, 5, "S"))) == [(0.6, 102.0, 4, "maker")]
    assert not machine.open


def test_an_order_sees_nothing_before_it_arrives():
    events = [quote(1, 99, 5, 101, 5), quote(2, 100, 5, 102, 5), quote(3, 101, 5, 103, 5)]
    came = run(matcher(latency=timedelta(seconds=2)), order(time=1), *events)
    assert fills(came) == [(1.0, 103.0, 3, "taker")]


def test_where_only_trades_are_known_they_stand_in_for_the_other_side():
    venue = Venue(Costs(10.0, 25.0, 100.0), SPOT.instruments, minimum_notional=1.0)
    machine = matcher(venue=venue)
    came = run(machine, order(coins=3), trade(1, 100, 2), trade(2, 100, 2))
    assert fills(came) == [(2.0, 101.0, 1, "taker"), (1.0, 101.0, 2, "taker")]
    came = run(machine, order("b", limit_price=99.0), trade(3, 100, 9), trade(4, 99, 9), trade(5, 98, 0.4))
    assert fills(came) == [(0.4, 99.0, 5, "maker")]


# The queue.


def test_a_resting_order_waits_for_the_queue_ahead_of_it():
    machine = matcher()
    # Five coins stand at 99 when the order arrives.
    run(machine, order(limit_price=99.0), quote(1, 99, 5, 101, 5))
    assert machine.open["a"].place.ahead == 5.0
    # Three trade: two are ahead. A buyer's trade serves nobody. Then 2.4 trade: 0.4 reach the order.
    assert run(machine, trade(2, 99, 3, "S"), trade(3, 99, 9, "B")) == []
    assert machine.open["a"].place.ahead == 2.0
    assert fills(run(machine, trade(4, 99, 2.4, "S"))) == [(0.4, 99.0, 4, "maker")]
    # A trade at a better price for the seller does not reach it; one through its price does.
    assert fills(run(machine, trade(5, 100, 9, "S"), trade(6, 98, 9, "S"))) == [(0.6, 99.0, 6, "maker")]


def test_cancellations_move_the_proportional_queue_only():
    ahead = {}
    for model in ("conservative", "proportional"):
        machine = matcher(queue=model)
        # 8 shown on arrival, 4 join behind; 2 of the 12 trade (6 left ahead of 10), then half of the 10 is cancelled.
        run(machine, order(limit_price=99.0), quote(1, 99, 8, 101, 5), quote(2, 99, 12, 101, 5))
        run(machine, trade(3, 99, 2, "S"), quote(4, 99, 5, 101, 5))
        ahead[model] = machine.open["a"].place.ahead
    assert ahead == {"conservative": 6.0, "proportional": 3.0}


def test_what_stands_at_a_price_behind_the_touch_is_known_when_the_touch_gets_there():
    machine = matcher()
    run(machine, order(limit_price=97.0), quote(1, 99, 5, 101, 5), trade(2, 97, 3, "S"))
    assert machine.open["a"].place.ahead == math.inf
    run(machine, quote(3, 97, 4, 98, 5))
    assert machine.open["a"].place.ahead == 4.0


def test_a_market_that_crosses_a_resting_order_fills_it_as_a_maker_up_to_its_size():
    machine = matcher()
    came = run(machine, order(limit_price=99.0), quote(1, 99, 5, 101, 5), quote(2, 97, 5, 98, 0.3))
    assert fills(came) == [(0.3, 99.0, 2, "maker")]
    assert came[0].slippage == 0.0
    # 10 bps of 300 lots, rounded up to one lot of a thousandth coin.
    assert came[0].fee == pytest.approx(0.099)
    came = run(
        matcher(coins=1), order("b", "sell", limit_price=101.0), quote(1, 99, 5, 102, 5), quote(2, 103, 5, 104, 5)
    )
    assert fills(came) == [(1.0, 101.0, 2, "maker")]
    assert came[0].fee == pytest.approx(0.101)


def test_two_own_orders_share_a_trade_by_price():
    machine = matcher()
    first, second = order("a", limit_price=99.0), order("b", limit_price=99.5)
    came = run(machine, first, second, quote(1, 98, 5, 101, 5), trade(2, 98.5, 1.5, "S"))
    assert [(f.order_id, round(f.lots * LOT, 9)) for f in came] == [("b", 1.0), ("a", 0.5)]


@given(st.data(), st.integers(1, 9), st.integers(1, 20))
def test_no_model_fills_before_the_queue_that_really_stood_there(data, coins, length):
    """The true queue of one price is made first, order by order, and shown as quotes and trades."""
    ahead, behind, cancelled = float(data.draw(st.integers(0, 9))), 0.0, False
    machine, slow, true = matcher(), 0.0, 0.0
    run(machine, order(coins=coins, limit_price=99.0), quote(1, 99, ahead, 101, 5))
    for time in range(2, 2 + length):
        deed = data.draw(st.sampled_from(["trade", "join", "leave ahead", "leave behind"]))
        if deed == "trade":
            size = float(data.draw(st.integers(1, 9)))
            true += max(min(size - ahead, coins - true), 0.0)
            behind, ahead = max(behind - max(size - ahead, 0.0), 0.0), max(ahead - size, 0.0)
            slow += sum(part for part, *_ in fills(run(machine, trade(time, 99, size, "S"))))
        elif deed == "join":
            behind += data.draw(st.integers(1, 9))
        elif deed == "leave ahead" and ahead:
            ahead, cancelled = ahead - 1.0, True
        elif deed == "leave behind" and behind:
            behind -= 1.0
        run(machine, quote(time, 99, ahead + behind, 101, 5) if ahead + behind else quote(time, 98, 5, 101, 5))
        assert slow <= true
        assert cancelled or slow == true


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_place_never_falls_back(ahead, shown, now):
    place = Place(ahead, shown)
    for model in ("conservative", "proportional"):
        assert 0 <= after_display(place, now, model).ahead <= ahead
    assert 0 <= after_trade(place, now).ahead <= ahead


# Stops.


def test_a_stop_is_reached_by_the_side_on_which_it_would_trade():
    machine = matcher(coins=5)
    stop = order("a", "sell", type="stop", stop_price=95.0)
    assert run(machine, stop, quote(1, 96, 5, 97, 5), trade(2, 94, 5, "S")) == []
    assert fills(run(machine, quote(3, 95, 5, 97, 5))) == [(1.0, 95.0, 3, "taker")]
    buy = order("b", "buy", time=3, type="stop", stop_price=99.0)
    assert fills(run(machine, buy, quote(4, 98, 5, 98.5, 5), quote(5, 98, 5, 99.5, 5))) == [(1.0, 99.5, 5, "taker")]


def test_a_stop_that_only_sees_trades_is_reached_by_them():
    came = run(matcher(coins=5), order("a", "sell", type="stop", stop_price=95.0), trade(1, 96, 5), trade(2, 94, 5))
    assert fills(came) == [(1.0, 94.0, 2, "taker")]


def test_what_a_stop_sends_arrives_the_latency_after_the_event_was_known():
    machine = matcher(coins=5, latency=2 * S)
    stop = order("a", "sell", type="stop", stop_price=95.0)
    came = run(machine, stop, quote(1, 94, 5, 97, 5, known=2), quote(3, 93, 5, 97, 5), quote(4, 92, 5, 97, 5))
    assert fills(came) == [(1.0, 92.0, 4, "taker")]


def test_a_stop_limit_does_not_follow_the_market_below_its_limit():
    machine = matcher(coins=5)
    stop = order("a", "sell", type="stop_limit", stop_price=95.0, limit_price=94.0)
    assert run(machine, stop, quote(1, 96, 5, 97, 5), quote(2, 92, 5, 93, 5)) == []
    assert fills(run(machine, quote(3, 94.5, 5, 95, 5))) == [(1.0, 94.0, 3, "maker")]


def test_a_trailing_stop_follows_the_best_bid():
    machine = matcher(coins=5)
    # The best bid is 110: the stop stands at 104.5, which 105 does not reach and 104 does.
    trail = order("a", "sell", type="trailing_stop", trail=0.05)
    bids = [quote(1, 100, 5, 101, 5), quote(2, 110, 5, 111, 5), quote(3, 105, 5, 106, 5)]
    assert run(machine, trail, *bids) == []
    assert fills(run(machine, quote(4, 104, 5, 106, 5))) == [(1.0, 104.0, 4, "taker")]
    # A buyer's follows the lowest ask: 100, so 105.
    trail = order("b", "buy", time=4, type="trailing_stop", trail=0.05)
    asks = [quote(5, 100, 5, 102, 5), quote(6, 99, 5, 100, 5), quote(7, 103, 5, 104, 5)]
    assert run(machine, trail, *asks) == []
    assert fills(run(machine, quote(8, 104, 5, 106, 5))) == [(1.0, 106.0, 8, "taker")]


# Groups, exits, time.


def test_one_of_a_group_cancels_the_other_and_shares_its_lots():
    machine = matcher(coins=1)
    stop = order("stop", "sell", type="stop", stop_price=95.0, group="g")
    target = order("target", "sell", limit_price=105.0, group="g")
    came = run(machine, stop, target, quote(1, 100, 5, 101, 5), quote(2, 105, 0.4, 106, 5))
    assert fills(came) == [(0.4, 105.0, 2, "maker")]
    assert machine.open["stop"].left == 600.0
    came = run(machine, quote(3, 94, 5, 96, 5))
    assert fills(came) == [(0.6, 94.0, 3, "taker")]
    assert [(type(o), o.order_id) for o in came[1:]] == [(Cancellation, "stop"), (Cancellation, "target")]


def test_a_protected_buy_brings_its_exits_to_life_for_what_it_brought():
    machine = matcher()
    entry = order(protection=Protection(stop_loss=0.05, take_profit=0.1, trailing=0.2))
    run(machine, entry, quote(1, 99, 5, 100, 5))
    # The fee of 25 bps took three of the thousand lots, rounded up.
    exits = {name: working.order for name, working in machine.open.items()}
    assert {name: (o.type, o.lots) for name, o in exits.items()} == {
        "as0": ("trailing_stop", 997.0),
        "at0": ("limit", 997.0),
    }
    assert (exits["as0"].stop_price, exits["at0"].limit_price) == pytest.approx((95.0, 110.0))
    came = run(machine, quote(2, 112, 5, 113, 5))
    assert fills(came) == [(0.997, 112.0, 2, "taker")]
    assert [o.order_id for o in came[1:]] == ["as0"]
    assert came[0].reason == "target"
    assert not machine.open


def test_a_target_that_no_price_can_reach_is_none():
    machine, guard = matcher(venue=Venue.research()), Protection(stop_loss=0.02, take_profit=1.5)
    came = run(machine, order(side="sell", protection=guard), quote(1, 100, 9e9, 101, 5))
    assert [fill.reason for fill in came] == [""]
    assert [working.order.type for working in machine.open.values()] == ["stop"]


def test_a_trailing_stop_does_not_fall_behind_its_fixed_stop():
    machine = matcher()
    entry = order(protection=Protection(stop_loss=0.05, trailing=0.2))
    came = run(machine, entry, quote(1, 99, 5, 100, 5), quote(2, 96, 5, 97, 5), quote(3, 94, 5, 95, 5))
    assert fills(came)[1:] == [(0.997, 94.0, 3, "taker")]


def test_an_order_that_reduces_trades_what_is_held_and_ends():
    machine = matcher(coins=0.5)
    came = run(machine, order("a", "sell", coins=2, reduces=True), quote(1, 99, 5, 101, 5))
    assert fills(came) == [(0.5, 99.0, 1, "taker")]
    assert [type(o) for o in came[1:]] == [Cancellation]


def test_time_ends_orders_before_the_event_that_comes_then():
    machine = matcher()
    wish = order(limit_price=99.0, time_in_force="gtt", expires=5 * S)
    came = run(machine, wish, quote(1, 98, 5, 101, 5), quote(5, 97, 5, 98, 5))
    assert came == [Cancellation("a", "main", BTC, 5 * S)]
    machine = matcher(latency=2 * S)
    stop = Cancel("a", "main", BTC, 2 * S)
    events = [quote(2, 98, 5, 101, 5), quote(3, 98, 5, 99, 0.4), quote(4, 97, 5, 98, 5)]
    came = run(machine, order(limit_price=99.0), stop, *events)
    assert fills(came) == [(0.4, 99.0, 3, "maker")]
    assert came[1:] == [Cancellation("a", "main", BTC, 4 * S)]
    with pytest.raises(ValueError, match="in the order of time"):
        machine.on(quote(3, 97, 5, 98, 5))


def test_a_stop_that_the_client_still_holds_ends_at_once():
    machine = matcher(coins=5, latency=2 * S)
    held, sent = (order(name, "sell", type="stop", stop_price=price) for name, price in (("a", 95.0), ("b", 99.0)))
    ends = [Cancel(name, "main", BTC, 2 * S) for name in "ab"]
    came = run(machine, held, sent, quote(1, 98, 5, 99, 5), *ends, quote(2, 94, 5, 95, 5), quote(3, 93, 5, 95, 5))
    assert came[0] == Cancellation("a", "main", BTC, 2 * S)
    assert [(f.order_id, f.price) for f in came[1:]] == [("b", 93.0)]


def test_a_replacement_takes_the_place_of_an_open_order_only():
    machine = matcher()
    run(machine, order("a", limit_price=97.0), quote(1, 98, 5, 101, 5))
    came = run(machine, order("b", time=2, limit_price=99.0, replaces="a"), quote(2, 98, 5, 101, 5))
    assert came == [Cancellation("a", "main", BTC, 2 * S)]
    came = run(machine, order("c", time=3, replaces="a"), quote(3, 98, 5, 101, 5))
    assert [o.reason for o in came] == ["the order that it replaces is not open"]
    assert list(machine.open) == ["b"]


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (order(side="sell", coins=2), "more than is held"),
        (order(coins=97), "insufficient cash"),  # 9,797 are there, the collar's 2.5 % on top are not
        (order(coins=99, limit_price=101.0), "insufficient cash"),
        (order(coins=0.001), "below the venue's smallest order value"),
    ],
)
def test_an_order_that_the_books_cannot_pay_is_refused_and_not_shrunk(wish, reason):
    machine = matcher(9_900.0, coins=1.0)
    came = run(machine, wish, quote(1, 99, 100, 101, 99))
    assert [type(o) for o in came] == [Rejection]
    assert came[0].reason.startswith(reason)
    assert not machine.open


def test_a_resting_sell_holds_its_coins_back():
    machine = matcher(coins=1.0)
    first, second = order("a", "sell", 0.6, limit_price=110.0), order("b", "sell", 0.6)
    came = run(machine, first, second, quote(1, 99, 5, 101, 5))
    # The market order comes first of the two, so that it is the limit order that finds too few coins.
    assert fills(came) == [(0.6, 99.0, 1, "taker")]
    assert [(o.order_id, type(o)) for o in came[1:]] == [("a", Rejection)]
    machine = matcher(coins=1.0)
    came = run(machine, first, quote(1, 99, 5, 101, 5), second, quote(2, 99, 5, 101, 5))
    assert [(o.order_id, type(o)) for o in came] == [("b", Rejection)]


def test_what_can_never_be_sent_is_refused_at_once():
    machine = matcher()
    assert machine.submit(order()) is None
    assert machine.submit(order()).reason == "its id was used before"
    assert machine.submit(Order("b", "main", BTC, "buy", 0.5, 0)).reason == "not a whole number of lots"
    for wrong in (order("c", type="limit"), order("d", type="stop"), order("e", time_in_force="gtt")):
        with pytest.raises(ValueError, match="needs"):
            machine.submit(wrong)


def test_driving_orders_and_events_gives_what_feeding_them_gives():
    events = [quote(1, 99, 5, 101, 5), quote(2, 98, 5, 100, 0.4), quote(3, 98, 5, 101, 5), trade(4, 99, 2, "S")]
    wanted = [order("a", limit_price=100.0, time=1), order("b", "sell", time=3), Cancel("a", "main", BTC, 4 * S)]
    done = drive_ticks(wanted, events[::-1], SPOT, 1_000.0)
    assert fills(done.fills) == [(0.4, 100.0, 2, "maker")]
    assert [o.order_id for o in done.rejections] == ["b"]
    assert [o.order_id for o in done.cancellations] == ["a"]
    assert done.open == ()
    assert done.portfolio.held(BTC) == 399.0


# A recorded market.


@lru_cache
def recorded(folder, kind):
    """The rows of a recorded file as events; times are those of the exchange."""
    path = folder / kind / FILE
    if not path.exists():
        pytest.skip(f"real market data not found at ../shared/data/market/{kind}/{FILE}")
    table = pl.read_parquet(path).with_columns(time=pl.col("timestamp").dt.epoch("ns"))
    if kind == "trades":
        letters = {"buy": "B", "sell": "S"}
        columns = table.select("symbol", "time", "trade_id", "price", "size", "side").iter_rows()
        return [Trade(s, time, time, i, price, size, letters[side]) for s, time, i, price, size, side in columns]
    if kind == "quotes":
        columns = table.select("symbol", "time", "bid_price", "bid_size", "ask_price", "ask_size").iter_rows()
        return [Quote(s, time, time, *sides) for s, time, *sides in columns]
    return list(updates_of(table))


def updates_of(table):
    """The opening snapshot as a reset, then the updates that end after it."""
    opening = table.filter(pl.col("snapshot"))
    later = table.filter(~pl.col("snapshot") & (pl.col("last_id") > opening["last_id"][0]))
    first = opening["time"][0]
    for is_reset, rows in ((True, opening), (False, later)):
        for (_,), part in rows.group_by("last_id", maintain_order=True):
            sides = [tuple(part.filter(side=side).select("price", "size").iter_rows()) for side in ("bid", "ask")]
            time = max(part["time"][0], first)
            yield BookUpdate(part["symbol"][0], time, time, *sides, reset=is_reset)


def in_time(*streams):
    return sorted([event for stream in streams for event in stream], key=attrgetter("time"))


@pytest.mark.parametrize("shown", ["quotes", "book"])
def test_orders_in_a_recorded_market_keep_the_laws(real_market, shown):
    events = in_time(recorded(real_market, "trades"), recorded(real_market, shown))
    symbol, begin = "BTC/USDT", events[0].time + 5 * S
    touch = next(e.bid_price if shown == "quotes" else e.bids[0][0] for e in events if not isinstance(e, Trade))
    venue = Venue(Costs(10.0, 10.0), {symbol: Instrument(symbol, Decimal("0.00001"))}, minimum_notional=5.0)
    wanted = [
        Order("take", "main", symbol, "buy", 200_000.0, begin),
        Order("rest", "main", symbol, "buy", 10_000.0, begin, "limit", limit_price=touch - 20.0),
        Order("deep", "main", symbol, "buy", 10_000.0, begin, "limit", limit_price=touch - 3_000.0),
        Order("stop", "main", symbol, "sell", 5_000.0, begin, "stop", stop_price=touch - 30.0),
        Order("trail", "main", symbol, "sell", 5_000.0, begin + S, "trailing_stop", trail=0.0005),
    ]
    done = {}
    for model in ("conservative", "proportional"):
        run_ = done[model] = drive_ticks(wanted, events, venue, 1e6, timedelta(milliseconds=50), queue=model)
        ordered = {o.id: o for o in wanted}
        again = Portfolio((symbol,), venue, 1e6)
        for fill in run_.fills:
            wish = ordered[fill.order_id]
            assert again.apply(fill)
            assert again.cash >= 0 <= again.held(symbol)
            assert fill.time >= wish.time + 50 * 10**6
            assert wish.limit_price is None or fill.price <= wish.limit_price
        assert again.cash == run_.portfolio.cash
        for name, wish in ordered.items():
            assert sum(f.lots for f in run_.fills if f.order_id == name) <= wish.lots
        assert [o.id for o in run_.open] == ["deep"]
        assert not run_.rejections
        assert {f.liquidity for f in run_.fills if f.order_id == "rest"} == {"maker"}
        assert sum(f.lots for f in run_.fills if f.order_id == "take") == 200_000.0
    last = {model: max(f.time for f in run_.fills if f.order_id == "rest") for model, run_ in done.items()}
    assert last["proportional"] <= last["conservative"]


def test_a_market_order_in_a_recorded_book_pays_what_walking_its_levels_costs(real_market):
    events = recorded(real_market, "book")
    shown, wanted, cost = Book("BTC/USDT"), 5.0, 0.0
    for event in events[:40]:
        shown.update(event)
    for price, size in shown.depth(5_000)[1]:
        part = min(wanted, size)
        cost, wanted = cost + part * price, wanted - part
    venue = Venue(Costs(10.0, 10.0), {"BTC/USDT": Instrument("BTC/USDT", Decimal("0.00001"))}, 5.0, 1e9)
    order_ = Order("a", "main", "BTC/USDT", "buy", 500_000.0, events[39].time)
    before = [event for event in events[:40] if event.time < events[39].time]
    assert len(before) == 39
    done = drive_ticks([order_], events[:40], venue, 1e6)
    assert done.fills[0].price == pytest.approx(cost / 5.0, rel=1e-12)
    mid = (shown.best_bid[0] + shown.best_ask[0]) / 2
    assert done.fills[0].slippage == pytest.approx(cost - 5.0 * mid, rel=1e-6)
