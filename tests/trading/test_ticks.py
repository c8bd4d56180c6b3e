"""Orders against quotes, trades and books in markets worked out by hand."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.trading.order import Cancel, Cancellation, Order, Protection, Rejection
from cryptoquant.trading.queue_position import Place, after_display, after_trade
from cryptoquant.trading.ticks import drive_ticks
from cryptoquant.trading.venue import Costs, Venue
from tests.trading.ticks import (
    BTC,
    LOT,
    SPOT,
    S,
    book,
    fills,
    matcher,
    order,
    quote,
    run,
    trade,
)

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
