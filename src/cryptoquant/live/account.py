"""The account: the sum of its ledgers and the cash that none of them has, against what the venue says."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Standing
from cryptoquant.trading.order import Adjustment, Fill
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import BASIS_POINT, Venue

CENT = 0.01
DAY = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Pending:
    """Fees of the day that our books have taken and the venue may post at its end: lots by symbol, and cash."""

    lots: Mapping[str, float]
    cash: float


@dataclass(slots=True)
class Doubt:
    """By how much more the venue may have charged: a limit order that was filled at its limit may still have taken.

    The venue does not tell which of its two fees an execution paid. Our books take the maker's where the price is the
    limit; lots by symbol, and cash.
    """

    lots: dict[str, float] = field(default_factory=dict)
    cash: float = 0.0

    def take(self, fill: Fill, venue: Venue) -> None:
        """Note a fill that our books took for a maker's."""
        if fill.liquidity != "maker":
            return
        share = max(0.0, venue.costs.taker_bps - venue.costs.maker_bps) * BASIS_POINT
        if fill.side == "buy":
            self.lots[fill.symbol] = self.lots.get(fill.symbol, 0.0) + fill.lots * share
        else:
            self.cash += fill.lots * venue.instrument(fill.symbol).lot * fill.price * share


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
        What the venue may have charged more, by profile.
    """

    def __init__(self, spare: float = 0.0) -> None:
        self.spare = spare
        self.left: dict[str, float] = {}
        self.fills = 0
        self.doubts: dict[str, Doubt] = {}
        self._told: dict[str, Decimal] = {}
        self._day = -1
        self._lots: dict[str, float] = {}
        self._cash = 0.0

    def take(self, fill: Fill, venue: Venue) -> None:
        """Note a fill and its fee: the venue may post that at the end of its day only, and may have charged more."""
        self.fills += 1
        self.doubts.setdefault(fill.profile, Doubt()).take(fill, venue)
        if fill.time // DAY != self._day:
            self._day, self._lots, self._cash = fill.time // DAY, {}, 0.0
        if fill.side == "buy":
            self._lots[fill.symbol] = self._lots.get(fill.symbol, 0.0) + fill.lots - fill.lots_change
        else:
            self._cash += fill.fee

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
        the venue has not posted, and by the taker's fee where a fill may have been one. A position in which an order is
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
            doubt = sum(one.lots.get(symbol, 0.0) for one in self.doubts.values())
            least = ours - instrument.quantity(math.ceil(doubt)) - room
            most = ours + instrument.quantity(pending.lots.get(symbol, 0.0)) + room
            if symbol not in moving and not least <= theirs <= most:
                return f"{symbol}: our books hold {ours}, the venue {theirs}"
        cash, room_of_cash = self.cash(real), CENT * self._steps
        theirs_in_cash, doubt = float(standing.cash), sum(one.cash for one in self.doubts.values())
        taken, given = in_flight_values(real)
        most_cash = cash + pending.cash + room_of_cash + given
        if not cash - doubt - room_of_cash - taken <= theirs_in_cash <= most_cash:
            return f"cash: our books hold {cash:.2f}, the venue {theirs_in_cash:.2f}"
        return ""

    def resolved(self, desks: Collection[Desk], standing: Standing, now: int) -> list[tuple[Desk, Adjustment]]:
        """Return what brings the books to the fees that the venue took where they were in doubt, and doubt no more.

        For a moment at which the books differ by no more than the doubt. What an order is in flight for stays in doubt:
        a position until its own have ended, cash until all have or have moved no coins. Where the venue holds more than
        our books it has still to post the day's fees, and the doubt stands.
        """
        real = [desk for desk in desks if not desk.profile.is_shadow]
        found: list[tuple[Desk, Adjustment]] = []
        moving = moving_of(real)
        stirred = [symbol for symbol in moving if not self._stands(symbol, real, standing)]
        for symbol in sorted({symbol for one in self.doubts.values() for symbol in one.lots} - moving):
            holders = desks_of(desks, symbol)
            if not holders:
                continue
            gap = self._gap(symbol, holders, standing)
            for desk in holders if gap >= -self._steps else ():
                doubt = self.doubts.get(desk.name, Doubt())
                part = min(gap, math.ceil(doubt.lots.pop(symbol, 0.0)))
                if part > 0.0:
                    found.append((desk, _fee(desk, symbol, (-part, 0.0), now)))
                    gap -= part
        gap = self.cash(desks) - float(standing.cash)
        for desk in real if gap >= -CENT * self._steps and not stirred else ():
            doubt = self.doubts.get(desk.name, Doubt())
            part, doubt.cash = min(gap, doubt.cash), 0.0
            if part > CENT:
                found.append((desk, _fee(desk, "", (0.0, -float(round(part / desk.engine.venue.unit))), now)))
                gap -= part
        return found

    @property
    def _steps(self) -> int:
        return max(1, self.fills)

    def _gap(self, symbol: str, holders: Sequence[Desk], standing: Standing) -> float:
        """Return how many lots fewer the venue holds than our books."""
        theirs = holders[0].engine.venue.instrument(symbol).lots(standing.positions.get(symbol, Decimal(0)))
        return self.held(symbol, holders) - theirs

    def _stands(self, symbol: str, desks: Collection[Desk], standing: Standing) -> bool:
        """Return whether the venue holds what our books do of a symbol, so that its orders have moved nothing yet."""
        is_sure = not any(one.lots.get(symbol) for one in self.doubts.values())
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


def _fee(desk: Desk, symbol: str, change: tuple[float, float], now: int) -> Adjustment:
    """Return the adjustment by what the venue took more, (lots, cash units)."""
    return Adjustment(
        f"fee:{desk.name}:{symbol}:{now}", desk.name, symbol, *change, now, "the venue took a taker's fee"
    )
