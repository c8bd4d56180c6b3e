"""The tests against cash agree with arch draw by draw, and reject as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.performance.bootstrap import stationary_indices
from cryptoquant.performance.superiority import bootstrap_deviation, p_values, resampled_means, superiority


def trials(seed: int, periods: int = 300, count: int = 8, best: float = 0.0) -> np.ndarray:
    returns = np.random.default_rng(seed).standard_normal((periods, count)) * np.linspace(0.5, 2.0, count)
    returns[:, 0] += best
    returns[:, -1] -= 0.6
    return returns


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0, 0.2))
def test_poor_trials_count_more_from_lower_to_upper(seed, best):
    found = superiority(trials(seed, 120, best=best), draws=99, seed=seed)
    assert 0.01 <= found.lower <= found.consistent <= found.upper <= 1.0
    assert 0.01 <= found.reality_check <= 1.0


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.001, 1_000))
def test_neither_unit_nor_order_nor_an_idle_trial_matters(seed, unit):
    returns = trials(seed, 120)
    turned = np.column_stack([np.zeros(120), unit * returns[:, ::-1]])
    assert superiority(turned, draws=99, block=3.0) == superiority(returns, draws=99, block=3.0)


@pytest.mark.parametrize("best", [0.0, 0.06, 0.1])
def test_p_values_are_those_of_arch_on_the_same_draws(best):
    """arch takes losses and does not divide by the deviation; so it is given returns that are divided already."""
    from arch.bootstrap import SPA, StationaryBootstrap

    returns = trials(11, best=best)
    drawn = np.array([data[0].mean(axis=0) for data, _ in StationaryBootstrap(4, returns, seed=3).bootstrap(400)])
    deviation = bootstrap_deviation(returns, 4.0)
    ours = p_values(returns, drawn, deviation)
    for scale, names in (
        (1.0, {"upper": "reality_check"}),
        (deviation, {n: n for n in ("lower", "consistent", "upper")}),
    ):
        test = SPA(np.zeros(300), -returns / scale, block_size=4, reps=400, seed=3)
        test.compute()
        for name, own in names.items():
            assert getattr(ours, own) == pytest.approx((400 * test.pvalues[name] + 1) / 401)


def test_resampled_means_and_their_deviation_are_those_of_the_definition():
    returns = trials(5, 80, 3)
    rows = stationary_indices(80, 4.0, 12_000, np.random.default_rng(7))
    means = resampled_means(returns, 4.0, 12_000, 7)
    assert means.shape == (12_000, 3)
    assert means[:100] == pytest.approx(returns[rows[:100]].mean(axis=1))
    assert bootstrap_deviation(returns, 4.0) == pytest.approx(math.sqrt(80) * means.std(axis=0), rel=0.02)


def test_a_clear_edge_is_seen_and_losers_are_not_superior():
    found = superiority(trials(1, best=0.5))
    assert found.consistent == pytest.approx(1 / 1_001)
    assert found.reality_check < 0.01
    losers = superiority(trials(2) - 1.0)
    assert losers.upper > 0.9
    assert losers.reality_check > 0.9


@pytest.mark.parametrize("periods", [3, 4, 12])
def test_a_short_record_breaks_nothing(periods):
    assert 0.0 < superiority(trials(3, periods), draws=50).consistent <= 1.0


def test_where_nothing_ever_moved_it_is_not_defined_and_too_few_periods_are_refused():
    assert math.isnan(superiority(np.zeros((50, 3))).consistent)
    with pytest.raises(ValueError, match="three periods, found 2"):
        superiority(np.ones((2, 3)))


@pytest.mark.deep
def test_without_an_edge_one_in_twenty_is_rejected():
    """1,000 markets of ten trials that are all as good as cash; the deviation of the rate is 0.7 points.

    The lower p-value bounds the true one from below, so that it rejects more often (Hansen 2005, section 3).
    """
    rejected = np.zeros(4)
    for seed in range(1_000):
        returns = np.random.default_rng([9, seed]).standard_normal((250, 10))
        found = superiority(returns, draws=400, seed=seed)
        rejected += [p <= 0.05 for p in (found.reality_check, found.lower, found.consistent, found.upper)]
    rates = rejected / 1_000
    reality_check, lower, consistent, upper = rates
    assert all(0.02 <= rate <= 0.08 for rate in (reality_check, consistent, upper)), rates
    assert consistent <= lower <= 0.12, rates
