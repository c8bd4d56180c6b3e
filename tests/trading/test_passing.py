"""What an engine sends later follows the execution that it has by then, also after another one was swapped in."""

import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.trading.engine import Timer
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Cancel, Cancellation, Order
from tests.trading.test_held_exits import MINUTE, START, engine_of, fill, price_at, slice_at

PARTS = {"parts": 3, "pause": timedelta(minutes=1)}
MOVES = {"limit_bps": 4.0, "reprice": timedelta(minutes=1)}


@st.composite
def plans(draw):
    more = dict(draw(st.sampled_from([{}, {"limit_bps": 4.0}, {"limit_bps": 0.0}, MOVES])))
    more |= draw(st.sampled_from([{}, PARTS, {"parts": 2, "pause": timedelta(minutes=2)}]))
    more |= draw(st.sampled_from([{}, {"life": timedelta(minutes=3)}, {"trailing": 0.005}]))
    return more


def ends(said):
    return [Cancellation(one.order_id, "main", one.symbol, one.time) for one in said if isinstance(one, Cancel)]


def is_whole(order):
    """Whether an order has exactly the price that its type asks for, and no number that is none."""
    numbers = [one for one in (order.lots, order.limit_price, order.stop_price, order.trail) if one is not None]
    return all(math.isfinite(one) for one in numbers) and (order.limit_price is not None) == (order.type == "limit")


@settings(max_examples=200, deadline=None)
@given(
    before=plans(),
    after=plans(),
    swapped=st.integers(0, 3),
    steps=st.lists(st.sampled_from(["time", "price", "fill", "slice", "end"]), min_size=9, max_size=9),
)
def test_whatever_is_swapped_in_and_when_every_order_has_the_price_that_it_needs(before, after, swapped, steps):
    engine, sent, close = engine_of(0.5, **before), [], 100.0
    said = list(engine.on(slice_at(0, close)))
    for minute, step in enumerate(steps, 1):
        if minute - 1 == swapped:
            engine.change(execution=Execution(reserve=0.0, band=0.0, **after))
        close *= 1.003 if minute % 3 else 0.99
        if step == "time":
            said += engine.on(Timer(START + minute * MINUTE))
        elif step == "price":
            said += engine.on(price_at(minute, close))
        elif step == "slice":
            engine.strategy.weights["A"] = 0.5 - engine.strategy.weights["A"]
            said += engine.on(slice_at(minute, close))
        elif step == "fill" and engine.in_flight:
            said += fill(engine, next(iter(engine.in_flight.values())), minute, close)
        elif step == "end":
            for event in ends(said):
                said += engine.on(event)
            said = [one for one in said if not isinstance(one, Cancel)]
        sent += [one for one in said if isinstance(one, Order)]
    assert all(is_whole(one) for one in sent), [one for one in sent if not is_whole(one)]


def test_parts_that_are_due_go_at_the_market_once_the_execution_knows_no_limit():
    engine = engine_of(0.5, limit_bps=4.0, life=timedelta(minutes=9), stop_loss=0.02, **PARTS)
    (first,) = engine.on(slice_at(0, 100.0))
    assert first.type == "limit"
    engine.change(execution=Execution(reserve=0.0, band=0.0))
    (second,) = engine.on(Timer(START + MINUTE))
    assert (second.type, second.time_in_force, second.limit_price, second.expires) == ("market", "gtc", None, 0)
    assert (second.lots, second.side, second.protection) == (first.lots, "buy", first.protection)


def test_an_order_that_moves_while_another_execution_comes_goes_on_at_the_market():
    engine = engine_of(0.5, **MOVES)
    (order,) = engine.on(slice_at(0, 100.0))
    (wish,) = engine.on(price_at(2, 101.0))
    engine.change(execution=Execution(reserve=0.0, band=0.0))
    (again,) = engine.on(Cancellation(wish.order_id, "main", "A/USD", START + 2 * MINUTE))
    assert (again.id, again.type, again.limit_price, again.lots) == (f"{order.id}p1", "market", None, order.lots)


def test_parts_take_the_limit_of_the_execution_that_has_one():
    engine = engine_of(0.5, limit_bps=4.0, **PARTS)
    engine.on(slice_at(0, 100.0))
    engine.change(execution=Execution(reserve=0.0, band=0.0, limit_bps=100.0))
    (second,) = engine.on(Timer(START + MINUTE))
    assert (second.type, second.limit_price) == ("limit", pytest.approx(99.0))
