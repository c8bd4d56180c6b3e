"""How rows become files: hive partitions by kind, symbol and calendar, and Parquet encodings that fit each column."""

import hashlib
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import polars as pl

from cryptoquant.data.encryption import KeyRing
from cryptoquant.data.entry import Entry
from cryptoquant.data.keys import arrange, fingerprint
from cryptoquant.errors import SchemaError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import SCHEMAS, check_bars, to_polars, validate
from cryptoquant.market.time import Timeframe, span_ns, timeframe_name

VERSION = 2
ROW_GROUP = 16_384
BARS_GROUP = 65_536
RECENT_GROUP = 131_072
RECENT = "_recent"
MONTHLY = {"bars", "daily_bars", "gaps", "quarantine"}
SHARED = {"gaps", "quarantine"}
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
EMPTY = {kind: pl.DataFrame(schema=schema) for kind, schema in STORED.items()}
STREAMED, CORRECTED, FETCHED = 0, 1, 2
PLAIN_KINDS = {"bars", "daily_bars"}
PRICES = {"price", "bid_price", "ask_price"}
COUNTED = {"rank", "connection", "trade_count", "rows"}
RISING = {"time", "known", "open_time", "end", "id", "position"}
TAKER_SIDES = ("B", "S", "")
BOOK_SIDES = ("bid", "ask")
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


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
    ordered = bars.sort("symbol", "time")
    if not ordered.select(pl.all_horizontal(pl.col("symbol", "time") == pl.col("symbol", "time").shift()).any()).item():
        check_bars(ordered)
        return bars
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


def stored(kind: str, table: pl.DataFrame) -> pl.DataFrame:
    """Return validated rows that did not come through a log in the schema in which they are stored."""
    rest = {name: dtype for name, dtype in STORED[kind].items() if name not in table.columns}
    given = {"rank": FETCHED}
    return table.with_columns(pl.lit(given.get(name), dtype=dtype).alias(name) for name, dtype in rest.items())


def partitions(kind: str, table: pl.DataFrame, timeframe: str = "") -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield folder and rows of each partition: symbol and day, or month for bars and tables; gaps by month alone."""
    by = "open_time" if kind in PLAIN_KINDS else "time"
    is_daily = kind in STORED and kind not in MONTHLY
    date = pl.col(by).dt.date()
    keyed = table.with_columns(period=date if is_daily else date.dt.month_start())
    columns = ["period"] if kind in SHARED else ["symbol", "period"]
    for part in keyed.partition_by(columns, maintain_order=True):
        period = part["period"].item(0).strftime("%Y-%m-%d" if is_daily else "%Y-%m")
        yield _folder(kind, timeframe, part["symbol"].item(0), period), part.drop("period")


def _folder(kind: str, timeframe: str, symbol: str, period: str) -> str:
    name = quote(symbol, safe="")
    if kind in SHARED:
        return f"kind={kind}/month={period}"
    if kind in MONTHLY or kind not in STORED:
        frame = f"/timeframe={timeframe}" if kind == "bars" else ""
        return f"kind={kind}{frame}/symbol={name}/month={period}"
    return f"kind={kind}/symbol={name}/date={period}"


def files(
    kind: str, table: pl.DataFrame, timeframe: str, source: str, *, ring: KeyRing | None = None
) -> Iterator[tuple[Entry, bytes]]:
    """Yield the files of some rows, one per partition, named by their content; encrypted when there is a ring."""
    for folder, part in partitions(kind, table, timeframe):
        yield packed(kind, arrange(kind, part), f"{folder}/", (timeframe, source), ring=ring)


def packed(
    kind: str, rows: pl.DataFrame, stem: str, origin: tuple[str, str], *, level: int = 1, ring: KeyRing | None = None
) -> tuple[Entry, bytes]:
    """Return the file of some rows in order (recent ones as they came), and what the manifest says of it.

    Parameters
    ----------
    stem
        The begin of its path, to which a hash of its content is added.
    origin
        The timeframe of bars, else ``""``, and where the rows come from.
    ring
        The keys, with whose current one the file is encrypted; neither its name nor the entry then tells anything by
        which a guess at its content could be confirmed.
    """
    timeframe, source = origin
    is_recent = stem.startswith(RECENT)
    key = "" if ring is None else ring.current
    secret = ring.properties() if ring is not None and key else None
    content = encode(rows, kind, level=level, group=RECENT_GROUP if is_recent else None, encryption=secret)
    digest = hashlib.sha256(content).hexdigest()
    name = ring.digest(rows, f"{key} {level}") if ring is not None and key else digest
    symbols = tuple(sorted(rows["symbol"].unique()))
    is_shared = is_recent or kind in SHARED
    times = rows["time"].to_physical()
    positions = rows["position"].drop_nulls() if "position" in rows.columns else pl.Series([], dtype=pl.Int64)
    different, keys = (0, "") if is_recent else fingerprint(kind, rows)
    is_single = is_shared or kind not in PLAIN_KINDS or rows["open_time"].n_unique() == rows.height
    entry = Entry(
        path=f"{stem}{name[:24]}.parquet",
        kind=kind,
        timeframe=timeframe,
        symbol="" if is_shared else symbols[0],
        first=int(times.min()),  # type: ignore[arg-type]
        last=int(times.max()),  # type: ignore[arg-type]
        rows=rows.height,
        bytes=len(content),
        sha256=digest,
        source=source,
        symbols=symbols if is_shared else (),
        keys="" if key else keys,
        is_distinct=not is_shared and is_single and different == rows.height,
        positions=(int(positions.min()), int(positions.max())) if len(positions) else None,  # type: ignore[arg-type]
        key=key,
    )
    return entry, content


def encode(
    rows: pl.DataFrame, kind: str = "", *, level: int = 1, group: int | None = None, encryption: object = None
) -> bytes:
    """Return rows as Parquet, each column in the encoding that measured best (see ``benchmarks/store.py``).

    Ticks are packed small: dictionaries for texts and prices, deltas for what rises, zstd, and groups of rows short
    enough that an hour is found without decoding a day. Bars are there to be read fast and whole: plain numbers,
    deltas for times, dictionaries for counts, and no compression, which would cost a third more time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    texts = [f.name for f in table.schema if pa.types.is_large_string(f.type)]
    table = table.cast(pa.schema([f.with_type(pa.string()) if f.name in texts else f for f in table.schema]))
    is_plain = kind in PLAIN_KINDS
    repeated = set(texts) | COUNTED | (set() if is_plain else PRICES)
    rising = [
        f.name
        for f in table.schema
        if f.name in RISING and (pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type))
    ]
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="none" if is_plain else "zstd",
        compression_level=None if is_plain else level,
        row_group_size=group or (BARS_GROUP if is_plain else ROW_GROUP),
        use_dictionary=[name for name in table.column_names if name in repeated],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        encryption_properties=encryption,
    )
    return buffer.getvalue()


