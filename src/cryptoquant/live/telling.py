"""What the floor tells its listeners of orders, fills and decisions: prices when they were decided, costs, latency."""

from collections.abc import Sequence
from typing import Any

from cryptoquant.live.desk import Desk
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, iso
from cryptoquant.trading.engine import Outcome
from cryptoquant.trading.order import Fill, Order, Rejection


class Telling:
    """Remembers of each open order the price and the moment of its sending; asked only when someone listens."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[float, int]] = {}

    def sent(self, desk: Desk, order: Order, now: int) -> dict[str, Any]:
        """Return the facts of an order that is sent now (nanoseconds UTC)."""
        price = _mark(desk, order.symbol)
        self._sent[order.id] = price, now
        return {**self.ordered(desk, order), "reference": _known(price)}

    def ordered(self, desk: Desk, order: Order) -> dict[str, Any]:
        """Return the facts of an order."""
        return {**traded(desk, order, order.id), "type": order.type, "limit": order.limit_price}

    def filled(self, desk: Desk, fill: Fill) -> dict[str, Any]:
        """Return the facts of a fill; what the order was sent with is forgotten with its last one."""
        is_open = fill.order_id in desk.engine.in_flight
        known = self._sent.get(fill.order_id) if is_open else self._sent.pop(fill.order_id, None)
        facts = {**traded(desk, fill, fill.order_id), "price": fill.price, "fee": fill.fee, "reason": fill.reason}
        if known is not None:
            price, moment = known
            sign = 1.0 if fill.side == "buy" else -1.0
            facts["slippage_bps"] = _known((fill.price / price - 1.0) * sign * 1e4)
            facts["latency_s"] = max(0.0, (fill.time - moment) / NANOSECONDS_PER_SECOND)
        return facts

    def ended(self, desk: Desk, order_id: str, reason: str) -> dict[str, Any]:
        """Return the facts of an order that was refused or has ended."""
        self._sent.pop(order_id, None)
        order = desk.orders.get(order_id)
        return {**({"order": order_id} if order is None else traded(desk, order, order_id)), "reason": reason}


def refused(desk: Desk, refusal: Rejection) -> dict[str, Any]:
    """Return the facts of an order that our own gate did not let pass."""
    return {**traded(desk, refusal, refusal.order_id), "reason": refusal.reason}


def decided(desk: Desk, market: Slice, signals: Sequence[Signal], said: Sequence[Outcome]) -> dict[str, Any]:
    """Return the facts of a decision."""
    book = desk.engine.portfolio
    return {
        "slice": iso(market.time),
        "equity": _known(book.equity),
        "signals": {signal.symbol: signal.value for signal in signals},
        "orders": sum(isinstance(outcome, Order) for outcome in said),
    }


def traded(desk: Desk, what: Order | Fill | Rejection, order_id: str) -> dict[str, Any]:
    """Return order, symbol, side and quantity in coins."""
    quantity = float(desk.engine.venue.instrument(what.symbol).quantity(what.lots))
    return {"order": order_id, "symbol": what.symbol, "side": what.side, "quantity": quantity}


def _mark(desk: Desk, symbol: str) -> float:
    book = desk.engine.portfolio
    return float(book.marks[book.index(symbol)])


def _known(value: float) -> float | None:
    return None if value != value else value
