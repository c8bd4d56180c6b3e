"""The trader: feed, features, model, signal, strategy, risk, journal, broker. On paper only, and in doubt it halts."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.clock import SandboxClock, WallClock, clock_of
from cryptoquant.data.store import Store
from cryptoquant.errors import CryptoquantError, HaltedError, TradingError
from cryptoquant.live.assembly import SliceBuilder
from cryptoquant.live.broker import AlpacaBroker, check_tradable
from cryptoquant.live.feed import Feed, OrderUpdate
from cryptoquant.live.history import history
from cryptoquant.live.journal import Entry, Journal
from cryptoquant.live.reconcile import difference
from cryptoquant.live.replay import Replay, Start, replay, slice_to_list
from cryptoquant.market.schema import Bar, bar_rows
from cryptoquant.market.slice import Panel, Slice
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, from_iso, iso, span_ns
from cryptoquant.models.bundle import STRATEGIES, Bundle
from cryptoquant.models.monitoring.predictions import PredictionJournal
from cryptoquant.models.registry import Registry
from cryptoquant.performance.report import Report
from cryptoquant.settings import settings
from cryptoquant.trading.engine import Command, Engine
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Order, Rejection
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Venue

State = Literal["new", "ready", "running", "halted", "stopped"]
MINUTE = timedelta(minutes=1)
DEADLINE_NS = 20 * NANOSECONDS_PER_SECOND
POLL_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class TraderStatus:
    """What a trader is doing: state and reason, market time, books and counts; money in quote currency."""

    state: State
    reason: str
    now: str
    equity: float
    cash: float
    positions: dict[str, float]
    fees: float
    slices: int
    orders: int
    fills: int
    refused: int
    in_flight: int


class Trader:
    """Trades one bundle as one profile on a paper account.

    It sends market orders. What only the simulator can do yet (limit orders, stops, targets, fees by a schedule) is
    refused when the trader is made.

    Every fact is journalled before it is acted on. A trader that starts on a journal that it finds makes the same books
    from it again, asks the venue about every open order by its client id, compares positions, and is ready or halted.

    Parameters
    ----------
    bundle
        What trades.
    connection
        Alpaca's paper account, or a sandbox.
    store
        Where history for the features comes from; what is missing up to now is downloaded.
    reference
        Where the bundle came from, for example ``btc-eth-1h@champion``.
    predictions
        Where predictions are kept before they are acted on; a trader that cannot keep them halts.

    Raises
    ------
    ConfigurationError
        The bundle's execution or costs ask for what paper trading cannot do.
    """

    def __init__(
        self,
        bundle: Bundle,
        connection: Alpaca,
        store: Store,
        *,
        reference: str = "",
        limits: RiskLimits | None = None,
        profile: str = "main",
        journal: str | Path | None = None,
        predictions: PredictionJournal | None = None,
    ) -> None:
        check_tradable(bundle.execution, bundle.costs)
        self.bundle = bundle
        self.connection = connection
        self.store = store
        self.reference = reference or bundle.name
        self.limits = limits or RiskLimits()
        self.profile = profile
        self.predictions, self.version = predictions, ""
        self.state: State = "new"
        self.reason = ""
        self.clock: SandboxClock | WallClock = clock_of(connection)
        self.journal_path = Path(journal or settings().journal)
        self._slices = self._fills = self._refused = 0
        self._sent: dict[str, Order] = {}
        self._booked: dict[str, tuple[float, float]] = {}
        self._width = span_ns(bundle.timeframe)

    @classmethod
    def paper(
        cls,
        reference: str,
        *,
        broker: Alpaca | None = None,
        limits: RiskLimits | None = None,
        registry: Registry | None = None,
        store: Store | None = None,
        profile: str = "main",
        journal: str | Path | None = None,
        predictions: PredictionJournal | None = None,
    ) -> "Trader":
        """Return a trader of a registered bundle, ``name@alias``, on a paper account.

        Registry, store and journal default to the places of the settings, the predictions to a file beside the journal
        (``journal.predictions.jsonl``), the broker to Alpaca with the keys of the environment.
        """
        shelf, home = registry or Registry(), store or Store(settings().store)
        version = shelf.resolve(reference)
        beside = Path(journal or settings().journal).with_suffix(".predictions.jsonl")
        predictions = predictions or PredictionJournal(beside)
        places: dict[str, Any] = {"profile": profile, "journal": journal, "predictions": predictions}
        made = cls(shelf.load(version), broker or Alpaca(), home, reference=reference, limits=limits, **places)
        made.version = str(version)
        return made

    def start(self) -> "Trader":
        """Make the books, compare them with the venue, warm the features up and connect the streams.

        Raises
        ------
        HaltedError
            The books and the venue disagree; the reason is journalled.
        VenueError, DataError, JournalError
            From the venue, the store or the journal.
        """
        if self.state in ("ready", "running"):
            return self
        self.journal = Journal(self.journal_path)
        try:
            self._prepare()
        except BaseException:
            self.journal.close()
            raise
        self.state = "ready"
        return self

    def _prepare(self) -> None:
        symbols, costs = self.bundle.symbols, self.bundle.costs
        self.broker = AlpacaBroker(self.connection, Venue.alpaca(costs))
        self.broker.venue = Venue.alpaca(costs, self.broker.instruments(symbols).values())
        past = history(self.bundle, self.store, self.connection, self.clock.now())
        self._begin(self.journal.entries(), past)
        self.feed = Feed(self.connection, symbols, self.clock.now)
        try:
            self.feed.start()
            self._resume(replay(self.journal.entries(), self._strategies), past)
            self.reconcile()
            self._warm(past)
        except BaseException:
            self.feed.stop()
            raise

    def _begin(self, entries: list[Entry], past: Panel) -> None:
        """Journal the setup when the journal is new; refuse one of another setup, and coins that none explains."""
        bundle = self.bundle
        begun = next((entry for entry in entries if entry.kind == "start"), None)
        if begun is not None:
            known = Start.from_dict(begun.content(), self._strategies)
            found = (known.profile, known.symbols, known.timeframe, known.reference)
            wanted = (self.profile, bundle.symbols, bundle.timeframe, self.reference)
            if found != wanted:
                raise HaltedError(f"{self.journal_path} belongs to {found}, this trader is {wanted}")
            return
        held = {symbol: str(q) for symbol, q in self.broker.positions().items() if symbol in bundle.symbols and q}
        if held:
            raise HaltedError(f"the venue holds {held}, which no journal explains: close it, or give its journal")
        start = Start(
            reference=self.reference,
            profile=self.profile,
            timeframe=bundle.timeframe,
            strategy=bundle.strategy,
            venue=self.broker.venue,
            execution=bundle.execution,
            limits=self.limits,
            symbols=bundle.symbols,
            cash=float(self.broker.cash()),
            time=self.clock.now(),
            warm=self._lookback(past, 0),
        )
        self.journal.note("start", f"start:{self.profile}", start.time, start.to_dict())

    def _resume(self, known: Replay, past: Panel) -> None:
        """Take the books of the journal over; learn from the venue what became of the orders in flight."""
        self.engine: Engine = known.engine
        self._slices, self._fills, self._refused = len(known.slices), len(known.fills), len(known.refused)
        self._sent = {order.id: order for order in known.journalled}
        for fill in known.fills:
            self._count(fill)
        if not known.is_equal:
            self._halt(f"the journal is not what this engine would do: {known.difference}")
        for order in tuple(self.engine.in_flight.values()):
            told = self.broker.status(order.id)
            ended = [Cancellation(order.id, order.profile, order.symbol, self.clock.now())]
            self._take(ended if told is None else self.broker.outcomes(order, told, self._filled(order.id)))
        if known.seen and (missed := self._lookback(past, known.seen)):
            self._pass(missed)

    def _pass(self, slices: Sequence[Slice]) -> None:
        """Journal slices that are not decided on, and show them to the strategy's past."""
        content = {"slices": [slice_to_list(market) for market in slices]}
        self.journal.note("warm", f"warm:{slices[-1].time}", slices[-1].time, content)
        self.engine.warm(slices)

    def _lookback(self, past: Panel, after: int) -> tuple[Slice, ...]:
        """Return the last slices behind a moment that the strategy's view must hold; none for a view of one slice."""
        length = self.bundle.strategy.lookback
        return tuple(past.between(after, self.clock.now()))[-length:] if length > 1 else ()

    def _warm(self, past: Panel) -> None:
        """Bring the features up to the last closed slice; what the open one lacks is fetched with its first bar."""
        if self.bundle.features.reads_ticks:
            raise TradingError(f"{self.bundle.name}: its features read ticks, and this feed brings bars only")
        self.online = self.bundle.features.online(self.bundle.symbols)
        self.online.warm(past)
        self.forecaster = self.bundle.forecaster()
        if self.bundle.predictor.window > 1:
            self.forecaster.warm(self.bundle.features.compute_panel(past))
        self.builder = SliceBuilder(self.bundle.symbols, self.bundle.timeframe, int(past.times[-1]), DEADLINE_NS)

    def run(self, until: timedelta | None = None) -> TraderStatus:
        """Trade for a span of market time, or until the user interrupts; positions are kept. Return the status.

        Raises
        ------
        HaltedError
            Trading stopped because of a doubt; the reason is journalled and orders in flight stay known.
        """
        self.start()
        self.state = "running"
        end = None if until is None else self.clock.now() + span_ns(until)
        try:
            if isinstance(self.clock, SandboxClock) and self.clock.is_lockstep:
                self._run_in_lockstep(self.clock, end)
            else:
                self._run_freely(end)
            self.reconcile()
        except KeyboardInterrupt:
            self.reason = "interrupted by the user"
        except HaltedError:
            raise
        except Exception as error:  # noqa: BLE001 - a strategy is the user's code: whatever it raises is journalled
            self._halt(str(error) if isinstance(error, CryptoquantError) else f"{type(error).__name__}: {error}")
        finally:
            self.stop()
        return self.status()

    def _run_in_lockstep(self, clock: SandboxClock, end: int | None) -> None:
        while end is None or clock.now() < end:
            step = self._width - clock.now() % self._width
            step = step if end is None else min(step, end - clock.now())
            moment = clock.advance(timedelta(microseconds=step // 1_000))
            for item in sorted(self.feed.drain(moment.data, moment.trading), key=_moment_of):
                self._on_item(item)
            self._expire(moment.now)
            if moment.has_ended:
                self.reason = "the sandbox's market has ended"
                return

    def _run_freely(self, end: int | None) -> None:
        polled = time.monotonic()
        while end is None or self.clock.now() < end:
            self.feed.check()
            item = self.feed.next(0.2)
            if item is not None:
                self._on_item(item)
            self._expire(self.clock.now())
            if time.monotonic() - polled > POLL_EVERY_SECONDS:
                self._poll()
                polled = time.monotonic()

    def _on_item(self, item: Bar | OrderUpdate) -> None:
        if isinstance(item, Bar):
            self._on_bar(item)
            return
        told = item.data["order"]
        order = self._sent.get(told["client_order_id"])
        if order is None:
            return
        facts = self.broker.outcomes(order, told, self._filled(order.id), item.time)
        if order.id in self.engine.in_flight:
            self._take(facts)
        elif any(isinstance(fact, Fill) for fact in facts):
            self._halt(f"order {order.id} was filled further after it had ended")

    def _on_bar(self, bar: Bar) -> None:
        """Take a minute bar; minutes that the stream did not bring are fetched first, so that large bars are whole."""
        gap = self.builder.gap(bar)
        if gap is not None:
            self._fetch(bar.symbol, *gap)
        for market in self.builder.take(bar):
            self._decide(market)

    def _fetch(self, symbol: str, start: int, end: int) -> None:
        """Take the minutes of a span from the venue's history; they are known now, not when they closed."""
        now = self.clock.now()
        for page in self.connection.fetch_bars(symbol, MINUTE, start, end):
            for bar in bar_rows(page):
                for market in self.builder.take(msgspec.structs.replace(bar, known=max(now, bar.known))):
                    self._decide(market)

    def _expire(self, now: int) -> None:
        """Close the slices whose deadline has passed; what the stream did not bring of them is fetched first."""
        for span in self.builder.overdue(now):
            self._fetch(*span)
        for market in self.builder.expire(now):
            self._decide(market)

    def _decide(self, market: Slice) -> None:
        """Ask the engine about a slice, journal slice, signals and orders in one write, then submit the orders.

        A slice is not decided on when the next one has closed already: after an outage only the present counts.
        """
        rows = self.online.update(market)
        signals = self.forecaster.update(market, rows)
        if self.clock.now() >= market.time + self._width:
            self._pass([market])
            return
        self._slices += 1
        if self.predictions is not None:
            self.predictions.record(self.bundle, signals, rows, self.reference, self.version)
        for signal in signals:
            self.engine.on(signal)
        said = [one for one in self.engine.on(market) if not isinstance(one, Cancel)]  # it holds nothing to cancel
        self.journal.append([*signals, market, *said], durable=bool(said))
        for outcome in said:
            if isinstance(outcome, Rejection):
                self._refused += 1
                continue
            self._sent[outcome.id] = outcome
            refused = self.broker.submit(outcome)
            if refused is not None:
                self._take([refused])

    def _take(self, facts: Sequence[Fill | Rejection | Cancellation]) -> None:
        """Journal what became of an order, then book it."""
        if not facts:
            return
        self.journal.append(facts, durable=True)
        for fact in facts:
            if isinstance(fact, Fill):
                self._fills += 1
                self._count(fact)
            self._refused += isinstance(fact, Rejection)
            self.engine.on(fact)

    def _count(self, fill: Fill) -> None:
        lots, value = self._filled(fill.order_id)
        self._booked[fill.order_id] = lots + fill.lots, value + fill.lots * fill.price

    def _filled(self, order_id: str) -> tuple[float, float]:
        """Return the lots of an order that are booked, and lots times price of those."""
        return self._booked.get(order_id, (0.0, 0.0))

    def _poll(self) -> None:
        """Ask the venue about the orders in flight, or compare the books: a stream does not say what it missed."""
        if not self.engine.in_flight:
            self.reconcile()
        for order in tuple(self.engine.in_flight.values()):
            told = self.broker.status(order.id)
            if told is not None:
                self._take(self.broker.outcomes(order, told, self._filled(order.id)))

    def reconcile(self) -> None:
        """Compare the books with the venue's; raises HaltedError on a difference that nothing explains."""
        found = difference(self.engine, self.broker.positions(), self.broker.cash(), self._fills)
        if found:
            self._halt(found)

    def _halt(self, reason: str) -> None:
        self.state, self.reason = "halted", reason
        now = self.clock.now()
        self.journal.append([Command(f"halt-{now}", "halt", now, reason)], durable=True)
        raise HaltedError(reason)

    def stop(self) -> TraderStatus:
        """Close the streams and the journal of a trader that was started; positions are kept."""
        if self.state in ("ready", "running", "halted"):
            self.feed.stop()
            self.journal.close()
            self.state = "halted" if self.state == "halted" else "stopped"
        return self.status()

    def status(self) -> TraderStatus:
        """Return what the trader is doing."""
        if self.state == "new":
            return TraderStatus("new", "", iso(self.clock.now()), math.nan, math.nan, {}, 0.0, 0, 0, 0, 0, 0)
        book = self.engine.portfolio
        return TraderStatus(
            state=self.state,
            reason=self.reason or self.engine.risk.halted,
            now=iso(self.clock.now()),
            equity=book.cash_value if np.isnan(book.marks).any() else book.equity,
            cash=book.cash_value,
            positions={symbol: book.quantity(symbol) for symbol in book.symbols},
            fees=book.fees,
            slices=self._slices,
            orders=len(self._sent),
            fills=self._fills,
            refused=self._refused,
            in_flight=len(self.engine.in_flight),
        )

    def report(self) -> Report:
        """Return the report of all that the journal holds."""
        return replay(self.journal_path, self._strategies).report()

    @property
    def _strategies(self) -> dict[str, type[Any]]:
        own = type(self.bundle.strategy)
        return {**STRATEGIES, own.__name__: own}


def _moment_of(item: Bar | OrderUpdate) -> tuple[int, int]:
    """Order by time; an order update comes before a bar of the same moment."""
    return (from_iso(item.time), 0) if isinstance(item, OrderUpdate) else (item.time, 1)
