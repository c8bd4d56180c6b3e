"""Walk-forward studies: one stream of signals, one simulation, and evidence that counts every trial."""

import json
import math
from dataclasses import dataclass, replace
from datetime import timedelta

import joblib
import numpy as np
import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.rehearsal import rehearse
from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.walk_forward import Study, walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.market.slice import Slice
from cryptoquant.market.time import to_ns
from cryptoquant.models import Logistic, Vetoed, XGBoost
from cryptoquant.models.bundle import Bundle, code_fingerprint, digest
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

COSTS = Costs.alpaca(8, 1.0)
SPLITS = WalkForward(timedelta(days=60), timedelta(days=20), timedelta(hours=12))
MODEL = XGBoost(n_estimators=12, max_depth=3, seed=5)
STRATEGY = LongFlat(threshold=0.53)
FEATURES = FeatureSet([f.log_return(1), f.zscore("volume", 96), f.ema(48, relative=True)])
LABEL = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=12), volatility_window=24)
TUNE = Tune(trials=2, space={"max_depth": (2, 4)})


def dataset_of(edge: float, days: int = 120) -> Dataset:
    return Dataset.build(SyntheticMarket(seed=3, days=days, timeframe="1h", edge=edge).bars("1h"), FEATURES, LABEL)


def study_of(dataset: Dataset, ledger: TrialLedger | None = None, **changed) -> Study:
    plan = {"model": MODEL, "strategy": STRATEGY, "costs": COSTS, "jobs": 1, "name": "s", "tune": None, **changed}
    return walk_forward(dataset, splits=SPLITS, ledger=ledger or TrialLedger(), **plan)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of(edge=1.0)


@pytest.fixture(scope="module")
def study(dataset) -> Study:
    return study_of(dataset)


def test_the_signals_are_those_of_every_test_row_once(dataset, study):
    tested = np.concatenate([result.fold.test for result in study.folds])
    wanted = dataset.frame[tested]
    assert study.signals.select("symbol", "time", "known").equals(wanted.select("symbol", "time", "known"))
    assert study.signals["value"].to_list() == np.concatenate([r.predicted for r in study.folds]).tolist()
    assert study.signals.select("symbol", "time").is_unique().all()
    assert study.signals["kind"].unique().to_list() == ["probability"]
    assert study.signals["horizon"].unique().to_list() == [timedelta(hours=12)]
    assert len(study.folds) == 3


def test_each_fold_predicts_with_what_its_training_rows_taught(dataset, study):
    for result in study.folds:
        train = dataset.examples.take(result.fold.train)
        predictor = MODEL.fit(train)
        assert np.array_equal(predictor.predict(dataset.features[result.fold.test]), result.predicted)


def test_the_report_is_one_simulation_of_the_stitched_signals(dataset, study):
    start, end = study.folds[0].fold.test_start, study.folds[-1].fold.test_end
    stamps = pl.col("time").dt.epoch("ns")
    bars = dataset.bars.filter((stamps > start) & (stamps <= end))
    alone = simulate(STRATEGY, bars, COSTS, signals=study.signals)
    assert alone.equity.equals(study.report.equity)
    assert alone.fills.equals(study.report.fills)
    before = study.report.equity.filter(pl.col("time").dt.epoch("ns") == study.folds[1].fold.test_start)
    assert before["equity"].item() != 100_000.0
    assert study.report.equity.height == len(np.unique(study.signals["time"]))


def test_the_evidence_and_the_report_say_the_same(study):
    evidence, report = study.evidence, study.report
    daily = report.daily_returns()["return"].to_numpy()
    assert evidence.days == len(daily)
    assert evidence.sharpe == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(365))
    assert evidence.max_drawdown == report.statistics.max_drawdown
    held, ended = dict.fromkeys(report.fills["symbol"].unique(), 0.0), 0
    for symbol, change in report.fills.select("symbol", "quantity_change").iter_rows():
        before, held[symbol] = held[symbol], held[symbol] + change
        ended += abs(held[symbol]) < 1e-9 * abs(before)
    assert evidence.round_trips == ended
    assert 0 < evidence.round_trips <= report.statistics.trades
    assert (evidence.study_trials, evidence.tuning_trials) == (1, 0)
    assert math.isnan(evidence.dsr)
    assert report.dossier.evidence is evidence
    assert report.folds["train_rows"].to_list() == [len(result.fold.train) for result in study.folds]
    assert report.folds["test_end"].to_list()[:-1] == report.folds["test_start"].to_list()[1:]


