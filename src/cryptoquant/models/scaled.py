"""A model that learns on one scale: its scaler is fitted with it, on the same rows, and kept with it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptoquant.features.scaling import Scaler, Scaling
from cryptoquant.market.signal import SignalKind
from cryptoquant.market.slice import Floats
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.tabular import load_predictor


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
    {'strength': 1.0, 'model': 'Logistic', 'scaler': 'robust', 'limit': 5.0}
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

    def fit(self, rows: Floats, rises: Floats, returns: Floats) -> Predictor:
        """Return the predictor learned from the rows on the scale of these rows."""
        scaling = self.scaler.fit(rows)
        return ScaledPredictor(self.model.fit(scaling.transform(rows), rises, returns), scaling)


@dataclass(frozen=True, slots=True)
class ScaledPredictor:
    """A fitted model and the scale on which it was fitted."""

    predictor: Predictor
    scaling: Scaling

    @property
    def kind(self) -> SignalKind:
        """What the values mean."""
        return self.predictor.kind

    def predict(self, rows: Floats) -> Floats:
        """Return one value for each row."""
        return self.predictor.predict(self.scaling.transform(rows))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the model's file; the scale stands in the description."""
        return {**self.predictor.save(folder), "scaling": self.scaling.to_dict()}


def load_scaled(folder: Path, description: dict[str, Any]) -> Predictor:
    """Return the predictor that ``save`` wrote, behind its scale if it has one; errors as ``load_predictor``."""
    predictor = load_predictor(folder, description)
    if "scaling" not in description:
        return predictor
    return ScaledPredictor(predictor, Scaling.from_dict(description["scaling"]))
