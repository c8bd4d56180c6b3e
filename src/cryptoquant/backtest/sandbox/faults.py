"""What goes wrong at the venue, and when: a list of faults by market time that can be changed while it runs."""

import bisect
import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self

import msgspec
import numpy as np

from cryptoquant.backtest.sandbox.fault import FAULT_KINDS, Fault
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, to_ns

DAY = 86_400_000_000_000
Phase = Literal["pending", "active", "over"]


@dataclass(slots=True)
class Charge:
    """A fault in a running sandbox: since when it may strike (ns UTC), how often it did, and whether it was healed."""

    fault: Fault
    since: int
    fired: int = 0
    is_healed: bool = False

    def phase(self, now: int) -> Phase:
        """Return whether it is still to come, strikes now, or does so no more."""
        end, limit = self.fault.end(self.since), self.fault.limit
        if self.is_healed or (end is not None and now >= end) or (limit is not None and self.fired >= limit):
            return "over"
        return "pending" if now < self.since else "active"


class Past(msgspec.Struct, frozen=True):
    """A fault as JSON, since when it may strike (ns UTC), how often it did, and whether it was healed."""

    fault: dict[str, Any]
    since: int
    fired: int
    healed: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """How a random schedule is drawn once the market's times are known."""

    seed: int
    per_day: float
    kinds: tuple[str, ...]

    def between(self, start: int, end: int) -> Iterator[Fault]:
        """Yield faults at exponential distances; each strikes once, or never when its day has no occasion for it."""
        rng, time = np.random.default_rng(self.seed), float(start)
        while True:
            time += rng.exponential(DAY / self.per_day)
            kind = self.kinds[int(rng.integers(len(self.kinds)))]
            if time >= end:
                return
            yield Fault(kind, at=int(time), count=1, lasts=timedelta(days=1))


class Faults:
    """A schedule of faults, asked in the order of time.

    Each occasion (a request, an order, an update) meets one fault at most: the first of the list that is active and
    matches. A frame of data meets two at most, one of its content and one of its way. The same schedule and the same
    calls give the same faults.

    Parameters
    ----------
    faults
        In the order in which they are asked.

    Examples
    --------
    >>> Faults([Fault("data.drop", count=2)]).state(0)[0]["phase"]
    'active'
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._draw: Draw | None = None
        self._charges: list[Charge] = []
        self._jumps: list[Charge] = []
        self._awake: dict[str, list[int]] = {}
        self._asleep: list[tuple[int, int]] = []
        self.begin(0, 0)

    @classmethod
    def random(cls, seed: int, *, per_day: float = 24.0, kinds: Collection[str] = FAULT_KINDS) -> Self:
        """Return a schedule over the whole market, drawn by seed when a sandbox takes it.

        Parameters
        ----------
        per_day
            How many faults a market day has on average.
        kinds
            Which, each as often as the other.

        Raises
        ------
        ValueError
            A kind is unknown, there is none, or ``per_day`` is not positive.
        """
        for kind in kinds:
            Fault(kind)
        if not kinds or not per_day > 0:
            raise ValueError(f"random faults: found {len(kinds)} kinds, {per_day} a day, wanted some of both")
        schedule = cls()
        schedule._draw = Draw(seed, per_day, tuple(sorted(kinds)))
        return schedule

    def running(self, start: int, end: int) -> "Faults":
        """Return a fresh copy for a market that runs from ``start`` to ``end`` (ns UTC)."""
        copied = Faults(self._faults)
        copied._draw = self._draw
        copied.begin(start, end)
        return copied

    def begin(self, start: int, end: int) -> None:
        """Take the market's times: what has none of its own begins at ``start``, and random ones are drawn."""
        drawn = [] if self._draw is None else self._draw.between(start, end)
        self._charges, self._jumps, self._awake, self._asleep = [], [], {}, []
        for fault in (*self._faults, *drawn):
            self.add(fault, start)

    @property
    def faults(self) -> list[Fault]:
        """The faults as they were given and drawn."""
        return [charge.fault for charge in self._charges]

    def past(self) -> list[Past]:
        """Return each fault with what it has done; see ``resumed``."""
        return [Past(c.fault.body(), c.since, c.fired, c.is_healed) for c in self._charges]

    @classmethod
    def resumed(cls, past: Iterable[Past]) -> Self:
        """Return the schedule that goes on where ``past`` left off.

        Raises
        ------
        ValueError
            One of them is no fault.
        """
        schedule = cls()
        for one in past:
            schedule.add(Fault.read(one.fault), one.since)
            charge = schedule._charges[-1]
            charge.fired, charge.is_healed = one.fired, one.healed
        return schedule

    def add(self, fault: Fault, now: int) -> None:
        """Add a fault at the end of the list; without a time of its own it begins ``now`` (ns UTC)."""
        charge = Charge(fault, now if fault.at is None else to_ns(fault.at))
        self._charges.append(charge)
        if fault.kind == "venue.clock":
            self._jumps.append(charge)
        else:
            heapq.heappush(self._asleep, (charge.since, len(self._charges) - 1))

    def heal(self) -> None:
        """End all faults, also those to come."""
        for charge in self._charges:
            charge.is_healed = True

    def take(self, kinds: Collection[str], now: int, **occasion: str) -> Fault | None:
        """Return the fault that strikes on an occasion, and count it; None when all goes well."""
        while self._asleep and self._asleep[0][0] <= now:
            number = heapq.heappop(self._asleep)[1]
            bisect.insort(self._awake.setdefault(self._charges[number].fault.kind, []), number)
        for number in self._active(kinds, now) if self._awake else ():
            charge = self._charges[number]
            if charge.fault.matches(occasion):
                charge.fired += 1
                return charge.fault
        return None

    def _active(self, kinds: Collection[str], now: int) -> list[int]:
        """Return the active faults of some kinds; of a long schedule only those whose time has come are looked at."""
        found = []
        for kind in kinds:
            if kind in self._awake:
                self._awake[kind] = [n for n in self._awake[kind] if self._charges[n].phase(now) == "active"]
                found += self._awake[kind]
        return sorted(found)

    def offset(self, now: int) -> int:
        """Return by how much (ns) the venue's clock is ahead of its market."""
        seconds = 0.0
        for charge in self._jumps:
            end = charge.fault.end(charge.since)
            if now >= charge.since and (end is None or now < end) and not charge.is_healed:
                charge.fired = 1
                seconds += charge.fault.seconds
        return round(seconds * NANOSECONDS_PER_SECOND)

    def state(self, now: int) -> list[dict[str, Any]]:
        """Return each fault as JSON, with its phase and how often it has struck."""
        return [{**c.fault.body(), "phase": c.phase(now), "fired": c.fired} for c in self._charges]
