"""A list of features as the tables that the compiled drivers read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryptoquant.errors import DataError
from cryptoquant.features.entries import entry_of, settings_of
from cryptoquant.features.feature import DERIVED, INPUTS, Feature
from cryptoquant.features.kernel import PANEL_FRAME, Integers, run_panel
from cryptoquant.market.slice import Floats


@dataclass(frozen=True, slots=True)
class Gate:
    """Features that step on the same bars: those at which all that they read is finite.

    Attributes
    ----------
    table
        Shape (features, 8), see ``advance``.
    names
        The names of the features.
    inputs
        What they read, of ``INPUTS``, and what that is derived from, in that order.
    columns
        The numbers of their columns.
    history
        How many bars before the present one are read again.
    """

    table: Integers
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    columns: tuple[int, ...]
    history: int

    @property
    def reads(self) -> tuple[str, ...]:
        """The inputs that come with the bar."""
        return tuple(name for name in self.inputs if name not in DERIVED)


@dataclass(frozen=True, slots=True)
class Across:
    """A panel feature: the address of its step, the numbers of its inputs, where its state and columns lie."""

    name: str
    step: int
    picks: Integers
    settings: Floats
    state: slice
    size: int
    columns: slice

    def run(self, state: Floats, values: Floats, times: Integers) -> Floats:
        """Take slices through the step; return its columns, shape (slices, symbols, outputs).

        Parameters
        ----------
        state
            Shape (symbols, size); written.
        values
            Shape (slices, symbols, fields).
        """
        slices, symbols = values.shape[:2]
        out = np.empty((slices, symbols, self.columns.stop - self.columns.start))
        bars, present = np.empty((symbols, len(self.picks))), np.empty(symbols, dtype=np.bool_)
        frame = np.empty(PANEL_FRAME, dtype=np.int64)
        if not run_panel(self.step, state, self.settings, self.picks, values, times, bars, present, frame, out):
            raise raised(self.name)
        return out


@dataclass(frozen=True, slots=True)
class Program:
    """Features by gate.

    Attributes
    ----------
    gates, across
        The symbol features and the panel features.
    settings
        The settings of the symbol features, end to end.
    state_size, columns
        Floats of memory for all symbols, and the number of output columns.
    """

    gates: tuple[Gate, ...]
    across: tuple[Across, ...]
    settings: Floats
    state_size: int
    columns: int

    @classmethod
    def of(cls, features: Sequence[Any], universe: Sequence[str] = ()) -> "Program":
        """Return the program of some features for a universe, or without panel features for one symbol.

        What is no ``Feature`` has columns but no step here.

        Raises
        ------
        DataError
            A feature compares with a symbol outside the universe.
        """
        symbols = max(len(universe), 1)
        rows: dict[frozenset[str], list[tuple[Feature, list[int]]]] = {}
        across: list[Across] = []
        settings: list[float] = []
        base = column = 0
        for feature in features:
            columns = slice(column, column + len(feature.outputs))
            column = columns.stop
            if not isinstance(feature, Feature) or (feature.across and not universe):
                continue
            step = entry_of(feature)
            if feature.across:
                picks = np.array(feature.places, dtype=np.int64)
                memory = slice(base, base + symbols * feature.state_size)
                across.append(
                    Across(
                        name=feature.name,
                        step=step,
                        picks=picks,
                        settings=_settings_across(feature, universe),
                        state=memory,
                        size=feature.state_size,
                        columns=columns,
                    )
                )
            else:
                chosen = settings_of(feature)
                where = [len(settings), len(chosen), columns.start, len(feature.outputs)]
                row = [step, base, feature.state_size, *where, feature.lead]
                rows.setdefault(feature.reads, []).append((feature, row))
                settings.extend(chosen)
            base += symbols * feature.state_size
        gates = tuple(_gate(reads, members) for reads, members in rows.items())
        return cls(gates, tuple(across), np.array(settings, dtype=np.float64), base, column)


def _settings_across(feature: Feature, universe: Sequence[str]) -> Floats:
    """Return the settings of a panel feature, and the place of the symbol with which it compares."""
    if feature.against and feature.against not in universe:
        raise DataError(f"{feature.name}: compares with {feature.against}, found only {', '.join(universe)}")
    places = [universe.index(feature.against)] if feature.against else []
    return np.array([*feature.settings, *places], dtype=np.float64)


def raised(name: str) -> RuntimeError:
    """Return the error of a feature whose step raised."""
    return RuntimeError(f"{name}: its step raised an error, which stands on stderr; a step writes NaN instead")


def _gate(reads: frozenset[str], members: list[tuple[Feature, list[int]]]) -> Gate:
    wanted = reads.union(*(feature.inputs for feature, _ in members))
    columns = [column for _, row in members for column in range(row[5], row[5] + row[6])]
    return Gate(
        table=np.array([row for _, row in members], dtype=np.int64),
        names=tuple(feature.name for feature, _ in members),
        inputs=tuple(name for name in INPUTS if name in wanted),
        columns=tuple(columns),
        history=max(1, *(feature.history for feature, _ in members)),
    )
