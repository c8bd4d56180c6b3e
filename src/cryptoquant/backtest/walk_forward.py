"""Walk-forward studies: learn from the past of each fold, trade what follows, and judge all folds as one run."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.backtest.checkpoints import Checkpoints
from cryptoquant.backtest.evidence import judge
from cryptoquant.backtest.learning import FoldResult, Learner, Retraining, fit_fold, keys_of, signal_frame
from cryptoquant.backtest.papers import barriers_of, importance_of, quality_of
from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.backtest.study import Study, fingerprints
from cryptoquant.market.schema import SIGNALS
from cryptoquant.models.examples import UNKNOWN
from cryptoquant.models.model import Predictor
from cryptoquant.models.splits import Fold, WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import drawdowns, sharpe_ratio
from cryptoquant.performance.progress import bar
from cryptoquant.performance.report import Report
from cryptoquant.performance.trials import StudyTrial, TrialLedger
from cryptoquant.settings import settings
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.strategy.succession import Succession
from cryptoquant.trading.venue import Costs, Venue

__all__ = ["FoldResult", "Progress", "Study", "fit_fold", "run_plan", "walk_forward"]

Progress = Callable[[int, int], None]
DAYS_PER_YEAR = 365
# Two bars in a hundred are missing where a study is asked whether it can do without some.
MISSING_SHARE = 0.02


def walk_forward(
    dataset: Any,
    model: Any,
    strategy: Strategy,
    splits: WalkForward,
    costs: Costs | None = None,
    tune: Tune | None = None,
    *,
    name: str = "study",
    cash: float = 100_000.0,
    execution: Execution | None = None,
    limits: RiskLimits | None = None,
    venue: Venue | None = None,
    tune_strategy: TuneStrategy | None = None,
    retraining: Retraining | None = None,
    ledger: TrialLedger | None = None,
    jobs: int | None = None,
    progress: Progress | bool = False,
    resume: str | Path | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Judge a model and a strategy, or a rule over bars, on what they had not seen.

    For each fold: tune inside its training rows, fit, settle the strategy's parameters, predict the test rows. The
    predictions of all folds become one stream of signals, traded in one simulation, so that cash, positions and fees
    carry over the borders of folds.

    Parameters
    ----------
    dataset
        A Dataset; for a rule over bars a frame of bars (schema ``bars``, polars or pandas) of one timeframe.
    model
        A model of ``cryptoquant.models``, or any classifier or regressor of scikit-learn as it is; None for a rule.
    tune, tune_strategy
        The search for parameters of the model, and of the strategy or rule, in each fold.
    venue
        Rules; by default Alpaca's. ``costs`` is part of it: give one of the two.
    retraining
        In which folds the model is fitted and parameters are searched; by default in all.
    ledger
        Where trials are counted; by default the file of the settings (``CQ_TRIALS``).
    jobs
        Folds learned side by side; -1 uses every core. A ``joblib.parallel_config`` around the call sends them to
        processes or to a cluster of Ray or Dask. The result does not depend on it.
    progress
        Called with folds done and folds in total; or True for a bar with the time that is left.
    resume
        A folder in which folds that are done are kept: a study that was killed goes on there.
    notes
        Facts worth saying at the head of the report.
    """
    plan = Plan.of(
        dataset,
        model,
        strategy,
        splits,
        costs,
        tune,
        name=name,
        cash=cash,
        execution=execution,
        limits=limits,
        venue=venue,
        tune_strategy=tune_strategy,
        retraining=retraining,
    )
    study = run_plan(plan, ledger=ledger, jobs=jobs, progress=progress, resume=resume)
    told = (notes,) if isinstance(notes, str) else tuple(notes)
    return replace(study, report=replace(study.report, notes=told))


