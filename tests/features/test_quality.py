"""The figures of feature quality, against scipy, NumPy and arithmetic by hand."""

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr, rankdata, spearmanr

from cryptoquant import features as f
from cryptoquant.errors import DataError
from cryptoquant.features.quality import FeatureQuality, measure_quality
from cryptoquant.features.quality_pairs import Column, Pair, Rows, half_life
from tests.features.examples import panel_of
from tests.features.quality_markets import DAY, foreseen, market
from tests.market_makers import frame_of, gapping_panel

Array = NDArray[np.float64]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def measured(returns: Array, horizons: tuple[int, ...] = (1,), **features: Array) -> FeatureQuality:
    return measure_quality(*market(returns, features), horizons)


def only(quality: FeatureQuality) -> dict[str, float]:
    (row,) = quality.frame.iter_rows(named=True)
    return row


def ahead(returns: Array, horizon: int) -> Array:
    """The log return of the next ``horizon`` bars of one symbol, shorter by the horizon."""
    sums = np.concatenate([[0.0], np.cumsum(returns)])
    return (sums[horizon + 1 :] - sums[1:-horizon]) if horizon < len(returns) else np.empty(0)


@pytest.mark.parametrize("horizon", [1, 7])
@pytest.mark.parametrize("digits", [9, 0])
def test_correlations_are_those_of_scipy_averaged_over_symbols_by_rows(horizon: int, digits: int) -> None:
    returns, values = 0.01 * noise(2, 400), np.round(noise(2, 400, seed=1), digits)
    values[1, :250] = np.nan
    row = only(measured(returns, (horizon,), x=values))
    later = [ahead(series, horizon) for series in returns]
    pairs = [(values[0, :-horizon], later[0]), (values[1, 250:-horizon], later[1][250:])]
    weights = [len(first) for first, _ in pairs]
    assert row["rows"] == sum(weights)
    ranks = np.average([spearmanr(*pair).statistic for pair in pairs], weights=weights)
    lines = np.average([pearsonr(*pair).statistic for pair in pairs], weights=weights)
    assert row["rank_ic"] == pytest.approx(ranks, abs=1e-12)
    assert row["linear_ic"] == pytest.approx(lines, abs=1e-9)
    assert row["coverage"] == 550 / 800


def test_fifths_are_means_of_returns_by_the_order_of_the_feature() -> None:
    returns, values = 0.01 * noise(503), noise(503, seed=1)
    row = only(measured(returns, (2,), x=values))
    later, kept = ahead(returns, 2), values[:-2]
    fifths = np.floor(5 * (rankdata(kept) - 0.5) / len(kept))
    wanted = [later[fifths == place].mean() for place in range(5)]
    assert [row[f"quantile_{place + 1}"] for place in range(5)] == pytest.approx(wanted, abs=1e-12)
    assert row["spread"] == pytest.approx(wanted[4] - wanted[0], abs=1e-12)
    assert row["spread_low"] < row["spread"] < row["spread_high"]
    assert row["monotonicity"] == pytest.approx(spearmanr(range(5), wanted).statistic)
    assert row["turnover"] == pytest.approx((np.diff(fifths) != 0).mean())
    weights = np.abs(rankdata(kept) - (len(kept) + 1) / 2)
    hits = np.sign(rankdata(kept) - (len(kept) + 1) / 2) == np.sign(later)
    assert row["hit_rate"] == pytest.approx(np.average(hits, weights=weights))


def test_turnover_counts_neighbouring_bars_of_one_symbol_only() -> None:
    values = np.tile(np.arange(50.0), (2, 1))
    values[0, 20:30] = np.nan
    # The rows with a return are 0-19 and 30-48 of the one symbol and 0-48 of the other, both in ascending order: each
    # leaves a fifth four times. Of the first, 8 values are to a fifth (39 / 5 = 7.8): bars 8, 16, 34 and 42 begin one,
    # none of them after the gap.
    row = only(measured(0.01 * noise(2, 50), x=values))
    assert row["turnover"] == pytest.approx(8 / (19 + 18 + 48))


def test_a_symbol_with_fewer_than_ten_rows_is_left_out() -> None:
    returns, values = 0.01 * noise(2, 60), noise(2, 60, seed=1)
    for rows, counted in ((9, 59), (10, 69)):
        values[1] = np.where(np.arange(60) < rows, noise(60, seed=2), np.nan)
        assert only(measured(returns, x=values))["rows"] == counted


