"""Retraining: a trigger is answered by a challenger, and the champion stays what it was."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.retrain import predictions_of, retrain
from cryptoquant.backtest.walk_forward import Study, walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ModelError, RegistryError
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.monitoring.monitor import Monitor
from cryptoquant.models.monitoring.predictions import Prediction, PredictionJournal, bundle_digest, row_digest
from cryptoquant.models.monitoring.skill import skill
from cryptoquant.models.monitoring.trigger import Trigger
from cryptoquant.models.registry import Registry, Version
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

BARS = SyntheticMarket(seed=5, days=110, timeframe="1h", edge=0.6).bars("1h")
FEATURES = FeatureSet([f.log_return(1), f.zscore("volume", 48), f.ema(48, relative=True)])
LABEL = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=12), volatility_window=24)
SPLITS = WalkForward(timedelta(days=40), timedelta(days=20), timedelta(hours=12))
DAY = 86_400_000_000_000


def study_until(days: int) -> Study:
    end = BARS["time"].min() + timedelta(days=days)
    dataset = Dataset.build(BARS.filter(pl.col("time") <= end), FEATURES, LABEL)
    return walk_forward(
        dataset, Logistic(), LongFlat(threshold=0.52), SPLITS, Costs.alpaca(8, 1.0), ledger=TrialLedger(), jobs=1
    )


@pytest.fixture(scope="module")
def first() -> Study:
    return study_until(70)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory, first) -> Path:
    """The database of a registry whose champion is the first version, trained at day 70."""
    place = tmp_path_factory.mktemp("promoted") / "mlflow.db"
    made = Registry(f"sqlite:///{place}")
    made.promote(made.register("m", first), "champion", Gate(criteria=()))
    return place


@pytest.fixture
def registry(tmp_path, promoted) -> Registry:
    """A registry of one's own that begins as the promoted one: new files lie apart, in folders of their runs."""
    return Registry(f"sqlite:///{shutil.copy(promoted, tmp_path)}")


def live_of(registry: Registry, path, dataset: Dataset) -> pl.DataFrame:
    """Return what the champion said of all rows behind its training, journalled and joined."""
    bundle = registry.load("m@champion")
    journal, digest = PredictionJournal(path), bundle_digest(bundle)
    rows, values = dataset.features, bundle.predictor.predict(dataset.features)
    made = [
        Prediction(
            "m@champion", "m@1", digest, bundle.features.fingerprint, row_digest(rows[place]), symbol, time, time,
            "probability", float(values[place]), 12 * DAY // 24,
        )
        for place, (symbol, time) in enumerate(dataset.frame.select("symbol", pl.col("time").dt.epoch("ns")).rows())
        if time > bundle.trained_until
    ]  # fmt: skip
    journal.append(made)
    return journal.joined_to(dataset, int(dataset.bars["known"].dt.epoch("ns").max()))


def test_a_trigger_is_answered_by_a_challenger_and_the_champion_stays(registry, first, tmp_path):
    pinned = bundle_digest(registry.load("m@champion"))
    second = study_until(110)
    live = live_of(registry, tmp_path / "p.jsonl", second.dataset)
    trained = first.to_bundle("m").trained_until
    monitor = Monitor({}, every=timedelta(days=30), trained=trained)
    (trigger,) = monitor.check(trained + 40 * DAY)
    done = retrain(trigger, registry, "m", lambda: second, live=live, monitor=monitor)

    assert done.version == Version("m", 2)
    assert registry.aliases("m") == {"challenger": 2, "champion": 1}
    assert (done.champion, done.before) == (Version("m", 1), None)
    assert bundle_digest(registry.load("m@champion")) == pinned
    assert [event["alias"] for event in registry.history("m")] == ["champion", "challenger"]
    assert done.evidence is second.evidence
    assert registry.load("m@challenger").trained_until > trained

    assert live["same_row"].all()
    assert live.height > 500
    assert done.reason == ""
    assert (done.duel.champion, done.duel.challenger) == ("m@1", "m@2")
    common = live.drop_nulls("rise").join(second.signals, on=["symbol", "time"], how="inner")
    assert done.duel.periods == common["time"].n_unique()
    assert done.duel.pnl.low < done.duel.pnl.high
    assert skill(pl.concat([live.select(COMMON), predictions_of(second, "m@2").select(COMMON)])).table.height == 2

    assert monitor.check(trigger.at + 29 * DAY) == []
    run = registry._client.get_run(registry._client.get_model_version("m", "2").run_id)
    assert run.data.params["trigger.kind"] == "schedule"
    files = {file.path for file in registry._client.list_artifacts(run.info.run_id)}
    assert {"trigger.json", "report.html", "model"} <= files

    again = retrain(replace(trigger, kind="drift", name="features"), registry, "m", lambda: second)
    assert (again.version, again.before, again.champion) == (Version("m", 3), Version("m", 2), Version("m", 1))
    assert (again.duel, again.reason) == (None, "no live predictions of the champion were given")
    assert registry.aliases("m") == {"challenger": 3, "champion": 1}

    early = live.filter(pl.col("time") <= live["time"].min())
    moved = early.with_columns((pl.col("time") + timedelta(days=900)).dt.cast_time_unit("ns"))
    none = retrain(trigger, registry, "m", lambda: second, live=moved)
    assert none.duel is None
    assert "share no settled prediction" in none.reason


