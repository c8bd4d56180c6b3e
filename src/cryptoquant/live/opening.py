"""The opening: from a journal, the venue and the store to desks that may trade, or to a halt with its reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError, JournalError, TradingError
from cryptoquant.live.broker import AlpacaBroker
from cryptoquant.live.damage import reading
from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Answer, Standing
from cryptoquant.live.floor import Floor
from cryptoquant.live.history import history
from cryptoquant.live.journal import Entry, Journal, encode
from cryptoquant.live.latch import latched
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import ITSELF, Replay, replay_all
from cryptoquant.live.start import Start, check_change, check_strategy, limits_to_dict
from cryptoquant.live.universe import Checkpoints, Past, Universe, laid_over
from cryptoquant.market.slice import Slice
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, span_ns
from cryptoquant.models.bundle import STRATEGIES, strategy_to_dict
from cryptoquant.models.forecaster import Forecaster
from cryptoquant.models.monitoring.predictions import bundle_digest
from cryptoquant.models.registry import Registry
from cryptoquant.trading.engine import Command, Engine
from cryptoquant.trading.venue import Venue

DEADLINE_NS = 20 * NANOSECONDS_PER_SECOND
MINUTE_NS = 60 * NANOSECONDS_PER_SECOND


@dataclass(slots=True)
class Opening:
    """Makes the floor of a trader.

    Parameters
    ----------
    profiles
        What shall trade; others that the journal holds are taken from the registry.
    now
        The venue's present, nanoseconds UTC.
    """

    profiles: Sequence[Profile]
    connection: Alpaca
    store: Store
    journal: Journal
    broker: AlpacaBroker
    checkpoints: Checkpoints
    now: int
    registry: Registry | None = None
    past: dict[str, Past] = field(default_factory=dict)
    known: dict[str, Replay] = field(default_factory=dict)

    def open(self, floor: Floor) -> None:
        """Bring the desks up to what the journal says, and the features up to the present.

        Raises
        ------
        HaltedError
            The journal belongs to other profiles, or the venue holds coins that no journal explains.
        ConfigurationError, VenueError, DataError, JournalError
            From the bundle, the venue, the store or the journal.
        """
        entries = self.journal.entries()
        if any(entry.kind == "profile" for entry in entries):
            self.known = replay_all(entries, self._strategies())
        elif lost := sorted({entry.kind for entry in entries} - {"account"}):
            found = f"{len(entries)} rows ({', '.join(lost)}) and no profile"
            raise JournalError(f"{self.journal.path} is damaged: found {found}, wanted the profiles that wrote them")
        standing = self.broker.standing()
        floor.account.spare = self._spare(entries, standing)
        floor.account.recall(entries, self.known)
        self.profiles = self._going_on(floor)
        for name, one in self.known.items():
            if not one.is_removed and name not in [profile.name for profile in self.profiles]:
                self.profiles = [*self.profiles, self._registered(name, one)]
        if not self.profiles:
            raise HaltedError(f"every profile of {self.journal.path} was removed: give one of another name")
        costs = self.profiles[0].bundle.costs
        self.broker.venue = Venue.alpaca(costs, self.broker.instruments(self.symbols).values())
        for profile in self.profiles:
            self.add(floor, profile, standing)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the profiles trade."""
        return tuple(dict.fromkeys(symbol for one in self.profiles for symbol in one.bundle.symbols))

    def _going_on(self, floor: Floor) -> list[Profile]:
        """Return the profiles that were given as the journal has them now: without those that were removed.

        The same configuration starts again, by a service manager perhaps, and what was changed meanwhile stays so.
        """
        found: list[Profile] = []
        for profile in self.profiles:
            known = self.known.get(profile.name)
            if known is None:
                found.append(profile)
            elif known.is_removed:
                floor.tell("profile", profile.name, "warning", action="removed", reason="it was removed: left out")
            else:
                found.append(self._limited(floor, self._swapped(profile, known), known))
        return found

    def _swapped(self, profile: Profile, known: Replay) -> Profile:
        """Return a profile with the bundle that was swapped in since it was set up as it is given."""
        if profile.reference != known.start.reference or known.reference == known.start.reference:
            return profile
        bundle = profile.bundle
        if bundle_digest(bundle) != known.model:
            if self.registry is None or not known.version:
                raise HaltedError(
                    f"profile {profile.name} was swapped from {profile.reference} to {known.reference}"
                    f" {known.version}: give that bundle, or the registry that has it"
                )
            bundle = self.registry.load(known.version)
        return replace(profile, bundle=bundle, reference=known.reference, version=known.version)

    def _limited(self, floor: Floor, profile: Profile, known: Replay) -> Profile:
        """Return a profile with its limits in force; others than it was last started with are journalled and taken."""
        if profile.limits not in (known.given, known.engine.limits):
            content = {"action": "limits", "limits": limits_to_dict(profile.limits), "given": True}
            identity = f"profile:{profile.name}:limits:{self.now}"
            self.journal.note("profile", identity, self.now, content, profile.name)
            floor.tell("profile", profile.name, "warning", action="limits", limits=content["limits"])
            known.engine.change(limits=profile.limits)
        return replace(profile, limits=known.engine.limits)

    def add(self, floor: Floor, profile: Profile, standing: Standing) -> Desk:
        """Set one profile up, as the journal knows it or as new, and bring it to the present.

        What may fail comes first: a profile is in the journal, and has its cash, once it can trade. One that joins
        while others trade sees no slice that is still to come for them.
        """
        known, bundle = self.known.get(profile.name), profile.bundle
        if known is not None:
            self._check(profile, known)
        past = self._past(profile)
        universe = floor.universes.get(profile.universe)
        if universe is None:
            after = int(past.panel.times[-1])
            universe = Universe(profile.universe, bundle.symbols, bundle.timeframe, after, DEADLINE_NS)
        before = self._before(past)
        before = Past(before.panel.between(0, universe.seen), before.known, before.seen)
        forecaster = self._forecaster(floor, universe, profile, before)
        engine = self._begin(floor, profile, standing, before) if known is None else known.engine
        capital = engine.portfolio.cash_value if known is None else known.start.cash
        engine.portfolio.numbers()  # is compiled before the first slice, as the forecaster and the features are
        floor.universes[profile.universe] = universe
        desk = Desk(profile, engine, forecaster, capital)
        if known is not None:
            _recall(desk, known)
        floor.add(desk)
        return desk

    def swap(self, floor: Floor, desk: Desk, profile: Profile) -> None:
        """Let a desk trade by the bundle of ``profile`` from its next slice on, and journal that."""
        check_strategy(profile.bundle.strategy, desk.profile.strategies)
        check_change(desk.engine, profile.bundle.strategy, profile.bundle.execution)
        panel = history(profile.bundle, self.store, self.connection, self.now)
        universe = floor.universes[profile.universe]
        forecaster = self._forecaster(floor, universe, profile, Past(panel.between(0, universe.seen)))
        note_model(self.journal, profile, self.now)
        desk.swap(profile, forecaster)

    def _forecaster(self, floor: Floor, universe: Universe, profile: Profile, past: Past) -> Forecaster:
        """Return the bundle's forecaster with its past, and bring its features up to the present."""
        bundle = profile.bundle
        if bundle.features.reads_ticks:
            raise TradingError(f"{bundle.name}: its features read ticks, and this feed brings bars only")
        kept = self.checkpoints.load(profile.universe, bundle.features.fingerprint)
        try:
            universe.add(bundle.features, past, kept)
        except ValueError as error:  # what the features remembered is damaged: the history gives it again
            floor.tell("trouble", profile.name, "warning", task="features", reason=str(error))
            universe.add(bundle.features, past)
        forecaster = bundle.forecaster()
        if bundle.predictor.window > 1:
            forecaster.warm(bundle.features.compute_panel(laid_over(past.panel, past.known)))
        forecaster.ready()
        return forecaster

    def catch_up(self, floor: Floor, heed: Callable[[], None]) -> None:
        """Learn what became of the orders in flight, compare the books, and decide on a slice that no one decided on.

        What the operator has asked meanwhile is done first, by ``heed``: a halt comes before an order is sent again.

        Raises
        ------
        HaltedError
            The books and the venue disagree, or the journal is not what its engines would do.
        """
        for name, one in self.known.items():
            if name in floor.desks and not one.is_equal:
                floor.halt(f"the journal is not what profile {name} would do: {one.difference}")
        self._unpause(floor)
        heed()
        for order in floor.open_orders:
            floor.on_answer(Answer("look", order, told=self.broker.status(order.id)))
        if found := floor.audit.difference(self.broker.standing()):
            floor.halt(found)
        self._meet_missed(floor)
        for universe in floor.universes.values():
            self._pass_missed(floor, universe)
        floor.on_timer(self.now)

    def _meet_missed(self, floor: Floor) -> None:
        """Show shadows and stops the minutes since the journal's last: an exit that was reached meanwhile acts now."""
        floor.met |= self._met()
        waiting = [desk for desk in floor.desks.values() if desk.is_waiting]
        symbols = dict.fromkeys(symbol for desk in waiting for symbol in desk.profile.bundle.symbols)
        missed = [bar for symbol in symbols for bar in floor.catch_up(symbol, self.now)]
        for bar in sorted(missed, key=lambda one: one.time):
            floor.on_bar(bar)

    def _met(self) -> dict[str, int]:
        """Return up to when the journal shows that shadows and stops have seen minutes, by symbol."""
        told = max((entry.time for entry in self.journal.entries() if entry.kind == "timer"), default=0)
        found: dict[str, int] = {}
        for one in self.known.values():
            for symbol in one.start.symbols:
                seen = max(one.seen, told, one.start.time // MINUTE_NS * MINUTE_NS)
                found[symbol] = max(seen, found.get(symbol, 0))
        for entry in self.journal.entries():
            if entry.kind == "price":
                with reading(entry):
                    symbol = entry.id.split(":")[1]
                found[symbol] = max(entry.time, found.get(symbol, 0))
        return found

    def _unpause(self, floor: Floor) -> None:
        """End the pauses that the trader before gave itself, and did not live to end."""
        for name, one in self.known.items():
            if name in floor.desks and one.engine.risk.paused and one.paused_by.startswith(ITSELF):
                floor.command(Command(f"unpause-{name}-{self.now}", "unpause", self.now, "a new start"), name)

    def _pass_missed(self, floor: Floor, universe: Universe) -> None:
        past = self.past[universe.name]
        missed = tuple(past.panel.between(past.seen, self.now)) if past.seen else ()
        desks = [desk for desk in floor.desks.values() if desk.profile.universe == universe.name]
        lookback = max(desk.engine.strategy.lookback for desk in desks)
        fresh = [market for market in missed[-1:] if self._is_fresh(market, universe.width)]
        if passed := missed[: len(missed) - len(fresh)][-lookback if lookback > 1 else len(missed) :]:
            floor.pass_over(universe.name, passed)
        for market in fresh:
            floor.decide(universe, Slice(market.time, max(market.known, self.now), market.symbols, market.values))

    def _is_fresh(self, market: Slice, width: int) -> bool:
        return self.now < market.time + width

    def _before(self, past: Past) -> Past:
        """Return the past without a last slice that is still to be decided on."""
        last = int(past.panel.times[-1])
        if past.seen and last > past.seen and self.now < last + past.panel.width:
            return Past(past.panel.between(0, last - 1), past.known)
        return past

    def _past(self, profile: Profile) -> Past:
        """Return the past of a profile's universe, by all profiles of it that the journal knows."""
        if profile.universe not in self.past:
            panel = history(profile.bundle, self.store, self.connection, self.now)
            width = span_ns(profile.bundle.timeframe)
            all_known = [one for one in self.known.values() if one.start.universe == profile.universe]
            slices = {market.time: market for one in all_known for market in one.slices}
            present = [one for one in all_known if not one.is_removed]
            seen = max((max(one.start.time // width * width, one.seen) for one in present), default=0)
            self.past[profile.universe] = Past(panel, tuple(slices[time] for time in sorted(slices)), seen)
        return self.past[profile.universe]

    def _begin(self, floor: Floor, profile: Profile, standing: Standing, past: Past) -> Engine:
        """Journal the setup of a new profile and return its engine."""
        bundle, account = profile.bundle, floor.account
        if not profile.is_shadow:
            others = {s for desk in floor.desks.values() for s in desk.profile.bundle.symbols} | account.left.keys()
            strange = {
                s: str(q) for s, q in standing.positions.items() if s in bundle.symbols and s not in others and q
            }
            if strange:
                raise HaltedError(
                    f"the venue holds {strange}, which no journal explains: close it, or give its journal"
                )
        cash = account.spare if profile.capital is None else profile.capital
        if not profile.is_shadow and cash > account.spare:
            raise HaltedError(f"profile {profile.name}: capital {cash:.2f} is more than the spare {account.spare:.2f}")
        venue = Venue.alpaca(bundle.costs, self.broker.instruments(bundle.symbols).values())
        length = bundle.strategy.lookback
        # Slices that nobody decided on while the trader was away come to all desks of the universe, to this one too.
        warm = tuple(past.panel.between(0, past.seen or self.now))[-length:] if length > 1 else ()
        start = Start.of(profile, venue, cash, self.now, warm)
        check_strategy(bundle.strategy, profile.strategies)
        engine = self._enter(floor, start)
        if not profile.is_shadow:
            account.spare -= cash
        return engine

    def _enter(self, floor: Floor, start: Start) -> Engine:
        """Journal a setup and return its engine, under the halt and the pause that are in force for all.

        In one transaction: once the setup is in the journal, the next start would let the profile trade.
        """
        name, engine = start.profile, start.engine()
        content = {"action": "add", **start.to_dict()}
        rows = [self.journal.row("profile", f"profile:{name}:{self.now}", self.now, content, name)]
        latches = latched(self.journal.entries())
        for action, reason in latches.items():
            identity = self.journal.unused(f"command:{action}-{name}-{self.now}").removeprefix("command:")
            command = Command(identity, action, self.now, reason)
            engine.on(command)
            rows.append(encode(command, name))
        self.journal.write(rows, durable=True)
        for action, reason in latches.items():
            floor.tell("command", name, "warning", action=action, reason=reason)
        return engine

    def _check(self, profile: Profile, known: Replay) -> None:
        """Refuse a profile whose universe changed; journal a model that is another one than the last."""
        bundle, start = profile.bundle, known.start
        found = (start.symbols, start.timeframe, known.reference)
        wanted = (bundle.symbols, bundle.timeframe, profile.reference)
        if found != wanted:
            raise HaltedError(f"{self.journal.path} belongs to {found}, this trader is {wanted}")
        if profile.is_shadow != start.is_shadow:
            was = "a shadow" if start.is_shadow else "no shadow"
            raise HaltedError(f"profile {profile.name} of {self.journal.path} is {was}: take another name")
        if bundle_digest(bundle) != known.model:
            check_change(known.engine, bundle.strategy, bundle.execution)
            note_model(self.journal, profile, self.now)
            known.engine.change(strategy=bundle.strategy, execution=bundle.execution)

    def _registered(self, name: str, known: Replay) -> Profile:
        """Return a profile that only the journal knows, with the bundle that the registry has of it."""
        if self.registry is None or not known.version:
            raise HaltedError(f"{self.journal.path} also belongs to profile {name}: give it, or the registry")
        start = known.start
        return Profile(
            name,
            self.registry.load(known.version),
            known.reference,
            known.version,
            limits=known.engine.limits,
            on_stop=start.on_stop,
            is_shadow=start.is_shadow,
        )

    def _spare(self, entries: Sequence[Entry], standing: Standing) -> float:
        """Return the cash that no profile was given; of a new account all of it, which is journalled."""
        begun = next((entry for entry in entries if entry.kind == "account"), None)
        if begun is None:
            self.journal.note("account", f"account:{self.now}", self.now, {"cash": str(standing.cash)})
            return float(standing.cash)
        given = sum(one.start.cash for one in self.known.values() if not one.start.is_shadow)
        with reading(begun):
            return float(begun.content()["cash"]) - given

    def _strategies(self) -> Mapping[str, type[Any]]:
        return dict(STRATEGIES) | {name: cls for one in self.profiles for name, cls in one.strategies.items()}


def note_model(journal: Journal, profile: Profile, now: int) -> None:
    """Journal that a profile trades by another model from its next slice on."""
    content = {
        "action": "model",
        "model": bundle_digest(profile.bundle),
        "reference": profile.reference,
        "version": profile.version,
        "strategy": strategy_to_dict(profile.bundle.strategy),
        "execution": profile.bundle.execution.to_dict(),
    }
    journal.note("profile", f"profile:{profile.name}:model:{now}", now, content, profile.name)


def _recall(desk: Desk, known: Replay) -> None:
    """Give a desk the counts and orders of its journal."""
    desk.orders = {order.id: order for order in known.orders}
    desk.slices, desk.refused = len(known.slices), len(known.refused)
    for fact in known.booked:
        desk.count(fact)
