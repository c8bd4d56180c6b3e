"""The account: the sum of its ledgers and the cash that none of them has, against what the venue says."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Standing
from cryptoquant.trading.order import Fill
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
    """

    def __init__(self, spare: float = 0.0) -> None:
        self.spare = spare
        self.doubt = Doubt()
        self._told: dict[str, Decimal] = {}
        self._day = -1
        self._lots: dict[str, float] = {}
        self._cash = 0.0

    def take(self, fill: Fill, venue: Venue) -> None:
        """Note the fee of a fill: the venue may post it at the end of its day only, and may have charged more."""
        self.doubt.take(fill, venue)
        if fill.time // DAY != self._day:
            self._day, self._lots, self._cash = fill.time // DAY, {}, 0.0
        if fill.side == "buy":
            self._lots[fill.symbol] = self._lots.get(fill.symbol, 0.0) + fill.lots - fill.lots_change
        else:
            self._cash += fill.fee

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

    def difference(self, desks: Iterable[Desk], standing: Standing, now: int) -> str:
        """Return what differs from the venue in words, or an empty text.

        A position may differ by one increment for each fill, cash by a cent for each; both by the fees of the day that
        the venue has not posted, and by the taker's fee where a fill may have been one. What an order in flight may
        still change is not compared. Coins of symbols that no profile trades are not ours to judge.
        """
        real = [desk for desk in desks if not desk.profile.is_shadow]
        pending, steps = self.pending(now), max(1, sum(desk.fills for desk in real))
        moving = {order.symbol for desk in real for order in desk.engine.in_flight.values()}
        for symbol in dict.fromkeys(symbol for desk in real for symbol in desk.profile.bundle.symbols):
            holders = [desk for desk in real if symbol in desk.profile.bundle.symbols]
            instrument = holders[0].engine.venue.instrument(symbol)
            ours = sum((instrument.quantity(desk.engine.portfolio.held(symbol)) for desk in holders), Decimal(0))
            theirs, room = standing.positions.get(symbol, Decimal(0)), steps * instrument.quantity_increment
            least = ours - instrument.quantity(math.ceil(self.doubt.lots.get(symbol, 0.0))) - room
            most = ours + instrument.quantity(pending.lots.get(symbol, 0.0)) + room
            if symbol not in moving and not least <= theirs <= most:
                return f"{symbol}: our books hold {ours}, the venue {theirs}"
        cash, room_of_cash = self.cash(real), CENT * steps
        theirs_in_cash = float(standing.cash)
        if (
            not moving
            and not cash - self.doubt.cash - room_of_cash <= theirs_in_cash <= cash + pending.cash + room_of_cash
        ):
            return f"cash: our books hold {cash:.2f}, the venue {theirs_in_cash:.2f}"
        return ""

    def cash(self, desks: Iterable[Desk]) -> float:
        """Return the account's cash by our books, in quote currency."""
        return self.spare + sum(desk.engine.portfolio.cash_value for desk in desks if not desk.profile.is_shadow)
