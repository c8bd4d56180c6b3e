"""The online driver: the last bars of every symbol on tapes, and one slice through all steps.

What a gate's features read is kept on tapes, one for each input and symbol, so that the last bars lie side by side as
they do in a history. A tape that is full goes on with the bars that are still read, moved to its front.
"""

import math

import numpy as np

from cryptoquant.compiled import address_of, borrowing
from cryptoquant.features.feature import CLOSE, HIGH, INPUTS, LOG_RETURN, LOW, TIME, TRUE_RANGE
from cryptoquant.features.kernel import (
    BARS,
    FRAME,
    PLACES,
    SPACE,
    SPACE_ROWS,
    Integers,
    advance,
    log_return_of,
    true_range_of,
)
from cryptoquant.features.program import Program
from cryptoquant.market.slice import Floats

SPARE = 64
FIRST, LAST, COUNTERS, LENGTH, HISTORY, STARTS = range(6)
ADDRESSES = STARTS + len(INPUTS)


def laid_out(program: Program, symbols: int) -> tuple[Integers, Integers, Floats]:
    """Return the features of all gates as one table, the gates, and empty tapes with their counters.

    A row of the gates says: the first and last feature; where the counters begin (for each symbol the bars seen and
    the place of the next); the length of a tape; how many bars are read again; where the tapes of each input begin, -1
    if it is not kept; and the same as addresses.
    """
    gates = np.zeros((len(program.gates), ADDRESSES + len(INPUTS)), dtype=np.int64)
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
    tables = [np.zeros((0, 8), dtype=np.int64), *(gate.table for gate in program.gates)]
    return np.vstack(tables), gates, tapes


def frame_of(scratch: Floats) -> Integers:
    """Return a frame for steps that take one bar at a time; it lives no longer than its scratch space."""
    frame = np.zeros(FRAME, dtype=np.int64)
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
def step_slice(
    table: Integers,
    gates: Integers,
    frame: Integers,
    settings: Floats,
    state: Floats,
    tapes: Floats,
    values: Floats,
    time: int,
    out: Floats,
    moves_on: int,
) -> int:
    """Take one slice through the steps of all gates: ``values`` (symbols, fields) to ``out`` (columns, symbols).

    Return the row of the table whose step raised, -1 if none did.
    """
    symbols = values.shape[0]
    states, chosen, columns = address_of(state), address_of(settings), address_of(out)
    frame[PLACES] = symbols
    for number in range(gates.shape[0]):
        gate = gates[number]
        steps = table[gate[FIRST] : gate[LAST]]
        frame[BARS] = address_of(gate[ADDRESSES:])
        for symbol in range(symbols):
            seen = int(tapes[gate[COUNTERS] + 2 * symbol])
            place = int(tapes[gate[COUNTERS] + 2 * symbol + 1])
            at = symbol * gate[LENGTH] + place
            if admit(gate, values[symbol], time, tapes, at, seen):
                failed = advance(steps, frame, symbol, states, chosen, columns, at, 1, seen, symbol)
                if failed >= 0:
                    return int(gate[FIRST]) + failed
                if moves_on:
                    move_on(gate, tapes, symbol, seen, place)
                continue
            for feature in range(steps.shape[0]):
                for column in range(steps[feature, 5], steps[feature, 5] + steps[feature, 6]):
                    out[column, symbol] = np.nan
    return -1


@borrowing
def step_slices(
    table: Integers,
    gates: Integers,
    frame: Integers,
    settings: Floats,
    state: Floats,
    tapes: Floats,
    values: Floats,
    times: Integers,
    out: Floats,
) -> int:
    """Take slices (slices, symbols, fields) through all steps one after the other; ``out`` keeps the last.

    Return the row of the table whose step raised, -1 if none did.
    """
    for row in range(values.shape[0]):
        failed = step_slice(table, gates, frame, settings, state, tapes, values[row], times[row], out, 1)
        if failed >= 0:
            return failed
    return -1
