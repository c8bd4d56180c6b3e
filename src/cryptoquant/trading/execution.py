"""From the weights that a strategy wants to the orders that a venue takes: one pure step, in research and live."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cryptoquant.compiled import kernel, plain
from cryptoquant.trading.matching import NO_CASH, REASONS, bounds_of, buying_power, refusal, whole
from cryptoquant.trading.order import Order, Rejection, Side, client_order_id
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Venue


@kernel
def wanted_lots(
    weight: float, equity: float, price: float, held: float, lot: float, reserve: float, band: float, is_whole: bool
) -> float:
    """Return how many lots to trade (negative: sell) to reach ``weight`` of the investable equity.

    ``equity`` is in quote currency. The target is rounded towards zero to whole lots. A change of less than ``band`` of
    the equity is not traded, unless the position is opened, closed or turned.
    """
    target = weight * equity * (1.0 - reserve) / (price * lot)
    if is_whole:
        target -= math.copysign(abs(target) % 1.0, target)
    change = target - held
    if target * held > 0.0 and abs(change) * lot * price < band * equity:
        return 0.0
    return change


@kernel
def is_tradable(weight: float, equity: float, lot_value: float) -> bool:
    """Return whether there is a weight, an equity and a price: what a decision needs."""
    return weight == weight and -math.inf < equity < math.inf and 0.0 < lot_value < math.inf


@kernel
def leg_count(lots: float, lot: float, price: float, largest: float) -> int:
    """Return into how many orders a change is sliced so that each stays below the venue's largest order value.

    A twentieth is kept free, because the venue looks at its own price when the order arrives.
    """
    return max(1, math.ceil(lots * lot * price * 1.05 / largest))


@kernel
def leg_lots(lots: float, legs: int, leg: int, is_whole: bool) -> float:
    """Return the lots of one of ``legs`` orders: equal parts, whole lots where the venue counts them."""
    if not is_whole:
        return lots / legs
    part = whole(lots / legs)
    return part + (1.0 if leg < lots - part * legs else 0.0)


@dataclass(frozen=True, slots=True)
class Execution:
    """How targets become orders.

    Parameters
    ----------
    reserve
        Share of the equity that is never invested: the price may move between decision and fill, and Alpaca checks a
        market buy against 2.5 to 4 % above the price. A weight of 1 invests ``1 - reserve``.
    band
        A rebalancing smaller than this share of the equity is left alone.
    """

    reserve: float = 0.03
    band: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve must lie in [0, 1), found {self.reserve}")
        if not 0 <= self.band <= 1:
            raise ValueError(f"band must lie in [0, 1], found {self.band}")

    def orders(
        self,
        weights: Mapping[str, float],
        portfolio: Portfolio,
        venue: Venue,
        time: int,
        in_flight: Mapping[str, Order],
    ) -> tuple[list[Order], list[Rejection]]:
        """Return the orders that move ``portfolio`` to ``weights``, sells first, and those that the venue would refuse.

        A symbol without a weight is held. A symbol with an order in flight or without a price is left alone. A change
        above the venue's largest order is sliced. Cash that a sell will bring is not there for a buy of the same
        moment.
        """
        changes, refused = self._changes(weights, portfolio, venue, time, in_flight)
        if not changes:
            return [], refused
        free = portfolio.cash_value
        for symbol in dict.fromkeys(order.symbol for order in in_flight.values() if order.side == "buy"):
            bought = sum(order.lots for order in in_flight.values() if order.symbol == symbol)
            free -= _needed(bought, symbol, portfolio, venue)
        orders: list[Order] = []
        for symbol, change in sorted(changes, key=lambda item: item[1] > 0):
            if change > 0:
                needed = _needed(change, symbol, portfolio, venue)
                if needed > free:
                    refused.append(_refused(symbol, change, portfolio, time, NO_CASH))
                    continue
                free -= needed
            orders += _legs(symbol, change, portfolio, venue, time)
        return orders, refused

    def _changes(
        self,
        weights: Mapping[str, float],
        portfolio: Portfolio,
        venue: Venue,
        time: int,
        in_flight: Mapping[str, Order],
    ) -> tuple[list[tuple[str, float]], list[Rejection]]:
        """Return the signed lots to trade by symbol, and those that the venue's rules refuse, in the universe's order.

        Raises
        ------
        ValueError
            A symbol is not in the universe, or a weight is infinite.
        """
        equity, is_whole = portfolio.equity, not venue.is_continuous
        busy = {order.symbol for order in in_flight.values()} if in_flight else ()
        changes: list[tuple[str, float]] = []
        refused: list[Rejection] = []
        wanted, can_trade = plain(wanted_lots), plain(is_tradable)
        for symbol in weights if len(weights) == 1 else sorted(weights, key=portfolio.index):
            index, weight = portfolio.index(symbol), float(weights[symbol])
            lot, price = portfolio.lot.item(index), portfolio.marks.item(index)
            if math.isinf(weight):
                raise ValueError(f"the strategy wants a weight of {weight} in {symbol}")
            if not can_trade(weight, equity, price * lot) or symbol in busy:
                continue
            held = portfolio.lots.item(index)
            change = wanted(weight, equity, price, held, lot, self.reserve, self.band, is_whole)
            if change == 0.0:
                continue
            code = plain(refusal)(
                math.copysign(1.0, change), abs(change), price, held, lot, whole_bounds(venue, symbol)
            )
            if code:
                refused.append(_refused(symbol, change, portfolio, time, code))
            else:
                changes.append((symbol, change))
        return changes, refused


def whole_bounds(venue: Venue, symbol: str) -> tuple[float, float, float, bool]:
    """Return the limits for a whole change: it is sliced, so the largest order does not bind it."""
    smallest, _, quantity, allows_short = bounds_of(venue, symbol)
    return smallest, math.inf, quantity, allows_short


def _legs(symbol: str, change: float, portfolio: Portfolio, venue: Venue, time: int) -> list[Order]:
    index, lots = portfolio.index(symbol), abs(change)
    side: Side = "buy" if change > 0 else "sell"
    lot, price, profile = portfolio.lot.item(index), portfolio.marks.item(index), portfolio.profile
    legs = plain(leg_count)(lots, lot, price, venue.maximum_notional)
    return [
        Order(
            client_order_id(profile, symbol, time, leg),
            profile,
            symbol,
            side,
            leg_lots(lots, legs, leg, not venue.is_continuous),
            time,
        )
        for leg in range(legs)
    ]


def _refused(symbol: str, change: float, portfolio: Portfolio, time: int, code: int) -> Rejection:
    side: Side = "buy" if change > 0 else "sell"
    identity = client_order_id(portfolio.profile, symbol, time)
    return Rejection(identity, portfolio.profile, symbol, side, abs(change), time, REASONS[code])


def _needed(lots: float, symbol: str, portfolio: Portfolio, venue: Venue) -> float:
    index = portfolio.index(symbol)
    return plain(buying_power)(lots, portfolio.lot.item(index), portfolio.marks.item(index), venue.collar)
