"""Published numbers, limits and coverage of what says how sure one can be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.metrics import moments, sharpe_ratio
from cryptoquant.performance.significance import (
    SharpeEstimate,
    autocorrelation,
    deflated_sharpe,
    expected_maximum,
    minimum_backtest_years,
    minimum_track_record,
    probabilistic_sharpe,
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
    estimate = SharpeEstimate(sharpe_ratio(returns), 300, *moments(returns), autocorrelation(returns))
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


def test_the_deflated_sharpe_ratio_is_that_of_skfolio_and_vectorbt():
    from scipy.stats import kurtosis, skew
    from skfolio.measures import deflated_sharpe_ratio
    from vectorbt.returns import metrics

    returns = 0.001 + 0.01 * np.random.default_rng(8).standard_t(5, (500, 12))
    sharpes = np.array([sharpe_ratio(column) for column in returns.T])
    ours = [deflated_sharpe(column, sharpes) for column in returns.T]
    theirs = metrics.deflated_sharpe_ratio(
        est_sharpe=sharpes,
        var_sharpe=np.var(sharpes, ddof=1),
        nb_trials=12,
        backtest_horizon=500,
        skew=skew(returns),
        kurtosis=kurtosis(returns, fisher=False),
    )
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert ours == pytest.approx(deflated_sharpe_ratio(returns, sharpes), abs=1e-12)
    assert 0.01 < min(ours) < max(ours) < 0.999


def test_autocorrelation_is_computed_by_hand_and_of_a_constant_series_not_defined():
    """Deviations -1.5, -0.5, 0.5, 1.5: (0.75 - 0.25 + 0.75) / 5."""
    assert autocorrelation(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.25)
    assert math.isnan(autocorrelation(np.full(4, 0.01)))


def test_the_minimum_backtest_length_shrinks_with_the_ratio_and_grows_with_the_trials():
    """Bailey, Borwein, Lopez de Prado & Zhu (2014): five years of data allow at most 45 trials at a ratio of 1."""
    assert minimum_backtest_years(1.0, 45) == pytest.approx(5.0, abs=0.1)
    assert minimum_backtest_years(2.0, 45) == pytest.approx(minimum_backtest_years(1.0, 45) / 4)
    assert minimum_backtest_years(1.0, 46) > minimum_backtest_years(1.0, 45)
    assert minimum_backtest_years(-0.5, 3) == math.inf
    assert math.isnan(minimum_backtest_years(1.0, 1))
    assert math.isnan(minimum_backtest_years(math.nan, 5))
