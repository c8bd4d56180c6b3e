"""What a study says beside its result, each number by hand."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.papers import quality_of
from cryptoquant.backtest.reliance import reliance
from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.market.slice import Panel
from cryptoquant.models import Ridge
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.robustness import Robustness
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

BARS = SyntheticMarket(seed=3, symbols=["BTC/USD", "ETH/USD"], days=90, timeframe="1h", edge=0.5).bars()
DATASET = Dataset.build(
    BARS,
    FeatureSet([f.zscore("volume", 96), f.log_return(1), f.hour_of_day()]),
    f.forward_return(timedelta(hours=12)),
)
SPLITS = WalkForward(timedelta(days=40), timedelta(days=15), timedelta(hours=12))


def study_of(**changed):
    terms = {"execution": Execution(stop_loss=0.02, take_profit=0.05), **changed}
    return walk_forward(
        DATASET, Ridge(), LongFlat(0.002, exit=-0.002), SPLITS, Costs.alpaca(8), ledger=TrialLedger(), jobs=1, **terms
    )


@pytest.fixture(scope="module")
def study():
    return study_of()


def test_the_importance_of_a_line_is_its_slope_times_how_far_rows_lie_apart(study):
    result = study.folds[0]
    rows, examples = result.fold.test, DATASET.examples
    assert len(rows) < 2 * 400 * 2
    step = max(1, len(rows) // 400)
    slopes = [np.diff(result.predictor.predict(np.array([[0.0] * 4, np.eye(4)[column]])))[0] for column in range(4)]
    moved = reliance(result.predictor, examples, rows, 0)
    for column, slope in enumerate(slopes):
        values = examples.features[rows[::step], column]
        own = [values[examples.symbols[rows[::step]] == symbol] for symbol in (0, 1)]
        apart = np.mean([np.abs(part[:, None] - part[None, :]).mean() for part in own])
        assert moved[column] == pytest.approx(abs(slope) * apart, rel=0.15, abs=1e-12)
    assert np.array_equal(moved, result.reliance)


def test_shares_sum_to_one_and_the_hour_which_says_nothing_comes_last(study):
    table = study.report.dossier.importance
    assert table["feature"].item(-1).startswith("hour_of_day")
    assert table["importance"].sum() == pytest.approx(1.0)
    assert table["importance"].is_sorted(descending=True)
    assert set(table["feature"]) == set(DATASET.names)


def test_missing_bars_the_longest_gap_and_bars_without_volume_are_counted():
    bars = BARS.filter(pl.col("symbol") == "BTC/USD").head(100).with_row_index()
    kept = bars.filter(~pl.col("index").is_in([0, 10, 11, 12, 50, 99])).with_columns(
        volume=pl.when(pl.col("index") == 20).then(0.0).otherwise(pl.col("volume"))
    )
    both = pl.concat([kept.drop("index"), BARS.filter(pl.col("symbol") == "ETH/USD").head(100)])
    rows = {row["symbol"]: row for row in quality_of(Panel.from_frame(both)).iter_rows(named=True)}
    assert rows["BTC/USD"] == {
        "symbol": "BTC/USD",
        "bars": 94,
        "missing": 6,
        "longest_gap_bars": 3,
        "without_volume": 1,
    }
    assert rows["ETH/USD"]["missing"] == rows["ETH/USD"]["longest_gap_bars"] == 0


def test_barriers_are_those_that_ended_the_trades(study):
    barriers = study.report.dossier.barriers
    assert barriers.height > 5
    fills = study.report.fills.filter(pl.col("reason").is_in(["stop", "target"]))
    joined = fills.join(barriers, left_on=["symbol", "time"], right_on=["symbol", "closed"], how="inner")
    assert joined.height > 3
    for reason, price, take, stop in joined.select("reason", "price", "take", "stop").iter_rows():
        assert price == pytest.approx(stop if reason == "stop" else take, rel=0.02)
        assert stop < take
    assert study_of(execution=Execution()).report.dossier.barriers.is_empty()


def test_papers_are_added_without_touching_the_rest(study):
    more = study.with_papers(robustness=Robustness())
    assert more.report.dossier.robustness == Robustness()
    assert more.report.dossier.importance is study.report.dossier.importance
    changed = study.with_papers(evidence=replace(study.evidence, study_trials=9))
    assert changed.evidence.study_trials == changed.report.dossier.evidence.study_trials == 9
    with pytest.raises(TypeError):
        study.with_papers(gossip=1)
