"""Strategies over signals, by hand: thresholds, Kelly's bet, ranks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.trading.strategy import LongFlat, LongShort, ProbabilitySize, TopK, VolatilityScaled
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel
from tests.trading.signal_frames import random_signals
from tests.trading.views import last_view, panel_of

ABC = panel_of({"A/USD": [1.0], "B/USD": [1.0], "C/USD": [1.0]})
ONE = panel_of({"A/USD": [1.0]})


def said(strategy, values, **more):
    return strategy.decide(last_view(strategy, ABC if len(values) > 1 else ONE, values, **more))


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.56, 1.0), (0.55, 1.0), (0.52, None), (0.505, 0.0), (0.48, None), (0.44, -1.0)]
)
def test_long_short_enters_far_from_the_centre_and_leaves_near_it(value, wanted):
    rule = LongShort(enter=0.05, exit=0.01, max_weight=1.0)
    assert said(rule, {"A/USD": value}).get("A/USD") == wanted


def test_long_short_turns_without_a_pause_when_its_exit_is_the_centre():
    rule = LongShort(enter=1.0, centre=0.0, max_weight=0.3)
    assert said(rule, {"A/USD": -2.0, "B/USD": 0.0, "C/USD": 1.0}, kind="score") == {"A/USD": -0.3, "C/USD": 0.3}


@pytest.mark.parametrize(
    ("rule", "chance", "wanted"),
    [
        (ProbabilitySize(1.0, 1.0, 1.0), 0.6, 0.2),  # 0.6 - 0.4
        (ProbabilitySize(0.5, 1.0, 1.0), 0.6, 0.1),
        (ProbabilitySize(1.0, 2.0, 1.0), 0.5, 0.25),  # 0.5 - 0.5 / 2
        (ProbabilitySize(1.0, 1.0, 0.15), 0.6, 0.15),
        (ProbabilitySize(1.0, 1.0, 1.0), 0.4, 0.0),
        (ProbabilitySize(1.0, 1.0, 1.0, allows_short=True), 0.4, -0.2),
        (ProbabilitySize(1.0, 0.5, 1.0, allows_short=True), 0.5, 0.0),  # neither side pays: 0.5 - 0.5 / 0.5
        (ProbabilitySize(1.0, 1.0, 0.1, allows_short=True), 0.0, -0.1),
    ],
)
def test_a_bet_is_a_fraction_of_kellys(rule, chance, wanted):
    assert said(rule, {"A/USD": chance})["A/USD"] == pytest.approx(wanted, abs=1e-15)


def test_kellys_bet_is_where_capital_grows_fastest():
    chance, odds = 0.55, 1.5
    bet = said(ProbabilitySize(1.0, odds, 1.0), {"A/USD": chance})["A/USD"]

    def growth(share):
        return chance * math.log(1 + odds * share) + (1 - chance) * math.log(1 - share)

    assert growth(bet) > max(growth(bet - 1e-3), growth(bet + 1e-3))


def test_only_a_probability_can_be_bet_on():
    with pytest.raises(ValueError, match=r"m A/USD: wanted a probability in \[0, 1\], found a score of 0.6"):
        said(ProbabilitySize(), {"A/USD": 0.6}, kind="score")
    with pytest.raises(ValueError, match=r"found a probability of 1\.2"):
        said(ProbabilitySize(), {"A/USD": 1.2})


def test_the_top_is_held_and_the_rest_is_sold():
    values = {"A/USD": 0.4, "B/USD": 0.9, "C/USD": 0.6}
    assert said(TopK(2), values) == {"A/USD": 0.0, "B/USD": 0.5, "C/USD": 0.5}
    assert said(TopK(2, max_gross=0.6, floor=0.7), values) == {"A/USD": 0.0, "B/USD": 0.3, "C/USD": 0.0}
    by_score = said(TopK(2, "score", floor=0.5), values)
    assert by_score == pytest.approx({"A/USD": 0.0, "B/USD": 0.8, "C/USD": 0.2})
    assert said(TopK(1), {"A/USD": 0.5, "B/USD": 0.5}) == {"A/USD": 1.0, "B/USD": 0.0}


def test_a_symbol_without_a_signal_keeps_its_place_in_the_top_when_it_is_held():
    values = {"B/USD": 0.9, "C/USD": 0.6}
    assert said(TopK(2), values, held={"A/USD": 0.5}) == {"B/USD": 0.5, "C/USD": 0.0}
    assert said(TopK(2), values) == {"B/USD": 0.5, "C/USD": 0.5}
    assert said(TopK(1), values, held={"A/USD": 0.5}) == {"B/USD": 0.0, "C/USD": 0.0}
    assert said(TopK(2), {"A/USD": math.nan}) == {}


RULES = [
    LongFlat(0.52),
    LongShort(0.03, 0.01),
    ProbabilitySize(1.0, 1.2, allows_short=True),
    TopK(1),
    TopK(2, "score", 0.5, 0.8),
    VolatilityScaled(LongFlat(0.52), 0.6, 24, max_weight=0.5),
]


@given(values=st.lists(st.floats(0.0, 1.0) | st.just(math.nan), min_size=3, max_size=3), held=st.floats(0.0, 0.5))
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_weights_stay_within_their_limits_and_a_second_look_says_the_same(rule, values, held):
    view = last_view(rule, ABC, dict(zip(ABC.symbols, values, strict=True)), held={"A/USD": held})
    target = rule.decide(view)
    assert rule.decide(view) == target
    assert all(abs(weight) <= 1 for weight in target.values())
    assert sum(abs(weight) for weight in target.values()) <= 1 + 1e-12


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_strategy_over_signals_trades_a_random_market(rule):
    panel = gapping_panel(200, ("A/USD", "B/USD"), seed=3, absent=0.01)
    report = simulate(rule, panel, venue=Venue.research(Costs.alpaca()), signals=random_signals(panel))
    assert report.fills.height > 5
    with pytest.raises(ValueError, match="reads signals: give signals="):
        simulate(rule, panel)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LongShort(0.0), "wanted 0 <= exit <= enter and 0 < enter, found exit=0.0, enter=0.0"),
        (lambda: LongShort(0.1, 0.2), "found exit=0.2, enter=0.1"),
        (lambda: LongShort(centre=math.nan), "centre must lie in"),
        (lambda: ProbabilitySize(0.0), r"fraction must lie in \(0, 1\], found 0.0"),
        (lambda: ProbabilitySize(odds=0.0), "odds must lie above 0, found 0.0"),
        (lambda: TopK(0), "k must be a whole number of at least 1, found 0"),
        (lambda: TopK(weighting="rank"), "weighting must be 'equal' or 'score', found 'rank'"),
        (lambda: TopK(weighting="score"), "weighting by score needs a floor"),
        (lambda: TopK(floor=math.inf), "floor must lie in"),
        (lambda: TopK(max_gross=2.0), r"max_gross must lie in \(0, 1\], found 2.0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
