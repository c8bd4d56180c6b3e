"""The account: the sum of its ledgers and the cash that none of them has, against what the venue says."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from cryptoquant.live.damage import reading
from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Standing
from cryptoquant.live.doubt import CASH, Doubt, fact_order
from cryptoquant.live.journal import Entry
from cryptoquant.live.replay import Replay
from cryptoquant.trading.order import Adjustment, Fill, Order
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Venue

CENT = 0.01
DAY = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Pending:
    """Fees of the day that our books have taken and the venue may post at its end: lots by symbol, and cash."""

    lots: Mapping[str, float]
    cash: float


class Account:
    """What all ledgers of a trader hold together.

    Parameters
    ----------
    spare
        Cash of the account that no profile has, in quote currency.

    Attributes
    ----------
    left
        Lots by symbol, too few to be sold, that profiles left behind when they were removed.
    fills
        How many there were: each may have rounded by an increment and a cent.
    doubts
        What the venue may have charged otherwise, by profile; those of a removed one are the account's own.
    paid
        What has come of the account's own doubts: lots by symbol that it has less, and cash under no symbol.
    """

    def __init__(self, spare: float = 0.0) -> None:
        self.spare = spare
        self.left: dict[str, float] = {}
        self.fills = 0
        self.doubts: dict[str, Doubt] = {}
        self.paid: dict[str, float] = {}
        self._told: dict[str, Decimal] = {}
        self._day = -1
        self._lots: dict[str, float] = {}
        self._cash = 0.0

    def take(self, fact: Fill | Adjustment, orders: Mapping[str, Order], venue: Venue) -> None:
        """Note what was booked of orders, which are given by their ids.

        The fee of a fill may be posted at the end of the venue's day only, and may have been another one; a fee that is
        booked ends that doubt.
        """
        doubt = self.doubts.setdefault(fact.profile, Doubt())
        if order_id := fact_order(fact):
            doubt.take(fact, orders[order_id], venue)
        elif fact.id.startswith("fee:"):  # type: ignore[union-attr]
            doubt.end(fact.symbol)
        if not isinstance(fact, Fill):
            return
        self.fills += 1
        if fact.time // DAY != self._day:
            self._day, self._lots, self._cash = fact.time // DAY, {}, 0.0
        if fact.side == "buy":
            self._lots[fact.symbol] = self._lots.get(fact.symbol, 0.0) + fact.lots - fact.lots_change
        else:
            self._cash += fact.fee

    def recall(self, entries: Iterable[Entry], known: Mapping[str, Replay]) -> None:
        """Take what a journal says of fills, removals and doubts that were settled, in its order."""
        real = {name: one for name, one in known.items() if not one.start.is_shadow}
        orders = {order.id: order for one in real.values() for order in one.orders}
        for entry in entries:
            with reading(entry):
                if entry.kind == "settled":
                    self._resume(entry.content())
                elif entry.scope in real and entry.kind in ("fill", "adjustment"):
                    self.take(entry.fact(), orders, real[entry.scope].engine.venue)  # type: ignore[arg-type]
                elif entry.scope in real and entry.kind == "profile" and entry.content()["action"] == "remove":
                    self.inherit(real[entry.scope].engine.portfolio)

    @property
    def settled(self) -> dict[str, Any]:
        """What is still in doubt, and what has come of the account's own doubts: JSON-ready, for `recall`."""
        doubts = {name: asdict(doubt) for name, doubt in self.doubts.items() if doubt.more or doubt.less}
        return {"doubts": doubts, "paid": dict(self.paid)}

    def _resume(self, content: Mapping[str, Any]) -> None:
        for key, amount in content["paid"].items():
            self._pay(key, amount - self.paid.get(key, 0.0))
        self.doubts = {name: Doubt(**doubt) for name, doubt in content["doubts"].items()}

    def _pay(self, key: str, amount: float) -> None:
        """Take a fee from what no profile has."""
        self.paid[key] = self.paid.get(key, 0.0) + amount
        if key == CASH:
            self.spare -= amount
        else:
            self.left[key] = self.left.get(key, 0.0) - amount

    def inherit(self, portfolio: Portfolio) -> None:
        """Take what a removed profile had: its cash is spare again, its last coins are left."""
        self.spare += portfolio.cash_value
        for symbol in portfolio.symbols:
            self.left[symbol] = self.left.get(symbol, 0.0) + portfolio.held(symbol)

    def held(self, symbol: str, holders: Iterable[Desk]) -> float:
        """Return the lots of a symbol that the account holds by our books; ``holders`` are the desks that trade it."""
        return self.left.get(symbol, 0.0) + sum(desk.engine.portfolio.held(symbol) for desk in holders)

    def gained(self, symbol: str, position: Decimal | None) -> Decimal | None:
        """Take a position (coins) that the venue's stream tells; return by how much it grew since the last one.

        None where either is not known: an update that was missed leaves a gap that nothing is concluded from.
        """
        before = self._told.pop(symbol, None)
        if position is None:
            return None
        self._told[symbol] = position
        return None if before is None else position - before

    def stand(self, positions: Mapping[str, Decimal], symbols: Iterable[str]) -> None:
        """Take the positions that the account holds while nothing of these symbols is on its way."""
        self._told |= {symbol: positions.get(symbol, Decimal(0)) for symbol in symbols}

    def pending(self, now: int) -> Pending:
        """Return the fees of the day of ``now`` (nanoseconds UTC)."""
        return Pending(self._lots, self._cash) if now // DAY == self._day else Pending({}, 0.0)

    def difference(self, desks: Collection[Desk], standing: Standing, now: int) -> str:
        """Return what differs from the venue in words, or an empty text.

        A position may differ by one increment for each fill, cash by a cent for each; both by the fees of the day that
        the venue has not posted, and by the other fee where a fill may have paid it. A position in which an order is
        in flight is not compared, and cash may differ by what such orders may have moved already. Coins of symbols that
        no profile trades are not ours to judge.
        """
        real = [desk for desk in desks if not desk.profile.is_shadow]
        pending, moving = self.pending(now), moving_of(real)
        for symbol in dict.fromkeys(symbol for desk in real for symbol in desk.profile.bundle.symbols):
            holders = desks_of(desks, symbol)
            instrument = holders[0].engine.venue.instrument(symbol)
            ours = instrument.quantity(self.held(symbol, holders))
            theirs, room = standing.positions.get(symbol, Decimal(0)), self._steps * instrument.quantity_increment
            more, less = self._doubted(symbol)
            least = ours - instrument.quantity(math.ceil(more)) - room
            most = ours + instrument.quantity(pending.lots.get(symbol, 0.0) + math.ceil(less)) + room
            if symbol not in moving and not least <= theirs <= most:
                return f"{symbol}: our books hold {ours}, the venue {theirs}"
        cash, room_of_cash = self.cash(real), CENT * self._steps
        theirs_in_cash, (more, less) = float(standing.cash), self._doubted(CASH)
        taken, given = in_flight_values(real)
        most_cash = cash + pending.cash + less + room_of_cash + given
        if not cash - more - room_of_cash - taken <= theirs_in_cash <= most_cash:
            return f"cash: our books hold {cash:.2f}, the venue {theirs_in_cash:.2f}"
        return ""

    def resolved(self, desks: Collection[Desk], standing: Standing, now: int) -> list[tuple[Desk, Adjustment]]:
        """Return what brings the books to the fees that the venue took where they were in doubt, and doubt no more.

        For a moment at which the books differ by no more than the doubt. What an order is in flight for stays in doubt:
        a position until its own have ended, cash until all have or have moved no coins. Where the venue holds more than
        our books even by its lower fee, it has still to post the day's fees, and the doubt stands. What a removed
        profile had in doubt is taken from what no profile has.
        """
        real = {desk.name: desk for desk in desks if not desk.profile.is_shadow}
        moving = moving_of(real.values())
        stirred = [symbol for symbol in moving if not self._stands(symbol, real.values(), standing)]
        symbols = {symbol for one in self.doubts.values() for symbol in (*one.more, *one.less)} - moving - {CASH}
        found: list[tuple[Desk, Adjustment]] = []
        for symbol in sorted(symbols):
            if holders := desks_of(desks, symbol):
                found += self._settle(symbol, self._gap(symbol, holders, standing), real, now)
        if not stirred:
            found += self._settle(CASH, self.cash(desks) - float(standing.cash), real, now)
        return found

    def _settle(self, key: str, gap: float, desks: Mapping[str, Desk], now: int) -> list[tuple[Desk, Adjustment]]:
        """End the doubts of a symbol or of cash of which the venue holds less than our books by ``gap``."""
        cent = CENT if key == CASH else 0.0
        if gap < -self._doubted(key)[1] - (cent or 1.0) * self._steps:
            return []
        found: list[tuple[Desk, Adjustment]] = []
        for name, doubt in self.doubts.items():
            part = doubt.settle(key, gap)
            if abs(part) <= cent:
                continue
            gap -= part
            if name in desks:
                found.append((desks[name], _fee(desks[name], key, part, now)))
            else:
                self._pay(key, part)
        return found

    def _doubted(self, key: str) -> tuple[float, float]:
        """Return by how much more and by how much less the venue may have charged, of a symbol or of cash."""
        all_ = self.doubts.values()
        return sum(one.more.get(key, 0.0) for one in all_), sum(one.less.get(key, 0.0) for one in all_)

    @property
    def _steps(self) -> int:
        return max(1, self.fills)

    def _gap(self, symbol: str, holders: Sequence[Desk], standing: Standing) -> float:
        """Return how many lots fewer the venue holds than our books."""
        theirs = holders[0].engine.venue.instrument(symbol).lots(standing.positions.get(symbol, Decimal(0)))
        return self.held(symbol, holders) - theirs

    def _stands(self, symbol: str, desks: Collection[Desk], standing: Standing) -> bool:
        """Return whether the venue holds what our books do of a symbol, so that its orders have moved nothing yet."""
        is_sure = not any(self._doubted(symbol))
        return is_sure and abs(self._gap(symbol, desks_of(desks, symbol), standing)) <= self._steps

    def cash(self, desks: Iterable[Desk]) -> float:
        """Return the account's cash by our books, in quote currency."""
        return self.spare + sum(desk.engine.portfolio.cash_value for desk in desks if not desk.profile.is_shadow)