def test_by_hand_a_feature_that_is_the_next_return_orders_all_and_its_reverse_the_other_way() -> None:
    returns = np.array([0.0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5]) / 100
    row = only(measured(returns, x=foreseen(returns)))
    assert (row["rows"], row["rank_ic"], row["hit_rate"], row["monotonicity"]) == (10, pytest.approx(1.0), 1.0, 1.0)
    assert [row[f"quantile_{n}"] for n in range(1, 6)] == pytest.approx([-0.045, -0.025, 0.0, 0.025, 0.045])
    assert row["spread"] == pytest.approx(0.09)
    # The fifths of 1 -1 2 -2 3 -3 4 -4 5 -5 per cent are 3 3 4 2 4 2 5 1 5 1: eight of nine bars change it.
    assert row["turnover"] == pytest.approx(8 / 9)
    assert row["linear_ic"] == pytest.approx(1.0)
    assert math.isnan(row["rank_ic_low"])
    mirrored = only(measured(returns, x=-foreseen(returns)))
    assert (mirrored["rank_ic"], mirrored["hit_rate"], mirrored["monotonicity"]) == (pytest.approx(-1.0), 0.0, -1.0)


def test_the_next_return_plus_noise_has_the_ic_of_theory() -> None:
    returns = 0.01 * noise(30_000)
    quality = measured(returns, x=foreseen(returns) + 0.02 * noise(30_000, seed=1))
    row = only(quality)
    linear = 1 / math.sqrt(1 + 2**2)
    ranked = 6 / math.pi * math.asin(linear / 2)
    assert row["linear_ic"] == pytest.approx(linear, abs=0.015)
    assert row["rank_ic"] == pytest.approx(ranked, abs=0.015)
    assert row["rank_ic_low"] < ranked < row["rank_ic_high"]
    assert row["significant"]
    # E[return | fifth] of a normal is the correlation times the mean of a standard normal in its fifth.
    edges = norm.ppf([0, 0.2, 0.4, 0.6, 0.8, 1])
    means = [linear * 0.01 * 5 * (norm.pdf(low) - norm.pdf(high)) for low, high in pairwise(edges)]
    assert [row[f"quantile_{n}"] for n in range(1, 6)] == pytest.approx(means, abs=4e-4)
    # What one bar knows is worth 1 / sqrt(h) over h bars.
    decay = dict(quality.decay.select("horizon", "rank_ic").iter_rows())
    assert decay[2] == pytest.approx(6 / math.pi * math.asin(linear / math.sqrt(2) / 2), abs=0.015)


def test_a_persistent_feature_decays_and_its_half_life_is_read_off_the_curve() -> None:
    returns = 0.01 * noise(20_000)
    quality = measured(returns, (1, 6), x=foreseen(returns))
    assert quality.decay["horizon"].to_list() == [1, 2, 3, 5, 6, 8]
    about = quality.features.row(0, named=True)
    assert about["peak_horizon"] == 1
    assert about["half_life"] == pytest.approx(4.0, rel=0.15)


def test_half_life_by_hand() -> None:
    assert half_life([1, 2, 4], [0.2, 0.4, 0.1]) == (2, pytest.approx(2 * 2 ** (0.5 / 0.75)))
    assert half_life([1, 2, 4], [-0.4, -0.2, 0.1]) == (1, 2.0)
    assert half_life([1, 2], [0.4, 0.3]) == (1, math.inf)
    assert half_life([1, 2, 3], [math.nan, -0.4, 0.4])[0] == 2
    peak, half = half_life([1, 2], [math.nan, math.nan])
    assert peak is None
    assert math.isnan(half)


def test_the_grid_of_the_decay_reaches_to_twice_the_longest_horizon() -> None:
    quality = measured(0.01 * noise(300), (24, 7), x=noise(300, seed=1))
    assert quality.decay["horizon"].to_list() == [1, 2, 3, 5, 7, 8, 13, 24, 48]
    assert quality.frame["horizon"].to_list() == [24, 7]


