"""The exits that the client holds, as the venue has none: when they act, for how much, and what is left of them."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from cryptoquant.market.instrument import compact_symbol
from cryptoquant.market.price import Price
from cryptoquant.market.time import NANOSECONDS_PER_SECOND
from cryptoquant.trading.execution import Working
from cryptoquant.trading.exits import exits_of, reason_of, stop_level, target_price
from cryptoquant.trading.matching import bounds_of
from cryptoquant.trading.order import Cancellation, Fill, Order, Reason, Rejection, Side, client_order_id, followed_id
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Venue

LATE = 9_000_000_000 * NANOSECONDS_PER_SECOND  # a moment with as many digits as any in use
MOST_ORDERS = 100  # of one exit at one moment; what is above is sent at the next price
REFUSALS = 3  # in a row, after which an exit rests
LACKING = "available:"  # in a refusal of Alpaca's: it has less than is to be sold, and will have at the next price
SHORTEST_REST, LONGEST_REST = 5 * 60 * NANOSECONDS_PER_SECOND, 3_600 * NANOSECONDS_PER_SECOND


@dataclass(slots=True)
class Exit:
    """An exit that the client holds.

    Attributes
    ----------
    order
        As its protection asked for it; the id and price of what is sent follow from it.
    left
        Lots that it still guards; infinite for one that closes whatever is held.
    best
        The best price since it is held, for a trailing stop.
    sent
        How many orders it has sent.
    open
        Its orders without an end yet, and the lots of them that are not filled.
    is_fired
        Whether it has been reached and waits for coins that another order reserves.
    is_over
        Whether it sends nothing any more, and goes once its orders have ended.
    refusals, rest
        How many of its orders were refused in a row, and until when it sends no more for that (nanoseconds UTC).
    """

    order: Order
    left: float
    best: float = math.nan
    sent: int = 0
    open: dict[str, float] = field(default_factory=dict)
    is_fired: bool = False
    is_over: bool = False
    refusals: int = 0
    rest: int = 0

    @property
    def closes_all(self) -> bool:
        """Whether it sells whatever is held: an order of the operator."""
        return self.left == math.inf

    @property
    def is_target(self) -> bool:
        """Whether it takes a profit."""
        return self.order.type == "limit"

    @property
    def reason(self) -> Reason:
        """Why its orders are sent."""
        return "" if self.closes_all else reason_of(self.order)

    def is_reached(self, price: Price) -> bool:
        """Return whether a price lets it act; a price from before it was held does not."""
        order = self.order
        if price.symbol != order.symbol or price.time <= max(order.time, self.rest):
            return False
        if self.closes_all:
            return True
        low, high = price.extremes(order.side)
        if self.is_target:
            limit = order.limit_price or math.nan
            return high >= limit if order.side == "sell" else low <= limit
        level = stop_level(order, self.best)
        return low <= level if order.side == "sell" else high >= level

    def end(self, event: Rejection | Cancellation) -> None:
        """Take the end of one of its orders; after refusals that would only be repeated it rests, longer each time."""
        self.open.pop(event.order_id, None)
        self.is_fired = False
        if isinstance(event, Cancellation):
            self.refusals = 0
            return
        self.refusals = max(self.refusals + 1, REFUSALS if LACKING in event.reason else 0)
        if self.is_stuck:
            times = 2 ** min(self.refusals - REFUSALS, 10)
            self.rest = event.time + min(times * SHORTEST_REST, LONGEST_REST)

    @property
    def is_stuck(self) -> bool:
        """Whether its orders are refused time and again."""
        return self.refusals >= REFUSALS

    def best_after(self, price: Price) -> float:
        """Return the best price since it is held, once it has seen ``price`` and was not reached by it."""
        if self.order.trail is None or price.symbol != self.order.symbol or price.time <= self.order.time:
            return self.best
        low, high = price.extremes(self.order.side)
        return max(self.best, high) if self.order.side == "sell" else min(self.best, low)


class Step(NamedTuple):
    """What an exit does: the lots of the orders that it sends, and the orders whose coins it waits for."""

    parts: tuple[float, ...]
    blockers: tuple[Order, ...]


class Held:
    """The exits of one engine.

    They never sell what is not held or what is on sale already; a stop whose coins a resting order reserves has that
    order cancelled first. What one of a group fills, the others lose. An order of an exit that was refused or cancelled
    leaves the exit held, to act again at the next price that reaches it; after three refusals in a row, or one that
    says how little is there, it rests for minutes to an hour. All end when the position is flat.

    An exit that is worth less than the venue's smallest order cannot be sent: a fill as small as that joins the exits
    of the same order's other fills.
    """

    def __init__(self, venue: Venue, portfolio: Portfolio, working: Working) -> None:
        self.exits: list[Exit] = []
        self._venue, self._book, self._working = venue, portfolio, working
        self._by_order: dict[str, Exit] = {}
        self._fills: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.exits)

    @property
    def stuck(self) -> set[str]:
        """The symbols whose exits are refused time and again."""
        return {one.order.symbol for one in self.exits if one.is_stuck}

    def wake(self, symbol: str) -> None:
        """Let the exits of a symbol act at once again: the books were corrected."""
        for one in self.exits:
            if one.order.symbol == symbol:
                one.rest = 0
        self.sweep()

    def reason_of(self, order_id: str) -> Reason:
        """Return why an order in flight was sent without a decision, empty for one that was decided."""
        exit_ = self._by_order.get(order_id)
        return "" if exit_ is None else exit_.reason

    def owns(self, order_id: str) -> bool:
        """Return whether an order in flight is one of an exit."""
        return order_id in self._by_order

    def guard(self, order: Order, fill: Fill) -> None:
        """Hold the exits that an order's protection asks for after a fill."""
        place = self._fills.get(order.id, 0)
        self._fills[order.id] = place + 1
        for exit_ in exits_of(order, fill, place, fill.time):
            kin = self._kin(order, exit_)
            if kin is not None and min(kin.left, exit_.lots) * self._lot(fill.symbol) * fill.price < self._smallest:
                kin.left += exit_.lots
            else:
                self.exits.append(Exit(exit_, exit_.lots, fill.price))

    def _kin(self, order: Order, exit_: Order) -> Exit | None:
        """Return the last exit of the same kind that an earlier fill of the same order brought, None for none."""
        prefix = f"{order.id}{'t' if exit_.type == 'limit' else 's'}"
        kin = [one for one in self.exits if one.order.id.startswith(prefix)]
        return kin[-1] if kin else None

    @property
    def _smallest(self) -> float:
        return self._venue.minimum_notional

    def _lot(self, symbol: str) -> float:
        return float(self._book.lot[self._book.index(symbol)])

    def take(self, fill: Fill) -> None:
        """Take a fill, after it was booked: from the exit that sent it, and from the others of its group."""
        exit_ = self._by_order.get(fill.order_id)
        if exit_ is not None:
            exit_.refusals = 0
            exit_.open[fill.order_id] -= fill.lots
            if exit_.open[fill.order_id] <= 0.0:
                del exit_.open[fill.order_id], self._by_order[fill.order_id]
            for one in self.exits:
                if one is exit_ or (one.order.group and one.order.group == exit_.order.group):
                    one.left -= fill.lots
        if fill.order_id not in self._working.in_flight:
            self._fills.pop(fill.order_id, None)
        self.sweep()

    def end(self, event: Rejection | Cancellation) -> None:
        """Forget an order that was refused or cancelled; its exit stays held and acts at the next price."""
        self._fills.pop(event.order_id, None)
        exit_ = self._by_order.pop(event.order_id, None)
        if exit_ is not None:
            exit_.end(event)
        self.sweep()

    def sweep(self) -> None:
        """Forget the exits that guard nothing any more."""
        self.exits = [one for one in self.exits if one.open or (one.left > 0.0 and not self._is_over(one))]

    def _is_over(self, exit_: Exit) -> bool:
        order = exit_.order
        if exit_.is_over:
            return True
        if self._book.held(order.symbol) * order.sign < 0.0 and not (exit_.closes_all and self._is_dust(order.symbol)):
            return False
        return not exit_.closes_all or not any(one.symbol == order.symbol for one in self._working.in_flight.values())

    def _is_dust(self, symbol: str) -> bool:
        """Return whether what is held of a symbol is less than the venue's smallest order."""
        coins = abs(self._book.held(symbol)) * self._lot(symbol)
        smallest, _, fewest, _ = bounds_of(self._venue, symbol)
        return coins < fewest or coins * self._book.marks.item(self._book.index(symbol)) < smallest

    def close_all(self, time: int, number: int) -> None:
        """Hold an exit for each symbol that closes whatever is held of it as soon as its other orders have ended."""
        busy = {order.symbol for order in self._working.in_flight.values()}
        closing = {one.order.symbol for one in self.exits if one.closes_all and not one.is_over}
        for symbol in self._book.symbols:
            is_held = self._book.held(symbol) != 0.0 and not self._is_dust(symbol)
            if symbol not in closing and (symbol in busy or is_held):
                self._close(symbol, time, number)

    def reopen(self) -> None:
        """Let go of what closes whatever is held: what is bought from now on is not for sale."""
        for one in self.exits:
            one.is_over |= one.closes_all
        self.sweep()

    def _close(self, symbol: str, time: int, number: int) -> None:
        held = self._book.held(symbol)
        side: Side = "buy" if held < 0.0 else "sell"
        identity = followed_id(client_order_id(self._book.profile, symbol, time), f"c{number}")
        order = Order(identity, self._book.profile, symbol, side, math.inf, time, "stop", reduces=True)
        self.exits.append(Exit(order, math.inf, is_fired=True))

    def step(self, exit_: Exit, price: float = math.nan) -> Step:
        """Return what an exit that is reached does now, at ``price`` or at the last one that is known."""
        order, working = exit_.order, self._working
        if exit_.is_over or self._is_shared(exit_):
            return Step((), ())
        others = [one for one in working.in_flight.values() if one.symbol == order.symbol and one.id not in exit_.open]
        if exit_.closes_all:
            if others:
                return Step((), tuple(others))
        else:
            others = [one for one in others if one.side == order.side and not self.owns(one.id)]
        held = abs(self._book.held(order.symbol)) if self._book.held(order.symbol) * order.sign < 0.0 else 0.0
        wanted = min(exit_.left, held) - math.fsum(exit_.open.values())
        lots = min(wanted, held - working.in_flight_lots(order.symbol, order.side))
        blockers = tuple(others) if lots < wanted and not exit_.is_target else ()
        return Step(self._parts(exit_, lots, price), blockers)

    def _is_shared(self, exit_: Exit) -> bool:
        """Return whether another exit of the group is at work on the same lots."""
        group = exit_.order.group
        return bool(group) and any(one.open for one in self.exits if one is not exit_ and one.order.group == group)

    def _parts(self, exit_: Exit, lots: float, price: float) -> tuple[float, ...]:
        """Return the lots of the orders that trade ``lots`` within the venue's smallest and largest order."""
        order, lot = exit_.order, self._lot(exit_.order.symbol)
        if exit_.is_target:
            price = order.limit_price or math.nan
        elif math.isnan(price):
            price = self._book.marks.item(self._book.index(order.symbol))
        value = lot * price
        smallest, largest, fewest, _ = bounds_of(self._venue, order.symbol)
        most = largest / (1.05 * value) if value > 0.0 else math.inf
        if not self._venue.is_continuous:
            most = max(1.0, math.floor(most)) if most < math.inf else most
        parts: list[float] = []
        while lots > 0.0 and len(parts) < MOST_ORDERS:
            part = min(lots, most)
            if part * value < smallest or part * lot < fewest:
                break
            parts.append(part)
            lots -= part
        return tuple(parts)

    def send(self, exit_: Exit, step: Step, time: int) -> list[Order]:
        """Return the orders of a step, as the engine sends them: a stop at the market, a target at its price or not."""
        orders = []
        for lots in step.parts:
            name = followed_id(exit_.order.id, f"r{exit_.sent}") if exit_.sent else exit_.order.id
            if exit_.is_target:
                limit = target_price(exit_.order, self._venue)
                order = replace(exit_.order, id=name, lots=lots, time=time, limit_price=limit, time_in_force="ioc")
            else:
                order = replace(exit_.order, id=name, lots=lots, time=time, type="market", stop_price=None, trail=None)
            exit_.sent += 1
            exit_.open[name] = lots
            self._by_order[name] = exit_
            orders.append(order)
        exit_.is_fired = bool(step.blockers)
        return orders

    def reached(self, price: Price) -> list[Exit]:
        """Return the exits that a price lets act, stops before targets, each kind in the order of its birth."""
        return sorted((one for one in self.exits if one.is_reached(price)), key=lambda one: one.is_target)

    def fired(self) -> list[Exit]:
        """Return the exits that were reached and wait for coins."""
        return [one for one in self.exits if one.is_fired]

    def follow(self, price: Price) -> None:
        """Move the best prices of trailing stops that a price has not reached."""
        for one in self.exits:
            if not one.is_reached(price):
                one.best = one.best_after(price)

    def heeds(self, price: Price) -> bool:
        """Return whether a price would let an exit act or move a trailing stop."""
        for one in self.exits:
            if not one.is_reached(price):
                if one.best_after(price) != one.best and one.order.trail is not None:
                    return True
            elif self._acts(one, price.close):
                return True
        return False

    def _acts(self, exit_: Exit, price: float) -> bool:
        step = self.step(exit_, price)
        waits = bool(step.blockers) and not exit_.is_fired
        return bool(step.parts) or waits or any(self.is_cancelled_for_coins(one) for one in step.blockers)

    def is_cancelled_for_coins(self, blocker: Order) -> bool:
        """Return whether the end of an order that reserves coins is still to be asked for; exits are left to fill."""
        return blocker.id not in self._working.asked and not self.owns(blocker.id)


def check_ids(book: Portfolio, *, reprices: bool) -> None:
    """Check that the ids of exits fit that a profile would send: of 99 legs, 99 fills and 999 attempts each.

    Raises
    ------
    ValueError
        The longest could have more than 48 characters.
    """
    longest = max(book.symbols, key=lambda symbol: len(compact_symbol(symbol)))
    followed_id(client_order_id(book.profile, longest, LATE, 99), ("p999" if reprices else "") + "s99r999")
