"""From feature rows to signals, slice by slice: the same step in research and live."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.models.model import Predictor

Floats = NDArray[np.float64]


@runtime_checkable
class Wary(Protocol):
    """A predictor that knows how unlike its training rows a row is."""

    def dissimilarity(self, rows: Floats) -> Floats:
        """Return it for each row, shape (rows,): 0 the same, 1 as training rows on average."""
        ...


class Forecaster:
    """Remembers the last complete feature rows of each symbol, as many as the predictor's window, and predicts.

    Parameters
    ----------
    name
        Of the signals.
    symbols, width
        The universe in its fixed order, and how many features a row has.
    horizon_ns
        Over which a signal holds.
    chosen
        The symbols that signals are wanted of; by default all.
    """

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        symbols: tuple[str, ...],
        width: int,
        horizon_ns: int,
        chosen: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.predictor = predictor
        self._wary = predictor if isinstance(predictor, Wary) else None
        self.symbols = symbols
        self.horizon_ns = horizon_ns
        self._wanted = np.array([symbol in (symbols if chosen is None else chosen) for symbol in symbols])
        self._shape = (len(symbols), width)
        self._rows = np.full((len(symbols), predictor.window, width), np.nan)
        self._seen = np.zeros(len(symbols), dtype=np.int64)

    def update(self, market: Slice, rows: Floats) -> list[Signal]:
        """Return a signal for each symbol whose row is complete, and its window; rows have shape (symbols, features).

        Raises
        ------
        BundleError
            The rows have another shape.
        """
        said = []
        for place, value in self._values(rows):
            symbol, kind, strange = self.symbols[place], self.predictor.kind, self._dissimilarity(place)
            stamp = (market.time, market.known)
            said.append(Signal(self.name, symbol, *stamp, kind, value, self.horizon_ns, strange))
        return said

    def _dissimilarity(self, place: int) -> float | None:
        """Return how strange the last row of a symbol is to the model, None where it cannot tell."""
        return None if self._wary is None else float(self._wary.dissimilarity(self._rows[place, -1:])[0])

    def ready(self) -> None:
        """Predict once and forget it: what a predictor compiles or loads at its first prediction is there then.

        The rows are zeros, which no market ever gave: that a predictor cannot take them proves nothing.
        """
        rows = np.zeros((self.predictor.window, self._shape[1]))
        with suppress(Exception), np.errstate(all="ignore"):
            self.predictor.predict(rows)
            if self._wary is not None:
                self._wary.dissimilarity(rows[-1:])

    def warm(self, rows: Floats) -> None:
        """Take in earlier rows, shape (slices, symbols, features), without predicting."""
        for one in rows:
            self._push(one)

    def _push(self, rows: Floats) -> NDArray[np.int64]:
        """Take in a row of each symbol; return the places of those that are wanted and whose windows are complete."""
        if rows.shape != self._shape:
            raise BundleError(f"{self.name}: feature rows of shape {rows.shape}, wanted {self._shape}")
        complete = np.isfinite(rows).all(axis=1)
        if self.predictor.window > 1:
            self._rows[complete, :-1] = self._rows[complete, 1:]
        self._rows[complete, -1] = rows[complete]
        self._seen += complete
        return np.flatnonzero(complete & self._wanted & (self._seen >= self.predictor.window))

    def _values(self, rows: Floats) -> list[tuple[int, float]]:
        ready = self._push(rows)
        if not len(ready):
            return []
        if self.predictor.window == 1:
            values = self.predictor.predict(self._rows[ready, 0])
        else:
            values = np.array([self.predictor.predict(self._rows[place])[0] for place in ready])
        pairs = zip(ready.tolist(), values.tolist(), strict=True)
        return [(place, value) for place, value in pairs if math.isfinite(value)]
