"""The prediction journal and what is told from it: nothing is lost, doubled or known too early."""

import json
import math
import multiprocessing
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from cryptoquant import features as f
from cryptoquant.errors import DataError, ModelError
from cryptoquant.models.bundle import CONTENT, digest
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.monitoring.duel import duel, mean_difference
from cryptoquant.models.monitoring.predictions import (
    PREDICTIONS,
    Prediction,
    PredictionJournal,
    bundle_digest,
    join,
    row_digest,
)
from cryptoquant.models.monitoring.skill import area_under_curve, calibration_rows, skill, wilson
from tests.models.datasets import FEATURES, HOUR, LABEL, market_bars
from tests.models.test_bundle import at, small_bundle

START = 1_704_067_200_000_000_000


def prediction(hour: int = 0, symbol: str = "BTC/USD", value: float = 0.6, **changed) -> Prediction:
    time = START + hour * HOUR
    plain = {"reference": "m@champion", "version": "m@1", "bundle": "ab", "features": "cd", "row": "ef"}
    return Prediction(
        **{**plain, **changed},
        symbol=symbol, time=time, known=time + 5, kind="probability", value=value, horizon=4 * HOUR,
    )  # fmt: skip


def joined_frame(values, rises, *, version="m@1", returns=None, kind="probability", horizon=1, first=0) -> pl.DataFrame:
    """Return joined predictions of one symbol, one an hour; a rise of None is pending."""
    count = len(values)
    times = START + HOUR * (first + np.arange(count))
    gained = [None if rise is None else 0.01 * (2 * rise - 1) for rise in rises] if returns is None else returns
    frame = pl.DataFrame(
        {
            "version": [version] * count,
            "symbol": ["BTC/USD"] * count,
            "time": times,
            "kind": [kind] * count,
            "value": np.asarray(values, dtype=float),
            "horizon": [timedelta(hours=horizon)] * count,
            "rise": pl.Series(rises, dtype=pl.Float64),
            "label_return": pl.Series(gained, dtype=pl.Float64),
            "label_known": times + horizon * HOUR,
        }
    )
    instants = (pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "label_known"))
    return frame.with_columns(*instants, pl.col("horizon").cast(pl.Duration("ns")))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["A/USD", "B/USD"]), st.floats(0, 1)), max_size=12),
    st.integers(0, 400),
)
def test_what_was_kept_is_read_once_whatever_was_torn(tmp_path_factory, made, torn):
    path = tmp_path_factory.mktemp("journal") / "predictions.jsonl"
    journal = PredictionJournal(path)
    journal.append([prediction(hour, symbol, value) for hour, symbol, value in made])
    first: dict = {}
    for hour, symbol, value in made:
        first.setdefault((START + hour * HOUR, symbol), value)
    if made:
        with path.open("ab") as file:
            file.write(b'{"reference": "' + b"x" * torn)
    found = journal.predictions()
    assert found.schema == pl.Schema(PREDICTIONS)
    read = {(time, s): v for time, s, v in found.select(pl.col("time").dt.epoch("ns"), "symbol", "value").rows()}
    assert read == first
    journal.append([prediction(99, "C/USD", 0.5)])
    assert journal.predictions().height == len(first) + 1


def test_the_same_moment_by_two_versions_is_two_predictions(tmp_path):
    journal = PredictionJournal(tmp_path / "deep" / "p.jsonl")
    journal.append([prediction(), prediction(version="m@2", bundle="zz"), prediction(value=0.9)])
    assert journal.predictions()["value"].to_list() == [0.6, 0.6]
    assert journal.predictions()["horizon"].to_list() == [timedelta(hours=4)] * 2


