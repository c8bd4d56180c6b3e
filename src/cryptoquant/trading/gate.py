"""The gate between what is wanted and what is sent: it asks the limits, counts, and remembers what it let pass."""

import math
from collections.abc import Sequence

from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.trading.execution import Working, free_cash
from cryptoquant.trading.matching import NO_CASH, REASONS
from cryptoquant.trading.order import Order, Rejection, reject
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.risk import RiskLimits, RiskState, refuse
from cryptoquant.trading.venue import Venue


class Gate:
    """Lets an order pass into the flight, or refuses it.

    Attributes
    ----------
    state
        What the limits are judged by.
    asked, approved, refused
        How many orders wanted to pass, and what became of them; refusals by the venue's rules or for want of cash
        count, too.
    """

    def __init__(self, portfolio: Portfolio, venue: Venue, working: Working, limits: RiskLimits) -> None:
        self.portfolio = portfolio
        self.venue = venue
        self.working = working
        self.state = RiskState()
        self.asked = self.approved = self.refused = 0
        self.limits = limits

    @property
    def limits(self) -> RiskLimits:
        """What does not pass."""
        return self._limits

    @limits.setter
    def limits(self, limits: RiskLimits) -> None:
        self._limits = limits
        self.watches_losses = min(limits.max_drawdown, limits.max_daily_loss) < math.inf
        self.watches_jumps = limits.price_collar < math.inf

    def ask(self, order: Order, age: int = 0, ahead: Sequence[Order] = ()) -> Order | Rejection:
        """Return the order, which is in flight from then on, or its refusal; ``age`` is that of the data (ns)."""
        self.asked += 1
        if self._limits.min_cash > 0.0:
            mine = {one.id for one in ahead}
            self.state.promised = self._promised(mine)
        reason = refuse(order, self.portfolio, self._limits, self.state, age, ahead)
        return self.turn_away(order, reason) if reason else self.send(order)

    def _promised(self, ahead: set[str]) -> float:
        """Return what buys in flight will take, but for those that are named, in quote currency."""
        book, working = self.portfolio, self.working
        return math.fsum(
            working.left[order.id] * book.lot.item(place) * book.marks.item(place)
            for order in working.in_flight.values()
            if order.side == "buy" and order.id not in ahead
            for place in (book.index(order.symbol),)
        )

    def ask_later(self, order: Order, needed: float, age: int, ahead: Sequence[Order]) -> Order | Rejection:
        """Let an order pass that was decided before, if the cash that it needs (quote currency) is there still."""
        if order.side == "buy" and needed > free_cash(self.portfolio, self.venue, self.working):
            self.asked += 1
            return self.turn_away(order, REASONS[NO_CASH])
        return self.ask(order, age, ahead)

    def send(self, order: Order) -> Order:
        """Return an order that passed, in flight from now on."""
        self.approved += 1
        self.state.count(order.time)
        self.working.add(order)
        return order

    def turn_away(self, order: Order, reason: str) -> Rejection:
        """Return the refusal of an order that asked."""
        self.refused += 1
        return reject(order, reason, order.time)

    def count_refused(self, number: int) -> None:
        """Count orders that were refused before they could ask."""
        self.asked += number
        self.refused += number

    def note(self, signal: Signal) -> None:
        """Remember how strange a signal's row was."""
        if self._limits.max_dissimilarity < math.inf:
            self.state.strange[signal.symbol] = signal.dissimilarity or 0.0

    def is_news(self, price: Price) -> bool:
        """Return whether a quote's spread crosses the limit, either way."""
        limit = self._limits.max_spread_bps
        return (
            limit < math.inf and price.ask > 0.0 and (price.spread_bps > limit) != (price.symbol in self.state.spreads)
        )

    def see(self, price: Price) -> None:
        """Remember a spread above the limit, and forget it when it is below."""
        if not self.is_news(price):
            return
        if self.state.spreads.pop(price.symbol, None) is None:
            self.state.spreads[price.symbol] = price.spread_bps
