"""What a driver leaves behind: the facts in order, and the curve that follows from them."""

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
    DECIDED,
    END_AT_OPEN,
    END_CODE,
    END_DECIDED,
    END_LOTS,
    END_OF,
    END_PART,
    END_ROW,
    END_SYMBOL,
    FEE,
    FILL_LOTS,
    IMPACT,
    KIND,
    LIFE,
    LIMIT_AT,
    LIQUIDATION,
    LIQUIDITY,
    LOTS,
    LOTS_CHANGE,
    OF,
    PARENT,
    PART,
    PLAIN,
    PRICE,
    ROLE,
    ROW,
    SIGN,
    SLIPPAGE,
    SOURCE,
    STOP_EXIT,
    STOP_LOSS,
    SYMBOL,
    TRAILING_STOP,
)
from cryptoquant.backtest.loop import Trace
from cryptoquant.backtest.orders import Orders
from cryptoquant.compiled import kernel
from cryptoquant.market.slice import Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.matcher import execution_id
from cryptoquant.trading.matching import KINDS, LIVES, MAKER, REASONS
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Order, Reason, Rejection, Side, client_order_id
from cryptoquant.trading.portfolio import equity_units
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ROLES: tuple[Reason, ...] = ("", "stop", "target", "liquidation")


class Facts(NamedTuple):
    """What happened, each kind in the order in which it happened."""

    orders: list[Order]
    fills: list[Fill]
    rejections: list[Rejection]
    cancellations: list[Cancellation]


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
    """

    panel: Panel
    venue: Venue
    tape: Tape
    read: Callable[[], Facts]

    @cached_property
    def facts(self) -> Facts:
        """Orders, fills, rejections and cancellations."""
        return self.read()

    @cached_property
    def curve(self) -> tuple[Floats, Floats]:
        """Equity and cash at every close, shape (slices,), in quote currency."""
        lot = np.array([self.venue.instrument(symbol).lot for symbol in self.panel.symbols])
        equity, cash = np.empty(len(self.panel)), np.empty(len(self.panel))
        book = (self.tape.lots.copy(), lot, np.full(len(lot), np.nan), self.tape.cash, self.venue.unit)
        mark_books(self.tape.places, self.tape.after, self.panel.field("close"), book, equity, cash)
        return equity * self.venue.unit, cash * self.venue.unit

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
    total = len(trace.fills) + len(trace.charges)
    places, after = np.empty((total, 2), dtype=np.int64), np.empty((total, 2))
    lots, charge = np.zeros(symbols), 0
    for index in range(len(trace.fills)):
        line = trace.fills[index]
        while charge < len(trace.charges) and trace.charges[charge, 0] < line[ROW]:
            cash -= trace.charges[charge, 1]
            places[index + charge, 0], places[index + charge, 1] = int(trace.charges[charge, 0]), -1
            after[index + charge, 0], after[index + charge, 1] = 0.0, cash
            charge += 1
        column = int(trace.orders[int(line[OF]), SYMBOL])
        cash += line[CASH_CHANGE]
        lots[column] += line[LOTS_CHANGE]
        places[index + charge, 0], places[index + charge, 1] = int(line[ROW]), column
        after[index + charge, 0], after[index + charge, 1] = lots[column], cash
    while charge < len(trace.charges):
        place = len(trace.fills) + charge
        cash -= trace.charges[charge, 1]
        places[place, 0], places[place, 1] = int(trace.charges[charge, 0]), -1
        after[place, 0], after[place, 1] = 0.0, cash
        charge += 1
    return places, after


@kernel
def mark_books(
    places: Integers,
    after: Floats,
    close: Floats,
    book: tuple[Floats, Floats, Floats, float, float],
    equity: Floats,
    cash: Floats,
) -> None:
    """Write equity and cash, in cash units, at every close.

    Parameters
    ----------
    places, after
        Shape (changes, 2), as in ``Tape``.
    close
        Shape (slices, symbols), NaN where absent.
    book
        At the start: lots, coins in a lot and marks, shape (symbols,); cash; quote currency in a cash unit.
    """
    lots, lot, marks, money, unit = book
    change = 0
    for row in range(len(close)):
        while change < len(places) and places[change, 0] == row:
            if places[change, 1] >= 0:
                lots[places[change, 1]] = after[change, 0]
            money = after[change, 1]
            change += 1
        for column in range(len(marks)):
            if close[row, column] == close[row, column]:
                marks[column] = close[row, column]
        equity[row], cash[row] = equity_units(money, lots, lot, marks, unit), money


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
        ended = {int(line[END_OF]) for line in self.trace.ends if line[END_OF] >= 0 and self._is_refused_at_once(line)}
        sent = [place for place, row in enumerate(self.trace.orders) if row[ROLE] == PLAIN and place not in ended]
        return Facts(
            [self._order(place) for place in sent],
            [self._fill(line, number) for line, number in zip(self.trace.fills, self._numbers(), strict=True)],
            [self._rejection(line) for line in self.trace.ends if line[END_CODE] != CANCELLED],
            [self._cancellation(line) for line in self.trace.ends if line[END_CODE] == CANCELLED],
        )

    def _is_refused_at_once(self, line: Floats) -> bool:
        return bool(line[END_CODE] != CANCELLED and line[END_ROW] == line[END_DECIDED])

    def _numbers(self) -> list[int]:
        """Return for each fill how many its order had before."""
        seen: dict[int, int] = {}
        numbers = []
        for order in self.trace.fills[:, OF].astype(np.int64).tolist():
            numbers.append(seen.get(order, 0))
            seen[order] = numbers[-1] + 1
        return numbers

    def _identity(self, place: int) -> str:
        row = self.trace.orders[place]
        if row[ROLE] == LIQUIDATION:
            return f"liquidation-{self._symbol(row)}-{self._closed(row[DECIDED])}"
        if row[PARENT] >= 0:
            return f"{self._identity(int(row[PARENT]))}{'s' if row[ROLE] == STOP_EXIT else 't'}{row[PART]:.0f}"
        if self.given is not None:
            return self.given.name(int(row[SOURCE]))
        return client_order_id(self.profile, self._symbol(row), self._closed(row[DECIDED]), int(row[PART]))

    def _symbol(self, row: Floats) -> str:
        return self.panel.symbols[int(row[SYMBOL])]

    def _closed(self, row: float) -> int:
        return int(self.panel.times[int(row)])

    def _order(self, place: int) -> Order:
        row = self.trace.orders[place]
        if self.given is not None:
            found = self.given.facts[int(row[SOURCE])]
            if isinstance(found, Cancel):
                raise TypeError(f"{found} is no order")
            return found
        is_limit, time = row[KIND] > 0, self._closed(row[DECIDED])
        lives = LIVES[int(row[LIFE])] == "gtt"
        return Order(
            self._identity(place),
            self.profile,
            self._symbol(row),
            "buy" if row[SIGN] > 0 else "sell",
            float(row[LOTS]),
            time,
            KINDS[int(row[KIND])],  # type: ignore[arg-type]
            LIVES[int(row[LIFE])],  # type: ignore[arg-type]
            float(row[LIMIT_AT]) if is_limit else None,
            expires=time + self.execution.plan.life if lives else 0,
            protection=self.execution.protection if self._is_protected(row) else None,
        )

    def _is_protected(self, row: Floats) -> bool:
        return bool(np.isfinite(row[STOP_LOSS : TRAILING_STOP + 1]).any())

    def _fill(self, line: Floats, number: int) -> Fill:
        place = int(line[OF])
        row = self.trace.orders[place]
        side: Side = "buy" if line[FILL_LOTS] > 0 else "sell"
        identity = self._identity(place)
        return Fill(
            order_id=identity,
            execution_id=execution_id(identity, number),
            profile=self.profile,
            symbol=self._symbol(row),
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
            reason=ROLES[int(row[ROLE])],
        )

    def _ended(self, line: Floats) -> tuple[str, str, int]:
        """Return the id, the symbol and the time of an ending."""
        symbol, place = self.panel.symbols[int(line[END_SYMBOL])], int(line[END_OF])
        time = self._closed(line[END_ROW]) - (self.panel.width if line[END_AT_OPEN] else 0)
        if place >= 0:
            return self._identity(place), symbol, time
        return client_order_id(self.profile, symbol, self._closed(line[END_DECIDED]), int(line[END_PART])), symbol, time

    def _rejection(self, line: Floats) -> Rejection:
        identity, symbol, time = self._ended(line)
        side: Side = "buy" if line[END_LOTS] > 0 else "sell"
        lots, reason = float(abs(line[END_LOTS])), REASONS[int(line[END_CODE])]
        return Rejection(identity, self.profile, symbol, side, lots, time, reason)

    def _cancellation(self, line: Floats) -> Cancellation:
        identity, symbol, time = self._ended(line)
        return Cancellation(identity, self.profile, symbol, time)
