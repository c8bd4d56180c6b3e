"""Overfitting by splits: the definition written plainly gives the same, and the limits are where they must be."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from cryptoquant.performance.overfitting import backtest_overfitting, half_splits


def naive(returns: np.ndarray, blocks: int) -> tuple[list[float], list[float], list[float]]:
    """Return logits, ratios inside and outside, split by split, straight from the definition."""
    edges = np.linspace(0, len(returns), blocks + 1).astype(int)
    parts = [returns[a:b] for a, b in pairwise(edges)]
    logits, inside, outside = [], [], []
    for chosen in combinations(range(blocks), blocks // 2):
        halves = [np.concatenate([parts[b] for b in range(blocks) if (b in chosen) == side]) for side in (True, False)]
        seen, unseen = (half.mean(axis=0) / half.std(axis=0, ddof=1) for half in halves)
        best = int(np.argmax(seen))
        rank = rankdata(unseen)[best] / (returns.shape[1] + 1)
        logits.append(math.log(rank / (1 - rank)))
        inside.append(seen[best])
        outside.append(unseen[best])
    return logits, inside, outside


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 8), st.sampled_from([2, 4, 6]), st.integers(13, 60))
def test_it_is_what_the_definition_says(seed, trials, blocks, periods):
    returns = np.random.default_rng(seed).standard_normal((periods, trials)) + 0.1
    logits, inside, outside = naive(returns, blocks)
    found = backtest_overfitting(returns, blocks)
    assert found.logits == pytest.approx(logits)
    assert found.probability == np.mean(np.array(logits) <= 1e-12)
    assert found.probability_of_loss == np.mean(np.array(outside) < 0)
    assert found.slope == pytest.approx(np.polyfit(inside, outside, 1)[0])


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.001, 100))
def test_neither_the_order_of_the_trials_nor_the_unit_matters(seed, unit):
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((64, 6)) * (rng.random((64, 6)) < 0.3)
    returns[:, 4] = 0.0
    found, turned = backtest_overfitting(returns, 8), backtest_overfitting(unit * returns[:, ::-1], 8)
    assert turned.probability == found.probability
    assert turned.logits == pytest.approx(found.logits)
    assert 0.0 <= found.low <= found.probability <= found.high <= 1.0


def test_four_blocks_by_hand():
    """One trial wins in blocks 1 and 2, the other in 3 and 4: the best of {1, 2} or {3, 4} is the worse one later.

    The four mixed halves are ties: both trials are best inside, and the average rank of both is the median.
    """
    good, bad = [2.0, 1.0], [-1.0, -2.0]
    returns = np.column_stack([good + good + bad + bad, bad + bad + good + good])
    found = backtest_overfitting(returns, 4)
    assert sorted(found.logits.tolist()) == pytest.approx([-math.log(2)] * 2 + [0.0] * 4)
    assert found.probability == 1.0
    assert found.probability_of_loss == pytest.approx(2 / 6)


def test_trials_without_an_edge_of_their_own_are_overfit():
    """Recentred to a ratio of zero over the whole, what is best in one half is poor in the other by construction."""
    returns = np.random.default_rng(1).standard_normal((320, 20))
    found = backtest_overfitting(returns - returns.mean(axis=0), 16)
    assert found.probability > 0.95
    assert found.slope == pytest.approx(-1.0, abs=0.2)
    assert found.probability_of_loss > 0.99


def test_a_dominant_trial_is_not_overfit():
    returns = np.random.default_rng(2).standard_normal((320, 20))
    returns[:, 7] += 1.0
    found = backtest_overfitting(returns, 16)
    assert (found.probability, found.low, found.high, found.probability_of_loss) == (0.0, 0.0, 0.0, 0.0)
    assert found.logits == pytest.approx(np.full(12_870, math.log(20)))


def test_noise_is_overfit_about_half_of_the_time():
    """A single history scatters by 0.2, the mean of 200 by 0.014; three of them, fixed beforehand."""
    found = [
        backtest_overfitting(np.random.default_rng([3, seed]).standard_normal((160, 20)), 8) for seed in range(200)
    ]
    mean = np.mean([one.probability for one in found])
    assert mean == pytest.approx(0.5, abs=0.045)
    assert np.mean([one.low <= mean <= one.high for one in found]) >= 0.93
    assert np.median([one.high - one.low for one in found]) < 0.9


@pytest.mark.deep
@pytest.mark.parametrize("edge", [0.0, 2.0, 4.0])
def test_the_interval_covers_the_mean_of_such_histories(edge):
    found = []
    for seed in range(300):
        returns = np.random.default_rng([5, seed]).standard_normal((500, 20))
        returns[:, 0] += edge / math.sqrt(365)
        found.append(backtest_overfitting(returns))
    mean = np.mean([one.probability for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) >= 0.94


def test_idle_trials_break_nothing_and_copies_share_their_rank():
    returns = np.random.default_rng(4).standard_normal((160, 5))
    returns[:, 0] = 0.0
    assert np.isfinite(backtest_overfitting(returns, 8).logits).all()
    copies = backtest_overfitting(np.repeat(returns[:, 1:2], 3, axis=1), 8)
    assert (copies.probability, set(copies.logits)) == (1.0, {0.0})
    assert math.isnan(backtest_overfitting(np.zeros((40, 2)), 4).slope)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_two_that_are_best_alike_share_what_became_of_them(sign):
    """Both idle at first; then one gains and one loses: ranks 2 and 1 of 2, on average the median."""
    late = np.array([0.0] * 4 + [2.0, 1.0, 2.0, 1.0])
    found = backtest_overfitting(np.column_stack([sign * late, -sign * late]), 4)
    assert found.logits[0] == 0.0


def test_the_splits_are_all_halves_and_each_faces_its_complement():
    found = half_splits(6)
    assert found.shape == (20, 6)
    assert len({tuple(row) for row in found}) == 20
    assert (found + found[::-1] == 1.0).all()


@pytest.mark.parametrize(("shape", "blocks"), [((100, 1), 4), ((100, 3), 5), ((7, 3), 4), ((10, 3), 0)])
def test_what_cannot_be_split_is_refused(shape, blocks):
    with pytest.raises(ValueError, match=f"found {shape[1]} trials, {shape[0]} periods and {blocks} blocks"):
        backtest_overfitting(np.ones(shape), blocks)


def test_blocks_that_are_no_multiple_of_four_have_no_interval():
    found = backtest_overfitting(np.random.default_rng(1).standard_normal((60, 4)), 6)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("trials", range(2, 13))
def test_equal_trials_rank_at_the_median_whatever_their_number(trials):
    column = np.random.default_rng(6).standard_normal((160, 1))
    found = backtest_overfitting(np.repeat(column, trials, axis=1), 8)
    assert (found.probability, found.low, found.high) == (1.0, 1.0, 1.0)
    assert set(found.logits) == {0.0}
