"""The past that a strategy may look back on: the last slices of its universe, bounded in memory."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.slice import FIELDS, Panel, Slice, read_only

SMALLEST = 64


class History:
    """The last slices as columns.

    While the slices are consecutive rows of one panel, it is a window over that panel and nothing is copied; other
    slices are copied into a buffer of its own.

    Attributes
    ----------
    columns, first, stop
        Arrays of shape (rows, symbols) by field, and the range of rows that is the past, the newest last.
    times
        Shape (rows,): the closes, nanoseconds UTC.
    """

    __slots__ = ("_buffer", "_panel", "_stamps", "columns", "first", "length", "stop", "times")

    def __init__(self, length: int, symbols: int) -> None:
        self.length = max(1, length)
        self.columns: Mapping[str, NDArray[np.float64]] = {name: np.empty((0, symbols)) for name in FIELDS}
        self.times: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.first, self.stop = 0, 0
        self._panel: Panel | None = None
        self._buffer: dict[str, NDArray[np.float64]] = {}
        self._stamps = self.times

    def append(self, market: Slice) -> None:
        """Add a slice; the oldest one falls out when there are more than ``length``."""
        if market.row == self.stop and market.source is self._panel:
            self.stop += 1
        elif self.stop == 0 and market.row >= 0:
            self._panel, self.columns, self.times = market.source, market.source.columns, market.source.times
            self.first, self.stop = market.row, market.row + 1
        else:
            self._copy(market)
        if self.stop - self.first > self.length:
            self.first += 1

    def keep(self, length: int) -> None:
        """Keep the last ``length`` slices from now on; the past does not become longer by that."""
        self.length = max(1, length)
        self.first = max(self.first, self.stop - self.length)

    def _copy(self, market: Slice) -> None:
        """Add a slice to the buffer; a full one is left to those who still look at it, and a new one is begun."""
        if self._panel is not None or not self._buffer or self.stop == len(self._buffer["close"]):
            keep = min(self.length, self.stop - self.first)
            rows = (max(SMALLEST, 4 * self.length), len(market.symbols))
            self._buffer = {name: np.full(rows, np.nan) for name in FIELDS}
            for name in self.columns:
                self._buffer[name][:keep] = self.columns[name][self.stop - keep : self.stop]
            self._stamps = np.empty(rows[0], dtype=np.int64)
            self._stamps[:keep] = self.times[self.stop - keep : self.stop]
            self.times = self._stamps.view()
            self.times.flags.writeable = False
            self._panel, self.columns, self.first, self.stop = None, read_only(self._buffer), 0, keep
        values = market.values
        for place, name in enumerate(FIELDS):
            self._buffer[name][self.stop] = values[:, place]
        self._stamps[self.stop] = market.time
        self.stop += 1
