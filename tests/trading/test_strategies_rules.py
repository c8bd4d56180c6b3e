"""Rules over bars: by hand on a few prices, and the batch against the decision, bit by bit."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.trading.strategy import (
    Breakout,
    BuyAndHold,
    MeanReversion,
    Momentum,
    MovingAverageCross,
    PrefixSums,
    RuleOverBars,
    crossing,
    prefix_sums,
)
from cryptoquant.trading.strategy.reversion import reversion, score
from cryptoquant.trading.strategy.rules import highest, rolling_highest
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel
from tests.trading.views import decisions, panel_of, views

NAN = math.nan
RULES = [
    MovingAverageCross(2, 5),
    MovingAverageCross(3, 7, 0.4, allows_short=True),
    Momentum(5),
    Momentum(4, 2, 0.01, 0.3, allows_short=True),
    MeanReversion(6, 1.2, 0.3),
    MeanReversion(8, 1.0, 0.0, 0.25, allows_short=True),
    Breakout(4),
    Breakout(5, 2, 0.5),
    Breakout(3, allows_short=True),
]

SMALLEST, LARGEST = 1e-300, 1e300
PRICES = st.one_of(
    st.sampled_from([0.1, 0.3, 1.0, 3.0, 100.0, 100.0 + 2**-40, NAN]),
    st.floats(1.0, 2.0),
    st.sampled_from([SMALLEST, 5e-324, 1e16, LARGEST, 1.7e308, 0.0, -1.0]),
)
RUNS = st.lists(st.tuples(PRICES, st.integers(1, 12)), min_size=1, max_size=12)


def crossed(closes, fast, slow):
    """The definition, row by row: fresh sums of both windows."""
    return np.array([crossing(closes, last, fast, slow) for last in range(len(closes))])


def batch(closes, fast, slow):
    return MovingAverageCross(fast, slow, 1.0).weights(panel_of({"A/USD": closes.tolist()}))[:, 0]


@given(runs=RUNS, fast=st.integers(1, 6), more=st.integers(1, 9))
@example(runs=[(0.1, 60)], fast=3, more=4)
@example(runs=[(1.7e308, 12)], fast=1, more=2)
@example(runs=[(5e-324, 9), (1e-323, 9)], fast=2, more=3)
@settings(max_examples=120, deadline=None)
def test_the_fast_cross_is_the_cross_by_fresh_sums_to_the_bit(runs, fast, more):
    closes = np.concatenate([np.full(count, price) for price, count in runs])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(batch(closes, fast, fast + more), crossed(closes, fast, fast + more), equal_nan=True)


@given(low=st.floats(1e-8, 1e8), step=st.sampled_from([0.0, 1e-16, 1e-12, 0.1]), period=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_fast_cross_settles_ties_as_the_definition_does(low, step, period):
    closes = np.tile(low * (1 + step * np.arange(period)), 40)
    for fast, slow in ((1, 2), (period, 2 * period), (2, 6), (3, 16)):
        if fast < slow:
            assert np.array_equal(batch(closes, fast, slow), crossed(closes, fast, slow), equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_cross_holds_over_blocks_holes_and_a_price_that_grows_a_million_times(seed):
    rng = np.random.default_rng(seed)
    closes = np.exp(np.cumsum(0.02 * rng.standard_normal(5000)) + np.linspace(0, 14, 5000)).round(3)
    closes[rng.random(5000) < 0.002] = np.nan
    closes[1000:1400] = closes[~np.isnan(closes)][700]
    for fast, slow in ((1, 2), (5, 20), (24, 168), (400, 900)):
        assert np.array_equal(batch(closes, fast, slow), crossed(closes, fast, slow), equal_nan=True)


def reverted(closes, rule):
    """The definition, row by row: fresh mean and deviation."""
    below = -rule.max_weight if rule.allows_short else 0.0
    terms = (rule.window, rule.enter, rule.exit, rule.max_weight, below)
    return np.array([reversion(closes, last, *terms) for last in range(len(closes))])


@given(runs=RUNS, window=st.integers(2, 9), share=st.floats(0.01, 1.0), exits=st.floats(0.0, 0.99), short=st.booleans())
@example(runs=[(0.1, 60)], window=5, share=0.5, exits=0.5, short=False)
@example(runs=[(1.0, 3), (3.0, 1), (1.0, 3), (3.0, 1)], window=4, share=1.0, exits=0.0, short=True)
@settings(max_examples=120, deadline=None)
def test_the_fast_return_to_the_mean_is_the_one_by_fresh_sums_to_the_bit(runs, window, share, exits, short):
    closes = np.concatenate([np.full(count, price) for price, count in runs])
    enter = share * (window - 1) / math.sqrt(window) * (1 - 1e-12)
    rule = MeanReversion(window, enter, exits * enter, 0.5, allows_short=short)
    with np.errstate(over="ignore", invalid="ignore"):
        found = rule.weights(panel_of({"A/USD": closes.tolist()}))[:, 0]
        assert np.array_equal(found, reverted(closes, rule), equal_nan=True)


@pytest.mark.parametrize("seed", range(40))
def test_a_score_that_meets_its_threshold_exactly_is_settled_as_the_definition_does(seed):
    rng = np.random.default_rng(seed)
    closes = np.tile(1000 + rng.integers(0, 9, 7) * 0.1, 6)
    found = abs(score(closes, 30, 7))
    for enter in (found, np.nextafter(found, 0), np.nextafter(found, 9)):
        if 0 < enter <= 6 / math.sqrt(7):
            rule = MeanReversion(7, float(enter), 0.0, 0.5, allows_short=True)
            weights = rule.weights(panel_of({"A/USD": closes.tolist()}))[:, 0]
            assert np.array_equal(weights, reverted(closes, rule), equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("digits", [0, 2, 12])
def test_the_fast_return_to_the_mean_holds_over_holes_rounded_prices_and_growth(seed, digits):
    rng = np.random.default_rng(seed)
    closes = np.exp(np.cumsum(0.002 * rng.standard_normal(4000)) + np.linspace(3, 14, 4000)).round(digits)
    closes[rng.random(4000) < 0.002] = np.nan
    for rule in (MeanReversion(24, 1.5, 0.0, 0.4), MeanReversion(300, 2.0, 0.5, 0.4, allows_short=True)):
        found = rule.weights(panel_of({"A/USD": closes.tolist()}))[:, 0]
        assert np.array_equal(found, reverted(closes, rule), equal_nan=True)


def test_prefix_sums_start_anew_at_a_hole_and_know_nothing_after_a_negative_price():
    sums, holes = prefix_sums(np.array([1.0, 2.0, NAN, 4.0, 5.0, -1.0, 6.0]))
    assert sums.tolist()[:6] == [0.0, 1.0, 3.0, 0.0, 4.0, 9.0]
    assert np.isnan(sums[6:]).all()
    assert holes.tolist() == [2]


def test_prefix_sums_are_as_exact_as_one_rounding():
    closes = np.random.default_rng(1).lognormal(8, 3, 3000)
    sums, _ = prefix_sums(closes)
    true = np.array([math.fsum(closes[:count]) for count in range(3001)])
    assert (np.abs(sums - true) <= 2.0**-52 * true).all()


def test_prefix_sums_can_be_shared_by_many_crosses_but_not_by_two_panels():
    panel = gapping_panel(300, ("A/USD", "B/USD"), seed=4, absent=0.01)
    shared = PrefixSums.of(panel)
    for fast, slow in ((2, 9), (5, 30)):
        rule = MovingAverageCross(fast, slow)
        assert np.array_equal(rule.weights(panel, shared), rule.weights(panel), equal_nan=True)
    with pytest.raises(ValueError, match=r"another panel: shape \(300, 2\), wanted \(299, 2\)"):
        MovingAverageCross().weights(gapping_panel(299, ("A/USD", "B/USD")), shared)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("absent", [0.0, 0.05])
def test_a_rule_says_for_a_whole_panel_what_it_decides_slice_by_slice(rule, absent):
    panel = gapping_panel(250, ("A/USD", "B/USD"), seed=3, absent=absent)
    assert isinstance(rule, RuleOverBars)
    weights = rule.weights(panel)
    assert np.array_equal(weights, decisions(rule, panel), equal_nan=True)
    assert len(set(weights[~np.isnan(weights)])) >= 2
    assert np.nanmax(np.abs(weights)) <= (rule.max_weight or 0.5)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_trades_a_random_market(rule):
    market, venue = gapping_panel(250, ("A/USD", "B/USD"), seed=3, absent=0.01), Venue.research(Costs.alpaca())
    report = simulate(rule, market, venue=venue)
    assert report.fills.height > 3
    assert np.isfinite(report.equity["equity"].to_numpy()).all()
    assert bool((report.equity["exposure"] < -0.1).any()) is rule.allows_short


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.allows_short], ids=repr)
def test_a_spot_venue_refuses_the_short_leg_with_a_reason(rule):
    report = simulate(rule, gapping_panel(250, ("A/USD", "B/USD"), seed=3), Costs.alpaca())
    assert "more than is held: the venue is spot and long only" in set(report.rejections["reason"])
    assert (report.equity["exposure"] >= 0).all()


@given(values=st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, NAN]), min_size=1, max_size=40), window=st.integers(1, 8))
def test_rolling_extremes_are_the_extremes_of_each_window(values, window):
    column = np.array(values)
    for sign in (1.0, -1.0):
        out = np.empty(len(column))
        rolling_highest(column, window, sign, out)
        wanted = [sign * highest(sign * column, last, window) for last in range(len(column))]
        assert np.array_equal(out, wanted, equal_nan=True)


def test_momentum_by_hand():
    panel = panel_of({"A/USD": [100, 110, 121, 100, 100, 90]})
    assert np.array_equal(Momentum(2).weights(panel)[:, 0], [NAN, NAN, 1, 0, 0, 0], equal_nan=True)
    rule = Momentum(2, skip=1, threshold=0.1, max_weight=0.5, allows_short=True)
    # Returns to the close before: 121/100, 100/110 = -9.1 %, 100/121 = -17.4 %.
    assert np.array_equal(rule.weights(panel)[:, 0], [NAN, NAN, NAN, 0.5, 0, -0.5], equal_nan=True)


def test_mean_reversion_by_hand():
    # Windows of three: (10, 10, 7) has mean 9, deviation sqrt(3) and score -2 / sqrt(3) = -1.155; (10, 7, 10): +0.577.
    panel = panel_of({"A/USD": [10, 10, 10, 7, 10, 13, 13, 13]})
    rule = MeanReversion(3, enter=1.1, exit=0.5, max_weight=0.4)
    assert np.array_equal(rule.weights(panel)[:, 0], [NAN, NAN, NAN, 0.4, 0, 0, 0, NAN], equal_nan=True)
    # (7, 10, 13) has score 1, (10, 13, 13) 0.577: neither enters at 1.1 nor leaves at 0.5.
    both = MeanReversion(3, enter=1.1, exit=0.6, max_weight=0.4, allows_short=True)
    assert np.array_equal(both.weights(panel)[:, 0], [NAN, NAN, NAN, 0.4, 0, NAN, 0, NAN], equal_nan=True)
    risen = panel_of({"A/USD": [10, 10, 13]})
    assert both.weights(risen)[-1, 0] == -0.4


def test_prices_that_only_round_have_no_score():
    assert np.isnan(MeanReversion(24, 0.5, 0.0).weights(panel_of({"A/USD": [0.1] * 60}))).all()


def test_a_breakout_looks_at_highs_and_lows_of_the_bars_before_it():
    closes = [10, 11, 12, 12.4, 13, 11.4, 10]
    highs, lows = [10.5, 11.5, 12.5, 12.6, 13, 12, 11], [9.5, 10.5, 11.5, 12, 12.5, 11, 9]
    panel = panel_of({"A/USD": closes}, high={"A/USD": highs}, low={"A/USD": lows})
    # Row 2: 12 > max(10.5, 11.5). Row 3: 12.4 is below 12.5. Row 5: 11.4 < min(12, 12.5). Row 6: 10 < min(12.5, 11).
    assert np.array_equal(Breakout(2).weights(panel)[:, 0], [NAN, NAN, 1, NAN, 1, 0, 0], equal_nan=True)
    short = Breakout(2, allows_short=True).weights(panel)[:, 0]
    assert np.array_equal(short, [NAN, NAN, 1, NAN, 1, -1, -1], equal_nan=True)
    assert Breakout(20, 10).lookback == 21


def test_buy_and_hold_asks_only_for_what_it_lacks():
    panel = panel_of({"A/USD": [1.0], "B/USD": [1.0]})
    view = next(views(BuyAndHold(), panel))
    assert BuyAndHold().decide(view) == {"A/USD": 0.5, "B/USD": 0.5}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MovingAverageCross(5, 5), "wanted 1 <= fast < slow, found fast=5, slow=5"),
        (lambda: MovingAverageCross(1.5, 5), "Cross: fast must be a whole number of at least 1, found 1.5"),
        (lambda: Momentum(0), "Momentum: window must be a whole number of at least 1, found 0"),
        (lambda: Momentum(5, -1), "skip must be a whole number of at least 0"),
        (lambda: Momentum(5, threshold=-0.1, allows_short=True), r"threshold must lie in \[0.0, inf\], found -0.1"),
        (lambda: Momentum(5, threshold=NAN), "threshold must lie in"),
        (lambda: Momentum(max_weight=1.5), r"max_weight must lie in \(0, 1\], found 1.5"),
        (lambda: MeanReversion(1), "window must be a whole number of at least 2"),
        (lambda: MeanReversion(24, 0.5, 0.5), "wanted 0 <= exit < enter <= 4.695 at this window"),
        (lambda: MeanReversion(4, 2.0), "enter <= 1.5 at this window, found exit=0.5, enter=2.0"),
        (lambda: Breakout(0), "entry must be a whole number"),
        (lambda: Breakout(5, 0), "exit must be a whole number"),
        (lambda: Breakout(5, 3, allows_short=True), "with allows_short it turns at the entry channel, found exit=3"),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
