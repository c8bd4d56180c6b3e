"""Portfolios: against hand cases and against other libraries' numbers, and when they are made anew."""

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.trading.strategy import (
    HierarchicalRiskParity,
    MeanVariance,
    Optimised,
    RiskParity,
    Schedule,
    VolatilityTarget,
    hierarchical_risk_parity,
    mean_variance,
    risk_parity,
)
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, gapping_panel
from tests.trading.views import decisions, last_view, panel_of, views

DEVIATIONS = np.array([0.01, 0.02, 0.03, 0.015, 0.05])
LIKENESS = np.array(
    [
        [1, 0.8, 0.3, 0.1, 0],
        [0.8, 1, 0.4, 0.2, 0.05],
        [0.3, 0.4, 1, 0.5, 0.1],
        [0.1, 0.2, 0.5, 1, 0.2],
        [0, 0.05, 0.1, 0.2, 1],
    ]
)
COVARIANCE = np.outer(DEVIATIONS, DEVIATIONS) * LIKENESS
NAMES = ("A/USD", "B/USD", "C/USD")


def random_covariance(seed, count):
    returns = np.random.default_rng(seed).standard_normal((count + 20, count))
    return np.cov(returns * np.geomspace(0.001, 1, count), rowvar=False).reshape(count, count)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_every_symbol_of_risk_parity_brings_the_same_risk(seed, count):
    covariance = random_covariance(seed, count)
    weights = risk_parity(covariance)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    assert weights * (covariance @ weights) / (weights @ covariance @ weights) == pytest.approx(1 / count, rel=1e-8)


def test_risk_parity_of_two_is_inverse_volatility_whatever_the_correlation():
    for likeness in (-0.5, 0.0, 0.9):
        covariance = np.array([[0.04, likeness * 0.02], [likeness * 0.02, 0.01]])
        assert risk_parity(covariance) == pytest.approx([1 / 3, 2 / 3])


def test_risk_parity_agrees_with_riskfolio_lib():
    theirs = [0.36946704682571435, 0.16574836688627592, 0.11551259898052635, 0.2541223312209017, 0.09514965608658157]
    assert risk_parity(COVARIANCE) == pytest.approx(theirs, abs=5e-6)  # riskfolio-lib 7.4.0, to its solver's precision


def test_hierarchical_risk_parity_agrees_with_pyportfolioopt():
    theirs = [0.6487981609650602, 0.12571008891760282, 0.039907964735746926, 0.15963185894298776, 0.025951926438602387]
    assert hierarchical_risk_parity(COVARIANCE) == pytest.approx(theirs, rel=1e-12)  # PyPortfolioOpt 1.6.0, single


@given(seed=st.integers(0, 1000), count=st.integers(1, 9))
def test_hierarchical_risk_parity_without_correlations_is_inverse_variance(seed, count):
    variances = np.random.default_rng(seed).uniform(0.01, 2, count)
    assert hierarchical_risk_parity(np.diag(variances)) == pytest.approx(1 / variances / (1 / variances).sum())


def test_hierarchical_risk_parity_puts_twins_together_and_needs_no_inverse():
    covariance = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1.0]])
    assert sorted(hierarchical_risk_parity(covariance).tolist()) in ([0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3])
    assert hierarchical_risk_parity(covariance).sum() == 1


@pytest.mark.parametrize(
    ("cost", "theirs"),
    [
        (0.0, [0.5, 0.241007047, 0.0, 0.131432317, 0.127560636]),
        (0.0025, [0.5, 0.2, 0.0, 0.2, 0.1]),
        (0.02, [0.2, 0.2, 0.2, 0.2, 0.1]),
    ],
)
def test_mean_variance_agrees_with_cvxpy(cost, theirs):
    mean, held = np.array([0.01, 0.012, 0.004, 0.006, 0.02]), np.array([0.2, 0.2, 0.2, 0.2, 0.1])
    weights = mean_variance(mean, COVARIANCE, held, aversion=50, turnover_cost=cost, bounds=(0.5, 1.0))
    assert weights == pytest.approx(theirs, abs=2e-8)  # cvxpy 1.9.3 with Clarabel


