"""What each exit, life, new price, command and limit of an engine does that holds them, event by event."""

from datetime import timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from cryptoquant.market.price import Price
from cryptoquant.market.schema import Quote
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.at_venue import at_venue
from cryptoquant.trading.engine import Command, Engine, Timer
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Order, Rejection, reject
from cryptoquant.trading.resting import execute
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Costs, Venue

MINUTE = 60 * 10**9
START = 1_700_000_040 * 10**9
VENUE = Venue.alpaca(Costs.free())


class Wants:
    """Wants what it is told."""

    lookback = 1

    def __init__(self, **weights):
        self.weights = weights

    def decide(self, view):
        return {f"{name}/USD": weight for name, weight in self.weights.items()}


def slice_at(minute, close, symbols=("A/USD",)):
    values = np.full((len(symbols), len(FIELDS)), float(close))
    return Slice(START + minute * MINUTE, START + minute * MINUTE, symbols, values)


def price_at(minute, low, high=None, symbol="A/USD"):
    moment, high = START + minute * MINUTE, low if high is None else high
    return Price(symbol, moment, moment, low, high, (low + high) / 2)


def engine_of(weight=1.0, limits=None, venue=VENUE, cash=1_000.0, **execution):
    plan = Execution(reserve=0.0, band=0.0, **execution) if "reserve" not in execution else Execution(**execution)
    return Engine(Wants(A=weight), venue, ("A/USD",), cash, execution=plan, limits=limits, holds=True)


def fill(engine, order, minute, price, lots=None, number=0):
    part = order if lots is None else replace(order, lots=lots)
    done = execute(part, price, START + minute * MINUTE, VENUE, "taker")
    return engine.on(replace(done, execution_id=f"{order.id}-{number}", reason=engine.reason_of(order.id)))


def opened(weight=0.5, **more):
    """An engine that holds half of its 1,000 USD in a coin that was bought at 100."""
    engine = engine_of(weight, **more)
    (order,) = engine.on(slice_at(0, 100.0))
    fill(engine, order, 0, 100.0)
    return engine, order


def test_a_stop_sends_a_market_order_when_a_price_reaches_it_and_its_target_ends_with_it():
    engine, entry = opened(stop_loss=0.02, take_profit=0.04)
    assert [one.order.id for one in engine.held.exits] == [f"{entry.id}s0", f"{entry.id}t0"]
    assert engine.is_waiting
    assert not engine.heeds(price_at(1, 98.01, 103.9))
    (sent,) = engine.on(price_at(1, 97.9, 104.1))
    assert (sent.id, sent.type, sent.side, sent.lots) == (f"{entry.id}s0", "market", "sell", entry.lots)
    assert at_venue(sent) == Order(sent.id, "main", "A/USD", "sell", entry.lots, sent.time)
    assert engine.reason_of(sent.id) == "stop"
    assert engine.on(price_at(2, 90.0, 110.0)) == ()
    fill(engine, sent, 2, 97.0)
    assert not engine.held.exits
    assert not engine.is_waiting
    assert not engine.on(slice_at(3, 97.0))


def test_a_target_sends_what_it_guards_at_its_price_or_not_at_all():
    engine, entry = opened(stop_loss=0.02, take_profit=0.04)
    (sent,) = engine.on(price_at(1, 100.0, 104.0))
    assert (sent.id, sent.type, sent.time_in_force, sent.limit_price) == (f"{entry.id}t0", "limit", "ioc", 104.0)
    assert engine.on(Cancellation(sent.id, "main", "A/USD", sent.time)) == []
    (again,) = engine.on(price_at(2, 103.0, 104.5))
    assert again.id == f"{entry.id}t0r1"
    fill(engine, again, 2, 104.0, entry.lots / 2)
    assert {one.left for one in engine.held.exits} == {entry.lots / 2}
    engine.on(Cancellation(again.id, "main", "A/USD", again.time))
    (stop,) = engine.on(price_at(3, 90.0, 91.0))
    assert (stop.id, stop.lots) == (f"{entry.id}s0", entry.lots / 2)


