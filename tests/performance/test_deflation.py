"""The best of many is high by luck: its mean, its spread, and what is left of a ratio after both."""

import math

import numpy as np
import pytest

from cryptoquant.performance.deflation import (
    deflated_by,
    deflated_sharpe_2026,
    family_wise_threshold,
    maximum_of_normals,
)
from cryptoquant.performance.sharpe_test import probabilistic_sharpe_2026
from cryptoquant.performance.significance import SharpeEstimate, deflated_sharpe, expected_maximum


@pytest.mark.parametrize(
    ("count", "mean", "variance"),
    [
        (1, 0.0, 1.0),
        (2, 1 / math.sqrt(math.pi), 1 - 1 / math.pi),
        (3, 1.5 / math.sqrt(math.pi), 1 + math.sqrt(3) / (2 * math.pi) - 2.25 / math.pi),
        (10, 1.538752730835173, 0.3443438233),
    ],
)
def test_the_moments_of_the_maximum_are_those_known_in_closed_form(count, mean, variance):
    """Ten: Teichroew (1956), tables of normal order statistics."""
    found = maximum_of_normals(count)
    assert found[0] == pytest.approx(mean, abs=1e-8)
    assert found[1] ** 2 == pytest.approx(variance, abs=1e-6)


def test_the_theorem_is_near_the_exact_mean_and_more_trials_spread_less():
    for count in (10, 100, 10_000):
        assert expected_maximum(1.0, count) == pytest.approx(maximum_of_normals(count)[0], rel=0.03)
    spreads = [maximum_of_normals(count)[1] for count in (1, 2, 10, 100, 10_000)]
    assert spreads == sorted(spreads, reverse=True)
    with pytest.raises(ValueError, match="found 0"):
        maximum_of_normals(0)


def test_the_deflated_ratio_by_hand():
    """Two trials of ratios 0.1 and 0.3: variance 0.02; the deviation of the maximum of two is sqrt(1 - 1 / pi)."""
    from scipy.stats import norm

    deviation = math.sqrt(0.02)
    wanted = norm.cdf((0.3 - expected_maximum(0.02, 2)) / (deviation * math.sqrt(1 - 1 / math.pi)))
    assert deflated_sharpe_2026(SharpeEstimate(0.3, 200), np.array([0.1, 0.3])) == pytest.approx(wanted, abs=1e-9)


def test_without_trials_to_compare_it_is_not_defined():
    estimate = SharpeEstimate(0.1, 200)
    for sharpes in (np.array([0.1]), np.empty(0)):
        assert math.isnan(deflated_sharpe_2026(estimate, sharpes))
    assert math.isnan(deflated_sharpe_2026(SharpeEstimate.of(np.zeros(9)), np.array([0.1, 0.2])))


def test_the_family_wise_threshold_is_passed_by_one_family_in_twenty():
    ratios = 0.04 * np.random.default_rng(1).standard_normal((40_000, 25))
    threshold = family_wise_threshold(0.04**2, 25)
    assert (ratios.max(axis=1) > threshold).mean() == pytest.approx(0.05, abs=0.004)
    assert family_wise_threshold(1.0, 1) == pytest.approx(1.6449, abs=1e-4)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 0.999])
def test_the_best_of_correlated_trials_scatters_as_much_as_is_said(correlation):
    """Forty thousand families of fifty trials over 400 days: the best is one deviation above its mean at 0.8413."""
    rng, deviation = np.random.default_rng(11), 0.05
    shared, own = rng.standard_normal((40_000, 1)), rng.standard_normal((40_000, 50))
    best = (deviation * (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)).max(axis=1)
    variance = (1 - correlation) * deviation**2
    estimate = SharpeEstimate(expected_maximum(variance, 50) + float(best.std()), 400)
    assert best.mean() == pytest.approx(expected_maximum(variance, 50), abs=0.002)
    assert deflated_by(estimate, variance, 50) == pytest.approx(0.8413, abs=0.003)


def test_trials_that_are_alike_leave_the_probability_of_one():
    """Five trials that differ by a hundred thousandth: nothing was chosen, and nothing is sure."""
    rng = np.random.default_rng(5)
    own = 0.01 * rng.standard_normal(400)
    own += 0.0002 - own.mean()
    trials = own[:, None] + 1e-5 * rng.standard_normal((400, 5))
    sharpes = trials.mean(axis=0) / trials.std(axis=0, ddof=1)
    estimate = SharpeEstimate.of(own)
    alone = probabilistic_sharpe_2026(estimate)
    assert 0.6 < alone < 0.9
    assert deflated_sharpe_2026(estimate, sharpes) == pytest.approx(alone, abs=0.01)
    assert deflated_sharpe_2026(estimate, sharpes) == pytest.approx(deflated_sharpe(estimate, sharpes), abs=0.03)
    assert deflated_sharpe_2026(estimate, np.full(4, 0.1)) == probabilistic_sharpe_2026(estimate)
