"""An open order between being sent and its end, the bar that it meets, its execution and the exits that follow."""

import math
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from cryptoquant.compiled import plain
from cryptoquant.trading.matching import LIMIT, STOP, TRAILING, exit_level, price_paid, rest_of_bar, settle
from cryptoquant.trading.order import Fill, Liquidity, Order, Reason, execution_id
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


def number(value: float | None) -> float:
    """Return a number that may be absent; NaN where it is."""
    return math.nan if value is None else value


def exits_after(resting: Resting, fill: Fill, reference: float, bar: Bar, path: int) -> Iterator[Resting]:
    """Yield the stop and the target of what a fill brought, for the rest of its bar."""
    order, guard = resting.order, resting.order.protection
    sign, net, price = float(order.sign), abs(fill.lots_change), fill.price
    if guard is None or net <= 0.0:
        return
    stop = plain(exit_level)(-sign, number(guard.stop_loss), price, number(guard.stop_price))
    target = plain(exit_level)(sign, number(guard.take_profit), price, number(guard.target_price))
    has_stop, has_target = not math.isnan(stop) or guard.trailing is not None, not math.isnan(target)
    rest = plain(rest_of_bar)(path, sign, reference, bar.open, bar.high, bar.low, bar.close)
    exit_ = Order(
        f"{order.id}s{resting.fills - 1}",
        order.profile,
        order.symbol,
        "sell" if sign > 0.0 else "buy",
        net,
        bar.closed,
        "stop" if guard.trailing is None else "trailing_stop",
        stop_price=None if math.isnan(stop) else stop,
        trail=guard.trailing,
        group=f"{order.id}g{resting.fills - 1}" if has_stop and has_target else "",
        reduces=True,
    )
    if has_stop:
        kind = STOP if guard.trailing is None else TRAILING
        yield Resting(exit_, kind, net, best=price, reason="stop", fresh=rest)
    if has_target:
        name = f"{order.id}t{resting.fills - 1}"
        exit_ = replace(exit_, id=name, type="limit", limit_price=target, stop_price=None, trail=None)
        yield Resting(exit_, LIMIT, net, best=price, reason="target", fresh=rest)


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
    lots_change, cash_change, fee = plain(settle)(
        order.sign, order.lots, price, rate, lot, venue.unit, not venue.is_continuous, costs.fee_asset == "quote"
    )
    slippage = 0.0 if reference is None else plain(price_paid)(order.sign, price, reference, order.lots, lot)
    return Fill(
        order_id=order.id,
        execution_id=execution_id(order.id, 0),
        profile=order.profile,
        symbol=order.symbol,
        side=order.side,
        lots=order.lots,
        price=price,
        time=time,
        lots_change=lots_change,
        cash_change=cash_change,
        fee=fee,
        slippage=slippage,
        liquidity=liquidity,
    )
