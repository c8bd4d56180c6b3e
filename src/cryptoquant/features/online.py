"""The features of the present: one slice in, one row per symbol out, with a memory that can be saved and restored."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptoquant.errors import DataError
from cryptoquant.features.feature import INPUTS, Feature
from cryptoquant.features.kernel import Integers, Operation, step_slice, step_slices
from cryptoquant.market.slice import FIELDS, Floats, Panel, Slice
from cryptoquant.market.time import iso

NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Program:
    """A list of features as the arrays that ``step_slice`` reads.

    Attributes
    ----------
    table
        Shape (features, 10), see ``step_slice``.
    settings, picks
        The settings and the input numbers of all features, end to end.
    state_size, columns
        Floats of memory for all symbols, and the number of output columns.
    """

    table: Integers
    settings: Floats
    picks: Integers
    state_size: int
    columns: int

    @classmethod
    def of(cls, features: Sequence[Feature], symbols: int) -> "Program":
        """Return the program of some features for a number of symbols."""
        rows: list[list[int]] = []
        settings: list[float] = []
        picks: list[int] = []
        base = column = 0
        for feature in features:
            row = [Operation[feature.name.upper()], feature.across, base, feature.state_size]
            ends = [len(settings), len(settings) + len(feature.settings), len(picks), len(picks) + len(feature.inputs)]
            rows.append([*row, *ends, column, column + len(feature.outputs)])
            settings.extend(feature.settings)
            picks.extend(INPUTS.index(name) for name in feature.inputs)
            base += feature.state_size * symbols
            column += len(feature.outputs)
        table = np.array(rows, dtype=np.int64)
        return cls(table, np.array(settings, dtype=np.float64), np.array(picks, dtype=np.int64), base, column)


class OnlineFeatures:
    """A feature set over a fixed universe, moved by slices; made by ``FeatureSet.online``.

    Each update equals the row that ``FeatureSet.compute`` gives for the same history, to the bit.
    """

    __slots__ = ("_program", "_state", "_time", "fingerprint", "symbols")

    def __init__(self, features: Sequence[Feature], symbols: Sequence[str], fingerprint: str) -> None:
        self.symbols = tuple(symbols)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols) or isinstance(symbols, str):
            raise ValueError(f"online features need a list of different symbols, found {symbols!r}")
        self.fingerprint = fingerprint
        self._program = Program.of(features, len(self.symbols))
        self._state = np.zeros(self._program.state_size)
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
        """
        out = self._step(slice, self._state)
        self._time = slice.time
        return out

    def peek(self, slice: Slice) -> Floats:
        """Return what ``update`` would return, and forget the slice: for a bar that is still forming."""
        return self._step(slice, self._state.copy())

    def warm(self, panel: Panel) -> None:
        """Take all slices of a history, oldest first; errors as for ``update``."""
        self._check(panel.symbols, int(panel.times[0]) if len(panel) else None)
        if not len(panel):
            return
        if np.any(np.diff(panel.times) <= 0):
            raise DataError("online features: the times of the history do not rise strictly")
        p = self._program
        values, times = panel.values, np.ascontiguousarray(panel.times)
        out = np.empty((len(self.symbols), p.columns))
        step_slices(p.table, p.settings, p.picks, self._state, values, times, out)
        self._time = int(panel.times[-1])

    def state(self) -> bytes:
        """Return the memory as bytes: a line of JSON (fingerprint, symbols, time, digest), then the floats."""
        memory = self._state.astype("<f8").tobytes()
        head = {
            "fingerprint": self.fingerprint,
            "symbols": self.symbols,
            "time": self._time,
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
            found = (head["fingerprint"], tuple(head["symbols"]), int(head["time"]), head["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("feature state: unreadable header; wanted the bytes of OnlineFeatures.state()") from error
        if found[0] != self.fingerprint:
            raise ValueError(f"feature state: fingerprint {found[0]}, wanted {self.fingerprint}")
        if found[1] != self.symbols:
            raise ValueError(f"feature state: symbols {', '.join(found[1])}, wanted {', '.join(self.symbols)}")
        if len(memory) != 8 * len(self._state):
            raise ValueError(f"feature state: length {len(memory)} bytes, wanted {8 * len(self._state)}")
        if hashlib.sha256(memory).hexdigest() != found[3]:
            raise ValueError("feature state: the digest does not match, the bytes are damaged")
        self._state = np.frombuffer(memory, dtype="<f8").astype(np.float64)
        self._time = found[2]

    def _check(self, symbols: tuple[str, ...], time: int | None) -> None:
        if symbols != self.symbols:
            raise ValueError(f"online features: found symbols {', '.join(symbols)}, wanted {', '.join(self.symbols)}")
        if time is not None and time <= self._time:
            raise DataError(f"online features: slice of {iso(time)} after the one of {iso(self._time)}")

    def _step(self, slice: Slice, state: Floats) -> Floats:
        self._check(slice.symbols, slice.time)
        values = np.ascontiguousarray(slice.values, dtype=np.float64)
        if values.shape != (len(self.symbols), len(FIELDS)):
            raise ValueError(
                f"online features: slice of shape {values.shape}, wanted {(len(self.symbols), len(FIELDS))}"
            )
        p = self._program
        out = np.empty((len(self.symbols), p.columns))
        step_slice(p.table, p.settings, p.picks, state, values, slice.time, out)
        return out
