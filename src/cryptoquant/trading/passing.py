"""What the passing of time and the end of orders bring: parts that are due, lives that end, new prices, freed coins."""

import math
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from cryptoquant.trading.execution import Execution, cash_needed, nanoseconds
from cryptoquant.trading.gate import Gate
from cryptoquant.trading.held import Exit, Held
from cryptoquant.trading.order import Cancel, Cancellation, Order, Rejection, followed_id

Outcome = Order | Rejection | Cancel


class Passing:
    """Sends and cancels for an engine between its decisions.

    Time passes with slices, prices and timers; a price lets act what is of its symbol, and every life that ends.

    Parameters
    ----------
    holds
        Whether lives end here, and not where the orders are matched.
    """

    def __init__(self, execution: Execution, gate: Gate, held: Held, *, holds: bool) -> None:
        self.execution = execution
        self.holds = holds
        self._gate, self._held = gate, held
        self._working, self._book, self._venue = gate.working, gate.portfolio, gate.venue
        self._age = nanoseconds(execution.reprice)

    @property
    def is_waiting(self) -> bool:
        """Whether time alone could change anything."""
        if self._working.due:
            return True
        return self.holds and any(
            order.time_in_force == "gtt" or (self._age > 0 and self._is_movable(order))
            for order in self._working.in_flight.values()
        )

    def heeds(self, time: int, symbol: str = "", price: float = math.nan) -> bool:
        """Return whether a moment (ns), with a symbol's price or without, lets anything act."""
        if any(True for _ in self._due(time, symbol)):
            return True
        return self.holds and (
            any(True for _ in self._over(time)) or any(True for _ in self._stale(time, symbol, price))
        )

    def on(self, time: int, symbol: str = "", age: int = 0) -> list[Outcome]:
        """Return what a moment (ns) brings, for one symbol or all; ``age`` is that of the data (ns)."""
        said: list[Outcome] = []
        if self.holds:
            for order in list(self._over(time)):
                said += self._cancel(order, time)
            for order in list(self._stale(time, symbol)):
                said += self._cancel(order, time)
                self._working.renewed.add(order.id)
        for order in sorted(self._due(time, symbol), key=lambda one: self._book.index(one.symbol)):
            self._working.due.remove(order)
            said += self._send_part(order, time, age)
        return said

    def _due(self, time: int, symbol: str) -> Iterator[Order]:
        return (order for order in self._working.due if order.time <= time and symbol in ("", order.symbol))

    def _over(self, time: int) -> Iterator[Order]:
        """Yield the orders whose life has ended."""
        for order in self._working.in_flight.values():
            if order.time_in_force == "gtt" and order.expires <= time and order.id not in self._working.asked:
                yield order

    def _stale(self, time: int, symbol: str, price: float = math.nan) -> Iterator[Order]:
        """Yield the limit orders that have stood long enough and would stand elsewhere now."""
        if not self._age:
            return
        for order in self._working.in_flight.values():
            is_old = order.time + self._age <= time and symbol in ("", order.symbol)
            if not is_old or not self._is_movable(order) or order.id in self._working.asked:
                continue
            if self._price_of(order, price) != order.limit_price:
                yield order

    def _is_movable(self, order: Order) -> bool:
        return order.type == "limit" and order.time_in_force in ("gtc", "gtt") and not self._held.owns(order.id)

    def _price_of(self, order: Order, price: float = math.nan) -> float:
        """Return the limit that an order would have now; at ``price``, or at the last one that is known."""
        last = self._mark(order.symbol) if math.isnan(price) else price
        return self.execution.limit_price(order.symbol, order.sign, last, self._venue)

    def _mark(self, symbol: str) -> float:
        return self._book.marks.item(self._book.index(symbol))

    def _cancel(self, order: Order, time: int) -> list[Outcome]:
        """Return the wish that an order ends, unless it was told before."""
        working = self._working
        working.renewed.discard(order.id)
        if order.id in working.asked:
            return []
        working.asked.add(order.id)
        return [Cancel(order.id, order.profile, order.symbol, time)]

    def _send_part(self, order: Order, time: int, age: int) -> list[Outcome]:
        lots = order.lots
        if order.side == "sell" and not self._venue.allows_short:
            lots = min(lots, self._book.held(order.symbol) - self._working.in_flight_lots(order.symbol, "sell"))
        if lots <= 0.0:
            return []
        return [self._ask(self._renewed(order, lots, time), age)]

    def _renewed(self, order: Order, lots: float, time: int) -> Order:
        """Return what of an order is sent later: at the market where an execution came that has no limit."""
        if order.limit_price is not None and self.execution.limit_bps is None:
            return replace(order, lots=lots, time=time, type="market", limit_price=None, time_in_force="gtc", expires=0)
        return self.execution.renewed(order, lots, time, self._mark(order.symbol), self._venue)

    def _ask(self, order: Order, age: int = 0) -> Order | Rejection:
        """Let an order that was decided before pass the gate, behind all that is in flight."""
        needed = cash_needed(order.lots, order.symbol, self._book, self._venue)
        ahead = [replace(one, lots=self._working.left[one.id]) for one in self._working.in_flight.values()]
        return self._gate.ask_later(order, needed, age, ahead)

    def end(self, event: Rejection | Cancellation) -> list[Outcome]:
        """Take the end of an order; what is left of one that was to move is sent again at its new price."""
        working = self._working
        order, left = working.in_flight.get(event.order_id), working.left.get(event.order_id, 0.0)
        moves = event.order_id in working.renewed and isinstance(event, Cancellation)
        working.end(event.order_id)
        self._held.end(event)
        if order is None or not moves or left <= 0.0 or self._is_pointless(order, left, event.time):
            return []
        head, _, count = order.id.rpartition("p")
        name = followed_id(head, f"p{int(count) + 1}") if head and count.isdigit() else followed_id(order.id, "p1")
        return [self._ask(replace(self._renewed(order, left, event.time), id=name))]

    def _is_pointless(self, order: Order, left: float, time: int) -> bool:
        """Return whether the rest of an order is not worth sending again."""
        if order.time_in_force == "gtt" and order.expires <= time:
            return True
        value = left * self._book.lot.item(self._book.index(order.symbol)) * self._mark(order.symbol)
        return value < self._venue.minimum_notional or self._working.stopped.get(order.symbol, 0.0) * order.sign > 0.0

    def drop(self, symbol: str) -> None:
        """Forget the parts that would open a position again that an exit closed."""
        sign = self._working.stopped[symbol]
        self._working.due[:] = [one for one in self._working.due if one.symbol != symbol or one.sign != sign]

    def cancel_all(self, time: int, *, opening_only: bool) -> Iterator[Outcome]:
        """Yield the cancels of all open orders that are no exit's, or only of those that open; drop what is due."""
        working = self._working
        working.due[:] = [one for one in working.due if opening_only and not self._opens(one, one.lots)]
        for order in list(working.in_flight.values()):
            is_kept = opening_only and not self._opens(order, working.left[order.id])
            if not is_kept and not self._held.owns(order.id):
                yield from self._cancel(order, time)

    def _opens(self, order: Order, lots: float) -> bool:
        held = self._book.held(order.symbol)
        return abs(held + order.sign * lots) >= abs(held)

    def reconsider(self, weights: Mapping[str, float], time: int) -> list[Outcome]:
        """Return the cancels of limit orders on the way to what the strategy no longer wants."""
        said: list[Outcome] = []
        for order in list(self._working.in_flight.values()):
            weight = weights.get(order.symbol)
            if weight is None or not self._is_movable(order):
                continue
            wanted = self.execution.wanted(order.symbol, float(weight), self._book, self._venue)
            if wanted * order.sign <= 0.0:
                said += self._cancel(order, time)
        return said

    def fire(self, exit_: Exit, time: int) -> Sequence[Outcome]:
        """Return what an exit that is reached does: cancels of what reserves its coins, and its orders."""
        step = self._held.step(exit_)
        said: list[Outcome] = []
        for blocker in step.blockers:
            if self._held.is_cancelled_for_coins(blocker):
                said += self._cancel(blocker, time)
        return [*said, *(self._gate.ask(order) for order in self._held.send(exit_, step, time))]

    def free(self, time: int) -> list[Outcome]:
        """Return what exits do that were reached and waited for coins."""
        said: list[Outcome] = []
        for exit_ in self._held.fired():
            said += self.fire(exit_, time)
        return said
