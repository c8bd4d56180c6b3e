"""The trader: feed, features, model, signal, strategy, risk, journal, broker. On paper only, and in doubt it halts."""

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.clock import SandboxClock, WallClock, clock_of
from cryptoquant.data.lease import Lease
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.store import Store
from cryptoquant.errors import CryptoquantError, HaltedError
from cryptoquant.live.account import Account
from cryptoquant.live.asking import POLL_SECONDS, put
from cryptoquant.live.broker import AlpacaBroker
from cryptoquant.live.changes import Changes
from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Dispatcher
from cryptoquant.live.feed import Feed
from cryptoquant.live.floor import Floor
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.journal import Journal, writer_of
from cryptoquant.live.minutes import Minutes
from cryptoquant.live.note import Level, Listener
from cryptoquant.live.opening import Opening
from cryptoquant.live.operator import Operator
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.profile import OnStop, Profile, check_profiles
from cryptoquant.live.replay import Replay, replay, replay_all
from cryptoquant.live.shift import Shift
from cryptoquant.live.status import State, TraderStatus
from cryptoquant.live.stopping import Stopping
from cryptoquant.live.summary import summary
from cryptoquant.live.turn import Turn
from cryptoquant.live.universe import Checkpoints, Floats, Universe
from cryptoquant.market.signal import Signal
from cryptoquant.market.time import iso, span_ns
from cryptoquant.models.bundle import STRATEGIES, Bundle
from cryptoquant.models.monitoring.predictions import PredictionJournal
from cryptoquant.models.registry import Registry
from cryptoquant.performance.report import Report
from cryptoquant.settings import settings
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Venue

WAYS = 4  # requests to the venue at the same time; in lock-step one, so that orders arrive in their order
ANSWER_SECONDS = 30.0  # that another thread waits for the one that trades


