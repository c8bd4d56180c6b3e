"""The online driver: the last bars of every symbol on tapes, and one slice through all steps.

What a gate's features read is kept on tapes, one for each input and symbol, so that the last bars lie side by side as
they do in a history. A tape that is full goes on with the bars that are still read, moved to its front.
"""

import math
from typing import Any

import numpy as np

from cryptoquant.compiled import address_of, borrowing, flags_at, floats_at, integers_at, numbers_at, table_at
from cryptoquant.features.feature import CLOSE, HIGH, INPUTS, LOG_RETURN, LOW, TIME, TRUE_RANGE
from cryptoquant.features.kernel import (
    BARS,
    FLOAT,
    FRAME,
    PANEL_FRAME,
    PLACES,
    SPACE,
    SPACE_ROWS,
    Integers,
    advance,
    gate_panel,
    log_return_of,
    true_range_of,
)
from cryptoquant.features.program import Program
from cryptoquant.market.slice import FIELDS, Floats

SPARE = 64
FIRST, LAST, COUNTERS, LENGTH, HISTORY, STARTS = range(6)
ADDRESSES = STARTS + len(INPUTS)
FEATURE_ROW, GATE_ROW, ACROSS_ROW = 8, ADDRESSES + len(INPUTS), 12
TABLE, FEATURES, GATES, GATE_COUNT, ACROSS, ACROSS_COUNT, FRAMES, CHOSEN = range(8)
STATES, TAPES, TAPES_SIZE, SYMBOLS, COLUMNS, PLAN = range(8, 14)


def laid_out(program: Program, symbols: int) -> tuple[Integers, Integers, Floats]:
    """Return the features of all gates as one table, the gates, and empty tapes with their counters.

    A row of the gates says: the first and last feature; where the counters begin (for each symbol the bars seen and
    the place of the next); the length of a tape; how many bars are read again; where the tapes of each input begin, -1
    if it is not kept; and the same as addresses.
    """
    gates = np.zeros((len(program.gates), GATE_ROW), dtype=np.int64)
    gates[:, STARTS:ADDRESSES] = -1
    first = end = 0
    for row, gate in zip(gates, program.gates, strict=True):
        length = 2 * gate.history + SPARE
        row[:STARTS] = first, first + len(gate.table), end, length, gate.history
        first, end = first + len(gate.table), end + 2 * symbols
        for name in gate.inputs:
            row[STARTS + INPUTS.index(name)] = end
            end += symbols * length
    tapes = np.zeros(end)
    starts = gates[:, STARTS:ADDRESSES]
    gates[:, ADDRESSES:] = np.where(starts < 0, 0, tapes.ctypes.data + tapes.itemsize * starts)
    tables = [np.zeros((0, FEATURE_ROW), dtype=np.int64), *(gate.table for gate in program.gates)]
    return np.vstack(tables), gates, tapes


def laid_across(program: Program, symbols: int) -> tuple[Integers, list[Any]]:
    """Return the panel features as a table, and the arrays that it points at, to be kept as long as the table.

    A row says: the address of the step; where its state begins and its floats per symbol; addresses and lengths of
    settings and picks; the addresses of its bars, flags and values; its first column and how many it has.
    """
    table, kept = np.zeros((len(program.across), ACROSS_ROW), dtype=np.int64), []
    for row, feature in zip(table, program.across, strict=True):
        outputs, inputs = feature.columns.stop - feature.columns.start, len(feature.picks)
        space = np.empty((symbols, inputs)), np.empty(symbols, dtype=np.bool_), np.empty((symbols, outputs))
        given = feature.settings.ctypes.data, len(feature.settings), feature.picks.ctypes.data, inputs
        places = (array.ctypes.data for array in space)
        row[:] = feature.step, feature.state.start, feature.size, *given, *places, feature.columns.start, outputs
        kept += [feature, space]
    return table, kept


def frame_of(scratch: Floats) -> Integers:
    """Return a frame for steps that take one bar at a time; it lives no longer than its scratch space."""
    frame = np.zeros(FRAME + PANEL_FRAME, dtype=np.int64)
    frame[SPACE], frame[SPACE_ROWS] = scratch.ctypes.data, scratch.shape[1]
    return frame


