"""The floor: what comes in is journalled together with what the engines make of it, and only then acted on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from msgspec.structs import replace

from cryptoquant.errors import AuthenticationError, HaltedError, JournalError
from cryptoquant.live.account import Account
from cryptoquant.live.audit import Audit
from cryptoquant.live.corrections import Corrections
from cryptoquant.live.desk import Desk, reduces
from cryptoquant.live.dispatcher import Answer, Dispatcher, Standing
from cryptoquant.live.feed import OrderUpdate
from cryptoquant.live.journal import Journal, Row, encode, encode_signals
from cryptoquant.live.note import Level, Listener, Note
from cryptoquant.live.shadow import ShadowVenue
from cryptoquant.live.start import slice_to_list
from cryptoquant.live.telling import Telling, decided, refused
from cryptoquant.live.universe import Floats, Universe
from cryptoquant.market.price import Price
from cryptoquant.market.schema import Bar, Quote
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.market.time import iso
from cryptoquant.trading.at_venue import at_venue
from cryptoquant.trading.engine import Command, Timer
from cryptoquant.trading.engine import Outcome as Said
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Rejection

Fact = Fill | Rejection | Cancellation | Adjustment
Fetch = Callable[[str, int, int], Iterable[Bar]]
MINUTE_NS = 60 * 10**9
HALT_SECONDS = 10.0


class Floor:
    """All desks of a trader over one journal, one account and one way to the venue.

    No thread and no clock of its own: the trader hands over what has come and the present.

    Parameters
    ----------
    fetch
        The minute bars of a symbol between two moments, from the venue's history.
    now, latest
        The present at the venue, nanoseconds UTC, and what its clock may show at most.

    Attributes
    ----------
    audit
        The books against what the venue says.
    unanswered, lost
        Ids of the orders about which the venue is asked at present, and of those about which it gave none.
    met, told
        Up to when shadows and stops have seen minutes, by symbol, and the last time that was told (nanoseconds UTC): a
        price or a time is an event once, as the journal holds it.
    """

    def __init__(
        self,
        journal: Journal,
        account: Account,
        universes: dict[str, Universe],
        *,
        fetch: Fetch,
        now: Callable[[], int],
        latest: Callable[[], int],
    ) -> None:
        self.journal, self.account, self.universes = journal, account, universes
        self.desks: dict[str, Desk] = {}
        self.shadows: dict[str, ShadowVenue] = {}
        self.dispatcher: Dispatcher
        self.listeners: tuple[Listener, ...] = ()
        self._telling = Telling()
        self.on_predicted: Callable[[Desk, list[Signal], Floats], None] = lambda desk, signals, rows: None
        self.on_decided: Callable[[Universe], None] = lambda universe: None
        self.unanswered, self.lost = set[str](), set[str]()
        self.corrections = Corrections()
        self.met, self.told = dict[str, int](), 0
        self.trouble, self._is_ahead = "", False
        self._fetch, self._now, self._latest = fetch, now, latest
        self.audit = Audit(account, self.desks, lambda: self.dispatcher.ask("compare"), now)

    def tell(self, what: str, profile: str = "", level: Level = "info", **facts: Any) -> None:
        """Tell the listeners; one that raises is told nothing more."""
        if not self.listeners:
            return
        note = Note(self._now(), level, what, profile, facts)
        for listener in self.listeners:
            try:
                listener(note)
            except Exception as error:  # noqa: BLE001 - trading does not end for who only hears of it
                self.listeners = tuple(one for one in self.listeners if one is not listener)
                reason = f"a listener raised {type(error).__name__}: {error}"
                self.tell("trouble", level="error", task="listener", reason=reason)

    def add(self, desk: Desk) -> None:
        """Take a desk in; what a shadow had open is open again, or ends if that was asked for."""
        self.desks[desk.name] = desk
        if desk.profile.is_shadow:
            self.shadows[desk.name] = ShadowVenue(desk.engine)
            self.book(desk, self.shadows[desk.name].resume(self._now()))

    def remove(self, name: str) -> None:
        """Let a desk go."""
        self.desks.pop(name)
        self.shadows.pop(name, None)

    def on_bar(self, bar: Bar) -> None:
        """Take a minute bar: shadows are filled, stops are watched, slices that it completes are decided on.

        Minutes that the stream did not bring are fetched first, so that larger bars are whole and no stop misses them.
        A bar that does not open on the minute, or closes in the future, has a wrong stamp: it is left alone, and the
        history has the minute.
        """
        if wrong := self._wrong_stamp(bar):
            self.tell("trouble", level="warning", task="bar", reason=wrong)
            return
        for universe in self.universes.values():
            gap = universe.builder.gap(bar)
            if gap is not None:
                self._fill(universe, bar.symbol, *gap)
        self._meet(bar)
        for universe in self.universes.values():
            for market in universe.builder.take(bar):
                self.decide(universe, market)

    def _wrong_stamp(self, bar: Bar) -> str:
        if bar.open_time % MINUTE_NS:
            return f"{bar.symbol}: a bar opens at {iso(bar.open_time)}, wanted a whole minute"
        if bar.time > self._latest():
            return f"{bar.symbol}: a bar closes at {iso(bar.time)}, and it is {iso(self._now())}"
        return ""

    def _meet(self, bar: Bar) -> None:
        """Show a minute to shadows and stops; one that comes again, or behind a later one, is known already."""
        if bar.open_time < self.met.get(bar.symbol, bar.open_time):
            return
        self.met[bar.symbol] = bar.time
        for name, shadow in self.shadows.items():
            if bar.symbol in self.desks[name].profile.bundle.symbols:
                self.book(self.desks[name], shadow.match(bar))
        self.on_price(Price.of(bar))

    def on_quote(self, quote: Quote) -> None:
        """Take a quote: stops are watched, and spreads."""
        self.on_price(Price.of_quote(quote))

    def on_price(self, price: Price) -> None:
        """Show a price to the engines that heed it; what none heeds is not journalled."""
        heeding = [
            desk
            for desk in self.desks.values()
            if price.symbol in desk.engine.portfolio.symbols and desk.engine.heeds(price)
        ]
        if heeding:
            self._is_ahead = True
            self._commit([encode(price)], [(desk, desk.take(desk.engine.on(price))) for desk in heeding])

    def on_timer(self, now: int) -> None:
        """Tell the time to the engines that wait for it, and close slices whose deadline has passed."""
        timer, is_new = Timer(now), now > self.told
        heeding = [desk for desk in self.desks.values() if is_new and desk.engine.heeds(timer)]
        self.told = max(now, self.told)
        if heeding:
            self._is_ahead = True
            self._commit([encode(timer)], [(desk, desk.take(desk.engine.on(timer))) for desk in heeding])
        for universe in self.universes.values():
            for span in universe.builder.overdue(now):
                self._fill(universe, *span)
            for market in universe.builder.expire(now):
                self.decide(universe, market)

    def _fill(self, universe: Universe, symbol: str, start: int, end: int) -> None:
        """Take the minutes of a span from the venue's history; they are known now, not when they closed."""
        now = self._now()
        for bar in self._fetch(symbol, start, end):
            late = replace(bar, known=max(now, bar.known))
            self._meet(late)
            for market in universe.builder.take(late):
                self.decide(universe, market)

    def catch_up(self, symbol: str, end: int) -> Iterator[Bar]:
        """Yield the minutes that shadows and stops have not met, up to ``end`` (ns), as they are known now."""
        now, start = self._now(), self.met.get(symbol, end)
        for bar in self._fetch(symbol, start, end) if start < end else ():
            yield replace(bar, known=max(now, bar.known))

    def decide(self, universe: Universe, market: Slice) -> None:
        """Ask the desks of a universe about a slice; one whose successor has closed already is passed over.

        After an outage only the present counts.
        """
        rows = universe.rows(market)
        if self._now() >= market.time + universe.width:
            self.pass_over(universe.name, [market])
            return
        given: list[Row] = []
        said: list[tuple[Desk, Sequence[Said]]] = []
        for desk in self._of(universe):
            own = rows[desk.profile.bundle.features.fingerprint]
            signals = desk.forecaster.update(market, own)
            if signals:
                given.append(encode_signals(signals, desk.name))
            self.on_predicted(desk, signals, own)
            self._is_ahead = True
            latched = desk.engine.risk.halted
            said.append((desk, desk.decide(market, signals)))
            if self.listeners:
                self.tell("decided", desk.name, **decided(desk, market, signals, said[-1][1]))
                if desk.engine.risk.halted != latched:
                    self.tell("halted", desk.name, "error", reason=desk.engine.risk.halted)
        self._commit([*given, encode(market, universe.name)], said)
        self.on_decided(universe)

    def pass_over(self, universe: str, slices: Sequence[Slice]) -> None:
        """Journal slices that are not decided on, and show them to the strategies' past."""
        content = {"slices": [slice_to_list(market) for market in slices]}
        last = slices[-1].time
        self.journal.note("warm", f"warm:{universe}:{last}", last, content, universe)
        for desk in self._of(self.universes[universe]):
            desk.engine.warm(slices)

    def on_update(self, update: OrderUpdate) -> None:
        """Take a word of the venue's stream on an order; one on an order that is not ours makes us compare."""
        told = update.data["order"]
        found = self.find(told["client_order_id"])
        if found is None:
            self.tell("stranger", level="warning", order=told["client_order_id"], event=update.data["event"])
            self.audit.ask()
            return
        desk, order = found
        beside = {name: update.data.get(name) for name in ("event", "price", "qty")}
        if (held := update.data.get("position_qty")) is not None:
            gained = self.account.gained(order.symbol, Decimal(str(held)))
            instrument = desk.engine.venue.instrument(order.symbol)
            if gained is not None and order.side == "buy":
                beside["gained"] = instrument.lots(gained)
        word = {**told, **beside}
        if desk.is_late(order, word, update.time):
            self.corrections.add(order)
            self._look_up([order])
        else:
            self.book(desk, desk.outcomes(order, word, update.time))

    def find(self, order_id: str) -> tuple[Desk, Order] | None:
        """Return an order by its id, with the desk that gave it."""
        for desk in self.desks.values():
            if order_id in desk.orders:
                return desk, desk.orders[order_id]
        return None

    def book(self, desk: Desk, facts: Sequence[Fact]) -> None:
        """Journal and book what became of an order, and do what the engine makes of it.

        Raises
        ------
        HaltedError
            The order was filled after it had ended.
        """
        for fact in facts:
            stuck = desk.engine.held.stuck
            late = isinstance(fact, Fill) and fact.order_id not in desk.engine.in_flight
            self._is_ahead = True
            said = desk.on(fact)
            self.audit.moved()
            self._commit([encode(fact)], [(desk, said)])
            if isinstance(fact, Fill | Adjustment) and not desk.profile.is_shadow:
                self.account.take(fact, desk.orders, desk.engine.venue)
            if isinstance(fact, Fill):
                if self.listeners:
                    self.tell("fill", desk.name, **self._telling.filled(desk, fact))
            elif not isinstance(fact, Adjustment) and self.listeners:
                reason = fact.reason if isinstance(fact, Rejection) else "ended"
                self.tell("ended", desk.name, "warning", **self._telling.ended(desk, fact.order_id, reason))
            if isinstance(fact, Rejection) and fact.symbol in desk.engine.held.stuck:
                if fact.symbol not in stuck:
                    self.tell("stuck", desk.name, "error", symbol=fact.symbol, reason=fact.reason)
                if desk.name not in self.shadows:
                    self.audit.ask()
            if late:
                self.halt(f"order {fact.order_id} was filled further after it had ended")  # type: ignore[union-attr]

    def on_answer(self, answer: Answer) -> None:
        """Take what came of a request.

        Raises
        ------
        HaltedError
            The keys are refused, or the books differ from the venue's.
        """
        if isinstance(answer.trouble, AuthenticationError):
            self.halt(str(answer.trouble))
        self.trouble = "" if answer.trouble is None else str(answer.trouble)
        order = answer.order
        if order is not None:
            self.unanswered.discard(order.id)
            (self.lost.discard if answer.trouble is None else self.lost.add)(order.id)
        if answer.trouble is not None:
            self.tell("trouble", level="warning", task=answer.task, reason=str(answer.trouble))
            if answer.task == "compare":
                self.audit.fail()
            return
        if answer.standing is not None:
            self._judge(answer.standing)
        if order is None or (known := self.find(order.id)) is None:
            return
        desk = known[0]
        if answer.refused is not None:
            self.book(desk, [answer.refused])
        elif answer.told is not None:
            told: Mapping[str, Any] = answer.told
            if answer.task == "look":
                told = self.corrections.word(order, told, desk.booked(order.id))
            facts = desk.outcomes(order, told)
            if any(isinstance(fact, Fill) for fact in facts):
                self.account.gained(order.symbol, None)
            self.book(desk, facts)
            self._look_up(self.corrections.orders)
            if answer.task == "look" and order.id in desk.engine.working.asked:
                self._send(desk, [Cancel(order.id, desk.name, order.symbol, self._now())])  # it was lost on the way
        elif answer.task != "send" and order.id in desk.engine.in_flight:
            self.resend(desk, order)

    def _judge(self, standing: Standing) -> None:
        """Halt when the books differ from the venue's; book the fees that it took where they were in doubt."""
        found = self.audit.take(standing)
        if found.difference:
            self.halt(found.difference)
        for desk, fee in found.fees:
            self.book(desk, [fee])
        if found.settled is not None:
            now = self._now()
            identity = self.journal.unused(f"settled:{now}")
            self.journal.note("settled", identity, now, found.settled, durable=False)

    def resend(self, desk: Desk, order: Order) -> None:
        """Send an order again that the venue does not know: while its slice is the last one, or if it reduces.

        One that has been asked to end, or that a halt or a pause would refuse by now, ends here.
        """
        width, engine = self.universes[desk.profile.universe].width, desk.engine
        is_open = not (engine.risk.halted or engine.risk.paused) and self._now() < order.time + width
        if order.id not in engine.working.asked and (is_open or reduces(order, engine)):
            self._send(desk, [order])
        else:
            self.book(desk, [Cancellation(order.id, order.profile, order.symbol, self._now())])

    def command(self, command: Command, profile: str = "") -> None:
        """Journal an operator's command and do it, for one desk or all."""
        chosen = [desk for desk in self.desks.values() if profile in ("", desk.name)]
        command = replace(command, id=self.journal.unused(f"command:{command.id}").removeprefix("command:"))
        self.tell("command", profile, "warning", action=command.action, reason=command.reason)
        self._is_ahead = True
        self._commit([encode(command, profile)], [(desk, desk.take(desk.engine.on(command))) for desk in chosen])

    def halt(self, reason: str) -> None:
        """Latch every gate, ask for the end of what would open positions, and raise HaltedError.

        Engines that have gone on beyond the journal, because it did not take what they gave, are not asked any more:
        the venue is, order by order. What is asked is waited for, some seconds at most.
        """
        now = self._now()
        self.tell("halted", level="error", reason=reason)
        try:
            if self._is_ahead:
                self._withdraw()
                self.journal.note("halted", f"halted:{now}", now, {"reason": reason})
            else:
                self.command(Command(f"halt-{now}", "halt", now, reason))
        except JournalError as error:
            raise HaltedError(f"{reason} (and the halt is not in the journal: {error})") from error
        finally:
            self.dispatcher.finish(HALT_SECONDS)
        raise HaltedError(reason)

    def _withdraw(self) -> None:
        """Ask for the end of what would open positions without the engines; the next start learns what became of it."""
        for desk in self.desks.values():
            for order in () if desk.profile.is_shadow else desk.engine.in_flight.values():
                if not reduces(order, desk.engine):
                    self.dispatcher.ask("cancel", order)

    @property
    def open_orders(self) -> list[Order]:
        """The orders that the venue should have and is not asked about at present."""
        return [
            order
            for desk in self.desks.values()
            if not desk.profile.is_shadow
            for order in desk.engine.in_flight.values()
            if order.id not in self.unanswered
        ]

    def look(self) -> None:
        """Ask the venue about every order that it should have, and compare the books."""
        self.lost.clear()
        self._look_up([*self.open_orders, *self.corrections.orders])
        self.audit.ask()

    def _look_up(self, orders: Iterable[Order]) -> None:
        """Ask the venue about orders, unless an answer about them is owed already."""
        for order in orders:
            if order.id not in self.unanswered and (known := self.find(order.id)) is not None:
                self.corrections.asked(order, known[0].booked(order.id))
                self.unanswered.add(order.id)
                self.dispatcher.ask("look", order)

    def _of(self, universe: Universe) -> list[Desk]:
        return [desk for desk in self.desks.values() if desk.profile.universe == universe.name]

    def _commit(self, rows: list[Row], said: Sequence[tuple[Desk, Sequence[Said]]]) -> None:
        """Write facts and what the engines gave in one transaction, then act on it.

        What is acted on has reached the disk first. Facts alone may be lost by a power cut, not by the death of the
        process: the venue tells what became of an order again.
        """
        given = [outcome for _, outcomes in said for outcome in outcomes]
        self._is_ahead = True
        acts = any(isinstance(outcome, Order | Cancel) for outcome in given)
        self.journal.write([*rows, *map(encode, given)], durable=acts or rows[0][0] == "command")
        self._is_ahead = False
        for desk, outcomes in said:
            self._send(desk, outcomes)

    def _send(self, desk: Desk, outcomes: Sequence[Said]) -> None:
        shadow = self.shadows.get(desk.name)
        for outcome in outcomes:
            if isinstance(outcome, Rejection):
                if self.listeners:
                    self.tell("refused", desk.name, **refused(desk, outcome))
                continue
            order = outcome if isinstance(outcome, Order) else desk.orders[outcome.order_id]
            task: Literal["send", "cancel"] = "send" if isinstance(outcome, Order) else "cancel"
            if self.listeners:
                facts = self._telling.sent(desk, order, self._now()) if task == "send" else {}
                self.tell(task, desk.name, **(facts or self._telling.ordered(desk, order)))
            if shadow is not None:
                self._shadow(desk, shadow, task, order)
            else:
                self.audit.moved()
                self.unanswered.add(order.id)
                self.dispatcher.ask(task, order, reduces=reduces(order, desk.engine))

    def _shadow(self, desk: Desk, shadow: ShadowVenue, task: str, order: Order) -> None:
        ended = shadow.submit(at_venue(order)) if task == "send" else shadow.cancel(order, self._now())
        if ended is not None:
            self.book(desk, [ended])
