"""The online driver: the last bars of every symbol on tapes, and one slice through all steps.

What a gate's features read is kept on tapes, one for each input and symbol, so that the last bars lie side by side as
they do in a history. A tape that is full goes on with the bars that are still read, moved to its front.
"""

import math

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import CLOSE, HIGH, INPUTS, LOG_RETURN, LOW, TIME, TRUE_RANGE
from cryptoquant.features.kernel import Integers, advance_all, log_return_of, true_range_of
from cryptoquant.features.program import Program
from cryptoquant.market.slice import Floats

SPARE = 64
FIRST, LAST, COUNTERS, LENGTH, HISTORY, STARTS = range(6)
WIDTH = STARTS + 2 * len(INPUTS)


def laid_out(program: Program, symbols: int) -> tuple[Integers, Integers, int]:
    """Return the features of all gates as one table, the gates, and how many floats their tapes and counters need.

    A row of the gates says: the first and last feature; where the counters begin (for each symbol the bars seen and the
    place of the next); the length of a tape; how many bars are read again; and where the tapes of each input begin and
    end, nowhere if it is not kept.
    """
    gates = np.zeros((len(program.gates), WIDTH), dtype=np.int64)
    first = end = 0
    for row, gate in zip(gates, program.gates, strict=True):
        row[FIRST], row[LAST] = first, first + len(gate.table)
        row[COUNTERS], row[LENGTH], row[HISTORY] = end, 2 * gate.history + SPARE, gate.history
        first, end = int(row[LAST]), end + 2 * symbols
        for name in gate.inputs:
            start = STARTS + 2 * INPUTS.index(name)
            row[start], row[start + 1] = end, end + symbols * row[LENGTH]
            end = int(row[start + 1])
    tables = [np.zeros((0, 8), dtype=np.int64), *(gate.table for gate in program.gates)]
    return np.vstack(tables), gates, end


@borrowing
def admit(gate: Integers, values: Floats, time: int, tapes: Floats, at: int, seen: int) -> bool:
    """Write one bar on the tapes of a gate at a place; return whether all that the gate reads is finite."""
    if not math.isfinite(values[CLOSE]):
        return False
    for name in range(LOG_RETURN):
        start = gate[STARTS + 2 * name]
        if gate[STARTS + 2 * name + 1] > start:
            value = time / 1_000_000_000 if name == TIME else values[name]
            if not math.isfinite(value):
                return False
            tapes[start + at] = value
    before = tapes[gate[STARTS + 2 * CLOSE] + at - 1] if seen > 0 else np.nan
    if gate[STARTS + 2 * LOG_RETURN + 1] > 0:
        tapes[gate[STARTS + 2 * LOG_RETURN] + at] = log_return_of(values[CLOSE], before) if seen > 0 else np.nan
    if gate[STARTS + 2 * TRUE_RANGE + 1] > 0:
        found = true_range_of(values[HIGH], values[LOW], before) if seen > 0 else np.nan
        tapes[gate[STARTS + 2 * TRUE_RANGE] + at] = found
    return True


@borrowing
def move_on(gate: Integers, tapes: Floats, symbol: int, seen: int, place: int) -> None:
    """Count a bar that was taken; bring the last bars of a full tape to its front."""
    length, history = gate[LENGTH], gate[HISTORY]
    if place + 1 == length:
        for name in range((WIDTH - STARTS) // 2):
            if gate[STARTS + 2 * name + 1] > gate[STARTS + 2 * name]:
                front = gate[STARTS + 2 * name] + symbol * length
                for index in range(history):
                    tapes[front + index] = tapes[front + length - history + index]
        place = history - 1
    tapes[gate[COUNTERS] + 2 * symbol] = seen + 1
    tapes[gate[COUNTERS] + 2 * symbol + 1] = place + 1


@borrowing
def step_slice(
    table: Integers,
    gates: Integers,
    settings: Floats,
    state: Floats,
    tapes: Floats,
    values: Floats,
    time: int,
    scratch: Floats,
    out: Floats,
    moves_on: int,
) -> None:
    """Take one slice through the steps of all gates: ``values`` (symbols, fields) to ``out`` (columns, symbols)."""
    symbols = values.shape[0]
    for number in range(gates.shape[0]):
        gate = gates[number]
        steps = table[gate[FIRST] : gate[LAST]]
        bars = (
            tapes[gate[5] : gate[6]],
            tapes[gate[7] : gate[8]],
            tapes[gate[9] : gate[10]],
            tapes[gate[11] : gate[12]],
            tapes[gate[13] : gate[14]],
            tapes[gate[15] : gate[16]],
            tapes[gate[17] : gate[18]],
            tapes[gate[19] : gate[20]],
            tapes[gate[21] : gate[22]],
            tapes[gate[23] : gate[24]],
        )
        for symbol in range(symbols):
            seen = int(tapes[gate[COUNTERS] + 2 * symbol])
            place = int(tapes[gate[COUNTERS] + 2 * symbol + 1])
            at = symbol * gate[LENGTH] + place
            if admit(gate, values[symbol], time, tapes, at, seen):
                advance_all(steps, settings, state, symbol, bars, (at, 1, seen, symbol), scratch, out)
                if moves_on:
                    move_on(gate, tapes, symbol, seen, place)
                continue
            for feature in range(steps.shape[0]):
                for column in range(steps[feature, 5], steps[feature, 6]):
                    out[column, symbol] = np.nan


@borrowing
def step_slices(
    table: Integers,
    gates: Integers,
    settings: Floats,
    state: Floats,
    tapes: Floats,
    values: Floats,
    times: Integers,
    scratch: Floats,
    out: Floats,
) -> None:
    """Take slices (slices, symbols, fields) through all steps one after the other; ``out`` keeps the last."""
    for row in range(values.shape[0]):
        step_slice(table, gates, settings, state, tapes, values[row], times[row], scratch, out, 1)
