"""All bars of one close over the universe: the moment at which a strategy decides."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.pace import median_gap
from cryptoquant.market.schema import Bar, check_bars, validate
from cryptoquant.market.time import iso

FIELDS = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
NEEDED = ("open", "close")
PLACE = {name: place for place, name in enumerate(FIELDS)}
Floats = NDArray[np.float64]


class Slice(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The bars of one close.

    Attributes
    ----------
    time, known
        Nanoseconds UTC: the common close, and when the last of its bars was known.
    symbols
        The universe, in its fixed order.
    source, row
        Where the bars lie; read them by ``field`` and ``values``. An array of shape (symbols, fields) in the order of
        ``FIELDS``, a row of NaN marking an absent symbol; or the panel that the slice is a row of.
    is_complete
        True when it is certain that no symbol is absent.
    """

    time: int
    known: int
    symbols: tuple[str, ...]
    source: Any
    row: int = -1
    is_complete: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Slice, (self.time, self.known, self.symbols, self.values)

    @property
    def values(self) -> Floats:
        """Shape (symbols, fields) in the order of ``FIELDS``; a row of NaN marks an absent symbol."""
        values: Floats = self.source if self.row < 0 else self.source.rows(self.row, self.row + 1)[0]
        return values

    def field(self, name: str) -> Floats:
        """Return one field for all symbols, shape (symbols,); NaN where absent."""
        column: Floats = self.source[:, PLACE[name]] if self.row < 0 else self.source.columns[name][self.row]
        return column

    def value(self, name: str, place: int) -> float:
        """Return one field of one symbol; NaN where it is absent."""
        if self.row < 0:
            return float(self.source[place, PLACE[name]])
        column = self.source.columns.get(name)
        return math.nan if column is None else float(column.item(self.row, place))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which symbols have a bar, shape (symbols,)."""
        there: NDArray[np.bool_] = ~np.isnan(self.field("close"))
        return there


def read_only(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return views of the columns named in ``FIELDS`` that cannot be written through."""
    views = {name: columns[name].view() for name in FIELDS if name in columns}
    for view in views.values():
        view.flags.writeable = False
    return views