def test_a_trailing_stop_is_judged_before_its_best_price_moves_on():
    engine, entry = opened(trailing=0.1)
    assert engine.heeds(price_at(1, 95.0, 120.0))
    assert engine.on(price_at(1, 95.0, 120.0)) == []
    assert not engine.heeds(price_at(2, 109.0, 119.0))
    (sent,) = engine.on(price_at(3, 108.0, 140.0))
    assert (sent.id, sent.type) == (f"{entry.id}s0", "market")


def test_a_price_from_before_the_fill_does_not_trigger_its_stop():
    engine, _ = opened(stop_loss=0.02)
    assert not engine.heeds(price_at(0, 50.0))
    assert engine.heeds(price_at(1, 50.0))


def test_a_refused_exit_stays_held_and_is_sent_again_at_the_next_price_only():
    engine, _ = opened(stop_loss=0.02)
    for count in range(3):
        (sent,) = engine.on(price_at(count + 1, 97.0))
        assert sent.id.endswith("s0" if count == 0 else f"s0r{count}")
        assert engine.on(reject(sent, "venue: busy", sent.time)) == []


def test_a_stop_cancels_the_resting_sell_that_reserves_its_coins_and_goes_when_they_are_free():
    engine, entry = opened(stop_loss=0.02, limit_bps=100.0)
    engine.strategy.weights["A"] = 0.0
    (resting,) = engine.on(slice_at(1, 100.0))
    assert (resting.type, resting.side) == ("limit", "sell")
    (wish,) = engine.on(price_at(2, 97.0))
    assert wish == Cancel(resting.id, "main", "A/USD", START + 2 * MINUTE)
    assert engine.on(price_at(3, 96.0)) == ()
    (sent,) = engine.on(Cancellation(resting.id, "main", "A/USD", START + 3 * MINUTE))
    assert (sent.id, sent.type, sent.lots) == (f"{entry.id}s0", "market", entry.lots)


def test_a_fill_too_small_for_an_order_of_its_own_joins_the_exits_of_the_one_before():
    engine = engine_of(0.5, stop_loss=0.02)
    (order,) = engine.on(slice_at(0, 100.0))
    fill(engine, order, 0, 100.0, order.lots * 0.99)
    fill(engine, order, 0, 100.0, order.lots * 0.01, number=1)
    (sent,) = engine.on(price_at(1, 97.0))
    assert sent.lots == order.lots
    assert sent.lots == engine.portfolio.held("A/USD")


def test_an_exit_above_the_largest_order_is_sent_in_slices():
    engine = engine_of(0.5, cash=1_000_000.0, stop_loss=0.5)
    for order in engine.on(slice_at(0, 100.0)):
        fill(engine, order, 0, 100.0)
    engine.held.exits[:] = engine.held.exits[:1]
    engine.held.exits[0].left = 5e12
    sent = engine.on(price_at(1, 49.0))
    assert sum(order.lots for order in sent) == engine.portfolio.held("A/USD") == 5e12
    assert [order.id[-4:] for order in sent] == ["-0s0", "s0r1"]
    assert all(order.lots * 1e-9 * 49.0 <= VENUE.maximum_notional for order in sent)


def test_a_target_does_not_sell_the_coins_of_others_while_its_own_stop_is_at_work():
    engine = engine_of(0.5, stop_loss=0.02, take_profit=0.1)
    (order,) = engine.on(slice_at(0, 100.0))
    fill(engine, order, 0, 100.0, order.lots / 2)
    fill(engine, order, 0, 90.0, order.lots / 2, number=1)
    assert [one.id for one in engine.on(price_at(1, 97.5, 98.5))] == [f"{order.id}s0"]
    assert [one.id for one in engine.on(price_at(2, 97.0, 111.0))] == [f"{order.id}t1"]


