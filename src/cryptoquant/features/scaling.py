"""Bringing features to one scale, by numbers learned from the training rows and from nothing else."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cryptoquant.errors import DataError
from cryptoquant.features.feature import positive
from cryptoquant.market.slice import Floats

Kind = Literal["standard", "robust", "rank"]

KINDS = ("standard", "robust", "rank")
KNOTS = 257
NORMAL_QUARTILES = 1.3489795003921634


def moments(rows: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each column, shape (columns,); NaN does not count.

    A column whose values are all equal has exactly this value and 0; rounding would leave a deviation of 1e-16 of it.

    Parameters
    ----------
    rows
        Shape (rows, columns), a number at least in each column.
    """
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    is_still = low == high
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    return np.where(is_still, low, mean), np.where(is_still, 0.0, deviation)


@dataclass(frozen=True, slots=True)
class Scaler:
    """How features are brought to one scale, column by column; ``fit`` learns the numbers from training rows.

    Parameters
    ----------
    kind
        ``standard``: (x - mean) / deviation. ``robust``: (x - median) / (quartile distance / 1.349), which is the same
        for a normal column and does not hear outliers. ``rank``: the share of the training values below x, from 0 to
        1, between ``KNOTS`` quantiles by straight lines. In a column without any spread all becomes 0 (``rank``: 0
        below, 0.5 at and 1 above its one value).
    limit
        What lies further from zero is cut off there; not for ``rank``.

    Raises
    ------
    ValueError
        The kind is unknown, or the limit not above zero.

    Examples
    --------
    >>> import numpy as np
    >>> Scaler("robust").fit(np.array([[1.0], [2.0], [3.0]])).transform(np.array([[2.0]])).tolist()
    [[0.0]]
    """

    kind: Kind = "standard"
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"scaler: unknown kind {self.kind!r}; wanted one of {', '.join(KINDS)}")
        if self.limit is not None:
            object.__setattr__(self, "limit", positive("scaler", "limit", self.limit))

    def fit(self, rows: Floats) -> "Scaling":
        """Return the scaling learned from training rows, shape (rows, columns); NaN does not count.

        Raises
        ------
        DataError
            There is no row, or a column without a finite value.
        """
        if rows.ndim != 2 or not len(rows):
            raise DataError(
                f"scaler: training rows of shape {rows.shape}, wanted (rows, columns) with at least one row"
            )
        empty = np.flatnonzero(~np.isfinite(rows).any(axis=0))
        if len(empty):
            raise DataError(f"scaler: column {empty[0]} holds no finite value among {len(rows)} training rows")
        finite = np.where(np.isfinite(rows), rows, np.nan)
        if self.kind == "rank":
            return Scaling(self, np.nanquantile(finite, np.linspace(0.0, 1.0, KNOTS), axis=0).T)
        if self.kind == "standard":
            centre, width = moments(finite)
        else:
            low, centre, high = np.nanquantile(finite, (0.25, 0.5, 0.75), axis=0)
            width = (high - low) / NORMAL_QUARTILES
        return Scaling(self, np.stack([centre, width], axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """A fitted scaler.

    Attributes
    ----------
    scaler
        How it was fitted.
    numbers
        Shape (columns, 2): centre and width; for ``rank`` (columns, ``KNOTS``): the quantiles.
    """

    scaler: Scaler
    numbers: Floats

    def transform(self, rows: Floats) -> Floats:
        """Return rows (rows, columns) on the scale; a row gives the same bits alone and among others.

        Raises
        ------
        DataError
            There are other columns than those of the training rows.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.numbers):
            raise DataError(f"scaling: rows of shape {rows.shape}, wanted {len(self.numbers)} columns")
        if self.scaler.kind == "rank":
            return self._ranks(rows)
        centre, width = self.numbers.T
        spread = np.where(width > 0.0, width, 1.0)
        out: Floats = np.where(width > 0.0, (rows - centre) / spread, np.where(np.isnan(rows), np.nan, 0.0))
        return out if self.scaler.limit is None else np.clip(out, -self.scaler.limit, self.scaler.limit)

    def _ranks(self, rows: Floats) -> Floats:
        out = np.empty(rows.shape)
        shares = np.linspace(0.0, 1.0, KNOTS)
        for column, knots in enumerate(self.numbers):
            # Where quantiles are equal, halfway between the first and the last of them.
            first, last = np.searchsorted(knots, knots, "left"), np.searchsorted(knots, knots, "right") - 1
            values = rows[:, column]
            out[:, column] = np.interp(values, knots, (shares[first] + shares[last]) / 2.0, left=0.0, right=1.0)
            out[np.isnan(values), column] = np.nan
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the scaling as plain JSON values."""
        return {"kind": self.scaler.kind, "limit": self.scaler.limit, "numbers": self.numbers.tolist()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Scaling":
        """Return the scaling that ``to_dict`` described.

        Raises
        ------
        ValueError
            The description is not one of a scaling.
        """
        try:
            scaler, numbers = Scaler(saved["kind"], saved["limit"]), np.array(saved["numbers"], dtype=np.float64)
        except (KeyError, TypeError) as error:
            raise ValueError(f"scaling: unreadable description ({type(error).__name__}: {error})") from error
        is_shaped = numbers.ndim == 2 and numbers.shape[1] == (KNOTS if scaler.kind == "rank" else 2)
        if not is_shaped or not np.isfinite(numbers).all():
            raise ValueError(f"scaling: numbers of shape {numbers.shape} do not fit the kind {scaler.kind}")
        return cls(scaler, numbers)
