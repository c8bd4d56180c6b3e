"""Combinatorial paths: whole histories, each row predicted once by a fit that had not seen it."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.paths import Paths, block_rows, combinatorial, path_signals
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.backtest.walk_forward import run_plan
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ModelError
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.examples import UNKNOWN
from cryptoquant.models.model import Parameters
from cryptoquant.models.splits import CombinatorialPurged, WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import BuyAndHold, LongFlat
from cryptoquant.trading.venue import Costs, Venue

SPLITS = CombinatorialPurged(6, 2, timedelta(hours=6))
COSTS = Costs.alpaca(8, 1.0)
SECOND = 1_000_000_000


def mark(times: np.ndarray) -> float:
    """A number that tells one set of training rows from another."""
    return 0.5 + int((times // SECOND % 1_000_003 * np.arange(1, len(times) + 1)).sum() % 99_991) / 1e6


@dataclass(frozen=True)
class Marked:
    value: float
    kind: str = "probability"
    window: int = 1

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), self.value)

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        raise ModelError("not kept")


@dataclass(frozen=True)
class Telltale(Parameters):
    """A model that predicts the mark of the rows that it has learned from."""

    def fit(self, examples):
        return Marked(mark(examples.times))


@pytest.fixture(scope="module")
def plan() -> Plan:
    bars = SyntheticMarket(seed=3, days=60, timeframe="1h", edge=0.1).bars("1h")
    features = FeatureSet([f.log_return(1), f.zscore("volume", 48)])
    label = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=12), volatility_window=24)
    dataset = Dataset.build(bars, features, label)
    splits = WalkForward(timedelta(days=30), timedelta(days=15))
    return Plan("s", bars, LongFlat(threshold=0.51), splits, Venue.alpaca(COSTS), dataset, Logistic())


@pytest.mark.parametrize("splits", [SPLITS, CombinatorialPurged(5, 1), CombinatorialPurged(5, 3)], ids=str)
def test_each_path_predicts_every_row_once_by_a_fit_that_did_not_learn_from_it(plan, splits):
    dataset = plan.dataset
    times, known = dataset.times, dataset.label_known
    streams = path_signals(replace(plan, model=Telltale()), splits, jobs=1)
    folds = splits.split(dataset)
    choice_of = {mark(times[fold.train]): fold.number for fold in folds}
    assert len(choice_of) == len(folds)
    blocks = block_rows(plan, splits)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(dataset)))
    used = Counter()
    for signals in streams:
        assert signals.select("symbol", "time", "known").equals(dataset.frame.select("symbol", "time", "known"))
        values = signals["value"].to_numpy()
        for block, rows in enumerate(blocks):
            (value,) = set(values[rows].tolist())
            choice = choice_of[value]
            assert block in splits.choices[choice]
            learned = folds[choice].train
            first, last = times[rows].min(), max(times[rows].max(), known[rows][known[rows] < UNKNOWN].max())
            assert ((known[learned] < first) | (times[learned] > last)).all()
            used[choice, block] += 1
    assert used == Counter((number, block) for number, chosen in enumerate(splits.choices) for block in chosen)


@pytest.mark.parametrize(("folds", "tested"), [(6, 2), (5, 3), (10, 2), (4, 3)])
def test_there_are_as_many_paths_as_skfolio_has_and_each_choice_serves_the_same_path(folds, tested):
    skfolio = pytest.importorskip("skfolio.model_selection")
    theirs = skfolio.CombinatorialPurgedCV(folds, tested)
    ours = CombinatorialPurged(folds, tested)
    assert len(ours.paths) == theirs.n_test_paths
    assert len(ours.choices) == theirs.n_splits
    of = np.array([[int(np.flatnonzero(ours.paths[:, block] == number)[0]) for block in chosen]
                   for number, chosen in enumerate(ours.choices)])  # fmt: skip
    assert of.tolist() == theirs.get_path_ids().tolist()


def test_a_path_is_one_simulation_over_the_whole_span(plan):
    found = combinatorial(plan, SPLITS, jobs=1)
    assert found.frame.columns == ["path", "sharpe", "total_return", "max_drawdown"]
    assert found.frame["path"].to_list() == [0, 1, 2, 3, 4]
    assert found.fits == 15
    first = plan.dataset.frame["time"].min()
    for number, signals in enumerate(path_signals(plan, SPLITS, jobs=1)):
        report = simulate(plan.strategy, plan.bars.filter(pl.col("time") >= first), COSTS, signals=signals)
        days = report.daily_returns()["return"].to_numpy()
        _, sharpe, total, deepest = found.frame.row(number)
        assert sharpe == pytest.approx(days.mean() / days.std(ddof=1) * math.sqrt(365))
        assert total == pytest.approx(report.statistics.total_return)
        assert deepest == pytest.approx(report.statistics.max_drawdown)
    assert found.frame["total_return"].n_unique() > 1


def test_jobs_change_nothing_progress_counts_and_a_study_is_its_plan(plan):
    seen: list[tuple[int, int]] = []
    one = combinatorial(plan, SPLITS, jobs=1, progress=lambda done, total: seen.append((done, total)))
    study = run_plan(plan, ledger=TrialLedger(), jobs=1)
    assert combinatorial(study, SPLITS, jobs=2).frame.equals(one.frame)
    assert seen == [(done, 20) for done in range(1, 21)]


def test_a_plan_that_tunes_is_tuned_in_each_choice_on_its_own_rows(plan):
    tuned = replace(plan, tune=Tune(2, {"strength": (0.001, 1.0, "log")}, folds=2))
    streams = path_signals(tuned, CombinatorialPurged(3, 1), jobs=1)
    (fold, *_) = CombinatorialPurged(3, 1).split(plan.dataset)
    train = plan.dataset.examples.learning(fold.train, fold.test)
    params, _ = tuned.tune.search(tuned.model, train)
    rows = block_rows(plan, CombinatorialPurged(3, 1))[0]
    wanted = tuned.model.with_params(**params).fit(train).predict(plan.dataset.features[rows])
    assert streams[0]["value"].to_numpy()[rows].tolist() == wanted.tolist()


def test_a_rule_and_a_searched_strategy_are_refused_with_what_to_do(plan):
    rule = Plan("rule", plan.bars, BuyAndHold(), plan.splits, plan.venue)
    with pytest.raises(ModelError, match="rule: a rule over bars learns nothing"):
        combinatorial(rule, SPLITS)
    searched = replace(plan, tune_strategy=TuneStrategy(2, {"threshold": (0.5, 0.6)}))
    with pytest.raises(ModelError, match="tune_strategy=None"):
        combinatorial(searched, SPLITS)


def test_the_distribution_in_numbers_and_words(capsys):
    frame = pl.DataFrame({"path": [0, 1, 2, 3, 4], "sharpe": [1.0, -1.0, math.nan, 2.0, 3.0],
                          "total_return": [0.1, -0.1, 0.0, 0.2, 0.3], "max_drawdown": [-0.1] * 5})  # fmt: skip
    paths = Paths(frame, 15)
    assert paths.probability_of_loss == pytest.approx(0.2)
    middle = paths.quantiles.row(2, named=True)
    assert middle == {"level": 0.5, "sharpe": 1.0, "total_return": 0.1, "max_drawdown": -0.1}
    assert paths.quantiles["sharpe"].to_list() == pytest.approx([-0.8, 0.0, 1.0, 2.0, 2.8])
    paths.show()
    said = " ".join(capsys.readouterr().out.split())
    assert "5 paths of 15 fits: Sharpe 1.00 in the middle, -0.80 to 2.80 in nine of ten; 20% of them lost money" in said
