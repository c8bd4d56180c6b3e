"""An engine that holds its exits: laws over random markets."""

import copy
import dataclasses
import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.rehearsal import rehearse
from cryptoquant.backtest.wishes import Wishes
from cryptoquant.market.price import Price
from cryptoquant.trading.engine import Command, Engine
from cryptoquant.trading.execution import Execution, Working
from cryptoquant.trading.order import Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, gapping_panel

SLICES = 80
LARGE = timedelta(hours=4)
GRID = np.array([np.nan, np.nan, np.nan, 0.0, 0.3, 0.6, 0.9])
PAIRS = ("A/USD", "B/USD")


def table(panel, seed):
    return np.random.default_rng(seed).choice(GRID, size=(len(panel), len(panel.symbols)))


def snapshot(engine, *, with_marks=True):
    """Everything that an engine knows and could act on, as text."""
    book, gate = engine.portfolio, engine.gate
    marks = book.marks.tolist() if with_marks else None
    state = gate.state if with_marks else dataclasses.replace(gate.state, before=None)
    counts = gate.asked, gate.approved, gate.refused
    return repr((book.lots, book.cash, marks, engine.working, state, engine.held.exits, counts))


class Watched(Engine):
    """An engine that checks its laws after every event, and remembers what it was shown and what it said."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.events, self.said, self.ids, self.unheeded = [], [], set(), 0

    def on(self, event):
        is_heeded, before = self.heeds(event), snapshot(self)
        if not is_heeded and self.unheeded < 8:
            self._check_that_nothing_is_missed(event)
        said = super().on(event)
        if not is_heeded:
            self.unheeded += 1
            assert said == ()
            assert snapshot(self) == before
        self.events.append(event)
        self.said.append(tuple(said))
        for one in said:
            if isinstance(one, Order):
                assert one.id not in self.ids
                assert len(one.id) <= 48
                self.ids.add(one.id)
        for symbol in self.portfolio.symbols:
            held = self.portfolio.held(symbol)
            assert held >= 0.0
            assert self.working.in_flight_lots(symbol, "sell") <= held
            if held == 0.0:
                assert not [one for one in self.held.exits if one.order.symbol == symbol and not one.closes_all]
        return said

    def _check_that_nothing_is_missed(self, event):
        """Act on what is not heeded in a copy: nothing may come of it but another mark."""
        other = copy.deepcopy(self)
        before = snapshot(other, with_marks=False)
        assert not (other._price(event) if isinstance(event, Price) else other.passing.on(event.time))
        assert snapshot(other, with_marks=False) == before


@st.composite
def plans(draw):
    more = {}
    if draw(st.booleans()):
        more |= {"parts": draw(st.integers(2, 5)), "pause": timedelta(hours=draw(st.integers(1, 3)))}
    limit = draw(st.sampled_from([None, 0.0, 60.0]))
    if limit is not None and draw(st.booleans()):
        more["reprice"] = timedelta(hours=draw(st.integers(1, 4)))
    return Execution(
        band=draw(st.sampled_from([0.0, 0.05])),
        limit_bps=limit,
        life=draw(st.sampled_from([None, timedelta(hours=1), timedelta(hours=5)])),
        stop_loss=draw(st.sampled_from([None, 0.02])),
        take_profit=draw(st.sampled_from([None, 0.03])),
        trailing=draw(st.sampled_from([None, 0.025])),
        **more,
    )


seeds = st.integers(0, 10_000)
venues = st.sampled_from([0.3, 0.02, math.inf]).map(lambda share: Venue(Costs.alpaca(), participation=share))
limits_given = st.sampled_from(
    [None, RiskLimits(), RiskLimits(price_collar=0.05, min_cash=0.3), RiskLimits(max_orders_per_minute=1)]
)


def watched(panel, seed, venue, plan, limits=None, cash=20_000.0):
    wishes = Wishes(panel, table(panel, seed))
    return Watched(wishes, venue, panel.symbols, cash, execution=plan, limits=limits, holds=True)


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    venue=venues,
    plan=plans(),
    limits=limits_given,
    absent=st.sampled_from([0.0, 0.2]),
    cash=st.sampled_from([100.0, 20_000.0, 2_000_000.0]),
)
def test_a_rehearsal_never_sells_what_it_does_not_hold_counts_what_it_asks_and_can_be_replayed(
    seed, venue, plan, limits, absent, cash
):
    panel = gapping_panel(SLICES, PAIRS, seed=seed, sigma=0.03, absent=absent)
    engine = watched(panel, seed, venue, plan, limits, cash)
    run = rehearse(engine, panel, LARGE)
    gate, said = engine.gate, [one for many in engine.said for one in many]
    assert gate.approved + gate.refused == gate.asked
    assert gate.approved == sum(isinstance(one, Order) for one in said)
    assert gate.refused == sum(isinstance(one, Rejection) for one in said)
    assert not [one for one in run.rejections if "more than is held" in one.reason]
    again = watched(panel, seed, venue, plan, limits, cash)
    assert [tuple(again.on(event)) for event in engine.events] == engine.said
    assert snapshot(again) == snapshot(engine)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, venue=venues, limit=st.sampled_from([None, 0.0, 60.0]), parts=st.integers(1, 4), limits=limits_given)
def test_an_engine_that_has_nothing_to_hold_does_the_same_to_the_bit(seed, venue, limit, parts, limits):
    symbols = PAIRS if parts == 1 else PAIRS[:1]  # a part is sent before the other symbol's price is known
    panel = gapping_panel(SLICES, symbols, seed=seed, sigma=0.03)
    pause = timedelta(hours=2) if parts > 1 else None
    plan = Execution(band=0.0, limit_bps=limit, parts=parts, pause=pause)
    holding = rehearse(watched(panel, seed, venue, plan, limits), panel, timedelta(hours=1))
    wishes = Wishes(panel, table(panel, seed))
    plain = drive(Engine(wishes, venue, symbols, 20_000.0, execution=plan, limits=limits), panel, {})
    assert holding.orders == plain.orders
    assert holding.fills == plain.fills
    assert holding.rejections == plain.rejections
    assert np.array_equal(holding.equity, plain.equity)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, plan=plans(), commands=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(
    ["halt", "resume", "pause", "unpause", "cancel", "close"])), max_size=6))  # fmt: skip
def test_commands_at_any_moment_keep_the_laws_and_a_halted_engine_opens_nothing(seed, plan, commands):
    panel = gapping_panel(SLICES, PAIRS, seed=seed, sigma=0.03)
    engine = watched(panel, seed, Venue(Costs.alpaca(), participation=0.1), plan)
    rehearse(Commanded(engine, dict(commands)), panel, LARGE)


@pytest.mark.deep
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_both_hold_in_many_more_markets(data):
    never, at_any = (
        test_a_rehearsal_never_sells_what_it_does_not_hold_counts_what_it_asks_and_can_be_replayed,
        test_commands_at_any_moment_keep_the_laws_and_a_halted_engine_opens_nothing,
    )
    seed, plan = data.draw(seeds), data.draw(plans())
    absent, cash = data.draw(st.sampled_from([0.0, 0.2])), data.draw(st.sampled_from([100.0, 20_000.0, 2_000_000.0]))
    never.hypothesis.inner_test(seed, data.draw(venues), plan, data.draw(limits_given), absent, cash)
    actions = st.sampled_from(["halt", "resume", "pause", "unpause", "cancel", "close"])
    at_any.hypothesis.inner_test(seed, plan, data.draw(st.lists(st.tuples(st.integers(0, 60), actions), max_size=6)))


class Commanded:
    """An engine that is given commands after the events of these numbers, as by an operator."""

    def __init__(self, engine, commands):
        self.engine, self.commands, self.seen = engine, commands, 0

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def on(self, event):
        is_shut = bool(self.engine.risk.halted or self.engine.risk.paused)
        said = list(self.engine.on(event))
        assert not [one for one in said if is_shut and isinstance(one, Order) and one.side == "buy"]
        action = self.commands.get(self.seen)
        self.seen += 1
        if action is not None:
            said += self.engine.on(Command(f"c{self.seen}", action, event.time))
        return said


@given(
    value=st.floats(20.0, 900_000.0),
    price=st.floats(1.0, 90_000.0),
    parts=st.integers(1, 50),
    is_whole=st.booleans(),
)
def test_the_parts_of_a_change_are_the_whole_and_due_one_pause_after_the_other(value, price, parts, is_whole):
    venue = Venue.alpaca() if is_whole else Venue.research()
    pause = timedelta(minutes=7)
    book = Portfolio(("A/USD",), venue, value)
    book.mark(np.array([price]))
    whole, _ = Execution(reserve=0.05).orders({"A/USD": 1.0}, book, venue, HOUR, Working())
    plan = Execution(reserve=0.05, parts=parts, pause=pause if parts > 1 else None)
    legs, _ = plan.orders({"A/USD": 1.0}, book, venue, HOUR, Working())
    total = math.fsum(leg.lots for leg in legs)
    assert total == sum(order.lots for order in whole) if is_whole else math.isclose(total, whole[0].lots)
    lots = [leg.lots for leg in legs]
    assert max(lots) - min(lots) <= (1.0 if is_whole else 0.0)
    moments = sorted({leg.time for leg in legs})
    assert moments == [HOUR + place * 7 * 60 * 10**9 for place in range(len(moments))]
    assert len(moments) <= parts
    assert len({leg.id for leg in legs}) == len(legs)
    if is_whole:
        assert min(lots) * book.lot[0] * price >= venue.minimum_notional
