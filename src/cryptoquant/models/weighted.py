"""Rows that count by what they tell: uniqueness of their labels, size of what came after, and age."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.features.weights import time_decay, uniqueness
from cryptoquant.market.schema import INSTANT
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.members import changed_members, member_params, refuse_unknown
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.ranges import check_one_of, is_number

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weighted:
    """A model whose training rows count by what their labels tell; computed of the training rows of each fold.

    Parameters
    ----------
    model
        What learns; its parameters are named ``model__...``.
    by
        ``uniqueness``: the mean share of a label in the time that it lives through, as in ``features.weights``;
        ``returns``: that share times the size of the label's return; None counts all the same.
    decay
        What the oldest rows count beside the newest, above -1 and at most 1; see ``features.weights.time_decay``. 1 is
        no decay.

    Notes
    -----
    The weights multiply those of the examples, and are 1 on average. Source: Lopez de Prado (2018), "Advances in
    Financial Machine Learning", sections 4.4, 4.6 and 4.7; where the book adds up the shared returns of bars, the
    return of the whole label is shared here.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    TypeError
        What learns is neither a model nor an estimator of scikit-learn.
    """

    model: Model
    by: Literal["uniqueness", "returns"] | None = "uniqueness"
    decay: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        check_one_of(self, "by", None, "uniqueness", "returns")
        if not is_number(self.decay) or not -1.0 < self.decay <= 1.0:
            raise ValueError(f"decay must be above -1 and at most 1, found {self.decay!r}")

    def get_params(self) -> dict[str, Any]:
        """Return what the model is, its parameters, and those of the weights."""
        return {"by": self.by, "decay": self.decay, **member_params({"model": self.model})}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters, those of the model named ``model__...``."""
        members = changed_members(self, {"model": self.model}, params)
        by, decay = params.pop("by", self.by), params.pop("decay", self.decay)
        refuse_unknown(self, params)
        return type(self)(members["model"], by, decay)

    def fit(self, examples: Examples) -> Predictor:
        """Return the model's predictor, learned from the weighted examples.

        Raises
        ------
        ModelError
            A label is known at its decision or before, a return is not known, or no row has a weight above zero.
        """
        return self.model.fit(replace(examples, weights=self.weights(examples)))

    def weights(self, examples: Examples) -> Floats:
        """Return how much each example counts, 1 on average, shape (rows,)."""
        if not len(examples):
            raise ModelError("no training rows")
        labels = pl.DataFrame(
            {"symbol": examples.symbols, "time": examples.times, "label_known": examples.label_known}
        ).with_columns(pl.col("time", "label_known").cast(INSTANT))
        try:
            shares = uniqueness(labels)
        except ValueError as error:
            raise ModelError(f"weights: {error}") from error
        found = examples.weights.copy()
        if self.by is not None:
            found *= shares.to_numpy()
        if self.by == "returns":
            found *= np.abs(examples.returns)
        if self.decay != 1.0:
            found *= time_decay(shares, self.decay, labels["time"]).to_numpy()
        if not (np.isfinite(found).all() and found.max() > 0.0):
            raise ModelError("weights: no training row counts, or a return is not known")
        even: Floats = found / found.mean()
        return even
