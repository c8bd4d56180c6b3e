"""History from the venue into the store, page by page, so that a broken download goes on where it stopped."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import polars as pl

from cryptoquant.data.alpaca import DATA_URL, LOOPBACK, Alpaca
from cryptoquant.data.alpaca_history import Span
from cryptoquant.data.calendar import days, months
from cryptoquant.data.chunk import Chunk
from cryptoquant.data.clock import clock_of
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.store import Store
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import INSTANT
from cryptoquant.market.time import Instant, Timeframe, iso, timeframe_name, to_ns

PARTS = {"bars": months, "trades": months, "quotes": days}
SETTLED_NS = 3_600_000_000_000
NO_LIMIT = 1_000_000
GAPS: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "start": INSTANT,
    "end": INSTANT,
    "missing": pl.Int64,
}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What a download brought; a chunk is a symbol and a month (quotes: a day).

    Attributes
    ----------
    rows
        New rows in the store.
    symbols
        What was asked for.
    fetched, skipped, empty
        Chunks that brought rows, that were complete already, and that the venue has nothing of.
    kind
        ``bars``, ``trades`` or ``quotes``.
    came
        Rows that the venue sent; each of them was read back from the store.
    pages
        Requests that were answered.
    reopened
        Chunks that were fetched anew, because the store did not hold what an earlier download had kept.
    seconds
        How long it took.
    gaps
        Of the chunks fetched: symbol, start, end, and how many bars are missing there (of ticks: null, for chunks
        without any).
    """

    rows: int
    symbols: tuple[str, ...]
    fetched: int
    skipped: int
    empty: int
    kind: str = "bars"
    came: int = 0
    pages: int = 0
    reopened: int = 0
    seconds: float = 0.0
    gaps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=GAPS), compare=False)


@dataclass(slots=True)
class Fetched:
    """What one chunk brought: rows that came, rows that were new, pages."""

    chunk: Chunk
    came: int = 0
    rows: int = 0
    pages: int = 0
    is_skipped: bool = False
    is_reopened: bool = False


