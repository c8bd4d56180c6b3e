"""What takes trades, quotes and books through the steps of features, in history and in the present.

A step is ``step(state, settings, events, span, now, out)``. It takes the events ``events[:, first:last]`` of a symbol,
``first, last = span``, in the order in which they became known, and then writes what it sees at ``now`` (seconds since
1970 UTC) to ``out``, which holds NaN. ``state`` (zeros at the start) is its memory. It must not raise, and however the
events are cut into spans, it gives the same bits. The first row of ``events`` is when each was known, in seconds; the
others are named in ``TICKS`` for trades and quotes, and in ``BOOKS`` for the best levels of a book after an update.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import address_of, borrowing, call, entry, floats_at, integers_at, table_at
from cryptoquant.errors import DataError
from cryptoquant.features.kernel import FLOAT, Integers
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.features.ticks import KIND, WIDTHS, Event, Source, Ticks, book_row, tick_row
from cryptoquant.market.book import Book
from cryptoquant.market.schema import BookUpdate
from cryptoquant.market.slice import Floats, Panel, Slice

FRAME = 13
EVERY_LEVEL = 1_000_000
STEP: Any = None


def _tick_entry(frame: int) -> None:
    given = integers_at(frame, FRAME)
    STEP(
        floats_at(given[0], given[1]),
        floats_at(given[2], given[3]),
        table_at(given[4], given[5], given[6]),
        (given[7], given[8]),
        floats_at(given[9], 1)[0],
        floats_at(given[10], given[11]),
    )
    given[12] = 1


@borrowing
def run_ticks(
    table: Integers,
    settings: Floats,
    state: Floats,
    events: Floats,
    begin: int,
    ends: Integers,
    nows: Floats,
    frame: Integers,
    out: Floats,
) -> int:
    """Take the events of one symbol from ``begin`` up to each end through all steps; write what they see at each now.

    A row of ``table`` is one feature: the address of its step, where its state begins and its size, where its settings
    begin and how many there are, its first column and how many it has. ``out`` has shape (nows, columns). Return the
    row of the table whose step raised, -1 if none did.
    """
    first = begin
    for row in range(len(ends)):
        for index in range(len(table)):
            feature = table[index]
            for column in range(feature[5], feature[5] + feature[6]):
                out[row, column] = np.nan
            frame[0], frame[1] = address_of(state) + FLOAT * feature[1], feature[2]
            frame[2], frame[3] = address_of(settings) + FLOAT * feature[3], feature[4]
            frame[4], frame[5], frame[6] = address_of(events), events.shape[0], events.shape[1]
            frame[7], frame[8], frame[9] = first, ends[row], address_of(nows) + FLOAT * row
            frame[10], frame[11] = address_of(out) + FLOAT * (row * out.shape[1] + feature[5]), feature[6]
            frame[12] = 0
            call(feature[0], address_of(frame))
            if frame[12] == 0:
                return index
        first = ends[row]
    return -1


@dataclass(frozen=True, slots=True)
class TickProgram:
    """The features of one source as the tables that the compiled driver reads.

    Attributes
    ----------
    columns
        The numbers of their columns in the feature set, in order.
    state_size
        Floats of memory for one symbol.
    """

    source: Source
    features: tuple[TickFeature, ...]
    columns: Integers
    table: Integers
    settings: Floats
    state_size: int

    @classmethod
    def of(cls, source: Source, placed: Sequence[tuple[TickFeature, int]]) -> "TickProgram":
        """Return the program of features and the numbers of their first columns."""
        rows: list[list[int]] = []
        settings: list[float] = []
        columns: list[int] = []
        base = 0
        for feature, column in placed:
            where = [len(settings), len(feature.settings), len(columns), len(feature.outputs)]
            rows.append([entry(_tick_entry, feature.step), base, feature.state_size, *where])
            base += feature.state_size
            settings += feature.settings
            columns += range(column, column + len(feature.outputs))
        chosen = tuple(feature for feature, _ in placed)
        table, numbers = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
        return cls(source, chosen, numbers, table, np.array(settings, dtype=np.float64), base)

    def check(self, ticks: Ticks) -> None:
        """Raise DataError when a frame is missing."""
        for feature in self.features:
            missing = [kind for kind in feature.reads if getattr(ticks, kind) is None]
            if missing:
                wanted = ", ".join(f"{kind}=..." for kind in missing)
                raise DataError(f"{feature.name} reads {', '.join(missing)}: give them as ticks=Ticks({wanted})")

    def run(self, state: Floats, events: Floats, ends: Integers, nows: Floats, begin: int = 0) -> NDArray[np.float64]:
        """Take the events of one symbol through the steps; return what they see, shape (nows, columns)."""
        out = np.empty((len(nows), len(self.columns)))
        frame = np.empty(FRAME, dtype=np.int64)
        failed = run_ticks(self.table, self.settings, state, events, begin, ends, nows, frame, out)
        if failed >= 0:
            raise RuntimeError(f"{self.features[failed].name}: its step raised an error; a step writes NaN instead")
        return out

    def advance(self, states: Floats, panel: Panel, ticks: Ticks, since: int) -> tuple[NDArray[np.float64], int]:
        """Take the events up to the last slice of a panel through the steps.

        Return what they see at each slice, shape (slices, symbols, columns), and when the last slice was known.
        """
        self.check(ticks)
        moments = np.maximum.accumulate(np.r_[since, panel.known])[1:]
        out = np.full((len(panel), len(panel.symbols), len(self.columns)), np.nan)
        there = ~np.isnan(panel.field("close"))
        for place, symbol in enumerate(panel.symbols):
            known, events = ticks.table(self.source, symbol)
            ends = np.searchsorted(known, moments, side="right")
            begin = int(np.searchsorted(known, since, side="right"))
            found = self.run(states[place], events, ends, moments / 1e9, begin)
            out[there[:, place], place] = found[there[:, place]]
        return out, int(moments[-1]) if len(moments) else since


class TickPresent:
    """The features of one source in the present: what has happened since the last slice, and their memory."""

    __slots__ = ("_books", "_known", "_states", "_waiting", "program", "symbols")

    def __init__(self, program: TickProgram, symbols: Sequence[str]) -> None:
        self.program = program
        self.symbols = {symbol: place for place, symbol in enumerate(symbols)}
        self._states = np.zeros((len(symbols), program.state_size))
        self._waiting: list[list[tuple[int, Sequence[float]]]] = [[] for _ in symbols]
        self._books = {symbol: Book(symbol) for symbol in symbols}
        self._known = np.iinfo(np.int64).min

    def observe(self, event: Event) -> None:
        """Keep what has happened until the next slice."""
        place = self.symbols.get(event.symbol)
        if place is None or isinstance(event, BookUpdate) != (self.program.source == "books"):
            return
        if isinstance(event, BookUpdate):
            book = self._books[event.symbol]
            book.update(event)
            if book.is_ready:
                self._waiting[place].append((event.known, [event.known / 1e9, *book_row(book)]))
            return
        row = tick_row(event)
        if row is not None:
            self._waiting[place].append((event.known, row))

    def update(self, slice: Slice) -> NDArray[np.float64]:
        """Take what was known at a slice; return the features, shape (symbols, columns)."""
        out = self._step(slice, self._states)
        self._known = max(self._known, slice.known)
        for place, waiting in enumerate(self._waiting):
            self._waiting[place] = [event for event in waiting if event[0] > self._known]
        return out

    def peek(self, slice: Slice) -> NDArray[np.float64]:
        """Return what ``update`` would return."""
        return self._step(slice, self._states.copy())

    def _step(self, slice: Slice, states: Floats) -> NDArray[np.float64]:
        moment = max(self._known, slice.known)
        there = ~np.isnan(slice.field("close"))
        out = np.full((len(states), len(self.program.columns)), np.nan)
        for place, waiting in enumerate(self._waiting):
            due = [event for event in waiting if event[0] <= moment]
            # At one moment trades come before quotes; the sort keeps the order of what is equal.
            due.sort(key=lambda event: (event[0], event[1][KIND] if self.program.source == "ticks" else 0.0))
            events = np.empty((WIDTHS[self.program.source], len(due)))
            for index, (_, row) in enumerate(due):
                events[:, index] = row
            ends, nows = np.array([len(due)]), np.array([moment / 1e9])
            found = self.program.run(states[place], events, ends, nows)
            if there[place]:
                out[place] = found[0]
        return out

    def check(self, panel: Panel, ticks: Ticks) -> None:
        """Raise DataError when a frame is missing."""
        self.program.check(ticks)

    def warm(self, panel: Panel, ticks: Ticks) -> None:
        """Take a history in at once."""
        since = self._known
        _, self._known = self.program.advance(self._states, panel, ticks, since)
        for symbol, book in self._books.items() if self.program.source == "books" else ():
            for update in ticks.updates(symbol):
                if since < update.known <= self._known:
                    book.update(update)

    def memory(self) -> Floats:
        """Return all that is remembered as floats: states, what waits for the next slice, and the books."""
        head = np.array([self._known], dtype=np.int64).view(np.float64)
        parts = [head, self._states.ravel()]
        for book in self._books.values():
            bids, asks = book.depth(EVERY_LEVEL)
            counts = np.array([float(book.is_ready), float(len(bids)), float(len(asks))])
            parts += [counts, np.array([*bids, *asks], dtype=np.float64).ravel()]
        for waiting in self._waiting:
            stamps = np.array([len(waiting), *(known for known, _ in waiting)], dtype=np.int64).view(np.float64)
            parts += [stamps, np.array([row for _, row in waiting], dtype=np.float64).ravel()]
        return np.concatenate(parts)

    def recall(self, memory: Floats) -> None:
        """Take over what ``memory`` returned."""
        width = WIDTHS[self.program.source]
        self._known = int(memory[:1].view(np.int64)[0])
        end = 1 + self._states.size
        self._states.reshape(-1)[:] = memory[1:end]
        for symbol in self._books:
            is_ready, bids, asks = memory[end : end + 3].astype(np.int64).tolist()
            flat = memory[end + 3 : end + 3 + 2 * (bids + asks)].tolist()
            levels = tuple(zip(flat[::2], flat[1::2], strict=True))
            end += 3 + 2 * (bids + asks)
            self._books[symbol] = book = Book(symbol)
            if is_ready:
                book.update(BookUpdate(symbol, self._known, self._known, levels[:bids], levels[bids:], True))
        for place in range(len(self._waiting)):
            count = int(memory[end : end + 1].view(np.int64)[0])
            stamps = memory[end + 1 : end + 1 + count].view(np.int64).tolist()
            end += 1 + count
            rows = memory[end : end + count * width].reshape(count, width).tolist()
            end += count * width
            self._waiting[place] = list(zip(stamps, rows, strict=True))


def programs_of(features: Iterable[Any]) -> list[TickProgram]:
    """Return the programs of the tick features among some features, one for each source."""
    placed: Mapping[Source, list[tuple[TickFeature, int]]] = {"ticks": [], "books": []}
    column = 0
    for feature in features:
        if isinstance(feature, TickFeature):
            placed[feature.source].append((feature, column))
        column += len(feature.outputs)
    return [TickProgram.of(source, members) for source, members in placed.items() if members]
