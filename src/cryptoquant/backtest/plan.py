"""A walk-forward study before it runs: everything that decides its result, as one value that can be changed."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.backtest.learning import Learner, ModelLearner, Retraining, RuleLearner, SignalSearch, keys_of
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.simulator import rules_of
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.models.bundle import strategy_to_dict
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.estimator import as_model
from cryptoquant.models.identity import identity, user_code
from cryptoquant.models.model import Model
from cryptoquant.models.splits import Fold, WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs, Venue


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study is to do; ``dataclasses.replace`` makes a variant of it.

    Attributes
    ----------
    bars
        Schema ``bars``: the market that is traded.
    dataset, model
        What is learned from and what learns; both None for a rule over bars.
    """

    name: str
    bars: pl.DataFrame
    strategy: Strategy
    splits: WalkForward
    venue: Venue
    dataset: Dataset | None = None
    model: Model | None = None
    tune: Tune | None = None
    tune_strategy: TuneStrategy | None = None
    retraining: Retraining = field(default_factory=Retraining)
    execution: Execution = field(default_factory=Execution)
    limits: RiskLimits | None = None
    cash: float = 100_000.0

    def __post_init__(self) -> None:
        kinds = {"splits": WalkForward, "venue": Venue, "retraining": Retraining, "execution": Execution}
        optional = {"tune": Tune, "tune_strategy": TuneStrategy, "limits": RiskLimits, "dataset": Dataset}
        for name, kind in {**kinds, **optional}.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and not (name in optional and value is None):
                raise TypeError(f"{name}: wanted {kind.__name__}, found {value!r}")
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"name: wanted a text, found {self.name!r}")
        if not isinstance(self.strategy, Strategy) or isinstance(self.strategy, type):
            raise TypeError(f"strategy: wanted a strategy, found {self.strategy!r}")
        if not 0.0 < self.cash < math.inf:
            raise ValueError(f"cash must be above zero and finite, found {self.cash}")
        reads = getattr(self.strategy, "reads_signals", False)
        if self.model is None and reads:
            raise ValueError(f"{type(self.strategy).__name__} reads signals: give a dataset and a model")
        if self.model is None and self.tune is not None:
            raise ValueError("tune searches a model's parameters: for a rule give tune_strategy")
        strategy_to_dict(self.strategy)

    @classmethod
    def of(
        cls,
        dataset: Any,
        model: Any,
        strategy: Strategy,
        splits: WalkForward,
        costs: Costs | None = None,
        tune: Tune | None = None,
        *,
        venue: Venue | None = None,
        **rest: Any,
    ) -> "Plan":
        """Return the plan of a dataset and a model, or of bars and None; parameters as of ``walk_forward``."""
        rest["name"] = rest.get("name", "study") or ""
        is_rule = model is None and not isinstance(dataset, Dataset)
        if model is not None and not isinstance(dataset, Dataset):
            raise TypeError(f"a model learns from a Dataset, found {type(dataset).__name__}: Dataset.build makes one")
        return cls(
            bars=check_bars(validate(dataset, "bars")) if is_rule else dataset.bars,
            strategy=strategy,
            splits=splits,
            venue=rules_of(venue, _costs(costs)),
            dataset=None if model is None else dataset,
            model=None if model is None else as_model(model),
            tune=tune,
            **{name: value for name, value in rest.items() if value is not None},
        )

    def on(self, bars: pl.DataFrame) -> "Plan":
        """Return the same plan for another market: features and labels are computed anew from its bars."""
        dataset = None if self.dataset is None else replace(self.dataset, bars=bars)
        return replace(self, bars=bars, dataset=dataset)

    @cached_property
    def panel(self) -> Panel:
        """The whole market."""
        return Panel.from_frame(self.bars)

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds, oldest first; of a rule they count slices."""
        if self.dataset is not None:
            return self.splits.split(self.dataset)
        return self.splits.cut(self.panel.times, self.panel.times, self.panel.width)

    @property
    def eras(self) -> list[list[Fold]]:
        """The folds from one search to the next."""
        length = self.retraining.eras
        return [self.folds[first : first + length] for first in range(0, len(self.folds), length)]

    @property
    def scenario(self) -> Scenario:
        """What is traded over all test spans, with the strategy as it is and without signals."""
        start, end = self.folds[0].test_start, self.folds[-1].test_end
        terms = (self.strategy, self.venue, self.execution, self.cash, self.limits)
        return Scenario(self.name, self.panel, start, end, *terms)

    def learner(self) -> Learner:
        """Return what learns the folds."""
        if self.dataset is None or self.model is None:
            return RuleLearner(self.scenario, self.panel.times, self.tune_strategy)
        search = None
        if self.tune_strategy is not None:
            search = SignalSearch(self.tune_strategy, keys_of(self.dataset), self.scenario, self.dataset.horizon)
        return ModelLearner(self.dataset.examples, self.model, self.tune, self.retraining, self.strategy, search)

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """The whole configuration as plain JSON values, the same in every process."""
        chosen = {
            "data": self.fingerprint,
            "model": None if self.model is None else [type(self.model).__name__, self.model.get_params()],
            "tune": None if self.tune is None else self.tune.to_dict(),
            "splits": asdict(self.splits),
            "strategy": strategy_to_dict(self.strategy),
            "execution": self.execution.to_dict(),
            "costs": asdict(self.venue.costs),
            "limits": None if self.limits is None else asdict(self.limits),
            "cash": self.cash,
        }
        if self.venue != Venue.alpaca(self.venue.costs):
            chosen["venue"] = asdict(self.venue)
        if self.tune_strategy is not None:
            chosen["tune_strategy"] = self.tune_strategy.to_dict()
        code = user_code([self.model, self.strategy])
        if code:
            chosen["code"] = code
        if self.retraining != Retraining():
            chosen["retraining"] = asdict(self.retraining)
        plain: dict[str, Any] = json.loads(json.dumps(identity(chosen), sort_keys=True))
        return plain

    @cached_property
    def key(self) -> str:
        """Digest of the configuration: the same one on the same data is one trial, however often it ran."""
        return hashlib.sha256(json.dumps(self.chosen, sort_keys=True).encode()).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the data."""
        if self.dataset is not None:
            return self.dataset.fingerprint
        digest = hashlib.sha256(json.dumps(self.panel.symbols).encode())
        digest.update(self.panel.times.tobytes() + self.panel.known.tobytes())
        for name in FIELDS:
            digest.update(np.ascontiguousarray(self.panel.field(name)).tobytes())
        return digest.hexdigest()


def _costs(costs: Any) -> Costs | None:
    if costs is not None and not isinstance(costs, Costs):
        raise TypeError(f"costs: wanted Costs, found {costs!r}")
    return costs
