"""An experiment: one TOML file that says everything of a walk-forward study, checked before anything runs."""

import difflib
import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cryptoquant import features as catalogue
from cryptoquant import models
from cryptoquant.backtest.learning import Retraining
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.sections import (
    Contents,
    CostsSection,
    ExecutionSection,
    LabelSection,
    Section,
    TuneSection,
    TuneStrategySection,
    VenueSection,
)
from cryptoquant.backtest.strategy_search import TuneStrategy, strategy_params
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress, run_plan
from cryptoquant.data.store import Store
from cryptoquant.errors import ConfigurationError
from cryptoquant.features import FeatureSet, Label
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.market.time import span
from cryptoquant.models.bundle import PARTS, STRATEGIES
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.model import Model
from cryptoquant.models.objectives import SharpeAfterCosts, brier, log_loss, squared_error
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs, Venue

MODELS: Mapping[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        models.LSTM,
        models.TCN,
        models.Average,
        models.Calibrated,
        models.ExtraTrees,
        models.HistGradientBoosting,
        models.Logistic,
        models.RandomForest,
        models.Ridge,
        models.Scaled,
        models.Stacked,
        models.Vetoed,
        models.Weighted,
        models.XGBoost,
    )
}
LIMITS: Mapping[str, Any] = {"RiskLimits": RiskLimits}
OBJECTIVES: Mapping[str, Any] = {"log_loss": log_loss, "brier": brier, "squared_error": squared_error}
S = TypeVar("S", bound=Section)
READY = {"classic": catalogue.classic, "alpha158": catalogue.alpha158}


