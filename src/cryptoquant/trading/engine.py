"""The engine: ``on(event)`` gives orders. Simulator, journal replay and paper trading drive this one object."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.matching import reject
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import UNLIMITED, RiskLimits, RiskState, refuse
from cryptoquant.trading.strategy import Strategy, View
from cryptoquant.trading.venue import Venue


class Command(msgspec.Struct, frozen=True, tag="command", tag_field="event"):
    """An order of the operator: ``halt`` refuses what opens positions, ``resume`` resets the gate with its peak."""

    id: str
    action: Literal["halt", "resume"]
    time: int
    reason: str = ""


Event = Slice | Signal | Fill | Rejection | Cancellation | Adjustment | Command
Outcome = Order | Rejection


class History:
    """The last slices of a universe as one contiguous array, bounded in memory."""

    __slots__ = ("_buffer", "_end", "length")

    def __init__(self, length: int, symbols: int) -> None:
        self.length = max(1, length)
        self._buffer: NDArray[np.float64] = np.full((max(64, 4 * self.length), symbols, len(FIELDS)), np.nan)
        self._end = 0

    def append(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the values of a slice; return the last ``length`` slices, shape (slices, symbols, fields)."""
        if self._end == len(self._buffer):
            keep = self.length - 1
            self._buffer[:keep] = self._buffer[self._end - keep : self._end]
            self._end = keep
        self._buffer[self._end] = values
        self._end += 1
        return self._buffer[max(0, self._end - self.length) : self._end]


class Engine:
    """One strategy profile: its books, its risk state and its orders in flight.

    No clock, no I/O, no randomness: the same events give the same orders.

    Parameters
    ----------
    strategy
        Decides once for each slice.
    venue
        Rules and costs.
    symbols
        The universe, in its fixed order.
    cash
        Quote currency at the start.

    Attributes
    ----------
    in_flight, filled
        Orders without an end yet, by id, and the lots of them that are filled.
    """

    def __init__(
        self,
        strategy: Strategy,
        venue: Venue,
        symbols: Sequence[str],
        cash: float,
        *,
        profile: str = "main",
        execution: Execution | None = None,
        limits: RiskLimits | None = None,
    ) -> None:
        self.strategy = strategy
        self.venue = venue
        self.execution = execution or Execution()
        self.limits = limits or UNLIMITED
        self.portfolio = Portfolio(symbols, venue, cash, profile)
        self.risk = RiskState()
        self.in_flight: dict[str, Order] = {}
        self.filled: dict[str, float] = {}
        self._history = History(strategy.lookback, len(self.portfolio.symbols))
        self._signals: dict[str, Signal] = {}

    def warm(self, slices: Iterable[Slice]) -> None:
        """Take slices from before the start: they fill the strategy's view of the past and are not decided on."""
        for market in slices:
            self._history.append(market.values)
            self.portfolio.mark(market.field("close"))

    def on(self, event: Event) -> Sequence[Outcome]:
        """Take the next event; return the orders to submit and the refusals, in the order of their submission."""
        if isinstance(event, Slice):
            return self._decide(event)
        if isinstance(event, Signal):
            self._signals[event.symbol] = event
        elif isinstance(event, Fill):
            self._fill(event)
        elif isinstance(event, Adjustment):
            self.portfolio.apply(event)
        elif isinstance(event, Command):
            self.risk = RiskState() if event.action == "resume" else self.risk
            self.risk.halted = (event.reason or "halted by command") if event.action == "halt" else ""
        else:
            self.in_flight.pop(event.order_id, None)
            self.filled.pop(event.order_id, None)
        return ()

    def _fill(self, fill: Fill) -> None:
        if not self.portfolio.apply(fill):
            return
        order = self.in_flight.get(fill.order_id)
        if order is None:
            return
        self.filled[order.id] = self.filled.get(order.id, 0.0) + fill.lots
        if self.filled[order.id] >= order.lots:
            del self.in_flight[order.id], self.filled[order.id]

    def _decide(self, market: Slice) -> Sequence[Outcome]:
        if market.symbols != self.portfolio.symbols:
            raise ValueError(f"slice of {market.symbols}, the engine trades {self.portfolio.symbols}")
        history = self._history.append(market.values)
        self.portfolio.mark(market.field("close"))
        equity = self.portfolio.equity
        self.risk.observe(market.time, equity, self.limits)
        target = self.strategy.decide(View(market, history, self._signals, self.portfolio, equity))
        if not target:
            return ()
        unknown = [symbol for symbol in target if symbol not in self.portfolio.symbols]
        if unknown:
            raise ValueError(f"the strategy wants {', '.join(unknown)}, the universe is {self.portfolio.symbols}")
        orders, refused = self.execution.orders(target, self.portfolio, self.venue, market.time, self.in_flight)
        said: list[Outcome] = [*refused]
        approved: list[Order] = []
        for order in orders:
            reason = refuse(order, self.portfolio, self.limits, self.risk, market.known - market.time, approved)
            if reason:
                said.append(reject(order, reason, order.time))
                continue
            self.risk.count(order.time)
            self.in_flight[order.id] = order
            approved.append(order)
            said.append(order)
        return said
