"""Features of a longer timeframe beside those of the bars: each enters when its bar is known, and grows stale.

The longer bars are folded slice by slice, by one kernel in history and in the present. A bucket closes with the slice
that ends it, or with the first slice after its end. So the 10:05 row of five-minute bars sees the hour that ended at
10:00, never the one in which it lies. The first bucket of each symbol is not counted: nobody saw how it began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing
from cryptoquant.errors import DataError
from cryptoquant.features.feature import CLOSE, HIGH, LOW, OPEN, TRADE_COUNT, VOLUME, VWAP
from cryptoquant.features.kernel import Integers
from cryptoquant.market.slice import FIELDS, Floats, Panel, Slice
from cryptoquant.market.time import Timeframe, timeframe_name

PARTS, SEEN, TRADED, FOLDED = len(FIELDS), len(FIELDS) + 1, len(FIELDS) + 2, len(FIELDS) + 3
BUCKET, KNOWN, STARTED, HEAD = range(4)
NEVER = np.iinfo(np.int64).min


class Table(Protocol):
    """What is computed on the longer bars: a feature set."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        ...

    @property
    def features(self) -> tuple[Any, ...]:
        """What computes them."""
        ...

    @property
    def fingerprint(self) -> str:
        """What they are computed by."""
        ...

    def compute_panel(self, panel: Panel) -> Floats:
        """Return the features, shape (slices, symbols, columns)."""
        ...

    def online(self, symbols: Sequence[str]) -> "Updater":
        """Return the features of the present."""
        ...

    def needed(self, timeframe: Timeframe) -> tuple[int, int]:
        """Return lookback and warm-up in bars."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the set as plain JSON values."""
        ...


class Updater(Protocol):
    """The features of the present over longer bars."""

    def update(self, slice: Slice) -> Floats:
        """Take the next slice; return the features, shape (symbols, columns)."""
        ...

    def memory(self) -> Floats:
        """Return all that is remembered."""
        ...

    def recall(self, memory: Floats) -> None:
        """Take over what ``memory`` returned."""
        ...


@borrowing
def highest(one: float, two: float) -> float:
    """Return the larger number, NaN if one is."""
    return one if one > two or one != one else two


@borrowing
def fold(memory: Floats, values: Floats) -> None:
    """Add the bars of a slice (symbols, fields) to the bars that are forming (symbols, ``FOLDED``)."""
    for symbol in range(len(values)):
        bar, whole = values[symbol], memory[symbol]
        if np.isnan(bar[CLOSE]):
            continue
        if whole[PARTS] == 0.0:
            whole[OPEN], whole[HIGH], whole[LOW] = bar[OPEN], bar[HIGH], bar[LOW]
            whole[VOLUME], whole[TRADE_COUNT], whole[TRADED] = 0.0, 0.0, 0.0
        whole[HIGH] = highest(whole[HIGH], bar[HIGH])
        whole[LOW] = -highest(-whole[LOW], -bar[LOW])
        whole[CLOSE] = bar[CLOSE]
        whole[VOLUME] += bar[VOLUME]
        whole[TRADE_COUNT] += 0.0 if np.isnan(bar[TRADE_COUNT]) else bar[TRADE_COUNT]
        whole[TRADED] += bar[VOLUME] * (0.0 if np.isnan(bar[VWAP]) else bar[VWAP])
        whole[PARTS] += 1.0


@borrowing
def close_bucket(memory: Floats, closed: Floats) -> None:
    """Write the bars that were forming (symbols, fields), NaN for an absent symbol and for its first bucket."""
    for symbol in range(len(memory)):
        whole, bar = memory[symbol], closed[symbol]
        is_counted = whole[PARTS] > 0.0 and whole[SEEN] > 0.0
        for name in range(len(FIELDS)):
            bar[name] = whole[name] if is_counted else np.nan
        if is_counted:
            bar[VWAP] = whole[TRADED] / whole[VOLUME] if whole[VOLUME] > 0.0 else 0.0
        if whole[PARTS] > 0.0:
            whole[SEEN] = 1.0
        whole[PARTS] = 0.0


