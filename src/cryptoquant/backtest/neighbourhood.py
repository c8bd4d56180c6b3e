"""The parameters next to the chosen ones: how a study does where each is moved a little, one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.learning import FoldResult, keys_of, said_of, signal_frame
from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.strategy_search import strategy_params, with_strategy_params
from cryptoquant.backtest.study import Study
from cryptoquant.errors import ModelError
from cryptoquant.models.model import Model, Predictor
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.strategy.succession import Succession

# A fifth: far enough to leave the cell of a search, near enough to be the same idea.
STEP = 0.2
# A rule over bars is cheap: two steps each way.
RULE_STEPS = (-2 * STEP, -STEP, STEP, 2 * STEP)
STEPS = (-STEP, STEP)
# A strategy has few parameters that decide; a model's cost a fit of every fold for each step.
MOST_STRATEGY_PARAMETERS = 6
MOST_MODEL_PARAMETERS = 3
# They say how much is held, how far back is read, or what is drawn, and not when to trade.
NOT_MOVED = (
    "max_weight",
    "max_gross",
    "weight",
    "lookback",
    "seed",
    "random_state",
    "n_jobs",
    "validation",
    "verbosity",
)
# Levels of a probability: they are moved by their distance from one half.
LEVELS = ("threshold", "exit", "centre")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One parameter moved by a step.

    Attributes
    ----------
    name
        The parameter and where it went, such as ``window 24 -> 29``.
    trade
        Makes the scenario; None where the parameter cannot take the value.
    """

    name: str
    trade: Callable[[], Scenario | None]


def strategy_neighbours(study: Study) -> Iterator[Neighbour]:
    """Yield the study with each number of its strategy moved; the signals stay as they are, nothing is fitted.

    Of a study that searched them, the parameters of each fold are moved from where that fold had put them, those of the
    space first.
    """
    scenario, plan = study.scenario, study.plan
    first = scenario.strategy.strategies[0] if isinstance(scenario.strategy, Succession) else scenario.strategy
    centre = 0.5 if _reads_probabilities(study) else 0.0
    tuned = () if plan.tune_strategy is None else tuple(plan.tune_strategy.space)
    steps = RULE_STEPS if scenario.signals is None else STEPS
    for name in _movable(strategy_params(first), tuned, centre)[:MOST_STRATEGY_PARAMETERS]:
        for step in steps:
            words = _words(name, strategy_params(first)[name], step, centre)
            yield Neighbour(words, partial(_traded, scenario, name, step, centre))


def model_neighbours(study: Study, jobs: int | None = 1) -> Iterator[Neighbour]:
    """Yield the study with each number of its model moved, every fold fitted anew; none for a rule.

    Of a study that searched them, each fold's own are moved, those of the space first. Nothing is searched again.
    """
    plan = study.plan
    if plan.model is None:
        return
    params = {**plan.model.get_params(), **study.folds[0].params}
    tuned = () if plan.tune is None else tuple(plan.tune.space)
    for name in _movable(params, tuned, 0.0)[:MOST_MODEL_PARAMETERS]:
        for step in STEPS:
            words = _words(name, params[name], step, 0.0)
            yield Neighbour(words, partial(_refitted_or_none, study, name, step, jobs))


def stepped(value: float, step: float, centre: float = 0.0) -> float:
    """Return a number moved by a share of its distance from ``centre``; a whole one by at least one.

    Examples
    --------
    >>> stepped(24, 0.2), stepped(2, -0.2), round(stepped(0.55, 0.2, centre=0.5), 3)
    (29, 1, 0.56)
    """
    if isinstance(value, int):
        return value + int(np.sign(step)) * max(1, round(abs(value * step)))
    return centre + (value - centre) * (1.0 + step)


def refitted(study: Study, change: Callable[[dict[str, Any]], dict[str, Any]], jobs: int | None = 1) -> Scenario:
    """Return the study's scenario with every fold fitted anew with changed parameters of the model.

    No trial is counted: nobody chooses among such runs.

    Parameters
    ----------
    change
        Takes the model's parameters as a fold has them, and returns those to fit with.
    jobs
        Fits side by side.
    """
    plan, every = study.plan, study.plan.retraining.fit
    if plan.model is None:
        raise ModelError(f"{study.name}: a rule over bars has no model to fit")
    fits = [study.folds[first : first + every] for first in range(0, len(study.folds), every)]
    changed = [plan.model.with_params(**change({**plan.model.get_params(), **part[0].params})) for part in fits]
    examples = study.dataset.examples
    tasks = ((model, examples, part) for model, part in zip(changed, fits, strict=True))
    found = list(side_by_side(_predicted, tasks, jobs))
    rows = np.concatenate([result.fold.test for result in study.folds])
    said = np.concatenate([said for said, _ in found], axis=1)
    keys = keys_of(study.dataset)[rows]
    return replace(
        study.scenario, signals=signal_frame(keys, said, study.name, found[0][1].kind, study.dataset.horizon)
    )


def _predicted(model: Model, examples: Any, part: list[FoldResult]) -> tuple[NDArray[np.float64], Predictor]:
    """Fit on the training rows of the first of some folds; return what is said of the test rows of all."""
    fold = part[0].fold
    predictor = model.fit(examples.learning(fold.train, fold.test))
    return np.concatenate([said_of(predictor, examples, one.fold.test) for one in part], axis=1), predictor


def _refitted_or_none(study: Study, name: str, step: float, jobs: int | None) -> Scenario | None:
    try:
        return refitted(study, lambda params: {name: stepped(params[name], step)}, jobs)
    except (ValueError, ModelError):
        return None


def _traded(scenario: Scenario, name: str, step: float, centre: float) -> Scenario | None:
    try:
        return replace(scenario, strategy=_moved(scenario.strategy, name, step, centre))
    except ValueError:
        return None


def _moved(strategy: Strategy, name: str, step: float, centre: float) -> Strategy:
    if isinstance(strategy, Succession):
        return replace(strategy, strategies=tuple(_moved(one, name, step, centre) for one in strategy.strategies))
    value = stepped(strategy_params(strategy)[name], step, _centre(name, centre))
    moved: Strategy = with_strategy_params(strategy, {name: value})
    return moved


def _movable(params: dict[str, Any], tuned: tuple[str, ...], centre: float) -> list[str]:
    """Return the names of the numbers that a step moves, those that were searched first."""
    numbers = [
        name
        for name, value in params.items()
        if type(value) in (int, float) and value != _centre(name, centre) and name.rpartition("__")[2] not in NOT_MOVED
    ]
    return sorted(numbers, key=lambda name: name not in tuned)


def _centre(name: str, centre: float) -> float:
    return centre if name.rpartition("__")[2] in LEVELS else 0.0


def _words(name: str, value: float, step: float, centre: float) -> str:
    return f"{name} {value:.4g} -> {stepped(value, step, _centre(name, centre)):.4g}"


def _reads_probabilities(study: Study) -> bool:
    signals = study.scenario.signals
    return signals is not None and bool((signals.select(pl.col("kind") == "probability")).to_series().any())
