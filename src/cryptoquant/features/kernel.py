"""The contract of a feature's step, and what takes a run of bars through the steps of many features.

A symbol step is ``step(state, settings, bars, run, scratch, out)``. It takes a run of bars of one symbol: thousands of
history, or the one that has just closed. ``bars`` holds where the values of each name in ``INPUTS`` begin in memory;
``run`` is ``(at, rows, seen, to)``: the place of the run's first bar there, how many bars it has, how many came before
it, and the place of its first value in ``out``, which has shape (outputs, places). So ``floats_at(bars[CLOSE], at +
rows)`` are the closes up to the end of the run. Before ``at`` they may be read as far back as the feature's ``history``
says; what comes after the run does not exist. ``state`` (zeros at the start) is its memory, ``scratch`` (``SCRATCH``,
rows or more) is for what it likes. It must not raise: what it cannot say is NaN. However a history is cut into runs, a
step gives the same bits; taken bar by bar it cannot look ahead, so it does not in a longer run.

A panel step is ``step(state, settings, bars, present, out)`` over all symbols of a slice, with ``state`` (symbols,
floats), ``bars`` (symbols, inputs) and ``out`` (symbols, outputs); it steps present symbols only.

The drivers do not know the steps: they call machine code at an address, with one frame of numbers that says where
everything lies. To add a feature, write its step and its constructor.
"""

import ast
import hashlib
import inspect
import math
import textwrap
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import (
    address_of,
    borrowing,
    call,
    floats_at,
)
from cryptoquant.features.feature import CLOSE, INPUTS, TIME
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats

Integers = NDArray[np.int64]

BLOCK = 1_024
SCRATCH = 4
FLOAT = 8
NAMES = len(INPUTS)
STATE, STATE_SIZE, SETTINGS, SETTINGS_SIZE, BARS, AT, ROWS, SEEN = range(8)
TO, SPACE, SPACE_ROWS, OUT, OUTPUTS, PLACES, DONE, FRAME = range(8, 16)
PANEL_DONE, PANEL_FRAME = 10, 11


@borrowing
def advance(
    table: Integers,
    frame: Integers,
    symbol: int,
    states: int,
    settings: int,
    out: int,
    at: int,
    rows: int,
    seen: int,
    to: int,
) -> int:
    """Take a run of bars of one symbol through all steps of a table; NaN where a step's lead is not yet there.

    Return the row of the table whose step raised, -1 if none did.

    A row of ``table`` is one feature: the address of its step, where its state begins, its floats per symbol, where its
    settings begin and how many there are, its first column and how many it has, and its lead. ``states``, ``settings``
    and ``out`` are addresses; ``frame`` knows the bars, the scratch space and how many places a column of ``out`` has.
    """
    where, places = address_of(frame), frame[PLACES]
    for index in range(table.shape[0]):
        feature = table[index]
        size, outputs, lead = feature[2], feature[6], feature[7]
        columns = out + FLOAT * feature[5] * places
        missing = min(max(lead - seen, 0), rows)
        if missing > 0:
            for column in range(outputs):
                blank(floats_at(columns + FLOAT * (column * places + to), missing), missing)
            if missing == rows:
                continue
        frame[STATE], frame[STATE_SIZE] = states + FLOAT * (feature[1] + symbol * size), size
        frame[SETTINGS], frame[SETTINGS_SIZE] = settings + FLOAT * feature[3], feature[4]
        frame[AT], frame[ROWS] = at + missing, rows - missing
        frame[SEEN], frame[TO] = seen + missing - lead, to + missing
        frame[OUT], frame[OUTPUTS] = columns, outputs
        frame[DONE] = 0
        call(feature[0], where)
        if frame[DONE] == 0:
            return index
    return -1


@borrowing
def run_history(
    table: Integers,
    settings: Floats,
    state: Floats,
    bars: Integers,
    rows: int,
    scratch: Floats,
    frame: Integers,
    out: Floats,
    to: int,
) -> int:
    """Take ``rows`` complete bars of one symbol, from its first one on, through all steps of a table.

    ``bars`` says where the values of each input begin in memory, ``out`` has shape (columns, places). Return the row of
    the table whose step raised, -1 if none did.
    """
    frame[BARS], frame[SPACE], frame[SPACE_ROWS] = address_of(bars), address_of(scratch), scratch.shape[1]
    frame[PLACES] = out.shape[1]
    states, chosen, columns = address_of(state), address_of(settings), address_of(out)
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        failed = advance(table, frame, 0, states, chosen, columns, first, count, first, to + first)
        if failed >= 0:
            return failed
    return -1


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
def count_missing(values: Floats) -> int:
    """Return how many values are NaN or infinite."""
    found = 0
    for row in range(len(values)):
        found += 0 if values[row] - values[row] == 0.0 else 1
    return found


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


