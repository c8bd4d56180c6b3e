"""Models of one row at a time: gradient-boosted trees and a linear model."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.errors import BundleError, ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.model import Predictor

Floats = NDArray[np.float64]


class TabularModel:
    """What the models of this file share: parameters are the fields of a frozen dataclass."""

    def get_params(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters; raises ValueError for an unknown name."""
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            known = ", ".join(self.get_params())
            raise ValueError(f"{type(self).__name__} has no parameter {', '.join(unknown)}; it has {known}")
        return replace(self, **params)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class XGBoost(TabularModel):
    """Gradient-boosted trees for the probability of a rise (Chen & Guestrin 2016), histogram splits.

    Fitted with one thread, so that a seed gives the same model wherever it runs; folds are what runs in parallel.

    Parameters
    ----------
    max_depth, n_estimators, learning_rate, min_child_weight, subsample, colsample_bytree, reg_lambda
        As in xgboost.
    seed
        Of row and column sampling.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    max_depth: int = 4
    n_estimators: int = 200
    learning_rate: float = 0.05
    min_child_weight: float = 20.0
    subsample: float = 0.8
    colsample_bytree: float = 0.8
    reg_lambda: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("max_depth", 1), ("n_estimators", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} must be a whole number from {low}, found {value!r}")
        for name, high in (("learning_rate", 1.0), ("subsample", 1.0), ("colsample_bytree", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value <= high:
                raise ValueError(f"{name} must lie in (0, {high:g}], found {value!r}")
        for name in ("min_child_weight", "reg_lambda"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must not be negative, found {value!r}")

    def fit(self, rows: Floats, rises: Floats, returns: Floats) -> Predictor:
        """Return the trees learned from the rows; ``returns`` is not used."""
        import xgboost

        _check_training(rows, rises)
        settings = {name: value for name, value in asdict(self).items() if name != "n_estimators"}
        settings |= {"objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0}
        matrix = xgboost.DMatrix(rows.astype(np.float32), label=rises, nthread=1)
        return Trees(xgboost.train(settings, matrix, num_boost_round=self.n_estimators))


class Trees:
    """A fitted booster; values are probabilities of a rise."""

    kind: SignalKind = "probability"

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.booster.set_param({"nthread": 1})

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each row."""
        values: Floats = self.booster.inplace_predict(np.ascontiguousarray(rows, dtype=np.float32)).astype(np.float64)
        return values

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``model.ubj``, xgboost's own binary JSON."""
        self.booster.save_model(folder / "model.ubj")
        return {"format": "xgboost-ubj", "file": "model.ubj"}

    @classmethod
    def load(cls, path: Path) -> "Trees":
        """Read ``model.ubj``."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(path)
        return cls(booster)


@dataclass(frozen=True, slots=True)
class Logistic(TabularModel):
    """Logistic regression on standardised features, for the probability of a rise.

    Parameters
    ----------
    strength
        Inverse of the L2 penalty (scikit-learn's ``C``).

    Raises
    ------
    ValueError
        The strength is not above zero.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.strength, int | float) or not 0 < self.strength < np.inf:
            raise ValueError(f"strength must be above zero, found {self.strength!r}")

    def fit(self, rows: Floats, rises: Floats, returns: Floats) -> Predictor:
        """Return the line learned from the rows; mean and deviation are those of the same rows."""
        from sklearn.linear_model import LogisticRegression

        _check_training(rows, rises)
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        fitted = LogisticRegression(C=self.strength, max_iter=1_000).fit((rows - mean) / scale, rises)
        slope = fitted.coef_[0] / scale
        return Line(slope, float(fitted.intercept_[0] - (slope * mean).sum()))


@kernel
def logistic_rows(rows: Floats, slope: Floats, intercept: float, out: Floats) -> None:
    """Write ``1 / (1 + exp(-(intercept + slope . row)))`` for each row, added left to right."""
    for row in range(len(rows)):
        level = intercept
        for column in range(len(slope)):
            level += slope[column] * rows[row, column]
        out[row] = 1.0 / (1.0 + np.exp(-level))


class Line:
    """A fitted logistic line; values are probabilities of a rise."""

    kind: SignalKind = "probability"

    def __init__(self, slope: Floats, intercept: float) -> None:
        self.slope = np.ascontiguousarray(slope, dtype=np.float64)
        self.intercept = float(intercept)

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each row."""
        out = np.empty(len(rows))
        logistic_rows(np.ascontiguousarray(rows, dtype=np.float64), self.slope, self.intercept, out)
        return out

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``model.json``: slope and intercept."""
        text = json.dumps({"slope": self.slope.tolist(), "intercept": self.intercept})
        (folder / "model.json").write_text(text, encoding="utf-8")
        return {"format": "line-json", "file": "model.json"}

    @classmethod
    def load(cls, path: Path) -> "Line":
        """Read ``model.json``."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(np.array(found["slope"]), found["intercept"])


LOADERS: dict[str, Callable[[Path], Predictor]] = {"xgboost-ubj": Trees.load, "line-json": Line.load}


def load_predictor(folder: Path, description: dict[str, Any]) -> Predictor:
    """Return the predictor that ``save`` wrote; nothing is unpickled.

    Raises
    ------
    BundleError
        The format is unknown or the file cannot be read.
    """
    loader = LOADERS.get(description["format"])
    if loader is None:
        raise BundleError(f"model format {description['format']!r} is unknown; known: {', '.join(LOADERS)}")
    try:
        return loader(folder / description["file"])
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise BundleError(f"{description['file']} is not a readable {description['format']} model") from error


def _check_training(rows: Floats, rises: Floats) -> None:
    if not len(rows):
        raise ModelError("no training rows")
    if not np.isfinite(rows).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise ModelError(f"training row {row} has no finite value in feature {column}")
    if not np.isin(rises, (0.0, 1.0)).all():
        row = int(np.argmin(np.isin(rises, (0.0, 1.0))))
        raise ModelError(
            f"training label {row} is {rises[row]:g}, wanted 0 or 1: leave out rows whose label is not known"
        )
    classes = np.unique(rises)
    if len(classes) < 2:
        raise ModelError(f"all {len(rises)} training labels are {classes[0]:g}: nothing to learn")
