"""Strategies of strategies: averages, votes, switches and sizes, and what a hold means in each."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.trading.strategy import (
    Breakout,
    BuyAndHold,
    Ensemble,
    LongFlat,
    MeanReversion,
    Momentum,
    MovingAverageCross,
    RuleOverBars,
    Strategy,
    Switch,
    VolatilityRegime,
    VolatilityScaled,
    Voting,
)
from cryptoquant.trading.venue import Costs
from tests.market_makers import gapping_panel
from tests.trading.views import decisions, last_view, panel_of


@dataclass(frozen=True)
class Says:
    """Wants what it is told to, and nothing of what is NaN."""

    a: float = math.nan
    b: float = math.nan
    lookback: int = 1

    def decide(self, view):
        pairs = zip(view.symbols, (self.a, self.b), strict=False)
        return {symbol: weight for symbol, weight in pairs if not math.isnan(weight)}


AB = panel_of({"A/USD": [1.0], "B/USD": [1.0]})


def said(strategy, **held):
    return strategy.decide(last_view(strategy, AB, held={f"{name}/USD": weight for name, weight in held.items()}))


def test_an_ensemble_averages_by_shares():
    assert said(Ensemble((Says(1.0, 0.0), Says(0.0, 0.5)))) == {"A/USD": 0.5, "B/USD": 0.25}
    assert said(Ensemble([Says(1.0), Says(0.0)], shares=[3, 1])) == {"A/USD": 0.75}


def test_who_holds_stands_in_an_ensemble_for_the_present_weight():
    both = Ensemble((Says(a=0.8), Says(b=0.2)))
    assert said(both) == {"A/USD": 0.4, "B/USD": 0.1}
    assert said(both, A=0.4) == pytest.approx({"A/USD": 0.6, "B/USD": 0.1})
    assert said(Ensemble((Says(), Says())), A=0.4) == {}


def test_a_vote_goes_to_the_mean_of_the_majority():
    assert said(Voting((Says(0.2), Says(0.4), Says(0.0)))) == {"A/USD": pytest.approx(0.3)}
    assert said(Voting((Says(0.2), Says(0.0), Says(0.0)))) == {"A/USD": 0.0}
    assert said(Voting((Says(-0.2), Says(-0.3), Says(0.9)))) == {"A/USD": -0.25}


def test_a_vote_without_a_majority_holds_and_a_holder_votes_for_what_is_held():
    assert said(Voting((Says(0.2), Says(0.0)))) == {}
    assert said(Voting((Says(0.2), Says(-0.2), Says(0.0)))) == {}
    assert said(Voting((Says(0.2), Says(0.0), Says())), A=0.4) == {"A/USD": pytest.approx(0.3)}
    assert said(Voting((Says(0.2), Says(0.0), Says()))) == {"A/USD": 0.0}
    assert said(Voting((Says(), Says())), A=0.4) == {}


def moving(step, count=9):
    """Closes that rise and fall by a factor, so that every squared log return is log(1 + step) squared."""
    return [100.0 * (1 + step) ** (row % 2) for row in range(count)]


@pytest.mark.parametrize(("step", "state"), [(0.001, 0), (0.01, 1), (0.05, 2)])
def test_a_regime_counts_the_thresholds_that_the_volatility_exceeds(step, state):
    # An hourly root mean square of log(1.001) is 9.4 % a year, of log(1.01) 93 %, of log(1.05) 457 %.
    regime = VolatilityRegime((0.5, 2.0), window=4)
    panel = panel_of({"A/USD": moving(step), "B/USD": [math.nan] * 9})
    assert regime.state(last_view(Switch(regime, (Says(),) * 3), panel)) == state
    chosen = Switch(regime, (Says(0.1), Says(0.2), Says()))
    assert chosen.decide(last_view(chosen, panel)) == [{"A/USD": 0.1}, {"A/USD": 0.2}, {}][state]


def test_an_unknown_regime_holds():
    regime = VolatilityRegime(window=4, symbol="B/USD")
    chosen = Switch(regime, (Says(0.1), Says(0.2)))
    panel = panel_of({"A/USD": moving(0.01), "B/USD": [*moving(0.01, 8), math.nan]})
    assert chosen.decide(last_view(chosen, panel)) == {}
    assert np.isnan(decisions(chosen, panel)[:4]).all()
    assert (decisions(chosen, panel)[4:8, 0] == 0.2).all()


def test_a_scaled_weight_follows_the_wanted_over_the_trailing_volatility():
    yearly = math.log(1.01) * math.sqrt(365 * 24)
    panel = panel_of({"A/USD": moving(0.01), "B/USD": [1.0] * 9})
    for wanted, weight in ((yearly / 2, 0.2), (yearly * 2, 0.8), (yearly * 9, 0.9)):
        scaled = VolatilityScaled(Says(0.4, 0.3), wanted, 8, "1h", 0.9)
        assert scaled.decide(last_view(scaled, panel)) == {"A/USD": pytest.approx(weight)}
    flat = VolatilityScaled(Says(-0.4, 0.0), yearly, 8)
    assert flat.decide(last_view(flat, panel)) == pytest.approx({"A/USD": -0.4, "B/USD": 0.0})


NESTED = [
    Ensemble((MovingAverageCross(3, 9), Momentum(12), Breakout(6)), (1, 2, 3)),
    Voting((MovingAverageCross(3, 9), Momentum(12), MeanReversion(6, 1.2))),
    Switch(VolatilityRegime((0.9,), 12), (Momentum(5), MeanReversion(6, 1.2))),
    VolatilityScaled(MovingAverageCross(3, 9), 0.6, 24, max_weight=0.5),
    Ensemble(
        (
            Voting((Momentum(5), Momentum(20), BuyAndHold())),
            Switch(VolatilityRegime((0.9,), 30), (Says(0.5), Says(0.0))),
        )
    ),
]


@pytest.mark.parametrize("strategy", NESTED, ids=lambda one: type(one).__name__)
def test_a_composition_is_a_strategy_that_trades_and_says_the_same_twice(strategy):
    panel = gapping_panel(200, ("A/USD", "B/USD"), seed=3, absent=0.01)
    assert isinstance(strategy, Strategy)
    assert not isinstance(strategy, RuleOverBars)
    weights = decisions(strategy, panel)
    assert np.nanmin(weights) >= 0
    assert np.nanmax(weights) <= 0.5
    assert simulate(strategy, panel, Costs.alpaca()).fills.height > 4


def test_the_longest_past_and_the_need_for_signals_are_passed_on():
    inner = Voting((Momentum(30), LongFlat(0.6)))
    outer = Switch(VolatilityRegime(window=12), (inner, Ensemble((BuyAndHold(),))))
    assert (inner.lookback, outer.lookback) == (31, 31)
    assert (inner.reads_signals, outer.reads_signals, outer.strategies[1].reads_signals) == (True, True, False)
    assert VolatilityScaled(inner, window=99).lookback == 100
    with pytest.raises(ValueError, match="Switch reads signals"):
        simulate(outer, gapping_panel(50))


WEIGHTS = st.floats(-1, 1) | st.just(math.nan)


@given(members=st.lists(st.tuples(WEIGHTS, WEIGHTS), min_size=1, max_size=5), held=st.floats(-1, 1))
def test_an_average_and_a_vote_never_leave_the_range_of_their_members(members, held):
    strategies = tuple(Says(*weights) for weights in members)
    wanted = [weights[0] for weights in members if not math.isnan(weights[0])]
    allowed = [*wanted, *([held] if len(wanted) < len(members) else [])]
    for whole in (Ensemble(strategies), Voting(strategies), Ensemble((Ensemble(strategies),))):
        weight = said(whole, A=held).get("A/USD", math.nan)
        assert math.isnan(weight) or min(allowed) - 1e-9 <= weight <= max(allowed) + 1e-9
        if isinstance(whole, Ensemble):
            assert math.isnan(weight) is not bool(wanted)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Ensemble(()), ValueError, "Ensemble: wanted at least one strategy, found none"),
        (lambda: Ensemble((Momentum,)), TypeError, "Ensemble: wanted a strategy, found <class"),
        (lambda: Ensemble((Says(), Says()), (1.0,)), ValueError, "2 strategies and 1 shares"),
        (lambda: Ensemble((Says(),), (0.0,)), ValueError, r"shares must lie above 0, found \(0.0,\)"),
        (lambda: Voting(("cross",)), TypeError, "Voting: wanted a strategy, found 'cross'"),
        (lambda: Switch(VolatilityRegime(), (Says(),)), ValueError, "2 states and 1 strategies"),
        (lambda: Switch(Says(), (Says(),)), TypeError, "wanted a regime with lookback, states and state, found Says"),
        (lambda: VolatilityRegime((0.5, 0.5)), ValueError, r"wanted rising thresholds above 0, found \(0.5, 0.5\)"),
        (lambda: VolatilityRegime(()), ValueError, "wanted rising thresholds"),
        (lambda: VolatilityRegime((math.nan,)), ValueError, "wanted rising thresholds"),
        (lambda: VolatilityRegime(bar="1 moon"), ValueError, "cannot read the timeframe '1 moon'"),
        (lambda: VolatilityScaled(Says(), 0.0), ValueError, "volatility must lie in"),
        (lambda: VolatilityScaled(Momentum), TypeError, "VolatilityScaled: wanted a strategy"),
    ],
)
def test_compositions_that_make_no_sense_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
