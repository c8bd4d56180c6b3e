"""An order at work among quotes, trades and books: what is left of it, when it acts, and where it stands."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptoquant.compiled import plain
from cryptoquant.market.book import Level
from cryptoquant.trading.filled import fill_of
from cryptoquant.trading.matching import Deal, settle, trail_level, whole
from cryptoquant.trading.order import Fill, Liquidity, Order, Reason, number
from cryptoquant.trading.queue_position import Place
from cryptoquant.trading.venue import Venue

HELD = ("stop", "stop_limit", "trailing_stop")


@dataclass(slots=True)
class Working:
    """An open order of an account.

    Parameters
    ----------
    order
        What was asked for.
    left
        Lots that are not filled yet.
    number
        The order of its submission.
    arrival
        Nanoseconds UTC from which it acts: at the venue, or as a stop that the client holds.
    limit
        The price that it may not miss, in quote currency; NaN for none.
    is_held, is_accepted, is_resting, is_shared
        Whether the client still holds it, whether the venue has judged it, whether it stands in the book, whether it
        lost lots to another of its group.
    best
        The best price since a trailing stop is held.
    mid
        The middle of the market when the venue first saw it.
    fills
        How many executions it had.
    reason
        Why it was sent without a decision.
    place
        Where it stands in the queue of its price.
    """

    order: Order
    left: float
    number: int
    arrival: int
    limit: float = math.nan
    is_held: bool = False
    is_accepted: bool = False
    is_resting: bool = False
    is_shared: bool = False
    best: float = math.nan
    mid: float = math.nan
    fills: int = 0
    reason: Reason = ""
    place: Place = field(default_factory=Place)

    @property
    def rank(self) -> tuple[float, int, int]:
        """The place among own orders: better prices first, market orders before all, then the earlier arrival."""
        price = -math.inf if math.isnan(self.limit) else -self.order.sign * self.limit
        return price, self.arrival, self.number

    @property
    def is_immediate(self) -> bool:
        """Whether what is not filled at once is cancelled."""
        return self.order.time_in_force in ("ioc", "fok")

    def is_triggered(self, price: float) -> bool:
        """Follow the market and return whether a held order's stop is reached by the price on its side."""
        order, sign = self.order, self.order.sign
        if order.type == "trailing_stop" and order.trail is not None:
            self.best = price if math.isnan(self.best) else -sign * max(-sign * self.best, -sign * price)
            level = plain(trail_level)(float(sign), number(order.stop_price), order.trail, self.best)
            return sign * (price - level) >= 0
        return order.stop_price is not None and sign * (price - order.stop_price) >= 0


def start(order: Order, number: int, latency: int) -> Working:
    """Return an order at work: a stop is held by the client at once, any other arrives after the latency (ns).

    Raises
    ------
    ValueError
        A price or a time that its kind needs is missing.
    """
    needs = {
        "limit_price": order.type in ("limit", "stop_limit"),
        "stop_price": order.type in ("stop", "stop_limit"),
        "trail": order.type == "trailing_stop",
    }
    for name, is_needed in needs.items():
        value = getattr(order, name)
        if is_needed and (value is None or not 0.0 < value < math.inf):
            raise ValueError(f"order {order.id}: a {order.type} order needs {name} above zero, found {value}")
    if order.time_in_force == "gtt" and order.expires <= 0:
        raise ValueError(f"order {order.id}: a gtt order needs expires, found {order.expires}")
    if not 0.0 < order.lots < math.inf:
        raise ValueError(f"order {order.id}: lots must be above zero, found {order.lots}")
    is_held = order.type in HELD
    limit = math.nan if order.limit_price is None else order.limit_price
    return Working(order, order.lots, number, order.time + (0 if is_held else latency), limit, is_held)


def promised_lots(others: Iterable[Working], order: Order) -> float:
    """Return the lots that accepted sells of an order's symbol hold back, each group once and the order's own not."""
    groups: dict[str, float] = {}
    for working in others:
        other = working.order
        if other.symbol != order.symbol or other.side != "sell" or not working.is_accepted:
            continue
        if not order.group or other.group != order.group:
            name = other.group or f" {other.id}"
            groups[name] = max(groups.get(name, 0.0), working.left)
    return math.fsum(groups.values())


def lots_within(size: float, lot: float, *, is_whole: bool) -> float:
    """Return the lots in ``size`` coins, whole ones where lots are counted.

    A size that is a whole number of lots but for the rounding of the division is that number.

    Examples
    --------
    >>> lots_within(0.3, 0.1, is_whole=True)
    3.0
    >>> lots_within(0.29, 0.1, is_whole=True)
    2.0
    """
    lots = max(size, 0.0) / lot
    if not is_whole:
        return lots
    nearest = float(round(lots))
    return nearest if abs(nearest - lots) <= 4e-16 * lots else whole(lots)


def walk(levels: list[Level], lots: float, lot: float, *, is_whole: bool) -> list[Level]:
    """Return what an order of ``lots`` takes of levels (price, coins), best first, as (price, lots)."""
    taken = []
    for price, size in levels:
        part = min(lots, lots_within(size, lot, is_whole=is_whole))
        if part > 0:
            taken.append((price, part))
            lots -= part
        if lots <= 0:
            break
    return taken


def average_price(taken: list[Level]) -> float:
    """Return the volume-weighted price of (price, lots), never outside them, not rounded to an increment."""
    total = sum(lots for _, lots in taken)
    price = sum(price * (lots / total) for price, lots in taken)
    prices = [price for price, _ in taken]
    return min(max(price, min(prices)), max(prices))


def executed(
    working: Working, lots: float, price: float, time: int, liquidity: Liquidity, *, venue: Venue, fee_rate: float
) -> Fill:
    """Return the next fill of an order: ``lots`` at ``price``, settled with its fee, a fraction.

    Slippage counts from the middle of the market on arrival, in quote currency; a maker has none, nor has a better
    price.
    """
    order, costs, lot = working.order, venue.costs, venue.instrument(working.order.symbol).lot
    is_whole, in_quote = not venue.is_continuous, costs.fee_asset == "quote"
    settled = plain(settle)(order.sign, lots, price, fee_rate, lot, venue.unit, is_whole, in_quote)
    missed = order.sign * (price - working.mid) * lots * lot if liquidity == "taker" else 0.0
    return fill_of(order, working.fills, lots, time, liquidity, Deal(price, *settled, max(missed, 0.0)), working.reason)
