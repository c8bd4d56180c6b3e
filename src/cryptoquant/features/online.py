"""The features of the present: one slice in, one row per symbol out, with a memory that can be saved and restored."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import DataError
from cryptoquant.features.feature import WIDEST
from cryptoquant.features.kernel import SCRATCH, Integers
from cryptoquant.features.program import Program, raised
from cryptoquant.features.tapes import (
    ACROSS,
    ACROSS_COUNT,
    ADDRESSES,
    CHOSEN,
    COLUMNS,
    COUNTERS,
    FEATURES,
    FRAMES,
    GATE_COUNT,
    GATES,
    HISTORY,
    LENGTH,
    PLAN,
    STARTS,
    STATES,
    SYMBOLS,
    TABLE,
    TAPES,
    TAPES_SIZE,
    frame_of,
    laid_across,
    laid_out,
    step_slice,
    step_slices,
)
from cryptoquant.features.tick_program import TickPresent, programs_of
from cryptoquant.features.ticks import Event, Ticks
from cryptoquant.features.timeframes import LongerBars
from cryptoquant.market.slice import FIELDS, Floats, Panel, Slice
from cryptoquant.market.time import iso

ROOM, MOST_ROWS = 65_536, 128
NEVER = np.iinfo(np.int64).min


class OnlineFeatures:
    """A feature set over a fixed universe, moved by slices; made by ``FeatureSet.online``.

    Each update equals the row that ``FeatureSet.compute`` gives for the same history, to the bit. Several threads may
    use one object: they take turns.
    """

    __slots__ = (
        "_across",
        "_features",
        "_frame",
        "_gates",
        "_kept_for_across",
        "_lock",
        "_parts",
        "_place",
        "_plan",
        "_program",
        "_rows",
        "_scratch",
        "_size",
        "_start",
        "_state",
        "_table",
        "_tapes",
        "_time",
        "_used",
        "fingerprint",
        "symbols",
    )

    def __init__(self, features: Sequence[Any], symbols: Sequence[str], fingerprint: str) -> None:
        self.symbols = tuple(symbols)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols) or isinstance(symbols, str):
            raise ValueError(f"online features need a list of different symbols, found {symbols!r}")
        self.fingerprint = fingerprint
        self._features = tuple(features)
        self._program = Program.of(features, self.symbols)
        self._table, self._gates, self._tapes = laid_out(self._program, len(self.symbols))
        self._state = np.zeros(self._program.state_size)
        self._across, self._kept_for_across = laid_across(self._program, len(self.symbols))
        self._scratch = np.empty((SCRATCH, WIDEST))
        self._frame = frame_of(self._scratch)
        self._rows: NDArray[np.float64]
        self._used, self._start, self._size = 0, 0, 0
        self._renew()
        self._plan = self._planned()
        self._place = int(self._plan.ctypes.data)
        self._parts = _parts_of(self._features, self.symbols)
        self._lock = threading.Lock()
        self._time = NEVER

    @property
    def time(self) -> int | None:
        """The close of the last slice taken in, nanoseconds UTC; None before the first."""
        return None if self._time == NEVER else self._time

    def update(self, slice: Slice) -> Floats:
        """Take the next slice; return the features, shape (symbols, columns), NaN where absent or not yet defined.

        Raises
        ------
        ValueError
            The slice has another universe.
        DataError
            The slice is not later than the last one.
        RuntimeError
            A step raised; restore a memory that was saved before.
        """
        with self._lock:
            out = self._step(slice, self._place, 1)
            for columns, part in self._parts:
                out[:, columns] = part.update(slice)
            self._time = slice.time
        return out

    def peek(self, slice: Slice) -> Floats:
        """Return what ``update`` would return, and forget the slice: for a bar that is still forming."""
        with self._lock:
            state = self._state.copy()
            plan = self._plan.copy()
            plan[STATES] = state.ctypes.data
            out = self._step(slice, plan.ctypes.data, 0)
            for columns, part in self._parts:
                out[:, columns] = part.peek(slice)
            return out

    def observe(self, event: Event) -> None:
        """Take a trade, a quote or a change of the book that is known now, for the features that read ticks.

        It counts from the next slice on that is known at that time or later. Other symbols are passed over.
        """
        with self._lock:
            for _, part in self._parts:
                part.observe(event)

    def warm(self, panel: Panel, ticks: Ticks | None = None) -> None:
        """Take all slices of a history, oldest first, and what was known between them; errors as for ``update``.

        Ticks that were known only after the last slice are left for ``observe``.
        """
        if np.any(np.diff(panel.times) <= 0):
            raise DataError("online features: the times of the history do not rise strictly")
        with self._lock:
            self._check(panel.symbols, int(panel.times[0]) if len(panel) else None)
            if len(panel):
                for _, part in self._parts:
                    part.check(panel, ticks or Ticks())
                self._take(panel.values, np.ascontiguousarray(panel.times))
                for _, part in self._parts:
                    part.warm(panel, ticks or Ticks())
                self._time = int(panel.times[-1])

    def _take(self, values: Floats, times: Integers) -> None:
        """Take slices (slices, symbols, fields) through all steps."""
        out = np.empty((len(self.symbols), self._program.columns))
        self._raise(step_slices(self._place, values, times, out.ctypes.data), values[0])

    def _planned(self) -> Integers:
        """Return where everything lies, as ``step_slice`` reads it."""
        plan = np.zeros(PLAN, dtype=np.int64)
        plan[[TABLE, GATES, ACROSS]] = [table.ctypes.data for table in (self._table, self._gates, self._across)]
        plan[[FEATURES, GATE_COUNT, ACROSS_COUNT]] = len(self._table), len(self._gates), len(self._across)
        plan[[FRAMES, CHOSEN]] = self._frame.ctypes.data, self._program.settings.ctypes.data
        plan[[STATES, TAPES, TAPES_SIZE]] = self._state.ctypes.data, self._tapes.ctypes.data, len(self._tapes)
        plan[[SYMBOLS, COLUMNS]] = len(self.symbols), self._program.columns
        return plan

    def _raise(self, failed: int, values: Floats) -> None:
        """Raise the error that a step's return stands for, if it does."""
        if failed == -2:
            wanted = (len(self.symbols), len(FIELDS))
            raise ValueError(f"online features: slice of shape {values.shape}, wanted {wanted}")
        if failed >= 0:
            names = [name for gate in self._program.gates for name in gate.names]
            raise raised([*names, *(feature.name for feature in self._program.across)][failed])

    def copy(self) -> "OnlineFeatures":
        """Return features with the same past that go their own way from here on."""
        return _restored(self._features, self.symbols, self.fingerprint, self.state())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._features, self.symbols, self.fingerprint, self.state())

    def state(self) -> bytes:
        """Return the memory as bytes: a line of JSON (fingerprint, symbols, time, digest), then the floats."""
        with self._lock:
            memory, time = self._memory().tobytes(), self._time
        head = {
            "fingerprint": self.fingerprint,
            "symbols": self.symbols,
            "time": time,
            "length": len(memory),
            "digest": hashlib.sha256(memory).hexdigest(),
        }
        return json.dumps(head).encode() + b"\n" + memory

    def restore(self, state: bytes) -> None:
        """Take over a memory that ``state`` gave.

        Raises
        ------
        ValueError
            The bytes are damaged, or belong to other features or another universe.
        """
        line, _, memory = state.partition(b"\n")
        try:
            head = json.loads(line)
            found = (head["fingerprint"], tuple(head["symbols"]), int(head["time"]), head["digest"], head["length"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("feature state: unreadable header; wanted the bytes of OnlineFeatures.state()") from error
        if found[0] != self.fingerprint:
            raise ValueError(f"feature state: fingerprint {found[0]}, wanted {self.fingerprint}")
        if found[1] != self.symbols:
            raise ValueError(f"feature state: symbols {', '.join(found[1])}, wanted {', '.join(self.symbols)}")
        if len(memory) != found[4]:
            raise ValueError(f"feature state: length {len(memory)} bytes, wanted {found[4]}")
        if hashlib.sha256(memory).hexdigest() != found[3]:
            raise ValueError("feature state: the digest does not match, the bytes are damaged")
        with self._lock:
            self._recall(np.frombuffer(memory, dtype=np.float64))
            self._time = found[2]

    def memory(self) -> Floats:
        """Return all that is remembered as floats, the time of the last slice first as its bits."""
        with self._lock:
            return np.concatenate([np.array([self._time], dtype=np.int64).view(np.float64), self._memory()])

    def recall(self, memory: Floats) -> None:
        """Take over what ``memory`` returned."""
        with self._lock:
            self._time = int(memory[:1].view(np.int64)[0])
            self._recall(memory[1:])

    def _check(self, symbols: tuple[str, ...], time: int | None) -> None:
        if symbols != self.symbols:
            raise ValueError(f"online features: found symbols {', '.join(symbols)}, wanted {', '.join(self.symbols)}")
        if time is not None and time <= self._time:
            raise DataError(f"online features: slice of {iso(time)} after the one of {iso(self._time)}")

    def _step(self, slice: Slice, plan: int, moves_on: int) -> NDArray[np.float64]:
        if slice.symbols is not self.symbols or slice.time <= self._time:
            self._check(slice.symbols, slice.time)
        used = self._used
        if used == len(self._rows):
            used = self._renew()
        self._used = used + 1
        values = slice.values
        failed = step_slice(plan, values, slice.time, self._start + used * self._size, moves_on)
        if failed != -1:
            self._raise(failed, values)
        row: NDArray[np.float64] = self._rows[used]
        return row

    def _renew(self) -> int:
        """Make room for the next results, one array for many of them; return the place of the first."""
        self._size = 8 * len(self.symbols) * self._program.columns
        self._rows = np.empty((min(max(ROOM // self._size, 1), MOST_ROWS), len(self.symbols), self._program.columns))
        self._start = int(self._rows.ctypes.data)
        return 0

    def _memory(self) -> Floats:
        """Return all that is remembered: the states, then for each gate the bars seen and the last bars on its tapes.

        Tapes of the same history give the same floats, wherever on them its end lies.
        """
        parts = [self._state]
        for seen, places, tapes, history in self._kept():
            parts.append(seen)
            for tape in tapes:
                last = np.zeros((len(self.symbols), history))
                for symbol, place in enumerate(places.astype(int)):
                    count = min(place, history)
                    last[symbol, :count] = tape[symbol, place - count : place]
                parts.append(last.reshape(-1))
        for _, part in self._parts:
            memory = part.memory()
            parts += [np.array([float(len(memory))]), memory]
        return np.concatenate(parts)

    def _recall(self, memory: Floats) -> None:
        """Take over what ``_memory`` returned."""
        end = len(self._state)
        self._state[:] = memory[:end]
        for seen, places, tapes, history in self._kept():
            seen[:] = memory[end : end + len(seen)]
            places[:] = np.minimum(seen, history)
            end += len(seen)
            for tape in tapes:
                tape[:, :history] = memory[end : end + len(seen) * history].reshape(len(seen), history)
                end += len(seen) * history
        for _, part in self._parts:
            start, end = end + 1, end + 1 + int(memory[end])
            part.recall(memory[start:end])

    def _kept(self) -> Iterator[tuple[Floats, Floats, list[Floats], int]]:
        """Yield for each gate views of the bars seen, the places and each tape (symbols, length), and its history."""
        symbols = len(self.symbols)
        for gate in self._gates.tolist():
            counters = self._tapes[gate[COUNTERS] : gate[COUNTERS] + 2 * symbols].reshape(symbols, 2)
            size = symbols * gate[LENGTH]
            starts = [start for start in gate[STARTS:ADDRESSES] if start >= 0]
            tapes = [self._tapes[start : start + size].reshape(symbols, gate[LENGTH]) for start in starts]
            yield counters[:, 0], counters[:, 1], tapes, gate[HISTORY]


class Part(Protocol):
    """Features of a set that are not computed from its bars alone."""

    def update(self, slice: Slice) -> NDArray[np.float64]:
        """Take the next slice; return the features, shape (symbols, columns)."""
        ...

    def peek(self, slice: Slice) -> NDArray[np.float64]:
        """Return what ``update`` would return, and forget the slice."""
        ...

    def observe(self, event: Event) -> None:
        """Take a trade, a quote or a change of a book."""
        ...

    def check(self, panel: Panel, ticks: Ticks) -> None:
        """Raise DataError for a history that cannot be taken."""
        ...

    def warm(self, panel: Panel, ticks: Ticks) -> None:
        """Take a history."""
        ...

    def memory(self) -> Floats:
        """Return all that is remembered."""
        ...

    def recall(self, memory: Floats) -> None:
        """Take over what ``memory`` returned."""
        ...


def _parts_of(features: Sequence[Any], symbols: tuple[str, ...]) -> list[tuple[Integers, Part]]:
    """Return the parts of a feature set and the numbers of their columns."""
    parts: list[tuple[Integers, Part]] = []
    column = 0
    for feature in features:
        columns = np.arange(column, column + len(feature.outputs))
        column += len(feature.outputs)
        if isinstance(feature, LongerBars):
            parts.append((columns, feature.online(symbols)))
    parts += [(program.columns, TickPresent(program, symbols)) for program in programs_of(features)]
    return parts


def _restored(features: Sequence[Any], symbols: Sequence[str], fingerprint: str, state: bytes) -> OnlineFeatures:
    online = OnlineFeatures(features, symbols, fingerprint)
    online.restore(state)
    return online
