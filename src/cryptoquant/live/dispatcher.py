"""The way to the venue: requests in threads of their own, the urgent ones first, each answered once."""

import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Protocol

from cryptoquant.errors import CryptoquantError, TradingError, VenueUnreachableError
from cryptoquant.trading.order import Order, Rejection

Task = Literal["cancel", "send", "look", "compare", "end"]
RANK: dict[Task, int] = {"cancel": 0, "send": 1, "look": 2, "compare": 3, "end": 9}
URGENT = 0
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


class Job(NamedTuple):
    """A request that waits: its rank, its place, what is asked, and whether an order reduces a position."""

    rank: int
    number: int
    task: Task
    order: Order | None = None
    reduces: bool = False


class Dispatcher:
    """Sends what it is given, cancels and reducing orders first, and answers each request exactly once.

    Several threads speak to the venue, so that one order does not wait for the answer to another; what concerns the
    same order is asked in turn.

    Parameters
    ----------
    brokers
        Who speak to the venue, one in each thread and used by that thread only.
    answer
        Takes the answers, in those threads.
    in_turn
        Whether the first is done first, urgent or not: where time stands still meanwhile, and orders of one moment
        shall reach the venue as the engine gave them.

    Attributes
    ----------
    on_handed
        Called with each order right before the HTTP client gets it; for measuring.
    """

    def __init__(self, brokers: Sequence[Venue], answer: Callable[[Answer], None], *, in_turn: bool = False) -> None:
        self.on_handed: Callable[[Order], None] = lambda order: None
        self._answer, self._in_turn = answer, in_turn
        self._ready: list[Job] = []
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()  # one for each job that is ready: wakes fast
        self._behind: dict[str, deque[Job]] = {}
        self._count = itertools.count()
        self._open = 0
        self._changed = threading.Condition()
        self._is_ending = self._is_finishing = False
        self._threads = [
            threading.Thread(target=self._run, args=(broker,), name=f"dispatcher-{number}", daemon=True)
            for number, broker in enumerate(brokers)
        ]

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return self._open

    def start(self) -> "Dispatcher":
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def ask(self, task: Task, order: Order | None = None, *, reduces: bool = False) -> None:
        """Queue a request; an order that reduces a position goes before those that open one."""
        rank = URGENT if self._in_turn or reduces else RANK[task]
        job = Job(rank, next(self._count), task, order, reduces)
        with self._changed:
            self._open += 1
            if order is not None:
                if order.id in self._behind:
                    self._behind[order.id].append(job)
                    return
                self._behind[order.id] = deque()
            self._put(job)

    def _put(self, job: Job) -> None:
        """Let a thread take a job; with the lock."""
        heapq.heappush(self._ready, job)
        self._tokens.put(None)

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
        """Raise TradingError when a thread has ended though it was not asked to."""
        if not self._is_ending and not all(thread.is_alive() for thread in self._threads):
            raise TradingError("the way to the venue has ended: its thread died")

    def finish(self, timeout: float) -> None:
        """Let what waits be answered, for so long at most (seconds), but send nothing more that opens a position."""
        self._is_finishing = True
        for thread in self._threads:
            if thread.ident is None:
                thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, timeout)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the threads after the requests that are under way; what still waits is not sent."""
        self._is_ending = True
        with self._changed:
            for _ in self._threads:
                self._put(Job(-1, next(self._count), "end"))
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def _run(self, broker: Venue) -> None:
        while not self._is_ending:
            self._tokens.get()
            with self._changed:
                job = heapq.heappop(self._ready)
            if job.task == "end":
                return
            try:
                if job.task == "send" and self._is_finishing and not job.reduces:
                    raise TradingError("not sent: trading has ended")
                found = self._done(broker, job.task, job.order)
            except CryptoquantError as error:
                found = Answer(job.task, job.order, trouble=error)
            except Exception as error:  # noqa: BLE001 - an answer that is owed must come, whatever went wrong
                found = Answer(job.task, job.order, trouble=TradingError(f"{type(error).__name__}: {error}"))
            self._answer(found)
            self._finish(job)

    def _finish(self, job: Job) -> None:
        with self._changed:
            self._open -= 1
            if job.order is not None:
                behind = self._behind[job.order.id]
                if behind:
                    self._put(behind.popleft())
                else:
                    del self._behind[job.order.id]
            self._changed.notify_all()

    def _done(self, broker: Venue, task: Task, order: Order | None) -> Answer:
        if order is None:
            return Answer(task, standing=broker.standing())
        if task == "send":
            self.on_handed(order)
            return Answer(task, order, refused=broker.submit(order))
        if task == "cancel":
            return Answer(task, order, told=broker.cancel(order))
        return Answer(task, order, told=broker.status(order.id))
