"""The doubt: by how much more or less the venue may have charged than our books say. Pure."""

import math
from dataclasses import dataclass, field

from cryptoquant.live.settlement import corrected_order, rests
from cryptoquant.trading.order import Adjustment, Fill, Order
from cryptoquant.trading.venue import BASIS_POINT, Venue

CASH = ""
"""The key of cash beside the symbols, as adjustments have it."""


@dataclass(slots=True)
class Doubt:
    """What the venue may have charged a profile otherwise than our books: by symbol in lots, cash under no symbol.

    The venue does not tell which of its two fees an execution paid. Our books take the maker's where a limit order was
    filled at its limit, though it may have taken: the venue may have charged more. They take the taker's where the
    price is better, but one that is the mean of several executions may hold some that were made: it may have charged
    less. A correction tells a mean only, and may be wrong both ways.
    """

    more: dict[str, float] = field(default_factory=dict)
    less: dict[str, float] = field(default_factory=dict)

    def take(self, fact: Fill | Adjustment, order: Order, venue: Venue) -> None:
        """Note a fill of an order, or a correction of its fills."""
        if not rests(order):
            return
        if isinstance(fact, Fill):
            lots, price = fact.lots, fact.price
            ways = [self.more if fact.liquidity == "maker" else self.less]
        else:
            lots, price = map(float, fact.id.split(":")[2:4])
            ways = [self.more, self.less]
        fee = lots * max(0.0, venue.costs.taker_bps - venue.costs.maker_bps) * BASIS_POINT
        if order.side == "sell":
            fee *= venue.instrument(order.symbol).lot * price
        key = order.symbol if order.side == "buy" else CASH
        for way in ways if fee > 0.0 else []:
            way[key] = way.get(key, 0.0) + fee

    def end(self, key: str) -> None:
        """Doubt no more of a symbol, or of cash."""
        self.more.pop(key, None)
        self.less.pop(key, None)

    def settle(self, key: str, gap: float) -> float:
        """Return by how much more the venue has charged (negative: less) and doubt it no more.

        ``gap`` is by how much less it holds than our books: lots of a symbol, or cash.
        """
        more, less = self.more.get(key, 0.0), self.less.get(key, 0.0)
        if key != CASH:
            more, less = float(math.ceil(more)), float(math.ceil(less))
        self.end(key)
        return max(-less, min(gap, more))


def fact_order(fact: Fill | Adjustment) -> str:
    """Return the id of the order that a fact is a fill or a correction of, '' for another adjustment."""
    return fact.order_id if isinstance(fact, Fill) else corrected_order(fact)
