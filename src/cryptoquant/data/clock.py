"""The present: the wall's, or that of a sandbox venue, which runs by itself or moves when it is told."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.errors import VenueError, VenueUnreachableError
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, from_iso, iso

REFRESH_SECONDS = 1.0
CLOCKS_DIFFER_NS = 60 * NANOSECONDS_PER_SECOND
SLOW_ANSWER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """What a sandbox says of its time: now (nanoseconds UTC), points sent on its streams, how it moves, its end.

    ``speed`` is market seconds in a wall second, 0 in lock-step.
    """

    now: int
    data: int
    trading: int
    is_lockstep: bool
    has_ended: bool
    speed: float


class WallClock:
    """The time of this machine."""

    def now(self) -> int:
        """Return nanoseconds UTC."""
        return time.time_ns()

    def stamp(self) -> int:
        """Return what stamps that which arrives now: the same."""
        return time.time_ns()

    def latest(self) -> int:
        """Return what the venue's clock may show at most, which need not go as this machine's."""
        return time.time_ns() + CLOCKS_DIFFER_NS


class SandboxClock:
    """Market time of a sandbox, by its control endpoint.

    ``api_key`` is that of the account whose counts it wants, by default the first. In lock-step it is the time of the
    last advance. A sandbox that runs by itself is asked once a second at most; in between its speed tells the time.
    """

    def __init__(self, control_url: str, api_key: str | None = None) -> None:
        self.url, self.key = control_url.rstrip("/"), api_key
        self._told = self.status()
        self._asked = time.monotonic()
        self._latest = self._ahead = self._told.now

    def stamp(self) -> int:
        """Return what stamps that which arrives now: during an advance the time to which it goes, else the present.

        While a sandbox in lock-step moves on, what it sends is ahead of the time that it last told.
        """
        return max(self._ahead, self.now())

    def now(self) -> int:
        """Return the sandbox's time; when it does not answer, the time that its speed gives."""
        if self._told.is_lockstep:
            return self._told.now
        if time.monotonic() - self._asked > REFRESH_SECONDS:
            with contextlib.suppress(VenueUnreachableError):
                self._told, self._asked = self.status(), time.monotonic()
        passed = 0.0 if self._told.has_ended else (time.monotonic() - self._asked) * self._told.speed
        self._latest = max(self._latest, self._told.now + int(passed * NANOSECONDS_PER_SECOND))
        return self._latest

    def latest(self) -> int:
        """Return what the sandbox's clock may show at most: it runs on while it answers."""
        return self.now() + CLOCKS_DIFFER_NS + int(self._told.speed * SLOW_ANSWER_SECONDS * NANOSECONDS_PER_SECOND)

    @property
    def is_lockstep(self) -> bool:
        """Whether time moves only by ``advance``."""
        return self._told.is_lockstep

    @property
    def has_ended(self) -> bool:
        """Whether its market was over when it was asked last: its time stands still."""
        return self._told.has_ended

    def status(self) -> Moment:
        """Return the sandbox's time and counts without moving it."""
        return self._ask("GET", "status", None)

    def advance(self, by: timedelta) -> Moment:
        """Move time on; everything up to then is matched and on the sockets when this returns."""
        self._ahead = self._told.now + by // timedelta(microseconds=1) * 1_000
        self._told = self._ask("POST", "advance", {"to": iso(self._ahead)})
        return self._told

    def _ask(self, method: str, what: str, body: dict[str, str] | None) -> Moment:
        import requests

        try:
            with requests.Session() as session:
                session.trust_env = False
                query = {} if self.key is None else {"key": self.key}
                url = f"{self.url}/sandbox/{what}"
                answer = session.request(method, url, params=query, json=body, timeout=(3.05, 60))
        except requests.exceptions.RequestException as error:
            raise VenueUnreachableError(f"the sandbox at {self.url} does not answer") from error
        content = answer.json()
        if answer.status_code != 200:
            raise VenueError(f"the sandbox at {self.url}: {content.get('message', answer.status_code)}")
        sent = content["sent"]
        return Moment(
            now=from_iso(content["now"]),
            data=sent["data"],
            trading=sent["trading"],
            is_lockstep=content["lockstep"],
            has_ended=content["ended"],
            speed=content["speed"] or 0.0,
        )


def stamps_of(source: Alpaca) -> Callable[[], int]:
    """Return what stamps that which a venue sends, in ns UTC: a sandbox in lock-step is asked each time."""
    clock = clock_of(source)
    return (lambda: clock.status().now) if isinstance(clock, SandboxClock) and clock.is_lockstep else clock.now


def pace_of(source: Alpaca) -> float:
    """Return how much a second of this machine is in the venue's time: one, in a sandbox its speed (0 in lock-step)."""
    return 1.0 if source.control_url is None else SandboxClock(source.control_url, source.api_key).status().speed


def clock_of(connection: Alpaca) -> WallClock | SandboxClock:
    """Return the clock of a venue."""
    return SandboxClock(connection.control_url, connection.api_key) if connection.control_url else WallClock()
