"""A rule walked forward: its parameters are those that did best in the training window, and no later bar moves them."""

import itertools
import json
import math
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.learning import Retraining
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.strategy_search import TuneStrategy, strategy_params, with_strategy_params
from cryptoquant.backtest.walk_forward import Study, walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ModelError
from cryptoquant.market.slice import Panel
from cryptoquant.models import Logistic
from cryptoquant.models.splits import PurgedKFold, WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import LongFlat, Momentum, MovingAverageCross, VolatilityScaled, Voting
from cryptoquant.trading.venue import Costs, Venue

BARS = SyntheticMarket(seed=9, symbols=["BTC/USD"], days=80, timeframe="1h").bars()
SPLITS = WalkForward(timedelta(days=30), timedelta(days=10))
RULE = Momentum(window=24)
SEARCH = TuneStrategy(trials=9, space={"window": [6, 12, 24], "threshold": [0.0, 0.01, 0.02]}, sampler="random", seed=1)


def study_of(bars=BARS, rule=RULE, ledger=None, **changed) -> Study:
    plan = {"tune_strategy": SEARCH, "jobs": 1, "name": "rule", **changed}
    return walk_forward(bars, None, rule, SPLITS, Costs.alpaca(), ledger=ledger or TrialLedger(), **plan)


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of()


def test_each_fold_takes_the_candidate_with_the_best_sharpe_ratio_of_its_training_window(study):
    panel = Panel.from_frame(BARS)
    for result in study.folds:
        start, end = int(panel.times[result.fold.train[0]]) - 1, int(panel.times[result.fold.train[-1]])
        best = {}
        for trial in result.strategy_trials:
            rule = replace(RULE, **trial["params"])
            one = Scenario("x", panel, start, end, rule, study.plan.venue, Execution(), 100_000.0)
            sharpe = one.report().statistics.sharpe
            best[json.dumps(trial["params"])] = 0.0 if math.isnan(sharpe) else sharpe
            assert trial["loss"] == pytest.approx(-best[json.dumps(trial["params"])], rel=1e-9)
        assert len(result.strategy_trials) == 9
        assert best[json.dumps(result.strategy_params)] == max(best.values())
        assert result.strategy == replace(RULE, **result.strategy_params)


def test_the_sharpe_ratio_in_training_is_that_of_what_each_search_chose(study):
    chosen = [max(-trial["loss"] for trial in result.strategy_trials) for result in study.folds]
    assert study.evidence.sharpe_train == pytest.approx(np.mean(chosen))
    rare = study_of(retraining=Retraining(tune=3))
    searched = [max(-trial["loss"] for trial in rare.folds[place].strategy_trials) for place in (0, 3)]
    assert rare.evidence.sharpe_train == pytest.approx(np.mean(searched))
    assert math.isnan(study_of(tune_strategy=replace(SEARCH, metric="sortino")).evidence.sharpe_train)
    assert math.isnan(study_of(tune_strategy=None).evidence.sharpe_train)


def test_the_training_window_ends_where_the_test_begins(study):
    for result in study.folds:
        times = Panel.from_frame(BARS).times
        assert times[result.fold.train[-1]] == result.fold.test_start < times[result.fold.test[0]]


def test_later_bars_change_no_earlier_fold(study):
    border = study.folds[2].fold.test_start
    later = pl.col("time").dt.epoch("ns") > border
    prices = ["open", "high", "low", "close", "vwap"]
    altered = BARS.with_columns(pl.when(later).then(pl.col(name) * 3.0).otherwise(pl.col(name)) for name in prices)
    other = study_of(altered)
    for one, two in zip(study.folds[:3], other.folds[:3], strict=True):
        assert one.strategy_params == two.strategy_params
        assert one.strategy_trials == two.strategy_trials
    before = pl.col("time").dt.epoch("ns") <= border
    assert study.report.equity.filter(before)["equity"].equals(other.report.equity.filter(before)["equity"])
    assert not study.report.equity["equity"].equals(other.report.equity["equity"])


