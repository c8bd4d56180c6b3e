"""From the weights that a strategy wants to the orders that a venue takes: one pure step, in research and live."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, NamedTuple

from msgspec.structs import replace

from cryptoquant.compiled import kernel, plain
from cryptoquant.trading.matching import (
    ABOVE_MAXIMUM,
    NO_CASH,
    REASONS,
    bounds_of,
    buying_power,
    refusal,
    to_increment,
    whole,
)
from cryptoquant.trading.order import Fill, Order, Protection, Rejection, Side, client_order_id
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import BASIS_POINT, Venue


class Plan(NamedTuple):
    """An execution as plain numbers: shares of the equity, fractions of a price, nanoseconds; NaN and 0 for none."""

    reserve: float
    band: float
    limit: float
    life: int
    stop_loss: float
    take_profit: float
    trailing: float


@kernel
def wanted_lots(
    weight: float, equity: float, price: float, held: float, lot: float, plan: Plan, dust: float, is_whole: bool
) -> float:
    """Return how many lots to trade (negative: sell) to reach ``weight`` of the investable equity.

    ``equity`` and ``dust`` are in quote currency. The target is rounded towards zero to whole lots. A change of less
    than the band is not traded, unless the position is opened, closed or turned. A reduction that would leave less than
    ``dust``, which the venue would not let us sell, closes the position.
    """
    target = weight * equity * (1.0 - plan.reserve) / (price * lot)
    if is_whole:
        target = math.copysign(whole(abs(target)), target)
    change = target - held
    if target * held > 0.0:
        if abs(change) * lot * price < plan.band * equity:
            return 0.0
        if abs(target) < abs(held) and abs(target) * lot * price < dust:
            return -held
    return change


@kernel
def opens(held: float, change: float) -> bool:
    """Return whether a change opens, increases or turns a position."""
    return held * change >= 0.0 or abs(change) > abs(held)


@kernel
def is_tradable(weight: float, equity: float, lot_value: float) -> bool:
    """Return whether there is a weight, an equity and a price: what a decision needs."""
    return weight == weight and -math.inf < equity < math.inf and 0.0 < lot_value < math.inf


@kernel
def leg_count(lots: float, lot: float, price: float, largest: float, is_whole: bool) -> int:
    """Return into how many orders a change is sliced so that each stays below the venue's largest order value.

    A twentieth is kept free, because the venue looks at its own price when the order arrives. A lot is not sliced.
    """
    count = max(1, math.ceil(min(lots * lot * price * 1.05 / largest, 1e9)))
    return int(min(count, lots)) if is_whole and lots >= 1.0 else count


@kernel
def leg_lots(lots: float, legs: int, leg: int, is_whole: bool) -> float:
    """Return the lots of one of ``legs`` orders: equal parts, whole lots where the venue counts them."""
    if not is_whole:
        return lots / legs
    part = whole(lots / legs)
    return part + (1.0 if leg < lots - part * legs else 0.0)


MOST_PARTS = 100
SPANS = ("life", "pause", "reprice")
MOST_LEGS = 1_000  # orders that a change is sliced into at most; a larger one is refused
TRADABLE, WANTED = plain(is_tradable), plain(wanted_lots)


@kernel
def order_count(
    change: float, price: float, held: float, lot: float, bounds: tuple[float, float, float, bool], is_whole: bool
) -> tuple[int, int]:
    """Return how many orders a change of signed lots takes, and why the venue would refuse it: 0 when it would not.

    ``bounds`` are those of ``refusal``; the largest order does not bind a change, which is sliced.
    """
    sign, lots = math.copysign(1.0, change), abs(change)
    if not lots < math.inf:
        return 1, ABOVE_MAXIMUM
    code = refusal(sign, lots, price, held, lot, (bounds[0], math.inf, bounds[2], bounds[3]))
    legs = leg_count(lots, lot, price, bounds[1], is_whole)
    return legs, ABOVE_MAXIMUM if legs > MOST_LEGS else code


@dataclass(slots=True)
class Working:
    """What an execution remembers between decisions.

    Attributes
    ----------
    in_flight, left
        Orders without an end yet, by id, and the lots of them that are not filled.
    stopped
        By symbol, the sign of a position that an exit closed.
    due
        Parts of a change that are sent later, each at its ``time``.
    asked, renewed
        Ids of orders whose end has been asked for, and of those that are sent again at a new price once they ended.
    """

    in_flight: dict[str, Order] = field(default_factory=dict)
    left: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    due: list[Order] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    renewed: set[str] = field(default_factory=set)

    def add(self, order: Order) -> None:
        """Remember an order that is sent."""
        self.in_flight[order.id], self.left[order.id] = order, order.lots

    def end(self, order_id: str) -> None:
        """Forget an order that will not be filled any further."""
        self.in_flight.pop(order_id, None)
        self.left.pop(order_id, None)
        if self.asked:
            self.asked.discard(order_id)
            self.renewed.discard(order_id)

    def in_flight_lots(self, symbol: str, side: Side) -> float:
        """Return the lots of a symbol that orders of one side may still trade."""
        orders = self.in_flight.values()
        return sum(self.left[order.id] for order in orders if order.symbol == symbol and order.side == side)

    def fill(self, fill: Fill, held: float) -> None:
        """Take a fill, after which ``held`` lots of its symbol are held."""
        if fill.order_id in self.left:
            self.left[fill.order_id] -= fill.lots
            if self.left[fill.order_id] <= 0.0:
                self.end(fill.order_id)
        sign = 1.0 if fill.side == "buy" else -1.0
        if fill.reason in ("stop", "target") and held * sign >= 0.0:
            self.stopped[fill.symbol] = -sign

    def keeps_out(self, symbol: str, weight: float) -> bool:
        """Return whether an exit closed the position that ``weight`` would open again; any other wish lifts that."""
        sign = self.stopped.get(symbol, 0.0)
        if weight * sign > 0.0:
            return True
        if not math.isnan(weight):
            self.stopped.pop(symbol, None)
        return False


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
    limit_bps
        Trade by limit orders this far on the passive side of the last price, in basis points; by default at the market.
    life
        How long such an order lives; when it ends, the next decision may send another one at its own price. By default
        until it is filled.
    stop_loss, take_profit, trailing
        Exits that come to life with every fill that opens or increases a position, as fractions of its price; see
        ``Protection``. The client holds them, as the venue has none: the simulator follows them through each bar, paper
        trading sends them when a price has reached them. A position that an exit closed is not opened again before the
        strategy has asked for something else.
    parts, pause
        Work a change in this many equal orders, one each ``pause``, so that it moves the price less. Fewer, when an
        order would be below the venue's minimum. A symbol is left alone until the last one has ended. The simulator
        sends a part at the first close at which it is due, through the event driver.
    reprice
        How long a limit order stands at its price: what is left of it then moves to ``limit_bps`` from the price of
        that moment, until it is filled or the strategy asks for something else. The simulator moves it at the first
        close at which it is due, and then holds exits as paper trading does.

    Examples
    --------
    >>> Execution(stop_loss=0.02, take_profit=0.04).protection
    Protection(stop_loss=0.02, take_profit=0.04, trailing=None, stop_price=None, target_price=None)
    """

    reserve: float = 0.03
    band: float = 0.05
    limit_bps: float | None = None
    life: timedelta | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    parts: int = 1
    pause: timedelta | None = None
    reprice: timedelta | None = None
    plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limit_bps is not None and not 0 <= self.limit_bps < 10_000:
            raise ValueError(f"limit_bps must lie in [0, 10000), found {self.limit_bps}")
        for name in SPANS:
            span = getattr(self, name)
            if span is not None and not span > timedelta(0):
                raise ValueError(f"{name} must be above zero, found {span}")
        if not 1 <= self.parts <= MOST_PARTS or (self.parts > 1) != (self.pause is not None):
            found = f"parts={self.parts}, pause={self.pause}"
            raise ValueError(f"a change of 2 to {MOST_PARTS} parts has a pause between them, found {found}")
        if self.reprice is not None and self.limit_bps is None:
            raise ValueError("reprice moves limit orders: give limit_bps")
        Protection(self.stop_loss, self.take_profit, self.trailing)
        exits = (math.nan if value is None else value for value in (self.stop_loss, self.take_profit, self.trailing))
        limit = math.nan if self.limit_bps is None else self.limit_bps * BASIS_POINT
        life = nanoseconds(self.life)
        object.__setattr__(self, "plan", Plan(self.reserve, self.band, limit, life, *exits))
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve must lie in [0, 1), found {self.reserve}")
        if not 0 <= self.band <= 1:
            raise ValueError(f"band must lie in [0, 1], found {self.band}")

    @property
    def protection(self) -> Protection | None:
        """The exits of an order that opens a position."""
        if self.stop_loss is None and self.take_profit is None and self.trailing is None:
            return None
        return Protection(self.stop_loss, self.take_profit, self.trailing)

    def to_dict(self) -> dict[str, float | None]:
        """Return the parameters as numbers, spans of time in seconds."""
        content = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        spans = {name: content[name].total_seconds() for name in SPANS if content[name] is not None}
        return content | spans

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Execution":
        """Return the execution that ``to_dict`` described."""
        spans = {name: timedelta(seconds=content[name]) for name in SPANS if content.get(name) is not None}
        return cls(**{**content, **spans})

    def orders(
        self, weights: Mapping[str, float], portfolio: Portfolio, venue: Venue, time: int, working: Working
    ) -> tuple[list[Order], list[Rejection]]:
        """Return the orders that move ``portfolio`` to ``weights``, sells first, and those that the venue would refuse.

        A symbol without a weight is held. A symbol with an order in flight or without a price is left alone. A change
        above the venue's largest order is sliced. Cash that a sell will bring is not there for a buy of the same
        moment. Parts that are due later carry the moment at which they are as their time.
        """
        changes, refused = self._changes(weights, portfolio, venue, time, working)
        if not changes:
            return [], refused
        free = free_cash(portfolio, venue, working)
        for order in working.due:
            if order.side == "buy":
                free -= cash_needed(order.lots, order.symbol, portfolio, venue)
        orders: list[Order] = []
        for symbol, change in sorted(changes, key=lambda item: item[1] > 0):
            if change > 0:
                needed = cash_needed(change, symbol, portfolio, venue)
                if needed > free:
                    refused.append(_refused(symbol, change, portfolio, time, NO_CASH))
                    continue
                free -= needed
            orders += self._legs(symbol, change, portfolio, venue, time)
        return orders, refused

    def _changes(
        self, weights: Mapping[str, float], portfolio: Portfolio, venue: Venue, time: int, working: Working
    ) -> tuple[list[tuple[str, float]], list[Rejection]]:
        """Return the signed lots to trade by symbol, and those that the venue's rules refuse, in the universe's order.

        Raises
        ------
        ValueError
            A symbol is not in the universe, or a weight is infinite.
        """
        equity, held, lot, marks = portfolio.numbers()
        busy = {order.symbol for order in working.in_flight.values()} if working.in_flight else ()
        if working.due:
            busy = {*busy, *(order.symbol for order in working.due)}
        changes: list[tuple[str, float]] = []
        refused: list[Rejection] = []
        stopped, plan, dust, is_whole = working.stopped, self.plan, venue.minimum_notional, not venue.is_continuous
        for symbol in weights if len(weights) == 1 else sorted(weights, key=portfolio.index):
            index, weight = portfolio.index(symbol), float(weights[symbol])
            if weight in (math.inf, -math.inf):
                raise ValueError(f"the strategy wants a weight of {weight} in {symbol}")
            if stopped and working.keeps_out(symbol, weight):
                continue
            price, size = marks[index], lot[index]
            if symbol in busy or not TRADABLE(weight, equity, price * size):
                continue
            change = WANTED(weight, equity, price, held[index], size, plan, dust, is_whole)
            if change == 0.0:
                continue
            _, code = plain(order_count)(change, price, held[index], size, bounds_of(venue, symbol), is_whole)
            if code:
                refused.append(_refused(symbol, change, portfolio, time, code))
            else:
                changes.append((symbol, change))
        return changes, refused

    def wanted(self, symbol: str, weight: float, portfolio: Portfolio, venue: Venue) -> float:
        """Return the signed lots that would move a symbol to ``weight``, whatever is in flight; NaN where none can."""
        equity, held, lot, marks = portfolio.numbers()
        index = portfolio.index(symbol)
        if not TRADABLE(weight, equity, marks[index] * lot[index]):
            return math.nan
        dust, is_whole = venue.minimum_notional, not venue.is_continuous
        return WANTED(weight, equity, marks[index], held[index], lot[index], self.plan, dust, is_whole)

    def limit_price(self, symbol: str, sign: float, price: float, venue: Venue) -> float:
        """Return where an order of a sign rests when the last price is ``price``; needs ``limit_bps``."""
        increment = float(venue.instrument(symbol).price_increment)
        return plain(to_increment)(price * (1.0 - sign * self.plan.limit), increment, sign)

    def renewed(self, order: Order, lots: float, time: int, price: float, venue: Venue) -> Order:
        """Return ``lots`` of an order as it is sent at ``time`` (ns), when the last price is ``price``."""
        more: dict[str, Any] = {}
        if order.limit_price is not None:
            more["limit_price"] = self.limit_price(order.symbol, order.sign, price, venue)
        return replace(order, lots=lots, time=time, **more)

    def _legs(self, symbol: str, change: float, portfolio: Portfolio, venue: Venue, time: int) -> list[Order]:
        index, lots = portfolio.index(symbol), abs(change)
        side: Side = "buy" if change > 0 else "sell"
        lot, price, profile = portfolio.lot.item(index), portfolio.marks.item(index), portfolio.profile
        more: dict[str, Any] = {}
        if self.limit_bps is not None:
            limit = self.limit_price(symbol, math.copysign(1.0, change), price, venue)
            more = {"type": "limit", "limit_price": limit}
        if plain(opens)(portfolio.lots.item(index), change):
            more["protection"] = self.protection
        is_whole, life, pause = not venue.is_continuous, self.plan.life, nanoseconds(self.pause)
        legs = plain(leg_count)(lots, lot, price, venue.maximum_notional, is_whole)
        parts = self._part_count(lots, lots * lot * price, venue) if self.parts > 1 else 1
        size, orders = -(-legs // parts), []
        legs = size * parts
        for leg in range(legs):
            due, part = time + leg // size * pause, plain(leg_lots)(lots, legs, leg, is_whole)
            if life:
                more |= {"time_in_force": "gtt", "expires": due + life}
            orders.append(Order(client_order_id(profile, symbol, time, leg), profile, symbol, side, part, due, **more))
        return orders

    def _part_count(self, lots: float, value: float, venue: Venue) -> int:
        """Return in how many parts a change is worked: those asked for, or what the smallest order allows."""
        smallest = 1.05 * venue.minimum_notional  # the price may fall until the last part is sent
        most = min(value / smallest if smallest > 0.0 else math.inf, math.inf if venue.is_continuous else lots)
        return max(1, int(min(self.parts, most)))


def nanoseconds(span: timedelta | None) -> int:
    """Return a span in nanoseconds, 0 for none."""
    return 0 if span is None else span // timedelta(microseconds=1) * 1000


def free_cash(portfolio: Portfolio, venue: Venue, working: Working) -> float:
    """Return the cash that no buy in flight will take, in quote currency."""
    free = portfolio.cash_value
    for order in working.in_flight.values():
        if order.side == "buy":
            free -= cash_needed(working.left[order.id], order.symbol, portfolio, venue)
    return free


def _refused(symbol: str, change: float, portfolio: Portfolio, time: int, code: int) -> Rejection:
    side: Side = "buy" if change > 0 else "sell"
    identity = client_order_id(portfolio.profile, symbol, time)
    return Rejection(identity, portfolio.profile, symbol, side, abs(change), time, REASONS[code])


def cash_needed(lots: float, symbol: str, portfolio: Portfolio, venue: Venue) -> float:
    """Return the cash that a buy must find when it is sent, in quote currency."""
    index = portfolio.index(symbol)
    return plain(buying_power)(lots, portfolio.lot.item(index), portfolio.marks.item(index), venue.collar)
