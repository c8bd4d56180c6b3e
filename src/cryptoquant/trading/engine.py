"""The engine: ``on(event)`` gives orders. Simulator, journal replay and paper trading drive this one object."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.trading.execution import Execution, Working
from cryptoquant.trading.gate import Gate
from cryptoquant.trading.held import Held, check_ids
from cryptoquant.trading.history import History
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Reason, Rejection
from cryptoquant.trading.passing import Passing
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import UNLIMITED, RiskLimits, RiskState
from cryptoquant.trading.strategy import Strategy, View
from cryptoquant.trading.venue import Venue

Action = Literal["halt", "resume", "pause", "unpause", "cancel", "close"]


class Command(msgspec.Struct, frozen=True, tag="command", tag_field="event"):
    """An order of the operator.

    Attributes
    ----------
    action
        ``halt`` and ``pause`` refuse what opens a position and cancel the open orders that would; ``resume`` ends both
        and resets the gate with its peak, ``unpause`` ends a pause only. ``cancel`` cancels every open order,
        ``close`` also sells everything at the market as soon as the coins are free, and pauses, until one of
        the two opens again. Exits act in every
        state, and their orders in flight are left to them.
    """

    id: str
    action: Action
    time: int
    reason: str = ""


class Timer(msgspec.Struct, frozen=True, tag="timer", tag_field="event"):
    """Time has passed and nothing else has happened; nanoseconds UTC."""

    time: int


Event = Slice | Signal | Price | Timer | Fill | Rejection | Cancellation | Adjustment | Command
Outcome = Order | Rejection | Cancel


class Engine:
    """One strategy profile: its books, its risk state, its orders in flight, and the exits that it holds.

    No clock, no I/O, no randomness: the same events give the same outcomes. Any event may have outcomes, not only a
    slice: a leg that is due, a stop that waited for coins.

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
    holds
        Whether the engine holds exits and lives itself, for a venue that has neither: it then needs prices between the
        slices while ``is_waiting``, gives each order's cancel, and what is sent is ``at_venue(order)``. Otherwise the
        one who matches its orders holds them.

    Attributes
    ----------
    working
        Orders without an end yet, what is left of them, parts that are due later, and positions that an exit closed.
    held
        The exits that the engine holds.
    gate
        Counts what was asked, approved and refused.

    Raises
    ------
    ValueError
        The execution reprices orders that the engine does not hold, or the profile's name makes ids too long.
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
        holds: bool = False,
    ) -> None:
        self.strategy = strategy
        self.venue = venue
        self.holds = holds
        self.portfolio = Portfolio(symbols, venue, cash, profile)
        self.working = Working()
        self.gate = Gate(self.portfolio, venue, self.working, limits or UNLIMITED)
        self.held = Held(venue, self.portfolio, self.working)
        self._history = History(strategy.lookback, len(self.portfolio.symbols))
        self._signals: dict[str, Signal] = {}
        self._last_closes: NDArray[np.float64] | None = None
        self._closes = 0
        self._take(execution or Execution())

    def _take(self, execution: Execution) -> None:
        if execution.reprice is not None and not self.holds:
            raise ValueError("execution.reprice needs an engine that holds its orders, found holds=False")
        if self.holds:
            check_ids(self.portfolio, reprices=execution.reprice is not None)
        self.execution = execution
        self.passing = Passing(execution, self.gate, self.held, holds=self.holds)

    @property
    def limits(self) -> RiskLimits:
        """What the gate does not let pass."""
        return self.gate.limits

    @property
    def risk(self) -> RiskState:
        """What the gate remembers."""
        return self.gate.state

    @property
    def in_flight(self) -> Mapping[str, Order]:
        """Orders without an end yet, by id."""
        return self.working.in_flight

    @property
    def is_waiting(self) -> bool:
        """Whether a price or the time alone could change anything: exits, parts, lives, new prices, spreads."""
        return bool(self.held) or self.passing.is_waiting or self.limits.max_spread_bps < math.inf

    def reason_of(self, order_id: str) -> Reason:
        """Return why an order in flight was sent without a decision, as its fills must tell; empty for a decision."""
        return self.held.reason_of(order_id)

    def warm(self, slices: Iterable[Slice]) -> None:
        """Take slices from before the start: they fill the strategy's view of the past and are not decided on."""
        for market in slices:
            self._see(market)

    def change(
        self,
        *,
        strategy: Strategy | None = None,
        execution: Execution | None = None,
        limits: RiskLimits | None = None,
    ) -> None:
        """Trade on by another strategy, execution or limits: books, held exits and orders in flight stay.

        Between two slices. Parts that are due, and what moves to a new price, go as the new execution says: at its
        distance from the price, or at the market where it has none. A strategy that looks further back sees the past
        that is there; ``warm`` brings more.
        """
        if execution is not None:
            self._take(execution)
        if limits is not None:
            self.gate.limits = limits
        if strategy is not None:
            self.strategy = strategy
            self._history.keep(strategy.lookback)

    def on(self, event: Event) -> Sequence[Outcome]:
        """Take the next event; return the orders to submit, the cancels to ask for and the refusals, in their order."""
        if isinstance(event, Slice):
            return self._decide(event)
        if isinstance(event, Signal):
            self._signals[event.symbol] = event
            self.gate.note(event)
        elif isinstance(event, Fill):
            return self._fill(event)
        elif isinstance(event, Price):
            return self._price(event) if self.heeds(event) else ()
        elif isinstance(event, Timer):
            return self.passing.on(event.time) if self.heeds(event) else ()
        elif isinstance(event, Adjustment):
            self.portfolio.apply(event)
            self.held.wake(event.symbol)
        elif isinstance(event, Command):
            return self._command(event)
        else:
            return self._end(event)
        return ()

    def heeds(self, event: Event) -> bool:
        """Return whether an event would change anything; a price or a timer that would not need not be kept."""
        if isinstance(event, Price):
            is_wide = self.gate.is_news(event)
            return is_wide or self.held.heeds(event) or self.passing.heeds(event.time, event.symbol, event.close)
        return self.passing.heeds(event.time) if isinstance(event, Timer) else True

    def _price(self, price: Price) -> Sequence[Outcome]:
        """Take a price: exits act first, then what was due."""
        closes = self.portfolio.marks.copy()
        closes[self.portfolio.index(price.symbol)] = price.close
        self.portfolio.mark(closes)
        self.gate.see(price)
        self.risk.before = self._last_closes
        said: list[Outcome] = []
        for exit_ in self.held.reached(price):
            said += self.passing.fire(exit_, price.time)
        self.held.follow(price)
        return [*said, *self.passing.on(price.time, price.symbol)]

    def _see(self, market: Slice) -> None:
        """Take a slice into the past and its closes as marks."""
        own = self.portfolio.symbols
        if market.symbols is not own and market.symbols != own:
            raise ValueError(f"slice of {market.symbols}, the engine trades {own}")
        self._history.append(market)
        self.portfolio.see(market)
        if self.gate.watches_jumps:
            self.risk.before, self._last_closes = self._last_closes, self.portfolio.marks

    def _fill(self, fill: Fill) -> Sequence[Outcome]:
        if not self.portfolio.apply(fill):
            return ()
        working, held = self.working, self.held
        is_holding = self.holds or bool(held.exits)
        order = working.in_flight.get(fill.order_id) if is_holding else None
        if is_holding and not fill.reason:
            fill = replace(fill, reason=held.reason_of(fill.order_id))
        working.fill(fill, self.portfolio.held(fill.symbol))
        if working.due and fill.symbol in working.stopped:
            self.passing.drop(fill.symbol)
        if not is_holding:
            return ()
        if self.holds and order is not None and order.protection is not None:
            held.guard(order, fill)
        held.take(fill)
        return self.passing.free(fill.time)

    def _end(self, event: Rejection | Cancellation) -> Sequence[Outcome]:
        said = self.passing.end(event)
        return [*said, *self.passing.free(event.time)] if self.held else said

    def _command(self, command: Command) -> Sequence[Outcome]:
        action, time, risk = command.action, command.time, self.risk
        if action == "resume":
            risk.reset()
        elif action == "unpause":
            risk.paused = ""
        elif action == "halt":
            risk.halted = command.reason or "halted by command"
        elif action in ("pause", "close"):
            risk.paused = command.reason or ("closed by command" if action == "close" else "paused by command")
        if action in ("resume", "unpause"):
            self.held.reopen()
            return ()
        said: list[Outcome] = list(self.passing.cancel_all(time, opening_only=action in ("halt", "pause")))
        if action == "close":
            self._closes += 1
            self.held.close_all(time, self._closes)
            said += self.passing.free(time)
        return said

    def _decide(self, market: Slice) -> Sequence[Outcome]:
        portfolio, gate = self.portfolio, self.gate
        self._see(market)
        if gate.watches_losses:
            gate.state.observe(market.time, portfolio.equity, gate.limits)
        said: list[Outcome] = []
        if self.holds or self.working.due:
            said += self.passing.on(market.time, age=market.known - market.time)
        target = self.strategy.decide(View(market, self._history, self._signals, portfolio))
        if not target:
            return said or ()
        if self.execution.reprice is not None:
            said += self.passing.reconsider(target, market.time)
        orders, refused = self.execution.orders(target, portfolio, self.venue, market.time, self.working)
        if refused:
            gate.count_refused(len(refused))
            said += refused
        age, approved = market.known - market.time, list[Order]()
        for order in orders:
            if order.time > market.time:
                self.working.due.append(order)
                continue
            answer = gate.ask(order, age, approved)
            said.append(answer)
            if isinstance(answer, Order):
                approved.append(answer)
        return said
