"""What goes wrong with orders at the venue itself: late, in part, not at all, or other than it was told.

Each strike is noted among the account's calls, so that a saved account is rebuilt with what struck it.
"""

from math import floor

import msgspec

from cryptoquant.backtest.sandbox.exchange import Call, Exchange
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.market.time import span_ns
from cryptoquant.trading.order import Adjustment

KINDS = ("order.late", "order.reject", "order.partial")


class OrderFaults:
    """Meets each order of an account once, at its first bar, and each fill once, when it was booked."""

    def __init__(self, faults: Faults, exchange: Exchange) -> None:
        self.faults, self.exchange = faults, exchange
        seen = exchange.times[-1] if exchange.times else 0
        self._met = {order_id for order_id in exchange.matcher.open if exchange.tickets[order_id].submitted < seen}
        self._parts = {call.order_id for call in exchange.calls if call.verb == "cut"}
        self._fills = len(exchange.fills)

    def before(self, opened: int, now: int) -> None:
        """Disturb the orders that are about to meet the bars that opened at ``opened`` and close ``now`` (ns UTC)."""
        exchange, last = self.exchange, now - 1
        for order_id, resting in list(exchange.matcher.open.items()):
            if order_id in self._met:
                continue
            self._met.add(order_id)
            fault = self.faults.take(KINDS, now, symbol=resting.order.symbol)
            if fault is None:
                continue
            if fault.kind == "order.late":
                disturb(exchange, Call("delay", last, order_id, {"until": opened + span_ns(fault.delay)}))
            elif fault.kind == "order.reject":
                disturb(exchange, Call("reject", last, order_id, {"at": opened}))
            else:
                left = float(max(1, floor(resting.left * fault.factor)))
                disturb(exchange, Call("cut", last, order_id, {"left": left}))
                self._parts.add(order_id)

    def after(self, now: int) -> None:
        """Disturb what was filled by the bars that close ``now`` (ns UTC)."""
        exchange = self.exchange
        filled, self._fills = exchange.fills[self._fills :], len(exchange.fills)
        for fill in filled:
            if fill.order_id in self._parts and fill.order_id not in exchange.matcher.open:
                self._parts.discard(fill.order_id)
                if exchange.tickets[fill.order_id].is_open:
                    disturb(exchange, Call("end", now, fill.order_id, {"at": fill.time}))
            fault = self.faults.take({"order.restate"}, now, symbol=fill.symbol)
            if fault is not None:
                body = {"execution": fill.execution_id, "price": fill.price * fault.factor}
                disturb(exchange, Call("restate", now, fill.order_id, body))


def disturb(exchange: Exchange, call: Call) -> None:
    """Do to an order what a fault does, and note it; the call says all that must be known to do the same again."""
    exchange.calls.append(call)
    order_id, body, ticket = call.order_id, call.body, exchange.tickets[call.order_id]
    if call.verb == "restate":
        restate(exchange, body["execution"], body["price"], call.time)
    elif call.verb == "reject":
        exchange.matcher.cancel(order_id, body["at"])
        exchange.end(ticket, "rejected", body["at"])
    elif call.verb == "end":
        exchange.end(ticket, "canceled", body["at"])
    elif call.verb == "delay":
        resting = exchange.matcher.open[order_id]
        resting.order = msgspec.structs.replace(resting.order, time=body["until"])
    else:
        exchange.matcher.open[order_id].left = body["left"]
        # What is left is the part: the venue's own habit of filling in two does not divide it again.
        exchange.tickets[order_id] = msgspec.structs.replace(ticket, first_part=0.0)


def restate(exchange: Exchange, execution_id: str, price: float, now: int) -> None:
    """Correct the price of a fill: the order says so, and cash and the position's mean price follow."""
    place, fill = next((n, one) for n, one in enumerate(exchange.fills) if one.execution_id == execution_id)
    ratio = price / fill.price
    cash = float(round(fill.cash_change * ratio))
    corrected = msgspec.structs.replace(fill, price=price, cash_change=cash, fee=fill.fee * ratio)
    exchange.fills[place] = corrected
    identity, change = f"restated-{fill.execution_id}", cash - fill.cash_change
    exchange.portfolio.apply(Adjustment(identity, fill.profile, "", 0.0, change, now, "correction"))
    held = exchange.position(fill.symbol)
    if fill.side == "buy" and held.lots:
        mean = held.price + fill.lots_change * (price - fill.price) / held.lots
        exchange.positions[fill.symbol] = msgspec.structs.replace(held, price=mean)
    ticket = exchange.tickets[fill.order_id]
    fills = tuple(corrected if one.execution_id == execution_id else one for one in ticket.fills)
    exchange.tickets[ticket.id] = msgspec.structs.replace(ticket, fills=fills, updated=now)
    exchange.tell("restated", exchange.tickets[ticket.id], now, corrected)
