"""History from the venue into the store, month by month, so that a broken download goes on where it stopped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from cryptoquant.data.alpaca import DATA_URL, Alpaca
from cryptoquant.data.store import Store
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.time import Instant, Timeframe, from_iso, iso, span_ns, timeframe_name, to_datetime, to_ns

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What a download brought: rows written, the symbols, and chunks (symbol and month) fetched, skipped and empty."""

    rows: int
    symbols: tuple[str, ...]
    fetched: int
    skipped: int
    empty: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One symbol over (at most) one month; times in nanoseconds UTC. Its progress is kept in the store's manifest."""

    symbol: str
    timeframe: str
    start: int
    end: int
    origin: str

    @property
    def key(self) -> str:
        """The lineage key, to which the time reached is added."""
        return f"{self.origin}/bars/{self.timeframe}/{self.symbol}/{iso(self.start)}/"

    def reached(self, lineages: frozenset[str]) -> int | None:
        """Return the close of the last bar that an earlier download of this chunk wrote."""
        marks = [from_iso(name[len(self.key) :]) for name in lineages if name.startswith(self.key)]
        return max(marks, default=None)


def download(
    store: Store,
    symbols: str | Sequence[str],
    timeframe: Timeframe,
    start: Instant,
    end: Instant | None = None,
    *,
    source: Alpaca | None = None,
    progress: Progress | None = None,
) -> DownloadResult:
    """Fetch bars into the store and return what came.

    Each symbol and month is written as soon as it is complete. A second call skips what is there and asks again from
    the last bar of a month that was not complete. When a request fails, the months before it are kept.

    Parameters
    ----------
    end
        By default the venue's present; a bar that is not closed yet is left out in any case.
    source
        By default Alpaca with the keys of the environment.
    progress
        Called with chunks done, chunks in all, and the symbol.

    Raises
    ------
    ValueError
        ``start`` lies after ``end``.
    AuthenticationError, UnknownSymbolError, VenueUnreachableError, VenueError
        From the venue.
    """
    venue = source or Alpaca()
    names = tuple(normalize_symbol(name) for name in ([symbols] if isinstance(symbols, str) else symbols))
    first, now = to_ns(start), venue.now()
    last = now if end is None else to_ns(end)
    if first > last:
        raise ValueError(f"start {iso(first)} lies after end {iso(last)}")
    last = min(last, now)
    origin, lineages = f"alpaca {venue.data_url or DATA_URL}", store.lineages()
    chunks = [
        Chunk(name, timeframe_name(timeframe), *bounds, origin) for name in names for bounds in months(first, last)
    ]
    rows = []
    for done, chunk in enumerate(chunks, 1):
        rows.append(_fetch(store, venue, chunk, lineages))
        if progress is not None:
            progress(done, len(chunks), chunk.symbol)
    got = [count for count in rows if count is not None]
    return DownloadResult(sum(got), names, sum(1 for n in got if n), len(rows) - len(got), sum(1 for n in got if not n))


def months(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that lie in one calendar month (UTC) each; nanoseconds.

    Examples
    --------
    >>> [(iso(a), iso(b)) for a, b in months(to_ns("2024-01-31"), to_ns("2024-02-02"))]
    [('2024-01-31T00:00:00Z', '2024-02-01T00:00:00Z'), ('2024-02-01T00:00:00Z', '2024-02-02T00:00:00Z')]
    """
    while start < end:
        day = to_datetime(start)
        after = to_ns(datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC))
        yield start, min(after, end)
        start = after


def _fetch(store: Store, venue: Alpaca, chunk: Chunk, lineages: frozenset[str]) -> int | None:
    """Fetch and write one chunk; return its rows, or None when it was complete already."""
    width = span_ns(chunk.timeframe)
    reached = chunk.reached(lineages)
    if reached is not None and reached + width > chunk.end:
        return None
    begin = chunk.start if reached is None else reached - width
    pages = list(venue.fetch_bars(chunk.symbol, chunk.timeframe, begin, chunk.end))
    if not pages:
        return 0
    bars = pl.concat(pages)
    last = iso(int(bars["time"].dt.epoch("ns").max()))  # type: ignore[arg-type]
    store.write("bars", bars, timeframe=chunk.timeframe, source="alpaca history", lineage=chunk.key + last)
    return bars.height
