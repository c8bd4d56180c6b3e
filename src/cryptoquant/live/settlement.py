"""What the venue says of an order, less what is booked of it: fills, how it ended, and corrections. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from cryptoquant.market.time import from_iso
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Liquidity, Order, Reason, Rejection, reject
from cryptoquant.trading.resting import execute
from cryptoquant.trading.venue import Venue

FINAL = ("filled", "canceled", "expired", "rejected", "replaced")
EXACT, ROUNDED = 1e-9, 1e-3
"""By what share a mean price must differ to be another one: as the stream corrects it, and as an order may round it."""
BETTER = 1e-7
"""By what share a price must be better than a limit to be another one."""

SIDES: tuple[Liquidity, Liquidity] = ("maker", "taker")
Outcome = Fill | Rejection | Cancellation | Adjustment


@dataclass(frozen=True, slots=True)
class Booked:
    """What the books hold of one order: lots, lots times price, and what that changed, all in lots and cash units.

    ``corrections`` counts how often the venue has corrected it, ``time`` is the latest moment that was booked (UTC,
    nanoseconds).
    """

    lots: float = 0.0
    value: float = 0.0
    lots_change: float = 0.0
    cash_change: float = 0.0
    corrections: int = 0
    time: int = 0

    def after(self, fact: Fill | Adjustment) -> "Booked":
        """Return the sum with one more fill of the order, or with a correction of all of them."""
        changed = self.lots_change + fact.lots_change, self.cash_change + fact.cash_change
        count, time = self.corrections, max(self.time, fact.time)
        if isinstance(fact, Fill):
            return Booked(self.lots + fact.lots, self.value + fact.lots * fact.price, *changed, count, time)
        lots, mean = fact.id.split(":")[2:4]
        return Booked(float(lots), float(lots) * float(mean), *changed, count + 1, time)


def corrected_order(fact: Adjustment) -> str:
    """Return the id of the order whose fills an adjustment corrects, '' when it is no correction."""
    return fact.id.split(":")[1] if fact.id.startswith("correction:") else ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Reads the venue's orders against the books.

    The venue tells cumulative quantity and mean price. The identity of a fill is its order and the cumulative quantity,
    and after a correction, which may lower that quantity, the count of corrections: so the stream and a look-up tell it
    once, in whatever order they come. The price of a part follows from what is booked, or from the stream's message
    when that tells exactly the next part.

    Parameters
    ----------
    venue
        The costs by which fills are settled in our books, and the increments.
    """

    venue: Venue

    def outcomes(
        self, order: Order, told: Mapping[str, Any], booked: Booked, *, at: str = "", reason: Reason = ""
    ) -> list[Outcome]:
        """Return what an order's state adds to what is booked.

        Parameters
        ----------
        told
            The venue's order, as REST and the stream give it; with the keys ``event``, ``price`` and ``qty`` of a
            stream's message beside, where it came by one, and ``gained``, the lots that the account got by a buy net of
            its fee, where that is known.
        at
            When it happened, RFC 3339; by default the order's own last update.
        reason
            Why the order was sent without a decision.
        """
        moment = from_iso(at or told["updated_at"])
        return [*self._changes(order, told, booked, moment, reason), *_ending(order, told, moment)]

    def is_late(self, order: Order, told: Mapping[str, Any], booked: Booked, at: str) -> bool:
        """Return whether a word is a correction that tells less than what is booked, or is no newer.

        It may be from before what is booked, and it may take back an execution: the word alone does not say.
        """
        if told.get("event") != "restated":
            return False
        return self._lots(order, told["filled_qty"]) < booked.lots or from_iso(at) <= booked.time

    def _changes(
        self, order: Order, told: Mapping[str, Any], booked: Booked, moment: int, reason: Reason
    ) -> Iterator[Fill | Adjustment]:
        filled = self._lots(order, told["filled_qty"])
        if filled == 0.0 and booked.lots == 0.0:
            return
        mean = float(told["filled_avg_price"] or 0.0)
        if filled > booked.lots:
            part = filled - booked.lots
            price = mean if booked.lots == 0.0 else (mean * filled - booked.value) / part
            gained = None
            if told.get("event") in ("fill", "partial_fill") and self._lots(order, told.get("qty")) == part:
                price, gained = float(told["price"]), told.get("gained")
            fill = self._settled(replace(order, lots=part), price, moment, gained)
            again = f"c{booked.corrections}" if booked.corrections else ""
            yield replace(fill, execution_id=f"{order.id}-{int(filled)}{again}", reason=reason)
        elif (is_restated := told.get("event") == "restated") or told["status"] in FINAL:
            moved = abs(mean * filled - booked.value)
            if filled < booked.lots or moved > (EXACT if is_restated else ROUNDED) * booked.value:
                yield self._correction(order, (filled, mean), booked, moment)

    def _settled(self, part: Order, price: float, moment: int, gained: float | None) -> Fill:
        """Return the fill of a part; where ``gained``, the lots that the account has more, tells its fee, by that."""
        said = liquidity_of(part, price)
        if said == "maker" and gained is not None:
            made, took = (execute(part, price, moment, self.venue, side) for side in SIDES)
            if abs(took.lots_change - gained) < abs(made.lots_change - gained):
                said = "taker"
        return execute(part, price, moment, self.venue, said)

    def _correction(self, order: Order, now: tuple[float, float], booked: Booked, moment: int) -> Adjustment:
        """Return what turns the booked fills into ``now`` (lots, mean price): the venue has corrected an execution."""
        lots, mean = now
        change = (0.0, 0.0)
        if lots > 0.0:
            liquidity = liquidity_of(order, booked.value / booked.lots)
            whole = execute(replace(order, lots=lots), mean, moment, self.venue, liquidity)
            change = whole.lots_change, whole.cash_change
        return Adjustment(
            f"correction:{order.id}:{int(lots)}:{mean!r}" + (f":{booked.corrections}" if booked.corrections else ""),
            order.profile,
            order.symbol,
            change[0] - booked.lots_change,
            change[1] - booked.cash_change,
            moment,
            f"the venue corrected order {order.id}",
        )

    def _lots(self, order: Order, quantity: Any) -> float:
        return self.venue.instrument(order.symbol).lots(Decimal(str(quantity or "0")))


def rests(order: Order) -> bool:
    """Return whether an order may stand in the venue's book, so that it may pay the maker's fee."""
    return order.type == "limit" and order.limit_price is not None and order.time_in_force != "ioc"


def liquidity_of(order: Order, price: float) -> Liquidity:
    """Return whether an order made or took liquidity, which the venue does not tell: by its kind and its price.

    A limit order that stood in the book is filled at its limit; one that is filled at a better price took what was
    there when it arrived.
    """
    if not rests(order) or order.limit_price is None:
        return "taker"
    return "taker" if order.sign * (order.limit_price - price) > BETTER * order.limit_price else "maker"


def _ending(order: Order, told: Mapping[str, Any], moment: int) -> Iterator[Rejection | Cancellation]:
    status = told["status"]
    if status == "rejected":
        yield reject(order, "venue: rejected after acceptance", moment)
    elif status in FINAL and status != "filled":
        yield Cancellation(order.id, order.profile, order.symbol, moment)