@borrowing
def admit(gate: Integers, values: Floats, time: int, tapes: Floats, at: int, seen: int) -> bool:
    """Write one bar on the tapes of a gate at a place; return whether all that the gate reads is finite."""
    close = values[CLOSE]
    complete = math.isfinite(close)
    for name in range(LOG_RETURN):
        start = gate[STARTS + name]
        if start >= 0:
            value = time / 1_000_000_000 if name == TIME else values[name]
            complete = complete and math.isfinite(value)
            tapes[start + at] = value
    if not complete:
        return False
    if gate[STARTS + LOG_RETURN] >= 0:
        before = tapes[gate[STARTS + CLOSE] + at - 1] if seen > 0 else np.nan
        tapes[gate[STARTS + LOG_RETURN] + at] = log_return_of(close, before)
    if gate[STARTS + TRUE_RANGE] >= 0:
        before = tapes[gate[STARTS + CLOSE] + at - 1] if seen > 0 else np.nan
        tapes[gate[STARTS + TRUE_RANGE] + at] = true_range_of(values[HIGH], values[LOW], before)
    return True


@borrowing
def move_on(gate: Integers, tapes: Floats, symbol: int, seen: int, place: int) -> None:
    """Count a bar that was taken; bring the last bars of a full tape to its front."""
    length, history = gate[LENGTH], gate[HISTORY]
    if place + 1 == length:
        for name in range(ADDRESSES - STARTS):
            if gate[STARTS + name] >= 0:
                front = gate[STARTS + name] + symbol * length
                for index in range(history):
                    tapes[front + index] = tapes[front + length - history + index]
        place = history - 1
    tapes[gate[COUNTERS] + 2 * symbol] = seen + 1
    tapes[gate[COUNTERS] + 2 * symbol + 1] = place + 1


@borrowing
def step_across(across: Integers, frame: Integers, states: int, values: Floats, time: int, out: Floats) -> int:
    """Take one slice through the panel steps; return the row of the table whose step raised, -1 if none did."""
    symbols = values.shape[0]
    for index in range(across.shape[0]):
        row = across[index]
        state, bars = table_at(states + FLOAT * row[1], symbols, row[2]), table_at(row[7], symbols, row[6])
        settings, picks = floats_at(row[3], row[4]), integers_at(row[5], row[6])
        present, block = flags_at(row[8], symbols), table_at(row[9], symbols, row[11])
        if not gate_panel(row[0], state, settings, picks, values, time, bars, present, frame[FRAME:], block):
            return index
        for column in range(row[11]):
            for symbol in range(symbols):
                out[symbol, row[10] + column] = block[symbol, column]
    return -1


@borrowing
def step_slice(plan: int, values: Floats, time: int, result: int, moves_on: int) -> int:
    """Take one slice, ``values`` (symbols, fields), through all steps; write (symbols, columns) at an address.

    One number says where the plan lies, and that where all else does: each array costs time at the entrance. Return
    the row of the table, continued by that of the panel features, whose step raised; -1 if none did, -2 if the values
    have another shape.
    """
    given = integers_at(plan, PLAN)
    table = numbers_at(given[TABLE], given[FEATURES], FEATURE_ROW)
    gates = numbers_at(given[GATES], given[GATE_COUNT], GATE_ROW)
    across = numbers_at(given[ACROSS], given[ACROSS_COUNT], ACROSS_ROW)
    frame = integers_at(given[FRAMES], FRAME + PANEL_FRAME)
    tapes = floats_at(given[TAPES], given[TAPES_SIZE])
    symbols, width = given[SYMBOLS], given[COLUMNS]
    if values.shape[0] != symbols or values.shape[1] != len(FIELDS):
        return -2
    out = table_at(result, symbols, width)
    states, chosen = given[STATES], given[CHOSEN]
    frame[PLACES] = 1
    for number in range(gates.shape[0]):
        gate = gates[number]
        steps = table[gate[FIRST] : gate[LAST]]
        frame[BARS] = address_of(gate[ADDRESSES:])
        for symbol in range(symbols):
            seen = int(tapes[gate[COUNTERS] + 2 * symbol])
            place = int(tapes[gate[COUNTERS] + 2 * symbol + 1])
            at = symbol * gate[LENGTH] + place
            if admit(gate, values[symbol], time, tapes, at, seen):
                columns = result + FLOAT * symbol * width
                failed = advance(steps, frame, symbol, states, chosen, columns, at, 1, seen, 0)
                if failed >= 0:
                    return int(gate[FIRST]) + failed
                if moves_on:
                    move_on(gate, tapes, symbol, seen, place)
                continue
            for feature in range(steps.shape[0]):
                for column in range(steps[feature, 5], steps[feature, 5] + steps[feature, 6]):
                    out[symbol, column] = np.nan
    failed = step_across(across, frame, states, values, time, out)
    return table.shape[0] + failed if failed >= 0 else -1


@borrowing
def step_slices(plan: int, values: Floats, times: Integers, result: int) -> int:
    """Take slices (slices, symbols, fields) through all steps one after the other; the last stays at the address.

    Return what ``step_slice`` returned.
    """
    for row in range(values.shape[0]):
        failed = step_slice(plan, values[row], times[row], result, 1)
        if failed != -1:
            return failed
    return -1
