"""The rows of a compiled run read as facts: orders, fills, refusals and cancellations."""

from dataclasses import dataclass

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
from cryptoquant.backtest.loop import Trace
from cryptoquant.backtest.orders import Orders
from cryptoquant.backtest.run import Facts
from cryptoquant.market.slice import Panel
from cryptoquant.performance.metrics import FillColumns
from cryptoquant.trading.execution import Execution
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
    execution_id,
)
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
ROLES: tuple[Reason, ...] = ("", "stop", "target", "liquidation")


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