def test_the_report_is_one_run_of_the_folds_rules_in_turn(study):
    fills = study.report.fills
    assert len({result.strategy for result in study.folds}) > 1
    alone = [study.fold_report(result.fold.number) for result in study.folds]
    assert [report.initial for report in alone] == [100_000.0] * len(alone)
    assert sum(report.statistics.periods for report in alone) == study.report.statistics.periods
    assert fills.height > 5
    growth = np.prod([1.0 + share for share in study.report.folds["return"]])
    assert growth == pytest.approx(1.0 + study.report.statistics.total_return, rel=1e-12)
    assert study.report.folds["fees"].sum() == pytest.approx(study.report.statistics.fees)
    assert study.report.folds["max_drawdown"].min() >= study.report.statistics.max_drawdown


def test_a_rule_without_a_search_is_itself_all_along():
    study = study_of(tune_strategy=None)
    assert study.scenario.strategy is RULE
    assert study.evidence.tuning_trials == 0
    assert math.isnan(study.evidence.hit_rate_test)
    assert study.signals.is_empty()


def test_trials_are_counted_and_a_search_is_part_of_the_key(study):
    ledger = TrialLedger()
    again = study_of(ledger=ledger)
    assert again.evidence.tuning_trials == 9 * len(study.folds) == ledger.tuning_count("rule")
    assert {trial["of"] for trial in ledger.tuning_trials("rule")} == {"strategy"}
    assert again.key == study.key
    keys = {study.key, study_of(tune_strategy=None).key, study_of(tune_strategy=replace(SEARCH, seed=2)).key}
    keys |= {study_of(retraining=Retraining(tune=2)).key, study_of(BARS.head(1800)).key}
    assert len(keys) == 5


def test_parameters_are_searched_in_every_so_many_folds():
    study = study_of(retraining=Retraining(tune=3))
    counts = [len(result.strategy_trials) for result in study.folds]
    assert counts == [9, 0, 0, 9, 0]
    chosen = [result.strategy_params for result in study.folds]
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[3] == chosen[4]


def test_a_candidate_that_the_rule_refuses_is_a_failed_trial():
    crossing = TuneStrategy(trials=12, space={"fast": (5, 40), "slow": (10, 60)}, sampler="random")
    study = study_of(rule=MovingAverageCross(fast=10, slow=50), tune_strategy=crossing)
    states = [trial["state"] for trial in study.folds[0].strategy_trials]
    assert set(states) == {"COMPLETE", "FAIL"}
    errors = [trial["error"] for trial in study.folds[0].strategy_trials if trial["state"] == "FAIL"]
    assert all("slow" in error for error in errors)


def test_a_search_that_only_fails_says_so():
    impossible = TuneStrategy(trials=2, space={"fast": (50, 60), "slow": (10, 20)})
    with pytest.raises(ModelError, match="all 2 tuning trials failed"):
        study_of(rule=MovingAverageCross(fast=10, slow=50), tune_strategy=impossible)


def test_members_have_parameters_too():
    whole = VolatilityScaled(Momentum(window=24), volatility=0.2)
    assert strategy_params(whole)["strategy__window"] == 24
    changed = with_strategy_params(whole, {"strategy__window": 48, "volatility": 0.3})
    assert (changed.strategy.window, changed.volatility) == (48, 0.3)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="LongFlat reads signals: give a dataset and a model"):
        study_of(rule=LongFlat(), tune_strategy=None)
    with pytest.raises(ValueError, match="for a rule give tune_strategy"):
        study_of(tune=Tune(trials=1, space={"x": (0.0, 1.0)}))
    with pytest.raises(TypeError, match="a model learns from a Dataset, found DataFrame"):
        walk_forward(BARS, Logistic(), LongFlat(), SPLITS, ledger=TrialLedger())
    with pytest.raises(ValueError, match=r"Momentum has no slow; it has window"):
        study_of(tune_strategy=TuneStrategy(trials=1, space={"slow": (1, 2)}))
    with pytest.raises(ValueError, match="metric must be"):
        TuneStrategy(space={"window": (1, 2)}, metric="luck")
    for fit, tune in ((0, None), (2, 3), (1, 0)):
        with pytest.raises(ValueError, match="tune a multiple of it"):
            Retraining(fit, tune)


