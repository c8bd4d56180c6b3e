"""Trend scanning against ordinary least squares in every window."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.models.dataset import Dataset
from tests.features.examples import panel_of
from tests.market_makers import frame_of, gapping_panel


def t_value(close: np.ndarray) -> float:
    design = np.column_stack([np.ones(len(close)), np.arange(len(close))])
    found, rest, *_ = np.linalg.lstsq(design, close, rcond=None)
    spread = rest[0] / (len(close) - 2) * np.linalg.inv(design.T @ design)[1, 1]
    return float(found[1] / np.sqrt(spread))


@given(st.integers(0, 10_000), st.integers(3, 8), st.integers(0, 12), st.sampled_from([0.0, 0.2]))
def test_the_label_is_the_sign_of_the_largest_t_value_and_known_when_the_longest_window_has_closed(
    seed: int, least: int, more: int, absent: float
) -> None:
    bars = frame_of(gapping_panel(60, ("A/USD", "B/USD"), seed=seed, absent=absent))
    most = least + more
    found = f.trend_scanning(least, most).build(bars)
    for symbol in ("A/USD", "B/USD"):
        rows, labels = bars.filter(symbol=symbol), found.filter(symbol=symbol)
        close = rows["close"].to_numpy()
        assert labels["time"].equals(rows["time"].head(max(rows.height - most + 1, 0)))
        for row, label in enumerate(labels.iter_rows(named=True)):
            values = [t_value(close[row : row + bars]) for bars in range(least, most + 1)]
            best = int(np.argmax(np.abs(values)))
            assert label["t_value"] == pytest.approx(values[best], rel=1e-6)
            assert label["trend_bars"] == least + best
            assert label["label"] == np.sign(values[best])
            assert label["label_return"] == pytest.approx(np.log(close[row + most - 1] / close[row]), abs=1e-12)
            assert label["label_known"] == rows["time"][row + most - 1]


def test_a_straight_line_is_a_trend_and_a_standstill_is_none() -> None:
    trend = f.trend_scanning(3, 6)
    for closes, wanted in ((100.0 + np.arange(20), 1.0), (100.0 - np.arange(20), -1.0), (np.full(20, 9.0), 0.0)):
        labels = trend.build(frame_of(panel_of(closes)))
        assert labels["label"].to_list() == [wanted] * 15
        assert labels["t_value"].is_finite().all()
    turn = trend.build(frame_of(panel_of(np.array([5.0, 6.0, 7.0, 3.0, 2.0, 1.0, 0.5]))))
    assert turn["label"].to_list() == [1.0, -1.0]  # the first three closes rise on a line
    assert turn["trend_bars"][0] == 3.0


def test_a_dataset_knows_how_far_a_trend_looks_ahead() -> None:
    bars = frame_of(gapping_panel(60))
    dataset = Dataset.build(bars, f.FeatureSet([f.roc(1)]), f.trend_scanning(3, 7))
    assert dataset.horizon.total_seconds() == 6 * 3600
    assert dataset.frame["label"].null_count() == 6
    assert (dataset.frame.filter(pl.col("label") != 0)["label"].abs() == 1.0).all()


def test_wrong_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="trend_scanning: least must be a whole number of at least 3"):
        f.trend_scanning(2, 5)
    with pytest.raises(ValueError, match="trend_scanning: most must be a whole number of at least 5"):
        f.trend_scanning(5, 4)
