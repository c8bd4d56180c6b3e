"""The engine: ``on(event)`` gives orders. Simulator, journal replay and paper trading drive this one object."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.trading.execution import Execution, Working
from cryptoquant.trading.history import History
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Order, Rejection, reject
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
    working
        Orders without an end yet, what is left of them, and positions that an exit closed.
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
        self.working = Working()
        self._history = History(strategy.lookback, len(self.portfolio.symbols))
        self._signals: dict[str, Signal] = {}
        self._watches_losses = min(self.limits.max_drawdown, self.limits.max_daily_loss) < math.inf

    @property
    def in_flight(self) -> Mapping[str, Order]:
        """Orders without an end yet, by id."""
        return self.working.in_flight

    def warm(self, slices: Iterable[Slice]) -> None:
        """Take slices from before the start: they fill the strategy's view of the past and are not decided on."""
        for market in slices:
            self._see(market)

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
            self.working.end(event.order_id)
        return ()

    def _see(self, market: Slice) -> None:
        """Take a slice into the past and its closes as marks."""
        own = self.portfolio.symbols
        if market.symbols is not own and market.symbols != own:
            raise ValueError(f"slice of {market.symbols}, the engine trades {own}")
        self._history.append(market)
        self.portfolio.see(market)

    def _fill(self, fill: Fill) -> None:
        if self.portfolio.apply(fill):
            self.working.fill(fill, self.portfolio.held(fill.symbol))

    def _decide(self, market: Slice) -> Sequence[Outcome]:
        portfolio = self.portfolio
        self._see(market)
        if self._watches_losses:
            self.risk.observe(market.time, portfolio.equity, self.limits)
        target = self.strategy.decide(View(market, self._history, self._signals, portfolio))
        if not target:
            return ()
        orders, refused = self.execution.orders(target, portfolio, self.venue, market.time, self.working)
        if not orders:
            return refused
        said: list[Outcome] = [*refused]
        approved: list[Order] = []
        for order in orders:
            reason = refuse(order, portfolio, self.limits, self.risk, market.known - market.time, approved)
            if reason:
                said.append(reject(order, reason, order.time))
                continue
            self.risk.count(order.time)
            self.working.add(order)
            approved.append(order)
            said.append(order)
        return said
