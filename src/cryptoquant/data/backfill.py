"""Fetching what an outage may have hidden: trades, quotes and bars have a history, order books have none."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple

import msgspec

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.alpaca_history import Span
from cryptoquant.data.gaps import FILLABLE, Gap
from cryptoquant.data.rate import TokenBucket
from cryptoquant.errors import CryptoquantError
from cryptoquant.market.time import from_iso, iso

MINUTE = 60_000_000_000
OVERLAP = MINUTE
AGAIN = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=2))
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)


class _Task(NamedTuple):
    """Gaps that are fetched together, when it is their turn (monotonic seconds), and how often it was tried."""

    due: float
    tries: int
    gaps: list[Gap]


class Backfill:
    """Fills gaps in a thread of its own; what it fetches goes through the recorder's log like everything else.

    A gap is asked for with a minute of overlap on both sides; equal rows are counted once by the store. When the venue
    does not answer, the gap stays open and is tried again after 1 minute, 15 minutes and 2 hours, and once more by the
    next recorder.

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
        self._delay, self._on_error, self._bucket = delay, on_error, TokenBucket()
        self._open: list[_Task] = []
        self._changed = threading.Condition()
        self._is_ending = False
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
            self._open += [_Task(due, 0, listed) for listed in together.values()]
            self._changed.notify()

    def stop(self) -> None:
        """End after the page that is being fetched; gaps that are left stay open in the ledger."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while (task := self._next()) is not None:
            gaps = task.gaps
            try:
                self._fill(gaps)
            except (CryptoquantError, OSError, *UNREADABLE) as error:
                said = str(error) if isinstance(error, CryptoquantError | OSError) else f"cannot be read: {error!r}"
                self._on_error(f"{gaps[0].kind} of {iso(gaps[0].start)} to {iso(gaps[0].end)} not fetched: {said}")
                self._again(task)
            else:
                self._forget(task)

    def _next(self) -> _Task | None:
        """Wait for the task whose turn is first; None at the end."""
        with self._changed:
            while not self._is_ending:
                first = min(self._open, default=None, key=lambda task: task.due)
                pause = None if first is None else first.due - time.monotonic()
                if first is not None and pause is not None and pause <= 0:
                    return first
                self._changed.wait(pause)
        return None

    def _again(self, task: _Task) -> None:
        """Put a task that failed off, or leave its gaps to the next recorder."""
        self._forget(task)
        if task.tries < len(AGAIN):
            due = time.monotonic() + AGAIN[task.tries].total_seconds()
            with self._changed:
                self._open.append(_Task(due, task.tries + 1, task.gaps))

    def _forget(self, task: _Task) -> None:
        with self._changed:
            self._open.remove(task)

    def _fill(self, gaps: list[Gap]) -> None:
        kind, rows = gaps[0].kind, {gap.symbol: 0 for gap in gaps}
        span = Span(kind, tuple(rows), gaps[0].start - OVERLAP - MINUTE, gaps[0].end + OVERLAP, "1m")
        for body in self._source.fetch_bodies(span, bucket=self._bucket):
            self._page(msgspec.json.encode({"kind": kind, "body": body}))
            for symbol, listed in (body.get(kind) or {}).items():
                inside = sum(gaps[0].start <= from_iso(row["t"]) <= gaps[0].end for row in listed)
                rows[symbol] = rows.get(symbol, 0) + inside
            if self._is_ending:
                return
        for gap in gaps:
            self._event(gap._replace(state="filled", rows=rows[gap.symbol]).event())


def delay_of(source: Alpaca) -> timedelta:
    """Return how long to wait before history is asked: a sandbox knows its past at once, the venue after a minute."""
    return timedelta(0) if source.control_url is not None else timedelta(minutes=1)