@borrowing
def take(
    memory: Floats, head: Integers, width: int, time: int, known: int, values: Floats, closed: Floats, stamps: Integers
) -> int:
    """Take one slice; return how many longer slices it closed: none, one or two.

    Writes their bars to ``closed`` (2, symbols, fields) and their times and when they were known to ``stamps`` (2, 2).
    """
    bucket = (time - 1) // width
    count = 0
    if head[STARTED] == 1 and bucket != head[BUCKET]:
        count = _close(memory, head, width, closed, stamps, count)
    if head[STARTED] == 0:
        head[STARTED], head[BUCKET], head[KNOWN] = 1, bucket, known
    head[KNOWN] = max(head[KNOWN], known)
    fold(memory, values)
    if time == (bucket + 1) * width:
        count = _close(memory, head, width, closed, stamps, count)
    return count


@borrowing
def _close(memory: Floats, head: Integers, width: int, closed: Floats, stamps: Integers, count: int) -> int:
    end = (head[BUCKET] + 1) * width
    close_bucket(memory, closed[count])
    stamps[count, 0], stamps[count, 1] = end, max(end, head[KNOWN])
    head[STARTED] = 0
    return count + 1


@borrowing
def take_all(
    memory: Floats,
    head: Integers,
    width: int,
    times: Integers,
    known: Integers,
    values: Floats,
    closed: Floats,
    stamps: Integers,
    entered: Integers,
) -> int:
    """Take all slices (slices, symbols, fields); return how many longer slices there are.

    ``entered`` receives the row of the slice with which each became known.
    """
    count = 0
    for row in range(len(times)):
        made = take(memory, head, width, times[row], known[row], values[row], closed[count:], stamps[count:])
        for index in range(made):
            entered[count + index] = row
        count += made
    return count


