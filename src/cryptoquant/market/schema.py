"""The columns of trades, quotes, bars, books and signals, named once, with the check at every room's door."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import polars as pl

from cryptoquant.errors import SchemaError

INSTANT = pl.Datetime("ns", "UTC")
Kind = Literal["trades", "quotes", "bars", "books", "signals"]

TRADES: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "id": pl.Int64,
    "price": pl.Float64,
    "size": pl.Float64,
    "taker_side": pl.String,
}
QUOTES: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "bid_price": pl.Float64,
    "bid_size": pl.Float64,
    "ask_price": pl.Float64,
    "ask_size": pl.Float64,
}
BARS: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "open_time": INSTANT,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
    "trade_count": pl.Int64,
    "vwap": pl.Float64,
}
BOOKS: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "side": pl.String,
    "price": pl.Float64,
    "size": pl.Float64,
    "reset": pl.Boolean,
}
SIGNALS: dict[str, pl.DataType | type[pl.DataType]] = {
    "name": pl.String,
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "kind": pl.String,
    "value": pl.Float64,
    "horizon": pl.Duration("ns"),
}
SCHEMAS = {"trades": TRADES, "quotes": QUOTES, "bars": BARS, "books": BOOKS, "signals": SIGNALS}
OPTIONAL = {"trade_count", "vwap", "id", "taker_side"}


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade; times in nanoseconds UTC, ``taker_side`` is ``"B"``, ``"S"`` or empty."""

    symbol: str
    time: int
    known: int
    id: int
    price: float
    size: float
    taker_side: str = ""


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask; times in nanoseconds UTC, sizes in coins."""

    symbol: str
    time: int
    known: int
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float


class Bar(msgspec.Struct, frozen=True, gc=False):
    """Prices over a span; ``time`` is the close, ``known`` when it could be acted on (all times ns UTC)."""

    symbol: str
    time: int
    known: int
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int = 0
    vwap: float = 0.0


class BookUpdate(msgspec.Struct, frozen=True, gc=False):
    """Changed levels of a book; a size of 0 removes a level, ``reset`` replaces the whole book."""

    symbol: str
    time: int
    known: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    reset: bool = False


def to_polars(frame: Any) -> pl.DataFrame:
    """Return a polars frame of a polars one (eager or lazy), a pandas one or an Arrow table.

    A pandas index that is named becomes a column.

    Raises
    ------
    TypeError
        The object is no frame.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if type(frame).__module__.startswith("pandas"):
        named = any(name is not None for name in frame.index.names)
        return _from_pandas(frame.reset_index() if named else frame)
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise TypeError(f"wanted a polars or pandas frame or an Arrow table, found {type(frame).__name__}")


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Convert column by column: zoned datetimes as UTC instants, since pandas 3.1 warns when Arrow reads them."""
    columns = []
    for name in frame.columns:
        series = frame[name]
        zone = getattr(series.dtype, "tz", None)
        if zone is None:
            columns.append(pl.from_pandas(series).alias(str(name)))
        else:
            instants = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
            columns.append(pl.Series(str(name), instants).dt.replace_time_zone("UTC"))
    return pl.DataFrame(columns)


def validate(frame: Any, kind: Kind) -> pl.DataFrame:
    """Return ``frame`` with the columns of ``kind``, in order and with their types.

    Extra columns are dropped. ``known`` defaults to ``time``; ``open_time`` of bars must be given. Optional columns
    (trade count, vwap, trade id, taker side) become null.

    Raises
    ------
    SchemaError
        A column is missing, has a type that cannot be converted without loss, is naive, or is null where it may not be.
    """
    schema = SCHEMAS[kind]
    table = to_polars(frame)
    if "known" not in table.columns and "time" in table.columns:
        table = table.with_columns(known=pl.col("time"))
    missing = [name for name in schema if name not in table.columns and name not in OPTIONAL]
    if missing:
        raise SchemaError(f"{kind}: missing column {', '.join(missing)}; found {', '.join(table.columns) or 'none'}")
    table = table.select(_conform(table, kind, name, dtype) for name, dtype in schema.items())
    for name in schema:
        if name not in OPTIONAL and table[name].null_count():
            row = int(table[name].is_null().arg_max() or 0)
            raise SchemaError(f"{kind}: column {name} is null in row {row}")
    return table


def _conform(table: pl.DataFrame, kind: Kind, name: str, dtype: Any) -> pl.Expr:
    if name not in table.columns:
        return pl.lit(None, dtype=dtype).alias(name)
    found = table.schema[name]
    if found == dtype:
        return pl.col(name)
    if isinstance(found, pl.Datetime):
        if found.time_zone is None:
            raise SchemaError(f"{kind}: column {name} is a naive datetime; give it a zone, for example UTC")
        return pl.col(name).dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    if isinstance(dtype, pl.Duration) and isinstance(found, pl.Duration):
        return pl.col(name).dt.cast_time_unit("ns")
    if (found.is_numeric() and not isinstance(dtype, pl.Datetime | pl.Duration) and dtype != pl.String) or (
        dtype == pl.String and found in (pl.Categorical, pl.Enum)
    ):
        try:
            table.select(pl.col(name).cast(dtype, strict=True))
        except pl.exceptions.InvalidOperationError as error:
            raise SchemaError(f"{kind}: column {name} has values that do not fit {dtype}") from error
        return pl.col(name).cast(dtype)
    raise SchemaError(f"{kind}: column {name} is {found}, wanted {dtype}")


def check_bars(bars: pl.DataFrame, *, where: str = "bars") -> pl.DataFrame:
    """Return bars that are possible: finite positive prices, high over low, ordered and unique times by symbol.

    Raises
    ------
    SchemaError
        Names the symbol, the time and the value of the first row that is impossible.
    """
    prices = ["open", "high", "low", "close"]
    checks = {
        "a price is not finite": ~pl.all_horizontal(pl.col(p).is_finite() for p in prices),
        "a price is zero or negative": pl.min_horizontal(prices) <= 0,
        "high is below open, close or low": pl.col("high") < pl.max_horizontal("open", "close", "low"),
        "low is above open, close or high": pl.col("low") > pl.min_horizontal("open", "close", "high"),
        "volume is negative or not finite": ~(pl.col("volume").is_finite() & (pl.col("volume") >= 0)),
        "the close is not after the open": pl.col("time") <= pl.col("open_time"),
        "the bar is known before its close": pl.col("known") < pl.col("time"),
    }
    failed = bars.select(wrong.any().alias(reason) for reason, wrong in checks.items()).row(0, named=True)
    for reason in (reason for reason in checks if failed[reason]):
        row = bars.filter(checks[reason]).row(0, named=True)
        found = ", ".join(f"{p} {row[p]}" for p in (*prices, "volume"))
        raise SchemaError(f"{where}: {row['symbol']} {row['time']}: {reason} ({found})")
    return check_order(bars, where=where)


def check_order(bars: pl.DataFrame, *, where: str = "bars") -> pl.DataFrame:
    """Return bars whose times rise strictly within each symbol; raise SchemaError with the first that does not."""
    if not bars.height:
        return bars
    runs = bars["symbol"].rle().struct.unnest()
    step = pl.col("time").diff().dt.total_nanoseconds()
    if runs["value"].n_unique() == runs.height:  # the rows of each symbol lie together
        is_same = pl.col("symbol").eq_missing(pl.col("symbol").shift(1))
        step = pl.when(is_same).then(step).otherwise(None)
    else:
        step = step.over("symbol")
    if bars.select((step <= 0).any()).item():
        row = bars.select("symbol", "time", step=step).filter(pl.col("step") <= 0).row(0, named=True)
        what = "duplicate time" if row["step"] == 0 else "times out of order"
        raise SchemaError(f"{where}: {row['symbol']} {row['time']}: {what}")
    return bars


def bars_frame(bars: Iterable[Bar]) -> pl.DataFrame:
    """Return a frame of Bar rows in the order given."""
    rows = list(bars)
    columns = {name: [getattr(row, name) for row in rows] for name in BARS}
    instants = [name for name, dtype in BARS.items() if dtype == INSTANT]
    return pl.DataFrame(
        columns, schema={name: pl.Int64 if name in instants else dtype for name, dtype in BARS.items()}
    ).with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in instants)


def bar_rows(bars: pl.DataFrame) -> list[Bar]:
    """Return Bar rows of a frame of the bars schema in its order."""
    instants = [name for name, dtype in BARS.items() if dtype == INSTANT]
    table = bars.select(*BARS).with_columns(
        *(pl.col(name).dt.epoch("ns") for name in instants),
        pl.col("trade_count").fill_null(0),
        pl.col("vwap").fill_null(0.0),
    )
    return [Bar(*row) for row in table.iter_rows()]
