"""The contract of a feature's step, the table of all steps, and what takes a run of bars through them.

A symbol step is ``step(state, settings, bars, run, scratch, out)``. It takes a run of bars of one symbol: thousands of
history, or the one that has just closed. ``bars`` holds where the values of each name in ``INPUTS`` begin in memory;
``run`` is ``(at, rows, seen, to)``: the place of the run's first bar there, how many bars it has, how many came before
it, and the place of its first value in ``out``, which has shape (outputs, places). So ``floats_at(bars[CLOSE], at +
rows)`` are the closes up to the end of the run. Before ``at`` they may be read as far back as the feature's ``history``
says; what comes after the run does not exist. ``state`` (zeros at the start) is its memory, ``scratch`` (``SCRATCH``,
rows or more) is for what it likes. However a history is cut into runs, a step gives the same bits; taken bar by bar it
cannot look ahead, so it does not in a longer run.

A panel step is ``step(state, settings, bars, present, out)`` over all symbols of a slice, with ``state`` (symbols,
floats), ``bars`` (symbols, inputs) and ``out`` (symbols, outputs); it steps present symbols only.

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
from cryptoquant.features.feature import CLOSE, TIME, Bars, Run
from cryptoquant.features.momentum import log_return_step, roc_step, rsi_step
from cryptoquant.features.panel import cross_sectional_rank_step, relative_return_step
from cryptoquant.features.statistics import zscore_step
from cryptoquant.features.trend import donchian_position_step, ema_ratio_step, macd_step, sma_ratio_step
from cryptoquant.features.volatility import atr_step, bollinger_step, natr_step, realized_volatility_step
from cryptoquant.features.volume import volume_ratio_step
from cryptoquant.market.slice import Floats

Integers = NDArray[np.int64]

BLOCK = 1_024
SCRATCH = 4


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
    table: Integers,
    settings: Floats,
    state: Floats,
    symbol: int,
    bars: Bars,
    taken: Run,
    scratch: Floats,
    out: Floats,
) -> None:
    """Take a run of bars of one symbol through all steps of a table; NaN where a step's lead is not yet there.

    A row of ``table`` is one feature: its number, where its state begins, its floats per symbol, where its settings
    begin and end, where its columns begin and end in ``out``, and its lead.
    """
    at, rows, seen, to = taken
    for index in range(table.shape[0]):
        feature = table[index]
        start = feature[1] + symbol * feature[2]
        memory = state[start : start + feature[2]]
        chosen = settings[feature[3] : feature[4]]
        columns = out[feature[5] : feature[6]]
        missing = min(max(feature[7] - seen, 0), rows)
        for column in range(columns.shape[0]):
            for row in range(missing):
                columns[column, to + row] = np.nan
        if missing == rows:
            continue
        run = (at + missing, rows - missing, seen + missing - feature[7], to + missing)
        opcode = feature[0]
        if opcode == Operation.LOG_RETURN:
            log_return_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.ROC:
            roc_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.RSI:
            rsi_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.SMA_RATIO:
            sma_ratio_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.EMA_RATIO:
            ema_ratio_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.MACD:
            macd_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.DONCHIAN_POSITION:
            donchian_position_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.ATR:
            atr_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.NATR:
            natr_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.REALIZED_VOLATILITY:
            realized_volatility_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.BOLLINGER:
            bollinger_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.VOLUME_RATIO:
            volume_ratio_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.ZSCORE:
            zscore_step(memory, chosen, bars, run, scratch, columns)
        elif opcode == Operation.HOUR_OF_DAY:
            hour_of_day_step(memory, chosen, bars, run, scratch, columns)


@borrowing
def run_history(
    table: Integers, settings: Floats, state: Floats, bars: Bars, rows: int, scratch: Floats, out: Floats, to: int
) -> None:
    """Take ``rows`` complete bars of one symbol, from its first one on, through all steps of a table."""
    for first in range(0, rows, BLOCK):
        run = (first, min(BLOCK, rows - first), first, to + first)
        advance(table, settings, state, 0, bars, run, scratch, out)


@borrowing
def log_return_of(close: float, before: float) -> float:
    """Return ln(close / close of the bar before)."""
    return math.log(close / before)


@borrowing
def true_range_of(high: float, low: float, before: float) -> float:
    """Return the largest of high - low, |high - close before| and |low - close before|; Wilder (1978), section III."""
    top = high if high > before else before
    bottom = low if low < before else before
    return top - bottom


@borrowing
def log_returns(close: Floats, out: Floats) -> None:
    """Write the log return of each bar, NaN for the first."""
    out[0] = np.nan
    for row in range(1, len(close)):
        out[row] = log_return_of(close[row], close[row - 1])


@borrowing
def true_ranges(high: Floats, low: Floats, close: Floats, out: Floats) -> None:
    """Write the true range of each bar, NaN for the first."""
    out[0] = np.nan
    for row in range(1, len(close)):
        out[row] = true_range_of(high[row], low[row], close[row - 1])


@borrowing
def count_infinite(values: Floats) -> int:
    """Return how many values are NaN or infinite."""
    found = 0
    for row in range(len(values)):
        found += 0 if values[row] - values[row] == 0.0 else 1
    return found


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
def gather(values: Floats, time: int, picks: Integers, bar: Floats) -> bool:
    """Copy the inputs of one bar; return whether the bar is there and all inputs are finite.

    ``values`` holds the fields of the bar; ``time`` is its close in nanoseconds.
    """
    complete = math.isfinite(values[CLOSE])
    for index in range(len(picks)):
        value = time / 1_000_000_000 if picks[index] == TIME else values[picks[index]]
        bar[index] = value
        complete = complete and math.isfinite(value)
    return complete


@kernel
def gate_panel(
    opcode: int, state: Floats, settings: Floats, picks: Integers, values: Floats, time: int, out: Floats
) -> None:
    """Take one slice through a panel step; ``out`` is NaN where a symbol is absent.

    ``values`` has shape (symbols, fields), ``out`` (symbols, outputs).
    """
    symbols = values.shape[0]
    bars = np.empty((symbols, len(picks)))
    present = np.empty(symbols, dtype=np.bool_)
    for symbol in range(symbols):
        present[symbol] = gather(values[symbol], time, picks, bars[symbol])
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
        gate_panel(opcode, state, settings, picks, values[row], times[row], out[row])


@lru_cache(maxsize=512)
def source_digest(operation: Operation) -> str:
    """Return the sha256 of a step's source, of all that it calls and of what feeds it, docstrings left out."""
    texts: dict[str, str] = {}
    for function in (STEPS[operation], gather, log_return_of, true_range_of):
        _collect(function, texts)
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
