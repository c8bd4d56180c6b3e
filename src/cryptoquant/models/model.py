"""What a model must be able to do, and the predictor that it leaves behind for research and live alike."""

from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.signal import SignalKind

Floats = NDArray[np.float64]


@runtime_checkable
class Predictor(Protocol):
    """Turns feature rows into signal values.

    The contract: pure; a row gives the same bits alone and within a batch; ``save`` writes a file that can be loaded
    without running code from it.
    """

    @property
    def kind(self) -> SignalKind:
        """What the values mean."""
        ...

    def predict(self, rows: Floats) -> Floats:
        """Return one value for each row, shape (rows,), from shape (rows, features)."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the model's file into ``folder``; return what ``load_predictor`` needs: format and file."""
        ...


@runtime_checkable
class Model(Protocol):
    """Learns a predictor from rows; follows scikit-learn's conventions for parameters.

    The contract: ``fit`` uses nothing but its arguments and is deterministic by its seed; ``with_params`` returns a
    changed, unfitted copy and refuses unknown names.
    """

    def get_params(self) -> dict[str, Any]:
        """Return the parameters by name."""
        ...

    def with_params(self, **params: Any) -> Self:
        """Return an unfitted copy with other parameters."""
        ...

    def fit(self, rows: Floats, rises: Floats, returns: Floats) -> Predictor:
        """Return the predictor learned from shape (rows, features), classes (rows,) and returns (rows,)."""
        ...
