"""Walk-forward studies: fit on the past of each fold, predict what follows, and trade all folds in one simulation."""

import hashlib
import json
import time as clock
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.evidence import judge
from cryptoquant.backtest.simulator import describe, report_of, signal_rows
from cryptoquant.errors import ModelError
from cryptoquant.market.schema import SIGNALS
from cryptoquant.market.signal import SignalKind
from cryptoquant.market.slice import Panel
from cryptoquant.models.bundle import Bundle, code_fingerprint, strategy_to_dict
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import UNKNOWN, Examples
from cryptoquant.models.identity import identity
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.run_record import RunRecord
from cryptoquant.models.splits import Fold, WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.models.windows import predict_rows
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.page import page_text, picture_pages
from cryptoquant.performance.report import Report
from cryptoquant.performance.trials import StudyTrial, TrialLedger, strict_json
from cryptoquant.settings import settings
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs, Venue

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
# How many of the latest training rows are predicted to see how far the fit lies above what follows.
MOST_TRAIN_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What one fold learned and how well it did on its own training rows and out of sample."""

    fold: Fold
    params: dict[str, Any]
    trials: list[dict[str, Any]]
    predicted: Floats
    hit_rate_train: float
    hit_rate_test: float
    seconds: float


@dataclass(frozen=True, slots=True, repr=False)
class Study:
    """A walk-forward study: its report, its evidence and the bundle that it would deploy.

    Attributes
    ----------
    report
        Of one simulation over the stitched out-of-sample signals.
    evidence
        What speaks for it, deflated by all study trials of the ledger.
    folds
        Results by fold, oldest first.
    signals
        Out-of-sample signals (schema ``signals``).
    before_costs
        Statistics of the same signals traded free.
    """

    name: str
    dataset: Dataset
    model: Model
    strategy: Strategy
    splits: WalkForward
    venue: Venue
    execution: Execution
    predictor: Predictor
    folds: list[FoldResult]
    signals: pl.DataFrame
    report: Report
    before_costs: Statistics
    evidence: Evidence
    key: str
    trained_until: int

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {len(self.folds)} folds, Sharpe {self.evidence.sharpe:.2f}, {self.report!r})"

    def to_bundle(self, name: str) -> Bundle:
        """Return what would be deployed: the predictor fitted on the last training window, with its evidence."""
        return Bundle(
            name=name,
            symbols=self.dataset.symbols,
            timeframe=self.dataset.timeframe,
            predictor=self.predictor,
            features=self.dataset.feature_set,
            strategy=self.strategy,
            execution=self.execution,
            costs=self.venue.costs,
            horizon=self.dataset.horizon,
            evidence=self.evidence,
            fingerprints={"data": self.dataset.fingerprint, "configuration": self.key, "code": code_fingerprint()},
            study=self.name,
            chosen=self.dataset.chosen,
            trained_until=self.trained_until,
            learner={
                "name": type(self.model).__name__,
                "parameters": self.model.with_params(**self.folds[-1].params).get_params(),
            },
        )

    def tracked(self) -> RunRecord:
        """Return what MLflow shows of the study: parameters, numbers, folds as steps, report, pictures and trials."""
        params = {
            "model": type(self.model).__name__,
            **{f"model.{name}": value for name, value in self.model.get_params().items()},
            "strategy": describe(self.strategy),
            "features": ", ".join(self.dataset.names),
            "label": json.dumps(self.dataset.label.to_dict(), sort_keys=True),
            "folds": len(self.folds),
            "train": str(self.splits.train),
            "test": str(self.splits.test),
            "embargo": str(self.splits.embargo),
            **{f"costs.{name}": value for name, value in asdict(self.venue.costs).items()},
            **{f"last_fold.{name}": value for name, value in self.folds[-1].params.items()},
        }
        numbers = {**self.report.statistics.to_dict(), **self.evidence.to_dict()}
        return RunRecord(
            params=params,
            metrics={name: float(value) for name, value in numbers.items() if not isinstance(value, str)},
            series={
                "fold.hit_rate_train": [result.hit_rate_train for result in self.folds],
                "fold.hit_rate_test": [result.hit_rate_test for result in self.folds],
                "fold.seconds": [result.seconds for result in self.folds],
            },
            data={self.name: self.dataset.fingerprint},
            files={
                "report.html": page_text(self.report),
                "evidence/evidence.json": json.dumps(self.evidence.to_json(), indent=1),
                "evidence/tuning_trials.json": json.dumps(
                    strict_json([{"fold": result.fold.number, "trials": result.trials} for result in self.folds])
                ),
                **{f"plots/{name}.html": text for name, text in picture_pages(self.report).items()},
            },
        )


def walk_forward(
    dataset: Dataset,
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
    ledger: TrialLedger | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    notes: tuple[str, ...] = (),
) -> Study:
    """Judge a model and a strategy on what they had not seen.

    For each fold: tune inside its training rows, fit, predict its test rows. The predictions of all folds become one
    stream of signals, traded in one simulation, so that cash, positions and fees carry over the borders of folds.

    Parameters
    ----------
    model
        A model of ``cryptoquant.models``, or any classifier or regressor of scikit-learn as it is.
    ledger
        Where trials are counted; by default the file of the settings (``CQ_TRIALS``).
    jobs
        Folds fitted side by side; -1 uses every core. The result does not depend on it.
    progress
        Called with folds done and folds in total.
    notes
        Facts worth saying at the head of the report.
    """
    strategy_to_dict(strategy)
    model = as_model(model)
    folds, examples = splits.split(dataset), dataset.examples
    results = _run_folds(examples, model, tune, folds, jobs, progress)
    predictor, trained_until = _deployed(examples, model, splits, results[-1].params)
    signals = _signals(dataset, results, name, predictor.kind)
    venue, plan = Venue.alpaca(costs), execution or Execution()
    panel = Panel.from_frame(dataset.bars).between(folds[0].test_start, folds[-1].test_end)
    rows = signal_rows(signals, panel)

    def trade(rules: Venue) -> Report:
        engine = Engine(strategy, rules, panel.symbols, cash, execution=plan, limits=limits)
        return report_of(name, drive(engine, panel, rows), panel, rules, cash, signals=signals)

    report = trade(venue)
    book = ledger if ledger is not None else TrialLedger(settings().trials)
    chosen = _chosen(dataset, (model, tune, splits), (strategy, plan, venue, limits, cash))
    key = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
    daily = report.daily_returns()
    book.add_study_trial(
        StudyTrial(name, key, daily["time"].dt.epoch("ns").to_numpy(), daily["return"].to_numpy(), chosen)
    )
    for result in results:
        if result.trials:
            book.add_tuning_trials(name, key, result.fold.number, result.trials)
    free, dear = trade(Venue.alpaca(Costs.free())), trade(Venue.alpaca(venue.costs.scaled(2.0)))
    evidence = judge(report, free, dear, book, name)
    return Study(
        name=name,
        dataset=dataset,
        model=model,
        strategy=strategy,
        splits=splits,
        venue=venue,
        execution=plan,
        predictor=predictor,
        folds=results,
        signals=signals,
        report=replace(_told(report, results, free, evidence), notes=notes),
        before_costs=free.statistics,
        evidence=evidence,
        key=key,
        trained_until=trained_until,
    )


def fit_fold(examples: Examples, model: Model, tune: Tune | None, fold: Fold) -> FoldResult:
    """Tune and fit on the training rows of one fold; predict its test rows. Test rows are read for prediction only."""
    started = clock.perf_counter()
    train = examples.learning(fold.train, fold.test)
    params, trials = ({}, []) if tune is None else tune.search(model, train)
    try:
        predictor = model.with_params(**params).fit(train)
    except ModelError as error:
        raise ModelError(f"fold {fold.number}: {error}") from error
    predicted = predict_rows(predictor, examples, fold.test)
    latest = np.arange(max(0, len(train) - MOST_TRAIN_ROWS), len(train))
    return FoldResult(
        fold=fold,
        params=params,
        trials=trials,
        predicted=predicted,
        hit_rate_train=_hit_rate(predict_rows(predictor, train, latest), train.rises[latest], predictor.kind),
        hit_rate_test=_hit_rate(predicted, examples.rises[fold.test], predictor.kind),
        seconds=clock.perf_counter() - started,
    )


def _run_folds(
    examples: Examples, model: Model, tune: Tune | None, folds: list[Fold], jobs: int | None, progress: Progress | None
) -> list[FoldResult]:
    """Fit the folds side by side, in threads unless a joblib configuration says otherwise: fits release the lock."""
    from joblib import Parallel, delayed

    workers = settings().jobs if jobs is None else jobs
    tasks = (delayed(fit_fold)(examples, model, tune, fold) for fold in folds)
    results = []
    for result in Parallel(n_jobs=workers, prefer="threads", return_as="generator")(tasks):
        results.append(result)
        if progress is not None:
            progress(len(results), len(folds))
    return results


def _deployed(examples: Examples, model: Model, splits: WalkForward, params: dict[str, Any]) -> tuple[Predictor, int]:
    """Fit on the last window of the data with the parameters of the last fold; return when its last label was known."""
    times = examples.times
    train = examples.take(np.flatnonzero((times > splits.last_window(times)) & (examples.label_known < UNKNOWN)))
    return model.with_params(**params).fit(train), int(train.label_known.max())


def _signals(dataset: Dataset, results: list[FoldResult], name: str, kind: str) -> pl.DataFrame:
    rows = np.concatenate([result.fold.test for result in results])
    values = np.concatenate([result.predicted for result in results])
    said = np.isfinite(values)
    rows, values = rows[said], values[said]
    frame: pl.DataFrame = dataset.frame[rows]
    return (
        frame.select("symbol", "time", "known")
        .with_columns(
            name=pl.lit(name),
            kind=pl.lit(kind),
            value=pl.Series(values),
            horizon=pl.lit(dataset.horizon).cast(pl.Duration("ns")),
        )
        .select(*SIGNALS)
    )


def _chosen(dataset: Dataset, learning: tuple[Any, ...], trading: tuple[Any, ...]) -> dict[str, Any]:
    """Return the whole configuration as plain JSON values, the same in every process."""
    model, tune, splits = learning
    strategy, plan, venue, limits, cash = trading
    chosen = {
        "data": dataset.fingerprint,
        "model": [type(model).__name__, model.get_params()],
        "tune": None if tune is None else tune.to_dict(),
        "splits": asdict(splits),
        "strategy": strategy_to_dict(strategy),
        "execution": plan.to_dict(),
        "costs": asdict(venue.costs),
        "limits": None if limits is None else asdict(limits),
        "cash": cash,
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity(chosen), sort_keys=True))
    return plain


def _told(report: Report, results: list[FoldResult], free: Report, evidence: Evidence) -> Report:
    """Return the report with its folds and the evidence in words."""
    folds = pl.DataFrame(
        {
            "fold": [r.fold.number for r in results],
            "test_start": [r.fold.test_start for r in results],
            "test_end": [r.fold.test_end for r in results],
            "train_rows": [len(r.fold.train) for r in results],
            "test_rows": [len(r.fold.test) for r in results],
            "hit_rate_train": [r.hit_rate_train for r in results],
            "hit_rate_test": [r.hit_rate_test for r in results],
            "trials": [len(r.trials) for r in results],
            "params": [json.dumps(r.params, sort_keys=True) for r in results],
            "seconds": [r.seconds for r in results],
        }
    ).with_columns(pl.from_epoch(c, "ns").dt.replace_time_zone("UTC") for c in ("test_start", "test_end"))
    return replace(report, folds=folds, dossier=Dossier(evidence, free.statistics))


def _hit_rate(predicted: Floats, rises: Floats, kind: SignalKind) -> float:
    """Return how often the side came true: a probability above one half, any other prediction above zero."""
    border = 0.5 if kind == "probability" else 0.0
    known = ~np.isnan(rises) & ~np.isnan(predicted)
    return float(((predicted > border) == (rises > 0.5))[known].mean()) if known.any() else float("nan")
