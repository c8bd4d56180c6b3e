"""The batch driver: all features of a history, symbol after symbol, without copying what is complete."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import lent
from cryptoquant.features.feature import INPUTS
from cryptoquant.features.kernel import (
    BLOCK,
    SCRATCH,
    Integers,
    count_infinite,
    log_returns,
    run_history,
    run_panel,
    true_ranges,
)
from cryptoquant.features.program import Gate, Program
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
    fields = {name: lent(np.ascontiguousarray(column, dtype=np.float64)) for name, column in columns.items()}
    holes = {name: count_infinite(column) for name, column in fields.items()}
    scratch = np.empty((SCRATCH, BLOCK))
    for gate in program.gates:
        is_whole = not any(holes[name] for name in gate.reads)
        for start, stop in pairwise(offsets):
            parts = {name: fields[name][start:stop] for name in gate.reads}
            state = np.zeros(program.state_size)
            if is_whole:
                bars = _bars(gate, parts)
                run_history(gate.table, program.settings, state, bars, stop - start, scratch, out, start)
                continue
            places = np.flatnonzero(np.logical_and.reduce([np.isfinite(part) for part in parts.values()]))
            bars = _bars(gate, {name: part[places] for name, part in parts.items()})
            found = np.empty((out.shape[0], len(places)))
            run_history(gate.table, program.settings, state, bars, len(places), scratch, found, 0)
            for column in gate.columns:
                out[column, start:stop] = np.nan
                out[column, start:stop][places] = found[column]


def _bars(gate: Gate, parts: dict[str, Floats]) -> tuple[Floats, ...]:
    """Return the arrays that steps read: fields as given, derived inputs made of them, nothing for the rest."""
    close = parts["close"]
    if len(close) and "log_return" in gate.inputs:
        parts["log_return"] = np.empty_like(close)
        log_returns(close, parts["log_return"])
    if len(close) and "true_range" in gate.inputs:
        parts["true_range"] = np.empty_like(close)
        true_ranges(parts["high"], parts["low"], close, parts["true_range"])
    return tuple(parts.get(name, close) for name in INPUTS)


def run_panels(program: Program, panel: Panel, out: NDArray[np.float64]) -> None:
    """Run the panel features into their columns of ``out`` (slices, symbols, columns)."""
    if not program.across:
        return
    values, times = panel.values, np.ascontiguousarray(panel.times)
    for feature in program.across:
        state = np.zeros((len(panel.symbols), (feature.state.stop - feature.state.start) // len(panel.symbols)))
        block = np.empty((*values.shape[:2], feature.columns.stop - feature.columns.start))
        run_panel(feature.number, state, feature.settings, feature.picks, values, times, block)
        out[:, :, feature.columns] = block


def seconds_of(times: Integers) -> Floats:
    """Return nanoseconds since 1970 as the seconds that features read."""
    seconds: Floats = times / 1_000_000_000
    return seconds
