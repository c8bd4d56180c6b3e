"""An engine that holds its exits: laws over random markets, then what each kind of exit, life and command does."""

import math
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.rehearsal import rehearse
from cryptoquant.backtest.wishes import Wishes
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order, Rejection
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel

SLICES = 80
LARGE = timedelta(hours=4)
GRID = np.array([np.nan, np.nan, np.nan, 0.0, 0.3, 0.6, 0.9])


def table(panel, seed):
    return np.random.default_rng(seed).choice(GRID, size=(len(panel), len(panel.symbols)))


class Hourly(Wishes):
    """Wishes that are silent between the rows of the table."""


class Watched(Engine):
    """An engine that checks its laws after every event, and remembers what it was shown and what it said."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.events, self.said, self.ids = [], [], set()

    def on(self, event):
        said = super().on(event)
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


executions = st.builds(
    Execution,
    band=st.sampled_from([0.0, 0.05]),
    limit_bps=st.sampled_from([None, 0.0, 60.0]),
    life=st.sampled_from([None, timedelta(hours=1), timedelta(hours=5)]),
    stop_loss=st.sampled_from([None, 0.02]),
    take_profit=st.sampled_from([None, 0.03]),
    trailing=st.sampled_from([None, 0.025]),
    parts=st.just(1),
)


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


venues = st.sampled_from([0.3, 0.02, math.inf]).map(lambda share: Venue(Costs.alpaca(), participation=share))
limits_given = st.sampled_from(
    [None, RiskLimits(), RiskLimits(price_collar=0.05, min_cash=0.3), RiskLimits(max_orders_per_minute=1)]
)


def watched(panel, seed, venue, plan, limits=None, cash=20_000.0):
    return Watched(
        Wishes(panel, table(panel, seed)), venue, panel.symbols, cash, execution=plan, limits=limits, holds=True
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), venue=venues, plan=plans(), limits=limits_given, absent=st.sampled_from([0.0, 0.2]))
def test_a_rehearsal_never_sells_what_it_does_not_hold_and_counts_what_it_asks(seed, venue, plan, limits, absent):
    panel = gapping_panel(SLICES, ("A/USD", "B/USD"), seed=seed, sigma=0.03, absent=absent)
    engine = watched(panel, seed, venue, plan, limits)
    run = rehearse(engine, panel, LARGE)
    gate, said = engine.gate, [one for many in engine.said for one in many]
    assert gate.approved + gate.refused == gate.asked
    assert gate.approved == sum(isinstance(one, Order) for one in said)
    assert gate.refused == sum(isinstance(one, Rejection) for one in said)
    assert not [one for one in run.rejections if "more than is held" in one.reason]
    again = watched(panel, seed, venue, plan, limits)
    assert [tuple(again.on(event)) for event in engine.events] == engine.said