def test_a_limit_on_strangeness_refuses_in_a_study_what_it_refuses_in_paper_trading(dataset):
    wary = study_of(dataset, model=Vetoed(Logistic(), quantile=1.0, neighbours=50))
    limits = RiskLimits(max_dissimilarity=float(wary.signals["dissimilarity"].quantile(0.7)))
    study = study_of(dataset, model=wary.plan.model, limits=limits)
    refused = study.report.rejections.filter(pl.col("reason").str.starts_with("signal's dissimilarity"))
    assert refused.height > 5
    assert study.report.fills.height > 5
    panel, signals = study.scenario.panel, {}
    for result in study.folds:
        bundle = replace(study.to_bundle("b"), predictor=result.predictor)
        forecaster = bundle.forecaster()
        for row in np.unique(dataset.times[result.fold.test]):
            places = [
                np.flatnonzero((dataset.times == row) & (dataset.frame["symbol"] == one).to_numpy())
                for one in panel.symbols
            ]
            rows = np.array([dataset.features[p[0]] if len(p) else np.full(len(FEATURES), np.nan) for p in places])
            said = forecaster.update(Slice(int(row), int(row), panel.symbols, np.ones((len(panel.symbols), 7))), rows)
            signals[int(row)] = said
    told = [one for said in signals.values() for one in said]
    keyed = {(one.time, one.symbol): one.dissimilarity for one in told}
    frame = study.signals.with_columns(pl.col("time").dt.epoch("ns"))
    assert keyed == {
        (time, symbol): value for time, symbol, value in frame.select("time", "symbol", "dissimilarity").iter_rows()
    }
    engine = Engine(STRATEGY, study.plan.venue, panel.symbols, study.plan.cash, limits=limits, holds=True)
    paper = rehearse(engine, panel, timedelta(hours=1), signals)
    assert [(one.symbol, one.time, one.reason) for one in paper.rejections] == [
        (one.symbol, one.time, one.reason) for one in study.scenario.run().rejections
    ]


def test_signals_of_a_model_that_cannot_tell_have_no_column_for_it(study):
    assert "dissimilarity" not in study.signals.columns


def test_costs_only_take(study):
    end = study.report.equity["equity"].item(-1)
    assert study.before_costs.total_return >= end / 100_000.0 - 1
    assert study.evidence.sharpe_before_costs >= study.evidence.sharpe >= study.evidence.sharpe_double_costs


def test_a_strong_edge_is_found_and_a_fair_game_is_refused(study):
    assert study.evidence.sharpe > 3
    assert study.evidence.psr > 0.95
    fair = study_of(dataset_of(edge=0.0))
    assert fair.folds[0].hit_rate_test < 0.56 < study.folds[0].hit_rate_test
    reasons = Gate().check(fair.evidence)
    assert any("probability of a Sharpe ratio above zero" in reason for reason in reasons)


def test_jobs_and_the_kind_of_workers_change_nothing(dataset):
    one = study_of(dataset, tune=TUNE)
    seen = []
    two = study_of(dataset, tune=TUNE, jobs=2, progress=lambda done, total: seen.append((done, total)))
    with joblib.parallel_config(backend="loky"):
        apart = study_of(dataset, tune=TUNE, jobs=2)
    for other in (two, apart):
        assert one.key == other.key
        assert one.signals.equals(other.signals)
        assert one.report.equity.equals(other.report.equity)
        assert repr(one.evidence) == repr(other.evidence)
        assert [r.trials for r in one.folds] == [r.trials for r in other.folds]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_configuration_is_counted_once_and_from_the_second_on_the_sharpe_ratio_is_deflated(dataset, tmp_path):
    ledger = TrialLedger(tmp_path / "trials.jsonl")
    assert math.isnan(study_of(dataset, ledger).evidence.dsr)
    again = study_of(dataset, ledger)
    assert again.evidence.study_trials == 1
    assert math.isnan(again.evidence.dsr)
    second = study_of(dataset, ledger, strategy=LongFlat(threshold=0.6))
    assert second.evidence.study_trials == 2
    assert 0 <= second.evidence.dsr <= second.evidence.psr
    elsewhere = study_of(dataset, ledger, name="another question")
    assert elsewhere.evidence.study_trials == 1
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["study"] for line in lines] == ["s", "s", "s", "another question"]
    assert len({line["key"] for line in lines}) == 2


def test_tuning_trials_are_kept_and_shown_but_do_not_deflate(dataset):
    ledger = TrialLedger()
    study = study_of(dataset, ledger, tune=TUNE)
    assert study.evidence.tuning_trials == 6 == ledger.tuning_count("s")
    assert study.evidence.study_trials == 1
    assert study.report.folds["trials"].to_list() == [2, 2, 2]
    assert [json.loads(text) for text in study.report.folds["params"]] == [r.params for r in study.folds]


