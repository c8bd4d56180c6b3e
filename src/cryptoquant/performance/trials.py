"""The trial ledger: every configuration that was ever judged out of sample, and every tuning trial inside a fold."""

import fcntl
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import DataError
from cryptoquant.performance.curve import ROUNDING
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.selection import selection_numbers, trial_sharpes
from cryptoquant.performance.significance import SharpeEstimate


@dataclass(frozen=True, slots=True)
class StudyTrial:
    """A configuration whose stitched out-of-sample returns were computed.

    Attributes
    ----------
    study
        The research question: trials of one study are compared and deflated together.
    key
        Digest of the whole configuration; the same configuration on the same data is one trial, however often it ran.
    times
        Nanoseconds UTC of the days, shape (days,).
    returns
        Daily returns, shape (days,).
    """

    study: str
    key: str
    times: NDArray[np.int64]
    returns: NDArray[np.float64]
    settings: Mapping[str, Any]


class TrialReturns(NamedTuple):
    """The study trials side by side on the days that all of them have.

    Attributes
    ----------
    times
        Nanoseconds UTC, shape (days,).
    matrix
        Daily returns, shape (days, trials).
    keys
        Of the trials, in the order of their first appearance.
    """

    times: NDArray[np.int64]
    matrix: NDArray[np.float64]
    keys: tuple[str, ...]


