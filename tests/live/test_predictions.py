"""Live predictions are kept before they are acted on, and are those of the features that research computes."""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.market.slice import Slice
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.monitoring.predictions import PredictionJournal, bundle_digest
from cryptoquant.models.registry import Registry
from cryptoquant.models.run_record import RunRecord


@dataclass
class Finished:
    """What a study offers to the registry."""

    bundle: Bundle

    def to_bundle(self, name: str) -> Bundle:
        return self.bundle

    def tracked(self):
        return RunRecord(params={}, metrics={})


def bars_of(market: Slice) -> pl.DataFrame:
    """Return the bars of a slice as the trader saw them."""
    stamps = {"time": market.time, "known": market.known, "open_time": market.time - 3_600 * 10**9}
    return pl.DataFrame(
        {"symbol": market.symbols, **{name: market.field(name) for name in ("open", "high", "low", "close", "volume")}}
    ).with_columns(
        pl.from_epoch(pl.lit(value), "ns").dt.replace_time_zone("UTC").alias(n) for n, value in stamps.items()
    )


LABEL = f.triple_barrier(take=1.5, stop=1.5, horizon=timedelta(hours=3), volatility_window=24)


def test_every_prediction_is_kept_once_with_its_row_and_trading_is_the_same(hire, bundle, sandbox, tmp_path):
    journal = PredictionJournal(tmp_path / "predictions.jsonl")
    for _ in range(2):
        trader = hire(predictions=journal, reference="turning@champion")
        done = trader.run(until=timedelta(hours=12))
    known = replay(trader.journal_path)
    assert known.is_equal, known.difference
    assert done.orders > 3
    kept = journal.predictions()
    assert kept.select("symbol", "time").is_unique().all()
    assert kept.height == 2 * len(known.slices)
    assert kept["reference"].unique().to_list() == ["turning@champion"]
    assert kept["bundle"].unique().to_list() == [bundle_digest(bundle)]
    first, last = known.slices[0].time, known.slices[-1].time
    bars = trader.store.bars(list(bundle.symbols), bundle.timeframe)
    past = bars.filter(pl.col("time").dt.epoch("ns") < first)
    lived = pl.concat([past, *(bars_of(market) for market in known.slices)], how="diagonal")
    found = journal.joined_to(Dataset.build(lived, bundle.features, LABEL), last)
    assert found.height == kept.height
    assert found["same_row"].all()


def test_a_trader_that_cannot_keep_its_predictions_halts_before_it_acts(hire, tmp_path):
    (tmp_path / "file").write_text("")
    trader = hire(predictions=PredictionJournal(tmp_path / "file" / "p.jsonl"))
    with pytest.raises(HaltedError, match="predictions cannot be kept"):
        trader.run(until=timedelta(hours=6))
    again = replay(trader.journal_path)
    assert again.journalled == []
    assert again.slices == []
    assert trader.status().orders == 0
    assert "predictions cannot be kept" in again.engine.risk.halted


def test_a_trader_of_a_registered_bundle_names_the_version(bundle, sandbox, tmp_path):
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")

    study = Finished(bundle)
    for _ in range(2):
        version = registry.register("turning", study)
    registry.promote(version, "challenger")
    trader = Trader.paper(
        "turning@challenger", broker=sandbox.alpaca(), registry=registry, journal=tmp_path / "j.sqlite",
        store=Store(tmp_path / "store"), predictions=PredictionJournal(tmp_path / "p.jsonl"),
    )  # fmt: skip
    own = trader.profiles[0]
    assert (own.reference, own.version) == ("turning@challenger", "turning@2")
