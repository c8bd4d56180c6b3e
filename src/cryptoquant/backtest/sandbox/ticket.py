"""An order as the venue keeps it, what happened to it, and what is held: facts of one account."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from cryptoquant.backtest.sandbox.request import OrderRequest
from cryptoquant.trading.order import Fill, Order

AVERAGE = Decimal("0.000000001")

Event = Literal[
    "new",
    "partial_fill",
    "fill",
    "pending_cancel",
    "canceled",
    "order_cancel_rejected",
    "pending_replace",
    "replaced",
    "order_replace_rejected",
    "rejected",
    "restated",
]
Status = Literal[
    "new", "partially_filled", "filled", "pending_cancel", "canceled", "pending_replace", "replaced", "rejected"
]
OPEN: tuple[Status, ...] = ("new", "partially_filled", "pending_cancel", "pending_replace")
CLOSED: tuple[Status, ...] = ("filled", "canceled", "replaced", "rejected")


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """An order as the venue keeps it; times in nanoseconds UTC, 0 for not yet.

    Attributes
    ----------
    order
        Carries the quantity in lots: a notional order becomes the quantity that the notional buys at its limit or at
        the last price.
    held_per_coin, held
        What an open order holds back for each coin that is not filled yet, and in all: quote currency of a buy, coins
        of a sell.
    first_part
        Lots after which the venue makes the order wait for the next bar; 0 when it fills as far as the bar allows.
    replaces, replaced_by
        Ids of the orders before and after it, empty for none.
    """

    id: str
    request: OrderRequest
    order: Order
    submitted: int
    updated: int
    held_per_coin: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    first_part: float = 0.0
    status: Status = "new"
    fills: tuple[Fill, ...] = ()
    closed: int = 0
    replaces: str = ""
    replaced_by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it may still fill."""
        return self.status in OPEN

    @property
    def filled(self) -> float:
        """Lots filled so far, before fees."""
        return sum(fill.lots for fill in self.fills)

    @property
    def left(self) -> float:
        """Lots that are not filled."""
        return self.order.lots - self.filled

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of its fills in quote currency, to nine decimals when there are several; None before the first."""
        prices = [Decimal(repr(float(fill.price))) for fill in self.fills]
        if len(set(prices)) <= 1:
            return prices[0] if prices else None
        lots = [Decimal(int(fill.lots)) for fill in self.fills]
        paid = sum((price * count for price, count in zip(prices, lots, strict=True)), Decimal(0))
        return (paid / sum(lots)).quantize(AVERAGE)


class Update(msgspec.Struct, frozen=True, gc=False):
    """A change of an order; ``fill`` is the execution that it tells, ``position`` the coins held after it."""

    event: Event
    ticket: Ticket
    time: int
    position: Decimal
    fill: Fill | None = None


class Position(msgspec.Struct, frozen=True, gc=False):
    """Lots held, net of fees, and the mean price of the buys that brought them, in quote currency."""

    lots: float = 0.0
    price: float = 0.0

    def after(self, fill: Fill) -> "Position":
        """Return the position that a fill leaves."""
        lots, price = self.lots + fill.lots_change, self.price
        if not lots:
            return Position()
        if fill.side == "buy":
            price = (self.lots * price + fill.lots_change * fill.price) / lots
        return Position(lots, price)


def select(
    tickets: Sequence[Ticket], *, status: str, sides: Sequence[str], symbols: Sequence[str], between: tuple[int, int]
) -> list[Ticket]:
    """Return the tickets of a status (``open``, ``closed``, ``all``) submitted strictly between two instants (ns)."""
    wanted = {"open": OPEN, "closed": CLOSED}.get(status)
    after, until = between
    return [
        ticket
        for ticket in tickets
        if (wanted is None or ticket.status in wanted)
        and ticket.request.side in sides
        and (not symbols or ticket.request.symbol in symbols)
        and after < ticket.submitted < until
    ]
