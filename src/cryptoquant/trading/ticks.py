"""How an order meets quotes, trades and order books: the same rules as against bars, one event at a time."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptoquant.compiled import plain
from cryptoquant.market.book import Level
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.market.time import iso
from cryptoquant.trading.display import Display
from cryptoquant.trading.exits import exits_of, reason_of
from cryptoquant.trading.matching import ACCEPTED, NO_CASH, REASONS, SHORT, bounds_of, buying_power, refusal
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Liquidity, Order, Rejection, reject
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.queue_position import Place, QueueModel, after_display, after_trade, reach
from cryptoquant.trading.tariff import Tariff
from cryptoquant.trading.venue import BASIS_POINT, Venue
from cryptoquant.trading.working import (
    Working,
    average_price,
    executed,
    lots_within,
    promised_lots,
    start,
    walk,
)

Outcome = Fill | Rejection | Cancellation
Event = Quote | Trade | BookUpdate

USED_ID = "its id was used before"
NOT_WHOLE = "not a whole number of lots"
NOT_OPEN = "the order that it replaces is not open"


class TickMatcher:
    """Holds the open orders of one account and fills them against quotes, trades and books in the order of time.

    **Arrival.** An order acts on events whose time is its own plus the latency or later, a cancel too. A stop is held
    by the client, who has it at once: it is reached by a bid (sell) or an ask (buy), or by a trade where nothing but
    trades was ever shown, and what it sends arrives the latency after the event was known. A trailing stop follows the
    best bid (sell) or ask (buy) since it is held. ``replaces`` and ``expires`` act when their time has come, before the
    next event; what the replaced order filled stays, the new one trades its own lots.

    **Taking.** A market order and a limit order that the market meets on arrival take the other side: a quote up to its
    size, a book level by level, as one fill at the average price (not rounded to an increment), never worse than the
    limit. The rest of a market order waits for the next quote or update; ``ioc`` cancels it; ``fok`` fills whole or is
    cancelled. Where only trades are known they stand in for the other side, up to their size, worse by the venue's
    slippage; against quotes and books that slippage is not charged, since the spread is there to be paid.

    **Resting.** A limit order rests behind what is shown at its price on arrival (see `queue_position`); nothing is
    ahead of one that improves the market, and what is ahead is unknown, so never used up, while only better prices are
    shown. A trade at its price serves the queue first, if its taker was not on our side; a trade through its price, and
    a quote or book whose other side reaches it, fill it at its price up to their size. It pays as a maker.

    **Events are not made of rubber.** Of one trade, all own orders get at most ``participation`` of its size, of one
    quote or level its size (see `Display`). Own orders share by price, then by arrival.

    **Refusals.** An order is judged when the venue first sees a market for it: the bounds of `refusal`, sells beyond
    what is held and not promised to another sell (orders of one group share their promise), the collar of a market
    buy. A fill that would leave cash or coins below zero on a spot venue is refused with the rest of its order.
    A limit buy sets no cash aside while it rests.
    ``reduces`` shrinks an order to what is held; it ends when a fill closes the position, or when it would act with
    nothing held. What one order fills, the open others of its group lose; an order that lost lots is cancelled when it
    has none left.

    **Protection.** Exits follow each fill (see `exits_of`): the stop held, the target resting.

    **Slippage** of a fill that takes is measured against the middle of the market on arrival, in quote currency, and
    is not below zero.

    Parameters
    ----------
    venue
        The rules.
    portfolio
        The venue's own books of the account; they move with every fill.
    latency
        From a decision to the venue: a timedelta, or nanoseconds.
    queue
        ``conservative``: only trades serve the queue; ``proportional``: cancellations too.
    participation
        Largest share of a trade that own orders get, in (0, 1].
    """

    def __init__(
        self,
        venue: Venue,
        portfolio: Portfolio,
        latency: timedelta | int = 0,
        *,
        queue: QueueModel = "conservative",
        participation: float = 1.0,
    ) -> None:
        if queue not in ("conservative", "proportional"):
            raise ValueError(f"queue must be 'conservative' or 'proportional', found {queue!r}")
        if not 0.0 < participation <= 1.0:
            raise ValueError(f"participation must lie in (0, 1], found {participation}")
        self.latency = latency if isinstance(latency, int) else latency // timedelta(microseconds=1) * 1_000
        if self.latency < 0:
            raise ValueError(f"latency must not be negative, found {latency}")
        self.venue = venue
        self.portfolio = portfolio
        self.queue: QueueModel = queue
        self.participation = participation
        self._tariff, self.time = Tariff(venue), 0
        self.open: dict[str, Working] = {}
        self._displays: dict[str, Display] = {}
        self._due: list[tuple[int, int, str, str]] = []
        self._ids: set[str] = set()
        self._number = 0

    def submit(self, order: Order) -> Rejection | None:
        """Take an order; return the refusal of one that can never be sent, or None.

        Raises
        ------
        ValueError
            The symbol is not in the portfolio, or a price that the order's kind needs is missing.
        """
        self.portfolio.index(order.symbol)
        working = start(order, self._next(), self.latency)
        if order.id in self._ids:
            return reject(order, USED_ID, order.time)
        if not self.venue.is_continuous and order.lots != round(order.lots):
            return reject(order, NOT_WHOLE, order.time)
        self._ids.add(order.id)
        self.open[order.id] = working
        if order.time_in_force == "gtt":
            self._plan(order.expires, "end", order.id)
        if order.replaces:
            self._plan(working.arrival, "replace", order.id)
        return None

    def cancel(self, wish: Cancel) -> None:
        """Take the wish that an order ends; it comes true after the latency, at once for a stop that is still held."""
        self._plan(wish.time, "cancel", wish.order_id)

    def advance(self, time: int) -> list[Outcome]:
        """Let time pass (ns UTC) and return the orders that a cancel, an expiry or a replacement ended.

        Raises
        ------
        ValueError
            The time is before the last event.
        """
        if time < self.time:
            raise ValueError(f"events must come in the order of time: found {iso(time)} after {iso(self.time)}")
        before, self.time = self.time, time
        outcomes: list[Outcome] = []
        while self._due and self._due[0][0] <= time:
            due, _, action, order_id = heapq.heappop(self._due)
            working, due = self.open.get(order_id), max(due, before)
            if working is None:
                continue
            if action == "cancel" and not working.is_held:
                self._plan(due + self.latency, "end", order_id)
            elif action != "replace":
                outcomes += self._end(working, due)
            else:
                replaced = self.open.get(working.order.replaces)
                outcomes += self._refuse(working, NOT_OPEN, due) if replaced is None else self._end(replaced, due)
        return outcomes

    def on(self, event: Event) -> list[Outcome]:
        """Take the next event of the market and return what it did to the orders."""
        if isinstance(event, Quote):
            return self.on_quote(event)
        return self.on_trade(event) if isinstance(event, Trade) else self.on_book(event)

    def on_quote(self, quote: Quote) -> list[Outcome]:
        """Take the next quote; it says nothing new of a symbol whose book is known."""
        outcomes, display = self.advance(quote.time), self._display(quote.symbol)
        if display.is_book:
            return outcomes
        display.show_quote(quote)
        return outcomes + self._meet_display(display, quote)

    def on_book(self, change: BookUpdate) -> list[Outcome]:
        """Take the next update of a book; before its first reset nothing is known."""
        outcomes, display = self.advance(change.time), self._display(change.symbol)
        display.show_book(change)
        return outcomes + (self._meet_display(display, change) if display.is_book else [])

    def on_trade(self, trade: Trade) -> list[Outcome]:
        """Take the next trade of others."""
        outcomes, display = self.advance(trade.time), self._display(trade.symbol)
        if not display.is_known:
            self._watch(trade, trade.price, trade.price)
        used = 0.0
        for working in self._live(trade.symbol):
            if working.order.id not in self.open:
                continue
            if working.is_resting:
                came = self._rest_in_trade(working, trade, used)
            elif display.is_known:
                continue
            else:
                came = self._take_trade(working, trade, used)
            used += sum(fill.lots for fill in came if isinstance(fill, Fill))
            outcomes += came
        return outcomes

    def _meet_display(self, display: Display, event: Quote | BookUpdate) -> list[Outcome]:
        self._watch(event, display.bid, display.ask)
        outcomes: list[Outcome] = []
        for working in self._live(event.symbol):
            if working.order.id in self.open:
                outcomes += self._rest(working, display) if working.is_resting else self._take(working, display)
        return outcomes

    def _watch(self, event: Event, bid: float, ask: float) -> None:
        """Send the held orders whose stop the event reaches."""
        for working in self.open.values():
            if not working.is_held or working.order.symbol != event.symbol or working.arrival > event.time:
                continue
            price = bid if working.order.side == "sell" else ask
            if not math.isnan(price) and working.is_triggered(price):
                working.is_held = False
                working.arrival = max(event.time, event.known) + self.latency

    def _take(self, working: Working, display: Display) -> list[Outcome]:
        """Let an order that does not rest yet take what is shown on the other side."""
        sign, limit = working.order.sign, working.limit
        outcomes = self._judge(working, display.ask if sign > 0 else display.bid, display.mid)
        levels = display.levels(sign, limit)
        if not outcomes and levels:
            outcomes = self._take_levels(working, display, levels, "taker")
        if working.order.id not in self.open:
            return outcomes
        if working.is_immediate:
            return outcomes + self._end(working, self.time)
        if not math.isnan(limit) and (display.is_book or not levels):
            working.is_resting = True
            working.place = after_display(Place(), display.size_at(sign, limit), self.queue)
        return outcomes

    def _rest(self, working: Working, display: Display) -> list[Outcome]:
        """Move a resting order in its queue, and fill it if the other side has reached its price."""
        side = working.order.sign, working.limit
        working.place = after_display(working.place, display.size_at(*side), self.queue)
        levels = display.levels(*side)
        return self._take_levels(working, display, levels, "maker") if levels else []

    def _take_levels(
        self, working: Working, display: Display, levels: list[Level], liquidity: Liquidity
    ) -> list[Outcome]:
        order, lot = working.order, self._lot(working)
        wanted = self._wanted(working)
        taken = walk(levels, wanted, lot, is_whole=not self.venue.is_continuous)
        lots = math.fsum(part for _, part in taken)
        if wanted <= 0 or (order.time_in_force == "fok" and lots < wanted):
            return self._end(working, self.time)
        if lots <= 0:
            return []
        price = working.limit if liquidity == "maker" else average_price(taken)
        outcomes = self._fill(working, min(lots, wanted), price, liquidity)
        if isinstance(outcomes[0], Fill):
            for level, part in taken:
                display.take(order.sign, level, part * lot)
        return outcomes

    def _rest_in_trade(self, working: Working, trade: Trade, used: float) -> list[Outcome]:
        """Let a trade serve the queue of a resting order, then the order; ``used`` lots of it are spent."""
        sign, size = working.order.sign, trade.size
        missed = sign * (trade.price - working.limit)
        ours = "B" if sign > 0 else "S"
        if missed > 0 or (missed == 0 and trade.taker_side == ours):
            return []
        if missed < 0:
            working.place = Place(0.0, working.place.shown, working.place.traded)
        reached = self._lots(working, reach(working.place, size))
        working.place = after_trade(working.place, size) if missed == 0 else working.place
        wanted = self._wanted(working)
        if wanted <= 0:
            return self._end(working, self.time)
        lots = min(wanted, reached - used, self._lots(working, size * self.participation) - used)
        return self._fill(working, lots, working.limit, "maker") if lots > 0 else []

    def _take_trade(self, working: Working, trade: Trade, used: float) -> list[Outcome]:
        """Let an order take a trade as if it were the other side, in a market that shows nothing else."""
        order, limit = working.order, working.limit
        outcomes = self._judge(working, trade.price, trade.price)
        if outcomes:
            return outcomes
        if math.isnan(limit) or order.sign * (trade.price - limit) < 0:
            wanted = self._wanted(working)
            lots = min(wanted, self._lots(working, trade.size * self.participation) - used)
            if wanted <= 0 or (order.time_in_force == "fok" and lots < wanted):
                return self._end(working, self.time)
            price = trade.price * (1.0 + order.sign * self.venue.costs.slippage_bps * BASIS_POINT)
            if not math.isnan(limit):
                price = min(price, limit) if order.sign > 0 else max(price, limit)
            outcomes = self._fill(working, lots, price, "taker") if lots > 0 else []
        elif not working.is_immediate:
            working.is_resting = True
        if working.is_immediate and order.id in self.open:
            outcomes += self._end(working, self.time)
        return outcomes

    def _judge(self, working: Working, price: float, mid: float) -> list[Outcome]:
        """Let the venue accept an order at the first price that it sees for it."""
        order = working.order
        reference = price if math.isnan(working.limit) else working.limit
        if working.is_accepted or math.isnan(reference):
            return []
        wanted, lot = self._wanted(working), self._lot(working)
        if wanted <= 0:
            return self._end(working, self.time)
        free = self.portfolio.held(order.symbol) - promised_lots(self.open.values(), order)
        code = plain(refusal)(order.sign, wanted, reference, free, lot, bounds_of(self.venue, order.symbol))
        if code == ACCEPTED and order.sign > 0 and math.isnan(working.limit):
            power = plain(buying_power)(wanted, lot, reference, self.venue.collar)
            code = NO_CASH if self.portfolio.cash_value < power else ACCEPTED
        if code != ACCEPTED:
            return self._refuse(working, REASONS[code], self.time)
        working.is_accepted, working.mid = True, mid
        return []

    def _fill(self, working: Working, lots: float, price: float, liquidity: Liquidity) -> list[Outcome]:
        """Settle an execution, or refuse the rest of an order that the books cannot pay."""
        order, is_spot = working.order, not self.venue.allows_short
        fee_rate = self._tariff.at(self.time)[liquidity == "taker"]
        fill = executed(working, lots, price, self.time, liquidity, venue=self.venue, fee_rate=fee_rate)
        if is_spot and order.sign < 0 and lots > self.portfolio.held(order.symbol):
            return self._refuse(working, REASONS[SHORT], self.time)
        if is_spot and order.sign > 0 and self.portfolio.cash + fill.cash_change < 0:
            return self._refuse(working, REASONS[NO_CASH], self.time)
        self.portfolio.apply(fill)
        self._tariff.note(self.time, lots * self.venue.instrument(order.symbol).lot * price)
        working.fills += 1
        outcomes: list[Outcome] = [fill, *self._spend(working, lots)]
        for other in list(self.open.values()):
            if order.group and other.order.group == order.group and other is not working:
                other.is_shared = True
                outcomes += self._spend(other, lots)
        for other in list(self.open.values()):
            if other.order.symbol == order.symbol and other.order.reduces and self.portfolio.held(order.symbol) == 0:
                outcomes += self._end(other, self.time)
        for guard in exits_of(order, fill, working.fills - 1, fill.time):
            self.submit(guard)
            if guard.id in self.open:
                self.open[guard.id].reason = reason_of(guard)
        return outcomes

    def _spend(self, working: Working, lots: float) -> list[Outcome]:
        """Take lots from an order; one whose last are gone ends, cancelled if others of its group had some of them."""
        working.left -= lots
        if working.left > 0:
            return []
        ended = self._end(working, self.time)
        return ended if working.is_shared else []

    def _wanted(self, working: Working) -> float:
        """Return the lots that an order may still trade."""
        order = working.order
        held = -order.sign * self.portfolio.held(order.symbol)
        return min(working.left, held) if order.reduces else working.left

    def _live(self, symbol: str) -> list[Working]:
        here = (working for working in self.open.values() if working.order.symbol == symbol)
        return sorted((w for w in here if not w.is_held and w.arrival <= self.time), key=lambda w: w.rank)

    def _end(self, working: Working, time: int) -> list[Outcome]:
        order = working.order
        del self.open[order.id]
        return [Cancellation(order.id, order.profile, order.symbol, time)]

    def _refuse(self, working: Working, reason: str, time: int) -> list[Outcome]:
        order = working.order
        del self.open[order.id]
        return [Rejection(order.id, order.profile, order.symbol, order.side, working.left, time, reason)]

    def _plan(self, time: int, action: str, order_id: str) -> None:
        heapq.heappush(self._due, (time, self._next(), action, order_id))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _display(self, symbol: str) -> Display:
        if symbol not in self._displays:
            self._displays[symbol] = Display(symbol)
        return self._displays[symbol]

    def _lot(self, working: Working) -> float:
        return self.venue.instrument(working.order.symbol).lot

    def _lots(self, working: Working, size: float) -> float:
        return lots_within(size, self._lot(working), is_whole=not self.venue.is_continuous)


@dataclass(frozen=True, slots=True)
class TickRun:
    """What came of orders in a recorded market.

    Parameters
    ----------
    fills, rejections, cancellations
        In the order in which they happened.
    open
        Orders that the last event left open.
    portfolio
        The books at the end.
    """

    fills: tuple[Fill, ...]
    rejections: tuple[Rejection, ...]
    cancellations: tuple[Cancellation, ...]
    open: tuple[Order, ...]
    portfolio: Portfolio


def drive_ticks(
    orders: Iterable[Order | Cancel],
    events: Sequence[Event],
    venue: Venue,
    cash: float,
    latency: timedelta | int = 0,
    *,
    queue: QueueModel = "conservative",
) -> TickRun:
    """Fold orders and market events by their times; at the same time orders come first. ``cash`` in quote currency."""
    wishes = sorted(orders, key=lambda wish: wish.time)
    ordered = sorted(events, key=lambda event: event.time)
    symbols = sorted({wish.symbol for wish in wishes} | {event.symbol for event in ordered})
    matcher = TickMatcher(venue, Portfolio(symbols, venue, cash), latency, queue=queue)
    outcomes: list[Outcome | None] = []
    for item in heapq.merge(wishes, ordered, key=lambda item: item.time):
        if isinstance(item, Order):
            outcomes.append(matcher.submit(item))
        elif isinstance(item, Cancel):
            matcher.cancel(item)
        else:
            outcomes += matcher.on(item)
    return TickRun(
        tuple(outcome for outcome in outcomes if isinstance(outcome, Fill)),
        tuple(outcome for outcome in outcomes if isinstance(outcome, Rejection)),
        tuple(outcome for outcome in outcomes if isinstance(outcome, Cancellation)),
        tuple(working.order for working in matcher.open.values()),
        matcher.portfolio,
    )
