"""What a model must be able to do, and the predictor that it leaves behind for research and live alike."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.signal import SignalKind
from cryptoquant.models.examples import Examples

Floats = NDArray[np.float64]


@runtime_checkable
class Predictor(Protocol):
    """Turns feature rows into signal values.

    The contract: pure, and the same bits for a row alone and among others; a value that is NaN is no signal. ``save``
    writes files that can be loaded without running code from them.
    """

    @property
    def kind(self) -> SignalKind:
        """What the values mean."""
        ...

    @property
    def window(self) -> int:
        """How many consecutive rows of one symbol a value is computed from: 1 for a model of one row at a time."""
        ...

    def predict(self, rows: Floats) -> Floats:
        """Return a value for each complete window, shape (rows - window + 1,), from shape (rows, features).

        With a window of 1 the rows may be any; with a longer one they are consecutive rows of one symbol.
        """
        ...

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write files into ``folder`` whose names begin with ``name``; return what ``read_predictor`` needs.

        The description holds plain JSON values: ``format``, and what the reader of that format wants. A predictor
        that no safe file can hold raises ModelError and names the format wanted.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """Learns a predictor from examples; follows scikit-learn's conventions for parameters.

    The contract: ``fit`` uses nothing but its arguments and is deterministic by its seed; ``with_params`` returns a
    changed, unfitted copy and refuses unknown names.
    """

    def get_params(self) -> dict[str, Any]:
        """Return the parameters by name, plain values."""
        ...

    def with_params(self, **params: Any) -> Self:
        """Return an unfitted copy with other parameters."""
        ...

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor learned from examples whose labels are known, in time order."""
        ...


@runtime_checkable
class Continuable(Protocol):
    """A model that can go on learning from where a predictor of its kind stands."""

    def resume(self, start: Predictor, examples: Examples) -> Predictor:
        """Return the predictor that learned from more examples; raises ModelError for a start of another kind."""
        ...


@runtime_checkable
class Pretrained(Protocol):
    """A model that brings with it what it first learns from or starts at, which no model around it can change."""

    @property
    def start(self) -> object:
        """What it brings with it."""
        ...

    @property
    def base(self) -> Model | None:
        """What learns from it."""
        ...


class Parameters:
    """Parameters as the fields of a frozen dataclass, by scikit-learn's conventions."""

    def get_params(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters; raises ValueError for an unknown name."""
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            known = ", ".join(self.get_params())
            raise ValueError(f"{type(self).__name__} has no parameter {', '.join(unknown)}; it has {known}")
        return replace(self, **params)  # type: ignore[type-var]
