"""Models made of models: the average of several, and a model that learns whom of them to believe."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.members import changed_members, member_params, out_of_fold, refuse_unknown
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.ranges import check_span, check_whole, is_number
from cryptoquant.models.tabular import Logistic, check_rows

Floats = NDArray[np.float64]
Read = Callable[[Path, Mapping[str, Any]], Predictor]


@dataclass(frozen=True, slots=True)
class Average:
    """The weighted mean of what several models say; all must say the same kind of thing.

    Parameters
    ----------
    models
        The members, at least one; their parameters are named ``0__...``, ``1__...``.
    weights
        How much each member counts, above 0; scaled to sum to 1. By default all count the same.

    Raises
    ------
    ValueError
        There is no member, or the weights do not fit.
    TypeError
        A member is neither a model nor an estimator of scikit-learn.

    Examples
    --------
    >>> from cryptoquant.models import Average, Logistic
    >>> Average((Logistic(), Logistic(0.1))).with_params(**{"0__strength": 0.5}).get_params()["0__strength"]
    0.5
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", checked_models(self.models))
        if self.weights is None:
            return
        weights = tuple(self.weights)
        if len(weights) != len(self.models) or not all(is_number(one) and 0.0 < one < math.inf for one in weights):
            raise ValueError(f"weights must be {len(self.models)} numbers above zero, found {weights}")
        object.__setattr__(self, "weights", weights)

    def get_params(self) -> dict[str, Any]:
        """Return the weights, what each member is, and its parameters."""
        return {"weights": self.weights, **member_params(numbered(self.models))}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters."""
        members = changed_members(self, numbered(self.models), params)
        weights = params.pop("weights", self.weights)
        refuse_unknown(self, params)
        return type(self)(tuple(members.values()), weights)

    def fit(self, examples: Examples) -> Predictor:
        """Return the mean of the members, each learned from the examples.

        Raises
        ------
        ModelError
            The members do not say the same kind of thing.
        """
        parts = self.weights or (1.0,) * len(self.models)
        total = math.fsum(parts)
        members = tuple(model.fit(examples) for model in self.models)
        return AveragePredictor(members, tuple(float(part) / total for part in parts))


@dataclass(frozen=True, slots=True)
class AveragePredictor:
    """Fitted members and how much each counts.

    Raises
    ------
    ModelError
        The members do not say the same kind of thing.
    """

    members: tuple[Predictor, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        kinds = sorted({member.kind for member in self.members})
        if len(kinds) != 1:
            raise ModelError(f"members that give {' and '.join(kinds)} have no average: wanted one kind of value")
        if len(self.members) != len(self.weights):
            raise ModelError(f"{len(self.members)} members and {len(self.weights)} weights")

    @property
    def kind(self) -> SignalKind:
        """That of the members."""
        return self.members[0].kind

    @property
    def window(self) -> int:
        """The longest of the members."""
        return max(member.window for member in self.members)

    def predict(self, rows: Floats) -> Floats:
        """Return the mean for each window, NaN where a member gives none."""
        columns = aligned(self.members, rows)
        total = self.weights[0] * columns[0]
        for weight, column in zip(self.weights[1:], columns[1:], strict=True):
            total = total + weight * column
        return total

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write the members' files, which begin with ``<name>_0``, ``<name>_1``."""
        return {
            "format": "average",
            "members": save_members(self.members, folder, name),
            "weights": list(self.weights),
        }

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: Read) -> "AveragePredictor":
        """Return what ``save`` wrote."""
        members = tuple(read(folder, member) for member in description["members"])
        return cls(members, tuple(float(weight) for weight in description["weights"]))