def test_a_pinned_version_is_one_whatever_digest_its_bundle_was_given(tmp_path):
    journal = PredictionJournal(tmp_path / "p.jsonl")
    journal.append([prediction(bundle="ab"), prediction(bundle="zz", value=0.9)])
    assert journal.predictions()["value"].to_list() == [0.6]
    loose = [prediction(1, version="m@champion", bundle=name) for name in ("ab", "zz")]
    journal.append(loose)
    assert journal.predictions()["bundle"].to_list() == ["ab", "ab", "zz"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused_and_nothing_kept(tmp_path, value):
    journal = PredictionJournal(tmp_path / "p.jsonl")
    with pytest.raises(DataError, match=f"BTC/USD at 2024-01-01T00:00:00.* is {value}, wanted a finite number"):
        journal.append([prediction(1), prediction(0, value=value)])
    assert not journal.path.exists()


def test_a_damaged_line_within_the_file_is_named(tmp_path):
    journal = PredictionJournal(tmp_path / "p.jsonl")
    assert journal.predictions().is_empty()
    journal.append([prediction(0), prediction(1)])
    lines = journal.path.read_text().splitlines()
    fields = json.loads(lines[1])
    strange = [{"time": "noon"}, {"value": None}, {"value": "high"}, {"version": 3}, {"horizon": 1.5}, {"known": True}]
    mistyped = [json.dumps({**fields, **one}) for one in strange]
    for wrong in ("{", '{"symbol": "A"}', *mistyped, lines[1].replace("0.6", "Infinity")):
        journal.path.write_text("\n".join([lines[0], wrong, lines[1], ""]))
        with pytest.raises(DataError, match="line 2 is not readable"):
            journal.predictions()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="predictions cannot be kept"):
        PredictionJournal(tmp_path / "file" / "p.jsonl").append([prediction()])


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(DataError, match="predictions cannot be read"):
        PredictionJournal(tmp_path).predictions()
    with pytest.raises(DataError, match="predictions cannot be kept"):
        PredictionJournal(tmp_path).append([prediction()])


def _append(path, number):
    for hour in range(40):
        PredictionJournal(path).append([prediction(hour, f"S{number}/USD")])


