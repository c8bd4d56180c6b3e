"""Trials that are alike count as one, whatever their number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.effective_trials import effective_trials


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 60), st.floats(0, 1))
def test_trials_amount_to_between_one_and_their_number(seed, trials, periods, shared):
    rng = np.random.default_rng(seed)
    returns = (1 - shared) * rng.standard_normal((periods, trials)) + shared * rng.standard_normal((periods, 1))
    returns[:, rng.random(trials) < 0.2] = 0.0
    assert 1.0 <= effective_trials(returns) <= trials


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_copies_and_scale_add_nothing(seed, copies):
    column = np.random.default_rng(seed).standard_normal((50, 1))
    assert effective_trials(column * np.where(np.arange(copies) % 2, -3.0, 0.5)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("trials", [2, 10, 40])
def test_independent_trials_are_about_as_many_as_they_are(trials):
    returns = np.random.default_rng(trials).standard_normal((2_000, trials))
    assert effective_trials(returns) == pytest.approx(trials, rel=0.02)


def test_two_kinds_of_trials_are_two_and_idle_ones_one_more():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.linalg.qr(rng.standard_normal((300, 3)))[0][:, :2], 5, axis=1)
    kinds -= kinds.mean(axis=0)
    assert effective_trials(kinds) == pytest.approx(2.0, abs=0.02)
    with_idle = np.column_stack([kinds, np.zeros((300, 3))])
    assert effective_trials(with_idle) == pytest.approx(effective_trials(kinds) + 1.0)
    assert effective_trials(np.zeros((300, 3))) == 1.0


def test_of_a_known_correlation_it_is_the_entropy_of_its_eigenvalues():
    """Two trials with correlation 0.6: eigenvalues 1.6 and 0.4, shares 0.8 and 0.2."""
    one, other = np.tile([1.0, -1.0], 50), np.repeat([1.0, -1.0], 50)
    returns = np.column_stack([one, 0.6 * one + 0.8 * other])
    assert effective_trials(returns) == pytest.approx(math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2)))


def test_without_a_trial_or_two_periods_it_is_not_defined():
    assert math.isnan(effective_trials(np.empty((5, 0))))
    assert math.isnan(effective_trials(np.ones((1, 3))))
