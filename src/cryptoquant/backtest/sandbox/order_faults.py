"""What goes wrong with orders at the venue itself: late, in part, not at all, or other than it was told."""

from math import floor

import msgspec

from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.market.time import span_ns
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, reject

KINDS = ("order.late", "order.reject", "order.partial")


class OrderFaults:
    """Meets each order once, at its first bar, and each fill once, when it was booked."""

    def __init__(self, faults: Faults, exchange: Exchange) -> None:
        self.faults, self.exchange = faults, exchange
        self._met: set[str] = set()
        self._parts: set[str] = set()
        self._fills = 0

    def before(self, opened: int, now: int) -> None:
        """Disturb the orders that are about to meet the bars that opened at ``opened`` and close ``now`` (ns UTC)."""
        exchange = self.exchange
        for order_id, resting in list(exchange.matcher.open.items()):
            if order_id in self._met:
                continue
            self._met.add(order_id)
            fault = self.faults.take(KINDS, now, symbol=resting.order.symbol)
            if fault is None:
                continue
            if fault.kind == "order.late":
                arrives = opened + span_ns(fault.delay)
                resting.order = msgspec.structs.replace(resting.order, time=arrives)
            elif fault.kind == "order.reject":
                exchange.matcher.cancel(order_id, opened)
                exchange.close(reject(resting.order, "rejected by the venue", opened))
            else:
                resting.left = float(max(1, floor(resting.left * fault.factor)))
                self._parts.add(order_id)

    def after(self, now: int) -> None:
        """Disturb what was filled by the bars that close ``now`` (ns UTC)."""
        exchange = self.exchange
        filled, self._fills = exchange.fills[self._fills :], len(exchange.fills)
        for fill in filled:
            if fill.order_id in self._parts:
                self._parts.discard(fill.order_id)
                exchange.close(Cancellation(fill.order_id, fill.profile, fill.symbol, fill.time))
            fault = self.faults.take({"order.restate"}, now, symbol=fill.symbol)
            if fault is not None:
                restate(exchange, fill, fill.price * fault.factor, now)


def restate(exchange: Exchange, fill: Fill, price: float, now: int) -> None:
    """Correct the price of a fill: the order says so, and cash and the position's mean price follow."""
    ratio = price / fill.price
    cash = float(round(fill.cash_change * ratio))
    corrected = msgspec.structs.replace(fill, price=price, cash_change=cash, fee=fill.fee * ratio)
    exchange.fills[exchange.fills.index(fill)] = corrected
    identity, change = f"restated-{fill.execution_id}", cash - fill.cash_change
    exchange.portfolio.apply(Adjustment(identity, fill.profile, "", 0.0, change, now, "correction"))
    held = exchange.position(fill.symbol)
    if fill.side == "buy" and held.lots:
        mean = held.price + fill.lots_change * (price - fill.price) / held.lots
        exchange.positions[fill.symbol] = msgspec.structs.replace(held, price=mean)
    ticket = msgspec.structs.replace(exchange.tickets[fill.order_id], fill=corrected, updated=now)
    exchange.tickets[ticket.id] = ticket
    exchange.tell("restated", ticket, now)
