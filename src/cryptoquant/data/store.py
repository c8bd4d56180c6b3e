"""The shelf of market data: Parquet files under a manifest, read as frames, written all or nothing."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl

from cryptoquant.data.durable import only_writer, publish
from cryptoquant.data.files import Columns, Stamp, read_file, write_file
from cryptoquant.data.layout import KINDS, VERSION, conform, empty, files, timeframe_of
from cryptoquant.data.manifest import Entry, Manifest, Write
from cryptoquant.data.quality import QualityReport
from cryptoquant.data.selection import between, instants, latest, overlaps
from cryptoquant.errors import ConfigurationError, EmptyStoreError, StoreError, StoreLayoutError, UnknownSymbolError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.time import Instant, Timeframe, span_ns, timeframe_name, to_ns

if TYPE_CHECKING:
    import pandas as pd

Symbols = str | Sequence[str] | None


class Store:
    """Market data in a folder: ``bars``, ``trades``, ``quotes`` and ``books``.

    A write is seen by readers completely or not at all, in this process and in others, also when the writer is killed.
    Rows are never changed: a correction is a later revision, and readers take the latest that was known.

    Parameters
    ----------
    root
        A local folder; it is made by the first write.

    Raises
    ------
    StoreLayoutError
        The folder holds something else, or a store of another layout version.
    ConfigurationError
        ``root`` is a URL; only local folders can be used so far.

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

    def __init__(self, root: str | Path = "data") -> None:
        if "://" in str(root):
            raise ConfigurationError(f"store {root}: object stores are not available yet; wanted a local folder")
        self.root = Path(root)
        self._manifest = Manifest(self.root / "manifest.jsonl")
        self._check_layout()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def write(
        self,
        kind: str,
        frame: Any,
        *,
        timeframe: Timeframe | None = None,
        source: str = "",
        lineage: str | None = None,
    ) -> int:
        """Add rows (polars or pandas) durably and return how many; rows that are already there are read once.

        Parameters
        ----------
        kind
            ``bars``, ``trades``, ``quotes`` or ``books``.
        timeframe
            Of bars; told from the rows when not given.
        source
            Where the rows come from, kept in the manifest.
        lineage
            A key that `covered` answers for from now on, also when there are no rows.

        Raises
        ------
        SchemaError
            A row is impossible; nothing is written.
        """
        table = conform(kind, frame)
        name = timeframe_of(table, timeframe) if kind == "bars" and table.height else ""
        self.create()
        with only_writer(self.root / ".lock"):
            held = {entry.path for entry in self._entries()}
            added = []
            for entry, content in files(kind, table, name, source):
                if entry.path not in held:
                    publish(self.root / entry.path, content)
                    added.append(entry)
            if added or lineage is not None:
                self._manifest.append(Write(tuple(added), lineage))
        return table.height

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

        Of several revisions of one bar the one known last is taken; with ``as_of`` the one known last at that time. A
        timeframe that is not stored for a symbol is aggregated from the largest stored one that divides it.

        Parameters
        ----------
        symbols
            One pair, several, or None for all that are stored.
        as_
            ``"polars"`` or ``"pandas"``.

        Raises
        ------
        UnknownSymbolError
            A symbol is not stored; the message names the nearest that is.
        EmptyStoreError
            No row fits.
        ValueError
            ``start`` lies after ``end``.
        """
        first, last = instants(start, end)
        limit = None if as_of is None else to_ns(as_of)
        frames = [self._bars(name, timeframe, first, last, limit) for name in self._chosen("bars", symbols)]
        answer: pl.DataFrame | pd.DataFrame = self._answer("bars", pl.concat(frames), as_)
        return answer

    def trades(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return trades with ``start <= time <= end``, by symbol in time order, each id once. Errors as `bars`."""
        rows = self._rows("trades", symbols, start, end)
        plain, named = rows.filter(pl.col("id").is_null()), rows.filter(pl.col("id").is_not_null())
        once = named.unique(["symbol", "id"], keep="first", maintain_order=True)
        return self._answer("trades", pl.concat([once, plain]).sort("symbol", "time", maintain_order=True), as_)

    def quotes(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return quotes with ``start <= time <= end``, by symbol in time order, equal ones once. Errors as `bars`."""
        rows = self._rows("quotes", symbols, start, end).sort("symbol", "time", maintain_order=True)
        state = [name for name in rows.columns if name != "known"]
        return self._answer("quotes", rows.unique(state, keep="first", maintain_order=True), as_)

    def books(
        self, symbols: Symbols = None, start: Instant | None = None, end: Instant | None = None, as_: str = "polars"
    ) -> Any:
        """Return changed levels with ``start <= time <= end`` by symbol, in the order of arrival. Errors as `bars`."""
        rows = self._rows("books", symbols, start, end).sort("symbol", "known", maintain_order=True)
        return self._answer("books", rows, as_)

    def symbols(self, kind: str = "bars") -> list[str]:
        """Return the symbols of which rows of a kind are stored, sorted."""
        return sorted({entry.symbol for entry in self._entries(kind)})

    def coverage(self, kind: str, timeframe: Timeframe | None, symbol: str) -> tuple[int, int, int] | None:
        """Return first and last time (ns UTC; of bars the close) and the rows written, or None when there are none."""
        name = "" if timeframe is None else timeframe_name(timeframe)
        entries = [e for e in self._entries(kind, normalize_symbol(symbol)) if e.timeframe == name]
        if not entries:
            return None
        return min(e.first for e in entries), max(e.last for e in entries), sum(e.rows for e in entries)

    def covered(self, source_key: str) -> bool:
        """Whether a write with this lineage key is complete."""
        return source_key in self.lineages()

    def lineages(self) -> frozenset[str]:
        """Return the lineage keys of all writes."""
        return frozenset(write.lineage for write in self._manifest.writes() if write.lineage is not None)

    def summary(self) -> pl.DataFrame:
        """Return kind, timeframe, symbol, first, last, rows, files and bytes of all that is stored."""
        entries = [
            {name: getattr(entry, name) for name in ("kind", "timeframe", "symbol", "first", "last", "rows", "bytes")}
            for entry in self._entries()
        ]
        schema = {"kind": pl.String, "timeframe": pl.String, "symbol": pl.String}
        numbers = dict.fromkeys(("first", "last", "rows", "bytes"), pl.Int64)
        table = pl.DataFrame(entries, schema={**schema, **numbers}).with_columns(
            pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("first", "last")
        )
        totals = (pl.col("first").min(), pl.col("last").max(), pl.col("rows").sum(), pl.len().alias("files"))
        return table.group_by(list(schema)).agg(*totals, pl.col("bytes").sum()).sort(list(schema))

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
        """Add the rows of a Parquet or CSV file and return how many; nothing is written unless all rows are possible.

        Parameters
        ----------
        symbol
            The pair, when the file has no symbol column.
        timeframe
            Of bars; the median distance of the rows when not given.
        stamped
            Whether the file's time is a bar's open or its close.
        columns
            The file's names to ours, for example ``{"Px": "close"}``; common names are understood without.
        zone
            Of times that carry none, for example ``"UTC"``; without it such times are refused.

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
        """Write stored rows to a ``.parquet`` or ``.csv`` file and return how many."""
        if kind == "bars":
            if timeframe is None:
                raise ValueError("export of bars: timeframe is missing, for example '1h'")
            frame = self.bars(symbols, timeframe, start, end)
        elif kind in KINDS:
            frame = getattr(self, kind)(symbols, start, end)
        else:
            raise ValueError(f"export: kind {kind!r}, wanted one of {', '.join(KINDS)}")
        return write_file(Path(path), frame)

    def check(self, kind: str = "bars", symbols: Symbols = None) -> QualityReport:
        """Return what is missing, doubled, idle or implausible in the stored bars, by symbol and day."""
        if kind != "bars":
            raise ValueError(f"check: kind {kind!r}, wanted bars")
        chosen = self._chosen("bars", symbols)
        pairs = sorted({(e.timeframe, e.symbol) for e in self._entries("bars") if e.symbol in chosen})
        parts = {
            (timeframe, symbol): self._read([e for e in self._entries("bars", symbol) if e.timeframe == timeframe])
            for timeframe, symbol in pairs
        }
        return QualityReport.of(parts)

    def _entries(self, kind: str | None = None, symbol: str | None = None) -> list[Entry]:
        return [
            entry
            for write in self._manifest.writes()
            for entry in write.added
            if (kind is None or entry.kind == kind) and (symbol is None or entry.symbol == symbol)
        ]

    def _chosen(self, kind: str, symbols: Symbols) -> list[str]:
        held = self.symbols(kind)
        if not held:
            raise EmptyStoreError(f"store {self.root}: holds no {kind}")
        if symbols is None:
            return held
        wanted = [normalize_symbol(name) for name in ([symbols] if isinstance(symbols, str) else symbols)]
        if not wanted:
            raise ValueError("symbols: found none, wanted at least one pair such as BTC/USD")
        for name in wanted:
            if name not in held:
                near = difflib.get_close_matches(name, held, n=1, cutoff=0.0)
                raise UnknownSymbolError(f"store {self.root}: no {kind} of {name}; the nearest stored is {near[0]}")
        return list(dict.fromkeys(wanted))

    def _bars(
        self, symbol: str, timeframe: Timeframe, first: int | None, last: int | None, limit: int | None
    ) -> pl.DataFrame:
        width = span_ns(timeframe)
        entries = self._entries("bars", symbol)
        stored = {span_ns(entry.timeframe): entry.timeframe for entry in entries}
        fitting = [length for length in stored if width % length == 0]
        if not fitting:
            found = ", ".join(stored[length] for length in sorted(stored))
            raise EmptyStoreError(
                f"store {self.root}: {symbol}: bars of {found} do not make {timeframe_name(timeframe)}"
            )
        whole = empty("bars")
        for length in sorted(fitting, reverse=True):
            begin = first if first is None or length == width else -(-first // width) * width
            files = [e for e in entries if e.timeframe == stored[length] and overlaps(e, begin, last)]
            rows = latest(between(self._read(files), "open_time", begin, last), limit)
            made = rows if length == width else aggregate(rows, timeframe)
            whole = pl.concat([whole, made.join(whole, on="open_time", how="anti")])
        return whole.sort("open_time")

    def _rows(self, kind: str, symbols: Symbols, start: Instant | None, end: Instant | None) -> pl.DataFrame:
        first, last = instants(start, end)
        chosen = self._chosen(kind, symbols)
        files = [e for e in self._entries(kind) if e.symbol in chosen and overlaps(e, first, last)]
        return between(self._read(files, kind), "time", first, last)

    def _read(self, entries: Sequence[Entry], kind: str = "bars") -> pl.DataFrame:
        """Return the rows of some files in the order in which they were written."""
        if not entries:
            return empty(kind)
        paths = [self.root / entry.path for entry in entries]
        try:
            return pl.read_parquet(paths, glob=False, hive_partitioning=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            absent = [str(path) for path in paths if not path.exists()]
            what = f"{absent[0]} is missing" if absent else f"a file cannot be read: {error}"
            raise StoreError(f"store {self.root}: {what}") from error

    def _answer(self, kind: str, frame: pl.DataFrame, as_: str) -> Any:
        if not frame.height:
            raise EmptyStoreError(
                f"store {self.root}: no {kind} in the range asked; see store.summary() for what is there"
            )
        if as_ not in ("polars", "pandas"):
            raise ValueError(f"as_ is {as_!r}, wanted 'polars' or 'pandas'")
        return frame.to_pandas() if as_ == "pandas" else frame

    def _check_layout(self) -> None:
        mark = self.root / "store.json"
        if self.root.exists() and not self.root.is_dir():
            raise StoreLayoutError(f"store {self.root}: found a file, wanted a folder")
        if not mark.exists():
            foreign = [p.name for p in self.root.iterdir() if not p.name.startswith(".")] if self.root.exists() else []
            if foreign:
                raise StoreLayoutError(
                    f"store {self.root}: found {sorted(foreign)[0]} but no store.json; wanted an empty folder"
                )
            return
        try:
            found = json.loads(mark.read_text(encoding="utf-8"))["layout"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreLayoutError(f"{mark}: cannot be read; wanted layout version {VERSION}") from error
        if found != VERSION:
            raise StoreLayoutError(f"store {self.root}: found layout version {found}, wanted {VERSION}")

    def create(self) -> None:
        """Make the folder a store, if it is not one yet."""
        self._check_layout()
        if not (self.root / "store.json").exists():
            publish(self.root / "store.json", json.dumps({"layout": VERSION}).encode())