class Experiment:
    """A walk-forward study as one typed file.

    Parameters
    ----------
    contents
        The file's values.

    Raises
    ------
    ConfigurationError
        A key is unknown or a value is wrong.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        learns = [contents.features is not None, contents.label is not None, contents.model is not None]
        if any(learns) and not all(learns):
            raise ConfigurationError("features, label and model belong together: give all three, or none for a rule")
        self.features = None if contents.features is None else _features(contents.features)
        self.label = None if contents.label is None else _label(contents.label)
        self.model: Model | None = None if contents.model is None else _model("model", contents.model)
        self.strategy: Strategy = _strategy("strategy", contents.strategy)
        self.splits = made("splits", "WalkForward", contents.splits.model_dump(), {"WalkForward": WalkForward})
        self.costs = _costs(contents.costs)
        self.execution = _execution(contents.execution)
        self.venue: Venue = _venue(contents.venue, self.costs)
        limits = _given(contents.limits)
        self.limits: RiskLimits | None = made("limits", "RiskLimits", limits, LIMITS) if limits else None
        self.tune = _tune(contents.tune, self.model, self.costs)
        self.tune_strategy = _tune_strategy(contents.tune_strategy, self.strategy)
        turns = contents.retraining.model_dump()
        self.retraining = made("retraining", "Retraining", turns, {"Retraining": Retraining})

    @property
    def name(self) -> str:
        """The study's name: trials of one name are counted together."""
        return self.contents.name

    @classmethod
    def read(cls, path: str | Path) -> "Experiment":
        """Read and check a file.

        Raises
        ------
        ConfigurationError
            The file is absent or no TOML, a key is unknown or a value is wrong; the message names the path of the key.
        """
        place = Path(path)
        try:
            values = tomllib.loads(place.read_text(encoding="utf-8"))
            contents = Contents.model_validate(values)
        except OSError as error:
            raise ConfigurationError(f"{place}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{place}: {error}") from error
        except ValidationError as error:
            raise ConfigurationError(f"{place}: {_said(error, Contents)}") from error
        try:
            return cls(contents)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error}") from error

    def plan(self, store: Store | None = None, bars: Any = None) -> Plan:
        """Return the plan of the study over the experiment's bars.

        Parameters
        ----------
        store
            Where the bars are; by default the file's.
        bars
            Other bars instead (schema ``bars``, polars or pandas).

        Raises
        ------
        ConfigurationError
            Parts of the file do not go together.
        """
        table = self._bars(store) if bars is None else bars
        dataset = None
        if self.features is not None and self.label is not None:
            dataset = Dataset.build(table, self.features, self.label)
        try:
            return Plan.of(
                table if dataset is None else dataset,
                self.model,
                self.strategy,
                self.splits,
                None,
                self.tune,
                venue=self.venue,
                limits=self.limits,
                name=self.name,
                cash=self.contents.cash,
                execution=self.execution,
                tune_strategy=self.tune_strategy,
                retraining=self.retraining,
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def run(
        self,
        store: Store | None = None,
        *,
        ledger: TrialLedger | None = None,
        jobs: int | None = None,
        progress: Progress | bool = False,
        resume: str | Path | None = None,
    ) -> Study:
        """Run the walk-forward study; parameters as of ``walk_forward``."""
        return run_plan(self.plan(store), ledger=ledger, jobs=jobs, progress=progress, resume=resume)

    def _bars(self, store: Store | None) -> Any:
        data = self.contents.data
        home = store or Store(data.store)
        return home.bars(data.symbols, data.timeframe, start=data.start, end=data.end)


def _features(rows: list[dict[str, Any]]) -> FeatureSet:
    chosen = [one for number, row in enumerate(rows) for one in _chosen(f"features[{number}]", row)]
    return made("features", "FeatureSet", {"features": chosen}, {"FeatureSet": FeatureSet})  # type: ignore[no-any-return]


def _chosen(where: str, row: dict[str, Any]) -> list[Any]:
    """Return the features of a table: one, a ready set, or those of a longer timeframe with its own ``features``."""
    rest = {key: value for key, value in row.items() if key != "name"}
    if row.get("name") in READY:
        return list(made(where, row["name"], rest, READY))
    if row.get("name") != "timeframe":
        return [_kind(where, row, CONSTRUCTORS, "name")]
    inner = enumerate(rest.pop("features", []))
    rest["features"] = [one for number, part in inner for one in _chosen(f"{where}.features[{number}]", part)]
    if "stale" in rest:
        rest["stale"] = made(where, "span", {"timeframe": rest["stale"]}, {"span": span})
    return [made(where, "timeframe", rest, {"timeframe": catalogue.timeframe})]


def _label(section: LabelSection) -> Label:
    given = {key: value for key, value in _given(section).items() if key != "kind"}
    label: Label = made("label", section.kind, given, {section.kind: getattr(catalogue, section.kind)})
    return label


def _strategy(where: str, value: Any) -> Any:
    """Return the strategy of a table, with its parts and members, which are tables that name their ``kind`` too."""
    if isinstance(value, list):
        return tuple(_strategy(f"{where}[{number}]", one) for number, one in enumerate(value))
    if not isinstance(value, dict):
        return value
    inner = {key: _strategy(f"{where}.{key}", one) for key, one in value.items()}
    return _kind(where, inner, STRATEGIES if where == "strategy" else {**STRATEGIES, **PARTS})


def _model(where: str, value: Any) -> Any:
    """Return the model of a table, with those that it is made of, which are tables that name their ``kind`` too."""
    if isinstance(value, list):
        return tuple(_model(f"{where}[{number}]", one) for number, one in enumerate(value))
    if not isinstance(value, dict):
        return value
    inner = {key: _model(f"{where}.{key}", one) for key, one in value.items() if key not in ("scaler", "embargo")}
    if "scaler" in value:
        if not isinstance(value["scaler"], dict):
            raise ConfigurationError(f"{where}.scaler: wanted a table such as {{ kind = 'robust' }}")
        inner["scaler"] = made(f"{where}.scaler", "Scaler", value["scaler"], {"Scaler": catalogue.Scaler})
    if "embargo" in value:
        if not isinstance(value["embargo"], str):
            raise ConfigurationError(f"{where}.embargo: wanted a span such as '12h', found {value['embargo']!r}")
        inner["embargo"] = made(f"{where}.embargo", "span", {"timeframe": value["embargo"]}, {"span": span})
    return _kind(where, inner, MODELS)


def _costs(section: CostsSection) -> Costs:
    given = _given(section)
    ways = [names for names in (("tier",), ("schedule",), ("maker_bps", "taker_bps")) if set(names) & set(given)]
    if len(ways) > 1 or any(name not in given for names in ways for name in names):
        raise ConfigurationError("costs: give a tier, a schedule, or both maker_bps and taker_bps")
    try:
        fees = Costs.of(given.pop("schedule")) if "schedule" in given else Costs.alpaca(given.pop("tier", 1))
        return replace(fees, **given)
    except ValueError as error:
        raise ConfigurationError(f"costs: {error}") from error


def _execution(section: ExecutionSection) -> Execution:
    return made("execution", "Execution", _given(section), {"Execution": Execution})  # type: ignore[no-any-return]


def _venue(section: VenueSection, costs: Costs) -> Venue:
    given = {name: value for name, value in _given(section).items() if name not in ("kind", "allows_short")}
    shorts = section.allows_short
    if section.kind == "alpaca" and shorts:
        raise ConfigurationError("venue.allows_short: the venue has no shorts; kind = 'research' allows them")
    base = Venue.alpaca(costs) if section.kind == "alpaca" else Venue.research(costs, allows_short=shorts is not False)
    try:
        return replace(base, **given)
    except ValueError as error:
        raise ConfigurationError(f"venue: {error}") from error


def costs_of(values: Mapping[str, Any]) -> Costs:
    """Return the costs that a ``[costs]`` table says; errors as for a file."""
    return _costs(section_of("costs", CostsSection, values))


def execution_of(values: Mapping[str, Any]) -> Execution:
    """Return the execution that an ``[execution]`` table says; errors as for a file."""
    return _execution(section_of("execution", ExecutionSection, values))


def section_of(where: str, kind: type[S], values: Mapping[str, Any]) -> S:
    """Return a table of a file, typed; what is wrong with it is said with its path in the file."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigurationError(f"{where}.{_said(error, kind)}") from error


def _given(section: Section) -> dict[str, Any]:
    """Return what a table says, without what it leaves out."""
    return {key: value for key, value in section.model_dump().items() if value is not None}


def _tune(section: TuneSection | None, model: Model | None, costs: Costs) -> Tune | None:
    if section is None:
        return None
    if model is None:
        raise ConfigurationError("tune: searches a model's parameters, and there is none; a rule has tune_strategy")
    space = _space("tune", section.space, model.get_params())
    values = section.model_dump(exclude={"threshold"})
    losses = {**OBJECTIVES, "sharpe": SharpeAfterCosts(section.threshold, costs)}
    wanted = [section.objective] if isinstance(section.objective, str) else section.objective
    for name in wanted:
        if name not in losses:
            raise ConfigurationError(f"tune.objective: {name!r} is unknown{_nearest(name, losses)}")
    values |= {"space": space, "objective": tuple(losses[name] for name in wanted)}
    return made("tune", "Tune", values, {"Tune": Tune})  # type: ignore[no-any-return]


def _tune_strategy(section: TuneStrategySection | None, strategy: Strategy) -> TuneStrategy | None:
    if section is None:
        return None
    space = _space("tune_strategy", section.space, strategy_params(strategy))
    values = {**section.model_dump(), "space": space}
    return made("tune_strategy", "TuneStrategy", values, {"TuneStrategy": TuneStrategy})  # type: ignore[no-any-return]


def _space(where: str, space: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    for name in space:
        if name not in known:
            raise ConfigurationError(f"{where}.space.{name}: unknown{_nearest(name, known)}")
    return {name: _range(f"{where}.space.{name}", choice) for name, choice in space.items()}


def _range(where: str, choice: list[Any] | dict[str, Any]) -> Any:
    """Return a range, or a list of choices: two numbers are a range, unless they stand under ``choices``."""
    if isinstance(choice, dict):
        if set(choice) != {"choices"} or not isinstance(choice["choices"], list):
            raise ConfigurationError(f"{where}: wanted {{ choices = [...] }}, found {choice}")
        return list(choice["choices"])
    numbers = [type(one) in (int, float) for one in choice]
    is_range = numbers == [True, True] or (numbers == [True, True, False] and choice[2] == "log")
    return tuple(choice) if is_range else list(choice)


def _kind(where: str, values: dict[str, Any], known: Mapping[str, Any], naming: str = "kind") -> Any:
    """Return what a table describes that names its class or function under ``naming``."""
    if naming not in values:
        raise ConfigurationError(f"{where}.{naming}: absent; found {', '.join(values) or 'nothing'}")
    parameters = {key: value for key, value in values.items() if key != naming}
    return made(where, values[naming], parameters, known)


def made(where: str, name: Any, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """Return ``known[name](**parameters)``; what is wrong is said with its path in the file."""
    if name not in known:
        raise ConfigurationError(f"{where}: {name!r} is unknown{_nearest(str(name), known)}")
    taken = inspect.signature(known[name]).parameters
    for key in parameters:
        if key not in taken:
            raise ConfigurationError(f"{where}.{key}: unknown{_nearest(key, taken)}")
    try:
        return known[name](**parameters)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


def _said(error: ValidationError, root: type[Section]) -> str:
    """Return the first thing that is wrong with a table; a misspelt key before the key that it leaves missing."""
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{place}: absent"
    if first["type"] != "extra_forbidden":
        return f"{place}: {first['msg'].removeprefix('Value error, ')}, found {first['input']!r}"
    section: Any = root
    for part in first["loc"][:-1]:
        kind = section.model_fields[part].annotation
        section = next((one for one in getattr(kind, "__args__", ()) if one is not type(None)), kind)
    return f"{place}: unknown{_nearest(str(first['loc'][-1]), section.model_fields)}"
