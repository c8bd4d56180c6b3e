"""The shelf of market data: Parquet files under a manifest, read as frames, written all or nothing."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import polars as pl

from cryptoquant.data import compaction, derived, publication, retention, revisions
from cryptoquant.data.cache import Cache, CacheStatus
from cryptoquant.data.disk import Disk
from cryptoquant.data.encryption import KeyRing, known_keys
from cryptoquant.data.files import Columns, Stamp, read_file, write_file
from cryptoquant.data.layout import KINDS, kind_name
from cryptoquant.data.listing import files
from cryptoquant.data.quality import QualityReport
from cryptoquant.data.quality_report import CHECKED, MarketQuality, market_quality
from cryptoquant.data.reader import Reader, found, given
from cryptoquant.data.reading import View
from cryptoquant.data.replay import Event, replay
from cryptoquant.data.selection import Bounds, instants
from cryptoquant.data.subscription import Follower
from cryptoquant.data.symbols import Symbols, chosen
from cryptoquant.data.vault import Access, Vault, root_of
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import SCHEMAS
from cryptoquant.market.time import Instant, Timeframe, timeframe_name, to_ns

if TYPE_CHECKING:
    import pandas as pd


class Store:
    """Market data in a folder: ``bars``, ``trades``, ``quotes``, ``books``, and tables of your own.

    A write is seen by readers completely or not at all, in this process and in others, also when the writer is killed.
    Rows are never changed: a correction is a later revision, and readers take the latest that was known.

    Parameters
    ----------
    root
        A local folder, made by the first write, or a URL that fsspec knows, for example ``s3://bucket/prefix``.
    cache_bytes
        How much memory decoded files may take to be read again at once; 0 for none.
    clock
        The present in nanoseconds UTC.
    disk
        What writes to a local folder go through, by default the folder itself.
    keys
        Whatever is written is encrypted with the ring's current key; by default those of the file that ``CQ_KEYS``
        names, and no encryption when it names none.
    storage
        Of a URL: fsspec's options, such as ``key``, ``secret`` and ``endpoint_url``; by default the environment's.

    Raises
    ------
    StoreLayoutError
        The folder holds something else, or a store of another layout version.
    MissingExtraError
        The package for the kind of URL is not installed.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from cryptoquant.data.synthetic import SyntheticMarket
    >>> store = Store(mkdtemp())
    >>> store.write("bars", SyntheticMarket(symbols=["BTC/USD"], days=1, timeframe="5m").bars())
    288
    >>> store.bars("BTC/USD", "1h").height
    24
    """

    def __init__(
        self,
        root: str | Path = "data",
        *,
        cache_bytes: int = 0,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        keys: KeyRing | None = None,
        storage: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = root_of(root)
        self._vault = Vault(self.root, clock, Access(disk, storage, known_keys() if keys is None else keys))
        self._reader = Reader(self._vault, Cache(cache_bytes) if cache_bytes else None)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def at(self, version: int) -> "Store":
        """Return the store as it was after so many writes, to be read only; see `version`.

        Raises
        ------
        StoreError
            The manifest no longer tells that version, or never had it. A read fails when its files are gone.
        """
        past = copy(self)
        past._vault = self._vault.past(version)
        past._reader = Reader(past._vault, self._reader.cache)
        return past

    @property
    def version(self) -> int:
        """The number of writes so far."""
        return self._vault.snapshot().version

    @property
    def published(self) -> int:
        """The last record of the log whose rows are in files; 0 before the first."""
        return self._vault.snapshot().published

    @property
    def received(self) -> int:
        """When the stream was heard last, up to there (ns UTC); 0 before the first."""
        return self._vault.snapshot().received

    @property
    def keys(self) -> KeyRing | None:
        """What its files and its log are encrypted with."""
        return self._vault.ring

    @property
    def cache(self) -> CacheStatus:
        """How well the cache of decoded files does."""
        return CacheStatus(0, 0, 0, 0) if self._reader.cache is None else self._reader.cache.status()

    def create(self) -> None:
        """Make the folder a store, if it is not one yet, and durable what its manifest says, whoever wrote it."""
        self._vault.settle()

    def write(
        self,
        kind: str,
        frame: Any,
        *,
        timeframe: Timeframe | None = None,
        source: str = "",
        lineage: str | Mapping[str, Any] | None = None,
    ) -> int:
        """Add rows (polars, pandas or Arrow) durably and return how many; rows that are already there are read once.

        Parameters
        ----------
        kind
            ``bars``, ``trades``, ``quotes`` or ``books``; or the name of a table of your own (features, indicators,
            bars of another make), which needs the columns ``symbol`` and ``time`` and a lineage, and in which the row
            written last counts.
        timeframe
            Of bars; told from the rows when not given.
        source
            Where the rows come from, kept in the manifest.
        lineage
            A key that `lineages` holds from now on, also when there are no rows; of a table what it was made from:
            inputs, code version, parameters, or whatever JSON can say.

        Raises
        ------
        SchemaError
            A row is impossible, or the kind is unknown and no table's lineage is given; nothing is written.
        """
        if isinstance(lineage, Mapping):
            return derived.write(self._vault, kind, frame, source, lineage)
        return publication.write(self._vault, kind, frame, (timeframe, source, lineage))

    def publish_recent(self, frames: Mapping[str, pl.DataFrame], published: int, received: int) -> int:
        """Add decoded records of the log, all up to ``published``, in one write; return the rows added.

        Parameters
        ----------
        frames
            Rows by kind, in the schemas in which they are stored; also empty ones.
        published
            The last record decoded. One that is published already adds nothing, so that a publisher that was killed
            may do its last step again.
        received
            When the stream was heard last, up to there (ns UTC).

        Raises
        ------
        SchemaError
            A frame has other columns.
        StoreError
            The disk refused; read `published` before trying again.
        """
        return publication.publish_recent(self._vault, frames, published, received)

    @overload
    def bars(
        self,
        symbols: Symbols,
        timeframe: Timeframe,
        start: Instant | None = None,
        end: Instant | None = None,
        as_of: Instant | None = None,
        as_: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...
    @overload
    def bars(
        self,
        symbols: Symbols,
        timeframe: Timeframe,
        start: Instant | None = None,
        end: Instant | None = None,
        as_of: Instant | None = None,
        *,
        as_: Literal["pandas"],
    ) -> "pd.DataFrame": ...
    def bars(
        self,
        symbols: Symbols,
        timeframe: Timeframe,
        start: Instant | None = None,
        end: Instant | None = None,
        as_of: Instant | None = None,
        as_: str = "polars",
    ) -> "pl.DataFrame | pd.DataFrame":
        """Return bars with ``start <= open_time`` and ``time <= end``, by symbol in time order.

        Of several revisions of one bar those from the venue's history go before corrections, and these before the
        first bar; of equals the one known last counts. With ``as_of`` only what was known then. A timeframe that is
        not stored for a symbol is aggregated from the largest stored one that divides it; an absent smaller bar did not
        trade. Only the first large bar of all, unless the first small one opens it, and the last of all, unless the
        last small one closes it, are left out: they may be partial.

        Parameters
        ----------
        symbols
            One pair, several, or None for all of which the timeframe can be made.
        as_
            ``"polars"``, ``"pandas"`` or ``"arrow"``.

        Raises
        ------
        UnknownSymbolError
            A symbol is not stored; the message names the nearest that is.
        EmptyStoreError
            No row fits, or the stored timeframes of a symbol do not make the one asked for.
        ValueError
            ``start`` lies after ``end``.
        """
        limit = None if as_of is None else to_ns(as_of)
        asked = revisions.Question(timeframe, instants(start, end), limit, is_named=symbols is not None)
        rows = self._asked("bars", symbols, lambda view, names: revisions.bars(view, names, asked))
        return cast(pl.DataFrame, given(rows, as_))

    def daily_bars(
        self,
        symbols: Symbols = None,
        start: Instant | None = None,
        end: Instant | None = None,
        as_of: Instant | None = None,
        as_: str = "polars",
    ) -> Any:
        """Return the venue's running daily bars that open in a range: of each day the values known last.

        With ``as_of`` those known then; the present day is known before its ``time``. Errors as `bars`.
        """
        bounds, limit = instants(start, end), None if as_of is None else to_ns(as_of)
        rows = self._asked("daily_bars", symbols, lambda view, names: revisions.daily(view, names, bounds, limit))
        return given(rows, as_)

    def trades(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return trades with ``start <= time <= end``, by symbol in time order, each id once. Errors as `bars`."""
        return self._ticks("trades", symbols, instants(start, end), as_)

    def quotes(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return quotes with ``start <= time <= end``, by symbol in time order, equal ones once. Errors as `bars`."""
        return self._ticks("quotes", symbols, instants(start, end), as_)

    def books(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return changed levels with ``start <= time <= end`` by symbol, in the order of arrival. Errors as `bars`."""
        return self._ticks("books", symbols, instants(start, end), as_)

    def scan(
        self, kind: str, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None
    ) -> pl.DataFrame:
        """Return rows as they are stored, of bars all revisions, with rank and place in the log. Errors as `bars`."""
        bounds = instants(start, end)
        return self._asked(kind_name(kind), symbols, lambda view, names: revisions.every(view, kind, names, bounds))

    def gaps(self) -> pl.DataFrame:
        """Return the outages of the recording, one row each as it is known now; empty when there were none."""
        return self._reader.seen(revisions.gaps)

    def quarantine(self) -> pl.DataFrame:
        """Return the messages that could not be read, with the reason; empty when there were none."""
        return self._reader.seen(revisions.quarantine)

    def read(
        self, name: str, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None
    ) -> pl.DataFrame:
        """Return the rows of a table of your own with ``start <= time <= end``, by symbol in time order."""
        bounds = instants(start, end)
        return self._asked(name, symbols, lambda view, names: derived.read(view, name, names, bounds))

    def lineage(self, name: str) -> list[dict[str, Any]]:
        """Return what a table was made from: the lineages of its writes, each once, the oldest first."""
        return derived.lineage(self._vault.snapshot(), name)

    def files(
        self, kind: str, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None
    ) -> pl.DataFrame:
        """Return the files that count now and may hold rows of a range, for other tools; see `listing.files`."""
        bounds, place = instants(start, end), self._vault.place
        return self._asked(kind, symbols, lambda view, names: files(view, place, kind, names, bounds))

    def symbols(self, kind: str = "bars") -> list[str]:
        """Return the symbols of which rows of a kind are stored, sorted."""
        return self._reader.seen(lambda view: view.symbols(kind))

    def coverage(self, kind: str, timeframe: Timeframe | None, symbol: str) -> tuple[int, int, int] | None:
        """Return first and last time (ns UTC; of bars the close) and the rows written, or None when there are none."""
        name = "" if timeframe is None else timeframe_name(timeframe)
        return self._reader.seen(lambda view: view.coverage(kind, name, normalize_symbol(symbol)))

    def lineages(self) -> frozenset[str]:
        """Return the lineage keys of all writes."""
        return frozenset(self._vault.snapshot().lineages)

    def summary(self) -> pl.DataFrame:
        """Return kind, timeframe, symbol, first, last and rows of all that can be read, and its own files and bytes.

        Rows that lie in recent files with those of other symbols, or in the log, count; such files do not.
        """
        return self._reader.seen(retention.summary)

    def compact(self, kinds: Sequence[str] | None = None, *, upto: Instant | None = None) -> int:
        """Sort recent and small files into one file per symbol and day (bars: month); return how many are replaced.

        Rows that say the same become one. What is written is read back and proven to hold every key before the old
        files stop counting, in one step; they stay on disk until `vacuum`. Readers and recorders go on meanwhile.

        Parameters
        ----------
        kinds
            By default all, tables of your own included.
        upto
            Leave recent files with later rows alone.

        Raises
        ------
        StoreError
            The proof failed, or a file is damaged; nothing has been replaced.
        """
        limit = None if upto is None else to_ns(upto)
        return compaction.compact(self._vault, kinds, limit)

    def vacuum(self, grace: timedelta = timedelta(minutes=15)) -> int:
        """Delete files that stopped counting longer ago than ``grace``, and leftovers as old; return how many.

        The manifest is shortened when it has grown: versions before that can no longer be read.
        """
        return retention.vacuum(self._vault, grace)

    def prune(self, kind: str, older_than: timedelta, *, dry_run: bool = True) -> pl.DataFrame:
        """Return the files whose rows are all older than an age, which stop counting unless it is a dry run."""
        return retention.prune(self._vault, kind, older_than, dry_run=dry_run)

    def move(self, kind: str, older_than: timedelta, *, to: str | Path) -> pl.DataFrame:
        """Copy the files whose rows are all older than an age to another place, and read them from there from now on.

        They lie below ``to``, a folder or a URL that several stores may share, in a folder of this store's own.

        Raises
        ------
        StoreError, ValueError
            A file is missing or not what the manifest says, or the place lies in a store; nothing has been moved.
        """
        return retention.move(self._vault, kind, older_than, str(to))

    def import_file(
        self,
        path: str | Path,
        *,
        symbol: str | None = None,
        timeframe: Timeframe | None = None,
        stamped: Stamp = "open",
        columns: Columns = None,
        zone: str | None = None,
    ) -> int:
        """Add the rows of a Parquet, Arrow or CSV file and return how many; see `cryptoquant.data.files.read_file`.

        Nothing is written unless all rows are possible.

        Raises
        ------
        ImportFileError
            Names the file, the row (the first data row is 1) and the column.
        """
        kind, frame = read_file(Path(path), symbol, timeframe, stamped, columns, zone)
        return self.write(kind, frame, source=Path(path).name)

    def export(
        self,
        path: str | Path,
        kind: str = "bars",
        symbols: Symbols = None,
        timeframe: Timeframe | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> int:
        """Write stored rows to a ``.parquet``, ``.arrow`` or ``.csv`` file and return how many."""
        if kind not in KINDS or (kind == "bars" and timeframe is None):
            raise ValueError(
                f"export of {kind!r}: wanted one of {', '.join(KINDS)}, of bars with a timeframe like '1h'"
            )
        many = (symbols, timeframe, start, end) if kind == "bars" else (symbols, start, end)
        return write_file(Path(path), getattr(self, kind)(*many))

    def check(self, kind: str = "bars", symbols: Symbols = None) -> QualityReport:
        """Return what is missing, doubled, idle or implausible in the stored bars, by symbol and day."""
        if kind != "bars":
            raise ValueError(f"check: kind {kind!r}, wanted bars")
        return QualityReport.of(
            self._reader.seen(lambda view: revisions.as_written(view, kind, self._chosen(view, kind, symbols)))
        )

    def quality(self, kinds: Sequence[str] = CHECKED) -> MarketQuality:
        """Return what looks wrong in bars, trades, quotes and books, by symbol and day; as a frame and as a page."""
        return market_quality(self, kinds)

    def replay(self, *what: Any, **how: Any) -> Iterator[Event]:
        """Return a range as the events that live consumers get; for the parameters see `cryptoquant.data.replay`."""
        return replay(self, *what, **how)

    def follow(self, kinds: Sequence[str] | None = None, symbols: Sequence[str] | None = None) -> Follower:
        """Return the stream of the recorder that writes into this store, from now on, in any process."""
        return self._vault.follower(kinds, symbols)

    def _ticks(self, kind: str, symbols: Symbols, bounds: Bounds, as_: str) -> Any:
        columns = list(SCHEMAS[kind])
        return given(self._asked(kind, symbols, lambda view, names: view.ticks(kind, names, bounds, columns)), as_)

    def _asked(self, kind: str, symbols: Symbols, read: Callable[[View, list[str]], pl.DataFrame]) -> pl.DataFrame:
        rows = self._reader.seen(lambda view: read(view, self._chosen(view, kind, symbols)))
        return found(f"store {self.root}", kind, rows)

    def _chosen(self, view: View, kind: str, symbols: Symbols) -> list[str]:
        return chosen(f"store {self.root}", kind, view.symbols(kind), symbols)
