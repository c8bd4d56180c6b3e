"""Labels: what is decided when, by hand and by law."""

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.errors import SchemaError
from tests.features.examples import panel_of, panel_with
from tests.market_makers import HOUR, frame_of, gapping_panel

TRIPLE = f.triple_barrier(take=2.0, stop=1.0, horizon=timedelta(hours=6), volatility_window=5)
FORWARD = f.forward_return(timedelta(hours=6))


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]), st.integers(0, 119), st.sampled_from([TRIPLE, FORWARD]))
def test_bars_after_label_known_never_change_a_label(seed: int, absent: float, cut: int, label: f.Label) -> None:
    late = pl.duration(nanoseconds=pl.Series(np.random.default_rng(seed).integers(0, 3 * HOUR, 240)))
    bars = frame_of(gapping_panel(120, ("A/USD", "B/USD"), seed=seed, absent=absent))
    bars = bars.with_columns(known=pl.col("known") + late.head(bars.height))
    moment = bars["time"].unique().sort()[min(cut, bars["time"].n_unique() - 1)]
    seen = pl.col("known") <= moment
    factor = pl.Series(np.random.default_rng(seed + 1).lognormal(0, 0.3, bars.height))
    prices = ("open", "high", "low", "close")
    changed = bars.with_columns(pl.when(seen).then(pl.col(name)).otherwise(pl.col(name) * factor) for name in prices)
    before, after = (label.build(frame).filter(pl.col("label_known") <= moment) for frame in (bars, changed))
    assert before.equals(after)
    assert label.build(bars.filter(pl.col("time") <= moment)).filter(pl.col("label_known") <= moment).equals(before)
    assert (before["label_known"] > before["time"]).all()


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2]))
def test_barriers_agree_with_a_plain_loop(seed: int, absent: float) -> None:
    bars = frame_of(gapping_panel(80, seed=seed, absent=absent, sigma=0.02))
    rows = bars.with_columns(ns=pl.col("time").dt.epoch("ns")).rows(named=True)
    found = {row["time"]: row for row in TRIPLE.build(bars).iter_rows(named=True)}
    returns = np.diff(np.log([row["close"] for row in rows]))
    wanted = {}
    for index in range(5, len(rows)):
        reach = np.std(returns[index - 5 : index], ddof=1) * np.sqrt(6)
        close = rows[index]["close"]
        upper, lower = close * np.exp(2 * reach), close * np.exp(-reach)
        for bar in rows[index + 1 :]:
            if min(bar["open"], bar["low"]) <= lower and not bar["open"] >= upper:
                outcome = (-1.0, min(bar["open"], lower))
            elif bar["high"] >= upper:
                outcome = (1.0, max(bar["open"], upper))
            elif bar["ns"] >= rows[index]["ns"] + 6 * HOUR:
                outcome = (0.0, bar["close"])
            else:
                continue
            wanted[rows[index]["time"]] = (*outcome, bar["known"])
            break
    assert set(found) == set(wanted)
    for time, (label, leave, known) in wanted.items():
        row = found[time]
        assert (row["label"], row["label_known"]) == (label, known)
        close = bars.filter(pl.col("time") == time)["close"].item()
        assert row["label_return"] == pytest.approx(np.log(leave / close), abs=1e-12)


def test_a_forward_return_is_the_log_return_to_the_first_close_at_or_after_the_horizon() -> None:
    panel = panel_of(np.array([100.0, 110.0, 120.0, 130.0, 140.0]))
    labels = f.forward_return(timedelta(hours=2)).build(frame_of(panel))
    np.testing.assert_allclose(labels["label"], np.log([120 / 100, 130 / 110, 140 / 120]))
    assert labels["label_return"].equals(labels["label"].alias("label_return"))
    assert ((labels["label_known"] - labels["time"]) == timedelta(hours=2)).all()
    gap = f.forward_return(timedelta(hours=2)).build(frame_of(panel).filter(pl.col("close") != 120))
    np.testing.assert_allclose(gap["label"], np.log([130 / 100, 130 / 110]))
    assert labels.schema["label_known"] == pl.Datetime("ns", "UTC")


def test_when_one_bar_spans_both_barriers_the_stop_counts() -> None:
    values = panel_of(np.array([100.0, 101.0, 100.0, 101.0, 100.0, 101.0, 100.0])).values
    values[6, 0, 1], values[6, 0, 2] = 1000.0, 1.0
    last = TRIPLE.build(frame_of(panel_with(values))).row(-1, named=True)
    assert last["label"] == -1.0
    assert last["label_return"] < 0.0


def test_a_bar_that_opens_beyond_a_barrier_leaves_at_its_open() -> None:
    values = panel_of(np.array([100.0, 101.0, 100.0, 101.0, 100.0, 101.0, 50.0])).values
    values[6, 0, :2] = 60.0, 200.0
    row = TRIPLE.build(frame_of(panel_with(values))).row(-1, named=True)
    assert row["label_return"] == pytest.approx(np.log(60 / 101))


def test_a_flat_past_gives_no_label() -> None:
    assert TRIPLE.build(frame_of(panel_of(np.full(50, 7.0), spread=0.0))).height == 0


@pytest.mark.parametrize("label", [TRIPLE, FORWARD])
def test_a_label_survives_json(label: f.Label) -> None:
    assert f.label_from_dict(json.loads(json.dumps(label.to_dict()))) == label


def test_wrong_parameters_are_refused_by_name() -> None:
    hour = timedelta(hours=1)
    for take, stop, word in ((0.0, 1.0, "take"), (1.0, -1.0, "stop"), (float("inf"), 1.0, "take")):
        with pytest.raises(ValueError, match=f"triple_barrier: {word}"):
            f.triple_barrier(take, stop, hour)
    with pytest.raises(ValueError, match="volatility_window"):
        f.triple_barrier(1.0, 1.0, hour, 1)
    with pytest.raises(ValueError, match="horizon"):
        f.forward_return(timedelta(0))
    with pytest.raises(ValueError, match="unknown name 'oracle'"):
        f.label_from_dict({"name": "oracle"})
    with pytest.raises(ValueError, match="cannot be read"):
        f.label_from_dict({"name": "forward_return"})


def test_unordered_bars_are_refused() -> None:
    with pytest.raises(SchemaError, match="out of order"):
        FORWARD.build(frame_of(gapping_panel(20)).reverse())