def _name(width: int) -> str:
    return timeframe_name(timedelta(microseconds=width // 1_000))


@dataclass(frozen=True, slots=True)
class LongerBars:
    """Features computed on the bars of a longer timeframe; made by ``timeframe``.

    Attributes
    ----------
    width
        Of the longer bars, in nanoseconds.
    stale
        A longer bar that closed more than so many nanoseconds ago counts no more: NaN.
    features
        What is computed on them.
    """

    width: int
    stale: int
    features: Table

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns: those of the features, with the timeframe behind."""
        return tuple(f"{name}_{_name(self.width)}" for name in self.features.names)

    def to_dict(self) -> dict[str, Any]:
        """Return name, parameters and version as plain JSON values."""
        parameters = {"timeframe": _name(self.width), "stale_ns": self.stale, **self.features.to_dict()}
        return {"name": "timeframe", "parameters": parameters, "version": 1}

    def needed(self, width: int) -> tuple[int, int]:
        """Return lookback and warm-up in bars of a width (nanoseconds).

        Raises
        ------
        ValueError
            Such bars do not divide the longer ones.
        """
        if not 0 < width < self.width or self.width % width:
            raise ValueError(f"bars of {_name(width)} do not make up longer bars of {_name(self.width)}")
        ratio = self.width // width
        lookback, warm_up = self.features.needed(_name(self.width))
        return (lookback + 2) * ratio - 1, (warm_up + 1) * ratio

    def check(self, panel: Panel) -> None:
        """Raise DataError when the bars of a panel do not divide the longer ones, or lack a field that is read."""
        if panel.width and (panel.width >= self.width or self.width % panel.width):
            raise DataError(f"bars of {_name(panel.width)} do not make up longer bars of {_name(self.width)}")
        for feature in self.features.features:
            for name in feature.reads - {"time"}:
                panel.field(name)

    def compute_panel(self, panel: Panel) -> Floats:
        """Return the features as known at each slice of shorter bars, shape (slices, symbols, columns).

        Raises
        ------
        DataError
            The bars of the panel do not divide the longer ones.
        """
        self.check(panel)
        times = np.ascontiguousarray(panel.times)
        slices, symbols = len(times), len(panel.symbols)
        room = len(np.unique((times - 1) // self.width)) + 2
        closed, stamps = np.empty((room, symbols, len(FIELDS))), np.empty((room, 2), dtype=np.int64)
        entered, head = np.empty(room, dtype=np.int64), np.zeros(HEAD, dtype=np.int64)
        given = self.width, times, np.ascontiguousarray(panel.known), panel.values
        count = take_all(np.zeros((symbols, FOLDED)), head, *given, closed, stamps, entered)
        longer = Panel.from_values(stamps[:count, 0], stamps[:count, 1], panel.symbols, closed[:count], self.width)
        found = self.features.compute_panel(longer)
        out = np.full((slices, symbols, found.shape[2]), np.nan)
        last = np.searchsorted(entered[:count], np.arange(slices), side="right") - 1
        there = ~np.isnan(panel.field("close"))
        for symbol in range(symbols):
            own = np.where(np.isnan(closed[:count, symbol, CLOSE]), -1, np.arange(count))
            latest = np.maximum.accumulate(own) if count else own
            rows = np.flatnonzero((last >= 0) & there[:, symbol])
            rows = rows[latest[last[rows]] >= 0]
            chosen = latest[last[rows]]
            fresh = times[rows] - stamps[chosen, 0] <= self.stale
            out[rows[fresh], symbol] = found[chosen[fresh], symbol]
        return out

    def online(self, symbols: Sequence[str]) -> "LongerPresent":
        """Return the features of the present."""
        return LongerPresent(self, symbols)


class LongerPresent:
    """The bars that are forming, the features over the last longer bars, and when these closed."""

    __slots__ = ("_closed", "_head", "_inner", "_last", "_memory", "_stamps", "_symbols", "_times", "longer")

    def __init__(self, longer: LongerBars, symbols: Sequence[str]) -> None:
        self.longer = longer
        self._symbols = tuple(symbols)
        self._inner = longer.features.online(symbols)
        self._memory, self._head = np.zeros((len(symbols), FOLDED)), np.zeros(HEAD, dtype=np.int64)
        self._closed, self._stamps = np.empty((2, len(symbols), len(FIELDS))), np.empty((2, 2), dtype=np.int64)
        self._last = np.full((len(symbols), len(longer.features.names)), np.nan)
        self._times = np.full(len(symbols), NEVER)

    def update(self, slice: Slice) -> NDArray[np.float64]:
        """Take the next slice of shorter bars; return the features known with it, shape (symbols, columns)."""
        values = np.ascontiguousarray(slice.values, dtype=np.float64)
        given = self.longer.width, slice.time, slice.known, values
        for index in range(take(self._memory, self._head, *given, self._closed, self._stamps)):
            bars = self._closed[index].copy()
            time, known = self._stamps[index].tolist()
            found = self._inner.update(Slice(time, known, self._symbols, bars))
            there = ~np.isnan(bars[:, CLOSE])
            self._last[there], self._times[there] = found[there], time
        fresh = (self._times >= slice.time - self.longer.stale) & ~np.isnan(values[:, CLOSE])
        return np.where(fresh[:, None], self._last, np.nan)

    def peek(self, slice: Slice) -> NDArray[np.float64]:
        """Return what ``update`` would return, and forget the slice."""
        other = LongerPresent(self.longer, self._symbols)
        other.recall(self.memory())
        return other.update(slice)

    def observe(self, event: object) -> None:
        """Pass over what happens between the bars."""

    def check(self, panel: Panel, ticks: object) -> None:
        """Raise DataError for bars that do not make up the longer ones."""
        self.longer.check(panel)

    def warm(self, panel: Panel, ticks: object) -> None:
        """Take a history in, slice by slice."""
        for slice in panel:
            self.update(slice)

    def memory(self) -> Floats:
        """Return all that is remembered as floats; whole numbers as their bits."""
        whole = np.concatenate([self._head, self._times]).view(np.float64)
        return np.concatenate([whole, self._memory.ravel(), self._last.ravel(), self._inner.memory()])

    def recall(self, memory: Floats) -> None:
        """Take over what ``memory`` returned."""
        sizes = np.cumsum([HEAD, len(self._times), self._memory.size, self._last.size])
        head, times, folded, last, inner = np.split(memory, sizes)
        self._head[:], self._times[:] = head.view(np.int64), times.view(np.int64)
        self._memory.reshape(-1)[:], self._last.reshape(-1)[:] = folded, last
        self._inner.recall(inner)