class Trader:
    """Trades profiles side by side on one paper account.

    Every fact is journalled before it is acted on. A trader that starts on a journal that it finds makes the same books
    from it again, asks the venue about every open order by its client id, compares positions, and is ready or halted.
    What Alpaca's crypto venue lacks (stops, targets, trailing stops, lives of orders, slices over time) it holds
    itself, and acts on it while it runs.

    Parameters
    ----------
    profiles
        What trades: a bundle, a profile or several.
    connection
        Alpaca's paper account, or a sandbox.
    store
        Where market data is recorded, and where history for the features comes from; what is missing up to now is
        downloaded. A local folder.
    reference, limits, profile
        Of a bundle that trades alone: where it came from, for example ``btc-eth-1h@champion``, its limits, and the name
        of its profile.
    predictions
        Where predictions are kept before they are acted on; a trader that cannot keep them halts.
    registry
        Where bundles of profiles come from that are added, or swapped in, while it runs.
    listeners
        Hear every decision and trade.

    Raises
    ------
    ConfigurationError
        A bundle's execution or costs ask for what paper trading cannot do.
    """

    def __init__(
        self,
        profiles: Bundle | Profile | Sequence[Profile],
        connection: Alpaca,
        store: Store,
        *,
        reference: str = "",
        limits: RiskLimits | None = None,
        profile: str = "main",
        journal: str | Path | None = None,
        predictions: PredictionJournal | None = None,
        registry: Registry | None = None,
        options: TraderOptions | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        if isinstance(profiles, Bundle):
            profiles = Profile(profile, profiles, reference, limits=limits or RiskLimits())
        self.profiles = [profiles] if isinstance(profiles, Profile) else list(profiles)
        check_profiles(self.profiles)
        self._given = tuple(self.profiles)
        self.connection, self.store, self.registry = connection, store, registry
        self.predictions, self.listeners = predictions, tuple(listeners)
        self.options = options or TraderOptions()
        self.state: State = "new"
        self.reason = ""
        self.clock: SandboxClock | WallClock = clock_of(connection)
        self.journal_path = Path(journal or settings().journal)
        self._exits = ExitStack()
        self._floor: Floor | None = None
        self._is_open = False
        self._turn = Turn()

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
        on_stop: OnStop = "keep",
        **more: Any,
    ) -> "Trader":
        """Return a trader of a registered bundle, ``name@alias``, on a paper account.

        Registry, store and journal default to the places of the settings, the predictions to a file beside the journal
        (``journal.predictions.jsonl``), the broker to Alpaca with the keys of the environment. ``more`` is as for the
        class.
        """
        shelf, home = registry or Registry(), store or Store(settings().store)
        own = Profile.of(reference, shelf, name=profile, limits=limits or RiskLimits(), on_stop=on_stop)
        place = Path(journal or settings().journal)
        kept = predictions or PredictionJournal(place.with_suffix(".predictions.jsonl"))
        return cls(own, broker or Alpaca(), home, journal=place, predictions=kept, registry=shelf, **more)

    def open(self) -> "Trader":
        """Make the books, connect the streams, learn what became of open orders, compare, and warm the features up.

        Raises
        ------
        HaltedError
            The books and the venue disagree; the reason is journalled.
        AuthenticationError, UnknownSymbolError, VenueError, DataError, StoreError, JournalError
            From the venue, the store or the journal; two traders on one account, or one journal, are refused.
        """
        if self.state not in ("ready", "running"):
            self._turn.take(Stopping())
            try:
                self._open()
            finally:
                self._turn.leave()
        return self

    def _open(self) -> None:
        if self.state == "ready":
            return
        before, self.state = self.state, "opening"
        try:
            self._prepare()
        except BaseException as error:
            self.state = before
            if isinstance(error, HaltedError):
                self.state, self.reason = "halted", str(error)
            with suppress(CryptoquantError, OSError):  # what did not start tells more than what does not end
                self._exits.close()
            raise
        self.state, self.reason, self._is_open = "ready", "", True
        for name, one in self.status().profiles.items():
            self.floor.tell("started", name, reference=self.floor.desks[name].profile.reference, equity=one.equity)

    def _prepare(self) -> None:
        self.journal = self._held(Journal(self.journal_path), "close")
        if self.connection.api_key:
            self._held(account_lease(self.connection), "release")
        limited = self.connection.control_url is None
        bucket = TokenBucket(self.options.requests_per_minute) if limited else None
        self.broker = AlpacaBroker(self.connection, Venue.alpaca(self.profiles[0].bundle.costs), bucket)
        self.checkpoints = Checkpoints(self.journal_path.with_suffix(".features"))
        self.minutes = Minutes(self.connection, self.options.patience.venue, self._is_busy, self._history_is_away)
        times = {"now": self.clock.now, "latest": self.clock.latest}
        floor = self._floor = Floor(self.journal, Account(), {}, fetch=self.minutes.fetch, **times)
        floor.listeners, floor.on_predicted, floor.on_decided = self.listeners, self._keep, self._checkpoint
        self.opening = self._opening()
        self.opening.open(floor)
        self.profiles = list(self.opening.profiles)
        self._given = (*self._given, *self.profiles)
        symbols, venue = self.opening.symbols, self.broker.venue
        self.feed = Feed(
            self.connection,
            self.store,
            symbols,
            self.clock.stamp,
            channels=self.options.channels,
            follows=self.options.follows,
        )
        in_turn = isinstance(self.clock, SandboxClock) and self.clock.is_lockstep
        brokers = [AlpacaBroker(self.connection, venue, bucket) for _ in range(1 if in_turn else WAYS)]
        floor.dispatcher = self._held(Dispatcher(brokers, self.feed.put, in_turn=in_turn), "stop")
        self._held(self.feed, "stop").start()
        self.inbox = self._held(Inbox(self.journal_path), "close")
        changes = Changes(floor, symbols, self._opening)
        self.operator = Operator(floor, changes, self.registry, self.clock.now)
        self.opening.catch_up(floor, lambda: self.operator.heed(self.inbox, opens=True))
        floor.dispatcher.start()
        self.shift = Shift(floor, self.feed, self.clock, self.operator, self.inbox, self.options)

    def _opening(self) -> Opening:
        now = self.clock.now()
        places = (self.connection, self.store, self.journal, self.broker, self.checkpoints)
        return Opening(self.profiles, *places, now, self.registry)

    def _held(self, what: Any, end: str) -> Any:
        """Remember how something is given back, and return it."""
        self._exits.callback(getattr(what, end))
        return what

    @property
    def floor(self) -> Floor:
        """The desks, the journal and the way to the venue.

        Raises
        ------
        HaltedError
            The trader was not started.
        """
        if self._floor is None:
            raise HaltedError("the trader was not started: call start() or run()")
        return self._floor

    @property
    def desk(self) -> Desk:
        """The only desk of a trader with one profile, or the first."""
        return next(iter(self.floor.desks.values()))

    def start(self, until: timedelta | None = None) -> "Trader":
        """Open, and trade in a thread of its own until ``stop``, or for a span of market time.

        What ends it otherwise is the ``reason`` of the status; a second call changes nothing.

        Raises
        ------
        CryptoquantError
            As `open`.
        """
        if self.state == "running":
            return self
        self._turn.take(Stopping())
        try:
            self._open()
            self.state = "running"
            self._turn.pass_to(threading.Thread(target=self._work, args=(until,), name="trader", daemon=True))
        except BaseException:
            self._turn.leave()
            raise
        return self

    def run(self, until: timedelta | None = None) -> TraderStatus:
        """Trade for a span of market time, or until it is asked to stop. Return the status.

        SIGINT, SIGTERM and the command ``stop`` make it wind down: nothing is opened any more, open orders are
        cancelled, positions are closed or kept as each profile says. A second signal ends it at once. At the end of
        ``until`` it just stops.

        Raises
        ------
        HaltedError
            Trading stopped because of a doubt; the reason is journalled and orders in flight stay known.
        TradingError
            Another thread trades already.
        """
        with Stopping() as stopping:
            self._turn.take(stopping)
            try:
                self._open()
                self.state = "running"
                return self._trade(until)
            finally:
                self._turn.leave()

    def _work(self, until: timedelta | None) -> None:
        self._turn.adopt()
        try:
            with suppress(HaltedError):  # the status tells
                self._trade(until)
        finally:
            self._turn.leave()

    def _trade(self, until: timedelta | None) -> TraderStatus:
        end = None if until is None else self.clock.now() + span_ns(until)
        try:
            self.shift.run(end, lambda: self._turn.stopping.asked)
            self.reason = self.shift.reason
        except KeyboardInterrupt:
            self.reason = "interrupted"
        except HaltedError as error:
            self.state, self.reason = "halted", str(error)
            raise
        except Exception as error:  # noqa: BLE001 - a strategy is the user's code: whatever it raises is journalled
            reason = str(error) if isinstance(error, CryptoquantError) else f"{type(error).__name__}: {error}"
            self.state, self.reason = "halted", reason
            self.floor.halt(reason)
        finally:
            self._turn.is_ending = True
            self._close()
        return self.status()

    def _is_busy(self) -> bool:
        return self.state == "running" and not self.shift.is_lockstep

    def _history_is_away(self, reason: str) -> None:
        self.floor.tell("trouble", level="warning", task="history", reason=reason)

    def _keep(self, desk: Desk, signals: list[Signal], rows: Floats) -> None:
        """Keep predictions."""
        if self.predictions is not None:
            own = desk.profile
            self.predictions.record(own.bundle, signals, rows, own.reference, own.version, durable=False)

    def _checkpoint(self, universe: Universe) -> None:
        """Keep the features' memory now and then: once a slice is decided on and its orders are on their way."""
        if universe.unsaved >= self.options.checkpoint_every:
            self._remember(universe)

    def _remember(self, universe: Universe) -> None:
        """Keep the features' memory; without it the next start takes longer, and this one goes on."""
        try:
            self.checkpoints.save(universe)
        except OSError as error:
            self.floor.tell("trouble", level="warning", task="features", reason=str(error))

    def halt(self, reason: str = "by the operator") -> None:
        """Press the kill switch: nothing is opened any more until ``resume``, also after a restart; exits still act.

        From any thread: while another one trades it is asked to, and this waits until it is done. In the thread that
        trades, as from a listener, it is done at the next look.

        Raises
        ------
        HaltedError
            The trader was not started, or has ended before it began with it.
        TradingError
            The thread that trades did not answer in time, or has ended while it was at it.
        """
        self._operate("halt", reason)

    def resume(self) -> None:
        """Reset the kill switch and every loss limit that was reached; from any thread, as ``halt``."""
        self._operate("resume", "by the operator")

    def _operate(self, action: str, reason: str) -> None:
        if self._turn.is_own:
            with closing(Inbox(self.journal_path)) as inbox:
                inbox.ask(action, reason=reason)
            return
        while not (self._has_commanded(action, reason) or self._has_answered(action, reason)):
            time.sleep(POLL_SECONDS)  # the turn has gone to another thread meanwhile, or what it opens is not open yet

    def _has_commanded(self, action: str, reason: str) -> bool:
        """Give a command in this thread unless it is another's turn."""
        with self._turn.moment() as has_it:
            if has_it and not self._is_open:
                raise HaltedError(f"{action} is for a trader that was started and has not ended: call start() or run()")
            if has_it:
                self.operator.command(action, reason=reason)
                if self._turn.stopping.asked:  # by a listener
                    self._close()
        return has_it

    def _has_answered(self, action: str, reason: str) -> bool:
        """Give a command to the thread whose turn it is; False when its turn is over before it begins with it."""
        place, is_there = self.journal_path, lambda: self._turn.is_lasting
        is_open = writer_of(place) == os.getpid()
        return is_open and put(place, action, timeout=ANSWER_SECONDS, is_there=is_there, reason=reason)

    def stop(self) -> TraderStatus:
        """End trading, and return the status.

        While another thread trades it winds down first, as after SIGTERM, and this waits for it; in the thread that
        trades, as from a listener, it is only asked to. Otherwise streams and journal are closed; positions are kept.
        """
        while self._turn.end("stop()"):
            with self._turn.moment() as has_it:
                if has_it:
                    self._close()
                    break
        return self.status()

    def _close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            with self._exits:
                for universe in self.floor.universes.values():
                    self._remember(universe)
        finally:
            self.state = "halted" if self.state == "halted" else "stopped"
        done = self.status()
        level: Level = "error" if self.state == "halted" else "info"
        self.floor.tell("stopped", "", level, state=done.state, reason=self.reason, equity=done.equity)

    def status(self) -> TraderStatus:
        """Return what the trader is doing."""
        floor = self._floor
        desks, spare = ([], 0.0) if floor is None else (list(floor.desks.values()), floor.account.spare)
        return TraderStatus.of(self.state, self.reason, iso(self.clock.now()), desks, spare)

    def report(self, profile: str | None = None) -> Report:
        """Return the report of all that the journal holds of a profile, by default the only one."""
        return replay(self.journal_path, self._strategies, profile=profile).report()

    def replays(self) -> dict[str, Replay]:
        """Return all that the journal holds of each profile, read through its engine again, by name."""
        return replay_all(self.journal_path, self._strategies)

    def summary(self) -> pl.DataFrame:
        """Return a row for each profile and UTC day of the journal: equity, profit, fills, fees, refused orders."""
        return summary(self.replays())

    @property
    def _strategies(self) -> dict[str, type[Any]]:
        """The classes that the journal may name: also those of profiles that were removed."""
        return dict(STRATEGIES) | {name: cls for one in self._given for name, cls in one.strategies.items()}


def account_lease(connection: Alpaca) -> Lease:
    """Take the right to trade on an account; it is given back when the process ends.

    Raises
    ------
    StoreError
        Another trader of this machine has it.
    """
    account = hashlib.sha256(f"{connection.api_key} {connection.trading_url} trades".encode()).hexdigest()
    return Lease(Path(settings().state).expanduser() / "leases", account[:16])