def test_a_feature_that_stops_working_shows_in_the_months() -> None:
    returns = 0.01 * noise(2, 24 * 30 * 8)
    works = foreseen(returns) + 0.01 * noise(*returns.shape, seed=1)
    stops = np.where(np.arange(returns.shape[1]) < returns.shape[1] // 2, works, 0.014 * noise(*returns.shape, seed=2))
    turns = np.where(np.arange(returns.shape[1]) < returns.shape[1] * 3 // 4, works, -works)
    quality = measured(returns, works=works, stops=stops, turns=turns)
    months = quality.months.filter(feature="stops").sort("month")
    half = months.height // 2
    assert months["rank_ic"][: half - 1].min() > 0.5
    assert months["rank_ic"][half + 1 :].abs().max() < 0.15
    rows = {row["feature"]: row for row in quality.frame.iter_rows(named=True)}
    assert rows["works"]["months_same_sign"] == 1.0
    assert rows["turns"]["months_same_sign"] == pytest.approx(0.75, abs=0.13)
    assert rows["turns"]["worst_month_ic"] < -0.5
    mirrored = only(measured(returns, turns=-turns))
    assert mirrored["worst_month_ic"] == pytest.approx(-rows["turns"]["worst_month_ic"])
    assert mirrored["months_same_sign"] == rows["turns"]["months_same_sign"]
    assert mirrored["worst_month"] == rows["turns"]["worst_month"]
    assert rows["turns"]["worst_month"] >= months["month"][half + 1]


def test_the_rank_ic_of_a_month_is_spearmans_within_it() -> None:
    returns, values = 0.01 * noise(2, 24 * 70), noise(2, 24 * 70, seed=1)
    features, bars = market(returns, {"x": values})
    months = measure_quality(features, bars, (3,)).months
    named = bars["time"].dt.strftime("%Y-%m").to_numpy().reshape(2, -1)[0, :-3]
    for month, ic, rows in months.select("month", "rank_ic", "rows").iter_rows():
        own = named == month
        wanted = [spearmanr(values[s, :-3][own], ahead(returns[s], 3)[own]).statistic for s in range(2)]
        assert ic == pytest.approx(np.mean(wanted), abs=1e-12)
        assert rows == 2 * own.sum()
    assert months["rows"].sum() == 2 * (24 * 70 - 3)


def test_a_month_of_few_bars_has_no_rank_ic() -> None:
    features, bars = market(0.01 * noise(45), {"x": noise(45, seed=1)}, every=DAY)
    months = measure_quality(features, bars, (1,)).months
    short = months.filter(pl.col("rank_ic").is_nan())
    assert set(short["rows"]) <= {0}
    assert months["rank_ic"].is_not_nan().sum() >= 1


def test_across_five_symbols_the_rank_ic_of_each_close_is_averaged() -> None:
    returns, values = 0.01 * noise(6, 200), np.round(noise(6, 200, seed=1), 1)
    values[2, :50] = np.nan
    values[:2, :30] = np.nan
    row = only(measured(returns, (2,), x=values))
    later = np.array([ahead(series, 2) for series in returns])
    ics = []
    for close in range(198):
        there = np.isfinite(values[:, close])
        if there.sum() >= 5:
            ics.append(spearmanr(values[there, close], later[there, close]).statistic)
    assert len(ics) == 168
    assert row["cross_ic"] == pytest.approx(np.mean(ics), abs=1e-12)
    assert row["cross_ic_deviation"] == pytest.approx(np.std(ics, ddof=1), abs=1e-12)
    assert row["cross_ic_ratio"] == pytest.approx(np.mean(ics) / np.std(ics, ddof=1), abs=1e-9)
    assert math.isnan(only(measured(returns[:4], (2,), x=values[:4]))["cross_ic"])


def test_equal_and_mirrored_features_share_a_cluster_and_the_strongest_stands_for_it() -> None:
    returns = 0.01 * noise(2, 2_000)
    signal = foreseen(returns) + 0.05 * noise(*returns.shape, seed=1)
    other = noise(*returns.shape, seed=2)
    quality = measured(
        returns, (1, 6), lone=other, equal=signal, same=signal, mirror=-signal + 0.02 * noise(*returns.shape, seed=3)
    )
    clusters = {row["feature"]: row for row in quality.clusters.iter_rows(named=True)}
    assert clusters["equal"]["cluster"] == clusters["same"]["cluster"] == clusters["mirror"]["cluster"] == 1
    assert clusters["lone"]["cluster"] == 2
    assert clusters["mirror"]["representative"] in ("equal", "same")
    assert clusters["mirror"]["correlation"] < -0.9
    assert clusters["equal"]["horizon"] == 1
    about = dict(quality.features.select("feature", "representative").iter_rows())
    assert about["lone"] == "lone"
    assert about["mirror"] == clusters["equal"]["representative"]


def test_correlations_between_features_are_spearmans_averaged_over_symbols() -> None:
    first, second = noise(2, 300), noise(2, 300, seed=1)
    second = np.round(second + 0.7 * first, 1)
    quality = measured(0.01 * noise(2, 300, seed=2), a=first, b=second, c=first**2)
    table = {row["feature"]: row for row in quality.correlations.iter_rows(named=True)}
    wanted = np.mean([spearmanr(first[s], second[s]).statistic for s in range(2)])
    assert table["a"]["b"] == table["b"]["a"] == pytest.approx(wanted, abs=1e-9)
    assert [table[name][name] for name in "abc"] == pytest.approx([1.0, 1.0, 1.0])
    assert quality.correlations.columns[1:] == quality.correlations["feature"].to_list()
    second[0, :200] = np.nan
    partly = measured(0.01 * noise(2, 300, seed=2), a=first, b=second).correlations.sort("feature")["b"][0]
    apart = [spearmanr(first[s][200 * (1 - s) :], second[s][200 * (1 - s) :]).statistic for s in range(2)]
    assert partly == pytest.approx(np.average(apart, weights=[100, 300]), abs=0.02)


def test_features_of_different_rows_are_compared_where_both_are() -> None:
    first, second = np.arange(300.0) + 40.0 * noise(300), np.arange(300.0) + 40.0 * noise(300, seed=1)
    first[:150], second[250:] = np.nan, np.nan
    table = measured(0.01 * noise(300, seed=2), a=first, b=second).correlations.sort("feature")
    ranks = rankdata(first[150:])[:100], rankdata(second[:250])[150:]
    assert table["b"][0] == pytest.approx(pearsonr(*ranks).statistic, abs=1e-9)


def test_nothing_constant_and_partial_columns_are_told_apart() -> None:
    returns = 0.01 * noise(2, 200)
    empty, constant = np.full(returns.shape, np.nan), np.full(returns.shape, 0.1)
    by_symbol = np.array([[3.0], [4.0]]) * np.ones(returns.shape)
    late, wild = noise(*returns.shape, seed=1), noise(*returns.shape, seed=2)
    late[0, :17], late[1, :40], wild[0, 100] = np.nan, np.nan, np.inf
    half = np.where([[True], [False]], noise(*returns.shape, seed=3), 1.0)
    quality = measured(returns, empty=empty, constant=constant, by_symbol=by_symbol, late=late, wild=wild, half=half)
    about = {row["feature"]: row for row in quality.features.iter_rows(named=True)}
    rows = {row["feature"]: row for row in quality.frame.iter_rows(named=True)}
    assert [name for name in about if about[name]["constant"]] == ["constant", "by_symbol"]
    assert [about[name]["first_row"] for name in ("empty", "constant", "late")] == [None, 0, 40]
    assert [about[name]["coverage"] for name in ("empty", "late", "wild")] == [0.0, 343 / 400, 399 / 400]
    for name in ("empty", "constant", "by_symbol"):
        assert rows[name]["rows"] == 0
        figures = [rows[name][key] for key in ("rank_ic", "linear_ic", "p_value", "q_value", "spread", "quantile_3")]
        assert all(math.isnan(figure) for figure in figures)
        assert not rows[name]["significant"]
        assert math.isnan(about[name]["autocorrelation"])
    assert rows["wild"]["rows"] == 397
    assert rows["half"]["rows"] == 199
    assert rows["half"]["rank_ic"] == pytest.approx(spearmanr(half[0, :-1], returns[0, 1:]).statistic)
    assert quality.clusters["cluster"].n_unique() == 6


def test_autocorrelation_is_that_of_neighbouring_bars_within_symbols() -> None:
    values = np.cumsum(noise(2, 300), axis=1)
    values[0, 100:120] = np.nan
    found = measured(0.01 * noise(2, 300, seed=1), x=values).frame["autocorrelation"][0]
    wanted, weights = [], []
    for series in values:
        both = np.isfinite(series[1:]) & np.isfinite(series[:-1])
        wanted.append(pearsonr(series[1:][both], series[:-1][both]).statistic)
        weights.append(both.sum())
    assert found == pytest.approx(np.average(wanted, weights=weights), abs=1e-12)


def test_a_feature_of_few_values_keeps_equal_values_in_one_fifth() -> None:
    returns = 0.01 * noise(400)
    sides = np.sign(noise(400, seed=1))
    row = only(measured(returns, x=sides))
    later, kept = ahead(returns, 1), sides[:-1]
    defined = {n: row[f"quantile_{n}"] for n in range(1, 6) if not math.isnan(row[f"quantile_{n}"])}
    assert list(defined.values()) == pytest.approx([later[kept < 0].mean(), later[kept > 0].mean()])
    assert math.isnan(row["spread"])
    assert math.isnan(row["spread_low"])
    assert not math.isnan(row["rank_ic_low"])


def test_the_order_of_the_rows_does_not_matter() -> None:
    features, bars = market(0.01 * noise(3, 200), {"x": noise(3, 200, seed=1), "y": noise(3, 200, seed=2)})
    mixed = np.random.default_rng(3).permutation(features.height)
    straight, shuffled = measure_quality(features, bars, (1, 6)), measure_quality(features[mixed], bars[mixed], (1, 6))
    for name in ("frame", "decay", "months", "features", "clusters", "correlations"):
        assert getattr(straight, name).equals(getattr(shuffled, name)), name
    assert straight.sample == shuffled.sample


def test_the_seed_decides_the_draws_and_nothing_else() -> None:
    features, bars = market(0.01 * noise(300), {"x": noise(300, seed=1)})
    first, again, other = (measure_quality(features, bars, (1,), seed=seed).frame for seed in (7, 7, 8))
    assert first.equals(again)
    drawn = [name for name in first.columns if not first[name].equals(other[name])]
    assert {"rank_ic_low", "t_ratio", "p_value"} <= set(drawn)
    assert not {"rank_ic", "linear_ic", "quantile_1", "spread"} & set(drawn)


@pytest.mark.parametrize("horizons", [[], [0], [-1], [1.5], [True], ["1"], [6, 6]])
def test_a_wrong_horizon_is_refused(horizons: list[object]) -> None:
    with pytest.raises(ValueError, match="horizon"):
        measure_quality(*market(0.01 * noise(50), {"x": noise(50)}), horizons)  # type: ignore[arg-type]


def test_a_history_that_is_too_short_is_refused_and_a_long_horizon_beside_is_not() -> None:
    with pytest.raises(DataError, match="longest history has 14 bars, wanted at least 15"):
        measured(0.01 * noise(2, 14), (5, 8), x=noise(2, 14))
    rows = measured(0.01 * noise(15), (5, 80), x=noise(15, seed=1)).frame
    assert rows["rows"].to_list() == [10, 0]
    assert rows["rank_ic"].is_nan().to_list() == [False, True]
    with pytest.raises(DataError, match="no bars"):
        measure_quality(*(frame.clear() for frame in market(0.01 * noise(20), {"x": noise(20)})), (1,))
    with pytest.raises(ValueError, match="no feature"):
        measure_quality(*market(0.01 * noise(20), {}), (1,))


def test_bars_that_one_symbol_lacks_are_skipped_within_that_symbol() -> None:
    bars = frame_of(gapping_panel(300, ("A/USD", "B/USD"), seed=4))
    table = f.FeatureSet([f.rsi(5)]).compute(bars)
    wanted, weights = [], []
    for _, own in bars.with_columns(table["rsi_5"]).group_by("symbol", maintain_order=True):
        later, values = np.log(own["close"].to_numpy()[6:] / own["close"].to_numpy()[:-6]), own["rsi_5"].to_numpy()[:-6]
        wanted.append(spearmanr(values[5:], later[5:]).statistic)
        weights.append(len(later) - 5)
    found = f.FeatureSet([f.rsi(5)]).quality(bars, [6]).frame["rank_ic"].item()
    assert found == pytest.approx(np.average(wanted, weights=weights), abs=1e-12)


@pytest.mark.parametrize("digits", [9, 0])
def test_the_influence_of_a_row_is_what_the_jackknife_finds(digits: int) -> None:
    first = np.round(noise(120), digits)
    second = 0.7 * first + np.round(noise(120, seed=1), digits)
    table = market(np.zeros(120), {"x": first})[0]
    rows = Rows.of(table)
    pair = Pair.of(rows, Column.of(first, rows), Column.of(second, rows))
    for influence, correlation in ((pair.rank_influence(), spearmanr), (pair.linear_influence(), pearsonr)):
        whole = correlation(first, second).statistic
        without = [correlation(np.delete(first, n), np.delete(second, n)).statistic for n in range(120)]
        assert influence.mean() == pytest.approx(whole, abs=1e-12)
        found, wanted = influence - whole, 119 * (whole - np.array(without))
        assert np.corrcoef(found, wanted)[0, 1] > 0.995
        assert found.std() == pytest.approx(wanted.std(), rel=0.06)


def test_a_flat_market_has_no_figures() -> None:
    flat = frame_of(panel_of(np.full((30, 1), 5.0), spread=0.0))
    quality = f.FeatureSet([f.rsi(5), f.sma(5)]).quality(flat, horizons=[1, 40])
    assert quality.frame["rank_ic"].is_nan().all()
    assert not quality.frame["significant"].any()
    assert quality.clusters.height == 2
