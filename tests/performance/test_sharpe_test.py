"""The formulas of 2026 give the published numbers, and reduce to what is known where they should.

Published values: Lopez de Prado, Lipton & Zoonekynd (2026), numeric example, and the assertions of their own code,
github.com/zoonek/2025-sharpe-ratio, functions.py: monthly returns of mean 0.036 and deviation 0.079 over 24 months.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.sharpe_test import (
    critical_sharpe,
    false_discovery_threshold,
    minimum_track_record_2026,
    observed_false_discovery,
    planned_false_discovery,
    power,
    probabilistic_sharpe_2026,
    sharpe_error,
    sharpe_variance,
)
from cryptoquant.performance.significance import SharpeEstimate

RATIO = 0.036 / 0.079
FUND = SharpeEstimate(RATIO, 24, -2.448, 10.164)
REMEMBERS = SharpeEstimate(RATIO, 24, -2.448, 10.164, 0.2)
NORMAL = SharpeEstimate(RATIO, 24)

estimates = st.builds(
    SharpeEstimate,
    st.floats(-0.3, 0.3),
    st.integers(20, 3_000),
    st.floats(-1, 1),
    st.floats(3, 12),
    st.floats(-0.5, 0.5),
)


@given(estimates, st.floats(-0.2, 0.2), st.floats(0.6, 0.99))
def test_the_test_is_one_and_the_same_in_each_of_its_forms(estimate, benchmark, confidence):
    """Seen exactly at the critical ratio, the probability is the confidence and the record is just long enough."""
    critical = critical_sharpe(estimate, benchmark, confidence)
    at = SharpeEstimate(critical, estimate.observations, estimate.skewness, estimate.kurtosis, estimate.autocorrelation)
    assert probabilistic_sharpe_2026(at, benchmark) == pytest.approx(confidence)
    assert minimum_track_record_2026(at, benchmark, confidence) == pytest.approx(estimate.observations)
    assert power(estimate, benchmark, benchmark, confidence) == pytest.approx(1.0 - confidence)


@given(estimates, st.floats(0.01, 0.99))
def test_false_discovery_lies_between_nothing_and_what_was_believed_of_all(estimate, prior):
    found = observed_false_discovery(SharpeEstimate(0.1, estimate.observations), 0.1, prior)
    assert 0.0 <= found <= 1.0 - prior + 1e-12
    assert planned_false_discovery(0.05, 0.05, prior) == pytest.approx(1.0 - prior)


def test_the_standard_errors_of_the_published_example():
    assert sharpe_error(REMEMBERS) == pytest.approx(0.379, abs=5e-4)
    assert sharpe_error(FUND) == pytest.approx(0.329, abs=5e-4)
    assert sharpe_error(NORMAL) == pytest.approx(0.214, abs=5e-4)


def test_the_probabilities_of_the_published_example():
    assert probabilistic_sharpe_2026(FUND) == pytest.approx(0.987, abs=5e-4)
    assert probabilistic_sharpe_2026(FUND, 0.1) == pytest.approx(0.939, abs=5e-4)


def test_the_minimum_track_records_of_the_published_example():
    assert minimum_track_record_2026(REMEMBERS) == pytest.approx(19.543, abs=5e-4)
    assert minimum_track_record_2026(FUND) == pytest.approx(13.029, abs=5e-4)


def test_power_and_false_discovery_of_the_published_example():
    assert 1.0 - power(FUND, 0.5) == pytest.approx(0.315, abs=5e-4)
    assert planned_false_discovery(0.05, 1.0 - 0.315, 0.05) == pytest.approx(0.581, abs=5e-4)
    assert observed_false_discovery(FUND, 0.5, 0.05) == pytest.approx(0.306, abs=5e-4)


def test_the_threshold_leaves_the_asked_share_of_false_discoveries():
    """Checked by its definition: q = 1 / (1 + true / false), by the tails of two normals."""
    from scipy.stats import norm

    for estimate in (FUND, REMEMBERS, NORMAL):
        found = false_discovery_threshold(estimate, 0.5, 0.1, 0.25)
        false = norm.sf(found, 0.0, math.sqrt(sharpe_variance(estimate, 0.0))) * 0.9
        true = norm.sf(found, 0.5, math.sqrt(sharpe_variance(estimate, 0.5))) * 0.1
        assert false / (false + true) == pytest.approx(0.25, abs=1e-9)
    assert false_discovery_threshold(NORMAL, 0.5, 0.1, 0.95) == -math.inf
    tight = SharpeEstimate(0.1, 24, 0.9, 2.0)
    assert sharpe_variance(tight, 0.3) < sharpe_variance(tight, 0.0)
    assert math.isnan(false_discovery_threshold(tight, 0.3, 0.1, 1e-9))


def test_memory_widens_and_a_clear_edge_is_hardly_a_false_discovery():
    errors = [sharpe_error(SharpeEstimate(0.1, 500, 0.0, 3.0, rho)) for rho in (-0.3, 0.0, 0.3)]
    assert errors == sorted(errors)
    assert errors[1] == pytest.approx(math.sqrt((1 + 0.1**2 / 2) / 500))
    assert observed_false_discovery(SharpeEstimate(3.0, 5_000), 0.05, 0.1) < 1e-12
    assert observed_false_discovery(SharpeEstimate(-1.0, 5_000), 0.05, 0.1) == pytest.approx(0.9)


def test_the_error_is_the_scatter_of_simulated_ratios_with_memory():
    from scipy.signal import lfilter

    noise = np.random.default_rng(0).standard_normal((4_000, 300))
    returns = 0.15 + lfilter([math.sqrt(1 - 0.3**2)], [1.0, -0.3], noise, axis=1)[:, 50:]
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    assert ratios.std() == pytest.approx(sharpe_error(SharpeEstimate(0.15, 250, 0.0, 3.0, 0.3)), rel=0.03)


def test_a_constant_series_has_no_number_and_a_loss_no_record_that_would_do():
    still = SharpeEstimate.of(np.zeros(30))
    for function in (sharpe_error, probabilistic_sharpe_2026, minimum_track_record_2026):
        assert math.isnan(function(still))
    assert math.isnan(observed_false_discovery(still, 0.05, 0.1))
    assert minimum_track_record_2026(SharpeEstimate(-0.1, 50)) == math.inf
