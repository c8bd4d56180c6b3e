"""Intervals cover the truth about as often as they say, whatever the returns are like."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.performance.intervals import bootstrap_intervals, sharpe_influence, standard_error
from cryptoquant.performance.metrics import sharpe_ratio
from tests.performance.returns import DAYS, KINDS, SHARPE, deepest_fall, history, true_growth

NAMES = ("sharpe", "cagr", "max_drawdown")


def covered(kind: str, series: int, draws: int) -> np.ndarray:
    """Return how often Sharpe ratio, growth and the fall of a fresh history lay inside, and that below the band."""
    growth, found = math.expm1(true_growth(kind)), np.zeros(4)
    for seed in range(series):
        intervals = bootstrap_intervals(history(kind, seed), 1.0, draws=draws, seed=seed)
        fall = deepest_fall(history(kind, seed + 1_000_000))
        truths = dict(zip(NAMES, (SHARPE, growth, fall), strict=True))
        found[:3] += [intervals[name].low <= truths[name] <= intervals[name].high for name in NAMES]
        found[3] += fall < intervals["max_drawdown"].low
    return found / series


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.floats(0.1, 3.0))
def test_more_confidence_is_never_narrower_and_a_ratio_knows_no_units(seed, kind, unit):
    returns = history(kind, seed, 120)
    narrow, wide = (bootstrap_intervals(returns, 365, confidence=c, draws=99) for c in (0.8, 0.95))
    for name in NAMES:
        assert wide[name].low <= narrow[name].low <= narrow[name].high <= wide[name].high
    scaled = bootstrap_intervals(unit * returns, 365, draws=99)["sharpe"]
    assert (scaled.low, scaled.high) == pytest.approx((wide["sharpe"].low, wide["sharpe"].high), rel=1e-6)
    assert wide["sharpe"].low < sharpe_ratio(returns, 365) < wide["sharpe"].high


@pytest.mark.parametrize("kind", ["memory", "fat tails"])
def test_the_intervals_cover_the_truth_about_as_often_as_they_say(kind):
    """Of 200 series 190 are expected, with a deviation of 3.1: three of them either way."""
    sharpe, growth, fall, below = covered(kind, 200, 200)
    assert 0.904 <= sharpe <= 0.996
    assert 0.904 <= growth <= 0.996
    assert fall >= 0.87
    assert below <= 0.09


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_over_a_thousand_series_95_in_100_intervals_cover_the_truth(kind):
    sharpe, growth, fall, below = covered(kind, 1_000, 1_000)
    assert 0.93 <= sharpe <= 0.97
    assert 0.93 <= growth <= 0.97
    assert 0.89 <= fall <= 0.97
    assert below <= 0.06


def test_the_standard_error_counts_memory():
    """The mean of an AR(1) of unit variance has the variance (1 + rho) / (1 - rho) / n."""
    errors = [standard_error(history("memory", seed)) for seed in range(60)]
    assert np.mean(errors) == pytest.approx(0.02 * math.sqrt(1.2 / 0.8 / DAYS), rel=0.03)
    plain = [standard_error(history("normal", seed)) for seed in range(60)]
    assert np.mean(plain) == pytest.approx(0.02 / math.sqrt(DAYS), rel=0.03)


def test_the_influence_of_each_return_is_what_the_ratio_loses_without_it():
    returns = history("fat tails", 3, 200)
    whole = sharpe_ratio(returns)
    lost = [199 * (whole - sharpe_ratio(np.delete(returns, row))) for row in range(200)]
    assert np.corrcoef(sharpe_influence(returns), lost)[0, 1] > 0.999
    assert sharpe_influence(returns).std() == pytest.approx(np.std(lost), rel=0.03)


def test_the_interval_of_independent_returns_is_near_that_of_arch():
    from arch.bootstrap import IIDBootstrap

    returns = history("normal", 5)
    ours = bootstrap_intervals(returns, 1.0, draws=2_000)["sharpe"]
    low, high = IIDBootstrap(returns, seed=1).conf_int(sharpe_ratio, 2_000, method="percentile").ravel()
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_bootstrap_intervals_repeat_by_seed_and_differ_between_seeds():
    returns = np.random.default_rng(4).normal(0.001, 0.02, 120)
    once, again, other = (bootstrap_intervals(returns, 365, draws=200, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert once["sharpe"].low < sharpe_ratio(returns, 365) < once["sharpe"].high
    assert once["max_drawdown"].low < once["max_drawdown"].high <= 0


SHORT = np.array([0.01, -0.02, 0.03, 0.01, 0.02, -0.01, 0.0, 0.01, 0.02])
SELDOM = np.zeros(200)
SELDOM[7] = 0.1


@pytest.mark.parametrize("returns", [np.zeros(30), np.empty(0), np.array([0.01]), np.full(9, 0.01), SHORT, SELDOM])
def test_too_little_to_resample_has_no_interval(returns):
    intervals = bootstrap_intervals(returns, 365, draws=50)
    for name in ("sharpe", "cagr"):
        assert math.isnan(intervals[name].low)
        assert math.isnan(intervals[name].high)


def test_after_a_loss_of_everything_there_is_no_interval_of_growth():
    returns = history("normal", 1, 60)
    returns[30] = -1.0
    intervals = bootstrap_intervals(returns, 365, draws=50)
    assert math.isnan(intervals["cagr"].low)
    assert intervals["max_drawdown"].low == -1.0
    assert intervals["sharpe"].low < intervals["sharpe"].high