def test_a_life_that_ends_is_cancelled_once():
    engine = engine_of(0.5, limit_bps=10.0, life=timedelta(minutes=5))
    (order,) = engine.on(slice_at(0, 100.0))
    assert at_venue(order).time_in_force == "gtc"
    assert not engine.heeds(Timer(START + 5 * MINUTE - 1))
    assert engine.on(Timer(START + 5 * MINUTE)) == [Cancel(order.id, "main", "A/USD", START + 5 * MINUTE)]
    assert engine.on(Timer(START + 6 * MINUTE)) == ()


def test_parts_go_one_by_one_at_the_price_of_their_moment_and_the_symbol_is_busy_until_then():
    engine = engine_of(0.9, limit_bps=0.0, parts=3, pause=timedelta(minutes=2))
    (first,) = engine.on(slice_at(0, 100.0))
    fill(engine, first, 0, 100.0)
    assert not engine.on(slice_at(1, 100.0))
    assert not engine.heeds(price_at(1, 50.0))
    (second,) = engine.on(price_at(2, 101.0))
    assert (second.id[-2:], second.limit_price, second.time) == ("-1", 101.0, START + 2 * MINUTE)
    (third,) = engine.on(Timer(START + 4 * MINUTE))
    assert first.lots == second.lots == third.lots
    assert not engine.working.due


def test_parts_that_would_open_again_what_a_stop_closed_are_dropped():
    engine = engine_of(0.9, stop_loss=0.02, parts=3, pause=timedelta(minutes=2))
    (first,) = engine.on(slice_at(0, 100.0))
    fill(engine, first, 0, 100.0)
    (sent,) = engine.on(price_at(1, 97.0))
    fill(engine, sent, 1, 97.0)
    assert not engine.working.due


def test_an_old_limit_order_moves_with_the_price_until_the_strategy_wants_something_else():
    engine = engine_of(0.5, limit_bps=10.0, reprice=timedelta(minutes=2))
    (order,) = engine.on(slice_at(0, 100.0))
    assert not engine.heeds(price_at(1, 110.0))
    assert not engine.heeds(price_at(2, 100.0))
    assert engine.on(price_at(2, 110.0)) == [Cancel(order.id, "main", "A/USD", START + 2 * MINUTE)]
    fill(engine, order, 2, 99.9, order.lots / 4)
    (moved,) = engine.on(Cancellation(order.id, "main", "A/USD", START + 2 * MINUTE))
    assert (moved.id, moved.limit_price, moved.lots) == (f"{order.id}p1", 109.89, order.lots - order.lots / 4)
    engine.on(price_at(4, 120.0))
    (again,) = engine.on(Cancellation(moved.id, "main", "A/USD", START + 4 * MINUTE))
    assert again.id == f"{order.id}p2"
    engine.strategy.weights["A"] = 0.0
    assert engine.on(slice_at(5, 120.0)) == [Cancel(again.id, "main", "A/USD", START + 5 * MINUTE)]
    assert engine.on(Cancellation(again.id, "main", "A/USD", START + 5 * MINUTE)) == []


def test_an_order_that_was_cancelled_by_command_is_not_moved():
    engine = engine_of(0.5, limit_bps=10.0, reprice=timedelta(minutes=2))
    (order,) = engine.on(slice_at(0, 100.0))
    engine.on(Command("1", "cancel", START))
    assert not engine.heeds(price_at(3, 110.0))
    engine.on(price_at(3, 110.0))
    assert engine.on(Cancellation(order.id, "main", "A/USD", START + 3 * MINUTE)) == []


def test_repricing_is_refused_where_the_engine_does_not_hold_its_orders():
    plan = Execution(limit_bps=1.0, reprice=timedelta(minutes=1))
    with pytest.raises(ValueError, match="reprice needs an engine that holds"):
        Engine(Wants(A=1.0), VENUE, ("A/USD",), 1_000.0, execution=plan)