def empty(kind: str) -> pl.DataFrame:
    """Return a frame of a kind without rows, as it is stored."""
    return EMPTY[kind].clone()


def kind_name(kind: str) -> str:
    """Return the name of a kind; raise ValueError when there is none of that name."""
    if kind not in STORED:
        raise ValueError(f"kind {kind!r}: wanted one of {', '.join(STORED)}")
    return kind


def table_name(name: str) -> str:
    """Return the name of a table of one's own; raise SchemaError when it is a kind, or cannot be a folder's name."""
    if name in STORED or not NAME.match(name):
        raise SchemaError(f"table {name!r}: wanted letters, digits, '.', '_' and '-', and none of {', '.join(STORED)}")
    return name


def conform_table(name: str, frame: object) -> pl.DataFrame:
    """Return rows of a table of one's own: ``symbol`` and ``time`` checked, other columns as they are.

    Raises
    ------
    SchemaError
        A column has a type that is not kept, a time is naive or absent, or a symbol is absent.
    """
    table = to_polars(frame)
    missing = [column for column in ("symbol", "time") if column not in table.columns]
    if missing:
        raise SchemaError(f"table {name}: missing column {', '.join(missing)}; found {', '.join(table.columns)}")
    for column, dtype in table.schema.items():
        is_instant = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
        if not (is_instant or dtype.is_numeric() or dtype in (pl.String, pl.Boolean)) or column in LINEAGE:
            raise SchemaError(
                f"table {name}: column {column} is {dtype}, wanted numbers, booleans, texts or zoned times, and none of"
                f" the names {', '.join(LINEAGE)}"
            )
    if not isinstance(table.schema["time"], pl.Datetime) or table.schema["symbol"] != pl.String:
        raise SchemaError(f"table {name}: wanted texts in column symbol and instants in column time")
    if table["symbol"].null_count() or table["time"].null_count():
        raise SchemaError(f"table {name}: a symbol or a time is null")
    names = {symbol: normalize_symbol(symbol) for symbol in table["symbol"].unique()}
    zoned = pl.col("time").dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    return table.with_columns(zoned, pl.col("symbol").replace_strict(names, return_dtype=pl.String))
