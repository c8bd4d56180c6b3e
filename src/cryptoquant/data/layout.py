"""How rows become files: hive partitions by kind, symbol and calendar, and Parquet encodings that fit each column."""

import hashlib
import io
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import polars as pl

from cryptoquant.data.manifest import Entry
from cryptoquant.errors import SchemaError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import SCHEMAS, check_bars, validate
from cryptoquant.market.time import Timeframe, span_ns, timeframe_name

VERSION = 2
ROW_GROUP = 131_072
KINDS = ("trades", "quotes", "bars", "books")
LINEAGE: dict[str, pl.DataType | type[pl.DataType]] = {"position": pl.Int64, "rank": pl.Int8}
STORED = {
    **{kind: {**SCHEMAS[kind], **LINEAGE} for kind in ("trades", "quotes", "bars")},
    "books": {**SCHEMAS["books"], **LINEAGE, "connection": pl.Int32},
    "daily_bars": {**SCHEMAS["bars"], **LINEAGE},
    "gaps": {
        "symbol": pl.String,
        "time": pl.Datetime("ns", "UTC"),
        "known": pl.Datetime("ns", "UTC"),
        "id": pl.Int64,
        "kind": pl.String,
        "end": pl.Datetime("ns", "UTC"),
        "cause": pl.String,
        "state": pl.String,
        "rows": pl.Int64,
        **LINEAGE,
    },
    "quarantine": {
        "symbol": pl.String,
        "time": pl.Datetime("ns", "UTC"),
        "known": pl.Datetime("ns", "UTC"),
        "reason": pl.String,
        "message": pl.String,
        **LINEAGE,
    },
}
STREAMED, CORRECTED, FETCHED = 0, 1, 2
DICTIONARY = {"symbol", "side", "taker_side", "price", "bid_price", "ask_price", "open", "high", "low", "close"}
RISING = {"time", "known", "open_time", "id"}
TAKER_SIDES = ("B", "S", "")
BOOK_SIDES = ("bid", "ask")


def conform(kind: str, frame: object) -> pl.DataFrame:
    """Return rows of a kind, validated and with symbols in slash form, ready to be stored.

    Raises
    ------
    SchemaError
        The kind is unknown, or a row is impossible; the message names it.
    """
    if kind not in KINDS:
        raise SchemaError(f"kind {kind!r}: wanted one of {', '.join(KINDS)}")
    table = validate(frame, kind)  # type: ignore[arg-type]
    names = {name: normalize_symbol(name) for name in table["symbol"].unique()}
    table = table.with_columns(pl.col("symbol").replace_strict(names, return_dtype=pl.String)) if names else table
    return _possible_bars(table) if kind == "bars" else _possible(kind, table)


def _possible_bars(bars: pl.DataFrame) -> pl.DataFrame:
    """Check bars of which several revisions may be present: each revision by itself, in time order."""
    ranked = bars.with_columns(revision=pl.int_range(pl.len()).over("symbol", "time"))
    for revision in ranked.partition_by("revision", include_key=False):
        check_bars(revision.sort("symbol", "time"))
    return bars


def _possible(kind: str, table: pl.DataFrame) -> pl.DataFrame:
    prices = [name for name in table.columns if name == "price" or name.endswith("_price")]
    sizes = [name for name in table.columns if name == "size" or name.endswith("_size")]
    lowest = pl.lit(0.0)
    wrong: dict[str, pl.Expr] = {name: ~(pl.col(name).is_finite() & (pl.col(name) >= lowest)) for name in sizes}
    wrong |= {name: ~(pl.col(name).is_finite() & (pl.col(name) >= lowest)) for name in prices}
    if kind == "trades":
        wrong["price"] = ~(pl.col("price").is_finite() & (pl.col("price") > lowest))
        wrong["taker_side"] = ~pl.col("taker_side").fill_null("").is_in(TAKER_SIDES)
    if kind == "books":
        wrong["side"] = ~pl.col("side").is_in(BOOK_SIDES)
    for column, mask in wrong.items():
        bad = table.filter(mask)
        if bad.height:
            row = bad.row(0, named=True)
            raise SchemaError(f"{kind}: {row['symbol']} {row['time']}: column {column} is {row[column]!r}, impossible")
    return table


def timeframe_of(bars: pl.DataFrame, timeframe: Timeframe | None) -> str:
    """Return the name of the one timeframe of some bars, which must be the one given, if any."""
    spans = sorted((bars["time"] - bars["open_time"]).dt.total_nanoseconds().unique())
    if len(spans) != 1:
        raise SchemaError(f"bars: found timeframes of {', '.join(str(s) for s in spans)} ns, wanted exactly one")
    if timeframe is not None and spans[0] != span_ns(timeframe):
        raise SchemaError(f"bars: rows span {spans[0]} ns, but the timeframe is {timeframe_name(timeframe)}")
    if spans[0] % 1_000_000_000:
        raise SchemaError(f"bars: rows span {spans[0]} ns; wanted whole seconds")
    return timeframe_name(timedelta(seconds=spans[0] // 1_000_000_000))


def files(kind: str, table: pl.DataFrame, timeframe: str, source: str) -> Iterator[tuple[Entry, bytes]]:
    """Yield the files of some rows: one per symbol and month (bars) or day (the rest), named by their content."""
    by, pattern = ("open_time", "%Y-%m") if kind == "bars" else ("time", "%Y-%m-%d")
    keyed = table.with_columns(period=pl.col(by).dt.strftime(pattern))
    for part in keyed.partition_by("symbol", "period", maintain_order=True):
        symbol, period = part["symbol"].item(0), part["period"].item(0)
        rows = part.drop("period")
        if kind != "books":
            rows = rows.sort("time", "known", maintain_order=True)
        content = encode(rows)
        digest = hashlib.sha256(content).hexdigest()
        folder = _folder(kind, timeframe, symbol, period)
        first, last = (rows["time"].dt.epoch("ns").min(), rows["time"].dt.epoch("ns").max())
        yield (
            Entry(
                path=f"{folder}/{digest[:24]}.parquet",
                kind=kind,
                timeframe=timeframe,
                symbol=symbol,
                first=int(first),  # type: ignore[arg-type]
                last=int(last),  # type: ignore[arg-type]
                rows=rows.height,
                bytes=len(content),
                sha256=digest,
                source=source,
            ),
            content,
        )


def _folder(kind: str, timeframe: str, symbol: str, period: str) -> str:
    name = quote(symbol, safe="")
    if kind == "bars":
        return f"kind=bars/timeframe={timeframe}/symbol={name}/month={period}"
    return f"kind={kind}/symbol={name}/date={period}"


def encode(rows: pl.DataFrame) -> bytes:
    """Return rows as Parquet: dictionaries for symbols and prices, deltas for times and ids, plain sizes, zstd 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
    table = table.cast(pa.schema(plain))
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
        use_dictionary=[name for name in table.column_names if name in DICTIONARY],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in table.column_names if name in RISING},
    )
    return buffer.getvalue()


def empty(kind: str) -> pl.DataFrame:
    """Return a frame of a kind without rows."""
    return pl.DataFrame(schema=SCHEMAS[kind])
