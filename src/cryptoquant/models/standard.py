"""The scale on which a network learns: each feature less its mean, over its deviation, in single precision."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.errors import ModelError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and deviation of each feature, shape (features,); an infinite deviation gives a feature no influence."""

    mean: Floats
    deviation: Floats

    @cached_property
    def inverse(self) -> Floats:
        """One over each deviation."""
        return 1.0 / self.deviation

    def apply(self, rows: Floats) -> Singles:
        """Return rows on this scale, shape (rows, features)."""
        table = self.checked(rows)
        out = np.empty(table.size, dtype=np.float32)
        standardise(table, self.mean, self.inverse, out)
        return out.reshape(table.shape)

    def checked(self, rows: Floats) -> Floats:
        """Return the rows as kernels read them; raises ModelError for another number of features."""
        table = np.ascontiguousarray(rows, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(self.mean):
            raise ModelError(f"feature rows of shape {table.shape}, wanted (rows, {len(self.mean)})")
        return table


@kernel
def standardise(rows: Floats, mean: Floats, inverse: Floats, out: Singles) -> None:
    """Write ``(row - mean) * inverse`` of each row, one after the other."""
    width = rows.shape[1]
    for row in range(len(rows)):
        for column in range(width):
            out[row * width + column] = np.float32((rows[row, column] - mean[column]) * inverse[column])