def moving_of(desks: Iterable[Desk]) -> set[str]:
    """Return the symbols in which an order has no end yet."""
    return {order.symbol for desk in desks for order in desk.engine.in_flight.values()}


def in_flight_values(desks: Iterable[Desk]) -> tuple[float, float]:
    """Return the most cash that orders in flight may have taken, and the most that they may have given.

    A limit order takes its limit at most; whatever gives, and what goes at the market, trades at the last price or
    within the venue's collar of it.
    """
    taken = given = 0.0
    for desk in desks:
        book, working, room = desk.engine.portfolio, desk.engine.working, 1.0 + desk.engine.venue.collar
        for order in working.in_flight.values():
            place = book.index(order.symbol)
            last, lots = book.marks.item(place) * room, working.left[order.id] * book.lot.item(place)
            if order.side == "buy":
                taken += lots * (order.limit_price or last)
            else:
                given += lots * max(order.limit_price or 0.0, last)
    return taken, given


def desks_of(desks: Iterable[Desk], symbol: str) -> list[Desk]:
    """Return the desks that hold coins of a symbol at the venue, or may."""
    return [desk for desk in desks if not desk.profile.is_shadow and symbol in desk.profile.bundle.symbols]


def _fee(desk: Desk, key: str, part: float, now: int) -> Adjustment:
    """Return the adjustment by what the venue took more (negative: less), lots of a symbol or cash."""
    change = (0.0, -float(round(part / desk.engine.venue.unit))) if key == CASH else (-part, 0.0)
    side = "taker" if part > 0.0 else "maker"
    return Adjustment(f"fee:{desk.name}:{key}:{now}", desk.name, key, *change, now, f"the venue took a {side}'s fee")
