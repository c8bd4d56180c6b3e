"""The exits that guard what a fill brought: a stop and a target that share its lots and only reduce."""

import math

from msgspec.structs import replace

from cryptoquant.compiled import plain
from cryptoquant.trading.matching import exit_level, to_increment, trail_level
from cryptoquant.trading.order import Fill, Order, Reason, number
from cryptoquant.trading.venue import Venue


def exits_of(order: Order, fill: Fill, place: int, time: int) -> list[Order]:
    """Return the exits that an order's protection asks for after its fill number ``place``, decided at ``time`` (ns).

    First the stop, which trails where that is asked for, then the target, a limit order. Their ids are the order's with
    ``s`` or ``t`` and the number of the fill.
    """
    guard, sign, lots = order.protection, float(order.sign), abs(fill.lots_change)
    if guard is None or lots <= 0.0:
        return []
    stop = plain(exit_level)(-sign, number(guard.stop_loss), fill.price, number(guard.stop_price))
    target = plain(exit_level)(sign, number(guard.take_profit), fill.price, number(guard.target_price))
    has_stop, has_target = not math.isnan(stop) or guard.trailing is not None, target > 0.0  # a NaN is not
    first = Order(
        f"{order.id}s{place}",
        order.profile,
        order.symbol,
        "sell" if sign > 0.0 else "buy",
        lots,
        time,
        "stop" if guard.trailing is None else "trailing_stop",
        stop_price=None if math.isnan(stop) else stop,
        trail=guard.trailing,
        group=f"{order.id}g{place}" if has_stop and has_target else "",
        reduces=True,
    )
    second = replace(first, id=f"{order.id}t{place}", type="limit", limit_price=target, stop_price=None, trail=None)
    return [first] * has_stop + [second] * has_target


def reason_of(exit_: Order) -> Reason:
    """Return why an exit is sent."""
    return "target" if exit_.type == "limit" else "stop"


def stop_level(exit_: Order, best: float) -> float:
    """Return the price from which a stop acts, in quote currency; one that trails follows the ``best`` price."""
    if exit_.trail is None:
        return number(exit_.stop_price)
    return plain(trail_level)(float(exit_.sign), number(exit_.stop_price), exit_.trail, best)


def target_price(exit_: Order, venue: Venue) -> float:
    """Return a target's price on the venue's grid, not nearer than it was asked for, in quote currency."""
    increment = float(venue.instrument(exit_.symbol).price_increment)
    return plain(to_increment)(number(exit_.limit_price), increment, float(exit_.sign))
