"""What is sent to a venue and what comes back: orders, fills, rejections, cancellations and adjustments."""

from typing import Literal

import msgspec

from cryptoquant.market.instrument import compact_symbol
from cryptoquant.market.time import NANOSECONDS_PER_SECOND

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit"]
TimeInForce = Literal["gtc", "ioc"]
Liquidity = Literal["maker", "taker"]

CLIENT_ID_LENGTH = 48


class Order(msgspec.Struct, frozen=True, gc=False, tag="order", tag_field="event"):
    """An instruction to trade.

    Attributes
    ----------
    id
        Client order id, derived from the decision's content: a retry carries the same id and cannot double.
    profile
        The ledger that pays.
    symbol, side, type, time_in_force
        As the venue names them.
    lots
        Whole multiples of the instrument's increment (any real number on a continuous market), positive.
    time
        The close of the slice on which it was decided, nanoseconds UTC.
    limit_price
        In quote currency; None for a market order.
    """

    id: str
    profile: str
    symbol: str
    side: Side
    lots: float
    time: int
    type: OrderType = "market"
    time_in_force: TimeInForce = "gtc"
    limit_price: float | None = None

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1


class Fill(msgspec.Struct, frozen=True, gc=False, tag="fill", tag_field="event"):
    """An execution: what changed in the books, net of the fee.

    Attributes
    ----------
    execution_id
        Unique by execution; a repeated one is the same fact.
    lots, price
        Executed quantity before the fee, and its price in quote currency.
    lots_change, cash_change
        What the ledger gains (negative: gives), after the fee; cash in the account's cash units.
    fee
        Value of the fee in quote currency, whichever asset it was taken from.
    slippage
        Cost against the reference price, in quote currency.
    """

    order_id: str
    execution_id: str
    profile: str
    symbol: str
    side: Side
    lots: float
    price: float
    time: int
    lots_change: float
    cash_change: float
    fee: float
    slippage: float = 0.0
    liquidity: Liquidity = "taker"


class Rejection(msgspec.Struct, frozen=True, gc=False, tag="rejection", tag_field="event"):
    """An order that was refused, by our own gate or by the venue, with the reason."""

    order_id: str
    profile: str
    symbol: str
    side: Side
    lots: float
    time: int
    reason: str


class Cancellation(msgspec.Struct, frozen=True, gc=False, tag="cancellation", tag_field="event"):
    """An order that will not be filled any further."""

    order_id: str
    profile: str
    symbol: str
    time: int


class Adjustment(msgspec.Struct, frozen=True, gc=False, tag="adjustment", tag_field="event"):
    """A change of the books that is no fill: a posted fee, a transfer, a correction; cash in cash units."""

    id: str
    profile: str
    symbol: str
    lots_change: float
    cash_change: float
    time: int
    reason: str


def client_order_id(profile: str, symbol: str, time: int, leg: int = 0) -> str:
    """Return the id of the decision ``(profile, symbol, slice time, leg)``, at most 48 characters.

    Raises
    ------
    ValueError
        The profile's name makes the id too long.

    Examples
    --------
    >>> client_order_id("main", "BTC/USD", 1_735_689_600_000_000_000)
    'cq-main-BTCUSD-1735689600-0'
    """
    text = f"cq-{profile}-{compact_symbol(symbol)}-{time // NANOSECONDS_PER_SECOND}-{leg}"
    if len(text) > CLIENT_ID_LENGTH:
        raise ValueError(f"order id {text} has {len(text)} characters, at most {CLIENT_ID_LENGTH}: shorten the profile")
    return text