def run_plan(
    plan: Plan,
    *,
    ledger: TrialLedger | None = None,
    jobs: int | None = None,
    progress: Progress | bool = False,
    resume: str | Path | None = None,
) -> Study:
    """Run a plan; parameters as of ``walk_forward``."""
    if ledger is not None and not isinstance(ledger, TrialLedger):
        raise TypeError(f"ledger: wanted TrialLedger, found {ledger!r}")
    results = _learned(plan, jobs, progress, resume)
    predictor, trained_until = _deployed(plan, results[-1])
    signals = _signals(plan, results, predictor)
    scenario = replace(
        plan.scenario,
        strategy=_strategy(plan, results),
        signals=None if plan.model is None else signals,
    )
    report = scenario.report()
    book = ledger if ledger is not None else TrialLedger(settings().trials)
    _count(plan, results, report, book)
    free, evidence = _judged(plan, results, scenario, report, book)
    papers = Dossier(
        evidence,
        free.statistics,
        importance=importance_of(plan, results),
        quality=quality_of(scenario.panel),
        barriers=barriers_of(plan, report),
        fingerprints=fingerprints(plan),
    )
    return Study(
        plan=plan,
        folds=results,
        signals=signals,
        scenario=scenario,
        report=replace(report, folds=_fold_table(plan, results, report), dossier=papers),
        before_costs=free.statistics,
        evidence=evidence,
        predictor=predictor,
        trained_until=trained_until,
    )


def _learned(plan: Plan, jobs: int | None, progress: Progress | bool, resume: str | Path | None) -> list[FoldResult]:
    """Learn the eras side by side, in threads unless a joblib configuration says otherwise: fits release the lock."""
    kept = None if resume is None else Checkpoints(resume, plan)
    done = {place: kept.read(era) for place, era in enumerate(plan.eras)} if kept is not None else {}
    waiting = [era for place, era in enumerate(plan.eras) if done.get(place) is None]
    results = [result for era in done.values() if era is not None for result in era]
    with ExitStack() as stack:
        tell = stack.enter_context(bar("folds")) if progress is True else progress or _silent
        if results:
            tell(len(results), len(plan.folds))
        learner = plan.learner() if waiting else None
        for era in side_by_side(_learn, ((learner, era) for era in waiting), jobs):
            if kept is not None:
                kept.write(era)
            results += era
            tell(len(results), len(plan.folds))
    return sorted(results, key=lambda result: result.fold.number)


def _learn(learner: Learner, era: Sequence[Fold]) -> list[FoldResult]:
    return learner.learn(era)


def _silent(done: int, total: int) -> None:
    return


def _deployed(plan: Plan, last: FoldResult) -> tuple[Predictor | None, int]:
    """Fit on the last window of the data with the parameters of the last fold; return when its last label was known."""
    if plan.dataset is None or plan.model is None:
        return None, 0
    examples, times = plan.dataset.examples, plan.dataset.times
    rows = (times > plan.splits.last_window(times)) & (examples.label_known < UNKNOWN)
    train = examples.take(np.flatnonzero(rows))
    return plan.model.with_params(**last.params).fit(train), int(train.label_known.max())


def _strategy(plan: Plan, results: list[FoldResult]) -> Strategy:
    """Return the strategy of all folds: one, or each fold's own in turn."""
    if plan.tune_strategy is None:
        return plan.strategy
    chosen = tuple(result.strategy or plan.strategy for result in results)
    return Succession(chosen, tuple(result.fold.test_start for result in results))


def _signals(plan: Plan, results: list[FoldResult], predictor: Predictor | None) -> pl.DataFrame:
    if plan.dataset is None or predictor is None:
        return pl.DataFrame(schema=SIGNALS)
    rows = np.concatenate([result.fold.test for result in results])
    said = np.concatenate([result.said for result in results], axis=1)
    return signal_frame(keys_of(plan.dataset)[rows], said, plan.name, predictor.kind, plan.dataset.horizon)


def _count(plan: Plan, results: list[FoldResult], report: Report, book: TrialLedger) -> None:
    """Write the study trial and the tuning trials into the ledger."""
    daily = report.daily_returns()
    times, returns = daily["time"].dt.epoch("ns").to_numpy(), daily["return"].to_numpy()
    book.add_study_trial(StudyTrial(plan.name, plan.key, times, returns, plan.chosen))
    for result in results:
        tried = [*result.trials, *({**trial, "of": "strategy"} for trial in result.strategy_trials)]
        if tried:
            book.add_tuning_trials(plan.name, plan.key, result.fold.number, tried)


