"""The way to the venue: requests in a thread of their own, the urgent ones first, each answered once."""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

from cryptoquant.errors import CryptoquantError, TradingError, VenueUnreachableError
from cryptoquant.trading.order import Order, Rejection

Task = Literal["cancel", "send", "look", "compare", "end"]
RANK: dict[Task, int] = {"cancel": 0, "send": 1, "look": 2, "compare": 3, "end": 9}
REDUCING = 0
STOP_SECONDS, CHECK_SECONDS = 20.0, 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the account holds: coins by symbol (slash form) and cash, exact."""

    positions: dict[str, Decimal]
    cash: Decimal


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request to the venue.

    Attributes
    ----------
    refused
        The venue's refusal of a ``send``.
    told
        The venue's order after a ``look`` or a ``cancel``; None when the venue does not know it.
    standing
        After a ``compare``.
    trouble
        Why the outcome could not be learned; then nothing else is known.
    """

    task: Task
    order: Order | None = None
    refused: Rejection | None = None
    told: dict[str, Any] | None = None
    standing: Standing | None = None
    trouble: CryptoquantError | None = None


class Venue(Protocol):
    """What the dispatcher asks of a broker; each call blocks until its deadline at most.

    A call raises VenueUnreachableError when the outcome is not known, and AuthenticationError when the keys are
    refused. ``submit`` returns the venue's refusal or None. ``cancel`` and ``status`` return the venue's order, None
    when there is none. No call sends an order that the venue may have already.
    """

    def submit(self, order: Order) -> Rejection | None:
        """Send an order."""
        ...

    def cancel(self, order: Order) -> dict[str, Any] | None:
        """Ask for the end of an order."""
        ...

    def status(self, order_id: str) -> dict[str, Any] | None:
        """Look an order up by its client id."""
        ...

    def standing(self) -> Standing:
        """Look positions and cash up."""
        ...


class Dispatcher:
    """Sends what it is given, cancels and reducing orders first, and answers each request exactly once.

    Parameters
    ----------
    broker
        Who speaks to the venue; only this thread uses it.
    answer
        Takes the answers, in this thread.

    Attributes
    ----------
    on_handed
        Called with each order right before the HTTP client gets it; for measuring.
    """

    def __init__(self, broker: Venue, answer: Callable[[Answer], None]) -> None:
        self.broker = broker
        self.on_handed: Callable[[Order], None] = lambda order: None
        self._answer = answer
        self._waiting: queue.PriorityQueue[tuple[int, int, Task, Order | None]] = queue.PriorityQueue()
        self._count = itertools.count()
        self._open = 0
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return self._open

    def start(self) -> "Dispatcher":
        """Start the thread."""
        self._thread.start()
        return self

    def ask(self, task: Task, order: Order | None = None, *, reduces: bool = False) -> None:
        """Queue a request; an order that reduces a position goes before those that open one."""
        with self._changed:
            self._open += 1
        rank = REDUCING if task == "send" and reduces else RANK[task]
        self._waiting.put((rank, next(self._count), task, order))

    def settle(self, timeout: float) -> None:
        """Wait until every request is answered.

        Raises
        ------
        VenueUnreachableError
            Some are not in time (seconds).
        TradingError
            The thread has ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._open == 0, CHECK_SECONDS):
                    return
            self.check()
            if time.monotonic() > deadline:
                raise VenueUnreachableError(f"{self._open} requests have no answer after {timeout:.0f} s")

    def check(self) -> None:
        """Raise TradingError when the thread has ended though it was not asked to."""
        if not self._thread.is_alive() and not self._is_ending:
            raise TradingError("the way to the venue has ended: its thread died")

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the thread after the request that is under way; what still waits is not sent."""
        self._is_ending = True
        self._waiting.put((-1, next(self._count), "end", None))
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._is_ending:
            _, _, task, order = self._waiting.get()
            if task == "end":
                return
            try:
                found = self._done(task, order)
            except CryptoquantError as error:
                found = Answer(task, order, trouble=error)
            except Exception as error:  # noqa: BLE001 - an answer that is owed must come, whatever went wrong
                found = Answer(task, order, trouble=TradingError(f"{type(error).__name__}: {error}"))
            self._answer(found)
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _done(self, task: Task, order: Order | None) -> Answer:
        if order is None:
            return Answer(task, standing=self.broker.standing())
        if task == "send":
            self.on_handed(order)
            return Answer(task, order, refused=self.broker.submit(order))
        if task == "cancel":
            return Answer(task, order, told=self.broker.cancel(order))
        return Answer(task, order, told=self.broker.status(order.id))
