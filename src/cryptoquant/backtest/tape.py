"""The changes of a book as a tape, and the curve that follows from it: drawn, or folded into statistics."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    CASH_CHANGE,
    LOTS_CHANGE,
    ROW,
    SYMBOL,
)
from cryptoquant.backtest.loop import Trace, refresh_marks
from cryptoquant.compiled import borrowing, kernel
from cryptoquant.performance.curve import absorb
from cryptoquant.trading.portfolio import equity_units

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BLOCK = 2_048


class Tape(NamedTuple):
    """The changes of a book: slice and symbol (-1: cash only), then lots of the symbol and cash in units after it.

    ``cash`` (units) and ``lots`` are those at the start.
    """

    places: Integers
    after: Floats
    cash: float
    lots: Floats


@kernel
def tape_of(trace: Trace, cash: float, symbols: int) -> tuple[Integers, Floats]:
    """Return the places and the state after each change of a compiled run's book."""
    fills, charges = trace.fills, trace.charges
    total, charge = len(fills) + len(charges), 0
    places, after = np.empty((total, 2), dtype=np.int64), np.empty((total, 2))
    lots = np.zeros(symbols)
    for index in range(len(fills) + 1):
        until = fills[index, ROW] if index < len(fills) else math.inf
        while charge < len(charges) and charges[charge, 0] < until:
            cash -= charges[charge, 1]
            places[index + charge, 0], places[index + charge, 1] = int(charges[charge, 0]), -1
            after[index + charge, 0], after[index + charge, 1] = 0.0, cash
            charge += 1
        if index < len(fills):
            column = int(fills[index, SYMBOL])
            cash += fills[index, CASH_CHANGE]
            lots[column] += fills[index, LOTS_CHANGE]
            places[index + charge, 0], places[index + charge, 1] = int(until), column
            after[index + charge, 0], after[index + charge, 1] = lots[column], cash
    return places, after


@borrowing
def mark_rows(close: Floats, first: int, lots: Floats, lot: Floats, cash: float, unit: float, equity: Floats) -> bool:
    """Write the equity in cash units at the closes from row ``first`` on, while nothing changes in the book.

    The same sum as ``equity_units``, for four rows side by side. Return whether a close is absent: then it is not done.
    """
    rows, symbols = len(equity), len(lots)
    if symbols == 1:
        held, prices = lots[0] * lot[0], close[first : first + rows, 0]
        if unit == 1.0:  # which divides nothing
            for row in range(rows):
                equity[row] = cash + held * prices[row]
        else:
            for row in range(rows):
                equity[row] = cash + held * prices[row] / unit
    else:
        row = 0
        while row < rows:
            step = 4 if row + 4 <= rows else 1
            one, two, three, four = cash, cash, cash, cash
            place = first + row
            for column in range(symbols):
                if lots[column] == 0.0:
                    continue
                held = lots[column] * lot[column]
                one += held * close[place, column] / unit
                if step == 4:
                    two += held * close[place + 1, column] / unit
                    three += held * close[place + 2, column] / unit
                    four += held * close[place + 3, column] / unit
            equity[row] = one
            if step == 4:
                equity[row + 1], equity[row + 2], equity[row + 3] = two, three, four
            row += step
    absent = 0
    for row in range(rows):
        absent += 1 if equity[row] != equity[row] else 0
    return absent > 0


@borrowing
def mark_holes(
    close: Floats,
    first: int,
    seen: int,
    marks: Floats,
    lots: Floats,
    lot: Floats,
    cash: float,
    unit: float,
    equity: Floats,
) -> int:
    """Do the same where closes are absent: a symbol keeps its last one. Return the row up to which marks are known."""
    for row in range(len(equity)):
        if equity[row] != equity[row]:
            refresh_marks(marks, close, seen, first + row)
            seen = first + row
            equity[row] = equity_units(cash, lots, lot, marks, unit)
    return seen


@kernel
def draw_curve(tape: Tape, lot: Floats, close: Floats, unit: float, equity: Floats, cash: Floats) -> None:
    """Write equity and cash, in cash units, at every close."""
    places, after, money, lots = tape.places, tape.after, tape.cash, tape.lots.copy()
    marks, seen, change, row, slices = np.full(len(lot), np.nan), -1, 0, 0, len(close)
    while row < slices:
        while change < len(places) and places[change, 0] == row:
            if places[change, 1] >= 0:
                lots[places[change, 1]] = after[change, 0]
            money = after[change, 1]
            change += 1
        until = min(slices, places[change, 0]) if change < len(places) else slices
        if mark_rows(close, row, lots, lot, money, unit, equity[row:until]):
            seen = mark_holes(close, row, seen, marks, lots, lot, money, unit, equity[row:until])
        for index in range(row, until):
            cash[index] = money
        row = until


@borrowing
def holds_any(lots: Floats) -> bool:
    """Return whether anything is held."""
    found = False
    for column in range(len(lots)):
        found = found or lots[column] != 0.0
    return found


@kernel
def follow_curve(tape: Tape, lot: Floats, close: Floats, unit: float, times: Integers, state: Floats) -> int:
    """Fold the equity at every close into a state of ``performance.curve``; return in how many something is held."""
    places, after, money, lots = tape.places, tape.after, tape.cash, tape.lots.copy()
    marks, seen, change, slices = np.full(len(lot), np.nan), -1, 0, len(close)
    block, held, is_holding = np.empty(BLOCK), 0, holds_any(lots)
    for start in range(0, slices, BLOCK):
        stop = min(start + BLOCK, slices)
        row = start
        while row < stop:
            if change < len(places) and places[change, 0] == row:
                while change < len(places) and places[change, 0] == row:
                    if places[change, 1] >= 0:
                        lots[places[change, 1]] = after[change, 0]
                    money = after[change, 1]
                    change += 1
                is_holding = holds_any(lots)
            until = min(stop, places[change, 0]) if change < len(places) else stop
            part = block[row - start : until - start]
            if not is_holding:
                for index in range(len(part)):
                    part[index] = money
            elif mark_rows(close, row, lots, lot, money, unit, part):
                seen = mark_holes(close, row, seen, marks, lots, lot, money, unit, part)
            held += until - row if is_holding else 0
            row = until
        part = block[: stop - start]
        if unit != 1.0:
            for index in range(len(part)):
                part[index] *= unit
        absorb(state, part, times[start:stop])
    return held
