"""The model of a rule: none. It says nothing about any row, so that a rule can be deployed as a bundle is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.signal import SignalKind

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NoModel:
    """A predictor without predictions: every value is NaN, which is no signal."""

    kind: SignalKind = "score"
    window: int = 1

    def predict(self, rows: Floats) -> Floats:
        """Return NaN for each row."""
        return np.full(len(rows), np.nan)

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write no file."""
        return {"format": "none"}

    @classmethod
    def read(cls, folder: Path, description: Any, read: Any) -> "NoModel":
        """Return what ``save`` described."""
        return cls()