@dataclass(frozen=True, slots=True)
class Stacked:
    """A model that learns from what other models say about rows that they had not learned from (Wolpert 1992).

    Each purged block of the training rows is predicted by members of the other blocks; these values are the features
    of the final model. The members kept are then learned from all training rows.

    Parameters
    ----------
    models
        The members, at least one; their parameters are named ``0__...``, ``1__...``.
    final
        What learns from their values, one row at a time; its parameters are named ``final__...``.
    folds, embargo
        Blocks of consecutive time, at least 2, and the time after each from which nothing is learned.

    Raises
    ------
    ValueError
        There is no member, or a parameter is out of its range.
    TypeError
        A member or the final model is neither a model nor an estimator of scikit-learn.
    """

    models: tuple[Model, ...]
    final: Model = field(default_factory=Logistic)
    folds: int = 4
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", checked_models(self.models))
        object.__setattr__(self, "final", as_model(self.final))
        check_whole(self, 2, "folds")
        check_span(self, "embargo")

    def get_params(self) -> dict[str, Any]:
        """Return the folds, what each member and the final model are, and their parameters."""
        own = {"folds": self.folds, "embargo": self.embargo}
        return {**own, **member_params({**numbered(self.models), "final": self.final})}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters."""
        members = changed_members(self, {**numbered(self.models), "final": self.final}, params)
        own = {name: params.pop(name, getattr(self, name)) for name in ("folds", "embargo")}
        refuse_unknown(self, params)
        final = members.pop("final")
        return type(self)(tuple(members.values()), final, **own)

    def fit(self, examples: Examples) -> Predictor:
        """Return the members learned from all examples, behind a final model of their values out of fold.

        Raises
        ------
        ModelError
            The rows cannot be cut or learned from, or the final model wants more than one row.
        """
        check_rows(examples)
        values = np.column_stack([out_of_fold(model, examples, self.folds, self.embargo) for model in self.models])
        said = np.flatnonzero(np.isfinite(values).all(axis=1))
        final = self.final.fit(replace(examples, features=values).take(said))
        return StackedPredictor(tuple(model.fit(examples) for model in self.models), final)


@dataclass(frozen=True, slots=True)
class StackedPredictor:
    """Fitted members and the fitted model of their values.

    Raises
    ------
    ModelError
        The final model wants more than one row.
    """

    members: tuple[Predictor, ...]
    final: Predictor

    def __post_init__(self) -> None:
        if self.final.window != 1:
            raise ModelError(f"the final model reads {self.final.window} rows, wanted one of one row")

    @property
    def kind(self) -> SignalKind:
        """That of the final model."""
        return self.final.kind

    @property
    def window(self) -> int:
        """The longest of the members."""
        return max(member.window for member in self.members)

    def predict(self, rows: Floats) -> Floats:
        """Return the final model's value for each window, NaN where a member gives none."""
        values = np.column_stack(aligned(self.members, rows))
        said = np.isfinite(values).all(axis=1)
        if said.all():
            return self.final.predict(values)
        out = np.full(len(values), np.nan)
        out[said] = self.final.predict(values[said])
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write the members' files, which begin with ``<name>_0``, and the final model's, with ``<name>_final``."""
        return {
            "format": "stacked",
            "members": save_members(self.members, folder, name),
            "final": self.final.save(folder, f"{name}_final"),
        }

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: Read) -> "StackedPredictor":
        """Return what ``save`` wrote."""
        members = tuple(read(folder, member) for member in description["members"])
        if not members:
            raise ValueError("there are no members")
        return cls(members, read(folder, description["final"]))


def checked_models(models: Any) -> tuple[Model, ...]:
    """Return the members as a tuple; raises ValueError where there are none, TypeError where one is no model."""
    found = tuple(as_model(one) for one in models)
    if not found:
        raise ValueError("wanted at least one model, found none")
    return found


def numbered(models: tuple[Model, ...]) -> dict[str, Model]:
    """Return the members by their numbers."""
    return {str(number): model for number, model in enumerate(models)}


def aligned(members: tuple[Predictor, ...], rows: Floats) -> list[Floats]:
    """Return the values of each member for the windows of the longest, which end in the same rows."""
    longest = max(member.window for member in members)
    return [member.predict(rows)[longest - member.window :] for member in members]


def save_members(members: tuple[Predictor, ...], folder: Path, name: str) -> list[dict[str, Any]]:
    """Write the files of each member under a name of its own; return their descriptions."""
    return [member.save(folder, f"{name}_{number}") for number, member in enumerate(members)]
