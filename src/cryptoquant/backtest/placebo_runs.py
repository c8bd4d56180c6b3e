"""One study on one market whose edge is known, and the file in which such runs are kept."""

import json
import time as clock
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cryptoquant.backtest.placebo_markets import PlaceboMarket
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.walk_forward import run_plan
from cryptoquant.errors import DataError
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.trials import StudyTrial, TrialLedger, complete_length, recount

# Sets the draws of trials without skill apart from those of the market of the same seed.
SKILL_STREAM = 2


@dataclass(frozen=True, slots=True)
class PlaceboRun:
    """What one study on one market said; ``seconds`` is how long it took."""

    market: str
    seed: int
    evidence: Evidence
    seconds: float


def run_once(plan: Plan, market: PlaceboMarket, seed: int, trials: int = 1) -> PlaceboRun:
    """Run the study of a plan on one market, with a ledger of its own that holds so many trials (see ``placebo``)."""
    started, ledger = clock.perf_counter(), TrialLedger()
    study = run_plan(plan.on(market.bars(seed)), ledger=ledger, jobs=1)
    (own,) = ledger.study_trials(plan.name)
    for trial in trials_without_skill(own, trials - 1, seed):
        ledger.add_study_trial(trial)
    evidence = recount(study.evidence, ledger, plan.name, own.key)
    return PlaceboRun(market.name, seed, evidence, clock.perf_counter() - started)


def trials_without_skill(own: StudyTrial, count: int, seed: int) -> list[StudyTrial]:
    """Return study trials on the days of another: independent normal daily returns of mean 0 and its deviation."""
    rng = np.random.default_rng([seed, SKILL_STREAM])
    deviation = float(own.returns.std())
    drawn = rng.normal(0.0, deviation, (count, len(own.returns)))
    return [
        replace(own, key=f"{own.key} without skill {place}", returns=returns, settings={})
        for place, returns in enumerate(drawn, start=1)
    ]


class KeptRuns:
    """Runs in a file of JSON lines, those of other plans and markets among them."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self, digests: Iterable[str]) -> dict[tuple[str, int], PlaceboRun]:
        """Return what is there of some digests, by digest and seed; a torn last line is left out."""
        wanted = set(digests)
        found: dict[tuple[str, int], PlaceboRun] = {}
        if self.path is None or not self.path.exists():
            return found
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                told: dict[str, Any] = json.loads(line)
                digest = told.pop("pipeline")
                if digest not in wanted:
                    continue
                run = PlaceboRun(**{**told, "evidence": Evidence.from_dict(told["evidence"])})
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self.path}: line {number} is no run: {error}") from error
            found[digest, run.seed] = run
        return found

    def write(self, digest: str, run: PlaceboRun) -> None:
        """Add a run."""
        if self.path is None:
            return
        told = {"pipeline": digest, **asdict(run), "evidence": run.evidence.to_json()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.truncate(complete_length(file))
            file.write(json.dumps(told).encode() + b"\n")
            file.flush()
