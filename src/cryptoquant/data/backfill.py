"""Fetching what an outage may have hidden: trades, quotes and bars have a history, order books have none."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import msgspec

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.alpaca_history import Span, times
from cryptoquant.data.gaps import FILLABLE, Gap
from cryptoquant.data.rate import TokenBucket
from cryptoquant.errors import CryptoquantError, RequestRefusedError, UnknownSymbolError
from cryptoquant.market.time import iso

MINUTE = 60_000_000_000
OVERLAP = MINUTE
AGAIN = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=2))
UNREADABLE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
OF_A_SYMBOL = (RequestRefusedError, UnknownSymbolError, *UNREADABLE)


class _Task(NamedTuple):
    """Gaps of one kind and span that are fetched together.

    When it is their turn (monotonic seconds), how often it was tried, and the time (ns UTC) from which on rows are to
    be asked for; the rows before it are counted in the gaps.
    """

    due: float
    tries: int
    begin: int
    gaps: list[Gap]


@dataclass(slots=True)
class _Reached:
    """The time to which the rows of a symbol have come (ns UTC), and how many of the gap lie before it and at it."""

    time: int
    before: int
    at: int = 0

    def take(self, stamps: Iterable[int], gap: Gap) -> None:
        """Take the stamps of further rows, which rise."""
        for stamp in stamps:
            if stamp > self.time:
                self.time, self.before, self.at = stamp, self.before + self.at, 0
            self.at += gap.start <= stamp <= gap.end


class Backfill:
    """Fills gaps in a thread of its own; what it fetches goes through the recorder's log like everything else.

    A gap is asked for with a minute of overlap on both sides; equal rows are counted once by the store. What fails is
    tried again after 1 minute, after 15 minutes, and then every 2 hours, and by the next recorder; it goes on at the
    time that each symbol had reached. Gaps of several symbols are one request; where the venue refuses it or its answer
    cannot be read, each symbol is asked for by itself, so that one that is bad keeps no other open.

    Parameters
    ----------
    page, event
        Called with the payload of a log record: a page of history, or news of a gap.
    delay
        How long after a gap's end the venue's history is asked first; it may lag behind the stream.
    """

    def __init__(
        self,
        source: Alpaca,
        page: Callable[[bytes], None],
        event: Callable[[bytes], None],
        *,
        delay: timedelta,
        on_error: Callable[[str], None],
    ) -> None:
        self._source, self._page, self._event = source, page, event
        self._delay, self._on_error = delay, on_error
        self._ending = threading.Event()
        self._bucket = TokenBucket(sleep=self._ending.wait)
        self._open: list[_Task] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="backfill", daemon=True)

    @property
    def waiting(self) -> int:
        """Gaps that are not filled yet."""
        with self._changed:
            return sum(len(task.gaps) for task in self._open)

    def is_open(self, kind: str, symbol: str, instant: int) -> bool:
        """Whether an instant (ns UTC) of a symbol lies in a gap, or within its overlap, that is still to be fetched."""
        with self._changed:
            gaps = [gap for task in self._open for gap in task.gaps]
        return any(
            gap.kind == kind and gap.symbol == symbol and gap.start - OVERLAP - MINUTE <= instant <= gap.end + OVERLAP
            for gap in gaps
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, gaps: Iterable[Gap]) -> None:
        """Take gaps to fill; those of one kind and span are fetched together."""
        together: dict[tuple[str, int, int], list[Gap]] = {}
        for gap in gaps:
            if gap.state == "open" and gap.kind in FILLABLE:
                together.setdefault((gap.kind, gap.start, gap.end), []).append(gap)
        with self._changed:
            due = time.monotonic() + self._delay.total_seconds()
            self._open += [
                _Task(due, 0, start - OVERLAP - MINUTE, listed) for (_, start, _), listed in together.items()
            ]
            self._changed.notify()

    def stop(self) -> None:
        """End every pause, and the filling after the request that is under way; what is left stays open in the ledger.

        Only that request is waited for: 3 s at most until it is connected, and 15 s for each wait for bytes.
        """
        self._ending.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while (task := self._next()) is not None:
            reached = {gap.symbol: _Reached(task.begin, gap.rows) for gap in task.gaps}
            left = [task]
            try:
                if self._fill(task, reached):
                    left = []
            except (CryptoquantError, OSError, *UNREADABLE) as error:
                if not self._ending.is_set():
                    left = self._again(task, reached, error)
            with self._changed:
                self._open.remove(task)
                self._open += left

    def _next(self) -> _Task | None:
        """Wait for the task whose turn is first; None at the end."""
        with self._changed:
            while not self._ending.is_set():
                first = min(self._open, default=None, key=lambda task: task.due)
                pause = None if first is None else first.due - time.monotonic()
                if first is not None and pause is not None and pause <= 0:
                    return first
                self._changed.wait(pause)
        return None

    def _again(self, task: _Task, reached: dict[str, _Reached], error: Exception) -> list[_Task]:
        """Return what is left of a task that failed: later, or at once by symbol where one of several may be at fault.

        Symbols that have come to different times are asked for by themselves in any case.
        """
        is_split = len(reached) > 1 and isinstance(error, OF_A_SYMBOL)
        due, tries = time.monotonic(), task.tries
        if not is_split:
            self._tell(task, error)
            due, tries = due + AGAIN[min(tries, len(AGAIN) - 1)].total_seconds(), tries + 1
        together: dict[tuple[int, str], list[Gap]] = {}
        for gap in task.gaps:
            found = reached[gap.symbol]
            key = found.time, gap.symbol if is_split else ""
            together.setdefault(key, []).append(gap._replace(rows=found.before))
        return [_Task(due, tries, begin, gaps) for (begin, _), gaps in together.items()]

    def _tell(self, task: _Task, error: Exception) -> None:
        said = str(error) if isinstance(error, CryptoquantError | OSError) else f"cannot be read: {error!r}"
        first, more = task.gaps[0], len(task.gaps) - 1
        symbols = first.symbol + (f" and {more} more" if more else "")
        self._on_error(f"{first.kind} of {symbols}, {iso(first.start)} to {iso(first.end)} not fetched: {said}")

    def _fill(self, task: _Task, reached: dict[str, _Reached]) -> bool:
        """Fetch the gaps of a task, noting how far each symbol has come; return False when the end came before."""
        first = task.gaps[0]
        span = Span(first.kind, tuple(reached), task.begin, first.end + OVERLAP, "1m")
        for body in self._source.fetch_bodies(span, bucket=self._bucket):
            stamps = times(first.kind, body)  # before the log has it: what cannot be read must not get there
            self._page(msgspec.json.encode({"kind": first.kind, "body": body}))
            for symbol in stamps.keys() & reached.keys():
                reached[symbol].take(stamps[symbol], first)
            if self._ending.is_set():
                return False
        for gap in task.gaps:
            found = reached[gap.symbol]
            self._event(gap._replace(state="filled", rows=found.before + found.at).event())
        return True


def delay_of(source: Alpaca) -> timedelta:
    """Return how long to wait before history is asked: a sandbox knows its past at once, the venue after a minute."""
    return timedelta(0) if source.control_url is not None else timedelta(minutes=1)
