"""The contract of a feature's step, the table of all steps, and two drivers: history in one loop, or slice by slice.

A symbol step is ``step(state, settings, bar, out)``: four flat float64 arrays, of which ``state`` (zeros at the start)
and ``out`` are written. A panel step is ``step(state, settings, bars, present, out)`` over all symbols of a slice, with
``state`` (symbols, floats), ``bars`` (symbols, inputs) and ``out`` (symbols, outputs); it steps present symbols only. A
step sees this bar and its own memory, nothing else: it cannot look ahead. Both drivers call the same ``advance`` (with
a block of bars, or with one) behind the same gate (``gather``), so history and the present agree to the bit.

To add a feature: write its step and constructor in the file it belongs to, give it a number in ``Operation``, a row in
``STEPS`` and a branch in ``advance`` (or ``advance_panel``).
"""

import ast
import hashlib
import inspect
import math
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing, kernel
from cryptoquant.features.calendar import hour_of_day_step
from cryptoquant.features.momentum import log_return_step, roc_step, rsi_step
from cryptoquant.features.panel import cross_sectional_rank_step, relative_return_step
from cryptoquant.features.statistics import zscore_step
from cryptoquant.features.trend import donchian_position_step, ema_ratio_step, macd_step, sma_ratio_step
from cryptoquant.features.volatility import atr_step, bollinger_step, natr_step, realized_volatility_step
from cryptoquant.features.volume import volume_ratio_step
from cryptoquant.market.slice import FIELDS, Floats

Integers = NDArray[np.int64]

CLOSE = FIELDS.index("close")
TIME = len(FIELDS)
BLOCK = 512


class Operation(IntEnum):
    """The number of each step in the compiled table; numbers are private to a build and never stored."""

    LOG_RETURN = 0
    ROC = 1
    RSI = 2
    SMA_RATIO = 3
    EMA_RATIO = 4
    MACD = 5
    DONCHIAN_POSITION = 6
    ATR = 7
    NATR = 8
    REALIZED_VOLATILITY = 9
    BOLLINGER = 10
    VOLUME_RATIO = 11
    ZSCORE = 12
    HOUR_OF_DAY = 13
    RELATIVE_RETURN = 100
    CROSS_SECTIONAL_RANK = 101


STEPS: dict[Operation, Callable[..., Any]] = {
    Operation.LOG_RETURN: log_return_step,
    Operation.ROC: roc_step,
    Operation.RSI: rsi_step,
    Operation.SMA_RATIO: sma_ratio_step,
    Operation.EMA_RATIO: ema_ratio_step,
    Operation.MACD: macd_step,
    Operation.DONCHIAN_POSITION: donchian_position_step,
    Operation.ATR: atr_step,
    Operation.NATR: natr_step,
    Operation.REALIZED_VOLATILITY: realized_volatility_step,
    Operation.BOLLINGER: bollinger_step,
    Operation.VOLUME_RATIO: volume_ratio_step,
    Operation.ZSCORE: zscore_step,
    Operation.HOUR_OF_DAY: hour_of_day_step,
    Operation.RELATIVE_RETURN: relative_return_step,
    Operation.CROSS_SECTIONAL_RANK: cross_sectional_rank_step,
}


