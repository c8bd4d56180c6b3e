"""A model that learns on one scale: its scaler is fitted with it, on the same rows, and kept with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptoquant.errors import DataError, ModelError
from cryptoquant.features.scaling import Scaler, Scaling
from cryptoquant.market.signal import SignalKind
from cryptoquant.market.slice import Floats
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.members import own_names, refuse_other, within
from cryptoquant.models.model import Continuable, Model, Predictor, Pretrained

OWN, PREFIX = ("model", "scaler", "limit"), "scaled_"


@dataclass(frozen=True, slots=True)
class Scaled:
    """A model behind a scaler; in every fold both learn from the training rows only.

    Parameters
    ----------
    model
        What learns; its parameters are among those of the whole.
    scaler
        How the features are scaled before.

    Raises
    ------
    TypeError
        What learns is no model, or holds a ``FineTuned``, whose start the scaler would not reach.

    Examples
    --------
    >>> from cryptoquant.models import Logistic, Scaled
    >>> Scaled(Logistic(), Scaler("robust", limit=5.0)).get_params()
    {'strength': 1.0, 'class_weight': None, 'model': 'Logistic', 'scaler': 'robust', 'limit': 5.0}
    """

    model: Model
    scaler: Scaler = field(default_factory=Scaler)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        for inner in within(self.model):
            if isinstance(inner, Pretrained):
                name = type(inner).__name__
                raise TypeError(f"the start of a {name} would not be scaled: wanted {name}(Scaled(model), start)")

    def get_params(self) -> dict[str, Any]:
        """Return the parameters of the model by name, and what it and its scaler are.

        Where the model has a ``model``, ``scaler`` or ``limit`` of its own, that of the whole begins with ``scaled_``.
        """
        inner = self.model.get_params()
        own = (type(self.model).__name__, self.scaler.kind, self.scaler.limit)
        return inner | dict(zip(own_names(OWN, PREFIX, inner).values(), own, strict=True))

    def with_params(self, **params: Any) -> Self:
        """Return a copy with another ``scaler`` (its kind), ``limit`` or parameters of the model.

        Raises
        ------
        ValueError
            A name is unknown; another model is another ``Scaled``.
        """
        model, scaler, limit = own_names(OWN, PREFIX, self.model.get_params()).values()
        refuse_other(self, model, params, type(self.model).__name__)
        chosen = Scaler(params.pop(scaler, self.scaler.kind), params.pop(limit, self.scaler.limit))
        return type(self)(self.model.with_params(**params), chosen)

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor learned from the examples on the scale of these examples.

        Raises
        ------
        ModelError
            There is no row, or a feature without a finite value; and what the model raises.
        """
        try:
            scaling = self.scaler.fit(examples.features)
        except DataError as error:
            raise ModelError(str(error)) from error
        return ScaledPredictor(self.model.fit(_on_scale(examples, scaling)), scaling)

    def resume(self, start: Predictor, examples: Examples) -> Predictor:
        """Return the predictor that went on learning on the scale of ``start``.

        Raises
        ------
        ModelError
            The model cannot go on from a start; the start is not scaled, or in another way, or has another number of
            features; and what the model raises.
        """
        model, name = self.model, type(self.model).__name__
        if not isinstance(model, Continuable):
            raise ModelError(f"Scaled: {name} cannot go on from a start")
        if not isinstance(start, ScaledPredictor):
            raise ModelError(f"a Scaled {name} goes on from one that is Scaled, found {type(start).__name__}")
        if start.scaling.scaler != self.scaler:
            raise ModelError(f"the start is scaled by {start.scaling.scaler}, wanted {self.scaler}")
        try:
            scaled = _on_scale(examples, start.scaling)
        except DataError as error:
            raise ModelError(f"the start has another number of features: {error}") from error
        return ScaledPredictor(model.resume(start.predictor, scaled), start.scaling)


def _on_scale(examples: Examples, scaling: Scaling) -> Examples:
    return replace(examples, features=scaling.transform(examples.features))


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
