"""Probabilities that mean what they say: a curve from a model's values to how often the price rose after them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.alone import alone
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.members import changed_members, member_params, out_of_fold, refuse_unknown
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.ranges import check_one_of, check_span, check_whole
from cryptoquant.models.rows import bend, interpolate
from cryptoquant.models.tabular import check_classes, moments

Floats = NDArray[np.float64]
STEPS = 100


class Curve(Protocol):
    """Turns values into probabilities, one by one; NaN stays NaN."""

    def apply(self, values: Floats) -> Floats:
        """Return the probability for each value."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model whose values are turned into probabilities by a curve fitted on values out of fold.

    The curve never sees a value of rows that its predictor learned from: each purged block of the training rows is
    predicted by a model of the others. The model kept is then learned from all training rows.

    Parameters
    ----------
    model
        What learns; its parameters are named ``model__...``.
    method
        ``sigmoid``: a logistic line through the values (log odds, where they are probabilities), with the targets of
        Platt (1999), "Probabilistic outputs for support vector machines". ``isotonic``: the rising steps of least
        squares (Zadrozny & Elkan 2002), joined by lines, which want more rows.
    folds, embargo
        Blocks of consecutive time, at least 2, and the time after each from which nothing is learned.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    TypeError
        What learns is neither a model nor an estimator of scikit-learn.
    """

    model: Model
    method: Literal["sigmoid", "isotonic"] = "sigmoid"
    folds: int = 4
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        check_one_of(self, "method", "sigmoid", "isotonic")
        check_whole(self, 2, "folds")
        check_span(self, "embargo")

    def get_params(self) -> dict[str, Any]:
        """Return what the model is, its parameters, and those of the calibration."""
        own = {"method": self.method, "folds": self.folds, "embargo": self.embargo}
        return {**own, **member_params({"model": self.model})}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters, those of the model named ``model__...``."""
        members = changed_members(self, {"model": self.model}, params)
        own = {name: params.pop(name, getattr(self, name)) for name in ("method", "folds", "embargo")}
        refuse_unknown(self, params)
        return type(self)(members["model"], **own)

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor learned from all examples, behind the curve of their values out of fold.

        Raises
        ------
        ModelError
            The rows cannot be cut or learned from, or no value out of fold is there to fit the curve on.
        """
        check_classes(examples)
        values = out_of_fold(self.model, examples, self.folds, self.embargo)
        predictor = self.model.fit(examples)
        said = np.isfinite(values) & (examples.weights > 0.0)
        rises, weights = examples.rises[said], examples.weights[said]
        if len(np.unique(rises)) < 2:
            raise ModelError(f"the {int(said.sum())} values out of fold are not of both classes: no curve to fit")
        if self.method == "isotonic":
            return CalibratedPredictor(predictor, Steps.fit(values[said], rises, weights))
        is_odds = predictor.kind == "probability"
        with alone():
            curve = Sigmoid.fit(values[said], rises, weights, is_odds=is_odds)
        return CalibratedPredictor(predictor, curve)


@dataclass(frozen=True, slots=True)
class CalibratedPredictor:
    """A fitted model and the curve that its values are read by."""

    predictor: Predictor
    curve: Curve

    @property
    def kind(self) -> SignalKind:
        """A probability, whatever the model gives."""
        return "probability"

    @property
    def window(self) -> int:
        """That of the model."""
        return self.predictor.window

    def predict(self, rows: Floats) -> Floats:
        """Return the probability for each value of the model."""
        return self.curve.apply(self.predictor.predict(rows))

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write the model's files; the curve stands in the description."""
        return {"format": "calibrated", "model": self.predictor.save(folder, name), "curve": self.curve.to_dict()}

    @classmethod
    def read(
        cls, folder: Path, description: Mapping[str, Any], read: Callable[[Path, Mapping[str, Any]], Predictor]
    ) -> "CalibratedPredictor":
        """Return what ``save`` wrote."""
        inner = dict(description["curve"])
        method = inner.pop("method")
        curve = Sigmoid(**inner) if method == "sigmoid" else Steps(inner["corners"], inner["levels"])
        return cls(read(folder, description["model"]), curve)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """The logistic function of a line through the values, or through their log odds."""

    slope: float
    offset: float
    is_odds: bool

    @classmethod
    def fit(cls, values: Floats, rises: Floats, weights: Floats, *, is_odds: bool) -> "Sigmoid":
        """Return the line of the largest likelihood, by Newton's steps.

        The targets are those of Platt (1999), section 2.2: (N+ + 1) / (N+ + 2) of a rise and 1 / (N- + 2) of a fall,
        with the weights scaled so that they sum to the number of rows.
        """
        mass = weights * (len(weights) / weights.sum())
        ups, downs = mass[rises == 1.0].sum(), mass[rises == 0.0].sum()
        target = np.where(rises == 1.0, (ups + 1.0) / (ups + 2.0), 1.0 / (downs + 2.0))
        level = values
        if is_odds:
            bounded = np.clip(values, 1e-12, 1.0 - 1e-12)
            level = np.log(bounded / (1.0 - bounded))
        (centre,), (spread,) = moments(level[:, None])
        table = np.column_stack([(level - centre) / spread, np.ones(len(level))])
        line = np.array([0.0, np.log((ups + 1.0) / (downs + 1.0))])

        def loss(line: Floats) -> float:
            heights = table @ line
            return float((mass * (np.logaddexp(0.0, heights) - target * heights)).sum())

        for _ in range(STEPS):
            chance = 1.0 / (1.0 + np.exp(-(table @ line)))
            slope = table.T @ (mass * (chance - target))
            bend_of = (table * (mass * chance * (1.0 - chance))[:, None]).T @ table + 1e-10 * np.eye(2)
            step = np.linalg.solve(bend_of, slope)
            before, share = loss(line), 1.0
            while loss(line - share * step) > before and share > 1e-10:
                share *= 0.5
            line = line - share * step
            if np.abs(step).max() < 1e-12:
                break
        return cls(float(line[0] / spread), float(line[1] - line[0] * centre / spread), is_odds)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.offset)):
            raise ValueError(f"a slope of {self.slope} and an offset of {self.offset} are no line")

    def apply(self, values: Floats) -> Floats:
        """Return the probability for each value."""
        out = np.empty(len(values))
        bend(values, self.slope, self.offset, self.is_odds, out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain JSON values."""
        return {"method": "sigmoid", "slope": self.slope, "offset": self.offset, "is_odds": self.is_odds}


class Steps:
    """Probabilities that never fall as values rise, by lines between corners.

    Raises
    ------
    ValueError
        The corners do not ascend, or the levels are no rising probabilities.
    """

    def __init__(self, corners: Any, levels: Any) -> None:
        self.corners = np.ascontiguousarray(corners, dtype=np.float64)
        self.levels = np.ascontiguousarray(levels, dtype=np.float64)
        if not len(self.corners) or self.corners.shape != self.levels.shape or self.corners.ndim != 1:
            raise ValueError(f"{self.corners.shape} corners and {self.levels.shape} levels are no curve")
        is_rising = (np.diff(self.corners) > 0.0).all() and (np.diff(self.levels) >= 0.0).all()
        if not (is_rising and np.isfinite(self.corners).all() and 0.0 <= self.levels[0] <= self.levels[-1] <= 1.0):
            raise ValueError("the corners do not ascend, or the levels are no rising probabilities")

    @classmethod
    def fit(cls, values: Floats, rises: Floats, weights: Floats) -> "Steps":
        """Return the rising steps of least squares; equal values are one."""
        from scipy.optimize import isotonic_regression

        corners, place = np.unique(values, return_inverse=True)
        mass = np.bincount(place, weights)
        levels = np.clip(isotonic_regression(np.bincount(place, weights * rises) / mass, weights=mass).x, 0.0, 1.0)
        # Inside a step the line is flat: its first and last corner say it all.
        is_end = np.concatenate([[True], np.diff(levels) != 0.0, [True]])
        kept = is_end[:-1] | is_end[1:]
        return cls(corners[kept], levels[kept])

    def apply(self, values: Floats) -> Floats:
        """Return the probability for each value."""
        out = np.empty(len(values))
        interpolate(values, self.corners, self.levels, out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain JSON values."""
        return {"method": "isotonic", "corners": self.corners.tolist(), "levels": self.levels.tolist()}
