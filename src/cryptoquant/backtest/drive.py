"""The event driver: matching, signals, decision and submission, slice by slice, through the engine that trades live."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from cryptoquant.backtest.orders import Orders
from cryptoquant.backtest.run import Facts, Run
from cryptoquant.backtest.tape import Tape
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Panel, Slice
from cryptoquant.performance.metrics import FillColumns
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Venue


class Ledger:
    """Collects what happens in a run, and what changes in a book."""

    def __init__(self, book: Portfolio) -> None:
        self.facts = Facts([], [], [], [], [])
        self._book = book
        self._start = book.cash, book.lots.copy()
        self._places: list[tuple[int, int]] = []
        self._after: list[tuple[float, float]] = []

    def take(self, fact: Fill | Rejection | Cancellation | Adjustment, row: int) -> None:
        """Remember a fact of a slice, after the book has taken it."""
        book = self._book
        if isinstance(fact, Fill):
            place = book.index(fact.symbol)
            self.facts.fills.append(fact)
            self._places.append((row, place))
            self._after.append((book.lots.item(place), book.cash))
        elif isinstance(fact, Rejection):
            self.facts.rejections.append(fact)
        elif isinstance(fact, Cancellation):
            self.facts.cancellations.append(fact)
        else:
            self.facts.adjustments.append(fact)
            self._places.append((row, -1))
            self._after.append((0.0, book.cash))

    def run(self, panel: Panel, venue: Venue) -> Run:
        """Return the run."""
        shape = (len(self._places), 2)
        places = np.array(self._places, dtype=np.int64).reshape(shape)
        after = np.array(self._after, dtype=np.float64).reshape(shape)
        tape = Tape(places, after, *self._start)
        facts = self.facts
        return Run(
            panel,
            venue,
            tape,
            lambda: facts,
            lambda: columns_of(facts.fills, panel, venue),
            lambda: len(facts.rejections),
        )


def drive(engine: Engine, panel: Panel, signals: dict[int, list[Signal]]) -> Run:
    """Drive an engine through a panel by events: match, signal, decide, submit; slice by slice.

    ``signals`` holds the signals of each close by its time; one that is known later than its slice is not shown.
    """
    matcher, book = Matcher(engine.venue, books_like(engine.portfolio, engine.venue)), engine.portfolio
    ledger = Ledger(book)
    watches, is_financed = matcher.follows_the_market, engine.venue.financing is not None
    open_orders, width, orders = matcher.open, panel.width, ledger.facts.orders
    on = engine.on
    for market in panel:
        if open_orders or watches:
            for outcome in matcher.match(market, market.time - width):
                on(outcome)
                ledger.take(outcome, market.row)
        if is_financed:
            for fact in finance(matcher, market, panel):
                on(fact)
                ledger.take(fact, market.row)
        if signals:
            for signal in signals.get(market.time, ()):
                if signal.known <= market.known:
                    on(signal)
        for said in on(market):
            if isinstance(said, Rejection):
                ledger.take(said, market.row)
                continue
            if isinstance(said, Cancel):
                matcher.ask(said)
                continue
            refused = matcher.submit(said, book.marks.item(book.index(said.symbol)))
            if refused is None:
                orders.append(said)
            else:
                on(refused)
                ledger.take(refused, market.row)
    return ledger.run(panel, engine.venue)


def drive_orders(orders: Orders, panel: Panel, venue: Venue, cash: float) -> Run:
    """Send orders that are known beforehand through the matcher, each at the close at which it is decided."""
    book = Portfolio(panel.symbols, venue, cash, orders.profile)
    matcher, ledger = Matcher(venue, books_like(book, venue), checks_cash=True), Ledger(book)
    due: dict[int, list[Order | Cancel]] = defaultdict(list)
    for wish in orders.facts:
        due[wish.time].append(wish)
    for market in panel:
        for outcome in matcher.match(market, market.time - panel.width):
            if isinstance(outcome, Fill):
                book.apply(outcome)
            ledger.take(outcome, market.row)
        book.mark(market.field("close"))
        if venue.financing is not None:
            for fact in finance(matcher, market, panel):
                if isinstance(fact, Adjustment):
                    book.apply(fact)
                ledger.take(fact, market.row)
        for wish in due.get(market.time, ()):
            if isinstance(wish, Cancel):
                matcher.ask(wish)
                continue
            refused = matcher.submit(wish, book.marks.item(book.index(wish.symbol)))
            if refused is None:
                ledger.facts.orders.append(wish)
            else:
                ledger.take(refused, market.row)
    return ledger.run(panel, venue)


def finance(matcher: Matcher, market: Slice, panel: Panel) -> list[Adjustment | Cancellation]:
    """Let the venue charge an account at a close, and close it when it is short of margin; return what that changes."""
    matcher.portfolio.mark(market.field("close"))
    before = int(panel.times[market.row - 1]) if market.row else market.time
    charged = matcher.finance(market, before)
    return [*([] if charged is None else [charged]), *matcher.liquidate(market.time)]


def books_like(book: Portfolio, venue: Venue) -> Portfolio:
    """Return a copy of a book, for the venue to keep as its own."""
    copy = Portfolio(book.symbols, venue, 0.0, book.profile)
    copy.cash = book.cash
    copy.lots = book.lots.copy()
    return copy


def columns_of(fills: Sequence[Fill], panel: Panel, venue: Venue) -> FillColumns:
    """Return fills as arrays, in quote currency and coins."""
    place = {symbol: index for index, symbol in enumerate(panel.symbols)}
    lot = {symbol: venue.instrument(symbol).lot for symbol in panel.symbols}
    symbols = np.array([place[fill.symbol] for fill in fills], dtype=np.int64)
    numbers = np.array(
        [
            (
                fill.lots * lot[fill.symbol] * fill.price,
                fill.lots_change * lot[fill.symbol],
                fill.cash_change * venue.unit,
                fill.fee,
                fill.slippage,
                fill.impact,
            )
            for fill in fills
        ],
        dtype=np.float64,
    ).reshape(len(fills), 6)
    times = np.array([fill.time for fill in fills], dtype=np.int64)
    return FillColumns(symbols, times, *np.ascontiguousarray(numbers.T))