def test_a_profile_whose_exits_could_not_be_named_is_refused_before_it_trades():
    symbols = ("SHIB/USDC",)
    Engine(Wants(), VENUE, symbols, 1.0, profile="a" * 15, holds=True)
    with pytest.raises(ValueError, match="shorten the profile"):
        Engine(Wants(), VENUE, symbols, 1.0, profile="a" * 16, holds=True)
    Engine(Wants(), VENUE, symbols, 1.0, profile="a" * 16)


@pytest.mark.parametrize(("shut", "open_"), [("halt", "resume"), ("pause", "unpause"), ("pause", "resume")])
def test_a_halted_or_paused_engine_opens_nothing_cancels_what_would_and_lets_exits_act(shut, open_):
    engine, entry = opened(0.5, stop_loss=0.02, limit_bps=10.0)
    engine.strategy.weights["A"] = 0.9
    (more,) = engine.on(slice_at(1, 100.0))
    (wish,) = engine.on(Command("1", shut, START + MINUTE, "by hand"))
    assert wish == Cancel(more.id, "main", "A/USD", START + MINUTE)
    engine.on(Cancellation(more.id, "main", "A/USD", START + MINUTE))
    (refused,) = engine.on(slice_at(2, 100.0))
    assert isinstance(refused, Rejection)
    assert refused.reason == "by hand"
    (sent,) = engine.on(price_at(3, 97.0))
    assert sent.id == f"{entry.id}s0"
    engine.on(Cancellation(sent.id, "main", "A/USD", START + 3 * MINUTE))
    engine.on(Command("2", open_, START + 3 * MINUTE))
    assert isinstance(engine.on(slice_at(4, 100.0))[0], Order)


def test_unpausing_does_not_open_a_gate_that_a_halt_has_shut():
    engine = engine_of(0.5)
    engine.on(Command("1", "halt", START))
    engine.on(Command("2", "unpause", START))
    assert isinstance(engine.on(slice_at(1, 100.0))[0], Rejection)


def test_close_cancels_first_then_sells_everything_when_the_coins_are_free_and_pauses():
    engine, _ = opened(0.5, stop_loss=0.02, limit_bps=10.0)
    engine.strategy.weights["A"] = 0.9
    (more,) = engine.on(slice_at(1, 100.0))
    assert engine.on(Command("1", "close", START + MINUTE)) == [Cancel(more.id, "main", "A/USD", START + MINUTE)]
    fill(engine, more, 1, 99.9, 1e9)
    (sale,) = engine.on(Cancellation(more.id, "main", "A/USD", START + MINUTE))
    assert (sale.type, sale.side, sale.lots) == ("market", "sell", engine.portfolio.held("A/USD"))
    assert engine.reason_of(sale.id) == ""
    assert engine.on(reject(sale, "venue: busy", sale.time)) == []
    (again,) = engine.on(price_at(2, 100.0))
    assert again.id == f"{sale.id}r1"
    fill(engine, again, 2, 100.0)
    assert not engine.held.exits
    assert isinstance(engine.on(slice_at(3, 100.0))[0], Rejection)
    engine.on(Command("2", "unpause", START + 3 * MINUTE))
    assert isinstance(engine.on(slice_at(4, 100.0))[0], Order)


def test_cancel_ends_every_open_order_and_leaves_the_engine_trading():
    engine = engine_of(0.5, limit_bps=10.0, parts=2, pause=timedelta(minutes=1))
    (order,) = engine.on(slice_at(0, 100.0))
    assert engine.on(Command("1", "cancel", START)) == [Cancel(order.id, "main", "A/USD", START)]
    assert engine.on(Command("2", "cancel", START)) == []
    assert not engine.working.due
    engine.on(Cancellation(order.id, "main", "A/USD", START))
    assert isinstance(engine.on(slice_at(1, 100.0))[0], Order)