@borrowing
def advance(
    opcode: int, state: Floats, settings: Floats, bars: Floats, complete: NDArray[np.bool_], out: Floats
) -> None:
    """Take a run of bars of one symbol through the step with this number, past those that are not complete.

    ``bars`` has shape (rows, inputs), ``out`` (rows, outputs). One loop per step lets the compiler merge both.
    """
    rows = len(complete)
    if opcode == Operation.LOG_RETURN:
        for row in range(rows):
            if complete[row]:
                log_return_step(state, settings, bars[row], out[row])
    elif opcode == Operation.ROC:
        for row in range(rows):
            if complete[row]:
                roc_step(state, settings, bars[row], out[row])
    elif opcode == Operation.RSI:
        for row in range(rows):
            if complete[row]:
                rsi_step(state, settings, bars[row], out[row])
    elif opcode == Operation.SMA_RATIO:
        for row in range(rows):
            if complete[row]:
                sma_ratio_step(state, settings, bars[row], out[row])
    elif opcode == Operation.EMA_RATIO:
        for row in range(rows):
            if complete[row]:
                ema_ratio_step(state, settings, bars[row], out[row])
    elif opcode == Operation.MACD:
        for row in range(rows):
            if complete[row]:
                macd_step(state, settings, bars[row], out[row])
    elif opcode == Operation.DONCHIAN_POSITION:
        for row in range(rows):
            if complete[row]:
                donchian_position_step(state, settings, bars[row], out[row])
    elif opcode == Operation.ATR:
        for row in range(rows):
            if complete[row]:
                atr_step(state, settings, bars[row], out[row])
    elif opcode == Operation.NATR:
        for row in range(rows):
            if complete[row]:
                natr_step(state, settings, bars[row], out[row])
    elif opcode == Operation.REALIZED_VOLATILITY:
        for row in range(rows):
            if complete[row]:
                realized_volatility_step(state, settings, bars[row], out[row])
    elif opcode == Operation.BOLLINGER:
        for row in range(rows):
            if complete[row]:
                bollinger_step(state, settings, bars[row], out[row])
    elif opcode == Operation.VOLUME_RATIO:
        for row in range(rows):
            if complete[row]:
                volume_ratio_step(state, settings, bars[row], out[row])
    elif opcode == Operation.ZSCORE:
        for row in range(rows):
            if complete[row]:
                zscore_step(state, settings, bars[row], out[row])
    elif opcode == Operation.HOUR_OF_DAY:
        for row in range(rows):
            if complete[row]:
                hour_of_day_step(state, settings, bars[row], out[row])


@kernel
def advance_panel(
    opcode: int, state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats
) -> None:
    """Take one slice through the panel step with this number."""
    if opcode == Operation.RELATIVE_RETURN:
        relative_return_step(state, settings, bars, present, out)
    elif opcode == Operation.CROSS_SECTIONAL_RANK:
        cross_sectional_rank_step(state, settings, bars, present, out)


@borrowing
def gather(fields: Floats, row: int, time: int, picks: Integers, bar: Floats) -> bool:
    """Copy the inputs of one bar; return whether the bar is there and all inputs are finite.

    ``fields`` has shape (fields, rows); ``time`` is the close in nanoseconds.
    """
    complete = math.isfinite(fields[CLOSE, row])
    for index in range(len(picks)):
        value = time / 1_000_000_000 if picks[index] == TIME else fields[picks[index], row]
        bar[index] = value
        complete = complete and math.isfinite(value)
    return complete


@kernel
def run_symbol(
    opcode: int,
    state: Floats,
    settings: Floats,
    picks: Integers,
    fields: Floats,
    times: Integers,
    start: int,
    stop: int,
    out: Floats,
) -> None:
    """Take the bars ``start`` to ``stop`` of one symbol through one step.

    ``fields`` has shape (fields, rows), ``out`` (outputs, rows).
    """
    bars = np.empty((BLOCK, len(picks)))
    values = np.empty((BLOCK, out.shape[0]))
    complete = np.empty(BLOCK, dtype=np.bool_)
    for first in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - first)
        for row in range(rows):
            complete[row] = gather(fields, first + row, times[first + row], picks, bars[row])
        values[:] = np.nan
        advance(opcode, state, settings, bars, complete[:rows], values)
        for column in range(out.shape[0]):
            for row in range(rows):
                out[column, first + row] = values[row, column]