@dataclass(frozen=True, slots=True)
class Panel:
    """Many slices as dense columns: the form in which history is computed on.

    Attributes
    ----------
    times, known
        Shape (slices,), int64 nanoseconds UTC, times rising strictly.
    symbols
        The universe, in a fixed order.
    columns
        One read-only array for each name in ``FIELDS``, shape (slices, symbols); NaN where a symbol is absent. Open and
        close are needed; of the others a computation asks for those that it reads.
    width
        Nanoseconds from the open of a bar to its close.
    is_checked
        Whether its prices were found possible.
    """

    times: NDArray[np.int64]
    known: NDArray[np.int64]
    symbols: tuple[str, ...]
    columns: Mapping[str, Floats]
    width: int = 0
    is_checked: bool = field(default=False, repr=False, compare=False)
    _pace: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.symbols))
        if len(set(self.symbols)) < len(self.symbols):
            raise SchemaError(f"panel: a symbol is there twice in {', '.join(self.symbols)}")
        if len(self.known) != len(self.times):
            raise SchemaError(f"panel: {len(self.known)} moments at which slices were known, wanted {len(self.times)}")
        falls = np.flatnonzero(self.times[1:] <= self.times[:-1])
        if falls.size:
            row = int(falls[0]) + 1
            raise SchemaError(f"panel: slice {row} closes at {iso(int(self.times[row]))}, not after the one before it")
        if self.width < 0:
            raise SchemaError(f"panel: the width of a bar is {self.width} ns, wanted zero or more")
        for name in FIELDS:
            if name not in self.columns and name not in NEEDED:
                continue
            if name not in self.columns:
                raise SchemaError(f"panel: column {name} is missing; found {', '.join(self.columns) or 'none'}")
            if self.columns[name].shape != shape:
                raise SchemaError(
                    f"panel: {name} has shape {self.columns[name].shape}, wanted {shape} (slices, symbols)"
                )
        found = [name for name in FIELDS if name in self.columns]
        columns = {name: np.ascontiguousarray(self.columns[name], dtype=np.float64) for name in found}
        object.__setattr__(self, "columns", read_only(columns))

    def __reduce__(self) -> tuple[Any, ...]:
        return Panel, (self.times, self.known, self.symbols, dict(self.columns), self.width)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def pace(self) -> float:
        """The median time from one close to the next, in nanoseconds; NaN for fewer than two slices."""
        if not self._pace:
            self._pace.append(median_gap(self.times))
        return self._pace[0]

    def __getitem__(self, index: int) -> Slice:
        row = range(len(self))[index]
        return Slice(int(self.times[row]), int(self.known[row]), self.symbols, self, row)

    def __iter__(self) -> Iterator[Slice]:
        symbols, complete = self.symbols, np.all(~np.isnan(self.columns["close"]), axis=1).tolist()
        rows = zip(self.times.tolist(), self.known.tolist(), range(len(self)), complete, strict=True)
        return (Slice(time, known, symbols, self, row, is_complete) for time, known, row, is_complete in rows)

    @property
    def values(self) -> Floats:
        """A copy of all fields, shape (slices, symbols, fields) in the order of ``FIELDS``."""
        return self.rows(0, len(self))

    def rows(self, first: int, last: int) -> Floats:
        """Return a copy of some slices, shape (last - first, symbols, fields) in the order of ``FIELDS``."""
        empty = np.full((last - first, len(self.symbols)), np.nan)
        found = (self.columns[name][first:last] if name in self.columns else empty for name in FIELDS)
        return np.stack(list(found), axis=-1)

    def field(self, name: str) -> Floats:
        """Return one field, shape (slices, symbols).

        Raises
        ------
        DataError
            The panel was made without it.
        """
        column = self.columns.get(name)
        if column is None:
            raise DataError(f"the panel holds no {name}, only {', '.join(self.columns)}")
        return column

    def between(self, start: int, end: int) -> "Panel":
        """Return the slices with ``start < time <= end`` (nanoseconds)."""
        first, last = np.searchsorted(self.times, [start, end], side="right")
        part = {name: column[first:last] for name, column in self.columns.items()}
        return Panel(self.times[first:last], self.known[first:last], self.symbols, part, self.width)

    @classmethod
    def from_arrays(
        cls, times: Any, symbols: Sequence[str], columns: Mapping[str, Any], width: int | None = None
    ) -> "Panel":
        """Return a panel over NumPy arrays without copying them.

        Parameters
        ----------
        times
            Closes, shape (slices,): int64 nanoseconds UTC or datetime64. They count as known when they close.
        columns
            By name, each of shape (slices, symbols), or (slices,) for one symbol; open and close are needed, high and
            low by orders that may fill inside a bar, volume by participation and impact.
        width
            Nanoseconds from open to close; by default the smallest distance between two closes.

        Raises
        ------
        SchemaError
            A shape is wrong, a needed column is missing, or times do not rise.
        """
        stamps = np.asarray(times)
        if np.issubdtype(stamps.dtype, np.datetime64):
            stamps = stamps.astype("datetime64[ns]").astype(np.int64)
        stamps = np.ascontiguousarray(stamps, dtype=np.int64)
        strange = [name for name in columns if name not in FIELDS]
        if strange:
            raise SchemaError(f"panel: unknown column {', '.join(strange)}; columns are {', '.join(FIELDS)}")
        arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
        shaped = {name: values[:, None] if values.ndim == 1 else values for name, values in arrays.items()}
        if width is None:
            width = int(np.diff(stamps).min()) if len(stamps) > 1 else 0
        return cls(stamps, stamps, tuple(symbols), shaped, width)

    @classmethod
    def from_values(
        cls,
        times: NDArray[np.int64],
        known: NDArray[np.int64],
        symbols: tuple[str, ...],
        values: Floats,
        width: int = 0,
    ) -> "Panel":
        """Return the panel of an array of shape (slices, symbols, fields) in the order of ``FIELDS``; it is copied."""
        columns = {name: np.ascontiguousarray(values[:, :, place]) for name, place in PLACE.items()}
        return cls(times, known, symbols, columns, width)

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
        values = {}
        for name in FIELDS:
            values[name] = np.full((len(times), len(universe)), np.nan)
            values[name][rows, columns] = frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.full(len(times), np.iinfo(np.int64).min)
        np.maximum.at(known, rows, frame["known"].dt.epoch("ns").to_numpy())
        width = int(spans.dt.total_nanoseconds().item())
        return cls(times.astype(np.int64), known, universe, values, width, is_checked=True)


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
