"""How an order meets the market: touch, price, settlement and refusals, written once for every driver.

The compiled loop calls these kernels as machine code; ``Matcher`` calls their Python source for the event simulator and
the sandbox venue. Both give the same bits.

A bar says which prices were traded, not in which order. What that leaves open is decided by the path: ``worst`` takes
what is worse for the position, ``best`` what is better, ``ohlc`` and ``olhc`` walk the bar in that order, and
``adaptive`` goes to the extreme that is nearer to the open first. What does not depend on the order of prices is the
same on every path: a gap fills at the open, and a limit order waits until the bar trades strictly through it.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.trading.schedule import table_of
from cryptoquant.trading.venue import BASIS_POINT, PATHS, Venue

Floats = NDArray[np.float64]

WORST, BEST, OHLC, OLHC, ADAPTIVE = range(5)

MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING = range(5)
KINDS = ("market", "limit", "stop", "stop_limit", "trailing_stop")
GTC, IOC, FOK, GTT = range(4)
LIVES = ("gtc", "ioc", "fok", "gtt")
FRACTIONLESS = 2.0**52  # floats from here on are whole numbers
NOTHING, TAKER, MAKER, TRIGGERED = range(4)

ACCEPTED, BELOW_MINIMUM, ABOVE_MAXIMUM, BELOW_QUANTITY, SHORT, NO_CASH, LIQUIDATING, REPLACED = range(8)
REASONS = (
    "accepted",
    "below the venue's smallest order value",
    "above the venue's largest order value",
    "below the instrument's smallest quantity",
    "more than is held: the venue is spot and long only",
    "insufficient cash",
    "the account is being liquidated",
    "the order to replace is no longer open",
)


class Terms(NamedTuple):
    """A venue's rules as plain numbers, the same for all symbols; rates are fractions, cash in quote currency."""

    maker: float
    taker: float
    slippage: float
    volatility_share: float
    impact_linear: float
    impact_sqrt: float
    unit: float
    collar: float
    participation: float
    latency: int
    path: int
    is_whole: bool
    in_quote: bool
    allows_short: bool


class Deal(NamedTuple):
    """What an execution comes to: its price, the changes in lots and cash units, and what it costs in quote currency.

    ``slippage`` is paid against the reference price without the order's own impact, ``impact`` for that.
    """

    price: float
    lots_change: float
    cash_change: float
    fee: float
    slippage: float = 0.0
    impact: float = 0.0


def rates_of(venue: Venue) -> Floats:
    """Return the fee schedule of a venue as the kernels take it, shape (rows, 4); no rows for flat fees."""
    return table_of(venue.costs.schedule) if venue.costs.schedule else np.empty((0, 4))


def terms_of(venue: Venue) -> Terms:
    """Return the rules of a venue in the form that the kernels take."""
    costs = venue.costs
    return Terms(
        maker=costs.maker_bps * BASIS_POINT,
        taker=costs.taker_bps * BASIS_POINT,
        slippage=costs.slippage_bps * BASIS_POINT + 0.5 * costs.spread_bps * BASIS_POINT,
        volatility_share=costs.volatility_share,
        impact_linear=costs.impact_linear_bps * BASIS_POINT,
        impact_sqrt=costs.impact_sqrt,
        unit=venue.unit,
        collar=venue.collar,
        participation=venue.participation,
        latency=venue.latency_ns,
        path=PATHS.index(venue.path),
        is_whole=not venue.is_continuous,
        in_quote=costs.fee_asset == "quote",
        allows_short=venue.allows_short,
    )


