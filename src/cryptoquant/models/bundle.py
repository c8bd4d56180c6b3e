"""The one thing that is registered, promoted and deployed: a predictor with all that it needs to trade."""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import time, timedelta
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cryptoquant.errors import BundleError, DataError, ModelError
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.feature import Feature
from cryptoquant.features.feature_set import FeatureSet
from cryptoquant.market.signal import SignalKind
from cryptoquant.market.time import span_ns, timeframe_name
from cryptoquant.models.forecaster import Forecaster
from cryptoquant.models.formats import modern, read_predictor
from cryptoquant.models.identity import identity
from cryptoquant.models.model import Predictor
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import (
    Breakout,
    BuyAndHold,
    Ensemble,
    FixedQuantity,
    Followed,
    HierarchicalRiskParity,
    LongFlat,
    LongShort,
    MeanReversion,
    MeanVariance,
    Momentum,
    MovingAverageCross,
    OpeningMomentum,
    OvernightHold,
    ProbabilitySize,
    RiskParity,
    Schedule,
    Session,
    Strategy,
    Switch,
    TimeOfDay,
    TopK,
    VolatilityRegime,
    VolatilityScaled,
    VolatilityTarget,
    Voting,
)
from cryptoquant.trading.venue import Costs

FORMAT = 2
CONTENT = "bundle.json"
STRATEGIES: Mapping[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        Breakout,
        BuyAndHold,
        Ensemble,
        FixedQuantity,
        Followed,
        HierarchicalRiskParity,
        LongFlat,
        LongShort,
        MeanReversion,
        MeanVariance,
        Momentum,
        MovingAverageCross,
        OpeningMomentum,
        OvernightHold,
        ProbabilitySize,
        RiskParity,
        Switch,
        TimeOfDay,
        TopK,
        VolatilityScaled,
        VolatilityTarget,
        Voting,
    )
}
PARTS: Mapping[str, type[Any]] = {cls.__name__: cls for cls in (Schedule, Session, VolatilityRegime)}
LIBRARIES = (
    "cryptoquant", "numpy", "numba", "polars", "scikit-learn", "xgboost", "torch", "safetensors", "onnxruntime",
    "skl2onnx", "optuna", "mlflow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole strategy: what predicts, from which features, how it is traded, and why it is believed.

    Attributes
    ----------
    name
        Of the strategy, for example ``btc-eth-1h``.
    symbols, timeframe
        The universe in its fixed order and the length of a bar.
    predictor, features
        One predictor for research and live, and its own features.
    strategy, execution, costs
        How signals are traded, and the costs assumed.
    horizon
        Over which a signal holds.
    evidence
        What the walk-forward study found.
    fingerprints
        Digests of the data and of the study's configuration.
    study
        Name of the study that it comes from.
    chosen
        The symbols that it signals; by default the whole universe.
    trained_until
        When the last label that the predictor learned from was known, nanoseconds UTC; 0 where that was not kept.
    learner
        The model that was fitted: ``name`` and ``parameters``, those that were tuned included.
    digest
        The sha256 of the ``bundle.json`` that it was loaded from; empty where it was not.
    libraries
        Versions of Python and of the libraries that it was made with.
    """

    name: str
    symbols: tuple[str, ...]
    timeframe: str
    predictor: Predictor
    features: FeatureSet
    strategy: Strategy
    execution: Execution
    costs: Costs
    horizon: timedelta
    evidence: Evidence
    fingerprints: Mapping[str, str]
    study: str = ""
    chosen: tuple[str, ...] | None = None
    trained_until: int = 0
    learner: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(default="", compare=False)
    libraries: Mapping[str, str] = field(default_factory=lambda: library_versions(), compare=False)

    def forecaster(self) -> Forecaster:
        """Return a new step from feature rows to signals; see ``Forecaster.update``."""
        width = len(self.features.names)
        return Forecaster(self.name, self.predictor, self.symbols, width, span_ns(self.horizon), self.chosen)

    def save(self, folder: Path) -> Path:
        """Write the bundle into an empty folder: ``bundle.json`` and the model's files, with their digests.

        Raises
        ------
        ModelError
            The model cannot be kept in a safe format; the message names the one wanted.
        BundleError
            The folder holds files already.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BundleError(f"{folder} is not empty")
        model = self.predictor.save(folder)
        content = {
            "format": FORMAT,
            "name": self.name,
            "study": self.study,
            "symbols": list(self.symbols),
            "timeframe": timeframe_name(self.timeframe),
            "model": model,
            "files": {path.name: digest(path) for path in sorted(folder.iterdir())},
            "chosen": None if self.chosen is None else list(self.chosen),
            "trained_until": self.trained_until,
            "learner": dict(self.learner),
            "features": self.features.to_dict(),
            "features_fingerprint": self.features.fingerprint,
            "strategy": strategy_to_dict(self.strategy),
            "execution": self.execution.to_dict(),
            "costs": asdict(self.costs),
            "horizon_seconds": self.horizon.total_seconds(),
            "evidence": self.evidence.to_json(),
            "fingerprints": dict(self.fingerprints),
            "libraries": dict(self.libraries),
        }
        (folder / CONTENT).write_text(json.dumps(content, indent=1, sort_keys=True, default=identity), encoding="utf-8")
        return folder

    @classmethod
    def load(
        cls,
        folder: Path,
        strategies: Mapping[str, type[Any]] = STRATEGIES,
        features: Mapping[str, Callable[..., Feature]] = CONSTRUCTORS,
    ) -> "Bundle":
        """Read a bundle; nothing is unpickled and the model's digest must match.

        Parameters
        ----------
        strategies
            Classes by name; add your own to load a bundle that trades with it.
        features
            Constructors by name; add your own to load a bundle that reads their columns.

        Raises
        ------
        BundleError
            A file is missing or altered, the format is newer, or the features were computed by other code.
        """
        try:
            content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"no readable {CONTENT} in {folder.name}") from error
        if not isinstance(content, dict) or content.get("format") not in (1, FORMAT):
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise BundleError(f"{CONTENT}: bundle format {found}, this version reads 1 to {FORMAT}")
        try:
            if content["format"] == 1:
                content = _from_first(content)
            return cls._read(folder, content, strategies, features)
        except BundleError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise BundleError(f"{CONTENT} in {folder.name}: {type(error).__name__}: {error}") from error

    @classmethod
    def _read(
        cls,
        folder: Path,
        content: dict[str, Any],
        strategies: Mapping[str, type[Any]],
        constructors: Mapping[str, Callable[..., Feature]],
    ) -> "Bundle":
        for name, sha256 in content["files"].items():
            path = folder / name
            if Path(name).name != name or not path.is_file() or digest(path) != sha256:
                raise BundleError(f"{content['name']}: {name} is missing or was altered after registration")
        loose = sorted(set(_files_of(content["model"])) - set(content["files"]))
        if loose:
            raise BundleError(f"{content['name']}: {', '.join(loose)} is not among the files of the bundle")
        features = FeatureSet.from_dict(content["features"], constructors)
        if features.fingerprint != content["features_fingerprint"]:
            raise BundleError(f"{content['name']}: the features were computed by other code than this version's")
        predictor = read_predictor(folder, content["model"])
        _try(predictor, len(features.names))
        return cls(
            name=content["name"],
            symbols=tuple(content["symbols"]),
            timeframe=content["timeframe"],
            predictor=predictor,
            features=features,
            strategy=strategy_from_dict(content["strategy"], strategies),
            execution=Execution.from_dict(content["execution"]),
            costs=Costs(**content["costs"]),
            horizon=timedelta(seconds=content["horizon_seconds"]),
            evidence=Evidence.from_dict(content["evidence"]),
            fingerprints=content["fingerprints"],
            study=content["study"],
            chosen=None if content["chosen"] is None else tuple(content["chosen"]),
            trained_until=content["trained_until"],
            learner=content["learner"],
            digest=digest(folder / CONTENT),
            libraries=content["libraries"],
        )


