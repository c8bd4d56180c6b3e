"""How an order meets the market: the fill price, the settlement and the refusals, written once for every driver.

The compiled simulator loop calls the kernels directly; ``Matcher`` drives the same kernels for the event simulator, the
sandbox venue and shadow accounts.
"""

import math
from collections.abc import Sequence

from cryptoquant.compiled import kernel, plain
from cryptoquant.market.slice import Slice
from cryptoquant.trading.order import Cancellation, Fill, Liquidity, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import BASIS_POINT, Venue

MARKET, LIMIT = 0, 1
ACCEPTED, BELOW_MINIMUM, ABOVE_MAXIMUM, BELOW_QUANTITY, SHORT, NO_CASH = 0, 1, 2, 3, 4, 5
REASONS = (
    "accepted",
    "below the venue's smallest order value",
    "above the venue's largest order value",
    "below the instrument's smallest quantity",
    "more than is held: the venue is spot and long only",
    "insufficient cash",
)


@kernel
def fill_price(sign: float, kind: int, limit: float, open_: float, high: float, low: float, slippage: float) -> float:
    """Return the price at which an order that arrived before the bar fills in it, NaN when it does not.

    A market order fills at the open, worse by the slippage. A limit order that the open crosses fills as one, never
    worse than its limit; otherwise it fills at its limit when the bar trades strictly through it.
    """
    worse = open_ * (1.0 + sign * slippage)
    if kind == MARKET:
        return worse
    if sign > 0:
        if open_ <= limit:
            return min(worse, limit)
        return limit if low < limit else math.nan
    if open_ >= limit:
        return max(worse, limit)
    return limit if high > limit else math.nan


@kernel
def is_taker(sign: float, kind: int, limit: float, open_: float) -> bool:
    """Return whether the order is marketable at the bar's open."""
    return kind == MARKET or (open_ <= limit if sign > 0 else open_ >= limit)


@kernel
def whole(number: float) -> float:
    """Return a number of zero or more without its fraction, as a float however large it is."""
    return number - number % 1.0


@kernel
def whole_above(number: float) -> float:
    """Return the smallest whole number that is not below a number of zero or more."""
    down = whole(number)
    return down + 1.0 if number > down else down


@kernel
def settle(
    sign: float, lots: float, price: float, fee_rate: float, lot: float, unit: float, is_whole: bool, in_quote: bool
) -> tuple[float, float, float]:
    """Return (lots change, cash change in units, fee in quote currency) of an execution.

    On a venue that counts in whole lots and cash units, traded cash is rounded to the nearest unit and a fee up to the
    next whole unit of the asset it is taken from.
    """
    cash = lots * lot * price / unit
    if is_whole:
        cash = whole(cash + 0.5)
    if sign > 0 and not in_quote:
        fee_lots = lots * fee_rate
        if is_whole:
            fee_lots = whole_above(max(fee_lots - 1e-9, 0.0))
        return lots - fee_lots, -cash, fee_lots * lot * price
    fee = cash * fee_rate
    if is_whole:
        fee = whole_above(max(fee - 1e-9, 0.0))
    return sign * lots, -sign * cash - fee, fee * unit


@kernel
def refusal(
    sign: float, lots: float, price: float, held: float, lot: float, bounds: tuple[float, float, float, bool]
) -> int:
    """Return why a venue refuses an order at ``price``, 0 when it accepts it.

    ``bounds`` is (smallest value, largest value, smallest quantity in coins, whether shorts are allowed).
    """
    value = lots * lot * price
    if sign < 0 and lots > held and not bounds[3]:
        return SHORT
    if value < bounds[0]:
        return BELOW_MINIMUM
    if value > bounds[1]:
        return ABOVE_MAXIMUM
    if lots * lot < bounds[2]:
        return BELOW_QUANTITY
    return ACCEPTED


@kernel
def buying_power(lots: float, lot: float, price: float, collar: float) -> float:
    """Return the cash that a market buy must find when it is sent, in quote currency; NaN when it is not checked."""
    return lots * lot * price * (1.0 + collar)


def bounds_of(venue: Venue, symbol: str) -> tuple[float, float, float, bool]:
    """Return the limits that ``refusal`` checks for one symbol."""
    smallest = float(venue.instrument(symbol).minimum_quantity)
    return venue.minimum_notional, venue.maximum_notional, smallest, venue.allows_short


