"""The loop without a desk says what the loop with one says, and rows are passed only when they change nothing."""

import math
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest import simulator
from cryptoquant.backtest.desk import SENT_LOTS
from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.quiet import keeps, next_wish
from cryptoquant.backtest.simulator import simulate_weights
from cryptoquant.compiled import plain
from cryptoquant.market.instrument import Instrument
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution, is_tradable, wanted_lots
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.venue import Costs, Venue
from tests.backtest.test_two_drivers import SLICES, Replayed, assert_same, market_of, markets, venues
from tests.market_makers import gapping_panel

plans = st.builds(Execution, reserve=st.sampled_from([0.0, 0.03]), band=st.sampled_from([0.0, 0.05, 1.0]))


def traces(weights, panel, venue, cash, plan):
    """What both loops leave behind; the first must be the one without a desk."""
    with patch.object(simulator, "run_market", side_effect=AssertionError("the loop with a desk was taken")):
        short = simulate_weights(weights, panel, venue, cash, plan).read.trace
    with patch.object(simulator, "is_enough", return_value=False):
        return short, simulate_weights(weights, panel, venue, cash, plan).read.trace


def assert_same_traces(short, long):
    for name, one, two in zip(short._fields, short, long, strict=True):
        assert np.array_equal(one, two, equal_nan=True), name


@settings(max_examples=100)
@given(
    market=markets,
    venue=venues(),
    plan=plans,
    levels=st.sampled_from([[0.0, 0.2, 0.5, 0.9, 1.3], [-0.8, -0.3, 0.0, 0.5, 1.5]]),
    absent=st.sampled_from([0.0, 0.5, 0.95]),
    cash=st.sampled_from([15.0, 1_000.0, 20_000.0, 2_000_000.0]),
)
def test_both_loops_leave_the_same_records(market, venue, plan, levels, absent, cash):
    panel, venue = market_of(*market), replace(venue, participation=math.inf, financing=None)
    rng = np.random.default_rng(market[0] + 1)
    weights = rng.choice(levels, size=(SLICES, len(panel.symbols)))
    weights[rng.random(weights.shape) < absent] = np.nan
    assert_same_traces(*traces(weights, panel, venue, cash, plan))


@pytest.mark.parametrize("absent", [0.2, 0.9])
def test_the_records_grow_with_many_symbols_and_with_many_slices_of_an_order(absent):
    names = tuple(f"S{number:03d}/USD" for number in range(90))
    panel = gapping_panel(40, names, seed=3, sigma=0.02, absent=absent)
    weights = np.random.default_rng(4).dirichlet(np.ones(90), size=40)
    short, long = traces(weights, panel, Venue.alpaca(Costs.free()), 5e8, Execution(band=0.0))
    assert len(short.sent) > 2_000
    assert short.sent[:, 2].max() > 20
    assert_same_traces(short, long)


def test_refusals_alone_grow_their_record():
    panel = gapping_panel(60, ("A/USD", "B/USD", "C/USD"), seed=6)
    short, long = traces(np.full((60, 3), -0.5), panel, Venue.alpaca(), 1_000.0, Execution())
    assert len(short.ends) == 180
    assert_same_traces(short, long)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), cash=st.sampled_from([300.0, 1_000.0, 5_000.0]), absent=st.sampled_from([0.0, 0.3]))
def test_a_lot_is_never_sliced(seed, cash, absent):
    lots = {"A/USD": Instrument("A/USD", Decimal("1"))}
    venue = Venue(Costs.free(), lots, minimum_notional=0.0, maximum_notional=120.0)
    panel = gapping_panel(SLICES, ("A/USD",), seed=seed, sigma=0.03, absent=absent)
    weights = np.random.default_rng(seed).choice([np.nan, 0.0, 0.3, 0.9], size=(SLICES, 1))
    short, long = traces(weights, panel, venue, cash, Execution(band=0.0))
    assert_same_traces(short, long)
    assert (np.abs(short.sent[:, SENT_LOTS]) >= 1.0).all()
    engine = Engine(Replayed(panel, weights), venue, panel.symbols, cash, execution=Execution(band=0.0))
    assert_same(simulate_weights(weights, panel, venue, cash, Execution(band=0.0)), drive(engine, panel, {}))


def test_a_change_beyond_all_numbers_is_refused_in_both_drivers():
    panel = gapping_panel(20, seed=1)
    weights = np.full((20, 1), np.nan)
    weights[3] = 1e308
    venue = Venue.research(Costs.free())
    plan = Execution(reserve=0.0)
    run = simulate_weights(weights, panel, venue, 1e6, plan)
    assert [fact.reason for fact in run.rejections] == ["above the venue's largest order value"]
    engine = Engine(Replayed(panel, weights), venue, panel.symbols, 1e6, execution=plan)
    assert_same(run, drive(engine, panel, {}))