@kernel
def gate_panel(
    opcode: int, state: Floats, settings: Floats, picks: Integers, fields: Floats, time: int, out: Floats
) -> None:
    """Take one slice through a panel step; ``out`` is NaN where a symbol is absent.

    ``fields`` has shape (fields, symbols), ``out`` (symbols, outputs).
    """
    symbols = fields.shape[1]
    bars = np.empty((symbols, len(picks)))
    present = np.empty(symbols, dtype=np.bool_)
    for symbol in range(symbols):
        present[symbol] = gather(fields, symbol, time, picks, bars[symbol])
    out[:, :] = np.nan
    advance_panel(opcode, state, settings, bars, present, out)
    for symbol in range(symbols):
        if not present[symbol]:
            out[symbol, :] = np.nan


@kernel
def run_panel(
    opcode: int, state: Floats, settings: Floats, picks: Integers, values: Floats, times: Integers, out: Floats
) -> None:
    """Take all slices through a panel step.

    ``values`` has shape (slices, symbols, fields), ``out`` (slices, symbols, outputs).
    """
    for row in range(values.shape[0]):
        gate_panel(opcode, state, settings, picks, values[row].T, times[row], out[row])


@kernel
def step_slice(
    table: Integers, settings: Floats, picks: Integers, state: Floats, values: Floats, time: int, out: Floats
) -> None:
    """Take one slice through all steps of a table: ``values`` (symbols, fields) to ``out`` (symbols, columns).

    A row of ``table`` is one feature: number, whether it is a panel step, start of its state, its floats per symbol,
    and the ends (from, to) of its settings, its inputs and its outputs.
    """
    fields = values.T
    symbols = values.shape[0]
    for index in range(table.shape[0]):
        opcode, across, base, width = table[index, 0], table[index, 1], table[index, 2], table[index, 3]
        chosen = settings[table[index, 4] : table[index, 5]]
        inputs = picks[table[index, 6] : table[index, 7]]
        first, last = table[index, 8], table[index, 9]
        if across:
            block = np.empty((symbols, last - first))
            memory = state[base : base + symbols * width].reshape((symbols, width))
            gate_panel(opcode, memory, chosen, inputs, fields, time, block)
            out[:, first:last] = block
            continue
        bars = np.empty((1, len(inputs)))
        values = np.empty((1, last - first))
        complete = np.empty(1, dtype=np.bool_)
        for symbol in range(symbols):
            complete[0] = gather(fields, symbol, time, inputs, bars[0])
            values[:] = np.nan
            start = base + symbol * width
            advance(opcode, state[start : start + width], chosen, bars, complete, values)
            out[symbol, first:last] = values[0]


@kernel
def step_slices(
    table: Integers, settings: Floats, picks: Integers, state: Floats, values: Floats, times: Integers, out: Floats
) -> None:
    """Take slices (slices, symbols, fields) through all steps one after the other; ``out`` keeps the last."""
    for row in range(values.shape[0]):
        step_slice(table, settings, picks, state, values[row], times[row], out)


@lru_cache(maxsize=512)
def source_digest(operation: Operation) -> str:
    """Return the sha256 of a step's source, of all that it calls and of the gate, docstrings left out."""
    texts: dict[str, str] = {}
    _collect(STEPS[operation], texts)
    _collect(gather, texts)
    return hashlib.sha256("\n".join(texts[name] for name in sorted(texts)).encode()).hexdigest()


def _collect(step: Callable[..., Any], texts: dict[str, str]) -> None:
    function: Any = getattr(step, "py_func", step)
    name = f"{function.__module__}.{function.__qualname__}"
    if name in texts:
        return
    source = inspect.getsource(function)
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in source.splitlines()]
    if ast.get_docstring(ast.parse(source).body[0]) is not None:  # type: ignore[arg-type]
        del lines[body[0].lineno - 1 : body[0].end_lineno]
    texts[name] = "\n".join(lines)
    for used in function.__code__.co_names:
        value: Any = function.__globals__.get(used)
        if hasattr(value, "py_func") or inspect.isfunction(value):
            _collect(value, texts)
        elif isinstance(value, int | float):
            texts[f"{function.__module__}.{used}"] = f"{used} = {value!r}"
