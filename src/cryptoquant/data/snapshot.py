"""What a store holds at one moment: its files by kind, timeframe and symbol, found by time without looking at all."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from msgspec.structs import replace

from cryptoquant.data.entry import Entry, Write

Key = tuple[str, str, str]
RECENT = "_recent/"


class Series:
    """The files of one kind, timeframe and symbol, by their first times."""

    __slots__ = ("_firsts", "_reach", "entries")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: tuple[Entry, ...] = tuple(sorted(entries, key=lambda entry: entry.first))
        self._firsts = [entry.first for entry in self.entries]
        self._reach = list(accumulate((entry.last for entry in self.entries), max))

    def within(self, first: int | None, last: int | None) -> list[Entry]:
        """Return the files that may hold rows of a range (ns UTC, both ends included), by their first times."""
        low = 0 if first is None else bisect_left(self._reach, first)
        high = len(self.entries) if last is None else bisect_right(self._firsts, last)
        return [entry for entry in self.entries[low:high] if first is None or entry.last >= first]

    def as_written(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return some of the files in the order in which they were written."""
        return sorted(entries, key=lambda entry: entry.written)


class Snapshot:
    """The state of a store after one write; it never changes.

    Attributes
    ----------
    version
        The number of writes so far.
    published, received
        The last record of the log whose rows are in the files, and its receive time (ns UTC); 0 before the first.
    lineages
        The lineage keys of all writes, oldest first.
    """

    __slots__ = ("_chosen", "_series", "_spans", "lineages", "published", "received", "version")

    def __init__(self, series: Mapping[Key, Series], version: int, seen: tuple[int, int], lineages: tuple[str, ...]):
        self._series = series
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._spans: dict[str, set[str]] = {}
        for kind, span, _ in series:
            self._spans.setdefault(kind, set()).add(span)
        self.version, (self.published, self.received), self.lineages = version, seen, lineages

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """Yield all files, or those of a kind."""
        for key, series in self._series.items():
            if kind is None or key[0] == kind:
                yield from series.entries

    def symbols(self, kind: str) -> tuple[str, ...]:
        """Return the symbols of which files hold rows of a kind, sorted."""
        if kind not in self._chosen:
            names = {entry.symbol for entry in self._firsts(kind) if entry.symbol}
            names.update(name for entry in self.entries(kind) if not entry.symbol for name in entry.symbols)
            self._chosen[kind] = tuple(sorted(names))
        return self._chosen[kind]

    def _firsts(self, kind: str) -> Iterator[Entry]:
        return (series.entries[0] for key, series in self._series.items() if key[0] == kind)

    def timeframes(self, kind: str, symbol: str) -> set[str]:
        """Return the timeframes of which files hold rows of a symbol."""
        spans = self._spans.get(kind, set())
        found = {span for span in spans if (kind, span, symbol) in self._series}
        shared = (entry for span in spans - found for entry in self.series(kind, span, "").entries)
        return found | {entry.timeframe for entry in shared if symbol in entry.symbols}

    def series(self, kind: str, timeframe: str, symbol: str) -> Series:
        """Return the files of one symbol; those that hold several symbols are under ``""``."""
        return self._series.get((kind, timeframe, symbol), EMPTY)


EMPTY = Series(())


class Fold:
    """Takes writes one after the other and tells what they come to."""

    def __init__(self) -> None:
        self.version = 0
        self._seen = (0, 0)
        self._lineages: tuple[str, ...] = ()
        self._keys: dict[str, Key] = {}
        self._members: dict[Key, dict[str, Entry]] = {}
        self._series: dict[Key, Series] = {}
        self._removed: dict[tuple[str, str], tuple[int, Entry]] = {}

    def take(self, writes: Sequence[Write]) -> None:
        """Apply some writes; within one, files are removed before others are added.

        A file that does not say when its rows were written came with this write, and is read after all that was there.
        """
        touched: set[Key] = set()
        lineages: list[str] = []
        for write in writes:
            self.version = write.version or self.version + 1
            for path in write.removed:
                touched |= self._remove(path, write.at)
            for number, entry in enumerate(write.added):
                touched |= self._remove(entry.path, write.at)
                is_said = entry.written > (0, 0)
                touched.add(self._add(entry if is_said else replace(entry, written=(self.version, number))))
            self._removed.update(((entry.place, entry.path), (at, entry)) for at, entry in write.gone)
            lineages += [*write.lineages, *([] if write.lineage is None else [write.lineage])]
            if write.published is not None and write.published >= self._seen[0]:
                self._seen = (write.published, max(self._seen[1], write.received))
        if lineages:
            self._lineages = (*self._lineages, *lineages)
        for key in touched:
            self._series.pop(key, None)
            if self._members[key]:
                self._series[key] = Series(self._members[key].values())

    def snapshot(self) -> Snapshot:
        """Return the present state."""
        return Snapshot(dict(self._series), self.version, self._seen, self._lineages)

    def removed(self) -> list[tuple[int, Entry]]:
        """Return the files that no longer count, each with when it was removed (ns UTC)."""
        return list(self._removed.values())

    def checkpoint(self, removed_after: int) -> Write:
        """Return one write that comes to the same, but for files removed at an instant (ns UTC) or before."""
        live = tuple(entry for members in self._members.values() for entry in members.values())
        gone = tuple((at, entry) for at, entry in self._removed.values() if at > removed_after)
        published, received = self._seen
        return Write(live, None, (), published, received, removed_after, self.version, self._lineages, gone)

    def _add(self, entry: Entry) -> Key:
        key = (entry.kind, entry.timeframe, entry.symbol)
        self._keys[entry.path] = key
        self._members.setdefault(key, {})[entry.path] = entry
        self._removed.pop((entry.place, entry.path), None)
        return key

    def _remove(self, path: str, at: int) -> set[Key]:
        key = self._keys.pop(path, None)
        if key is None:
            return set()
        entry = self._members[key].pop(path)
        self._removed[entry.place, path] = (at, entry)
        return {key}