@pytest.mark.parametrize("cash", [1e10, 1e13])
def test_an_order_that_takes_more_slices_than_there_is_room_for_begins_its_row_again(cash):
    panel = gapping_panel(30, seed=5)
    weights = np.full((30, 1), np.nan)
    weights[[2, 9, 15], 0] = [0.001, 0.002, 0.0]
    short, long = traces(weights, panel, Venue.alpaca(Costs.free()), cash, Execution())
    assert_same_traces(short, long)
    assert len(short.sent) > 64 if cash < 1e12 else len(short.ends) == 2


accounts = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "cash": st.sampled_from([0.0, 1e3, 1e6, -9e5]),
        "held": st.sampled_from([0.0, 1e-6, 3.0, 1e4, -1e4, 1e9]),
        "lot": st.sampled_from([1.0, 1e-9, 0.001]),
        "band": st.sampled_from([0.0, 0.01, 0.05, 1.0]),
        "reserve": st.sampled_from([0.0, 0.03]),
        "dust": st.sampled_from([0.0, 10.0]),
        "is_whole": st.booleans(),
        "width": st.sampled_from([0.0, 1e-13, 1e-3, 0.2]),
    }
)


def drawn(given):
    """Weights around the share that is held, closes, and the plan."""
    rng = np.random.default_rng(given["seed"])
    closes = 100.0 * np.exp(0.01 * rng.standard_normal(300).cumsum())
    values = given["held"] * given["lot"] * closes
    with np.errstate(divide="ignore", invalid="ignore"):
        share = values / (given["cash"] + values) / (1.0 - given["reserve"])
    share = np.where(np.isfinite(share), share, 0.0)
    weights = share * (1.0 + given["width"] * rng.standard_normal(300))
    if given["seed"] % 3 == 0:
        weights[rng.random(300) < 0.02] = np.nan
        closes[rng.random(300) < 0.02] = np.nan
    return weights, closes, Execution(reserve=given["reserve"], band=given["band"]).plan


def changes(given, weights, closes, plan):
    """Whether each row changes anything, asked one by one; a row without a weight does not, one without a close may."""
    found, mark = [], math.nan
    for weight, close in zip(weights.tolist(), closes.tolist(), strict=True):
        mark = mark if math.isnan(close) else close
        equity = given["cash"] + given["held"] * given["lot"] * mark if given["held"] else given["cash"]
        asks = (
            plain(is_tradable)(weight, equity, mark * given["lot"])
            and plain(wanted_lots)(
                weight, equity, mark, given["held"], given["lot"], plan, given["dust"], given["is_whole"]
            )
            != 0.0
        )
        found.append(not math.isnan(weight) and (math.isnan(close) or asks))
    return np.array(found)


@settings(max_examples=300)
@given(given=accounts)
def test_weights_that_are_said_to_keep_a_position_change_nothing(given):
    weights, closes, plan = drawn(given)
    asked = changes(given, weights, closes, plan)
    for start in range(0, 300, 20):
        some = slice(start, start + 20)
        account = (given["cash"], given["held"], given["lot"], plan, given["dust"], given["is_whole"])
        if keeps(weights[some], closes[some], *account):
            assert not asked[some].any()


def test_a_settled_position_is_passed_and_a_change_is_not():
    closes, plan = np.full(64, 100.0), Execution(reserve=0.0).plan
    weights = np.full(64, 0.5)
    assert keeps(weights, closes, 500.0, 5.0, 1.0, plan, 10.0, False)
    weights[40] = 0.56
    assert not keeps(weights, closes, 500.0, 5.0, 1.0, plan, 10.0, False)


@settings(max_examples=300)
@given(given=accounts, start=st.integers(0, 299))
def test_the_next_wish_is_the_first_row_that_changes_anything(given, start):
    weights, closes, plan = drawn(given)
    asked = changes(given, weights, closes, plan)
    due = [row for row in range(start, 300) if asked[row]]
    before = closes[:start][~np.isnan(closes[:start])]
    mark = before[-1] if len(before) else math.nan
    account = (given["cash"], given["held"], given["lot"], plan, given["dust"], 1.0, given["is_whole"])
    row, _ = next_wish(weights, closes, start, mark, *account)
    assert row == (due[0] if due else 300)


def test_a_row_that_begins_again_is_not_charged_again():
    names = tuple(f"S{number:03d}/USD" for number in range(70))
    panel = gapping_panel(12, names, seed=8, sigma=0.02, absent=0.1)
    weights = np.random.default_rng(9).normal(0.0, 0.03, size=(12, 70))
    financing = Financing(borrow=0.5, margin=0.5, funding=0.01, funding_hours=1.0)
    venue = Venue.research(Costs(10.0, 20.0), allows_short=True)
    venue = replace(venue, financing=financing, maximum_notional=2_000.0)
    plan = Execution(band=0.0)
    run = simulate_weights(weights, panel, venue, 1e6, plan)
    assert len(run.adjustments) == 11
    assert_same(run, drive(Engine(Replayed(panel, weights), venue, panel.symbols, 1e6, execution=plan), panel, {}))
