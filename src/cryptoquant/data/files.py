"""Market data from other people's Parquet, Arrow and CSV files; a fault is named by file, row and column."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from cryptoquant.data.layout import KINDS
from cryptoquant.errors import ImportFileError
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import INSTANT, SCHEMAS
from cryptoquant.market.time import Timeframe, span_ns

Stamp = Literal["open", "close"]
Columns = Mapping[str, str] | None
NAMES = {
    "bars": {
        "stamp": ("timestamp", "open_time", "opentime", "datetime", "date", "time", "t"),
        "symbol": ("symbol", "pair", "ticker"),
        "open": ("open", "o"),
        "high": ("high", "h"),
        "low": ("low", "l"),
        "close": ("close", "c"),
        "volume": ("volume", "vol", "v"),
        "trade_count": ("trade_count", "trades", "count", "n"),
        "vwap": ("vwap", "vw"),
    },
    "quotes": {
        "stamp": ("timestamp", "datetime", "date", "time", "t"),
        "symbol": ("symbol", "pair", "ticker"),
        "bid_price": ("bid_price", "bid", "bp"),
        "bid_size": ("bid_size", "bs"),
        "ask_price": ("ask_price", "ask", "ap"),
        "ask_size": ("ask_size", "as"),
    },
    "trades": {
        "stamp": ("timestamp", "datetime", "date", "time", "t"),
        "symbol": ("symbol", "pair", "ticker"),
        "id": ("id", "trade_id", "i"),
        "price": ("price", "p"),
        "size": ("size", "quantity", "qty", "amount", "s"),
        "taker_side": ("taker_side", "side", "tks"),
    },
}
OPTIONAL = {"symbol", "trade_count", "vwap", "id", "taker_side"}
TEXT = {"stamp", "symbol", "taker_side"}
SIDES = {"buy": "B", "b": "B", "sell": "S", "s": "S", "": "", "-": ""}
EPOCH_UNITS = ((100_000_000_000, 1_000_000_000), (100_000_000_000_000, 1_000_000), (100_000_000_000_000_000, 1_000))
FREQUENT = 0.02
READ = (".parquet", ".arrow", ".feather", ".csv", ".csv.gz")
ZONE = r"(?:Z|[+-]\d\d:?\d\d)$"
NUMBER, DATE = r"^\d+(\.\d+)?$", r"^(19|20)\d\d[01]\d[0-3]\d$"
GENESIS = 1_230_940_800_000_000_000
"""The day of Bitcoin's first block (ns UTC)."""


def read_file(
    path: Path, symbol: str | None, timeframe: Timeframe | None, stamped: Stamp, columns: Columns, zone: str | None
) -> tuple[str, pl.DataFrame]:
    """Return the kind (told by the columns) and the rows of a file.

    A file that `Store.export` wrote comes back as it was, with ``known`` and, of bars, whatever it was stamped with.

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
        The file cannot be read, or a row is impossible.
    """
    if stamped not in ("open", "close"):
        raise ValueError(f"stamped is {stamped!r}, wanted 'open' or 'close'")
    loaded = _load(path)
    own = next((kind for kind in KINDS if set(loaded.columns) == set(SCHEMAS[kind])), None)
    if own is not None and not columns:
        return own, _exported(path, loaded.with_row_index("row", offset=1), own, zone)
    table, kind = _named(path, loaded, columns, symbol)
    table = table.with_row_index("row", offset=1)
    for name in table.columns:
        if name not in TEXT and name != "row":
            table = _numbers(path, table, name)
    table = _symbols(path, _instants(path, table, zone), symbol)
    _possible(path, table, kind)
    if kind == "bars":
        return kind, _bars(path, table, timeframe, stamped)
    if "taker_side" in table.columns:
        table = _sides(path, table)
    return kind, table.rename({"stamp": "time"}).drop("row")


def _exported(path: Path, table: pl.DataFrame, kind: str, zone: str | None) -> pl.DataFrame:
    """Return the rows of a file with exactly our columns, as an export writes it: nothing is guessed."""
    for name, dtype in SCHEMAS[kind].items():
        if isinstance(dtype, pl.Datetime):
            table = _instants(path, table, zone, name)
        elif dtype == pl.Boolean:
            table = table.with_columns(pl.col(name).cast(pl.String).str.to_lowercase() == "true")
        elif dtype != pl.String:
            table = _numbers(path, table, name)
    _refuse(path, table, "known", pl.col("known") < pl.col("time"), "no time before the row's own")
    table = _symbols(path, table, None)
    if kind in NAMES:
        _possible(path, table, kind)
    return table.select(*SCHEMAS[kind])


