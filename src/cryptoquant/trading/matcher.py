"""Open orders of one account against bars: the event driver of matching, for simulator, sandbox and shadow accounts."""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import plain
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.filled import fill_of
from cryptoquant.trading.financing import financing_charge, financing_terms, is_short_of_margin
from cryptoquant.trading.matching import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    KINDS,
    LIMIT,
    LIQUIDATING,
    MARKET,
    NO_CASH,
    NOTHING,
    REASONS,
    REPLACED,
    STOP,
    STOP_LIMIT,
    TAKER,
    TRAILING,
    TRIGGERED,
    bounds_of,
    buying_power,
    deal_at,
    is_high_first,
    is_target_first,
    refusal,
    room,
    terms_of,
    touch,
    trail_level,
    uncovered,
    volatility_of,
    volatility_step,
)
from cryptoquant.trading.order import (
    Adjustment,
    Cancel,
    Cancellation,
    Fill,
    Liquidity,
    Order,
    Rejection,
    Side,
    number,
    reject,
)
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.resting import Bar, Resting, exits_after, is_pair
from cryptoquant.trading.tariff import Tariff
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
Outcome = Fill | Rejection | Cancellation
HELD = ("stop", "trailing_stop")


class Matcher:
    """Holds the open orders of one account and fills them against slices, by the kernels of ``matching``.

    Orders fill in the order of their arrival, against bars that open when they have arrived or later. A market order
    whose symbol is absent waits for its next bar. Stops, trailing stops and the exits of a protection are the client's:
    they reserve nothing, and are followed through the bar.

    Parameters
    ----------
    venue
        The rules.
    portfolio
        The venue's own books of the account; they move with every fill.
    checks_cash
        Whether a buy is refused when it is sent if the free cash does not cover it; an engine checks that itself.

    Attributes
    ----------
    open
        The open orders by id, in the order of their arrival.
    """

    def __init__(self, venue: Venue, portfolio: Portfolio, *, checks_cash: bool = False) -> None:
        self.venue = venue
        self.portfolio = portfolio
        self.open: dict[str, Resting] = {}
        self.terms = terms_of(venue)
        self.checks_cash = checks_cash
        self._financing = financing_terms(venue.financing)
        self._tariff = Tariff(venue)
        self._variance = [math.nan] * len(portfolio.symbols)
        self._before = [math.nan] * len(portfolio.symbols)
        self._liquidations: set[str] = set()
        self._last_time = 0

    @property
    def follows_the_market(self) -> bool:
        """Whether it must see every slice, open orders or not."""
        return self.venue.costs.reads_volatility

    def submit(self, order: Order, price: float) -> Rejection | None:
        """Take an order at the current price; return the refusal, or None when it was accepted."""
        kind = KINDS.index(order.type)
        resting = Resting(order, kind, order.lots, best=price, expires=order.expires or math.inf)
        if order.replaces:
            before = self.open.get(order.replaces)
            if before is None:
                return reject(order, REASONS[REPLACED], order.time)
            self._ask_to_leave(before, order.time)
            resting.replaces = before
        code = self._admit(resting, price)
        if code:
            return reject(order, REASONS[code], order.time)
        self.open[order.id] = resting
        return None

    def _admit(self, resting: Resting, price: float) -> int:
        order, kind, terms = resting.order, resting.kind, self.terms
        if self._liquidations:
            return LIQUIDATING
        if kind in (STOP, TRAILING) or order.reduces:
            return 0
        asked = price if kind == MARKET or order.limit_price is None else order.limit_price
        place = self.portfolio.index(order.symbol)
        lot = self.portfolio.lot.item(place)
        held = self.portfolio.lots.item(place) - self.reserved(order.symbol)
        code = plain(refusal)(order.sign, order.lots, asked, held, lot, bounds_of(self.venue, order.symbol))
        if code:
            return code
        resting.reserve_at, resting.collar = asked, terms.collar if kind == MARKET else 0.0 * terms.collar
        if not self.checks_cash or order.side == "sell":
            return 0
        return NO_CASH if plain(buying_power)(order.lots, lot, asked, resting.collar) > self.free_cash else 0

    def reserved(self, symbol: str) -> float:
        """Return the lots that open sell orders at the venue hold back."""
        total = 0.0
        for resting in self.open.values():
            order = resting.order
            if order.symbol == symbol and order.side == "sell" and resting.is_held_back:
                total += resting.left
        return total

    @property
    def free_cash(self) -> float:
        """Cash, in quote currency, that no open buy order at the venue holds back."""
        free = self.portfolio.cash * self.terms.unit
        for resting in self.open.values():
            if resting.order.side == "buy" and resting.is_held_back:
                lot = self.venue.instrument(resting.order.symbol).lot
                free -= plain(buying_power)(resting.left, lot, resting.reserve_at, resting.collar)
        return free

    def cancel(self, order_id: str, time: int) -> Cancellation | None:
        """Remove an open order at once; None when there is none of that id."""
        resting = self.open.get(order_id)
        return None if resting is None else self._end(resting, time)

    def ask(self, wish: Cancel) -> None:
        """Take the wish that an order ends: it is heard after the latency, and a fill may be faster."""
        resting = self.open.get(wish.order_id)
        if resting is not None:
            self._ask_to_leave(resting, wish.time)

    def _ask_to_leave(self, resting: Resting, time: int) -> None:
        resting.leaves = True
        resting.expires = min(resting.expires, time + self.terms.latency)

    def match(self, market: Slice, opened: int | None = None) -> list[Outcome]:
        """Fill what the slice fills; ``opened`` is the time of a fill at the open (default: the slice's close)."""
        start = market.time if opened is None else opened
        said: list[Outcome] = [self._end(one, start) for one in list(self.open.values()) if one.expires <= start]
        bars: dict[str, Bar] = {}
        for inside in (False, True):
            if not inside or any(one.kind != MARKET for one in self.open.values()):
                said += self._match_queue(market, start, bars, inside=inside)
        for resting in self.open.values():
            resting.fresh = None
        if self.follows_the_market:
            self._learn(market)
        return said

    def _match_queue(self, market: Slice, opened: int, bars: dict[str, Bar], *, inside: bool) -> list[Outcome]:
        """Let the open orders meet the opens of their bars, or the bars behind them, in the order of their arrival."""
        said: list[Outcome] = []
        queue, place = list(self.open.values()), 0
        while place < len(queue):
            resting, place = queue[place], place + 1
            symbol = resting.order.symbol
            if resting.left <= 0.0 or (resting.fresh is not None and not inside):
                continue
            bar = bars.get(symbol)
            if bar is None:
                bar = bars[symbol] = self._bar(market, opened, self.portfolio.index(symbol))
            if math.isnan(bar.open):
                continue
            if resting.fresh is None and resting.order.time + self.terms.latency > opened:
                continue
            if resting.replaces is not None:
                replaced, resting.replaces = resting.replaces, None
                if not replaced.ended:
                    said.append(self._refuse(resting, REPLACED, opened))
                    continue
            both: tuple[Resting, ...] = (resting,)
            if inside and place < len(queue) and is_pair(resting, queue[place]):
                both = self._by_path(resting, queue[place], bar)
                place += 1
            for one in both:
                if one.left > 0.0:
                    said += self._attempt(one, bar, queue, inside=inside)
        return said

    def _bar(self, market: Slice, opened: int, place: int) -> Bar:
        open_, high, low, close, volume = (market.value(name, place) for name in FIELDS[:5])
        return Bar(market.time, opened, open_, high, low, close, volume, plain(volatility_of)(self._variance[place]))

    def _learn(self, market: Slice) -> None:
        """Take the closes of a slice into the volatility."""
        for place, close in enumerate(market.field("close").tolist()):
            self._variance[place] = plain(volatility_step)(self._variance[place], self._before[place], close)
            if not math.isnan(close):
                self._before[place] = close

    def _by_path(self, first: Resting, second: Resting, bar: Bar) -> tuple[Resting, Resting]:
        """Return a stop and a target in the order in which the path reaches them."""
        stop, target = (second, first) if first.kind == LIMIT else (first, second)
        sign, open_ = -float(first.order.sign), bar.open
        if first.fresh is not None:
            open_, high_first = first.fresh[0], first.fresh[3]
        else:
            high_first = plain(is_high_first)(self.terms.path, sign, open_, bar.high, bar.low)
        is_first = plain(is_target_first)(sign, number(target.order.limit_price), open_, high_first)
        return (target, stop) if is_first else (stop, target)

    def _attempt(self, resting: Resting, bar: Bar, queue: list[Resting], *, inside: bool) -> list[Outcome]:
        """Let an order meet a bar: fill it as far as the bar allows, book it, and return what came of it."""
        order, kind, sign = resting.order, resting.kind, float(resting.order.sign)
        if inside and kind == MARKET:
            return []
        open_, high, low = (bar.open, bar.high, bar.low) if inside else (bar.open, bar.open, bar.open)
        if resting.fresh is not None:
            open_, high, low = resting.fresh[:3]
        limit, stop = number(order.limit_price), number(order.stop_price)
        if kind == TRAILING:
            stop = plain(trail_level)(sign, stop, number(order.trail), resting.best)
        reference, liquidity = plain(touch)(sign, kind, limit, stop, open_, high, low)
        immediate = order.time_in_force in ("ioc", "fok")
        if immediate and not (liquidity == TAKER and reference == bar.open):
            return [self._end(resting, bar.opened)]
        if liquidity == TRIGGERED:
            resting.kind = LIMIT
            return []
        if liquidity == NOTHING:
            if inside and kind == TRAILING:
                resting.best = max(resting.best, high) if sign < 0.0 else min(resting.best, low)
            return []
        if kind == STOP_LIMIT:
            resting.kind = LIMIT
        elif kind in (STOP, TRAILING):
            resting.kind, resting.reserve_at, resting.collar = MARKET, reference, self.terms.collar
        place = self.portfolio.index(order.symbol)
        size, lot, held = resting.left, self.portfolio.lot.item(place), self.portfolio.lots.item(place)
        moment = bar.opened if liquidity == TAKER and reference == bar.open else bar.closed
        if order.reduces:
            if held * sign >= 0.0:
                return [self._end(resting, moment)]
            size = min(size, abs(held))
        refused = self._outside_limits(resting, size * lot * reference)
        if refused:
            return [self._refuse(resting, refused, moment)]
        terms = self.terms
        available = plain(room)(terms.participation, bar.volume, lot, bar.taken, terms.is_whole)
        if (order.time_in_force == "fok" and available < size) or (immediate and available <= 0.0):
            return [self._end(resting, moment)]
        size = min(size, available)
        if size <= 0.0:
            return []
        fill = self._execute(resting, kind, size, reference, liquidity, bar)
        refused = plain(uncovered)(sign, size, held, self.portfolio.cash, fill.cash_change)
        if refused and not terms.allows_short:
            return [self._refuse(resting, refused, fill.time)]
        return [fill, *self._book(resting, fill, reference, bar, queue)]

    def _outside_limits(self, resting: Resting, value: float) -> int:
        """Return why the venue refuses what the client has held until now, when it is first sent; 0 when it takes it.

        An exit above the largest order is sent in slices, so that the limit does not bind it.
        """
        order = resting.order
        if resting.fills or resting.reason == "liquidation" or not (order.reduces or order.type in HELD):
            return 0
        smallest, largest, _, _ = bounds_of(self.venue, order.symbol)
        if value < smallest:
            return BELOW_MINIMUM
        return ABOVE_MAXIMUM if value > largest and not order.reduces else 0

    def _execute(self, resting: Resting, kind: int, size: float, reference: float, liquidity: int, bar: Bar) -> Fill:
        """Return the fill of ``size`` lots of an order that a bar touches at ``reference``."""
        order = resting.order
        lot = self.venue.instrument(order.symbol).lot
        is_taker = liquidity == TAKER
        moment = bar.opened if is_taker and reference == bar.open else bar.closed
        maker, taker = self._tariff.at(moment)
        deal = plain(deal_at)(
            float(order.sign),
            kind,
            number(order.limit_price),
            size,
            reference,
            liquidity,
            bar.volume,
            bar.volatility,
            taker if is_taker else maker,
            lot,
            self.terms,
        )
        said: Liquidity = "taker" if is_taker else "maker"
        return fill_of(order, resting.fills, size, moment, said, deal, resting.reason)

    def _book(self, resting: Resting, fill: Fill, reference: float, bar: Bar, queue: list[Resting]) -> list[Outcome]:
        """Take a fill into the books, and return the orders that it ends; exits that it brings join the queue."""
        order, place = resting.order, self.portfolio.index(fill.symbol)
        self.portfolio.apply(fill)
        bar.taken += fill.lots
        self._tariff.note(fill.time, fill.lots * self.portfolio.lot.item(place) * fill.price)
        resting.fills += 1
        resting.left -= fill.lots
        said: list[Outcome] = []
        if order.group:
            said += self._share_out(resting, fill.lots, fill.time)
        if order.protection is not None:
            for child in exits_after(resting, fill, reference, bar, self.terms.path):
                self.open[child.order.id] = child
                queue.append(child)
        held = self.portfolio.lots.item(place)
        if held == 0.0 or (order.reduces and held * order.sign >= 0.0):
            said += [
                self._end(one, fill.time)
                for one in list(self.open.values())
                if one.order.reduces and one.order.symbol == order.symbol and one.left > 0.0
            ]
        if resting.left > 0.0 and order.time_in_force in ("ioc", "fok"):
            said.append(self._end(resting, fill.time))
        if resting.left <= 0.0:
            self._forget(resting)
        return said

    def _share_out(self, resting: Resting, lots: float, time: int) -> list[Outcome]:
        """Take what an order filled from the others of its group, which end when nothing is left of them."""
        said: list[Outcome] = []
        for other in list(self.open.values()):
            if other is resting or other.order.group != resting.order.group:
                continue
            if other.left > lots:
                other.left -= lots
            else:
                said.append(self._end(other, time))
        return said

    def finance(self, market: Slice, before: int) -> Adjustment | None:
        """Charge the books for holding them since ``before`` (ns), at the marks of this close."""
        if not self._financing.every:
            return None
        book = self.portfolio
        charge = financing_charge(
            book.cash_value, book.lots, book.lot, book.marks, before, market.time, self._financing
        )
        if charge == 0.0:
            return None
        identity, paid = f"financing-{market.time}", -(charge / book.unit)
        fact = Adjustment(identity, book.profile, "", 0.0, paid, market.time, "financing")
        book.apply(fact)
        return fact

    def liquidate(self, time: int) -> list[Cancellation]:
        """Close the account when its equity is short of the maintenance margin; return the orders that this ends."""
        book, maintenance = self.portfolio, self._financing.maintenance
        if self._liquidations or not maintenance:
            return []
        if not is_short_of_margin(book.equity, book.lots, book.lot, book.marks, maintenance):
            return []
        ended = [self._end(resting, time) for resting in list(self.open.values())]
        for symbol, held in zip(book.symbols, book.lots.tolist(), strict=True):
            if held == 0.0:
                continue
            side: Side = "sell" if held > 0.0 else "buy"
            identity = f"liquidation-{symbol}-{time}"
            order = Order(identity, book.profile, symbol, side, abs(held), time, reduces=True)
            self.open[identity] = Resting(order, MARKET, order.lots, reason="liquidation")
            self._liquidations.add(identity)
        return ended

    def _end(self, resting: Resting, time: int) -> Cancellation:
        order = resting.order
        resting.left, resting.ended = 0.0, True
        self._forget(resting)
        return Cancellation(order.id, order.profile, order.symbol, time)

    def _refuse(self, resting: Resting, code: int, time: int) -> Rejection:
        self._end(resting, time)
        return reject(resting.order, REASONS[code], time)

    def _forget(self, resting: Resting) -> None:
        self.open.pop(resting.order.id, None)
        self._liquidations.discard(resting.order.id)