def _judged(
    plan: Plan, results: list[FoldResult], scenario: Scenario, report: Report, book: TrialLedger
) -> tuple[Report, Evidence]:
    """Return the run traded free, and the evidence with what a few other assumptions make of the same decisions."""
    free, double = scenario.at_costs(0.0).report(), scenario.at_costs(2.0).report()
    rates = [
        [getattr(result, name) for result in results if not np.isnan(getattr(result, name))]
        for name in ("hit_rate_train", "hit_rate_test")
    ]
    evidence = replace(
        judge(report, free, double, book, plan.name),
        sharpe_triple_costs=_daily_sharpe(scenario.at_costs(3.0)),
        sharpe_delayed=_daily_sharpe(scenario.delayed(1)),
        sharpe_missing_bars=_daily_sharpe(scenario.without_bars(MISSING_SHARE, seed=0)),
        hit_rate_train=float(np.mean(rates[0])) if rates[0] else np.nan,
        hit_rate_test=float(np.mean(rates[1])) if rates[1] else np.nan,
        sharpe_train=_sharpe_train(plan, results),
    )
    return free, evidence


def _sharpe_train(plan: Plan, results: list[FoldResult]) -> float:
    """Return the mean Sharpe ratio that the folds' searches chose by; NaN where they chose by another number."""
    if plan.tune_strategy is None or plan.tune_strategy.metric != "sharpe":
        return np.nan
    chosen = [
        -min(float(trial["loss"]) for trial in result.strategy_trials if trial["state"] == "COMPLETE")
        for result in results
        if result.strategy_trials
    ]
    return float(np.mean(chosen)) if chosen else np.nan


def _daily_sharpe(scenario: Scenario) -> float:
    return sharpe_ratio(scenario.report().daily_returns()["return"].to_numpy(), DAYS_PER_YEAR)


def _fold_table(plan: Plan, results: list[FoldResult], report: Report) -> pl.DataFrame:
    """Return one row for each fold: its spans, what was chosen, and what the stitched run made of its test."""
    rows = [
        {
            "fold": result.fold.number,
            "train_start": _close(plan, result.fold.train[0]),
            "train_end": _close(plan, result.fold.train[-1]),
            "test_start": result.fold.test_start,
            "test_end": result.fold.test_end,
            "train_rows": len(result.fold.train),
            "test_rows": len(result.fold.test),
            "hit_rate_train": result.hit_rate_train,
            "hit_rate_test": result.hit_rate_test,
            **_part(report, result.fold),
            "trials": len(result.trials) + len(result.strategy_trials),
            "params": json.dumps({**result.params, **result.strategy_params}, sort_keys=True),
            "seconds": result.seconds,
        }
        for result in results
    ]
    stamps = ("train_start", "train_end", "test_start", "test_end")
    return pl.DataFrame(rows).with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in stamps)


def _close(plan: Plan, row: int) -> int:
    times = plan.panel.times if plan.dataset is None else plan.dataset.times
    return int(times[row])


def _part(report: Report, fold: Fold) -> dict[str, float]:
    """Return return, Sharpe ratio (annual, by daily returns), drawdown and fees of one fold in the stitched run."""
    stamps = pl.col("time").dt.epoch("ns")
    inside = stamps.is_between(fold.test_start, fold.test_end, closed="right")
    part, before = report.equity.filter(inside), report.equity.filter(stamps <= fold.test_start)
    start = before["equity"].item(-1) if before.height else report.initial
    days = report.daily_returns().filter(inside)["return"].to_numpy()
    curve = part["equity"].to_numpy()
    return {
        "return": float(curve[-1] / start - 1.0) if len(curve) else np.nan,
        "sharpe": sharpe_ratio(days, DAYS_PER_YEAR) if len(days) > 1 else np.nan,
        "max_drawdown": float(drawdowns(curve, start).min(initial=0.0)),
        "fees": float(report.fills.filter(inside)["fee"].sum()),
    }
