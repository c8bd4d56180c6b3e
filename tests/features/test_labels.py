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
from tests.market_makers import HOUR, START, frame_of, gapping_panel

TRIPLE = f.triple_barrier(take=2.0, stop=1.0, horizon=timedelta(hours=6), volatility_window=5)
FORWARD = f.forward_return(timedelta(hours=6))
SIGN = f.sign(timedelta(hours=6), 0.02)
SCALED = f.scaled_return(timedelta(hours=6), 5)
TREND = f.trend_scanning(3, 7)
SIGNALS = pl.DataFrame(
    {
        "symbol": ["A/USD", "B/USD", "BTC/USD"] * 120,
        "time": np.repeat(START + HOUR * np.arange(1, 121), 3),
        "side": np.random.default_rng(2).integers(-1, 2, 360),
    }
).with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"))
META = f.meta_label(SIGNALS, TRIPLE, f.triple_barrier(1.0, 2.0, timedelta(hours=3), 7))
KINDS = [TRIPLE, FORWARD, SIGN, SCALED, TREND, META]


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]), st.integers(0, 119), st.sampled_from(KINDS))
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


@pytest.mark.parametrize("label", KINDS)
def test_a_label_survives_json(label: f.Label) -> None:
    assert f.label_from_dict(json.loads(json.dumps(label.to_dict()))) == label


def test_direction_and_scaled_return_follow_from_the_forward_return() -> None:
    bars = frame_of(gapping_panel(90, ("A/USD", "B/USD"), seed=4, absent=0.1))
    forward, direction, scaled = (label.build(bars) for label in (FORWARD, SIGN, SCALED))
    assert direction.select("symbol", "time", "label_known", "label_return").equals(forward.drop("label"))
    wanted = [0.0 if abs(value) <= 0.02 else np.sign(value) for value in forward["label"]]
    assert direction["label"].to_list() == wanted
    assert set(wanted) == {-1.0, 0.0, 1.0}
    closes = bars.filter(symbol="B/USD")["close"].log().diff().to_list()
    times = bars.filter(symbol="B/USD")["time"].to_list()
    rows = scaled.filter(symbol="B/USD")
    assert rows["time"][0] == times[5]
    for row in rows.iter_rows(named=True):
        place = times.index(row["time"])
        reach = np.std(closes[place - 4 : place + 1], ddof=1) * np.sqrt(6)
        assert row["label"] == pytest.approx(row["label_return"] / reach, rel=1e-9)
    assert rows.height == forward.filter(symbol="B/USD").height - 5


def test_a_return_of_exactly_the_dead_zone_is_no_direction() -> None:
    bars = frame_of(panel_of(np.array([1.0, np.e, 1.0, 1.0, 2.0])))
    assert f.sign(timedelta(hours=1), 1.0).build(bars)["label"].to_list() == [0.0, 0.0, 0.0, 0.0]
    assert f.sign(timedelta(hours=1)).build(bars)["label"].to_list() == [1.0, -1.0, 0.0, 1.0]


def test_a_late_bar_inside_the_path_delays_when_the_label_is_known() -> None:
    bars = frame_of(panel_of(np.arange(100.0, 106.0)))
    late = bars.with_columns(
        known=pl.when(pl.col("close") == 102.0).then(pl.col("known") + timedelta(hours=9)).otherwise("known")
    )
    known = f.forward_return(timedelta(hours=2)).build(late)["label_known"] - bars["time"][0]
    assert (known.dt.total_hours()).to_list() == [11, 11, 11, 5]


def test_wrong_parameters_are_refused_by_name() -> None:
    hour = timedelta(hours=1)
    for take, stop, word in ((0.0, 1.0, "take"), (1.0, -1.0, "stop"), (float("inf"), 1.0, "take")):
        with pytest.raises(ValueError, match=f"triple_barrier: {word}"):
            f.triple_barrier(take, stop, hour)
    with pytest.raises(ValueError, match="volatility_window"):
        f.triple_barrier(1.0, 1.0, hour, 1)
    with pytest.raises(ValueError, match="horizon"):
        f.forward_return(timedelta(0))
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="sign: dead_zone"):
            f.sign(hour, wrong)
    with pytest.raises(ValueError, match="scaled_return: volatility_window"):
        f.scaled_return(hour, 1)
    for kind in (f.sign, f.scaled_return):
        with pytest.raises(ValueError, match=f"{kind.__name__}: horizon"):
            kind(timedelta(0))
    with pytest.raises(ValueError, match="unknown name 'oracle'"):
        f.label_from_dict({"name": "oracle"})
    with pytest.raises(ValueError, match="cannot be read"):
        f.label_from_dict({"name": "forward_return"})


def test_unordered_bars_are_refused() -> None:
    with pytest.raises(SchemaError, match="out of order"):
        FORWARD.build(frame_of(gapping_panel(20)).reverse())