def test_a_changed_engine_keeps_its_books_and_exits():
    engine, entry = opened(stop_loss=0.02)
    engine.change(strategy=Wants(A=0.0), execution=Execution(band=0.0), limits=RiskLimits(max_orders_per_minute=5))
    assert engine.limits.max_orders_per_minute == 5
    (sent,) = engine.on(price_at(1, 97.0))
    assert sent.id == f"{entry.id}s0"
    engine.on(Cancellation(sent.id, "main", "A/USD", START + MINUTE))
    (sale,) = engine.on(slice_at(2, 100.0))
    assert (sale.side, sale.protection) == ("sell", None)


def reason_of(limits, *events):
    engine = engine_of(0.5, limits=limits)
    said = [one for event in events for one in engine.on(event)]
    return said[-1].reason if isinstance(said[-1], Rejection) else ""


def quote(minute, bid, ask):
    moment = START + minute * MINUTE
    return Price.of_quote(Quote("A/USD", moment, moment, bid, 1.0, ask, 1.0))


def test_a_price_too_far_from_the_close_before_is_refused():
    limits = RiskLimits(price_collar=0.1)
    for jump, is_refused in ((111.0, True), (109.0, False)):
        flat = Engine(Wants(A=0.0), VENUE, ("A/USD",), 1_000.0, limits=limits, holds=True)
        flat.on(slice_at(0, 100.0))
        flat.strategy.weights["A"] = 0.5
        (said,) = flat.on(slice_at(1, jump))
        assert isinstance(said, Rejection) is is_refused


def test_a_buy_must_leave_the_cash_that_is_asked_for():
    assert reason_of(RiskLimits(min_cash=0.6), slice_at(0, 100.0)).startswith("cash would fall below 60.0%")
    assert reason_of(RiskLimits(min_cash=0.4), slice_at(0, 100.0)) == ""


def test_the_cash_that_must_be_left_counts_buys_in_flight():
    symbols, limits = ("A/USD", "B/USD"), RiskLimits(min_cash=0.3)
    plan = Execution(reserve=0.0, limit_bps=10.0)
    engine = Engine(Wants(A=0.4), VENUE, symbols, 1_000.0, execution=plan, limits=limits, holds=True)
    (first,) = engine.on(slice_at(0, 100.0, symbols))
    engine.strategy.weights["B"] = 0.4
    (refused,) = engine.on(slice_at(1, 100.0, symbols))
    assert refused.reason == "cash would fall below 30.0% of the equity"
    engine.on(Cancellation(first.id, "main", "A/USD", START + MINUTE))
    engine.strategy.weights = {"B": 0.4}
    assert isinstance(engine.on(slice_at(2, 100.0, symbols))[0], Order)


def test_a_wide_spread_is_refused_until_a_narrow_one_is_quoted_and_no_quote_is_not_judged():
    limits = RiskLimits(max_spread_bps=20.0)
    assert reason_of(limits, slice_at(0, 100.0)) == ""
    assert reason_of(limits, quote(0, 99.0, 101.0), slice_at(1, 100.0)) == "spread 200.0 bps above 20.0 bps"
    assert reason_of(limits, quote(0, 99.0, 101.0), quote(0, 99.99, 100.01), slice_at(1, 100.0)) == ""
    engine = engine_of(0.5, limits=limits)
    assert engine.is_waiting
    assert not engine.heeds(quote(0, 99.99, 100.01))
    assert engine.heeds(quote(0, 99.0, 101.0))


def test_a_signal_of_a_strange_row_opens_nothing():
    limits = RiskLimits(max_dissimilarity=1.5)

    def signal(dissimilarity):
        return Signal("m", "A/USD", START, START, "score", 1.0, MINUTE, dissimilarity)

    assert reason_of(limits, signal(2.0), slice_at(0, 100.0)) == "signal's dissimilarity 2.00 above 1.50"
    assert reason_of(limits, signal(1.0), slice_at(0, 100.0)) == ""
    assert reason_of(limits, signal(None), slice_at(0, 100.0)) == ""


