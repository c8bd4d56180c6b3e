"""What is sent to a venue and what comes back: orders, cancels, fills, rejections, cancellations and adjustments."""

import math
from typing import Literal

import msgspec

from cryptoquant.market.instrument import compact_symbol
from cryptoquant.market.time import NANOSECONDS_PER_SECOND

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["gtc", "ioc", "fok", "gtt"]
Liquidity = Literal["maker", "taker"]
Reason = Literal["", "stop", "target", "liquidation"]

CLIENT_ID_LENGTH = 48


class Protection(msgspec.Struct, frozen=True, gc=False):
    """What guards a position that an order opens: a stop and a target, of which one cancels the other.

    They are held by the client, as the venue has neither, and come to life with each fill of the order, for what that
    fill brought. Of a fraction and a price for the same thing, one may be given.

    Attributes
    ----------
    stop_loss, take_profit
        Distance from the fill's price, as a fraction of it.
    trailing
        Distance of the stop from the best price since the fill, as a fraction of it.
    stop_price, target_price
        The same as prices, in quote currency.
    """

    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    stop_price: float | None = None
    target_price: float | None = None

    def __post_init__(self) -> None:
        for name in ("stop_loss", "take_profit", "trailing"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < (math.inf if name == "take_profit" else 1.0):
                raise ValueError(f"{name} must be a fraction above zero, found {value}")
        for name in ("stop_price", "target_price"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be a price above zero, found {value}")
        if self.stop_loss is not None and self.stop_price is not None:
            raise ValueError("stop_loss and stop_price say the same thing: give one")
        if self.take_profit is not None and self.target_price is not None:
            raise ValueError("take_profit and target_price say the same thing: give one")


class Order(msgspec.Struct, frozen=True, gc=False, tag="order", tag_field="event", omit_defaults=True):
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
        In quote currency, of ``limit`` and ``stop_limit``; None for the others.
    stop_price
        The price from which a ``stop`` or ``stop_limit`` acts, in quote currency.
    trail
        Distance of a ``trailing_stop`` from the best price since it rests, as a fraction of it.
    expires
        Nanoseconds UTC; a ``gtt`` order takes no part in bars that open then or later.
    group
        Orders that name the same group share their lots: what one fills, the others lose (one cancels the other).
    reduces
        Whether it may only reduce a position: it trades what is held at most, and ends when nothing is held.
    protection
        Exits that come to life with its fills.
    replaces
        The id of an open order that this one takes the place of.
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
    stop_price: float | None = None
    trail: float | None = None
    expires: int = 0
    group: str = ""
    reduces: bool = False
    protection: Protection | None = None
    replaces: str = ""

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
        Cost against the reference price without the order's own impact, in quote currency.
    impact
        Cost of having moved the price by the order's own size, in quote currency.
    reason
        Why the venue or the client sent the order without a decision: an exit's stop or target, a liquidation.
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
    impact: float = 0.0
    reason: Reason = ""


class Cancel(msgspec.Struct, frozen=True, gc=False, tag="cancel", tag_field="event"):
    """The wish that an open order ends; what comes of it is a cancellation, or a fill that was faster."""

    order_id: str
    profile: str
    symbol: str
    time: int


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


def followed_id(order_id: str, suffix: str) -> str:
    """Return the id of an order that follows from another one: that one's id and a suffix.

    Raises
    ------
    ValueError
        The id has more than 48 characters.
    """
    text = order_id + suffix
    if len(text) > CLIENT_ID_LENGTH:
        raise ValueError(f"order id {text} has {len(text)} characters, at most {CLIENT_ID_LENGTH}: shorten the profile")
    return text


def execution_id(order_id: str, number: int) -> str:
    """Return the id of an order's execution; ``number`` counts from 0."""
    return f"{order_id}-x{number or ''}"


def reject(order: Order, reason: str, time: int) -> Rejection:
    """Return the refusal of an order."""
    return Rejection(order.id, order.profile, order.symbol, order.side, order.lots, time, reason)


def number(value: float | None) -> float:
    """Return a number that may be absent; NaN where it is."""
    return math.nan if value is None else value
