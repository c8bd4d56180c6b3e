"""Paper trading without a venue: an engine that holds its exits, against smaller bars, in the order of the sandbox."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from cryptoquant.backtest.drive import Ledger, books_like, drive
from cryptoquant.backtest.run import Run
from cryptoquant.market.aggregation import BarAggregator
from cryptoquant.market.price import Price
from cryptoquant.market.schema import Bar
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Panel, Slice, slice_of
from cryptoquant.market.time import Timeframe
from cryptoquant.trading.at_venue import at_venue
from cryptoquant.trading.engine import Engine, Event
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Rejection


def rehearse(
    engine: Engine, minutes: Panel, timeframe: Timeframe, signals: Mapping[int, Sequence[Signal]] | None = None
) -> Run:
    """Drive an engine that holds its exits as paper trading does, on bars smaller than those that it decides on.

    At one moment come first the fills of the minute that closed, then its prices in the order of the symbols while the
    engine waits for any, then the signals and the slice of a larger bar that it completes, then the venue's answers to
    what was sent meanwhile: a refusal, the end of an order whose cancel was asked for. What the engine sends reaches
    the venue through ``at_venue``; a cancel acts there at once, as ``DELETE /orders`` does, or after the venue's
    latency. The run has a row for each minute.

    Parameters
    ----------
    engine
        Made with ``holds=True``.
    minutes
        What orders are filled against; its width divides ``timeframe``.
    timeframe
        Of the slices that are decided on; a bucket that the minutes do not open is left out.
    signals
        By the close of their slice (ns UTC); one that is known later than its slice is not shown.

    Raises
    ------
    ValueError
        The engine does not hold its exits, or its venue lends money, which Alpaca's crypto venue does not.
    """
    if not engine.holds:
        raise ValueError("a rehearsal needs an engine that holds its exits: Engine(..., holds=True)")
    rehearsal = Rehearsal(engine, signals or {})
    builder = LargeBars(minutes.symbols, timeframe)
    for minute in minutes:
        for market in builder.expire(minute.time - minutes.width):
            rehearsal.decide(market, minute.row)
        rehearsal.live(minute, minutes.width)
        for market in builder.take(minute, minutes.width):
            rehearsal.decide(market, minute.row)
        rehearsal.settle(minute)
    return rehearsal.ledger.run(minutes, engine.venue)


def trade(
    engine: Callable[..., Engine],
    panel: Panel,
    execution: Execution,
    signals: dict[int, list[Signal]],
    past: Panel | None = None,
) -> Run:
    """Trade by events: by the driver, or where orders are moved as in paper trading, with the bars of the decisions.

    An order that has stood at its price for the execution's ``reprice`` is moved at the first close after that, and
    exits are then held by the engine: what a bar has reached is sold at the next open.

    Parameters
    ----------
    engine
        Called with ``execution`` and ``holds``.
    past
        What the strategy may look back on.

    Raises
    ------
    ValueError
        Orders are moved on a venue that lends money, which Alpaca's crypto venue does not.
    """
    moves = execution.reprice is not None
    trader = engine(execution=execution, holds=moves)
    if past is not None:
        trader.warm(past)
    if not moves:
        return drive(trader, panel, signals)
    rehearsal = Rehearsal(trader, signals)
    for market in panel:
        rehearsal.live(market, panel.width)
        rehearsal.decide(market, market.row)
        rehearsal.settle(market)
    return rehearsal.ledger.run(panel, trader.venue)


class Rehearsal:
    """An engine and the venue that fills its orders."""

    def __init__(self, engine: Engine, signals: Mapping[int, Sequence[Signal]]) -> None:
        if engine.venue.financing is not None:
            raise ValueError("a rehearsal, and a backtest that moves its orders, is of a spot venue without financing")
        self.engine = engine
        self.signals = signals
        self.matcher = Matcher(engine.venue, books_like(engine.portfolio, engine.venue))
        self.ledger = Ledger(engine.portfolio)
        self._answers: deque[Rejection | Cancellation] = deque()

    def live(self, minute: Slice, width: int) -> None:
        """Let a minute fill what it fills, then show its prices."""
        engine, matcher = self.engine, self.matcher
        if matcher.open or matcher.follows_the_market:
            for outcome in matcher.match(minute, minute.time - width):
                if isinstance(outcome, Fill):
                    self.tell(replace(outcome, reason=engine.reason_of(outcome.order_id)), minute)
                else:
                    self.tell(outcome, minute)
        matcher.portfolio.mark(minute.field("close"))
        if engine.is_waiting:
            for place, symbol in enumerate(minute.symbols):
                low, high, close = (minute.value(name, place) for name in ("low", "high", "close"))
                if close == close:
                    self.tell(Price(symbol, minute.time, minute.known, low, high, close), minute)

    def decide(self, market: Slice, row: int) -> None:
        """Show the signals of a slice, then the slice."""
        for signal in self.signals.get(market.time, ()):
            if signal.known <= market.known:
                self._tell(signal, market.time, row)
        self._tell(market, market.time, row)

    def settle(self, minute: Slice) -> None:
        """Tell what the venue answered, and what it answers to what follows from that."""
        while self._answers:
            self.tell(self._answers.popleft(), minute)

    def tell(self, event: Event, minute: Slice) -> None:
        """Show the engine an event of a minute, and the venue what comes of it."""
        self._tell(event, minute.time, minute.row)

    def _tell(self, event: Event, time: int, row: int) -> None:
        said = self.engine.on(event)
        if isinstance(event, Fill) or not isinstance(event, Slice | Signal | Price):
            self.ledger.take(event, row)  # type: ignore[arg-type]
        for outcome in said:
            if isinstance(outcome, Rejection):
                self.ledger.take(outcome, row)
            elif isinstance(outcome, Cancel):
                if self.engine.venue.latency_ns:
                    self.matcher.ask(outcome)
                elif (ended := self.matcher.cancel(outcome.order_id, time)) is not None:
                    self._answers.append(ended)
            else:
                book = self.matcher.portfolio
                sent = replace(at_venue(outcome), time=time)  # no earlier than what it follows from was known
                refused = self.matcher.submit(sent, book.marks.item(book.index(outcome.symbol)))
                if refused is None:
                    self.ledger.facts.orders.append(outcome)
                else:
                    self._answers.append(refused)


class LargeBars:
    """Folds minute slices into slices of a larger timeframe, as paper trading does when no bar is late."""

    def __init__(self, symbols: tuple[str, ...], timeframe: Timeframe) -> None:
        self.symbols = symbols
        self._folds = {symbol: BarAggregator(timeframe) for symbol in symbols}

    def take(self, minute: Slice, width: int) -> list[Slice]:
        """Take the bars of a minute; return the slice that closes with it, none or one."""
        closed = []
        for place, symbol in enumerate(self.symbols):
            open_, high, low, close, volume, trades, vwap = (minute.value(name, place) for name in FIELDS)
            if close == close:
                span = (minute.time, minute.known, minute.time - width)
                more = (0 if trades != trades else int(trades), 0.0 if vwap != vwap else vwap)
                closed += self._folds[symbol].update(Bar(symbol, *span, open_, high, low, close, volume, *more))
        return self._slices([*closed, *self._expired(minute.time)])

    def expire(self, now: int) -> list[Slice]:
        """Return the slice that has closed by ``now`` (ns) though no minute closed with it, none or one."""
        return self._slices(self._expired(now))

    def _expired(self, now: int) -> list[Bar]:
        return [large for fold in self._folds.values() for large in fold.expire(now)]

    def _slices(self, bars: list[Bar]) -> list[Slice]:
        return [slice_of(bars, self.symbols)] if bars else []
