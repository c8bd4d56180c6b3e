"""Models of one row at a time: gradient-boosted trees and a linear model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters, Predictor

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class XGBoost(Parameters):
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

    def fit(self, examples: Examples) -> Predictor:
        """Return the trees learned from the classes of the examples."""
        import xgboost

        check_classes(examples)
        settings = {name: value for name, value in asdict(self).items() if name != "n_estimators"}
        settings |= {"objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0}
        matrix = xgboost.DMatrix(
            examples.features.astype(np.float32), label=examples.rises, weight=examples.weights, nthread=1
        )
        return Trees(xgboost.train(settings, matrix, num_boost_round=self.n_estimators))


class Trees:
    """A fitted booster; values are probabilities of a rise."""

    kind: SignalKind = "probability"
    window = 1

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.booster.set_param({"nthread": 1})

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each row."""
        values: Floats = self.booster.inplace_predict(np.ascontiguousarray(rows, dtype=np.float32)).astype(np.float64)
        return values

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.ubj``, xgboost's own binary JSON."""
        self.booster.save_model(folder / f"{name}.ubj")
        return {"format": "xgboost", "file": f"{name}.ubj"}

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Trees":
        """Return what ``save`` wrote."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(folder / description["file"])
        return cls(booster)


@dataclass(frozen=True, slots=True)
class Logistic(Parameters):
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

    def fit(self, examples: Examples) -> Predictor:
        """Return the line learned from the examples; mean and deviation are those of the same rows."""
        from sklearn.linear_model import LogisticRegression

        check_classes(examples)
        rows = examples.features
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        fitted = LogisticRegression(C=self.strength, max_iter=1_000).fit(
            (rows - mean) / scale, examples.rises, sample_weight=examples.weights
        )
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
    window = 1

    def __init__(self, slope: Floats, intercept: float) -> None:
        self.slope = np.ascontiguousarray(slope, dtype=np.float64)
        self.intercept = float(intercept)

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each row."""
        out = np.empty(len(rows))
        logistic_rows(np.ascontiguousarray(rows, dtype=np.float64), self.slope, self.intercept, out)
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.json``: slope and intercept."""
        text = json.dumps({"slope": self.slope.tolist(), "intercept": self.intercept})
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        return {"format": "line", "file": f"{name}.json"}

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Line":
        """Return what ``save`` wrote."""
        found = json.loads((folder / description["file"]).read_text(encoding="utf-8"))
        return cls(np.array(found["slope"]), found["intercept"])


def check_classes(examples: Examples) -> None:
    """Raise ModelError where a classifier cannot learn: no rows, a value that is not finite, one class only."""
    rows, rises = examples.features, examples.rises
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
