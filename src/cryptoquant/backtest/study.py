"""What a walk-forward study found: its report, its evidence, and what it would deploy."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.backtest.learning import FoldResult, keys_of, said_of, signal_frame
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.simulator import describe
from cryptoquant.errors import ModelError
from cryptoquant.market.slice import Panel
from cryptoquant.models.bundle import Bundle, code_fingerprint
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.model import Predictor
from cryptoquant.models.run_record import RunRecord
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.page import page_text, picture_pages
from cryptoquant.performance.report import Report
from cryptoquant.performance.trials import strict_json


@dataclass(frozen=True, slots=True, repr=False)
class Study:
    """A walk-forward study: its report, its evidence and the bundle that it would deploy.

    Attributes
    ----------
    plan
        Everything that decided the result.
    report
        Of one simulation over the stitched out-of-sample signals.
    evidence
        What speaks for it, deflated by all study trials of the ledger.
    folds
        Results by fold, oldest first.
    signals
        Out-of-sample signals (schema ``signals``, and ``dissimilarity`` where the model tells); empty for a rule.
    scenario
        The stitched run, to be traded again with something changed.
    predictor, trained_until
        Fitted on the last training window, and when its last label was known; None and 0 for a rule.
    before_costs
        Statistics of the same decisions traded free.
    """

    plan: Plan
    folds: list[FoldResult]
    signals: pl.DataFrame
    scenario: Scenario
    report: Report
    before_costs: Statistics
    evidence: Evidence
    predictor: Predictor | None = None
    trained_until: int = 0

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {len(self.folds)} folds, Sharpe {self.evidence.sharpe:.2f}, {self.report!r})"

    @property
    def name(self) -> str:
        """Under which its trials are counted."""
        return self.plan.name

    @property
    def key(self) -> str:
        """Digest of the configuration."""
        return self.plan.key

    @property
    def dataset(self) -> Dataset:
        """What was learned from.

        Raises
        ------
        ModelError
            The study is of a rule over bars.
        """
        if self.plan.dataset is None:
            raise ModelError(f"{self.name}: a rule over bars learns from no dataset")
        return self.plan.dataset

    def with_papers(self, **papers: Any) -> "Study":
        """Return the study with more in its report's dossier, such as ``robustness=cq.robustness(study)``.

        Raises
        ------
        TypeError
            A dossier holds no such paper.
        """
        dossier = replace(self.report.dossier, **papers)
        return replace(self, report=replace(self.report, dossier=dossier), evidence=dossier.evidence or self.evidence)

    def fold_report(self, number: int) -> Report:
        """Return the report of one fold traded alone, with a purse of its own."""
        fold, result = self.folds[number].fold, self.folds[number]
        signals = self.scenario.signals
        if signals is not None:
            inside = pl.col("time").dt.epoch("ns").is_between(fold.test_start, fold.test_end, closed="right")
            signals = signals.filter(inside)
        alone = replace(self.scenario, name=f"{self.name}, fold {number}", start=fold.test_start, end=fold.test_end)
        return replace(alone, strategy=result.strategy or self.plan.strategy, signals=signals).report()

    def on(self, bars: pl.DataFrame) -> Scenario:
        """Return the scenario on an altered market of the same span: what was learned stays, signals are made anew.

        Parameters
        ----------
        bars
            Schema ``bars``, the symbols of the study; rows may be missing and prices changed.
        """
        panel = Panel.from_frame(bars, self.plan.panel.symbols)
        if self.plan.dataset is None or self.scenario.signals is None:
            return replace(self.scenario, market=panel)
        dataset = replace(self.plan.dataset, bars=bars)
        keys, examples = keys_of(dataset), dataset.examples
        kind, places, said = "", [], []
        for result in self.folds:
            fold, predictor = result.fold, self.predictor_of(result)
            rows = np.flatnonzero((examples.times > fold.test_start) & (examples.times <= fold.test_end))
            kind = predictor.kind
            places.append(rows)
            said.append(said_of(predictor, examples, rows))
        told = np.concatenate(said, axis=1)
        signals = signal_frame(keys[np.concatenate(places)], told, self.name, kind, dataset.horizon)
        return replace(self.scenario, market=panel, signals=signals)

    def predictor_of(self, result: FoldResult) -> Predictor:
        """Return what a fold predicted with; fitted once more where it was read back from a folder."""
        if result.predictor is not None:
            return result.predictor
        fits = self.folds[result.fold.number - result.fold.number % self.plan.retraining.fit]
        if self.plan.model is None:
            raise ModelError(f"{self.name}: a rule over bars has no predictor")
        examples = self.dataset.examples
        train = examples.learning(fits.fold.train, fits.fold.test)
        return self.plan.model.with_params(**result.params).fit(train)

    def to_bundle(self, name: str) -> Bundle:
        """Return what would be deployed: the predictor fitted on the last training window, with its evidence.

        Raises
        ------
        ModelError
            The study is of a rule over bars, which has learned nothing that could be kept.
        """
        if self.predictor is None or self.plan.model is None:
            raise ModelError(f"{self.name}: a rule over bars has no predictor to keep in a bundle")
        last, dataset = self.folds[-1], self.dataset
        return Bundle(
            name=name,
            symbols=dataset.symbols,
            timeframe=dataset.timeframe,
            predictor=self.predictor,
            features=dataset.feature_set,
            strategy=last.strategy or self.plan.strategy,
            execution=self.plan.execution,
            costs=self.plan.venue.costs,
            horizon=dataset.horizon,
            evidence=self.evidence,
            fingerprints=fingerprints(self.plan),
            study=self.name,
            chosen=dataset.chosen,
            trained_until=self.trained_until,
            learner={
                "name": type(self.plan.model).__name__,
                "parameters": self.plan.model.with_params(**last.params).get_params(),
            },
        )

    def tracked(self) -> RunRecord:
        """Return what MLflow shows of the study: parameters, numbers, folds as steps, report, pictures and trials."""
        numbers = {**self.report.statistics.to_dict(), **self.evidence.to_dict()}
        tried = [
            {"fold": result.fold.number, "trials": result.trials, "strategy_trials": result.strategy_trials}
            for result in self.folds
        ]
        return RunRecord(
            params=_params(self),
            metrics={name: float(value) for name, value in numbers.items() if not isinstance(value, str)},
            series={
                "fold.hit_rate_train": [result.hit_rate_train for result in self.folds],
                "fold.hit_rate_test": [result.hit_rate_test for result in self.folds],
                "fold.seconds": [result.seconds for result in self.folds],
            },
            data={self.name: self.plan.fingerprint},
            files={
                "report.html": page_text(self.report),
                "evidence/evidence.json": json.dumps(self.evidence.to_json(), indent=1),
                "evidence/tuning_trials.json": json.dumps(strict_json(tried)),
                **_robustness_file(self.report),
                **{f"plots/{name}.html": text for name, text in picture_pages(self.report).items()},
            },
        )


def _robustness_file(report: Report) -> dict[str, str]:
    found = report.dossier.robustness
    return {} if found is None else {"evidence/robustness.json": json.dumps(strict_json(found.to_dict()), indent=1)}


def fingerprints(plan: Plan) -> dict[str, str]:
    """Return the digests of data, configuration and code."""
    return {"data": plan.fingerprint, "configuration": plan.key, "code": code_fingerprint()}


def _params(study: Study) -> dict[str, Any]:
    plan, last = study.plan, study.folds[-1]
    said = {
        "strategy": describe(plan.strategy),
        "folds": len(study.folds),
        "train": str(plan.splits.train),
        "test": str(plan.splits.test),
        "embargo": str(plan.splits.embargo),
        **{f"costs.{name}": value for name, value in asdict(plan.venue.costs).items()},
        **{f"last_fold.{name}": value for name, value in {**last.params, **last.strategy_params}.items()},
    }
    if plan.model is None or plan.dataset is None:
        return said
    return {
        "model": type(plan.model).__name__,
        **{f"model.{name}": value for name, value in plan.model.get_params().items()},
        "features": ", ".join(plan.dataset.names),
        "label": json.dumps(plan.dataset.label.to_dict(), sort_keys=True),
        **said,
    }