def test_the_key_tells_every_part_of_the_configuration_apart_and_nothing_else(dataset, study):
    def key(**changed) -> str:
        terms = {"model": MODEL, "strategy": STRATEGY, "costs": COSTS, "name": "s", **changed}
        return Plan.of(dataset, splits=SPLITS, **terms).key

    tuned, base = key(tune=TUNE), key()
    assert study.key == base
    assert key(tune=replace(TUNE, space={"max_depth": (2, 4)})) == tuned

    def made():
        return lambda judged, predicted: 0.0

    other_objective = replace(TUNE, objective=made())
    again = replace(TUNE, objective=made())
    assert key(tune=again) == key(tune=other_objective)
    changes = [
        {"tune": other_objective},
        {"model": replace(MODEL, seed=6)},
        {"strategy": LongFlat(threshold=0.54)},
        {"costs": Costs.alpaca(7, 1.0)},
        {"execution": Execution(band=0.1)},
        {"cash": 50_000.0},
    ]
    keys = {key(**change) for change in changes}
    assert len(keys | {base, tuned}) == len(changes) + 2


def test_the_bundle_is_fitted_on_the_last_training_window_and_carries_the_evidence(dataset, study, tmp_path):
    bundle = study.to_bundle("btc-eth")
    window = (dataset.times > dataset.times[-1] - to_ns("1970-03-02")) & ~np.isnan(dataset.rises)
    train = dataset.examples.take(np.flatnonzero(window))
    predictor = MODEL.fit(train)
    assert np.array_equal(bundle.predictor.predict(dataset.features), predictor.predict(dataset.features))
    assert (bundle.symbols, bundle.timeframe, bundle.horizon) == (dataset.symbols, "1h", timedelta(hours=12))
    prints = {"data": dataset.fingerprint, "configuration": study.key, "code": code_fingerprint()}
    assert bundle.fingerprints == prints
    assert bundle.trained_until == train.label_known.max()
    loaded = Bundle.load(bundle.save(tmp_path))
    assert repr(loaded.evidence) == repr(study.evidence)
    assert loaded.costs == COSTS


def test_what_is_tracked_holds_parameters_numbers_folds_report_pictures_and_trials(study):
    record = study.tracked()
    assert record.params["model"] == "XGBoost"
    assert record.params["model.max_depth"] == MODEL.max_depth
    assert record.params["folds"] == 3
    assert record.metrics["psr"] == study.evidence.psr
    assert math.isnan(record.metrics["dsr"])
    assert record.series["fold.hit_rate_test"] == [fold.hit_rate_test for fold in study.folds]
    assert record.data == {"s": study.dataset.fingerprint}
    assert {"report.html", "plots/equity.html", "plots/drawdown.html", "plots/folds.html"} < set(record.files)
    assert all("<html" in text[:200] for name, text in record.files.items() if name.endswith(".html"))
    assert json.loads(record.files["evidence/evidence.json"])["psr"] == study.evidence.psr


def test_the_same_seed_gives_the_same_bundle_to_the_byte(dataset, tmp_path):
    digests = []
    for number in range(2):
        folder = study_of(dataset).to_bundle("m").save(tmp_path / str(number))
        digests.append({path.name: digest(path) for path in folder.iterdir()})
    assert digests[0] == digests[1]
    other = study_of(dataset, model=replace(MODEL, seed=6)).to_bundle("m").save(tmp_path / "other")
    assert digest(other / "bundle.json") != digests[0]["bundle.json"]


def test_a_linear_model_goes_the_same_way(dataset):
    assert study_of(dataset, model=Logistic()).evidence.sharpe > 1


def test_a_strategy_whose_parameters_cannot_be_told_is_refused_before_anything_runs(dataset):
    class Loose:
        lookback = 1

        def decide(self, view):
            return {}

    def never(done, total):
        raise AssertionError("a fold was fitted")

    with pytest.raises(TypeError, match="frozen dataclass"):
        study_of(dataset, strategy=Loose(), progress=never)


def test_settings_of_a_strategy_of_ones_own_are_written_to_the_ledger(dataset, tmp_path):
    @dataclass(frozen=True)
    class Patient:
        wait: timedelta = timedelta(hours=3)
        lookback: int = 1

        def decide(self, view):
            return {"BTC/USD": 0.5}

    ledger = TrialLedger(tmp_path / "trials.jsonl")
    study_of(dataset, ledger, strategy=Patient())
    assert ledger.study_trials("s")[0].settings["strategy"]["parameters"]["wait"] == {"seconds": 10800.0}
