"""A model that learns on one scale: its scaler is fitted with it, on the same rows, and kept with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptoquant.features.scaling import Scaler, Scaling
from cryptoquant.market.signal import SignalKind
from cryptoquant.market.slice import Floats
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model, Predictor


@dataclass(frozen=True, slots=True)
class Scaled:
    """A model behind a scaler; in every fold both learn from the training rows only.

    Parameters
    ----------
    model
        What learns; its parameters are among those of the whole.
    scaler
        How the features are scaled before.

    Examples
    --------
    >>> from cryptoquant.models import Logistic, Scaled
    >>> Scaled(Logistic(), Scaler("robust", limit=5.0)).get_params()
    {'strength': 1.0, 'class_weight': None, 'model': 'Logistic', 'scaler': 'robust', 'limit': 5.0}
    """

    model: Model
    scaler: Scaler = field(default_factory=Scaler)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters of the model by name, and what it and its scaler are."""
        own = {"model": type(self.model).__name__, "scaler": self.scaler.kind, "limit": self.scaler.limit}
        return {**self.model.get_params(), **own}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with another ``scaler`` (its kind), ``limit`` or parameters of the model.

        Raises
        ------
        ValueError
            A name is unknown; another model is another ``Scaled``.
        """
        kind, limit = params.pop("scaler", self.scaler.kind), params.pop("limit", self.scaler.limit)
        return type(self)(self.model.with_params(**params), Scaler(kind, limit))

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor learned from the examples on the scale of these examples."""
        scaling = self.scaler.fit(examples.features)
        scaled = replace(examples, features=scaling.transform(examples.features))
        return ScaledPredictor(self.model.fit(scaled), scaling)


@dataclass(frozen=True, slots=True)
class ScaledPredictor:
    """A fitted model and the scale on which it was fitted."""

    predictor: Predictor
    scaling: Scaling

    @property
    def kind(self) -> SignalKind:
        """What the values mean."""
        return self.predictor.kind

    @property
    def window(self) -> int:
        """That of the model."""
        return self.predictor.window

    def predict(self, rows: Floats) -> Floats:
        """Return the model's values for rows on its scale."""
        return self.predictor.predict(self.scaling.transform(rows))

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write the model's files; the scale stands in the description."""
        return {"format": "scaled", "model": self.predictor.save(folder, name), "scaling": self.scaling.to_dict()}

    @classmethod
    def read(
        cls,
        folder: Path,
        description: Mapping[str, Any],
        read: Callable[[Path, Mapping[str, Any]], Predictor],
    ) -> "ScaledPredictor":
        """Return what ``save`` wrote."""
        return cls(read(folder, description["model"]), Scaling.from_dict(description["scaling"]))
