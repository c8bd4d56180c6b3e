"""Meta-labels: whether the trades of a rule made money, by hand and against the triple barrier."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from cryptoquant.models.dataset import Dataset
from tests.features.examples import panel_of, panel_with
from tests.market_makers import frame_of, gapping_panel

SIX = timedelta(hours=6)
LONG = f.triple_barrier(2.0, 1.0, SIX, 5)
SHORT = f.triple_barrier(1.5, 0.5, timedelta(hours=3), 8)


def signals(bars: pl.DataFrame, sides: np.ndarray) -> pl.DataFrame:
    return bars.select("symbol", "time").with_columns(side=pl.Series(sides))


def mirrored(panel: Panel) -> Panel:
    """The market upside down: what rises falls by the same logarithm."""
    values = panel.values.copy()
    for mirror, field in enumerate((0, 2, 1, 3)):
        values[..., mirror] = 1e4 / panel.values[..., field]
    values[..., 6] = values[..., 3]
    return Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2]))
def test_a_long_trade_is_judged_by_its_barriers_and_a_short_one_by_those_of_the_mirrored_market(
    seed: int, absent: float
) -> None:
    panel = gapping_panel(80, ("A/USD", "B/USD"), seed=seed, absent=absent, sigma=0.02)
    bars = frame_of(panel)
    sides = np.random.default_rng(seed).integers(-1, 2, bars.height)
    found = f.meta_label(signals(bars, sides), LONG, SHORT).build(bars)
    parts = []
    for label, market, side in ((LONG, panel, 1), (SHORT, mirrored(panel), -1)):
        taken = signals(bars, sides).filter(pl.col("side") == side)
        parts.append(label.build(frame_of(market)).join(taken, on=["symbol", "time"], how="inner"))
    wanted = pl.concat(parts).sort("symbol", "time")
    assert found.select("symbol", "time", "label_known").equals(wanted.select("symbol", "time", "label_known"))
    np.testing.assert_array_equal(found["side"], wanted["side"])
    np.testing.assert_allclose(found["label_return"], wanted["label_return"], atol=1e-12)
    np.testing.assert_array_equal(found["label"], (wanted["label_return"] > 0).cast(pl.Float64))


def test_a_short_takes_below_and_stops_above_and_the_stop_counts_when_a_bar_spans_both() -> None:
    closes = np.array([100.0, 101.0, 100.0, 101.0, 100.0, 101.0, 100.0])
    label = f.triple_barrier(1.0, 1.0, SIX, 5)
    for high, low, opened, wanted in (
        (101.0, 50.0, 100.5, 1.0),
        (200.0, 100.0, 100.5, 0.0),
        (200.0, 50.0, 100.5, 0.0),
        (200.0, 50.0, 60.0, 1.0),
        (200.0, 50.0, 190.0, 0.0),
    ):
        values = panel_of(closes).values
        values[6, 0, :3] = opened, high, low
        bars = frame_of(panel_with(values))
        sides = np.array([0, 0, 0, 0, 0, -1, 0])
        row = f.meta_label(signals(bars, sides), label).build(bars).row(0, named=True)
        assert row["label"] == wanted
        assert (row["label_return"] > 0) == bool(wanted)
        assert row["side"] == -1.0
        if opened in (60.0, 190.0):
            assert row["label_return"] == pytest.approx(-np.log(opened / 101.0))


def test_sides_of_any_size_and_pandas_give_the_same_labels_and_other_signals_another_label() -> None:
    bars = frame_of(gapping_panel(60, ("A/USD", "B/USD"), seed=3))
    sides = np.random.default_rng(0).integers(-1, 2, bars.height)
    table = signals(bars, sides)
    label = f.meta_label(table, LONG)
    assert label == f.meta_label(table.with_columns(side=pl.col("side") * 0.3).to_pandas(), LONG, LONG)
    assert label == f.meta_label(table.sample(fraction=1.0, shuffle=True, seed=1), LONG)
    assert hash(label) == hash(f.meta_label(table, LONG))
    assert label != f.meta_label(table.with_columns(side=-pl.col("side")), LONG)
    assert label != f.meta_label(table, LONG, SHORT)
    assert label != LONG
    assert label.horizon == f.meta_label(table, SHORT, LONG).horizon == SIX


def test_a_dataset_learns_from_the_bars_with_a_signal_only() -> None:
    bars = frame_of(gapping_panel(80, seed=5))
    sides = np.zeros(80, dtype=int)
    sides[10:60:7] = 1
    dataset = Dataset.build(bars, f.FeatureSet([f.roc(1)]), f.meta_label(signals(bars, sides), LONG))
    known = dataset.frame.filter(pl.col("label").is_not_null())
    assert known["time"].to_list() == bars["time"].gather(np.flatnonzero(sides)).to_list()
    np.testing.assert_array_equal(dataset.rises[~np.isnan(dataset.rises)], known["label"])


def test_signals_that_make_no_sense_are_refused() -> None:
    bars = frame_of(gapping_panel(20))
    table = signals(bars, np.ones(20, dtype=int))
    with pytest.raises(ValueError, match="meta_label: the signals lack side"):
        f.meta_label(table.drop("side"), LONG)
    with pytest.raises(ValueError, match="each side must be a number"):
        f.meta_label(table.with_columns(side=pl.lit("long")), LONG)
    with pytest.raises(ValueError, match="each side must be a number"):
        f.meta_label(table.with_columns(side=pl.lit(float("nan"))), LONG)
    with pytest.raises(ValueError, match="wanted instants with a zone"):
        f.meta_label(table.with_columns(pl.col("time").dt.replace_time_zone(None)), LONG)
    with pytest.raises(ValueError, match="BTC/USD has two signals at 2024"):
        f.meta_label(pl.concat([table, table.head(1)]), LONG)
    with pytest.raises(ValueError, match="meta_label cannot be read"):
        f.label_from_dict({"name": "meta_label", "signals": {}})
    assert f.meta_label(table.head(0), LONG).build(bars).is_empty()
