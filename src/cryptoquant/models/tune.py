"""The search for parameters inside the training rows of one fold, purged, resumable, with every trial counted."""

import fcntl
import hashlib
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cryptoquant.errors import ConfigurationError, ModelError
from cryptoquant.models.bundle import library_versions
from cryptoquant.models.examples import COLUMNS, Examples
from cryptoquant.models.identity import identity, user_code
from cryptoquant.models.model import Model
from cryptoquant.models.objectives import Objective, check_kind, log_loss
from cryptoquant.models.space import Range, check_range, suggest
from cryptoquant.models.splits import PurgedKFold, Rows
from cryptoquant.models.windows import predict_rows
from cryptoquant.performance.trials import complete_length
from cryptoquant.settings import settings

MEMORY = "memory"
SAMPLERS = ("tpe", "cmaes", "random")
Cut = tuple[Rows, Rows]
Losses = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tune:
    """How parameters are searched.

    A trial fits a configuration on purged parts of the training rows and is judged on the rest of them. The same seed
    gives the same trials, however many processes share the work, and also when the search is killed and started again:
    what was tried is kept under a digest of model, rows and settings, and is not tried twice.

    Parameters
    ----------
    trials
        Configurations to try in each fold. More than before goes on where the search ended, with the same trials as at
        once where it ended with a whole batch.
    space
        By parameter: ``(low, high)`` of two ints or two floats, ``(low, high, "log")``, or a list of choices.
    objective
        ``(examples, predicted) -> loss`` on inner validation rows, by default the log loss; or several of them: then
        the compromise on the Pareto front is chosen, see ``best``.
    folds, inner
        Purged blocks of the training rows, and which of them validate: the last one, or all in turn.
    embargo
        Of the inner blocks.
    sampler
        ``tpe`` (Bergstra et al. 2011), ``cmaes`` (Hansen & Ostermeier 2001) or ``random``.
    prune
        Whether a trial is stopped whose mean loss over the blocks so far is worse than the median of those finished;
        with ``inner="all"`` and one objective.
    batch
        Trials asked for at a time and fitted side by side (joblib). Trials of one batch do not learn from each other.
    storage
        Where trials are kept: a folder (one journal file a fold; by default that of the settings, ``CQ_TUNING``), any
        Optuna storage by its URL, or ``"memory"``.
    seed
        Of the sampler.
    """

    trials: int = 20
    space: Mapping[str, Range] = field(default_factory=dict)
    objective: Objective | Sequence[Objective] = log_loss
    folds: int = 4
    inner: Literal["last", "all"] = "last"
    embargo: timedelta = timedelta(0)
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    prune: bool = False
    batch: int = 1
    storage: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        PurgedKFold(self.folds, self.embargo)
        for name in ("trials", "batch"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: wanted at least one, found {getattr(self, name)}")
        if self.inner not in ("last", "all"):
            raise ValueError(f"inner must be 'last' or 'all', found {self.inner!r}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, found {self.sampler!r}")
        if not self.objectives or not all(callable(one) for one in self.objectives):
            raise ValueError(f"objective: wanted a callable or several, found {self.objective!r}")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise ValueError("sampler 'cmaes' takes one objective; 'tpe' and 'random' take several")
        if self.prune and (self.inner != "all" or len(self.objectives) > 1):
            raise ValueError("prune wants inner='all' and one objective: else there is nothing to compare midway")
        if not self.space:
            raise ValueError("space: wanted at least one parameter to search")
        for name, choice in self.space.items():
            check_range(name, choice)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, one or several."""
        return tuple(self.objective) if isinstance(self.objective, Sequence) else (self.objective,)

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values, the same in every process; not where it is kept."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("storage", "objective")}
        plain["space"] = {name: list(choice) for name, choice in self.space.items()}
        plain["embargo"] = self.embargo.total_seconds()
        return {**plain, "objective": [identity(one) for one in self.objectives]}

    def search(self, model: Model, examples: Examples) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the best parameters and every trial, from the training rows of one fold only, in time order.

        Raises
        ------
        ModelError
            Every trial failed, or the rows cannot be cut into blocks.
        ValueError
            The model has no such parameter, or does not take a value of the space.
        ConfigurationError
            The storage cannot be opened.
        """
        unknown = sorted(self.space.keys() - model.get_params().keys())
        if unknown:
            raise ValueError(f"space: {type(model).__name__} has no parameter {', '.join(unknown)}")
        blocks = range(self.folds) if self.inner == "all" else [self.folds - 1]
        cuts = list(PurgedKFold(self.folds, self.embargo).cut(examples.times, examples.label_known, blocks))
        with _opened(self, _digest(self, model, examples)) as study:
            for first in range(0, self.trials, self.batch):
                _Batch(self, study, first).run(model, examples, cuts)
            finished = [trial for trial in study.get_trials(deepcopy=False) if trial.number < self.trials]
            trials = [_told(trial, len(self.objectives)) for trial in finished]
        complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
        if not complete:
            raise ModelError(f"all {len(trials)} tuning trials failed: {trials[-1].get('error', 'unknown')}")
        return dict(best(complete)["params"]), trials

    def minimise(self, loss: Callable[[dict[str, Any]], float]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the parameters of the space with the lowest loss and every trial; the objective is not used.

        A loss that raises ``ValueError``, ``TypeError`` or ``ModelError`` is a failed trial, counted like any other.

        Raises
        ------
        ModelError
            Every trial failed.
        """
        import optuna

        with _opened(replace(self, storage=MEMORY), "minimise") as study:
            batch = _Batch(self, study, 0)
            for number in range(self.trials):
                trial = batch.ask(number)
                try:
                    study.tell(trial, loss(batch.params(trial)))
                except (ValueError, TypeError, ModelError) as error:
                    trial.set_user_attr("error", str(error))
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
            trials = [_told(trial, 1) for trial in study.get_trials(deepcopy=False)]
        complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
        if not complete:
            raise ModelError(f"all {len(trials)} tuning trials failed: {trials[-1].get('error', 'unknown')}")
        return dict(best(complete)["params"]), trials


def best(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the finished trial with the lowest loss; of several losses, the compromise on the Pareto front.

    That is the trial nearest to the lowest value of each loss, with each loss scaled to its range on the front.
    """
    if "losses" not in trials[0]:
        return min(trials, key=lambda trial: float(trial["loss"]))
    losses = np.array([trial["losses"] for trial in trials])
    beaten = [(np.all(losses <= own, axis=1) & np.any(losses < own, axis=1)).any() for own in losses]
    front = np.flatnonzero(~np.array(beaten))
    low, range_of = losses[front].min(axis=0), np.ptp(losses[front], axis=0)
    scaled = (losses[front] - low) / np.where(range_of > 0.0, range_of, 1.0)
    return trials[int(front[np.argmin(np.linalg.norm(scaled, axis=1))])]


class _Batch:
    """Some trials of a study, asked for together, fitted block by block side by side, and told in their order."""

    def __init__(self, tune: Tune, study: Any, first: int) -> None:
        self.tune = tune
        self.study = study
        self.numbers = range(first, min(first + tune.batch, tune.trials))

    def run(self, model: Model, examples: Examples, cuts: list[Cut]) -> None:
        """Finish what is not finished of the batch."""
        from joblib import Parallel, delayed

        waiting = [trial for trial in map(self.ask, self.numbers) if trial is not None]
        candidates = {trial.number: model.with_params(**self.params(trial)) for trial in waiting}
        losses: dict[int, list[Losses]] = {trial.number: [] for trial in waiting}
        workers = Parallel(n_jobs=settings().jobs if self.tune.batch > 1 else 1, prefer="threads")
        for step, cut in enumerate(cuts):
            tasks = (delayed(judge)(candidates[t.number], examples, cut, self.tune.objectives) for t in waiting)
            found = dict(zip([trial.number for trial in waiting], workers(tasks), strict=True))
            waiting = [trial for trial in waiting if self._goes_on(trial, step, found[trial.number], losses)]
        for trial in waiting:
            self.study.tell(trial, [float(mean) for mean in np.mean(losses[trial.number], axis=0)])

    def ask(self, number: int) -> Any:
        """Return the trial of this number; None when it is finished. Each is drawn by a sampler of its own seed."""
        import optuna

        self.study.sampler = _sampler(self.tune, number)
        known = self.study.get_trials(deepcopy=False)
        if number >= len(known):
            trial = self.study.ask()
            if trial.number != number:
                raise ConfigurationError("another machine works at the same search: let one of them end first")
        elif known[number].state.is_finished():
            return None
        else:
            trial = optuna.trial.Trial(self.study, known[number]._trial_id)
        self.params(trial)
        return trial

    def params(self, trial: Any) -> dict[str, Any]:
        """Return what a trial is to try."""
        return {name: suggest(trial, name, choice) for name, choice in self.tune.space.items()}

    def _goes_on(self, trial: Any, step: int, found: Losses | str, losses: dict[int, list[Losses]]) -> bool:
        """Keep the losses of one block; return whether the trial is worth the next one."""
        import optuna

        if isinstance(found, str):
            trial.set_user_attr("error", found)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return False
        losses[trial.number].append(found)
        if not self.tune.prune:
            return True
        if step not in self.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(float(np.mean(losses[trial.number])), step)
        if trial.should_prune():
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return False
        return True


def judge(model: Model, examples: Examples, cut: Cut, objectives: Sequence[Objective]) -> Losses | str:
    """Return the losses of a model fitted on one part of the rows and judged on the other; or why it cannot learn."""
    train, test = cut
    try:
        predictor = model.fit(examples.learning(train, test))
        for objective in objectives:
            check_kind(objective, predictor.kind)
        predicted = predict_rows(predictor, examples, test)
    except ModelError as error:
        return str(error)
    judged = examples.take(test)
    losses = tuple(float(objective(judged, predicted)) for objective in objectives)
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    return f"the loss is {wrong[0]}" if wrong else losses


@contextmanager
def _opened(tune: Tune, name: str) -> Iterator[Any]:
    """Open the Optuna study of one fold; it is held by one process of a machine at a time."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.MedianPruner() if tune.prune else optuna.pruners.NopPruner()
    wanted: dict[str, Any] = {"study_name": name, "pruner": pruner, "directions": ["minimize"] * len(tune.objectives)}
    place = tune.storage if tune.storage is not None else settings().tuning
    if place == MEMORY:
        yield optuna.create_study(**wanted)
        return
    if "://" in place:
        key = hashlib.sha256(f"{place} {name}".encode()).hexdigest()[:24]
        with (Path(tempfile.gettempdir()) / f"cryptoquant-{key}.lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield _joined(place, wanted)
        return
    path = Path(place) / f"{name}.journal"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise ConfigurationError(f"tuning storage {place}: {error.strerror}: {error.filename}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(complete_length(file))
        backend = JournalFileBackend(str(path), lock_obj=_Held())  # type: ignore[arg-type]
        yield optuna.create_study(**wanted, storage=optuna.storages.JournalStorage(backend), load_if_exists=True)


def _joined(url: str, wanted: dict[str, Any]) -> Any:
    """Open a study in a database, made if it is not there."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.create_study(**wanted, storage=url, load_if_exists=True)
    except (optuna.exceptions.OptunaError, SQLAlchemyError, ImportError, ValueError) as error:
        raise ConfigurationError(f"tuning storage {url}: {str(error).splitlines()[0]}") from error


class _Held:
    """The lock of a journal that this process holds already: one left by a killed process would hold up the next."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


def _sampler(tune: Tune, number: int) -> Any:
    import optuna

    seed = int(np.random.SeedSequence([tune.seed, number]).generate_state(1)[0])
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if tune.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if tune.sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _told(trial: Any, objectives: int) -> dict[str, Any]:
    """Return a trial as plain values."""
    told = {"number": trial.number, "state": trial.state.name, "params": dict(trial.params)}
    values = trial.values if trial.values is not None else [None] * objectives
    told["loss"] = values[0]
    if objectives > 1:
        told["losses"] = values
    if trial.intermediate_values:
        told["blocks"] = [value for _, value in sorted(trial.intermediate_values.items())]
    return {**told, **trial.user_attrs}


def _digest(tune: Tune, model: Model, examples: Examples) -> str:
    """Return a digest of all that decides the trials but their number."""
    settled = {key: value for key, value in tune.to_dict().items() if key != "trials"}
    said = [settled, type(model), type(model).fit, model.get_params(), library_versions(), user_code(model)]
    digest = hashlib.sha256(json.dumps(identity(said), sort_keys=True).encode())
    for name in COLUMNS:
        digest.update(np.ascontiguousarray(getattr(examples, name)).tobytes())
    return digest.hexdigest()[:32]
