"""A shift: from ready to stopped, what comes is taken in its order, and the time is told to who waits for it."""

import heapq
import operator
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from typing import TypeVar

from cryptoquant.data.clock import SandboxClock, WallClock
from cryptoquant.errors import AuthenticationError, VenueError, VenueUnreachableError
from cryptoquant.live.dispatcher import Answer
from cryptoquant.live.feed import Feed, Item, OrderUpdate
from cryptoquant.live.floor import Floor
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.operator import Operator
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.replay import ITSELF
from cryptoquant.live.watch import Watch
from cryptoquant.market.schema import Bar, Quote
from cryptoquant.market.time import from_iso, span_ns
from cryptoquant.trading.engine import Action, Command

T = TypeVar("T")
MINUTE_NS = 60 * 10**9
POLL_EVERY_SECONDS, ASK_AGAIN_SECONDS, LOOK_EVERY_SECONDS = 15.0, 2.0, 0.25
SETTLE_SECONDS = 120.0
MARKET_ENDED = "the sandbox's market has ended"
TURN_SECONDS = 0.0005


@contextmanager
def short_turns() -> Iterator[None]:
    """Let the threads of the process take shorter turns.

    Python lets one that computes, as the recorder's does when it decodes, go on for 5 ms before another may: one that
    trades would wait that long several times between a frame and its order.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, TURN_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Shift:
    """Drives a floor by a feed and a clock: the venue's own, or a sandbox's that moves when it is told.

    Attributes
    ----------
    reason
        Why it ended.
    """

    def __init__(
        self,
        floor: Floor,
        feed: Feed,
        clock: SandboxClock | WallClock,
        operator: Operator,
        inbox: Inbox,
        options: TraderOptions,
    ) -> None:
        self.floor, self.feed, self.clock = floor, feed, clock
        self.operator, self.inbox, self.options = operator, inbox, options
        self.reason = self._paused = ""
        self._is_winding_down = self._has_wound_down = False
        self._watch = Watch(options.patience)
        self._polled = self._looked = time.monotonic()

    def run(self, end: int | None, asked: Callable[[], str]) -> None:
        """Trade until ``end`` (ns, None for none), or wind down when it is asked to stop.

        What the venue has not answered after a winding down the next start learns.
        """
        with short_turns():
            for _ in chain((None,), self._steps(end)):  # it may be asked before the first step
                if who := asked() or self.operator.ending:
                    self.reason = f"asked to stop: {who}"
                    self.wind_down()
                    break
            try:
                self._settle()
                self.floor.audit.ask()
                self._settle()
            except VenueUnreachableError as error:
                if not self._has_wound_down:
                    raise
                self.floor.tell("trouble", level="warning", task="stop", reason=str(error))

    @property
    def is_lockstep(self) -> bool:
        """Whether the clock moves only when it is told to."""
        return isinstance(self.clock, SandboxClock) and self.clock.is_lockstep

    @property
    def _has_market_ended(self) -> bool:
        """Whether a sandbox has come to the end of its market: its clock stands still, and no deadline comes."""
        return isinstance(self.clock, SandboxClock) and self.clock.has_ended

    def _steps(self, end: int | None) -> Iterator[None]:
        return (
            self._lockstep(self.clock, end)
            if isinstance(self.clock, SandboxClock) and self.is_lockstep
            else self._freely(end)
        )

    def _lockstep(self, clock: SandboxClock, end: int | None) -> Iterator[None]:
        """Move the clock from slice to slice, or from minute to minute while an engine waits for prices or fills.

        It stands still until all that the opening or a step asked of the venue is answered.
        """
        self._conclude()
        while end is None or clock.now() < end:
            now = clock.now()
            widths = [universe.width for universe in self.floor.universes.values()]
            if any(desk.is_waiting for desk in self.floor.desks.values()):
                widths.append(MINUTE_NS)
            step = min(width - now % width for width in widths)
            step = step if end is None else min(step, end - now)
            moment = clock.advance(timedelta(microseconds=step // 1_000))
            for item in _merged(self.feed.drain(moment.data, moment.trading)):
                self._take(item)
            self.floor.on_timer(moment.now)
            self._conclude()
            yield
            if moment.has_ended:
                self.reason = MARKET_ENDED
                return

    def _freely(self, end: int | None) -> Iterator[None]:
        while end is None or self.clock.now() < end:
            item = self.feed.next(LOOK_EVERY_SECONDS)
            if item is not None:
                self._bear(self._take, item)
            if item is None or time.monotonic() - self._looked > LOOK_EVERY_SECONDS:
                self._bear(self.floor.on_timer, self.clock.now())
                self.look()
            if item is None:
                self.floor.journal.rest()
            yield
            if item is None and self._has_market_ended:
                self.reason = self.reason or MARKET_ENDED
                return

    def _bear(self, take: Callable[[T], None], what: T) -> None:
        """Take what may need the venue's history; while that is away the gap stays, and what lies behind it waits.

        The next bar of the symbol, or the next look, asks for it again, and a slice whose successor has closed by then
        is passed over. The watch pauses the profiles when that lasts. In lock-step nothing is away and comes back.
        """
        try:
            take(what)
        except AuthenticationError:
            raise
        except VenueError as error:
            if self.is_lockstep:
                raise
            self.floor.trouble = str(error)

    def _take(self, item: Item) -> None:
        if isinstance(item, Bar):
            self.floor.on_bar(item)
        elif isinstance(item, Quote):
            self.floor.on_quote(item)
        elif isinstance(item, OrderUpdate):
            self.floor.on_update(item)
        elif isinstance(item, Answer):
            self.floor.on_answer(item)

    def _conclude(self) -> None:
        """Wait for what was asked, and ask once more about what the venue did not say, while its clock stands still."""
        self._settle()
        self.look()
        self._settle()

    def _settle(self) -> None:
        """Wait until every request is answered, and what the answers bring too.

        Prices that still come after a winding down are left to the next start: a gap before them would be fetched.
        """
        while True:
            self.floor.dispatcher.settle(SETTLE_SECONDS)
            found = False
            while (item := self.feed.next(0)) is not None:
                if not (self._has_wound_down and isinstance(item, Bar | Quote)):
                    self._bear(self._take, item)
                    found = True
            if not found and not self.floor.dispatcher.waiting:
                return

    def look(self) -> None:
        """Do what is asked, watch for silences, and poll the venue now and then: a stream does not say what it lost.

        Orders about which the venue gave no answer are asked about sooner.
        """
        self._looked = now = time.monotonic()
        self.feed.check()
        self.floor.dispatcher.check()
        self.operator.heed(self.inbox)
        wait = POLL_EVERY_SECONDS
        if self.floor.lost:
            wait = 0.0 if self.is_lockstep else min(wait, ASK_AGAIN_SECONDS)
        if now - self._polled > wait or (self.feed.updates_lost and self.feed.is_listening):
            self.feed.updates_lost, self._polled = False, now
            self.floor.look()
        if self.is_lockstep:
            return
        self._heed_silence(now)

    def _heed_silence(self, now: float) -> None:
        """Pause for a silence and unpause at its end, or halt at a jump; what winds down opens nothing any more."""
        if jumped := self._watch.jump(time.time(), now):
            self.floor.halt(f"the clock of this machine jumped by {jumped:.1f} s")
        found = self._watch.look(
            now, data_age=now - self.feed.heard, is_listening=self.feed.is_listening, trouble=self.floor.trouble
        )
        if found is not None and not self._is_winding_down:
            self._pause(found)

    def _pause(self, reason: str) -> None:
        """Open nothing more while there is a reason; open again when there is none, after a look at the books.

        A profile that the operator has paused stays so.
        """
        now, before = self.clock.now(), self._paused
        self._paused = reason
        if not reason:
            self.floor.look()
        for desk in self.floor.desks.values():
            stands = desk.engine.risk.paused
            if reason and not stands:
                self.floor.command(Command(f"{ITSELF}pause-{desk.name}-{now}", "pause", now, reason), desk.name)
            elif not reason and stands == before:
                self.floor.command(Command(f"unpause-{desk.name}-{now}", "unpause", now), desk.name)

    def wind_down(self) -> None:
        """Open nothing more, cancel, close what is to be closed, and wait for it, at most ``wind_down`` long.

        The exits of positions that are kept stay in the journal, and act again when the trader is started again. Then
        the pause ends too, not before: bars that still wait in the feed would open positions.
        """
        self._is_winding_down = True
        now, desks = self.clock.now(), list(self.floor.desks.values())
        for desk in desks:
            action: Action = "close" if desk.profile.on_stop == "close" else "cancel"
            self.floor.command(Command(f"{ITSELF}{action}-{desk.name}-{now}", action, now, self.reason), desk.name)
            self.floor.command(Command(f"{ITSELF}pause-{desk.name}-{now}", "pause", now, self.reason), desk.name)
        for _ in self._steps(now + span_ns(self.options.wind_down)):
            if not any(desk.is_busy or (desk.closes and desk.holds) for desk in desks):
                break
        self._has_wound_down = not self.is_lockstep


def _merged(items: Sequence[Item]) -> Iterator[Item]:
    """Yield what came on both streams by its time, each stream in its own order: one that is out of order stays so.

    Answers go first, and an order update comes before a bar of the same moment.
    """
    yield from (item for item in items if isinstance(item, Answer))
    updates = ((from_iso(item.time), item) for item in items if isinstance(item, OrderUpdate))
    prices = ((item.time, item) for item in items if not isinstance(item, Answer | OrderUpdate))
    yield from (item for _, item in heapq.merge(updates, prices, key=operator.itemgetter(0)))
