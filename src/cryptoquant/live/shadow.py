"""A shadow's venue: orders matched here, on the market's own bars, by the kernel that the simulator uses."""

from msgspec.structs import replace

from cryptoquant.market.schema import Bar
from cryptoquant.market.slice import slice_of
from cryptoquant.trading.at_venue import at_venue
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.order import Cancellation, Fill, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio


class ShadowVenue:
    """Fills the orders of one engine; nothing leaves the process.

    Parameters
    ----------
    engine
        Whose books are copied, and whose orders in flight are open here.
    """

    def __init__(self, engine: Engine) -> None:
        own = engine.portfolio
        book = Portfolio(own.symbols, engine.venue, 0.0, own.profile)
        book.cash, book.lots = own.cash, own.lots.copy()
        self._engine, self._matcher = engine, Matcher(engine.venue, book)

    def resume(self, time: int) -> list[Rejection | Cancellation]:
        """Take over what is left of orders that were open when the trader stopped; return those that end at ``time``.

        They were refused, or their end had been asked for: that is as good as done here.
        """
        working, ended = self._engine.working, list[Rejection | Cancellation]()
        for order in working.in_flight.values():
            if order.id in working.asked:
                ended.append(Cancellation(order.id, order.profile, order.symbol, time))
            elif (refused := self.submit(replace(at_venue(order), lots=working.left[order.id]))) is not None:
                ended.append(refused)
        return ended

    def submit(self, order: Order) -> Rejection | None:
        """Take an order; return the refusal, or None when it is open."""
        book = self._engine.portfolio
        return self._matcher.submit(order, book.marks.item(book.index(order.symbol)))

    def cancel(self, order: Order, time: int) -> Cancellation | None:
        """End an open order at once; None when it has ended already."""
        return self._matcher.cancel(order.id, time)

    def match(self, bar: Bar) -> list[Fill | Rejection | Cancellation]:
        """Return what a minute bar fills; a fill is named by its order and the cumulative quantity, as at the venue."""
        if not self._matcher.open:
            return []
        found = self._matcher.match(slice_of([bar], self._engine.portfolio.symbols), bar.open_time)
        return [self._named(fact) if isinstance(fact, Fill) else fact for fact in found]

    def _named(self, fill: Fill) -> Fill:
        order, left = self._engine.in_flight[fill.order_id], self._engine.working.left[fill.order_id]
        return replace(fill, execution_id=f"{order.id}-{int(order.lots - left + fill.lots)}")