def test_a_rule_is_no_bundle(study):
    with pytest.raises(ModelError, match="has no predictor to keep"):
        study.to_bundle("x")
    with pytest.raises(ModelError, match="learns from no dataset"):
        _ = study.dataset
    record = study.tracked()
    assert record.params["folds"] == len(study.folds)
    assert "model" not in record.params
    assert record.params["last_fold.window"] == study.folds[-1].strategy_params["window"]


def test_pandas_and_another_venue_are_taken():
    study = study_of(BARS.to_pandas(), venue=Venue.research(Costs.alpaca()), rule=Momentum(24, allows_short=True))
    assert study.report.fills["side"].n_unique() == 2
    assert study.key != study_of(rule=Momentum(24, allows_short=True)).key


def test_the_metric_decides():
    found = {}
    for metric in ("sharpe", "total_return"):
        study = study_of(tune_strategy=replace(SEARCH, metric=metric))
        found[metric] = [trial["loss"] for trial in study.folds[0].strategy_trials]
    assert all(one != two for one, two in zip(*found.values(), strict=True) if one)
    assert list(itertools.chain(*found.values()))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"cash": -5.0}, ValueError, "cash must be above zero and finite, found -5.0"),
        ({"cash": math.inf}, ValueError, "cash must be above zero"),
        ({"tune_strategy": {"window": (1, 2)}}, TypeError, "tune_strategy: wanted TuneStrategy, found {'window'"),
        ({"retraining": 2}, TypeError, "retraining: wanted Retraining, found 2"),
        ({"execution": "fast"}, TypeError, "execution: wanted Execution, found 'fast'"),
        ({"limits": 3}, TypeError, "limits: wanted RiskLimits, found 3"),
        ({"name": None}, TypeError, "name: wanted a text, found ''"),
        ({"name": 5}, TypeError, "name: wanted a text, found 5"),
        ({"rule": Momentum}, TypeError, "strategy: wanted a strategy, found <class"),
        ({"ledger": "trials.jsonl"}, TypeError, "ledger: wanted TrialLedger, found 'trials.jsonl'"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_learned(change, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        study_of(**change)


def test_cuts_that_are_no_walk_forward_and_costs_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"splits: wanted WalkForward, found PurgedKFold\(folds=4"):
        walk_forward(BARS, None, RULE, PurgedKFold(4), ledger=TrialLedger())
    with pytest.raises(TypeError, match="costs: wanted Costs, found 10"):
        walk_forward(BARS, None, RULE, SPLITS, 10, ledger=TrialLedger())
    with pytest.raises(TypeError, match="fit and tune count folds"):
        Retraining(1.5)


def test_one_note_is_one_paragraph():
    assert study_of(notes="said once", tune_strategy=None).report.notes == ("said once",)


def test_members_of_a_composition_are_searched():
    both = Voting((Momentum(24), MovingAverageCross(fast=6, slow=48)))
    search = TuneStrategy(trials=3, space={"strategies__0__window": (6, 48), "strategies__1__fast": [4, 8]})
    study = study_of(rule=both, tune_strategy=search)
    first = study.folds[0]
    assert first.strategy.strategies[0].window == first.strategy_params["strategies__0__window"]
    assert first.strategy.strategies[1].fast in (4, 8)
    assert first.strategy.strategies[1].slow == 48


def test_a_space_that_the_rule_cannot_take_says_so():
    with pytest.raises(ValueError, match="window is a whole number: wanted a range of whole numbers"):
        study_of(tune_strategy=TuneStrategy(trials=2, space={"window": (2.0, 6.0)}))
    with pytest.raises(ModelError, match="all 2 tuning trials failed"):
        study_of(tune_strategy=TuneStrategy(trials=2, space={"window": ["a", "b"]}))
    with pytest.raises(ValueError, match=r"trials: wanted at least one, found 1\.5"):
        TuneStrategy(trials=1.5, space={"window": (1, 2)})
    with pytest.raises(ValueError, match="window: a choice is a number, a text"):
        TuneStrategy(trials=1, space={"window": [timedelta(1)]})
