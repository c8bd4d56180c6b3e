"""An open order between being sent and its end, the bar that it meets, its execution and the exits that follow."""

import math
from collections.abc import Iterator

import msgspec

from cryptoquant.compiled import plain
from cryptoquant.trading.exits import exits_of, reason_of
from cryptoquant.trading.filled import fill_of
from cryptoquant.trading.matching import KINDS, LIMIT, STOP, TRAILING, Deal, price_paid, rest_of_bar, settle
from cryptoquant.trading.order import Fill, Liquidity, Order, Reason
from cryptoquant.trading.venue import BASIS_POINT, Venue


class Bar(msgspec.Struct, gc=False):
    """One symbol's bar as the matcher reads it, and how much of it is taken by fills."""

    closed: int
    opened: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volatility: float = 0.0
    taken: float = 0.0


class Resting(msgspec.Struct):
    """An open order and what has changed since it was sent.

    ``fresh`` is what is left of the bar in which it came to life: open, high, low and whether the high comes first.
    """

    order: Order
    kind: int
    left: float
    best: float = math.nan
    reserve_at: float = math.nan
    collar: float = 0.0
    fills: int = 0
    reason: Reason = ""
    expires: float = math.inf
    leaves: bool = False
    replaces: "Resting | None" = None
    ended: bool = False
    fresh: tuple[float, float, float, bool] | None = None

    @property
    def is_held_back(self) -> bool:
        """Whether it rests at the venue, so that it reserves what it would give."""
        return not (self.order.reduces or self.leaves or self.kind in (STOP, TRAILING))


def exits_after(resting: Resting, fill: Fill, reference: float, bar: Bar, path: int) -> Iterator[Resting]:
    """Yield the exits of what a fill brought, for the rest of its bar."""
    order, price = resting.order, fill.price
    rest = plain(rest_of_bar)(path, float(order.sign), reference, bar.open, bar.high, bar.low, bar.close)
    for exit_ in exits_of(order, fill, resting.fills - 1, bar.closed):
        yield Resting(exit_, KINDS.index(exit_.type), exit_.lots, best=price, reason=reason_of(exit_), fresh=rest)


def is_pair(one: Resting, two: Resting) -> bool:
    """Return whether two neighbours of the queue are a stop and a target of one group, both open."""
    if not one.order.group or one.order.group != two.order.group or two.left <= 0.0:
        return False
    return (one.kind == LIMIT) != (two.kind == LIMIT)


def execute(
    order: Order, price: float, time: int, venue: Venue, liquidity: Liquidity, reference: float | None = None
) -> Fill:
    """Return the fill of a whole order at ``price``: fee, settlement and slippage against ``reference``."""
    costs, lot = venue.costs, venue.instrument(order.symbol).lot
    rate = (costs.taker_bps if liquidity == "taker" else costs.maker_bps) * BASIS_POINT
    lots, is_whole, in_quote = order.lots, not venue.is_continuous, costs.fee_asset == "quote"
    settled = plain(settle)(order.sign, lots, price, rate, lot, venue.unit, is_whole, in_quote)
    slippage = 0.0 if reference is None else plain(price_paid)(order.sign, price, reference, lots, lot)
    return fill_of(order, 0, lots, time, liquidity, Deal(price, *settled, slippage))
