"""A desk: one profile at work, with its engine, its model, and what is known of its orders. No clock, no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptoquant.live.profile import Profile
from cryptoquant.live.settlement import Booked, Outcome, Settlement, corrected_order
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.models.forecaster import Forecaster
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.engine import Outcome as Said
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Order, Rejection


class Desk:
    """Holds what a profile has ordered, been filled and been refused.

    Parameters
    ----------
    engine
        With the books so far.
    capital
        Quote currency that it began with.

    Attributes
    ----------
    orders
        All that were given out, by id.
    fills, refused, slices
        Counts.
    """

    def __init__(self, profile: Profile, engine: Engine, forecaster: Forecaster, capital: float) -> None:
        self.profile, self.engine, self.forecaster, self.capital = profile, engine, forecaster, capital
        self.settlement = Settlement(engine.venue)
        self.orders: dict[str, Order] = {}
        self.fills = self.refused = self.slices = 0
        self._booked: dict[str, Booked] = {}

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.profile.name

    def decide(self, market: Slice, signals: Sequence[Signal]) -> Sequence[Said]:
        """Return what the engine makes of a slice and the signals of its model."""
        self.slices += 1
        for signal in signals:
            self.engine.on(signal)
        return self.take(self.engine.on(market))

    def take(self, said: Sequence[Said]) -> Sequence[Said]:
        """Remember what the engine has given out, and return it."""
        for outcome in said:
            if isinstance(outcome, Order):
                self.orders[outcome.id] = outcome
            elif isinstance(outcome, Rejection):
                self.refused += 1
        return said

    def on(self, fact: Outcome | Cancellation) -> Sequence[Said]:
        """Book what became of an order; return what the engine does about it."""
        self.count(fact)
        return self.take(self.engine.on(fact))

    def count(self, fact: Any) -> None:
        """Take a fact that the engine has taken, or is about to, into the counts."""
        if isinstance(fact, Fill):
            self.fills += 1
            self._booked[fact.order_id] = self.booked(fact.order_id).after(fact)
        elif isinstance(fact, Adjustment) and (order_id := corrected_order(fact)):
            self._booked[order_id] = self.booked(order_id).after(fact)
        elif isinstance(fact, Rejection):
            self.refused += 1

    def booked(self, order_id: str) -> Booked:
        """Return what the books hold of an order."""
        return self._booked.get(order_id, Booked())

    def outcomes(self, order: Order, told: Mapping[str, Any], at: str = "") -> list[Outcome]:
        """Return what the venue's word on an order adds to the books.

        An order that has ended for the engine ends only once; fills that come after that are returned all the same.
        """
        reason = self.engine.reason_of(order.id)
        found = self.settlement.outcomes(order, told, self.booked(order.id), at=at, reason=reason)
        is_open = order.id in self.engine.in_flight
        return [fact for fact in found if is_open or isinstance(fact, Fill | Adjustment)]

    def is_late(self, order: Order, told: Mapping[str, Any], at: str) -> bool:
        """Return whether a word of the stream is a correction that may be older than what is booked of the order."""
        return self.settlement.is_late(order, told, self.booked(order.id), at)

    def swap(self, profile: Profile, forecaster: Forecaster) -> None:
        """Trade by another bundle from the next slice on."""
        self.profile, self.forecaster = profile, forecaster
        self.engine.change(strategy=profile.bundle.strategy, execution=profile.bundle.execution)

    @property
    def is_waiting(self) -> bool:
        """Whether it must see every minute: an order of it is open, or its engine holds something."""
        return self.is_busy or self.engine.is_waiting

    @property
    def closes(self) -> bool:
        """Whether its positions are closed when the trader stops."""
        return self.profile.on_stop == "close"

    @property
    def holds(self) -> bool:
        """Whether it holds any coins that it could sell."""
        book = self.engine.portfolio
        return bool((book.lots * book.lot * book.marks > self.engine.venue.minimum_notional).any())

    @property
    def is_busy(self) -> bool:
        """Whether an order of it has no end yet."""
        return bool(self.engine.in_flight)


def reduces(order: Order, engine: Engine) -> bool:
    """Return whether an order makes a position smaller."""
    held = engine.portfolio.held(order.symbol)
    return held * order.sign < 0.0
