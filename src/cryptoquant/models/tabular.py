"""Models that draw a line through one row at a time, and what every model of classes asks of its training rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.features import scaling
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.alone import alone
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters, Predictor
from cryptoquant.models.ranges import ClassWeight, check_above, check_one_of
from cryptoquant.models.rows import weigh_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Logistic(Parameters):
    """Logistic regression on standardised features, for the probability of a rise.

    Parameters
    ----------
    strength
        Inverse of the L2 penalty (scikit-learn's ``C``).
    class_weight
        ``balanced`` lets both classes count the same in total.

    Raises
    ------
    ValueError
        The strength is not above zero.
    """

    strength: float = 1.0
    class_weight: ClassWeight = None

    def __post_init__(self) -> None:
        check_above(self, "strength")
        check_one_of(self, "class_weight", None, "balanced")

    def fit(self, examples: Examples) -> Predictor:
        """Return the line learned from the examples; mean and deviation are those of the same rows."""
        from sklearn.linear_model import LogisticRegression

        check_classes(examples)
        heavy = balanced(examples) if self.class_weight else examples
        mean, scale = moments(examples.features)
        line = LogisticRegression(C=self.strength, max_iter=1_000)
        with alone():
            fitted = line.fit((heavy.features - mean) / scale, heavy.rises, sample_weight=heavy.weights)
        slope = fitted.coef_[0] / scale
        return Line(slope, float(fitted.intercept_[0] - (slope * mean).sum()))


@dataclass(frozen=True, slots=True)
class Ridge(Parameters):
    """Linear regression of the targets on standardised features, with an L2 penalty.

    Targets that are the labels' returns give expected returns, others scores.

    Parameters
    ----------
    penalty
        For each row: the squared errors of n rows weigh against ``n * penalty`` times the squared slopes, so that it
        means the same for every number of rows.

    Raises
    ------
    ValueError
        The penalty is not above zero.
    """

    penalty: float = 0.01

    def __post_init__(self) -> None:
        check_above(self, "penalty")

    def fit(self, examples: Examples) -> Predictor:
        """Return the line learned from the targets of the examples; mean and deviation are those of the same rows."""
        from sklearn.linear_model import Ridge as Regression

        check_targets(examples)
        mean, scale = moments(examples.features)
        line = Regression(alpha=self.penalty * float(examples.weights.sum()), solver="cholesky")
        with alone():
            fitted = line.fit((examples.features - mean) / scale, examples.targets, sample_weight=examples.weights)
        slope = fitted.coef_ / scale
        return Line(slope, float(fitted.intercept_ - (slope * mean).sum()), examples.target_kind)


class Line:
    """A fitted line; values are probabilities of a rise, the returns expected, or scores."""

    window = 1

    def __init__(self, slope: Floats, intercept: float, kind: SignalKind = "probability") -> None:
        self.slope = np.ascontiguousarray(slope, dtype=np.float64)
        self.intercept = float(intercept)
        self.kind = kind

    def predict(self, rows: Floats) -> Floats:
        """Return the value of each row.

        Raises
        ------
        ModelError
            A row has another number of features.
        """
        table = np.ascontiguousarray(rows, dtype=np.float64)
        if table.shape[1] != len(self.slope):
            raise ModelError(f"rows of {table.shape[1]} features, the line was fitted on {len(self.slope)}")
        out = np.empty(len(table))
        weigh_rows(table, self.slope, self.intercept, self.kind == "probability", out)
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.json``: slope and intercept, and what the values mean."""
        text = json.dumps({"slope": self.slope.tolist(), "intercept": self.intercept, "kind": self.kind})
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        return {"format": "line", "file": f"{name}.json"}

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Line":
        """Return what ``save`` wrote; a line of version 0.1.0 gives probabilities."""
        found = json.loads((folder / description["file"]).read_text(encoding="utf-8"))
        kind = found.get("kind", "probability")
        slope = np.array(found["slope"], dtype=np.float64)
        if kind not in ("probability", "expected_return", "score") or slope.ndim != 1:
            raise ValueError(f"a {kind!r} of slopes of shape {slope.shape} is no line")
        intercept = float(found["intercept"])
        if not (np.isfinite(slope).all() and np.isfinite(intercept)):
            raise ValueError("slope and intercept are not finite")
        return cls(slope, intercept, kind)


def moments(rows: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each feature; infinity for the deviation of one that stands still.

    Divided by it, whatever such a feature becomes later has no influence.
    """
    mean, deviation = scaling.moments(rows)
    return mean, np.where(deviation > 0.0, deviation, np.inf)


def single(rows: Floats) -> NDArray[np.float32]:
    """Return rows in single precision, in which trees are grown.

    Raises
    ------
    ModelError
        A value is too large for it.
    """
    with np.errstate(over="ignore"):
        rounded = rows.astype(np.float32)
    if not np.isfinite(rounded).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(rounded))[0])
        raise ModelError(f"training row {row}: {rows[row, column]:g} of feature {column} is too large for trees")
    return rounded


def balanced(examples: Examples) -> Examples:
    """Return examples whose classes count the same in total, each row in proportion to its own weight.

    A class that no row counts for is left as it is.
    """
    ups = examples.rises == 1.0
    totals = examples.weights[~ups].sum(), examples.weights[ups].sum()
    factors = [0.5 * sum(totals) / total if total > 0.0 else 1.0 for total in totals]
    return replace(examples, weights=examples.weights * np.where(ups, factors[1], factors[0]))


def check_rows(examples: Examples) -> None:
    """Raise ModelError where nothing can be learned: no rows, a value that is not finite, no row that counts."""
    rows = examples.features
    if not len(rows):
        raise ModelError("no training rows")
    if not np.isfinite(rows).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise ModelError(f"training row {row} has no finite value in feature {column}")
    if not (examples.weights > 0.0).any():
        raise ModelError(f"none of the {len(rows)} training rows has a weight above zero")


def check_classes(examples: Examples) -> None:
    """Raise ModelError where a classifier cannot learn: no rows, a value that is not finite, one class only."""
    check_rows(examples)
    rises = examples.rises
    if not np.isin(rises, (0.0, 1.0)).all():
        row = int(np.argmin(np.isin(rises, (0.0, 1.0))))
        raise ModelError(
            f"training label {row} is {rises[row]:g}, wanted 0 or 1: leave out rows whose label is not known"
        )
    counting = rises[examples.weights > 0.0]
    classes = np.unique(counting)
    if len(classes) < 2:
        raise ModelError(f"all {len(counting)} training labels are {classes[0]:g}: nothing to learn")


def check_targets(examples: Examples) -> None:
    """Raise ModelError where a regression cannot learn: no rows, a value that is not finite, one target only."""
    check_rows(examples)
    targets = examples.targets
    if not np.isfinite(targets).all():
        row = int(np.argmin(np.isfinite(targets)))
        raise ModelError(
            f"training target {row} is {targets[row]:g}, wanted a number: leave out rows whose label is not known"
        )
    counting = targets[examples.weights > 0.0]
    if counting.min() == counting.max():
        raise ModelError(f"all {len(counting)} training targets are {counting[0]:g}: nothing to learn")