@pytest.mark.parametrize(
    ("held", "wanted"),
    # Alone, the best weight is (0.01 - cost) / (5 * 0.01) when bought and (0.01 + cost) / (5 * 0.01) when sold.
    [(0.0, 0.16), (0.16, 0.16), (0.2, 0.2), (0.24, 0.24), (0.5, 0.24)],
)
def test_one_symbol_is_traded_only_as_far_as_it_pays(held, wanted):
    weights = mean_variance(
        np.array([0.01]), np.array([[0.01]]), np.array([held]), aversion=5, turnover_cost=0.002, bounds=(1.0, 1.0)
    )
    assert weights == pytest.approx([wanted], abs=1e-7)


@given(seed=st.integers(0, 1000), count=st.integers(1, 8), gross=st.floats(0.1, 1), cost=st.floats(0, 0.01))
def test_mean_variance_stays_within_its_bounds_and_beats_standing_still(seed, count, gross, cost):
    rng, covariance = np.random.default_rng(seed), random_covariance(seed, count) * 1e-4
    mean, held = 0.01 * rng.standard_normal(count), rng.dirichlet(np.ones(count)) * gross * 0.8
    held = np.minimum(held, 0.5)
    weights = mean_variance(mean, covariance, held, aversion=5, turnover_cost=cost, bounds=(0.5, gross))
    assert (weights >= 0).all()
    assert (weights <= 0.5).all()
    assert weights.sum() <= gross + 1e-8

    def gain(wanted):
        return mean @ wanted - 2.5 * wanted @ covariance @ wanted - cost * np.abs(wanted - held).sum()

    assert gain(weights) >= gain(held) - 1e-10


@pytest.mark.parametrize("weigh", [risk_parity, hierarchical_risk_parity])
def test_a_covariance_that_makes_no_sense_is_refused(weigh):
    with pytest.raises(ValueError, match=r"wanted variances above 0, found 0\.0"):
        weigh(np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"covariance of shape \(symbols, symbols\), found shape \(1, 2\)"):
        weigh(np.ones((1, 2)))
    with pytest.raises(ValueError, match="wanted a finite covariance"):
        weigh(np.array([[1.0, math.nan], [math.nan, 1.0]]))