@pytest.mark.parametrize("name", ["price_collar", "max_spread_bps", "max_dissimilarity"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=name):
        RiskLimits(**{name: 0.0})
    with pytest.raises(ValueError, match="min_cash"):
        RiskLimits(min_cash=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": 2},
        {"pause": timedelta(minutes=1)},
        {"parts": 0},
        {"parts": 101, "pause": timedelta(minutes=1)},
        {"parts": 2, "pause": timedelta(0)},
        {"reprice": timedelta(minutes=1)},
        {"limit_bps": 1.0, "reprice": timedelta(0)},
    ],
)
def test_an_execution_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"parts|pause|reprice"):
        Execution(**wrong)


def test_an_execution_comes_back_from_its_numbers():
    plan = Execution(limit_bps=1.0, parts=3, pause=timedelta(seconds=90), reprice=timedelta(minutes=2))
    assert Execution.from_dict(plan.to_dict()) == plan
    old = {name: value for name, value in Execution().to_dict().items() if name not in ("parts", "pause", "reprice")}
    assert Execution.from_dict(old) == Execution()


def test_an_exit_that_is_refused_for_want_of_coins_rests_longer_each_time_and_wakes_when_the_books_are_corrected():
    engine, _ = opened(stop_loss=0.02)
    sent, minutes = [], range(1, 200)
    for minute in minutes:
        for order in engine.on(price_at(minute, 97.0)):
            sent.append(minute)
            reason = "venue: insufficient balance for A (requested: 5, available: 4)"
            engine.on(reject(order, reason, START + minute * MINUTE))
    assert sent == [1, 7, 18, 39, 80, 141]
    assert engine.held.stuck == {"A/USD"}
    held = engine.portfolio.held("A/USD")
    engine.on(Adjustment("fee", "main", "A/USD", -held / 100, 0.0, START + 199 * MINUTE, "a fee"))
    (order,) = engine.on(price_at(200, 97.0))
    assert order.lots == pytest.approx(held * 0.99)
    fill(engine, order, 200, 97.0)
    assert not engine.held.exits


def test_three_refusals_of_any_kind_make_an_exit_rest_and_a_fill_between_them_does_not():
    engine, _ = opened(stop_loss=0.02)
    for minute in (1, 2):
        (order,) = engine.on(price_at(minute, 97.0))
        engine.on(reject(order, "venue: busy", order.time))
    (order,) = engine.on(price_at(3, 97.0))
    fill(engine, order, 3, 97.0, order.lots / 2)
    engine.on(reject(order, "venue: busy", order.time))
    assert not engine.held.stuck
    for minute in (4, 5):
        (order,) = engine.on(price_at(minute, 97.0))
        engine.on(reject(order, "venue: busy", order.time))
    assert engine.on(price_at(6, 97.0)) == ()


@pytest.mark.parametrize("action", ["unpause", "resume"])
def test_what_is_bought_after_a_close_is_not_sold_by_it(action):
    engine, _ = opened(0.5)
    (sale,) = engine.on(Command("1", "close", START + MINUTE))
    engine.on(Command("2", action, START + MINUTE))
    fill(engine, sale, 1, 100.0, sale.lots / 2)
    engine.on(Cancellation(sale.id, "main", "A/USD", START + MINUTE))
    assert not engine.held.exits
    assert engine.on(price_at(2, 100.0)) == ()
    (again,) = engine.on(Command("3", "close", START + 2 * MINUTE))
    assert again.lots == engine.portfolio.held("A/USD")


def test_a_close_that_leaves_less_than_the_venue_takes_is_over():
    engine, _ = opened(0.5)
    (sale,) = engine.on(Command("1", "close", START + MINUTE))
    fill(engine, sale, 1, 100.0, sale.lots - 1e7)
    engine.on(Cancellation(sale.id, "main", "A/USD", START + MINUTE))
    assert engine.portfolio.held("A/USD") > 0.0
    assert not engine.held.exits
    assert engine.on(Command("2", "close", START + 2 * MINUTE)) == []
    assert not engine.held.exits
