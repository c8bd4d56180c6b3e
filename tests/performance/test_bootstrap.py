"""The stationary bootstrap: its blocks, their automatic length, and the variance of what remembers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from cryptoquant.performance.bootstrap import (
    autocovariances,
    long_run_variance,
    optimal_block,
    stationary_blocks,
    stationary_indices,
)


def with_memory(seed: int, length: int, rho: float) -> np.ndarray:
    return lfilter([1.0], [1.0, -rho], np.random.default_rng(seed).standard_normal(length))


@given(st.integers(0, 10**6), st.integers(30, 600), st.floats(-0.9, 0.95), st.floats(0.001, 1_000))
def test_the_block_length_is_that_of_arch_and_knows_no_units(seed, length, rho, unit):
    from arch.bootstrap import optimal_block_length

    values = with_memory(seed, length, rho)
    wanted = optimal_block_length(values)["stationary"].item()
    assert optimal_block(values) == pytest.approx(max(1.0, wanted), rel=1e-9)
    assert optimal_block(unit * values) == pytest.approx(optimal_block(values), rel=1e-6)


@pytest.mark.parametrize("values", [np.zeros(50), np.full(50, 0.01), np.arange(8.0), np.empty(0)])
def test_without_memory_to_measure_blocks_are_single_rows(values):
    assert optimal_block(values) == 1.0


def test_memory_makes_blocks_longer():
    lengths = [np.median([optimal_block(with_memory(s, 500, rho)) for s in range(30)]) for rho in (0.0, 0.3, 0.8)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 3 < 8 < lengths[2]


def test_autocovariances_are_the_sums_of_their_definition():
    values = np.random.default_rng(1).standard_normal((40, 3))
    centred = values - values.mean(axis=0)
    naive = [(centred[lag:] * centred[: 40 - lag]).sum(axis=0) / 40 for lag in range(40)]
    assert autocovariances(values, 39) == pytest.approx(np.array(naive), abs=1e-14)
    assert autocovariances(values[:, 0], 3) == pytest.approx(np.array(naive)[:4, 0], abs=1e-14)


def test_the_long_run_variance_of_an_autoregression_is_near_its_own():
    """An AR(1) of unit shocks has the long-run variance 1 / (1 - rho)^2."""
    for rho in (0.0, 0.4):
        found = np.mean([long_run_variance(with_memory(seed, 2_000, rho)) for seed in range(40)])
        assert found == pytest.approx(1.0 / (1.0 - rho) ** 2, rel=0.06)
    assert long_run_variance(np.array([1.0, 3.0])) == 1.0
    assert long_run_variance(np.tile([1.0, -1.0], 50)) > 0.0


def test_blocks_of_the_stationary_bootstrap_have_the_asked_mean_length_and_wrap_around():
    rows = stationary_indices(400, 8.0, 200, seed=2)
    assert rows.shape == (200, 400)
    assert rows.min() >= 0
    assert rows.max() < 400
    jumps = (np.diff(rows, axis=1) % 400 != 1).mean()
    assert 1 / jumps == pytest.approx(8.0 * 400 / 399, rel=0.03)
    counts = np.bincount(rows.ravel(), minlength=400)
    assert counts.std() / counts.mean() < 0.25


def test_a_block_goes_on_until_the_next_begins():
    rows, fresh = stationary_blocks(50, 4.0, 30, seed=3)
    assert fresh[:, 0].all()
    goes_on = (rows[:, 1:] - rows[:, :-1]) % 50 == 1
    assert goes_on[~fresh[:, 1:]].all()
    assert math.isclose(fresh[:, 1:].mean(), 0.25, abs_tol=0.04)