@kernel
def touch(
    sign: float, kind: int, limit: float, stop: float, open_: float, high: float, low: float
) -> tuple[float, int]:
    """Return the price at which a bar touches an order, and as what: NOTHING, TAKER, MAKER or TRIGGERED.

    A market order takes the open. A limit that the open crosses takes it, else it makes its price when the bar trades
    strictly through it. A stop takes its price, or the open when that gapped beyond it. A stop-limit that is triggered
    at the open goes on as a limit order in this bar; one that is triggered later takes its stop when its limit allows
    it, and else rests from the next bar on (TRIGGERED), as a bar does not say what came after.
    """
    if kind == MARKET:
        return open_, TAKER
    if kind == LIMIT:
        if (open_ <= limit) if sign > 0 else (open_ >= limit):
            return open_, TAKER
        if (low < limit) if sign > 0 else (high > limit):
            return limit, MAKER
        return math.nan, NOTHING
    gapped = open_ >= stop if sign > 0 else open_ <= stop
    if not gapped and not (high >= stop if sign > 0 else low <= stop):
        return math.nan, NOTHING
    reached = open_ if gapped else stop
    if kind != STOP_LIMIT or (reached <= limit if sign > 0 else reached >= limit):
        return reached, TAKER
    if gapped and ((low < limit) if sign > 0 else (high > limit)):
        return limit, MAKER
    return math.nan, TRIGGERED


@kernel
def fill_price(sign: float, kind: int, limit: float, reference: float, liquidity: int, cost: float) -> float:
    """Return the price of an execution: a taker's is worse by ``cost`` (a fraction), but never beyond its limit.

    A sell loses 99 % of the reference at most, however large its impact.
    """
    if liquidity == MAKER:
        return reference
    price = reference * max(1.0 + sign * cost, 0.01)
    if kind in (LIMIT, STOP_LIMIT):
        return min(price, limit) if sign > 0 else max(price, limit)
    return price


@kernel
def price_paid(sign: float, price: float, reference: float, lots: float, lot: float) -> float:
    """Return by how much, in quote currency, an execution is worse than its reference; 0 when it is not."""
    paid = sign * (price - reference) * lots * lot
    return paid if paid > 0.0 else 0.0


@kernel
def impact(lots: float, lot: float, volume: float, volatility: float, linear: float, root: float) -> float:
    """Return by which fraction an order moves the price: linear and square-root in its share of the bar's volume.

    ``linear * q/V + root * volatility * sqrt(q/V)``; ``volatility`` is that of a bar, known before it. The square root
    is the usual law of metaorders (Toth et al. 2011, eq. 1; Almgren et al. 2005). An order in a bar without volume
    counts as the whole of it.
    """
    share = lots * lot / volume if volume > 0.0 else 1.0
    return linear * share + root * volatility * math.sqrt(share)


@kernel
def volatility_step(variance: float, before: float, close: float) -> float:
    """Return the variance of a bar's log return after a close: exponential weights with a span of 48 bars.

    ``variance`` and ``before`` (the last close) are NaN before the first.
    """
    if math.isnan(before) or math.isnan(close):
        return variance
    move = math.log(close / before)
    if math.isnan(variance):
        return move * move
    return variance + (move * move - variance) * (2.0 / 49.0)


@kernel
def volatility_of(variance: float) -> float:
    """Return the root of a variance, 0 while it is not known."""
    return math.sqrt(variance) if variance > 0.0 else 0.0


@kernel
def is_high_first(path: int, sign: float, open_: float, high: float, low: float) -> bool:
    """Return whether a bar goes to its high before its low, for one who holds a position of this sign."""
    if path == OHLC:
        return True
    if path == OLHC:
        return False
    if path == ADAPTIVE:
        return high - open_ < open_ - low
    return sign < 0.0 if path == WORST else sign > 0.0


@kernel
def is_target_first(sign: float, target: float, open_: float, high_first: bool) -> bool:
    """Return whether the target of a position of this sign comes before its stop in a bar that touches both."""
    if (open_ >= target) if sign > 0.0 else (open_ <= target):
        return True
    return high_first if sign > 0.0 else not high_first


