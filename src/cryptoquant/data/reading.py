"""One look at the store: the files of a snapshot and the tail of the log behind it, as rows in order."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Protocol

import polars as pl

from cryptoquant.data.cache import Cache
from cryptoquant.data.entry import Entry
from cryptoquant.data.keys import once
from cryptoquant.data.layout import PLAIN_KINDS, STORED, empty
from cryptoquant.data.opening import Opener
from cryptoquant.data.segment import POSITION_BITS
from cryptoquant.data.selection import EVERY, Bounds, edges, inside, timeframe_of_span
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.errors import StoreError

ONE_RECORD = 1 << POSITION_BITS
Fresh = dict[tuple[str, str], pl.DataFrame]


class Tail(Protocol):
    """What the log holds beyond the store's files."""

    def frame(self, kind: str, symbols: Collection[str] | None, after: int) -> pl.DataFrame | None:
        """Return the rows of all records with a sequence above ``after``, in the schema in which a kind is stored.

        Rows may come in any order and may also be older; ``symbols`` only says which are needed (None: all). None as
        the answer says that records after ``after`` are gone: they have been published since, and the reader looks at
        the manifest again.
        """


class View:
    """A snapshot and the tail behind it; whoever reads takes the snapshot first, and cuts the tail where it ends.

    A file or a part of the log that is gone raises FileNotFoundError: the reader takes a new view.
    """

    def __init__(self, snapshot: Snapshot, opener: Opener, tail: Tail | None, cache: Cache | None) -> None:
        self.snapshot = snapshot
        self._opener, self._tail, self._cache = opener, tail, cache
        self._tails: dict[str, pl.DataFrame] = {}

    def tail(self, kind: str) -> pl.DataFrame | None:
        """Return the rows of the log that no file of the snapshot holds, None when there are none."""
        if self._tail is None or kind not in STORED:
            return None
        if kind not in self._tails:
            published = self.snapshot.published
            rows = self._tail.frame(kind, None, published)
            if rows is None:
                raise FileNotFoundError(f"the log after record {published}")
            behind = pl.col("position") // ONE_RECORD > published
            self._tails[kind] = rows.select(*STORED[kind]).filter(behind) if rows.height else rows
        return self._tails[kind] if self._tails[kind].height else None

    def symbols(self, kind: str) -> list[str]:
        """Return the symbols of which there are rows, sorted."""
        held, tail = self.snapshot.symbols(kind), self.tail(kind)
        return list(held) if tail is None else sorted({*held, *tail["symbol"].unique()})

    def fresh(self, kind: str, symbols: Sequence[str], bounds: Bounds) -> Fresh:
        """Return by timeframe and symbol the rows that lie in no file of their own yet, in the order written."""
        found: dict[tuple[str, str], list[pl.DataFrame]] = {}
        for timeframe in self.snapshot.timeframes(kind, ""):
            series = self.snapshot.series(kind, timeframe, "")
            wanted = set(symbols)
            entries = [e for e in series.within(*loose(kind, bounds)) if not wanted.isdisjoint(e.symbols)]
            if entries:
                rows = self.load(series.as_written(entries), kind, bounds, wanted=pl.col("symbol").is_in(list(symbols)))
                _split(rows, timeframe, found)
        tail = self.tail(kind)
        if tail is None:
            return {name: pl.concat(parts) for name, parts in found.items()}
        behind = tail.filter(pl.col("symbol").is_in(list(symbols)) & inside(kind, bounds))
        if kind in PLAIN_KINDS and behind.height:
            spans = (behind["time"] - behind["open_time"]).dt.total_nanoseconds()
            for span in spans.unique():
                _split(behind.filter(spans == span), timeframe_of_span(int(span)), found)
        else:
            _split(behind, "", found)
        return {name: pl.concat(parts) for name, parts in found.items()}

    def coverage(self, kind: str, timeframe: str, symbol: str) -> tuple[int, int, int] | None:
        """Return first and last time (ns UTC) and the rows written of a symbol, or None when there are none."""
        entries = self.snapshot.series(kind, timeframe, symbol).entries
        spans = [(entry.first, entry.last, entry.rows) for entry in entries]
        recent = self.fresh(kind, [symbol], (None, None)).get((timeframe, symbol))
        if recent is not None:
            times = recent["time"].to_physical()
            spans.append((int(times.min()), int(times.max()), recent.height))  # type: ignore[arg-type]
        if not spans:
            return None
        return min(first for first, _, _ in spans), max(last for _, last, _ in spans), sum(n for _, _, n in spans)

    def ticks(self, kind: str, symbols: Sequence[str], bounds: Bounds, columns: Sequence[str]) -> pl.DataFrame:
        """Return the rows of trades, quotes or books, by symbol in their order, each once."""
        fresh = self.fresh(kind, symbols, bounds)
        parts: list[pl.DataFrame] = []
        clean: list[Entry] = []
        for symbol in symbols:
            series = self.snapshot.series(kind, "", symbol)
            entries = series.within(*bounds)
            if ("", symbol) not in fresh and is_clean(kind, entries):
                clean += entries
                continue
            if clean:
                parts.append(self.load(clean, kind, bounds, columns))
                clean = []
            written = [self.load(series.as_written(entries), kind, bounds)] if entries else []
            rows = pl.concat([*written, *([fresh["", symbol]] if ("", symbol) in fresh else [])])
            parts.append(once(kind, rows).select(columns))
        if clean or not parts:
            parts.append(self.load(clean, kind, bounds, columns))
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def load(
        self,
        entries: Sequence[Entry],
        kind: str,
        bounds: Bounds = (None, None),
        columns: Sequence[str] | None = None,
        *,
        wanted: pl.Expr = EVERY,
    ) -> pl.DataFrame:
        """Return the rows of some files one after the other, those inside the bounds that are wanted."""
        columns = list(STORED[kind]) if columns is None else list(columns)
        if not entries:
            return empty(kind).select(columns)
        conditions = [condition for condition in (wanted, inside(kind, bounds)) if condition is not EVERY]
        try:
            if self._cache is not None:
                needed = tuple(dict.fromkeys([*columns, "symbol", "known", *edges(kind)]))
                kept = (self._kept(self._cache, entry, needed) for entry in entries)
                return pl.concat([frame.filter(*conditions).select(columns) for frame in kept])
            named = (name for condition in conditions for name in condition.meta.root_names())
            read = list(dict.fromkeys([*columns, *named]))
            return self._opener.scan(entries, read, loose(kind, bounds)).filter(*conditions).select(columns).collect()
        except FileNotFoundError:
            raise
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{entries[0].path}, or one of {len(entries)} files, cannot be read: {error}") from error

    def table(self, entries: Sequence[Entry]) -> pl.DataFrame:
        """Return the rows of files of a table of one's own, whose columns may differ."""
        return pl.concat([self._opener.scan([entry]).collect() for entry in entries], how="diagonal_relaxed")

    def _kept(self, cache: Cache, entry: Entry, columns: tuple[str, ...]) -> pl.DataFrame:
        key = (f"{entry.place}/{entry.path}", columns)
        frame = cache.get(key)
        if frame is None:
            frame = self._opener.scan([entry], list(columns)).select(columns).collect()
            cache.put(key, frame)
        return frame


def is_clean(kind: str, entries: Sequence[Entry]) -> bool:
    """Whether files, read one after the other, give rows in order and none twice."""
    if not all(entry.is_distinct for entry in entries):
        return False
    if kind == "books":
        return len(entries) <= 1
    return all(entry.last < after.first for entry, after in pairwise(entries))


def loose(kind: str, bounds: Bounds) -> Bounds:
    """Return bounds of ``time`` within which the files of a kind have to be looked at."""
    first, last = bounds
    return (first, None) if kind in PLAIN_KINDS and last is not None and kind != "bars" else (first, last)


def _split(rows: pl.DataFrame, timeframe: str, found: dict[tuple[str, str], list[pl.DataFrame]]) -> None:
    for part in rows.partition_by("symbol", maintain_order=True):
        found.setdefault((timeframe, part["symbol"].item(0)), []).append(part)