class TrialLedger:
    """An append-only file of JSON lines, shared by all runs of a project; safe for several processes.

    Parameters
    ----------
    path
        The file; None keeps the ledger in memory.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lines: list[dict[str, Any]] = []

    def add_study_trial(self, trial: StudyTrial) -> None:
        """Keep a study trial with its out-of-sample returns."""
        self._append(
            {
                "kind": "study",
                "study": trial.study,
                "key": trial.key,
                "times": trial.times.tolist(),
                "returns": trial.returns.tolist(),
                "settings": dict(trial.settings),
            }
        )

    def add_tuning_trials(self, study: str, key: str, fold: int, trials: list[dict[str, Any]]) -> None:
        """Keep the tuning trials of one fold: state, parameters and inner score of each."""
        self._append({"kind": "tuning", "study": study, "key": key, "fold": fold, "trials": trials})

    def take(self, other: "TrialLedger") -> None:
        """Keep all that another ledger holds."""
        for line in other._read():
            self._append(line)

    def study_trials(self, study: str) -> list[StudyTrial]:
        """Return the distinct study trials in the order of their first appearance; the last run of a key counts."""
        found: dict[str, StudyTrial] = {}
        for line in self._read():
            if line["kind"] == "study" and line["study"] == study:
                found[line["key"]] = StudyTrial(
                    study,
                    line["key"],
                    np.array(line["times"], dtype=np.int64),
                    np.array(line["returns"], dtype=np.float64),
                    line["settings"],
                )
        return list(found.values())

    def tuning_count(self, study: str) -> int:
        """Return how many tuning trials were run inside folds, pruned and failed ones too.

        A fold that is run again counts once.
        """
        return len(self.tuning_trials(study))

    def tuning_trials(self, study: str) -> list[dict[str, Any]]:
        """Return the tuning trials with their key and fold: number, state, parameters, loss and, if any, the error."""
        lines = (line for line in self._read() if line["kind"] == "tuning" and line["study"] == study)
        last = {(line["key"], line["fold"]): line["trials"] for line in lines}
        return [{"key": key, "fold": fold, **trial} for (key, fold), trials in last.items() for trial in trials]

    def sharpes(self, study: str) -> NDArray[np.float64]:
        """Return the daily Sharpe ratio of each study trial on the days common to all, shape (trials,).

        A trial that never moved has a ratio of 0: it was tried, too. NaN where the trials share fewer than two days.
        """
        return trial_sharpes(self.returns(study).matrix)

    def returns(self, study: str) -> TrialReturns:
        """Return the study trials' daily returns on the days common to all."""
        return side_by_side(self.study_trials(study))

    def _append(self, line: dict[str, Any]) -> None:
        if self.path is None:
            self._lines.append(line)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(complete_length(file))
            file.write(json.dumps(strict_json(line), allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return self._lines
        lines = []
        acknowledged = self.path.read_bytes().split(b"\n")[:-1]
        for number, line in enumerate(acknowledged, start=1):
            try:
                lines.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{self.path}: line {number} is not readable: {line[:40]!r}") from error
        return lines


def strict_json(value: Any) -> Any:
    """Return a value as strict JSON takes it: a float that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {name: strict_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def side_by_side(trials: Sequence[StudyTrial]) -> TrialReturns:
    """Return trials on the days common to all; of a day that a trial holds twice, the first counts."""
    if not trials:
        return TrialReturns(np.empty(0, dtype=np.int64), np.empty((0, 0)), ())
    common = trials[0].times
    for trial in trials[1:]:
        common = np.intersect1d(common, trial.times)
    common = np.unique(common)
    columns = [trial.returns[np.unique(trial.times, return_index=True)[1]] for trial in trials]
    kept = [np.isin(np.unique(trial.times), common) for trial in trials]
    matrix = np.column_stack([column[mask] for column, mask in zip(columns, kept, strict=True)])
    return TrialReturns(common, matrix, tuple(trial.key for trial in trials))


def complete_length(file: BinaryIO) -> int:
    """Return the length up to the last newline: what follows it was torn by a crash and never acknowledged."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def recount(evidence: Evidence, ledger: TrialLedger, study: str, key: str) -> Evidence:
    """Return the evidence with all that depends on trials taken over those that the ledger holds of the study by now.

    Unchanged when the ledger does not hold the trial ``key``, holds one trial only, or fewer than the evidence counted.
    """
    trials = ledger.study_trials(study)
    own = next((trial for trial in trials if trial.key == key), None)
    if own is None or len(trials) < max(2, evidence.study_trials):
        return evidence
    return replace(evidence, study_trials=len(trials), **numbers_beside(own, evidence.sharpe, trials))


def numbers_beside(
    own: StudyTrial, annual_sharpe: float, trials: Sequence[StudyTrial], seed: int = 0
) -> dict[str, Any]:
    """Return ``selection_numbers`` of a study trial among all trials of its study."""
    variance = variance_of_ratios(trials, own.times) if len(trials) > 1 else None
    estimate, matrix = SharpeEstimate.of(own.returns), side_by_side(trials).matrix
    return selection_numbers(estimate, annual_sharpe, matrix, variance=variance, seed=seed)


def variance_of_ratios(trials: Sequence[StudyTrial], times: NDArray[np.int64]) -> float:
    """Return the variance between trials of the Sharpe ratio per day, as over a calendar that not all of them fill.

    The variance (ddof 1) of some numbers is the mean of their halved squared differences over all pairs. Each pair is
    compared on the days that both have, and its share is multiplied by their part of the calendar, since without skill
    ratios differ the less the more days they have: so that one short trial does not make all others look apart. On one
    calendar for all it is the plain variance. The scaling is ours. NaN where a pair shares fewer than two days.

    Parameters
    ----------
    times
        The calendar, in nanoseconds UTC: other days are left out.
    """
    calendar = np.unique(times)
    returns, has = np.zeros((len(calendar), len(trials))), np.zeros((len(calendar), len(trials)))
    for number, trial in enumerate(trials):
        days, first = np.unique(trial.times, return_index=True)
        _, place, rows = np.intersect1d(calendar, days, assume_unique=True, return_indices=True)
        returns[place, number], has[place, number] = trial.returns[first[rows]], 1.0
    shared = has.T @ has
    upper = np.triu_indices(len(trials), 1)
    if not len(upper[0]) or shared[upper].min() < 2.0:
        return math.nan
    np.fill_diagonal(shared, np.maximum(shared.diagonal(), 2.0))
    centre = returns.sum(axis=0) / np.maximum(has.sum(axis=0), 1.0)
    centred = (returns - centre) * has
    total, squares = centred.T @ has, (centred * centred).T @ has
    spread = squares - total * total / shared
    moves = spread > ROUNDING * squares
    deviation = np.sqrt(np.where(moves, spread / (shared - 1.0), 1.0))
    ratios = np.where(moves, (centre[:, None] + total / shared) / deviation, 0.0)
    halves = (ratios - ratios.T) ** 2 / 2.0 * shared / len(calendar)
    return float(halves[upper].mean())