def test_a_portfolio_is_made_at_the_first_slice_of_each_period_and_held_in_between():
    panel = gapping_panel(60, NAMES, seed=2)
    rule = RiskParity(Schedule(window=10, every=timedelta(hours=12)))
    made = np.flatnonzero(~np.isnan(decisions(rule, panel)).all(axis=1))
    assert (panel.times[made] // HOUR % 12).tolist() == [0] * len(made)
    assert made.tolist() == [11, 23, 35, 47, 59]
    holed = panel.times != panel.times[23]
    late = panel_of(dict(zip(NAMES, panel.field("close")[holed].T.tolist(), strict=True)), times=panel.times[holed])
    assert np.flatnonzero(~np.isnan(decisions(rule, late)).all(axis=1)).tolist() == [11, 23, 34, 46, 58]


def test_a_symbol_with_a_hole_or_without_a_move_is_held_and_its_weight_is_left_to_it():
    rng = np.random.default_rng(1)
    moved = (100 * np.exp(np.cumsum(0.01 * rng.standard_normal((13, 2)), axis=0))).T.tolist()
    panel = panel_of({"A/USD": moved[0], "B/USD": [1.0] * 13, "C/USD": [math.nan, *moved[1][1:]]}, width=HOUR)
    rule = RiskParity(Schedule(12, "1h"))
    assert rule.decide(last_view(rule, panel)) == {"A/USD": 1.0}
    assert rule.decide(last_view(rule, panel, held={"B/USD": 0.3})) == {"A/USD": pytest.approx(0.7)}


def test_a_volatility_target_scales_equal_parts():
    # Both symbols make the same move each hour, so the whole has their volatility.
    moves = np.resize([1.01, 1 / 1.01], 24)
    closes = (100 * np.cumprod(np.append(1.0, moves))).tolist()
    panel = panel_of({"A/USD": closes, "B/USD": [2 * close for close in closes]})
    returns = np.diff(closes) / np.array(closes[:-1])
    yearly = returns.std(ddof=1) * math.sqrt(365 * 24)
    for wanted, gross in ((yearly / 4, 0.25), (yearly * 3, 0.9)):
        rule = VolatilityTarget(wanted, "1h", Schedule(24, "1h"), 0.9)
        assert rule.decide(last_view(rule, panel)) == pytest.approx({"A/USD": gross / 2, "B/USD": gross / 2})


class Inverse:
    """An estimator as skfolio makes them: inverse variance."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, returns, target=None):
        parts = returns.var(axis=0) ** -self.power
        self.weights_ = parts / parts.sum()
        return self


class Broken(Inverse):
    def fit(self, returns, target=None):
        self.weights_ = np.full(returns.shape[1], np.nan)
        return self


def test_an_estimator_of_another_library_is_taken_as_it_is_and_left_as_it_was():
    panel, estimator = gapping_panel(60, NAMES, seed=2), Inverse()
    rule = Optimised(estimator, Schedule(20, "1h"), 0.5)
    closes = panel.field("close")[-21:]
    variances = (closes[1:] / closes[:-1] - 1).var(axis=0)
    wanted = 0.5 / variances / (1 / variances).sum()
    assert rule.decide(last_view(rule, panel)) == pytest.approx(dict(zip(NAMES, wanted, strict=True)))
    assert not hasattr(estimator, "weights_")
    with pytest.raises(
        ValueError, match=r"Broken: weights_ \[nan nan nan\], wanted one finite number for each of A/USD"
    ):
        Optimised(Broken(), Schedule(20, "1h")).decide(last_view(rule, panel))


RULES = [
    VolatilityTarget(0.4, schedule=Schedule(48, "1d")),
    RiskParity(Schedule(48, "1d"), 0.8),
    HierarchicalRiskParity(Schedule(48, "1d")),
    MeanVariance(5, 25, "1h", Schedule(48, "1d"), 0.6),
    Optimised(Inverse(), Schedule(48, "1d")),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_portfolio_trades_a_random_market_within_its_limits(rule):
    panel = gapping_panel(400, NAMES, seed=3)
    report = simulate(rule, panel, Costs.alpaca())
    assert report.fills.height >= 3
    weights = decisions(rule, panel)
    made = weights[~np.isnan(weights).all(axis=1)]
    assert len(made) >= 12
    assert (made >= 0).all()
    assert (made.sum(axis=1) <= rule.max_gross + 1e-9).all()


def test_a_schedule_too_young_for_its_window_holds():
    rule = RiskParity(Schedule(48, "1h"))
    assert all(rule.decide(view) == {} for view in views(rule, gapping_panel(48, NAMES)))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Schedule(1), ValueError, "Schedule: window must be a whole number of at least 2, found 1"),
        (lambda: Schedule(every="soon"), ValueError, "cannot read the timeframe 'soon'"),
        (lambda: VolatilityTarget(0.0), ValueError, "volatility must lie in"),
        (lambda: RiskParity(max_gross=1.2), ValueError, "max_gross must lie in"),
        (lambda: HierarchicalRiskParity(max_gross=0.0), ValueError, "max_gross must lie in"),
        (lambda: MeanVariance(0.0), ValueError, "aversion must lie in"),
        (lambda: MeanVariance(turnover_cost_bps=-1.0), ValueError, "turnover_cost_bps must lie in"),
        (lambda: Optimised(Inverse), TypeError, r"wanted an estimator with fit\(returns\), found <class"),
        (lambda: Optimised(3), TypeError, r"wanted an estimator with fit\(returns\), found 3"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