def _files_of(description: Any) -> Iterator[str]:
    """Yield the file names in the description of a model and of those that it is made of."""
    if isinstance(description, Mapping):
        for key, value in description.items():
            if key == "file":
                yield str(value)
            yield from _files_of(value)
    elif isinstance(description, list):
        for one in description:
            yield from _files_of(one)


def _try(predictor: Predictor, width: int) -> None:
    """Predict from rows of zeros, so that a model of another shape is refused now and not at the first bar."""
    if predictor.kind not in get_args(SignalKind):
        raise BundleError(f"the model predicts {predictor.kind!r}, wanted one of {', '.join(get_args(SignalKind))}")
    try:
        found = predictor.predict(np.zeros((predictor.window, width)))
    except (ModelError, DataError, IndexError, ValueError) as error:
        raise BundleError(f"the model does not predict from {width} features: {error}") from error
    if found.shape != (1,):
        raise BundleError(f"the model predicts values of shape {found.shape} from one window of {width} features")


def _from_first(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a bundle of format 1 as it is written today."""
    model = content["model"]
    return {
        **content,
        "model": modern(model),
        "files": {model["file"]: model["sha256"]},
        "chosen": None,
        "trained_until": 0,
        "learner": {},
    }


def strategy_to_dict(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy's class name and its frozen parameters, those of its parts and members included.

    Raises
    ------
    TypeError
        The strategy is no dataclass, so that its parameters cannot be told, or one of them is no value of JSON.
    """
    if not is_dataclass(strategy) or isinstance(strategy, type):
        raise TypeError(f"a strategy to study or register is a frozen dataclass, found {strategy!r}")
    values = {one.name: _plain(getattr(strategy, one.name), one.name) for one in fields(strategy)}
    return {"name": type(strategy).__name__, "parameters": values}


def strategy_from_dict(content: Mapping[str, Any], strategies: Mapping[str, type[Any]] = STRATEGIES) -> Strategy:
    """Return the strategy of ``strategy_to_dict``.

    Raises
    ------
    BundleError
        The class is not among ``strategies``.
    """
    known = {**PARTS, **strategies}.get(content["name"])
    if known is None:
        raise BundleError(f"strategy {content['name']} is unknown; known: {', '.join(sorted(strategies))}")
    strategy: Strategy = known(**{key: _lively(value, strategies) for key, value in content["parameters"].items()})
    return strategy


def _plain(value: Any, name: str) -> Any:
    """Return a parameter as JSON-ready values; a span as its seconds, a time of day as its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    if isinstance(value, time):
        return {"time": value.isoformat()}
    if isinstance(value, tuple | list):
        return [_plain(one, name) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one, name) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return strategy_to_dict(value)  # type: ignore[arg-type]
    raise TypeError(f"{name}: a parameter of a strategy to study or register is a plain value, found {value!r}")


def _lively(value: Any, strategies: Mapping[str, type[Any]]) -> Any:
    """Return what ``_plain`` was given; a list as a tuple."""
    if isinstance(value, list):
        return tuple(_lively(one, strategies) for one in value)
    if isinstance(value, dict):
        keys = set(value)
        if keys == {"name", "parameters"}:
            return strategy_from_dict(value, strategies)
        if keys == {"seconds"}:
            return timedelta(seconds=value["seconds"])
        if keys == {"time"}:
            return time.fromisoformat(value["time"])
        return {key: _lively(one, strategies) for key, one in value.items()}
    return value


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result depends on."""
    return dict(_versions())


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def code_fingerprint() -> str:
    """Return a digest of all of this library's source, as it was when it was first asked for."""
    root, whole = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
