"""What a driver leaves behind: the facts in order, and the curve that follows from them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    AT_OPEN,
    CANCELLED,
    CASH_CHANGE,
    CHILD,
    DECIDED,
    END_AT_OPEN,
    END_CODE,
    END_LOTS,
    END_ROW,
    FEE,
    FILL_LOTS,
    IMPACT,
    LIQUIDATION,
    LIQUIDITY,
    LOTS_CHANGE,
    NUMBER,
    PART,
    PLAIN,
    PRICE,
    ROLE,
    ROW,
    SENT_LIMIT,
    SENT_LOTS,
    SENT_PROTECTED,
    SLIPPAGE,
    SOURCE,
    STOP_EXIT,
    SYMBOL,
)
from cryptoquant.backtest.loop import Trace, refresh_marks
from cryptoquant.backtest.orders import Orders
from cryptoquant.compiled import kernel
from cryptoquant.market.slice import Panel
from cryptoquant.performance.curve import absorb, begin
from cryptoquant.performance.metrics import FillColumns, Statistics, statistics_of
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.matcher import execution_id
from cryptoquant.trading.matching import MAKER, REASONS
from cryptoquant.trading.order import (
    Adjustment,
    Cancel,
    Cancellation,
    Fill,
    Order,
    Reason,
    Rejection,
    Side,
    client_order_id,
)
from cryptoquant.trading.portfolio import equity_units
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BLOCK = 2_048
ROLES: tuple[Reason, ...] = ("", "stop", "target", "liquidation")


class Facts(NamedTuple):
    """What happened, each kind in the order in which it happened."""

    orders: list[Order]
    fills: list[Fill]
    rejections: list[Rejection]
    cancellations: list[Cancellation]
    adjustments: list[Adjustment]


class Tape(NamedTuple):
    """The changes of a book: slice and symbol (-1: cash only), then lots of the symbol and cash in units after it.

    ``cash`` (units) and ``lots`` are those at the start.
    """

    places: Integers
    after: Floats
    cash: float
    lots: Floats


@dataclass
class Run:
    """What a driver returns; curve and facts are made when they are first asked for.

    Attributes
    ----------
    tape
        The changes of the book, from which the curve follows.
    read
        Makes the facts.
    columns
        Makes the fills as arrays, in quote currency and coins.
    count_refused
        Counts the refused orders.
    known
        Equity and cash at every close where another simulator has computed them.
    """

    panel: Panel
    venue: Venue
    tape: Tape
    read: Callable[[], Facts]
    columns: Callable[[], FillColumns]
    count_refused: Callable[[], int]
    known: tuple[Floats, Floats] | None = None

    @cached_property
    def facts(self) -> Facts:
        """Orders, fills, rejections, cancellations and adjustments."""
        return self.read()

    @cached_property
    def curve(self) -> tuple[Floats, Floats]:
        """Equity and cash at every close, shape (slices,), in quote currency."""
        if self.known is not None:
            return self.known
        equity, cash = np.empty(len(self.panel)), np.empty(len(self.panel))
        unit = self.venue.unit
        draw_curve(self.tape, self._lot, self.panel.field("close"), unit, equity, cash)
        return equity * unit, cash * unit

    def statistics(self, initial: float, refused: int) -> Statistics:
        """Return the statistics in one pass over the closes, without a curve; ``refused`` orders are counted in."""
        state, times = begin(initial), self.panel.times
        if self.known is None:
            held = follow_curve(self.tape, self._lot, self.panel.field("close"), self.venue.unit, times, state)
        else:
            absorb(state, np.ascontiguousarray(self.known[0]), times)
            held = int(np.count_nonzero(self.exposure))
        return statistics_of(state, times, self.columns(), held / len(times), refused)

    @property
    def adjustments(self) -> list[Adjustment]:
        """What financing has cost, in the order in which it was charged."""
        return self.facts.adjustments

    @property
    def refused(self) -> int:
        """How many orders were refused."""
        return self.count_refused()

    @property
    def final_lots(self) -> Floats:
        """What is held at the end, in lots by symbol."""
        lots = self.tape.lots.copy()
        for (_, column), (held, _) in zip(self.tape.places.tolist(), self.tape.after.tolist(), strict=True):
            if column >= 0:
                lots[column] = held
        return lots

    @property
    def _lot(self) -> Floats:
        return np.array([self.venue.instrument(symbol).lot for symbol in self.panel.symbols])

    @property
    def equity(self) -> Floats:
        """Shape (slices,), quote currency."""
        return self.curve[0]

    @property
    def cash(self) -> Floats:
        """Shape (slices,), quote currency."""
        return self.curve[1]

    @property
    def exposure(self) -> Floats:
        """The signed share of the equity that is invested, shape (slices,)."""
        equity, cash = self.curve
        share: Floats = 1.0 - cash / equity
        return share

    @property
    def orders(self) -> list[Order]:
        """Sent and accepted."""
        return self.facts.orders

    @property
    def fills(self) -> list[Fill]:
        """In the order in which they happened."""
        return self.facts.fills

    @property
    def rejections(self) -> list[Rejection]:
        """In the order in which they happened."""
        return self.facts.rejections

    @property
    def cancellations(self) -> list[Cancellation]:
        """In the order in which they happened."""
        return self.facts.cancellations


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


@kernel
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


@kernel
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


@kernel
def follow_curve(tape: Tape, lot: Floats, close: Floats, unit: float, times: Integers, state: Floats) -> int:
    """Fold the equity at every close into a state of ``performance.curve``; return in how many something is held."""
    places, after, money, lots = tape.places, tape.after, tape.cash, tape.lots.copy()
    marks, seen, change, slices = np.full(len(lot), np.nan), -1, 0, len(close)
    block, held, is_holding = np.empty(BLOCK), 0, bool(np.any(lots != 0.0))
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
                is_holding = False
                for column in range(len(lots)):
                    is_holding = is_holding or lots[column] != 0.0
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


@dataclass(frozen=True)
class Reader:
    """Turns the rows of a compiled run into facts."""

    trace: Trace
    panel: Panel
    venue: Venue
    execution: Execution
    profile: str
    given: Orders | None

    def __call__(self) -> Facts:
        """Return the facts."""
        cancelled = self.trace.ends[:, END_CODE] == CANCELLED
        return Facts(
            [self._order(line) for line in self.trace.sent],
            [self._fill(line) for line in self.trace.fills],
            [self._rejection(line) for line in self.trace.ends[~cancelled]],
            [self._cancellation(line) for line in self.trace.ends[cancelled]],
            [self._adjustment(row, units) for row, units in self.trace.charges.tolist()],
        )

    def refused(self) -> int:
        """Return how many orders were refused."""
        return int(np.count_nonzero(self.trace.ends[:, END_CODE] != CANCELLED))

    def columns(self) -> FillColumns:
        """Return the fills as arrays."""
        fills, width = self.trace.fills, self.panel.width
        symbol = fills[:, SYMBOL].astype(np.int64)
        lot = np.array([self.venue.instrument(name).lot for name in self.panel.symbols])[symbol]
        opened = np.where(fills[:, AT_OPEN] != 0.0, width, 0)
        return FillColumns(
            symbol,
            self.panel.times[fills[:, ROW].astype(np.int64)] - opened,
            np.abs(fills[:, FILL_LOTS]) * lot * fills[:, PRICE],
            fills[:, LOTS_CHANGE] * lot,
            fills[:, CASH_CHANGE] * self.venue.unit,
            fills[:, FEE].copy(),
            fills[:, SLIPPAGE].copy(),
            fills[:, IMPACT].copy(),
        )

    def _identity(self, line: Floats) -> str:
        role = int(line[ROLE])
        symbol, time = self._symbol(line), self._closed(line[DECIDED])
        if role == LIQUIDATION:
            return f"liquidation-{symbol}-{time}"
        if self.given is not None:
            name = self.given.name(int(line[SOURCE]))
        else:
            name = client_order_id(self.profile, symbol, time, int(line[PART]))
        return f"{name}{'s' if role == STOP_EXIT else 't'}{line[CHILD]:.0f}" if role != PLAIN else name

    def _symbol(self, line: Floats) -> str:
        return self.panel.symbols[int(line[SYMBOL])]

    def _closed(self, row: float) -> int:
        return int(self.panel.times[int(row)])

    def _order(self, line: Floats) -> Order:
        if self.given is not None:
            found = self.given.facts[int(line[SOURCE])]
            if isinstance(found, Cancel):
                raise TypeError(f"{found} is no order")
            return found
        lots, limit, life = line[SENT_LOTS], line[SENT_LIMIT], self.execution.plan.life
        time = self._closed(line[DECIDED])
        return Order(
            self._identity(line),
            self.profile,
            self._symbol(line),
            "buy" if lots > 0 else "sell",
            float(abs(lots)),
            time,
            "market" if np.isnan(limit) else "limit",
            "gtt" if life else "gtc",
            None if np.isnan(limit) else float(limit),
            expires=time + life if life else 0,
            protection=self.execution.protection if line[SENT_PROTECTED] else None,
        )

    def _fill(self, line: Floats) -> Fill:
        side: Side = "buy" if line[FILL_LOTS] > 0 else "sell"
        identity = self._identity(line)
        return Fill(
            order_id=identity,
            execution_id=execution_id(identity, int(line[NUMBER])),
            profile=self.profile,
            symbol=self._symbol(line),
            side=side,
            lots=float(abs(line[FILL_LOTS])),
            price=float(line[PRICE]),
            time=self._closed(line[ROW]) - (self.panel.width if line[AT_OPEN] else 0),
            lots_change=float(line[LOTS_CHANGE]),
            cash_change=float(line[CASH_CHANGE]),
            fee=float(line[FEE]),
            slippage=float(line[SLIPPAGE]),
            liquidity="maker" if line[LIQUIDITY] == MAKER else "taker",
            impact=float(line[IMPACT]),
            reason=ROLES[int(line[ROLE])],
        )

    def _adjustment(self, row: float, units: float) -> Adjustment:
        time = self._closed(row)
        return Adjustment(f"financing-{time}", self.profile, "", 0.0, -units, time, "financing")

    def _ended(self, line: Floats) -> int:
        return self._closed(line[END_ROW]) - (self.panel.width if line[END_AT_OPEN] else 0)

    def _rejection(self, line: Floats) -> Rejection:
        side: Side = "buy" if line[END_LOTS] > 0 else "sell"
        lots, reason = float(abs(line[END_LOTS])), REASONS[int(line[END_CODE])]
        identity, symbol = self._identity(line), self._symbol(line)
        return Rejection(identity, self.profile, symbol, side, lots, self._ended(line), reason)

    def _cancellation(self, line: Floats) -> Cancellation:
        return Cancellation(self._identity(line), self.profile, self._symbol(line), self._ended(line))