def test_two_processes_lose_nothing(tmp_path):
    path = tmp_path / "p.jsonl"
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_append, args=(path, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert PredictionJournal(path).predictions().height == 80


def test_a_bundle_is_named_by_what_the_registry_pins_and_a_row_by_its_bits(tmp_path):
    bundle = small_bundle()
    assert bundle_digest(bundle) == digest(bundle.save(tmp_path / "b") / CONTENT)
    rows = np.array([[1.0, 2.0, 3.0], [0.1 + 0.2, 0.0, 1.0]])
    journal = PredictionJournal(tmp_path / "p.jsonl")
    journal.record(bundle, bundle.forecaster().update(at(3), rows), rows, "m@champion", "m@7")
    table = journal.predictions()
    assert table["bundle"].unique().to_list() == [bundle_digest(bundle)]
    assert table["features"].unique().to_list() == [bundle.features.fingerprint]
    assert table["version"].unique().to_list() == ["m@7"]
    assert table.select("symbol", "row").rows() == [("BTC/USD", row_digest(rows[0])), ("ETH/USD", row_digest(rows[1]))]
    assert row_digest(rows[1]) != row_digest(np.array([0.3, 0.0, 1.0]))
    if hasattr(bundle, "digest"):
        assert bundle_digest(replace(bundle, digest="of the file")) == "of the file"
    assert json.loads(journal.path.read_text().splitlines()[0])["reference"] == "m@champion"


@pytest.fixture(scope="module")
def market() -> Dataset:
    return Dataset.build(market_bars(days=12), FEATURES, LABEL)


def journalled(dataset: Dataset, path) -> PredictionJournal:
    journal = PredictionJournal(path)
    rows = dataset.frame.select("symbol", pl.col("time").dt.epoch("ns"), pl.col("known").dt.epoch("ns")).rows()
    made = [
        Prediction("m", "m@1", "b", "f", row_digest(row), symbol, time, known, "probability", 0.4, 12 * HOUR)
        for (symbol, time, known), row in zip(rows, dataset.features, strict=True)
    ]
    journal.append(made)
    return journal


@pytest.mark.parametrize("hours", [0, 1, 5, 40, 100, 400])
def test_no_outcome_is_told_before_it_was_known_and_the_future_changes_nothing(market, tmp_path, hours):
    journal = journalled(market, tmp_path / "p.jsonl")
    now = int(market.times[0]) + hours * HOUR
    found = journal.joined(market.bars, LABEL, now)
    assert (found["known"].dt.epoch("ns") <= now).all()
    settled = found.drop_nulls("rise")
    assert (settled["label_known"].dt.epoch("ns") <= now).all()
    assert join(journal.predictions(), LABEL.build(market.bars), now).equals(found)
    wild = market.bars.with_columns(
        [
            pl.when(pl.col("known").dt.epoch("ns") > now).then(pl.col(name) * 3).otherwise(name).alias(name)
            for name in ("open", "high", "low", "close")
        ]
    )
    assert journal.joined(wild, LABEL, now).equals(found)
    wanted = market.frame.with_columns(rise=pl.Series(market.rises)).filter(pl.col("label_known").dt.epoch("ns") <= now)
    assert settled["rise"].to_list() == wanted["rise"].to_list()
    assert settled["label_return"].to_list() == wanted["label_return"].to_list()


@settings(max_examples=10, deadline=None)
@given(st.integers(40, 200), st.integers(2, 30), st.integers(1, 12))
def test_an_outcome_waits_for_the_bars_of_its_path_that_come_late(market, tmp_path_factory, place, delay, hours):
    """Some bars are known hours after their close: what is told on the way is what is told in the end."""
    journal = journalled(market, tmp_path_factory.mktemp("late") / "p.jsonl")
    late = market.bars.with_columns(row=pl.int_range(pl.len()).over("symbol")).with_columns(
        pl.when(pl.col("row").is_between(place, place + hours - 1))
        .then((pl.col("known") + pl.duration(hours=delay)).dt.cast_time_unit("ns"))
        .otherwise("known")
        .alias("known")
    )
    first = int(late.filter(pl.col("row") == place)["time"].dt.epoch("ns").min())
    end = journal.joined(late, LABEL, int(late["known"].dt.epoch("ns").max()))
    identity = ["symbol", "time", "rise", "label_return", "label_known"]
    for after in (0, delay - 1, delay, delay + hours, delay + 20):
        now = first + after * HOUR
        told = journal.joined(late, LABEL, now).drop_nulls("rise").select(identity)
        assert told.join(end.select(identity), on=identity, how="semi").height == told.height
        seen = told.filter(pl.col("time").dt.epoch("ns") >= first)
        assert after >= delay or not seen.height
    held = replace(market, bars=late.drop("row"))
    now = first + (delay - 1) * HOUR
    assert journal.joined_to(held, now).drop("same_row").equals(journal.joined(late, LABEL, now))


@pytest.mark.deep
@settings(max_examples=100, deadline=None)
@given(st.integers(40, 200), st.integers(2, 30), st.integers(1, 12))
def test_an_outcome_waits_in_many_more_histories(market, tmp_path_factory, place, delay, hours):
    law = test_an_outcome_waits_for_the_bars_of_its_path_that_come_late
    law.hypothesis.inner_test(market, tmp_path_factory, place, delay, hours)


def test_a_dataset_tells_whether_the_rows_are_those_that_were_predicted_from(market, tmp_path):
    journal = journalled(market, tmp_path / "p.jsonl")
    now = int(market.bars["known"].dt.epoch("ns").max())
    found = journal.joined_to(market, now)
    assert found["same_row"].all()
    assert found.drop("same_row").equals(journal.joined(market.bars, LABEL, now))
    other = Dataset.build(market.bars, f.FeatureSet([f.log_return(1), f.zscore("volume", 47), f.rsi(14)]), LABEL)
    assert not journal.joined_to(other, now)["same_row"].any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_that_of_mann_and_whitney(rows):
    values, rises = np.array([v / 5 for v, _ in rows]), np.array([float(up) for _, up in rows])
    up, down = values[rises == 1], values[rises == 0]
    if not len(up) or not len(down):
        assert math.isnan(area_under_curve(values, rises))
        return
    assert area_under_curve(values, rises) == pytest.approx(mannwhitneyu(up, down).statistic / (len(up) * len(down)))


def test_skill_by_version_is_what_scikit_learn_finds():
    rng = np.random.default_rng(3)
    values = rng.random(300)
    rises = (rng.random(300) < values).astype(float)
    both = pl.concat(
        [joined_frame(values, rises), joined_frame(values[:40], [*rises[:30], *[None] * 10], version="m@2")]
    )
    found = skill(both, window=100)
    first, second = found.table.rows(named=True)
    assert first["version"] == "m@1"
    assert first["auc"] == pytest.approx(roc_auc_score(rises, values))
    assert first["log_loss"] == pytest.approx(log_loss(rises, values))
    assert first["brier"] == pytest.approx(brier_score_loss(rises, values))
    assert first["hit_rate"] == pytest.approx(((values > 0.5) == (rises == 1)).mean())
    assert (second["predictions"], second["settled"], second["pending"]) == (40, 30, 10)
    assert found.rolling.height == 41
    last = found.rolling.row(-1, named=True)
    assert last["auc"] == pytest.approx(roc_auc_score(rises[200:], values[200:]))
    assert last["time"] == both["label_known"][299]
    with pytest.raises(ModelError, match="no predictions"):
        skill(both.head(0))


def test_profit_is_of_the_stated_position_with_overlapping_holdings_sharing_the_capital():
    frame = joined_frame([0.7, 0.4, 0.5, 0.52], [1, 1, 0, 0], returns=[0.02, 0.01, -0.03, -0.04], horizon=4)
    found = skill(frame)
    # +2 %, -1 %, nothing and -4 %, each with a quarter of the capital as four holdings overlap.
    assert found.profit["pnl"].to_list() == pytest.approx([0.005, -0.0025, 0.0, -0.01])
    assert found.profit["cumulative"].to_list() == pytest.approx([0.005, 0.0025, 0.0025, -0.0075])
    assert skill(frame, margin=0.05).profit["pnl"].to_list() == pytest.approx([0.005, -0.0025, 0.0, 0.0])
    scores = joined_frame([2.0, -1.0], [1, 0], returns=[0.02, -0.01], kind="score")
    assert skill(scores).profit["pnl"].to_list() == pytest.approx([0.02, 0.01])
    assert math.isnan(skill(scores).table["log_loss"].item())
    assert skill(scores).table["hit_rate"].item() == 1.0


def test_the_calibration_table_by_hand():
    rows = calibration_rows(np.array([0.05, 0.05, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]))
    assert [(row["low"], row["high"], row["count"], row["found"]) for row in rows] == [
        (0.0, 0.1, 2, 0.5),
        (0.9, 1.0, 2, 1.0),
    ]
    assert rows[1]["predicted"] == 0.975
    assert rows[1]["found_high"] == pytest.approx(1.0)
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def versions(edge: float, count: int = 600, seed: int = 0, horizon: int = 4) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return two versions on one market: the second knows the outcome by ``edge`` more."""
    rng = np.random.default_rng(seed)
    rises = (rng.random(count) < 0.5).astype(float)
    one = np.clip(0.5 + 0.1 * rng.standard_normal(count), 0.01, 0.99)
    two = np.clip(0.5 + 0.1 * rng.standard_normal(count) + edge * (rises - 0.5), 0.01, 0.99)
    return joined_frame(one, rises, horizon=horizon), joined_frame(two, rises, version="m@2", horizon=horizon)


def test_a_duel_finds_the_better_and_swaps_its_signs_with_the_sides():
    champion, challenger = versions(edge=0.2)
    there, back = duel(champion, challenger), duel(challenger, champion)
    assert (there.champion, there.challenger, there.periods) == ("m@1", "m@2", 600)
    assert there.pnl.low > 0.0
    assert there.log_loss.high < 0.0
    assert there.pnl.p_value < 1e-4
    for name in ("pnl", "log_loss"):
        one, two = getattr(there, name), getattr(back, name)
        assert (one.mean, one.low, one.high) == pytest.approx((-two.mean, -two.high, -two.low))
        assert one.p_value == pytest.approx(two.p_value)
    itself = duel(champion, champion)
    assert (itself.pnl.mean, itself.pnl.p_value) == (0.0, 1.0)


def test_a_duel_is_of_common_moments_only_and_refuses_where_there_are_none():
    champion, challenger = versions(edge=0.2)
    later = challenger.filter(pl.col("time") >= champion["time"][400])
    found = duel(champion, later)
    assert found.periods == 200
    assert found.start == champion["time"].dt.epoch("ns")[400]
    assert found.pnl.mean == pytest.approx(duel(champion.tail(200), later).pnl.mean)
    with pytest.raises(ModelError, match="m@1 and m@2 share no settled prediction"):
        duel(champion.head(400), later)
    with pytest.raises(ModelError, match="champion: wanted predictions of one version, found m@1, m@2"):
        duel(pl.concat([champion, challenger]), later)
    few = duel(champion.head(20), challenger)
    assert math.isnan(few.pnl.p_value)
    assert few.periods == 20
    assert few.to_dict()["pnl"]["mean"] == few.pnl.mean


@pytest.mark.deep
@pytest.mark.parametrize(("overlap", "count"), [(1, 300), (6, 600), (12, 2_000)])
def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says(overlap, count):
    held = 0
    for seed in range(400):
        noise = np.random.default_rng(seed).standard_normal(count + overlap - 1)
        found = mean_difference(np.convolve(noise, np.ones(overlap) / overlap, "valid") + 0.3, overlap, seed)
        held += found.low <= 0.3 <= found.high
    assert 0.93 <= held / 400 <= 0.985, f"{held} of 400 intervals of 95 % hold the mean"
