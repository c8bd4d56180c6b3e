"""The batch driver: all features of a history, symbol after symbol, without copying what is complete."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cryptoquant.features.feature import DERIVED, INPUTS
from cryptoquant.features.kernel import (
    BLOCK,
    FRAME,
    SCRATCH,
    Integers,
    count_missing,
    log_returns,
    run_history,
    true_ranges,
)
from cryptoquant.features.program import Gate, Program, raised
from cryptoquant.market.slice import Floats, Panel


def run_symbols(program: Program, columns: Mapping[str, Floats], offsets: Sequence[int], out: Floats) -> None:
    """Run the symbol features of a program over histories that lie end to end.

    Parameters
    ----------
    columns
        What the features read, flat arrays by name, rows grouped by symbol and in time order.
    offsets
        Where the symbols begin, and the end.
    out
        Shape (columns, rows); written, NaN where a bar is not complete or a feature not yet defined.
    """
    fields = {name: np.ascontiguousarray(column, dtype=np.float64) for name, column in columns.items()}
    holes = {name: count_missing(column) for name, column in fields.items()}
    scratch = np.empty((SCRATCH, BLOCK))
    for gate in program.gates:
        for start, stop in pairwise(offsets):
            parts = {name: fields[name][start:stop] for name in gate.reads}
            is_whole = not any(holes[name] and count_missing(part) for name, part in parts.items())
            state = np.zeros(program.state_size)
            if is_whole:
                _run(program, gate, state, parts, scratch, out, start)
                continue
            places = np.flatnonzero(np.logical_and.reduce([np.isfinite(part) for part in parts.values()]))
            found = np.empty((out.shape[0], len(places)))
            _run(program, gate, state, {name: part[places] for name, part in parts.items()}, scratch, found, 0)
            for column in gate.columns:
                out[column, start:stop] = np.nan
                out[column, start:stop][places] = found[column]


def _run(
    program: Program, gate: Gate, state: Floats, parts: Mapping[str, Floats], scratch: Floats, out: Floats, to: int
) -> None:
    """Run the features of a gate over complete bars of one symbol into ``out`` (columns, places) from a place on."""
    series = {**parts, **_derived(gate, parts)}
    bars = np.array([series[name].ctypes.data if name in series else 0 for name in INPUTS], dtype=np.int64)
    frame, rows = np.empty(FRAME, dtype=np.int64), len(parts["close"])
    failed = run_history(gate.table, program.settings, state, bars, rows, scratch, frame, out, to)
    if failed >= 0:
        raise raised(gate.names[failed])


def _derived(gate: Gate, parts: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the derived inputs of a gate."""
    close = parts["close"]
    made = {name: np.empty_like(close) for name in DERIVED if len(close) and name in gate.inputs}
    if "log_return" in made:
        log_returns(close, made["log_return"])
    if "true_range" in made:
        true_ranges(parts["high"], parts["low"], close, made["true_range"])
    return made


def run_panels(program: Program, panel: Panel, out: NDArray[np.float64]) -> None:
    """Run the panel features into their columns of ``out`` (slices, symbols, columns)."""
    if not program.across:
        return
    values, times = panel.values, np.ascontiguousarray(panel.times)
    for feature in program.across:
        out[:, :, feature.columns] = feature.run(np.zeros((len(panel.symbols), feature.size)), values, times)


def seconds_of(times: Integers) -> Floats:
    """Return nanoseconds since 1970 as the seconds that features read."""
    seconds: Floats = times / 1_000_000_000
    return seconds
