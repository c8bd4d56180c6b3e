"""Published numbers, limits and coverage of what says how sure one can be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.metrics import moments, sharpe_ratio
from cryptoquant.performance.significance import (
    SharpeEstimate,
    bootstrap_intervals,
    deflated_sharpe,
    expected_maximum,
    minimum_track_record,
    probabilistic_sharpe,
    stationary_indices,
)


def trials_with_variance(count: int, variance: float) -> np.ndarray:
    raw = np.linspace(-1, 1, count)
    return raw / raw.std(ddof=1) * math.sqrt(variance)


@given(st.floats(-0.3, 0.3), st.integers(5, 5_000), st.floats(-1, 1), st.floats(3, 12))
def test_a_higher_benchmark_is_never_more_probable(sharpe, observations, skewness, kurtosis):
    estimate = SharpeEstimate(sharpe, observations, skewness, kurtosis)
    found = [probabilistic_sharpe(estimate, benchmark) for benchmark in (-0.1, 0.0, sharpe, 0.1)]
    assert all(0 <= value <= 1 for value in found)
    assert found[0] >= found[1] >= found[3]
    assert found[2] == pytest.approx(0.5)


def test_the_deflated_sharpe_ratio_of_the_published_example():
    """Bailey & Lopez de Prado (2014): SR 2.5 a year, 100 trials of annual variance 1/2, 1250 days: 0.9004."""
    estimate = SharpeEstimate(2.5 / math.sqrt(250), 1_250, skewness=-3.0, kurtosis=10.0)
    assert deflated_sharpe(estimate, trials_with_variance(100, 0.5 / 250)) == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize(("per_year", "years"), [(250, 2.73), (12, 3.24)])
def test_the_minimum_track_records_of_the_published_examples(per_year, years):
    """Bailey & Lopez de Prado (2012): an annual Sharpe ratio of 2 against 1, normal returns, 95 %."""
    root = math.sqrt(per_year)
    assert minimum_track_record(SharpeEstimate(2 / root, 0), 1 / root) / per_year == pytest.approx(years, abs=0.005)


def test_returns_and_their_estimate_give_the_same_probability():
    returns = np.random.default_rng(5).normal(0.001, 0.01, 300)
    estimate = SharpeEstimate(sharpe_ratio(returns), 300, *moments(returns))
    assert SharpeEstimate.of(returns) == estimate
    assert probabilistic_sharpe(returns, 0.02) == probabilistic_sharpe(estimate, 0.02)
    assert minimum_track_record(returns) == minimum_track_record(estimate)


def test_the_minimum_track_record_is_where_the_probability_reaches_the_confidence():
    estimate = SharpeEstimate(0.12, 0, -0.5, 6.0)
    needed = minimum_track_record(estimate, 0.02, 0.9)
    reached = SharpeEstimate(0.12, needed, -0.5, 6.0)
    assert probabilistic_sharpe(reached, 0.02) == pytest.approx(0.9)


def test_more_trials_deflate_more_and_identical_trials_do_not():
    estimate = SharpeEstimate(0.1, 500)
    found = [deflated_sharpe(estimate, trials_with_variance(count, 0.002)) for count in (2, 10, 100)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3
    assert deflated_sharpe(estimate, np.full(5, 0.1)) == probabilistic_sharpe(estimate)


def test_the_expected_maximum_is_near_that_of_simulated_normals():
    best = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1).mean()
    assert expected_maximum(1.0, 50) == pytest.approx(best, abs=0.03)
    with pytest.raises(ValueError, match="at least two trials, found 1"):
        expected_maximum(1.0, 1)


def test_what_never_moves_or_never_gains_is_said_so():
    assert math.isnan(probabilistic_sharpe(np.zeros(20)))
    assert math.isnan(minimum_track_record(np.zeros(20)))
    assert minimum_track_record(SharpeEstimate(-0.1, 50)) == math.inf


def test_blocks_of_the_stationary_bootstrap_have_the_asked_mean_length_and_wrap_around():
    rows = stationary_indices(400, 8.0, 200, seed=2)
    assert rows.shape == (200, 400)
    assert rows.min() >= 0
    assert rows.max() < 400
    jumps = (np.diff(rows, axis=1) % 400 != 1).mean()
    assert 1 / jumps == pytest.approx(8.0 * 400 / 399, rel=0.03)
    counts = np.bincount(rows.ravel(), minlength=400)
    assert counts.std() / counts.mean() < 0.25


def test_bootstrap_intervals_repeat_by_seed_and_differ_between_seeds():
    returns = np.random.default_rng(4).normal(0.001, 0.02, 120)
    once, again, other = (bootstrap_intervals(returns, 365, draws=200, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert once["sharpe"].low < sharpe_ratio(returns, 365) < once["sharpe"].high
    assert once["max_drawdown"].low < once["max_drawdown"].high <= 0


def test_bootstrap_intervals_cover_the_true_sharpe_ratio_about_as_often_as_they_say():
    truth, covered = 0.1, 0
    for seed in range(60):
        returns = np.random.default_rng([9, seed]).normal(truth * 0.01, 0.01, 200)
        interval = bootstrap_intervals(returns, 1.0, confidence=0.9, draws=150, seed=seed)["sharpe"]
        covered += interval.low <= truth <= interval.high
    assert 46 <= covered <= 60


@pytest.mark.parametrize("returns", [np.zeros(30), np.empty(0), np.array([0.01])])
def test_too_little_to_resample_has_no_interval_of_the_sharpe_ratio(returns):
    interval = bootstrap_intervals(returns, 365, draws=20)["sharpe"]
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
