"""The search for parameters inside the training rows of one fold, purged, with every trial counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model
from cryptoquant.models.splits import PurgedKFold, Rows
from cryptoquant.models.windows import predict_rows

Floats = NDArray[np.float64]
Objective = Callable[[Floats, Floats, Floats], float]
Range = tuple[int, int] | tuple[float, float] | tuple[float, float, Literal["log"]] | list[Any]


def log_loss(rises: Floats, predicted: Floats, returns: Floats) -> float:
    """Return the mean negative log-likelihood of the classes; lower is better."""
    bounded = np.clip(predicted, 1e-9, 1 - 1e-9)
    return float(-np.mean(rises * np.log(bounded) + (1 - rises) * np.log(1 - bounded)))


@dataclass(frozen=True, slots=True)
class Tune:
    """How parameters are searched.

    Parameters
    ----------
    trials
        Configurations to try in each fold.
    space
        By parameter: ``(low, high)`` of two ints or two floats, ``(low, high, "log")``, or a list of choices.
    objective
        ``(classes, predicted, returns) -> loss`` on inner validation rows; by default the log loss.
    folds, inner
        Purged blocks of the training rows, and which of them validate: the last one, or all in turn.
    embargo
        Of the inner blocks.
    seed
        Of the sampler (TPE).
    """

    trials: int = 20
    space: Mapping[str, Range] = field(default_factory=dict)
    objective: Objective = log_loss
    folds: int = 4
    inner: Literal["last", "all"] = "last"
    embargo: timedelta = timedelta(0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"wanted at least one trial, found {self.trials}")
        if self.inner not in ("last", "all"):
            raise ValueError(f"inner must be 'last' or 'all', found {self.inner!r}")
        if not self.space:
            raise ValueError("space: wanted at least one parameter to search")
        for name, choice in self.space.items():
            _check_range(name, choice)

    def search(self, model: Model, examples: Examples) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the best parameters and every trial, from the training rows of one fold only, in time order.

        Raises
        ------
        ModelError
            Every trial failed, or the rows cannot be cut into blocks.
        ValueError
            The model has no such parameter, or does not take a value of the space.
        """
        import optuna

        unknown = sorted(self.space.keys() - model.get_params().keys())
        if unknown:
            raise ValueError(f"space: {type(model).__name__} has no parameter {', '.join(unknown)}")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        cuts = list(PurgedKFold(self.folds, self.embargo).cut(examples.times, examples.label_known))
        cuts = cuts[-1:] if self.inner == "last" else cuts
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed, multivariate=True))

        def loss(candidate: Model, train: Rows, test: Rows) -> float:
            judged = examples.take(test)
            predicted = predict_rows(candidate.fit(examples.take(train)), examples, test)
            return self.objective(judged.rises, predicted, judged.returns)

        def judge(trial: Any) -> float:
            params = {name: _suggest(trial, name, choice) for name, choice in self.space.items()}
            candidate = model.with_params(**params)
            try:
                return float(np.mean([loss(candidate, train, test) for train, test in cuts]))
            except ModelError as error:
                trial.set_user_attr("error", str(error))
                raise

        study.optimize(judge, n_trials=self.trials, catch=(ModelError,))
        trials = [
            {"number": t.number, "state": t.state.name, "params": t.params, "loss": t.value, **t.user_attrs}
            for t in study.trials
        ]
        if not any(trial["state"] == "COMPLETE" for trial in trials):
            raise ModelError(f"all {len(trials)} tuning trials failed: {trials[-1].get('error', 'the loss is NaN')}")
        return dict(study.best_params), trials


def _check_range(name: str, choice: Range) -> None:
    if isinstance(choice, list):
        if not choice:
            raise ValueError(f"{name}: an empty list of choices")
        return
    parts = choice if isinstance(choice, tuple) else ()
    log, numbers = parts[2:] == ("log",), parts[:2]
    if len(numbers) < 2 or len(parts) != 2 + log or not all(type(n) in (int, float) for n in numbers):
        raise ValueError(f'{name}: wanted (low, high), (low, high, "log") or a list, found {choice!r}')
    if not numbers[0] < numbers[1] or (log and numbers[0] <= 0):
        raise ValueError(f"{name}: wanted low < high{' and low > 0' if log else ''}, found {choice!r}")


def _suggest(trial: Any, name: str, choice: Range) -> Any:
    if isinstance(choice, list):
        return trial.suggest_categorical(name, choice)
    log = len(choice) == 3
    if isinstance(choice[0], int) and isinstance(choice[1], int):
        return trial.suggest_int(name, choice[0], choice[1], log=log)
    return trial.suggest_float(name, float(choice[0]), float(choice[1]), log=log)