def download(
    store: Store,
    symbols: str | Sequence[str],
    timeframe: Timeframe | None,
    start: Instant,
    end: Instant | None = None,
    *,
    kind: str = "bars",
    source: Alpaca | None = None,
    jobs: int = 4,
    bucket: TokenBucket | None = None,
    progress: Progress | None = None,
) -> DownloadResult:
    """Fetch bars, trades or quotes into the store and return what came.

    Each page of at most 10,000 rows is written as it comes: a failure keeps the pages before. A second call skips what
    is complete, asks again from the last time that was reached, and compares what comes with what is stored there. In
    the end all rows that came are looked up in the store.

    Parameters
    ----------
    timeframe
        Of bars; None for trades and quotes.
    end
        By default the venue's present; a bar that is not closed yet is left out in any case.
    source
        By default Alpaca with the keys of the environment.
    jobs
        How many requests may be under way at once.
    bucket
        The allowance of requests, shared by all; by default 200 a minute, and no limit for a venue on loopback.
    progress
        Called after each page with chunks done, chunks in all, and words: the symbol, rows so far, the time left.

    Raises
    ------
    ValueError
        ``start`` lies after ``end``, or the kind or timeframe is unknown.
    AuthenticationError, UnknownSymbolError, VenueUnreachableError, VenueError
        From the venue.
    StoreError
        A row that came is not in the store.
    """
    venue = source or Alpaca()
    names = tuple(normalize_symbol(name) for name in ([symbols] if isinstance(symbols, str) else symbols))
    # What a sandbox says of its clock may be wrong on purpose; its history goes by the market's time.
    first, now = to_ns(start), venue.now() if venue.control_url is None else clock_of(venue).now()
    last = now if end is None else to_ns(end)
    if first > last:
        raise ValueError(f"start {iso(first)} lies after end {iso(last)}")
    if jobs < 1:
        raise ValueError(f"download: jobs must be at least 1, found {jobs}")
    length = "" if timeframe is None or kind != "bars" else timeframe_name(timeframe)
    Span(kind, names, first, last, length or None)  # refuses what cannot be asked for, before anything is
    origin = f"alpaca {venue.data_url or DATA_URL}"
    chunks = [
        Chunk(kind, name, length, *bounds, origin) for name in names for bounds in PARTS[kind](first, min(last, now))
    ]
    is_near = urlsplit(venue.data_url or DATA_URL).hostname in LOOPBACK
    allowance = bucket or (TokenBucket(NO_LIMIT, burst=NO_LIMIT // 2) if is_near else TokenBucket())
    return _Download(store, venue, allowance, now, progress).run(chunks, names, jobs)


class _Download:
    """A download under way: what its threads share."""

    def __init__(self, store: Store, venue: Alpaca, bucket: TokenBucket, now: int, progress: Progress | None) -> None:
        self.store, self.venue, self.bucket, self.now = store, venue, bucket, now
        self._progress = progress
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._done, self._total, self._rows = 0, 0, 0
        self._is_over = False

    def run(self, chunks: list[Chunk], names: tuple[str, ...], jobs: int) -> DownloadResult:
        """Fetch all chunks; the first failure stops the others after their page and is raised."""
        lineages = self.store.lineages()
        self._total = len(chunks)
        with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="download") as pool:
            waiting: list[Future[Fetched]] = [pool.submit(self._fetch, chunk, lineages) for chunk in chunks]
            try:
                wait(waiting, return_when=FIRST_EXCEPTION)
            finally:  # also when the wait is interrupted
                self._is_over = True
                for future in waiting:
                    future.cancel()
        failures = [failure for future in waiting if not future.cancelled() and (failure := future.exception())]
        if failures:
            raise failures[0]
        return self._result([future.result() for future in waiting], names, chunks[0].kind if chunks else "bars")

    def _fetch(self, chunk: Chunk, lineages: frozenset[str]) -> Fetched:
        """Bring one chunk up to date; a failure keeps the other threads from beginning another."""
        reached = chunk.reached(lineages)
        found = Fetched(chunk, is_skipped=chunk.is_complete(reached))
        is_whole = False
        try:
            if not found.is_skipped and not self._is_over:
                self._bring(found, reached)
            is_whole = True
        finally:
            self._is_over |= not is_whole
        with self._lock:
            self._done += 1
            self._tell(chunk)
        return found

    def _bring(self, found: Fetched, reached: int | None) -> None:
        chunk = found.chunk
        if reached is None:
            self._take(found, chunk.start, chunk.nothing, is_checked=False)
            return
        begin = reached - chunk.width
        if not self._take(found, begin, self._stored(chunk, begin, reached), is_checked=True):
            found.is_reopened = True
            self._take(found, chunk.start, self._stored(chunk, chunk.start, chunk.end), is_checked=False)

    def _take(self, found: Fetched, begin: int, held: pl.DataFrame, *, is_checked: bool) -> bool:
        """Fetch a chunk from a time on, keep what is not held; return False when what is held does not come again."""
        chunk, came = found.chunk, []
        for page in self.venue.fetch_pages(chunk.span(begin), bucket=self.bucket):
            if is_checked and not chunk.comes_again(held, page.rows):
                return False
            is_checked = False
            found.pages += 1
            found.came += page.rows.height
            if page.rows.height:
                came.append(chunk.identities(page.rows))
                found.rows += self._keep(chunk, chunk.news(page.rows, held), page.rows)
                held = pl.concat([held, page.rows.filter(pl.col("time") == pl.col("time").max())])
            if self._is_over:
                return True
        if came:
            with self._lock:
                chunk.verify(self.store, begin, pl.concat(came))
                if chunk.kind != "bars" and chunk.end <= self.now - SETTLED_NS:
                    self.store.write(chunk.kind, chunk.nothing, lineage=chunk.mark(chunk.end))
        return True

    def _stored(self, chunk: Chunk, begin: int, end: int) -> pl.DataFrame:
        with self._lock:
            return chunk.stored(self.store, begin, end)

    def _keep(self, chunk: Chunk, news: pl.DataFrame, rows: pl.DataFrame) -> int:
        """Write what is new of a page together with how far it reaches."""
        if not news.height:
            return 0
        last = int(rows["time"].dt.epoch("ns").max())  # type: ignore[arg-type]
        with self._lock:
            written = self.store.write(
                chunk.kind,
                news,
                timeframe=chunk.timeframe or None,
                source="alpaca history",
                lineage=chunk.mark(last),
            )
            self._rows += written
            self._tell(chunk)
        return written

    def _tell(self, chunk: Chunk) -> None:
        if self._progress is None:
            return
        words = f"{chunk.symbol}, {self._rows:,} rows"
        if 0 < self._done < self._total:
            left = (time.monotonic() - self._began) * (self._total - self._done) / self._done
            words += f", {int(left) // 60}:{int(left) % 60:02d} left"
        self._progress(self._done, self._total, words)

    def _result(self, found: list[Fetched], names: tuple[str, ...], kind: str) -> DownloadResult:
        asked = [one for one in found if not one.is_skipped]
        return DownloadResult(
            rows=sum(one.rows for one in asked),
            symbols=names,
            fetched=sum(1 for one in asked if one.came),
            skipped=len(found) - len(asked),
            empty=sum(1 for one in asked if not one.came),
            kind=kind,
            came=sum(one.came for one in asked),
            pages=sum(one.pages for one in asked),
            reopened=sum(one.is_reopened for one in asked),
            seconds=time.monotonic() - self._began,
            gaps=_gaps(self.store, asked),
        )


def _gaps(store: Store, asked: list[Fetched]) -> pl.DataFrame:
    """Return the holes in what was fetched: bars between the first and the last one, chunks without a tick."""
    holes: list[tuple[str, int, int, int | None]] = []
    for symbol in dict.fromkeys(one.chunk.symbol for one in asked):
        own = [one.chunk for one in asked if one.chunk.symbol == symbol]
        if own[0].kind != "bars":
            holes += [
                (symbol, one.chunk.start, one.chunk.end, None) for one in asked if one.chunk in own and not one.came
            ]
            continue
        bars = own[0].stored(store, min(chunk.start for chunk in own), max(chunk.end for chunk in own))
        width = own[0].width
        if bars.height:
            opens = bars.select(start=pl.col("time").shift(1).dt.epoch("ns"), end=pl.col("open_time").dt.epoch("ns"))
            broken = opens.filter(pl.col("end") > pl.col("start"))
            holes += [(symbol, start, end, (end - start) // width) for start, end in broken.iter_rows()]
    table = pl.DataFrame(holes, schema={**GAPS, "start": pl.Int64, "end": pl.Int64}, orient="row")
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("start", "end"))
