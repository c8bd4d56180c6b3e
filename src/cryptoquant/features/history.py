"""The batch driver: all features of a history, symbol after symbol, without copying what is complete."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

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

FEW = 4
Spread = Callable[..., Iterable[Any]] | None


def run_symbols(
    program: Program, columns: Mapping[str, Floats], offsets: Sequence[int], out: Floats, threads: int = 1
) -> None:
    """Run the symbol features of a program over histories that lie end to end.

    Parameters
    ----------
    columns
        What the features read, flat arrays by name, rows grouped by symbol and in time order.
    offsets
        Where the symbols begin, and the end.
    out
        Shape (columns, rows); written, NaN where a bar is not complete or a feature not yet defined.
    threads
        How many symbols, or features of one, are computed at the same time; the numbers do not depend on it.
    """
    fields = {name: np.ascontiguousarray(column, dtype=np.float64) for name, column in columns.items()}
    has_holes = {name: bool(count_missing(column)) for name, column in fields.items()}
    groups = [(gate, start, stop) for gate in program.gates for start, stop in pairwise(offsets)]

    def run(group: tuple[Gate, int, int], spread: Spread) -> None:
        gate, start, stop = group
        parts = {name: fields[name][start:stop] for name in gate.reads}
        if not any(has_holes[name] and count_missing(part) for name, part in parts.items()):
            _run(program, gate, parts, out, start, spread)
            return
        places = np.flatnonzero(np.logical_and.reduce([np.isfinite(part) for part in parts.values()]))
        found = np.empty((out.shape[0], len(places)))
        _run(program, gate, {name: part[places] for name, part in parts.items()}, found, 0, spread)
        for column in gate.columns:
            out[column, start:stop] = np.nan
            out[column, start:stop][places] = found[column]

    if threads == 1:
        for group in groups:
            run(group, None)
        return
    with ThreadPoolExecutor(threads) as pool:
        if len(groups) >= FEW * threads:
            list(pool.map(lambda group: run(group, None), groups))
        for group in groups if len(groups) < FEW * threads else ():
            run(group, pool.map)


def _run(program: Program, gate: Gate, parts: Mapping[str, Floats], out: Floats, to: int, spread: Spread) -> None:
    """Run the features of a gate over complete bars of one symbol into ``out`` (columns, places) from a place on."""
    state, rows = np.zeros(program.state_size), len(parts["close"])
    made = {name: np.empty_like(parts["close"]) for name in DERIVED if rows and name in gate.inputs}
    list((spread or map)(lambda name: _derive(name, parts, made[name]), made))
    series = {**parts, **made}
    bars = np.array([series[name].ctypes.data if name in series else 0 for name in INPUTS], dtype=np.int64)

    def advance(features: range) -> None:
        frame, scratch = np.empty(FRAME, dtype=np.int64), np.empty((SCRATCH, BLOCK))
        table = gate.table[features.start : features.stop]
        failed = run_history(table, program.settings, state, bars, rows, scratch, frame, out, to)
        if failed >= 0:
            raise raised(gate.names[features[failed]])

    everything = range(len(gate.table))
    # A large memory tells of a long step: those first, so that no thread is left alone with one at the end.
    longest_first = sorted(everything, key=lambda index: -int(gate.table[index, 2]))
    if spread is None:
        advance(everything)
    else:
        list(spread(advance, [everything[index : index + 1] for index in longest_first]))


def _derive(name: str, parts: Mapping[str, Floats], made: Floats) -> None:
    """Write a derived input."""
    if name == "log_return":
        log_returns(parts["close"], made)
    else:
        true_ranges(parts["high"], parts["low"], parts["close"], made)


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
