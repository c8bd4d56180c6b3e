"""All bars of one close over the universe: the moment at which a strategy decides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.schema import Bar, check_bars, validate

FIELDS = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slice:
    """The bars of one close.

    Attributes
    ----------
    time, known
        Nanoseconds UTC: the common close, and when the last of its bars was known.
    symbols
        The universe, in its fixed order.
    values
        Shape (symbols, fields) in the order of ``FIELDS``; a row of NaN marks an absent symbol.
    """

    time: int
    known: int
    symbols: tuple[str, ...]
    values: Floats

    def field(self, name: str) -> Floats:
        """Return one field for all symbols, shape (symbols,); NaN where absent."""
        column: Floats = self.values[:, FIELDS.index(name)]
        return column

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which symbols have a bar, shape (symbols,)."""
        there: NDArray[np.bool_] = ~np.isnan(self.field("close"))
        return there


@dataclass(frozen=True, slots=True)
class Panel:
    """Many slices as dense arrays: the form in which history is computed on.

    Attributes
    ----------
    times, known
        Shape (slices,), int64 nanoseconds UTC, times rising strictly.
    symbols
        The universe, in a fixed order.
    values
        Shape (slices, symbols, fields) in the order of ``FIELDS``; NaN where a symbol is absent.
    width
        Nanoseconds from the open of a bar to its close.
    """

    times: NDArray[np.int64]
    known: NDArray[np.int64]
    symbols: tuple[str, ...]
    values: Floats
    width: int = 0

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> Slice:
        return Slice(int(self.times[index]), int(self.known[index]), self.symbols, self.values[index])

    def __iter__(self) -> Iterator[Slice]:
        return (self[index] for index in range(len(self)))

    def field(self, name: str) -> Floats:
        """Return one field, shape (slices, symbols)."""
        column: Floats = self.values[:, :, FIELDS.index(name)]
        return column

    def between(self, start: int, end: int) -> "Panel":
        """Return the slices with ``start < time <= end`` (nanoseconds)."""
        first, last = np.searchsorted(self.times, [start, end], side="right")
        return Panel(self.times[first:last], self.known[first:last], self.symbols, self.values[first:last], self.width)

    @classmethod
    def from_frame(cls, bars: Any, symbols: Sequence[str] | None = None) -> "Panel":
        """Return the panel of a frame of bars (schema ``bars``, polars or pandas) of one timeframe.

        Parameters
        ----------
        bars
            Rows in time order within each symbol.
        symbols
            The universe and its order; by default the symbols of the frame, sorted.

        Raises
        ------
        SchemaError
            A bar is impossible, times are out of order, or timeframes are mixed.
        DataError
            A symbol of the universe has no bar at all.
        """
        frame = check_bars(validate(bars, "bars"))
        spans = (frame["time"] - frame["open_time"]).unique()
        if len(spans) > 1:
            raise SchemaError(f"bars: mixed timeframes {', '.join(str(s) for s in sorted(spans))}; wanted one")
        found = sorted(frame["symbol"].unique())
        universe = tuple(found if symbols is None else symbols)
        absent = [symbol for symbol in universe if symbol not in found]
        if absent or not universe:
            raise DataError(
                f"bars: no rows for {', '.join(absent) or 'any symbol'}; found {', '.join(found) or 'none'}"
            )
        frame = frame.filter(pl.col("symbol").is_in(universe))
        stamps = frame["time"].dt.epoch("ns").to_numpy()
        times, rows = np.unique(stamps, return_inverse=True)
        order = {symbol: index for index, symbol in enumerate(universe)}
        columns = frame["symbol"].replace_strict(order, return_dtype=pl.Int64).to_numpy()
        values = np.full((len(times), len(universe), len(FIELDS)), np.nan)
        data = frame.select(pl.col(name).cast(pl.Float64).fill_null(np.nan) for name in FIELDS).to_numpy()
        values[rows, columns] = data
        known = np.full(len(times), np.iinfo(np.int64).min)
        np.maximum.at(known, rows, frame["known"].dt.epoch("ns").to_numpy())
        width = int(spans.dt.total_nanoseconds().item())
        return cls(times.astype(np.int64), known, universe, values, width)


class SliceAssembler:
    """Collects the bars of one close until the universe is complete or a deadline has passed.

    Parameters
    ----------
    symbols
        The universe, in its fixed order.
    deadline_ns
        How long after a close absentees are awaited, in nanoseconds.
    """

    __slots__ = ("_waiting", "deadline_ns", "symbols")

    def __init__(self, symbols: Sequence[str], deadline_ns: int) -> None:
        self.symbols = tuple(symbols)
        self.deadline_ns = deadline_ns
        self._waiting: dict[int, dict[str, Bar]] = {}

    def add(self, bar: Bar) -> list[Slice]:
        """Take a bar; return the slice that it completes, after the incomplete ones of earlier closes.

        A symbol outside the universe is ignored.
        """
        if bar.symbol not in self.symbols:
            return []
        bars = self._waiting.setdefault(bar.time, {})
        bars[bar.symbol] = bar
        if len(bars) < len(self.symbols):
            return []
        return [self._close(time) for time in sorted(self._waiting) if time <= bar.time]

    def expire(self, now: int) -> list[Slice]:
        """Return, oldest first, the incomplete slices whose deadline has passed at ``now``; absentees are NaN."""
        due = sorted(time for time in self._waiting if time + self.deadline_ns <= now)
        return [self._close(time) for time in due]

    def _close(self, time: int) -> Slice:
        bars = self._waiting.pop(time)
        return slice_of(bars.values(), self.symbols)


def slice_of(bars: Any, symbols: Sequence[str]) -> Slice:
    """Return the slice of some Bar rows that share one close; symbols without a row are NaN."""
    rows = {bar.symbol: bar for bar in bars}
    times = {bar.time for bar in rows.values()}
    if len(times) != 1:
        raise ValueError(f"a slice holds bars of one close, found {len(times)}")
    values = np.full((len(symbols), len(FIELDS)), np.nan)
    for index, symbol in enumerate(symbols):
        bar = rows.get(symbol)
        if bar is not None:
            values[index] = [getattr(bar, name) for name in FIELDS]
    return Slice(times.pop(), max(bar.known for bar in rows.values()), tuple(symbols), values)