@borrowing
def gate_panel(
    step: int,
    state: Floats,
    settings: Floats,
    picks: Integers,
    values: Floats,
    time: int,
    bars: Floats,
    present: NDArray[np.bool_],
    frame: Integers,
    out: Floats,
) -> bool:
    """Take one slice through the panel step at an address; ``out`` is NaN where a symbol is absent.

    ``state`` and ``values`` have shape (symbols, floats) and (symbols, fields), ``out`` (symbols, outputs); ``bars``
    (symbols, inputs), ``present`` (symbols) and ``frame`` are overwritten. Return whether the step did not raise.
    """
    symbols, outputs = out.shape
    for symbol in range(symbols):
        present[symbol] = gather(values[symbol], time, picks, bars[symbol])
        for column in range(outputs):
            out[symbol, column] = np.nan
    frame[0], frame[1], frame[2] = symbols, address_of(state), state.shape[1]
    frame[3], frame[4] = address_of(settings), len(settings)
    frame[5], frame[6], frame[7] = address_of(bars), len(picks), address_of(present)
    frame[8], frame[9], frame[PANEL_DONE] = address_of(out), outputs, 0
    call(step, address_of(frame))
    for symbol in range(symbols):
        if not present[symbol]:
            for column in range(outputs):
                out[symbol, column] = np.nan
    return bool(frame[PANEL_DONE])


@borrowing
def run_panel(
    step: int,
    state: Floats,
    settings: Floats,
    picks: Integers,
    values: Floats,
    times: Integers,
    bars: Floats,
    present: NDArray[np.bool_],
    frame: Integers,
    out: Floats,
) -> bool:
    """Take all slices through the panel step at an address; as ``gate_panel``.

    ``values`` has shape (slices, symbols, fields), ``out`` (slices, symbols, outputs).
    """
    for row in range(values.shape[0]):
        if not gate_panel(step, state, settings, picks, values[row], times[row], bars, present, frame, out[row]):
            return False
    return True


@lru_cache(maxsize=512)
def source_digest(step: Callable[..., Any], *others: Callable[..., Any]) -> str:
    """Return the sha256 of a step's source, of the kernels that it calls and of the derived inputs; no docstrings.

    So of ``others``, through which it is called.

    A step that is data, such as an expression, is all in what it prints.
    """
    is_source = hasattr(step, "py_func") or inspect.isfunction(step)
    texts: dict[str, str] = {} if is_source else {"step": repr(step)}
    functions: list[Callable[..., Any]] = [*others, gather, log_return_of, true_range_of]
    for function in [step, *functions] if is_source else functions:
        _collect(function, texts)
    return hashlib.sha256("\n".join(texts[name] for name in sorted(texts)).encode()).hexdigest()


def _text(function: Any) -> str:
    """Return the source of a function without its docstring; its bytecode where it was typed and is kept nowhere."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError:
        code = function.__code__
        return f"{code.co_code.hex()} {code.co_names} {code.co_consts}"
    lines = [line.rstrip() for line in source.splitlines()]
    try:
        definition = ast.parse(source).body[0]
    except SyntaxError:
        return "\n".join(lines)
    if isinstance(definition, ast.FunctionDef) and ast.get_docstring(definition) is not None:
        del lines[definition.body[0].lineno - 1 : definition.body[0].end_lineno]
    return "\n".join(lines)


def _collect(step: Callable[..., Any], texts: dict[str, str]) -> None:
    function: Any = getattr(step, "py_func", step)
    name = f"{function.__module__}.{function.__qualname__}"
    if name in texts:
        return
    texts[name] = _text(function)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    captured = {used: cell.cell_contents for used, cell in cells}
    for used in (*function.__code__.co_names, *captured):
        value: Any = captured.get(used, function.__globals__.get(used))
        if hasattr(value, "py_func") or inspect.isfunction(value):
            _collect(value, texts)
        elif isinstance(value, np.ndarray):
            texts[f"{function.__module__}.{used}"] = f"{used} = {value.dtype} {value.shape} {value.tobytes().hex()}"
        elif isinstance(value, int | float | str | tuple):
            texts[f"{function.__module__}.{used}"] = f"{used} = {value!r}"
