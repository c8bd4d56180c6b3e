"""Datasets: which rows are kept, in which order, and what their fingerprint tells apart."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.errors import ModelError, SchemaError
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic, Ridge
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.examples import Examples
from cryptoquant.models.splits import PurgedKFold, WalkForward
from tests.market_makers import frame_of, gapping_panel
from tests.models.datasets import FEATURES, HOUR, LABEL, market_bars, small_dataset


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


def test_rows_are_ordered_by_time_then_symbol(dataset):
    assert dataset.frame.equals(dataset.frame.sort("time", "symbol"))
    assert dataset.symbols == ("BTC/USD", "ETH/USD")
    assert len(dataset) == dataset.features.shape[0]
    assert dataset.features.flags.c_contiguous
    assert (dataset.width, dataset.timeframe) == (HOUR, "1h")


def test_every_bar_after_the_lookback_is_a_row_and_none_before(dataset):
    hours = 40 * 24
    assert len(dataset) == 2 * (hours - FEATURES.lookback)
    assert np.isfinite(dataset.features).all()
    assert dataset.names == ("log_return_1", "zscore_volume_48", "rsi_14")


def test_columns_are_those_of_the_features_and_the_label(dataset):
    bars = market_bars()
    wanted = FEATURES.compute(bars).join(LABEL.build(bars), on=["symbol", "time"], how="left")
    wanted = wanted.filter(pl.all_horizontal(pl.col(FEATURES.names).is_finite())).sort("time", "symbol")
    assert np.array_equal(dataset.features, wanted.select(FEATURES.names).to_numpy())
    assert np.array_equal(dataset.returns, wanted["label_return"].fill_null(np.nan).to_numpy(), equal_nan=True)


def test_the_tail_without_an_outcome_is_kept_without_a_label(dataset):
    open_ended = np.isnan(dataset.rises)
    assert 0 < open_ended.sum() <= 2 * 13
    assert np.array_equal(open_ended, dataset.label_known == np.iinfo(np.int64).max)
    assert np.array_equal(open_ended, np.isnan(dataset.returns))
    assert dataset.times[open_ended].min() > dataset.times[-1] - 13 * HOUR
    assert (dataset.label_known > dataset.times).all()


def test_a_rise_is_a_label_above_zero_and_a_timeout_counts_by_its_return():
    dataset = small_dataset(days=10)
    known = dataset.frame.filter(pl.col("label").is_not_null())
    rows = {1.0: 1.0, -1.0: 0.0}
    rises = dataset.rises[~np.isnan(dataset.rises)]
    for label, outcome, rise in zip(known["label"], known["label_return"], rises, strict=True):
        assert rise == rows.get(label, float(outcome > 0))
    assert set(known["label"].unique()) == {-1.0, 0.0, 1.0}
    forward = Dataset.build(market_bars(10), FEATURES, f.forward_return(timedelta(hours=3)))
    there = ~np.isnan(forward.rises)
    assert np.array_equal(forward.rises[there], (forward.returns[there] > 0).astype(float))


def test_a_return_in_the_dead_zone_has_no_class_and_is_left_out_of_what_is_learned_and_judged():
    bars, horizon, zone = market_bars(20), timedelta(hours=3), 0.004
    wide, narrow = (Dataset.build(bars, FEATURES, f.sign(horizon, dead_zone)) for dead_zone in (zone, 0.0))
    size = np.abs(wide.returns)
    dead, over = size <= zone, size > zone
    assert 100 < dead.sum() < len(wide) - 100
    assert np.array_equal(wide.rises[over], (wide.returns[over] > 0).astype(float))
    assert np.isnan(wide.rises[dead]).all()
    assert np.array_equal(wide.examples.is_known, over)
    assert (wide.label_known[dead] == np.iinfo(np.int64).max).all()
    assert np.array_equal(wide.label_known[over], narrow.label_known[over])
    assert np.array_equal(wide.returns, narrow.returns, equal_nan=True)
    assert np.array_equal(narrow.rises[~np.isnan(size)], (narrow.returns[~np.isnan(size)] > 0).astype(float))
    for fold in WalkForward(timedelta(days=5), timedelta(days=3)).split(wide):
        assert over[fold.train].all()
        assert dead[fold.test].any()
        assert np.isfinite(Logistic().fit(wide.examples.take(fold.train)).predict(wide.features[fold.test])).all()
    for fold in PurgedKFold(4).split(wide):
        assert over[fold.train].all()
        assert over[fold.test].all()


def test_a_regression_learns_the_scaled_return_and_the_return_stays_what_was_earned():
    bars, horizon = market_bars(20), timedelta(hours=3)
    scaled = Dataset.build(bars, FEATURES, f.scaled_return(horizon))
    plain = Dataset.build(bars, FEATURES, f.forward_return(horizon))
    there = scaled.examples.is_known
    assert 100 < there.sum() <= plain.examples.is_known.sum()
    assert np.array_equal(scaled.returns[there], plain.returns[there])
    assert np.array_equal(scaled.targets[there], scaled.frame["label"].to_numpy()[there])
    assert np.abs(scaled.targets[there]).mean() > 10 * np.abs(scaled.returns[there]).mean()
    assert np.array_equal(scaled.examples.targets, scaled.targets, equal_nan=True)
    for label in (f.forward_return(horizon), f.sign(horizon, 0.004), LABEL):
        other = Dataset.build(bars, FEATURES, label)
        assert np.array_equal(other.targets, other.returns, equal_nan=True)
    learned = [Ridge().fit(one.examples.take(there)) for one in (scaled, plain)]
    assert [one.kind for one in learned] == ["score", "expected_return"]
    values = [one.predict(plain.features).std() for one in learned]
    assert values[0] > 10 * values[1] > 0


def test_the_fingerprint_knows_bars_features_and_label_but_not_the_order_of_rows():
    bars = market_bars(10)
    first = Dataset.build(bars, FEATURES, LABEL).fingerprint
    assert Dataset.build(bars.clone(), FEATURES, LABEL).fingerprint == first
    assert Dataset.build(bars.sort("time", "symbol"), FEATURES, LABEL).fingerprint == first
    touched = bars.with_columns(volume=pl.when(pl.int_range(pl.len()) == 99).then(1.5).otherwise("volume"))
    later = bars.with_columns(
        known=pl.when(pl.int_range(pl.len()) == 99).then(pl.col("known") + pl.duration(seconds=1)).otherwise("known")
    )
    renamed = bars.with_columns(symbol=pl.col("symbol").replace("ETH/USD", "LTC/USD"))
    others = [
        Dataset.build(touched, FEATURES, LABEL),
        Dataset.build(later, FEATURES, LABEL),
        Dataset.build(renamed, FEATURES, LABEL),
        Dataset.build(bars, FeatureSet([*FEATURES.features[:2], f.rsi(15)]), LABEL),
        Dataset.build(bars, FEATURES, f.triple_barrier(1.5, 1.6, timedelta(hours=12), 24)),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 6


def test_the_fingerprint_is_the_same_number_everywhere():
    bars = frame_of(gapping_panel(60, ("A/USD", "B/USD"), seed=1))
    features, label = FeatureSet([f.log_return(1)]), f.forward_return(timedelta(hours=1))
    one = Dataset.build(bars, features, label)
    other = Dataset(one.bars.rechunk().sort("time"), features, label)
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 64


def test_a_history_shorter_than_the_lookback_is_refused():
    bars = market_bars(1)
    with pytest.raises(ModelError, match=r"no row has all 3 features: 10 bars, lookback \d+"):
        _ = Dataset.build(bars.filter(pl.col("time") < bars["time"].min() + timedelta(hours=5)), FEATURES, LABEL).frame


def test_mixed_timeframes_are_refused():
    bars = market_bars(10)
    longer = bars.filter(pl.col("symbol") == "ETH/USD").with_columns(
        open_time=pl.col("open_time") - pl.lit(timedelta(hours=1)).cast(pl.Duration("ns"))
    )
    mixed = pl.concat([bars.filter(pl.col("symbol") == "BTC/USD"), longer])
    with pytest.raises(SchemaError, match="mixed timeframes"):
        Dataset.build(mixed, FEATURES, LABEL)


def test_taking_examples_keeps_their_rows_together(dataset):
    rows = np.array([5, 2, 9])
    taken = dataset.examples.take(rows)
    assert np.array_equal(taken.features, dataset.features[rows])
    assert np.array_equal(taken.times, dataset.times[rows])
    assert np.array_equal(taken.rises, dataset.rises[rows])
    assert np.array_equal(taken.returns, dataset.returns[rows])
    assert np.array_equal(taken.targets, dataset.targets[rows])
    assert np.array_equal(taken.label_known, dataset.label_known[rows])


def test_ticks_reach_the_features_and_tell_datasets_apart():
    bars = market_bars(days=4)
    stamps = bars.select("symbol", "time", "known", price="close", size=pl.lit(1.0), id=pl.int_range(pl.len()))
    sets = [
        Dataset.build(
            bars,
            FeatureSet([f.roc(2), f.trade_flow("1h")]),
            LABEL,
            f.Ticks(trades=stamps.with_columns(taker_side=side)),
        )
        for side in (pl.lit("B"), pl.lit("S"))
    ]
    assert [found.frame["signed_volume_1h"].unique().to_list() for found in sets] == [[1.0], [-1.0]]
    assert sets[0].fingerprint != sets[1].fingerprint


def test_nothing_is_computed_before_it_is_asked_for():
    bars = market_bars(20)
    dataset = Dataset.build(bars, FEATURES, LABEL)
    assert repr(dataset) == f"Dataset({bars.height:,} bars, not computed yet, BTC/USD, ETH/USD, 3 features)"
    assert "frame" not in vars(dataset)
    print_of_data = dataset.fingerprint
    assert "frame" not in vars(dataset)
    assert dataset.frame is dataset.frame
    assert repr(dataset).startswith(f"Dataset({len(dataset):,} rows")
    assert dataset.fingerprint == print_of_data


def test_a_part_of_a_dataset_has_the_rows_of_the_whole():
    whole = Dataset.build(market_bars(20), FEATURES, LABEL)
    start, end = datetime(2024, 1, 8, tzinfo=UTC), datetime(2024, 1, 12, tzinfo=UTC)
    assert whole.frame["time"].min() < start < end < whole.frame["time"].max()
    wanted = whole.frame.filter((pl.col("symbol") == "ETH/USD") & (pl.col("time") >= start) & (pl.col("time") < end))
    fresh = Dataset.build(market_bars(20), FEATURES, LABEL).of("ETH/USD").between(start, end)
    for part in (whole.of("ETH/USD").between(start, end), fresh):
        assert part.frame.equals(wanted)
        assert part.symbols == ("BTC/USD", "ETH/USD")
        assert set(part.examples.symbols) == {1}
        assert np.array_equal(np.diff(part.examples.ordinals), np.ones(len(part) - 1))
    assert len({whole.fingerprint, fresh.fingerprint, whole.of("ETH/USD").fingerprint}) == 3
    with pytest.raises(ModelError, match="no rows of DOGE/USD; there are BTC/USD, ETH/USD"):
        whole.of("DOGE/USD")
    for part in (whole.of("BTC/USD"), Dataset.build(market_bars(20), FEATURES, LABEL).of("BTC/USD")):
        with pytest.raises(ModelError, match="no rows of ETH/USD; there are BTC/USD"):
            part.of("ETH/USD")
    with pytest.raises(ModelError, match="none of the"):
        _ = whole.between(datetime(2030, 1, 1, tzinfo=UTC)).frame


def test_rows_count_as_much_as_is_said():
    bars = market_bars(10)
    plain = Dataset.build(bars, FEATURES, LABEL)
    assert (plain.examples.weights == 1.0).all()
    assert not plain.examples.is_weighted
    said = plain.frame.select("symbol", "time", weight=pl.int_range(pl.len()).cast(pl.Float64))[5:]
    heavy = Dataset.build(bars, FEATURES, LABEL, weights=said.to_pandas())
    assert heavy.examples.weights.tolist() == [1.0] * 5 + list(range(5, len(plain)))
    assert heavy.examples.is_weighted
    assert heavy.fingerprint != plain.fingerprint
    with pytest.raises(SchemaError, match="no column weight"):
        Dataset.build(bars, FEATURES, LABEL, weights=said.drop("weight"))
    for wrong in (-1.0, float("nan"), None):
        with pytest.raises(SchemaError, match="wanted a number from 0"):
            Dataset.build(bars, FEATURES, LABEL, weights=said.with_columns(weight=pl.lit(wrong, pl.Float64)))
    with pytest.raises(SchemaError, match="said twice"):
        Dataset.build(bars, FEATURES, LABEL, weights=pl.concat([said, said[:1]]))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([[1.0], [2.0]], [1.0]), "rises of shape"),
        (([1.0, 2.0], [1.0, 0.0]), "features of shape"),
    ],
)
def test_examples_of_other_shapes_are_refused(arguments, text):
    with pytest.raises(ModelError, match=text):
        Examples.of(*arguments)
    with pytest.raises(ModelError, match="targets of shape"):
        Examples.of([[1.0]], [1.0], targets=[1.0, 2.0])
    with pytest.raises(ModelError, match="not in time order"):
        Examples.of([[1.0], [2.0]], [1.0, 0.0], times=[2, 1])
    with pytest.raises(ModelError, match="weights: wanted"):
        Examples.of([[1.0], [2.0]], [1.0, 0.0], weights=[1.0, -1.0])
