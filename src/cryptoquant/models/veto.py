"""No signal where the market looks like nothing that the model has seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.members import changed_members, member_params, refuse_unknown
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.ranges import check_share, check_whole
from cryptoquant.models.rows import mean_distance, nearest_distances
from cryptoquant.models.tabular import check_rows, moments
from cryptoquant.models.tensors import read_tensors, write_tensors

Floats = NDArray[np.float64]
NONE = np.empty(0, dtype=np.int64)
ARRAYS = ("mean", "scale", "references")


@dataclass(frozen=True, slots=True)
class Vetoed:
    """A model that says nothing about rows unlike those that it learned from.

    The dissimilarity of a row is its distance, on standardised features, to the nearest of some training rows, over
    the mean distance between these; see FreqAI's dissimilarity index. Rows above a quantile of what the training rows
    themselves have, each without itself, get no signal.

    Parameters
    ----------
    model
        What learns; its parameters are named ``model__...``.
    quantile
        Of the dissimilarities of the training rows, above which there is no signal; in (0, 1].
    neighbours
        Training rows that others are compared with, evenly spaced in time, at least 2.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    TypeError
        What learns is neither a model nor an estimator of scikit-learn.
    """

    model: Model
    quantile: float = 0.999
    neighbours: int = 1_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        check_share(self, "quantile")
        check_whole(self, 2, "neighbours")

    def get_params(self) -> dict[str, Any]:
        """Return what the model is, its parameters, and those of the veto."""
        return {
            "quantile": self.quantile,
            "neighbours": self.neighbours,
            **member_params({"model": self.model}),
        }

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters, those of the model named ``model__...``."""
        members = changed_members(self, {"model": self.model}, params)
        quantile, neighbours = params.pop("quantile", self.quantile), params.pop("neighbours", self.neighbours)
        refuse_unknown(self, params)
        return type(self)(members["model"], quantile, neighbours)

    def fit(self, examples: Examples) -> Predictor:
        """Return the model's predictor behind a veto that knows the rows of the examples.

        Raises
        ------
        ModelError
            The rows cannot be learned from, or are all the same.
        """
        check_rows(examples)
        return VetoedPredictor(self.model.fit(examples), *self._known(examples.features))

    def _known(self, rows: Floats) -> tuple["Neighbourhood", float]:
        mean, scale = moments(rows)
        count = min(len(rows), self.neighbours)
        chosen = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(np.int64))
        references = np.ascontiguousarray(((rows[chosen] - mean) / scale).T)
        typical = mean_distance(references) if len(chosen) > 1 else 0.0
        if not typical > 0.0:
            raise ModelError(f"all {len(rows)} training rows are the same: no distance between rows is typical")
        own = np.full(len(rows), -1, dtype=np.int64)
        own[chosen] = np.arange(len(chosen))
        near = Neighbourhood(mean, scale, references, typical)
        return near, float(np.quantile(near.dissimilarity(rows, own), self.quantile))


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """Training rows that others are compared with: standardised, shape (features, references)."""

    mean: Floats
    scale: Floats
    references: Floats
    typical: float

    def dissimilarity(self, rows: Floats, own: NDArray[np.int64] = NONE) -> Floats:
        """Return the distance of each row to the nearest reference, but not to ``own``, over the typical one."""
        out = np.empty(len(rows))
        table = np.ascontiguousarray(rows, dtype=np.float64)
        nearest_distances(table, self.mean, self.scale, self.references, own, out)
        return out / self.typical


@dataclass(frozen=True, slots=True)
class VetoedPredictor:
    """A fitted model, the training rows to compare with, and from where on it is silent."""

    predictor: Predictor
    near: Neighbourhood
    threshold: float

    @property
    def kind(self) -> SignalKind:
        """What the values mean."""
        return self.predictor.kind

    @property
    def window(self) -> int:
        """That of the model."""
        return self.predictor.window

    def dissimilarity(self, rows: Floats) -> Floats:
        """Return how unlike the training rows each row is, shape (rows,): 0 the same, 1 as training rows on average.

        Infinite for a row with a hole.

        Raises
        ------
        ModelError
            A row has another number of features.
        """
        if rows.shape[1] != len(self.near.mean):
            raise ModelError(f"rows of {rows.shape[1]} features, the veto knows rows of {len(self.near.mean)}")
        return self.near.dissimilarity(rows)

    def predict(self, rows: Floats) -> Floats:
        """Return the model's values, NaN where the last row of the window is unlike the training rows."""
        values = self.predictor.predict(rows)
        strange = self.dissimilarity(rows[self.window - 1 :]) > self.threshold
        return np.where(strange, np.nan, values)

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write the model's files and ``<name>_near.safetensors``."""
        arrays = {one: getattr(self.near, one) for one in ARRAYS}
        return {
            "format": "vetoed",
            "model": self.predictor.save(folder, name),
            "file": write_tensors(folder / f"{name}_near.safetensors", arrays),
            "typical": self.near.typical,
            "threshold": self.threshold,
        }

    @classmethod
    def read(
        cls, folder: Path, description: Mapping[str, Any], read: Callable[[Path, Mapping[str, Any]], Predictor]
    ) -> "VetoedPredictor":
        """Return what ``save`` wrote."""
        found = read_tensors(folder / description["file"], *ARRAYS)
        mean, scale, references = (found[one].astype(np.float64) for one in ARRAYS)
        shapes = mean.shape, scale.shape, references.shape[:1]
        if references.ndim != 2 or len(set(shapes)) != 1 or not references.shape[1] or not (scale > 0.0).all():
            raise ValueError(f"arrays of shapes {mean.shape}, {scale.shape}, {references.shape} are no neighbourhood")
        typical, threshold = float(description["typical"]), float(description["threshold"])
        if not (np.isfinite(typical) and np.isfinite(threshold)):
            raise ValueError(f"typical {typical} and threshold {threshold} are not finite")
        return cls(read(folder, description["model"]), Neighbourhood(mean, scale, references, typical), threshold)
