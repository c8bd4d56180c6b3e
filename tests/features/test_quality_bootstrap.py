"""Intervals and p-values of feature quality: what they cover, and what many looks cost."""

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control, rankdata, spearmanr

from cryptoquant.features.quality import measure_quality
from cryptoquant.features.quality_bootstrap import block_length, estimates, q_values
from tests.features.quality_markets import foreseen, market


def test_intervals_of_noise_cover_zero_about_as_often_as_they_say() -> None:
    """A persistent feature at an overlapping horizon is the hardest case; and false alarms are as rare."""
    hits, alarms = {}, {}
    for seed in range(100):
        random = np.random.default_rng(seed)
        returns, fresh = 0.01 * random.standard_normal(1_000), random.standard_normal((2, 1_000))
        persistent = fresh[1].copy()
        for bar in range(1, 1_000):
            persistent[bar] += 0.95 * persistent[bar - 1]
        frame = measure_quality(*market(returns, {"fresh": fresh[0], "persistent": persistent}), (1, 6)).frame
        for row in frame.iter_rows(named=True):
            key = row["feature"], row["horizon"]
            hits[key] = hits.get(key, 0) + (row["rank_ic_low"] < 0.0 < row["rank_ic_high"])
            alarms[key] = alarms.get(key, 0) + (row["p_value"] < 0.05)
    assert all(87 <= count <= 100 for count in hits.values()), hits
    assert all(count <= 13 for count in alarms.values()), alarms


def test_blocks_of_all_symbols_are_no_surer_of_what_all_symbols_share() -> None:
    random = np.random.default_rng(5)
    returns, values = 0.01 * random.standard_normal(800), random.standard_normal(800)
    one = measure_quality(*market(returns, {"x": values}), (1,)).frame.row(0, named=True)
    copies = measure_quality(*market(np.tile(returns, (8, 1)), {"x": np.tile(values, (8, 1))}), (1,)).frame
    eight = copies.row(0, named=True)
    for name in ("rank_ic", "rank_ic_low", "rank_ic_high", "p_value", "spread_low", "linear_ic_high"):
        assert eight[name] == pytest.approx(one[name], abs=1e-9), name


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_the_interval_is_that_of_drawing_blocks_and_ranking_them_again(noise: float) -> None:
    random = np.random.default_rng(1)
    returns = 0.01 * random.standard_normal(600)
    values = foreseen(returns)[0] + 0.01 * noise * random.standard_normal(600)
    row = measure_quality(*market(returns, {"x": values}), (1,)).frame.row(0, named=True)
    pairs, length = np.column_stack([values[:-1], returns[1:]]), block_length(599, 1)
    ring, ics = np.vstack([pairs, pairs]), []
    for _ in range(1_000):
        starts = random.integers(0, 599, math.ceil(599 / length))
        ics.append(spearmanr(*np.vstack([ring[start : start + length] for start in starts]).T).statistic)
    assert row["rank_ic_high"] - row["rank_ic_low"] == pytest.approx(
        np.diff(np.quantile(ics, [0.025, 0.975]))[0], rel=0.1
    )
    assert row["t_ratio"] == pytest.approx(row["rank_ic"] / np.std(ics), rel=0.1)


def test_the_interval_of_the_spread_is_that_of_drawing_blocks_with_their_fifths() -> None:
    random = np.random.default_rng(2)
    moves, tide = 0.01 * random.standard_normal(600), 0.02 * np.sin(np.arange(600) / 30)
    returns, values = moves + tide, foreseen(moves)[0] + 0.01 * random.standard_normal(600)
    row = measure_quality(*market(returns, {"x": values}), (1,)).frame.row(0, named=True)
    fifths, later = np.floor(5 * (rankdata(values[:-1]) - 0.5) / 599), returns[1:]
    length, spreads = block_length(599, 1), []
    for _ in range(2_000):
        starts = random.integers(0, 599, math.ceil(599 / length))
        rows = (starts[:, None] + np.arange(length)).reshape(-1) % 599
        spreads.append(later[rows][fifths[rows] == 4].mean() - later[rows][fifths[rows] == 0].mean())
    low, high = np.quantile(spreads, [0.025, 0.975])
    assert row["spread_low"] == pytest.approx(low, abs=0.1 * (high - low))
    assert row["spread_high"] == pytest.approx(high, abs=0.1 * (high - low))


def test_blocks_run_around_the_end_into_the_start() -> None:
    first, middle = np.zeros((2, 100))
    first[0], middle[50] = 1.0, 1.0
    found = estimates(np.array([first, middle]), np.full(100, 2), np.array([0.005, 0.005]), 1, 0)
    assert found[0].t_ratio == pytest.approx(found[1].t_ratio, rel=0.1)


def test_draws_of_a_mean_scatter_like_the_mean_of_independent_rows() -> None:
    random = np.random.default_rng(0)
    sums, counts = random.standard_normal((1, 4_000)), np.ones(4_000, np.int64)
    (found,) = estimates(sums, counts, sums.mean(axis=1), 1, 0)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(4_000), rel=0.1)
    assert found.low < sums.mean() < found.high


def test_few_closes_have_no_interval() -> None:
    assert block_length(64, 2) == block_length(63, 2) == 2 * 2 + 4
    sums = np.random.default_rng(0).standard_normal((1, 64))
    for closes, is_defined in ((63, False), (64, True)):
        (found,) = estimates(sums[:, :closes], np.ones(closes, np.int64), sums[:, :closes].mean(axis=1), 2, 0)
        assert [math.isfinite(number) for number in (found.low, found.t_ratio, found.p_value)] == [is_defined] * 3


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    p_values = np.random.default_rng(0).random(40) ** 3
    assert q_values(p_values) == pytest.approx(false_discovery_control(p_values))
    gaps = np.array([0.01, math.nan, 0.04, 0.03])
    assert q_values(gaps) == pytest.approx([0.03, math.nan, 0.04, 0.04], nan_ok=True)


def test_among_many_features_of_noise_hardly_one_is_marked_and_a_true_one_is() -> None:
    random = np.random.default_rng(3)
    returns = 0.01 * random.standard_normal(2_000)
    features = {f"noise_{number}": random.standard_normal(2_000) for number in range(40)}
    features["true"] = foreseen(returns)[0] + 0.06 * random.standard_normal(2_000)
    quality = measure_quality(*market(returns, features), (1, 3))
    frame = quality.frame
    assert frame.filter(frame["significant"])["feature"].unique().to_list() == ["true"]
    assert (frame["p_value"] < 0.05).sum() > 3
    assert quality.verdict.startswith("41 features x 2 horizons = 82 pairs looked at")
