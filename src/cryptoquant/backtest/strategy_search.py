"""The search for a strategy's parameters inside the training window of one fold, each candidate traded with costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from cryptoquant.backtest.scenario import Scenario
from cryptoquant.models.space import Range
from cryptoquant.models.splits import PurgedKFold
from cryptoquant.models.tune import MEMORY, Tune
from cryptoquant.trading.strategy import Strategy

Metric = Literal["sharpe", "sortino", "calmar", "total_return"]


@dataclass(frozen=True, slots=True)
class TuneStrategy:
    """How the parameters of a strategy are searched in each fold.

    A rule over bars is judged on the whole training window. A strategy that trades a model's signals is judged on the
    last block of it, on signals of a model that learned from the earlier blocks only.

    Parameters
    ----------
    trials
        Candidates to trade in each fold.
    space
        By parameter, as in ``Tune``; a member's parameter is ``member__parameter``.
    metric
        What is to be large, after costs; a candidate that never trades has 0.
    folds, embargo
        Blocks of the training window, for a model's signals.
    sampler, seed
        As in ``Tune``.
    """

    trials: int = 20
    space: Mapping[str, Range] = field(default_factory=dict)
    metric: Metric = "sharpe"
    folds: int = 4
    embargo: timedelta = timedelta(0)
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in ("sharpe", "sortino", "calmar", "total_return"):
            raise ValueError(f"metric must be sharpe, sortino, calmar or total_return, found {self.metric!r}")
        PurgedKFold(self.folds, self.embargo)
        self._tune()

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values."""
        space = {name: list(choice) for name, choice in self.space.items()}
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "space": space, "embargo": self.embargo.total_seconds()}

    def run(self, scenario: Scenario) -> tuple[Strategy, dict[str, Any], list[dict[str, Any]]]:
        """Return the best strategy, its parameters and every trial.

        Raises
        ------
        ValueError
            The strategy has no such parameter.
        ModelError
            The strategy takes none of the candidates.
        """
        known = strategy_params(scenario.strategy)
        strange = sorted(set(self.space) - set(known))
        if strange:
            raise ValueError(
                f"{type(scenario.strategy).__name__} has no {', '.join(strange)}; it has {', '.join(known)}"
            )

        for name, choice in self.space.items():
            if type(known[name]) is int and isinstance(choice, tuple) and not all(type(n) is int for n in choice[:2]):
                raise ValueError(f"{name} is a whole number: wanted a range of whole numbers, found {choice}")

        def loss(params: dict[str, Any]) -> float:
            candidate = replace(scenario, strategy=with_strategy_params(scenario.strategy, params))
            found = float(getattr(candidate.statistics(), self.metric))
            return 0.0 if math.isnan(found) else -found

        params, trials = self._tune().minimise(loss)
        return with_strategy_params(scenario.strategy, params), params, trials

    def _tune(self) -> Tune:
        return Tune(self.trials, self.space, sampler=self.sampler, storage=MEMORY, seed=self.seed)


def strategy_params(strategy: Any, prefix: str = "") -> dict[str, Any]:
    """Return the parameters of a strategy, and of its members and parts as ``member__parameter``.

    Members in a tuple go by their place, ``strategies__0__window``.

    Examples
    --------
    >>> from cryptoquant.trading.strategy import LongFlat, Momentum, Voting
    >>> sorted(strategy_params(LongFlat()))
    ['exit', 'max_weight', 'threshold']
    >>> strategy_params(Voting((Momentum(24), Momentum(48))))["strategies__1__window"]
    48
    """
    found: dict[str, Any] = {}
    for name, value in _parts(strategy).items():
        found[f"{prefix}{name}"] = value
        if _has_parts(value):
            found |= strategy_params(value, f"{prefix}{name}__")
    return found


def with_strategy_params(strategy: Any, params: Mapping[str, Any]) -> Any:
    """Return a strategy with other parameters, those of members and parts named ``member__parameter``."""
    own = {name: value for name, value in params.items() if "__" not in name}
    for name in {key.partition("__")[0] for key in params if "__" in key}:
        inner = {key.partition("__")[2]: value for key, value in params.items() if key.startswith(f"{name}__")}
        own[name] = with_strategy_params(_parts(strategy)[name], inner)
    if isinstance(strategy, tuple):
        return tuple(own.get(str(place), value) for place, value in enumerate(strategy))
    return replace(strategy, **own)


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {str(place): one for place, one in enumerate(value)}
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _has_parts(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_has_parts(one) for one in value)
    return is_dataclass(value) and not isinstance(value, type)