@kernel
def rest_of_bar(
    path: int, sign: float, price: float, open_: float, high: float, low: float, close: float
) -> tuple[float, float, float, bool]:
    """Return open, high, low and whether the high comes first of what is left of a bar after an entry at ``price``.

    After an entry at the open all is left. Later, the extreme towards which the price was moving is still to come for
    certain; the other one is there only if the path says so, else the close bounds it.
    """
    high_first = is_high_first(path, sign, open_, high, low)
    if price == open_:
        return open_, high, low, high_first
    rises = price > open_
    if path == WORST:
        keeps = rises if sign > 0.0 else not rises
    elif path == BEST:
        keeps = not rises if sign > 0.0 else rises
    else:
        keeps, high_first = high_first == rises, rises
    if keeps:
        return price, high, low, high_first
    if rises:
        return price, high, min(price, close), high_first
    return price, max(price, close), low, high_first


@kernel
def room(participation: float, volume: float, lot: float, taken: float, is_whole: bool) -> float:
    """Return the lots that may still trade in a bar of which ``taken`` lots are used up already."""
    if participation == math.inf:
        return math.inf
    most = participation * volume / lot if volume > 0.0 else 0.0
    if is_whole:
        most = whole(most * (1.0 + 1e-12))
    return max(most - taken, 0.0)


@kernel
def whole(number: float) -> float:
    """Return a number of zero or more without its fraction, as a float however large it is."""
    return float(math.floor(number)) if abs(number) < FRACTIONLESS else number


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
def deal_at(
    sign: float,
    kind: int,
    limit: float,
    lots: float,
    reference: float,
    liquidity: int,
    volume: float,
    volatility: float,
    rate: float,
    lot: float,
    terms: Terms,
) -> Deal:
    """Return what an execution of ``lots`` comes to that the market touches at ``reference``.

    ``volume`` and ``volatility`` are those of the bar, NaN and 0 where nothing depends on them; ``rate`` is the fee.
    """
    slip, push = 0.0, 0.0
    if liquidity == TAKER:
        slip = terms.slippage + terms.volatility_share * volatility
        if terms.impact_linear > 0.0 or terms.impact_sqrt > 0.0:
            push = impact(lots, lot, volume, volatility, terms.impact_linear, terms.impact_sqrt)
    price = fill_price(sign, kind, limit, reference, liquidity, slip + push)
    still = fill_price(sign, kind, limit, reference, liquidity, slip) if push > 0.0 else price
    gain, paid, fee = settle(sign, lots, price, rate, lot, terms.unit, terms.is_whole, terms.in_quote)
    lost, pushed = price_paid(sign, still, reference, lots, lot), price_paid(sign, price, still, lots, lot)
    return Deal(price, gain, paid, fee, lost, pushed)


@kernel
def uncovered(sign: float, lots: float, held: float, cash: float, cash_change: float) -> int:
    """Return why a spot venue refuses an execution that holdings or cash (units) do not cover, 0 when they do."""
    if sign < 0.0:
        return SHORT if lots > held else ACCEPTED
    return NO_CASH if cash + cash_change < 0.0 else ACCEPTED


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


@kernel
def trail_level(sign: float, stop: float, trail: float, best: float) -> float:
    """Return where a trailing stop stands: ``trail`` behind the best price, or at its fixed stop if that is nearer.

    ``sign`` is that of the order: -1 sells a long position, whose best price is the highest. ``stop`` may be NaN.
    """
    level = best * (1.0 + sign * trail)
    if math.isnan(stop):
        return level
    return max(level, stop) if sign < 0.0 else min(level, stop)


@kernel
def exit_level(sign: float, fraction: float, price: float, fixed: float) -> float:
    """Return the price of an exit: ``fixed``, or ``fraction`` from the entry's price towards ``sign``; NaN for none."""
    return price * (1.0 + sign * fraction) if math.isnan(fixed) else fixed


@kernel
def to_increment(price: float, increment: float, sign: float) -> float:
    """Return a limit price on the venue's grid: a buy's rounded down, a sell's up; an increment of 0 is no grid."""
    if increment <= 0.0:
        return price
    steps = price / increment
    down = whole(steps + 1e-9)
    if not (sign > 0.0 or steps - down <= 1e-9):
        down += 1.0
    inverse = whole(1.0 / increment + 0.5)
    # Of a decimal grid the quotient is the float nearest to the decimal, which the product often misses.
    return down / inverse if abs(inverse * increment - 1.0) <= 1e-9 else down * increment
