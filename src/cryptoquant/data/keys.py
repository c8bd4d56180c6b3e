"""What makes two stored rows the same: the order of each kind, its keys, and a hash by which none can get lost."""

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

QUOTE = ["symbol", "time", "bid_price", "bid_size", "ask_price", "ask_size"]
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
STEP = np.uint64(0x9E3779B97F4A7C15)
NULL = np.uint64(0xD6E8FEB86659FD93)
TEXT = 8


def arrange(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in the order of their kind: books as they arrived, all others by symbol, time and ``known``.

    Rows of a book that came through a log arrived in the order of their positions, whatever the clock said; they are
    merged with others by the latest ``known`` up to each. Equal rows keep their order.
    """
    if kind != "books":
        by = [name for name in ("symbol", "time", "known") if name in rows.columns]
        return rows.sort(by, maintain_order=True)
    ordered = rows.sort("symbol", "position", nulls_last=True, maintain_order=True)
    arrival = pl.when(pl.col("position").is_null()).then(pl.col("known")).otherwise(pl.col("known").cum_max())
    return (
        ordered.with_columns(arrival=arrival.over("symbol"))
        .sort("symbol", "arrival", maintain_order=True)
        .drop("arrival")
    )


def once(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of one symbol in order, without those that say again what another said.

    A trade counts once by its id and a quote once by its whole state, as they were known first. Bars, gaps and rows of
    a book that came through a log go only when all but their position is the same; without a position, a row of a
    book always counts, as does a trade without an id. Of a table of your own the row written last counts.
    """
    ordered = arrange(kind, rows)
    if kind == "trades":
        return ordered.filter(pl.col("id").is_null() | pl.col("id").is_first_distinct())
    if kind == "books":
        return ordered.filter(pl.col("position").is_null() | pl.struct(pl.all()).is_first_distinct())
    if "position" not in rows.columns:
        return ordered.unique(["symbol", "time"], keep="last", maintain_order=True)
    return ordered.filter(pl.struct(key(kind, rows)).is_first_distinct())


def key(kind: str, rows: pl.DataFrame) -> list[str]:
    """Return the columns that tell rows of a kind apart."""
    if "position" not in rows.columns:
        return ["symbol", "time"]
    if kind == "trades":
        return ["symbol", "id"]
    if kind == "quotes":
        return QUOTE
    return [name for name in rows.columns if name != "position" or kind in ("books", "quarantine")]


def fingerprint(kind: str, rows: pl.DataFrame) -> tuple[int, str]:
    """Return how many different rows there are, and a hash of their keys that does not depend on their order."""
    hashes = _hashes(rows, key(kind, rows))
    always = np.zeros(len(hashes), dtype=bool)
    if kind in ("trades", "books"):
        always = rows["id" if kind == "trades" else "position"].is_null().to_numpy()
        if kind == "trades" and always.any():
            hashes = np.where(always, _hashes(rows, [n for n in rows.columns if n not in ("position", "rank")]), hashes)
    different = np.unique(hashes[~always])
    total = int(different.sum(dtype=np.uint64)) + int(hashes[always].sum(dtype=np.uint64))
    return len(different) + int(always.sum()), f"{total % (1 << 64):016x}"


def _hashes(rows: pl.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """Return a hash of each row: splitmix64 (Steele, Lea and Flood, 2014) folded over its columns."""
    state = np.zeros(rows.height, dtype=np.uint64)
    for name in columns:
        mixed = (state ^ _numbers(rows[name])) + STEP
        for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * multiplier
        state = mixed ^ (mixed >> np.uint64(31))
    return state


def _numbers(column: pl.Series) -> NDArray[np.uint64]:
    absent = column.is_null().to_numpy()
    if column.dtype == pl.String:
        names = column.drop_nulls().unique()
        digests = [int.from_bytes(hashlib.blake2b(n.encode(), digest_size=TEXT).digest(), "little") for n in names]
        numbers = column.replace_strict(names, pl.Series(digests, dtype=pl.UInt64), default=0, return_dtype=pl.UInt64)
        values = numbers.fill_null(0).to_numpy()
    elif column.dtype.is_float():
        floats = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0
        values = np.where(np.isnan(floats), np.nan, floats).view(np.uint64)
    else:
        values = column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    return np.where(absent, NULL, values)