class Matcher:
    """Holds the open orders of one account and fills them against slices, by the kernels above.

    Orders fill in the order of their arrival, against bars that open when they have arrived or later. A market order
    whose symbol is absent waits for its next bar; a limit order that is immediate-or-cancel and does not fill is
    cancelled.

    Parameters
    ----------
    venue
        The rules.
    portfolio
        The venue's own books of the account; they move with every fill.
    """

    def __init__(self, venue: Venue, portfolio: Portfolio) -> None:
        self.venue = venue
        self.portfolio = portfolio
        self.open: dict[str, Order] = {}

    def submit(self, order: Order, price: float) -> Rejection | None:
        """Take an order at the current price; return the refusal, or None when it was accepted."""
        lot = self.venue.instrument(order.symbol).lot
        held = self.portfolio.held(order.symbol) - self.reserved(order.symbol)
        reference = price if order.limit_price is None else order.limit_price
        code = plain(refusal)(order.sign, order.lots, reference, held, lot, bounds_of(self.venue, order.symbol))
        if code:
            return reject(order, REASONS[code], order.time)
        self.open[order.id] = order
        return None

    def reserved(self, symbol: str) -> float:
        """Return the lots that open sell orders hold back."""
        return sum(order.lots for order in self.open.values() if order.symbol == symbol and order.side == "sell")

    def cancel(self, order_id: str, time: int) -> Cancellation | None:
        """Remove an open order; None when there is none of that id."""
        order = self.open.pop(order_id, None)
        return None if order is None else Cancellation(order.id, order.profile, order.symbol, time)

    def match(self, market: Slice, opened: int | None = None) -> list[Fill | Rejection | Cancellation]:
        """Fill what the slice fills; ``opened`` is the time of a fill at the open (default: the slice's close)."""
        start = market.time if opened is None else opened
        arrived = [order for order in self.open.values() if order.time <= start]
        return [outcome for order in arrived for outcome in self._match_one(order, market, start)]

    def _match_one(self, order: Order, market: Slice, opened: int) -> Sequence[Fill | Rejection | Cancellation]:
        index = self.portfolio.index(order.symbol)
        open_ = market.field("open").item(index)
        if math.isnan(open_):
            return ()
        costs, limit = self.venue.costs, order.limit_price if order.limit_price is not None else math.nan
        kind = MARKET if order.limit_price is None else LIMIT
        high, low = market.field("high").item(index), market.field("low").item(index)
        price = plain(fill_price)(order.sign, kind, limit, open_, high, low, costs.slippage_bps * BASIS_POINT)
        if math.isnan(price):
            return () if order.time_in_force == "gtc" else _drop(self.cancel(order.id, market.time))
        taker = plain(is_taker)(order.sign, kind, limit, open_)
        fill = execute(order, price, opened if taker else market.time, self.venue, "taker" if taker else "maker", open_)
        del self.open[order.id]
        if self.portfolio.cash + fill.cash_change < 0 and order.side == "buy" and not self.venue.allows_short:
            return (reject(order, REASONS[NO_CASH], fill.time),)
        self.portfolio.apply(fill)
        return (fill,)


def execute(
    order: Order, price: float, time: int, venue: Venue, liquidity: Liquidity, reference: float | None = None
) -> Fill:
    """Return the fill of a whole order at ``price``: fee, settlement and slippage against ``reference``."""
    costs, lot = venue.costs, venue.instrument(order.symbol).lot
    rate = (costs.taker_bps if liquidity == "taker" else costs.maker_bps) * BASIS_POINT
    lots_change, cash_change, fee = plain(settle)(
        order.sign, order.lots, price, rate, lot, venue.unit, not venue.is_continuous, costs.fee_asset == "quote"
    )
    slippage = order.sign * (price - reference) * order.lots * lot if reference is not None else 0.0
    return Fill(
        order_id=order.id,
        execution_id=f"{order.id}-x",
        profile=order.profile,
        symbol=order.symbol,
        side=order.side,
        lots=order.lots,
        price=price,
        time=time,
        lots_change=lots_change,
        cash_change=cash_change,
        fee=fee,
        slippage=max(slippage, 0.0),
        liquidity=liquidity,
    )


def reject(order: Order, reason: str, time: int) -> Rejection:
    """Return the refusal of an order."""
    return Rejection(order.id, order.profile, order.symbol, order.side, order.lots, time, reason)


def _drop(cancelled: Cancellation | None) -> tuple[Cancellation, ...]:
    return () if cancelled is None else (cancelled,)