def write_file(path: Path, frame: pl.DataFrame) -> int:
    """Write a frame to a ``.parquet``, ``.arrow`` or ``.csv`` file, whole or not at all, and return its rows."""
    if path.suffix not in (".parquet", ".arrow", ".csv"):
        raise ValueError(f"{path}: found the suffix {path.suffix!r}, wanted .parquet, .arrow or .csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}{path.suffix}"
    try:
        if path.suffix == ".parquet":
            frame.write_parquet(temporary)
        elif path.suffix == ".arrow":
            frame.write_ipc(temporary, compat_level=pl.CompatLevel.oldest())
        else:
            frame.write_csv(temporary, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return frame.height


def _load(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ImportFileError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False, hive_partitioning=False)
        elif path.suffix in (".arrow", ".feather"):
            table = pl.scan_ipc(path, glob=False).collect()
        elif path.name.endswith((".csv", ".csv.gz")):
            table = pl.read_csv(path, infer_schema=False, glob=False)
        else:
            raise ImportFileError(f"{path}: found the suffix {path.suffix!r}, wanted {', '.join(READ)}")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ImportFileError(f"{path}: cannot be read: {error}") from error
    if not table.height:
        raise ImportFileError(f"{path}: holds no rows")
    return table


def _named(path: Path, table: pl.DataFrame, columns: Columns, symbol: str | None) -> tuple[pl.DataFrame, str]:
    """Return the file's columns under our names, and the kind of rows that they make."""
    chosen = dict(columns or {})
    absent = [name for name in chosen if name not in table.columns]
    if absent:
        raise ImportFileError(f"{path}: column {absent[0]} was named but is absent; found {', '.join(table.columns)}")
    theirs = {chosen.get(name, name).strip().lower(): name for name in table.columns}
    theirs |= {"stamp": theirs["time"]} if "time" in chosen.values() else {}
    kind = "bars" if any(name in theirs for name in ("open", "o", "close")) else "trades"
    kind = "quotes" if any(name in theirs for name in ("bid_price", "bid", "bp")) else kind
    found: dict[str, str] = {}
    for ours, spellings in NAMES[kind].items():
        name = next(
            (theirs[spelling] for spelling in ("stamp", *spellings)[ours != "stamp" :] if spelling in theirs), None
        )
        if name is not None:
            found[ours] = name
        elif ours not in OPTIONAL or (ours == "symbol" and symbol is None):
            hint = "; give symbol='BTC/USD'" if ours == "symbol" else ""
            wanted = "time" if ours == "stamp" else ours
            raise ImportFileError(f"{path}: no column for {wanted}; found {', '.join(table.columns)}{hint}")
    return table.select(pl.col(name).alias(ours) for ours, name in found.items()), kind


def _refuse(path: Path, table: pl.DataFrame, column: str, wrong: pl.Expr | pl.Series, wanted: str) -> None:
    bad = table.filter(wrong.fill_null(True))
    if bad.height:
        row, value = bad["row"].item(0), bad[column].item(0)
        name = "time" if column == "stamp" else column
        raise ImportFileError(f"{path}: row {row}, column {name}: found {value!r}, wanted {wanted}")


def _numbers(path: Path, table: pl.DataFrame, name: str) -> pl.DataFrame:
    wanted = pl.Int64 if name in ("id", "trade_count") else pl.Float64
    exact = pl.col(name).cast(wanted, strict=False)
    if name == "trade_count":
        exact = pl.col(name).cast(pl.Float64, strict=False).cast(wanted, strict=False)
    needed = exact.is_null() if name not in OPTIONAL else exact.is_null() & pl.col(name).is_not_null()
    _refuse(path, table, name, needed, "a number")
    return table.with_columns(exact.alias(name))


def _instants(path: Path, table: pl.DataFrame, zone: str | None, column: str = "stamp") -> pl.DataFrame:
    """Return the table with a column as nanoseconds UTC, read from datetimes, dates, epoch numbers or text."""
    stamp, kind = pl.col(column), table.schema[column]
    _refuse(path, table, column, stamp.is_null(), "a time")
    if kind == pl.String or kind.is_integer():
        instant = _of_texts(path, table, zone, column)
    elif kind == pl.Date:
        instant = stamp.cast(pl.Datetime("ns")).dt.replace_time_zone(zone or "UTC")
    elif isinstance(kind, pl.Datetime) and (kind.time_zone or zone):
        instant = stamp if kind.time_zone else stamp.dt.replace_time_zone(zone)
    elif isinstance(kind, pl.Datetime):
        raise ImportFileError(f"{path}: row 1, column time: {table[column].item(0)} has no zone; give zone='UTC'")
    else:
        raise ImportFileError(f"{path}: column time is {kind}, wanted datetimes, epoch numbers or text")
    read = table.with_columns(instant=instant.dt.convert_time_zone("UTC").cast(INSTANT))
    early = (pl.col("instant") < pl.lit(GENESIS).cast(INSTANT)) & (pl.lit(kind != INSTANT))
    _refuse(path, read, column, early, "a time after 2009-01-03, before which no coin was traded")
    return read.with_columns(pl.col("instant").alias(column)).drop("instant")


def _of_texts(path: Path, table: pl.DataFrame, zone: str | None, column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String).str.strip_chars()
    if table.select(text.str.contains(NUMBER).all()).item():
        is_date = table.select(text.str.contains(DATE).all()).item()
        return (
            text.str.to_date("%Y%m%d").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC") if is_date else _epoch(text)
        )
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T").str.replace(r" ?UTC$", "Z")
    aware, naive = text.str.contains(ZONE), text.str.replace(ZONE, "")
    if zone is None:
        _refuse(path, table, column, ~aware, "a time with a zone such as 2024-01-01T00:00:00Z, or zone='UTC'")
    zoned = text.str.replace(r"Z$", "+00:00").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="ns")
    plain = pl.coalesce(
        naive.str.to_datetime(form, strict=False, time_unit="ns")
        for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%d/%m/%Y %H:%M:%S")
    )
    plain = pl.coalesce(plain, naive.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ns")))
    local = plain.dt.replace_time_zone(zone or "UTC").dt.convert_time_zone("UTC").cast(INSTANT)
    instant = pl.when(aware).then(zoned.cast(INSTANT)).otherwise(local)
    _refuse(path, table, column, table.select(instant.is_null()).to_series(), "a time such as 2024-01-01T00:00:00Z")
    return instant


def _epoch(text: pl.Expr) -> pl.Expr:
    """Return the instants of seconds, milli-, micro- or nanoseconds since 1970, exact to the last digit."""
    whole = text.str.extract(r"^(\d+)").cast(pl.Int64)
    rest = text.str.extract(r"\.(\d{1,9})").fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    factor = pl.lit(1, dtype=pl.Int64)
    for limit, unit in reversed(EPOCH_UNITS):
        factor = pl.when(whole < limit).then(unit).otherwise(factor)
    return pl.from_epoch(whole * factor + rest * factor // 1_000_000_000, "ns").dt.replace_time_zone("UTC")


def _symbols(path: Path, table: pl.DataFrame, symbol: str | None) -> pl.DataFrame:
    if symbol is not None:
        return table.with_columns(symbol=pl.lit(normalize_symbol(symbol)))
    table = table.with_columns(pl.col("symbol").cast(pl.String))
    _refuse(path, table, "symbol", pl.col("symbol").is_null(), "a pair such as BTC/USD")
    names = {}
    for name in table["symbol"].unique():
        try:
            names[name] = normalize_symbol(name)
        except ValueError:
            _refuse(path, table, "symbol", pl.col("symbol") == name, "a pair such as BTC/USD")
    return table.with_columns(pl.col("symbol").replace_strict(names, return_dtype=pl.String))


def _possible(path: Path, table: pl.DataFrame, kind: str) -> None:
    numbers = [name for name in NAMES[kind] if name in table.columns and name not in (*TEXT, "id")]
    for name in numbers:
        value = pl.col(name)
        is_price = name in ("open", "high", "low", "close", "price", "bid_price", "ask_price")
        if name in OPTIONAL:
            _refuse(path, table, name, value.is_not_null() & (value < 0), "zero or more")
        elif is_price:
            _refuse(path, table, name, ~(value.is_finite() & (value > 0)), "a price above zero")
        else:
            _refuse(path, table, name, ~(value.is_finite() & (value >= 0)), "zero or more")
    if kind == "bars":
        top, bottom = pl.max_horizontal("open", "close", "low"), pl.min_horizontal("open", "close", "high")
        _refuse(path, table, "high", pl.col("high") < top, "at least open, close and low")
        _refuse(path, table, "low", pl.col("low") > bottom, "at most open, close and high")


def _bars(path: Path, table: pl.DataFrame, timeframe: Timeframe | None, stamped: Stamp) -> pl.DataFrame:
    table = table.sort("symbol", "stamp", maintain_order=True)
    step = pl.col("stamp").diff().over("symbol").dt.total_nanoseconds()
    table = table.with_columns(step=step)
    width = _usual_step(path, table["step"].drop_nulls()) if timeframe is None else span_ns(timeframe)
    _refuse(
        path,
        table,
        "stamp",
        pl.col("step").fill_null(width) < width,
        f"{width // 1_000_000_000} s after the row before",
    )
    length = pl.duration(nanoseconds=width)
    opened = pl.col("stamp") if stamped == "open" else pl.col("stamp") - length
    return table.with_columns(open_time=opened, time=opened + length).drop("row", "step", "stamp")


def _usual_step(path: Path, steps: pl.Series) -> int:
    """Return the timeframe that the distances of rows tell: their median, or in sparse data a frequent smaller one."""
    counts = steps.filter(steps > 0).value_counts().sort(steps.name)
    if not counts.height:
        raise ImportFileError(f"{path}: one row a symbol tells no timeframe; give timeframe='1h'")
    frequent = counts.filter(pl.col("count") >= max(2.0, FREQUENT * float(counts["count"].sum())))[steps.name]
    smallest = int(frequent.item(0)) if len(frequent) else 0
    if smallest and all(step % smallest == 0 for step in counts[steps.name]):
        return smallest
    return int(steps.filter(steps > 0).median())  # type: ignore[arg-type]


def _sides(path: Path, table: pl.DataFrame) -> pl.DataFrame:
    side = pl.col("taker_side").cast(pl.String).fill_null("").str.to_lowercase()
    _refuse(path, table, "taker_side", ~side.is_in(list(SIDES)), "buy or sell")
    return table.with_columns(taker_side=side.replace_strict(SIDES, return_dtype=pl.String))
