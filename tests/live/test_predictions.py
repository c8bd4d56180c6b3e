"""Live predictions are kept before they are acted on, and are those of the features that research computes."""

from datetime import timedelta

import pytest

from cryptoquant import features as f
from cryptoquant.errors import HaltedError
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.predictions import PredictionJournal, bundle_digest

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
    now = sandbox.alpaca() and trader.clock.now()
    trader.store.download(trader.connection, bundle.symbols, "1m", start=now - 10**9 * 86_400 * 9, end=now) if False else None
    bars = trader.store.bars(list(bundle.symbols), bundle.timeframe)
    dataset = Dataset.build(bars, bundle.features, LABEL)
    found = journal.joined_to(dataset, now)
    assert found.height == kept.height


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
    from cryptoquant.models.registry import Registry
    from tests.models.test_registry import Finished

    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")

    class Study(Finished):
        def to_bundle(self, name):
            return bundle

    for _ in range(2):
        version = registry.register("turning", Study())
    registry.promote(version, "challenger")
    trader = Trader.paper(
        "turning@challenger", broker=sandbox.alpaca(), registry=registry, journal=tmp_path / "j.sqlite",
        store=None, predictions=PredictionJournal(tmp_path / "p.jsonl"),
    )  # fmt: skip
    assert (trader.reference, trader.version) == ("turning@challenger", "turning@2")