COMMON = ["version", "symbol", "time", "kind", "value", "horizon", "rise", "label_return", "label_known"]


def test_live_predictions_of_another_shape_are_refused_before_anything_is_built(registry):
    def never() -> Study:
        raise AssertionError("built")

    whole = pl.DataFrame(
        {
            "version": ["m@1"], "symbol": ["BTC/USD"], "time": [BARS["time"][0]], "kind": ["probability"],
            "value": [0.5], "horizon": [timedelta(hours=12)], "rise": [1.0], "label_return": [0.01],
        },
        schema_overrides={"time": BARS.schema["time"], "horizon": pl.Duration("ns")},
    )  # fmt: skip
    wrong = {
        "found version missing;": whole.drop("version"),
        "found rise missing, label_return missing;": whole.drop("rise", "label_return"),
        r"found time Datetime\(time_unit='us', time_zone='UTC'\);": whole.with_columns(
            pl.col("time").dt.cast_time_unit("us")
        ),
        "version is null": whole.with_columns(version=pl.lit(None, dtype=pl.String)),
    }
    monitor, trigger = Monitor({}, trained=1), Trigger("drift", "x", 9, 2.0, 1.0)
    for words, live in wrong.items():
        with pytest.raises(ModelError, match=words):
            retrain(trigger, registry, "m", never, live=live, monitor=monitor)
    with pytest.raises(AssertionError, match="built"):
        retrain(trigger, registry, "m", never, live=whole, monitor=monitor)
    assert registry.versions("m") == [Version("m", 1)]
    assert monitor.trained == 1


def test_a_version_that_gets_no_alias_is_named_and_counts_as_trained(registry, first):
    class Locked(Registry):
        """A registry that takes versions and gives no alias."""

        def promote(self, version, alias="champion", gate=None, ledger=None) -> None:
            raise RegistryError("the database is locked")

    monitor = Monitor({}, every=timedelta(days=1), trained=0)
    with pytest.raises(RegistryError, match="m@2 is registered, but is not challenger: the database is locked"):
        retrain(Trigger("schedule", "x", 9 * DAY, 2.0, 1.0), Locked(registry.uri), "m", lambda: first, monitor=monitor)
    assert registry.versions("m") == [Version("m", 1), Version("m", 2)]
    assert monitor.check(9 * DAY + 1) == []


def test_a_training_that_fails_registers_nothing(registry):
    def fails() -> Study:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        retrain(Trigger("drift", "x", 1, 2.0, 1.0), registry, "m", fails)
    assert registry.versions("m") == [Version("m", 1)]
    assert registry.aliases("m") == {"champion": 1}


def test_the_first_version_of_a_name_has_no_champion(tmp_path, first):
    empty = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = retrain(Trigger("schedule", "schedule", 1, 2.0, 1.0), empty, "new", lambda: first)
    assert (done.version, done.before, done.champion) == (Version("new", 1), None, None)
    assert empty.aliases("new") == {"challenger": 1}
