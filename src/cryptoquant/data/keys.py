"""What makes two stored rows the same: the order of each kind, its keys, and a hash by which none can get lost."""

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

QUOTE = ["symbol", "time", "bid_price", "bid_size", "ask_price", "ask_size"]
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
STEP = np.uint64(0x9E3779B97F4A7C15)
NULL = np.uint64(0xD6E8FEB86659FD93)
SHIFTS = (np.uint64(31), np.uint64(30), np.uint64(27))
TEXT = 8
BLOCK = 1 << 15


def arrange(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in the order of their kind: books as they arrived, all others by symbol, time and ``known``.

    In a table of your own ``known`` is a column like any other. Rows of a book that came through a log arrived in the
    order of their positions, whatever the clock said; they are merged with others by the latest ``known`` up to each.
    Equal rows keep their order.
    """
    if kind != "books":
        by = ["symbol", "time", "known"] if "position" in rows.columns else ["symbol", "time"]
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

    A trade counts once by its id and a quote once by its whole state, as they were known first. Bars and gaps go only
    when all but their position is the same, and of these the last stays, for a value that came back counts from then
    on. Rows of a book that came through a log go only when all is the same; without a position, a row of a book always
    counts, as does a trade without an id. Of a table of your own the row written last counts.
    """
    ordered = arrange(kind, rows)
    if kind == "trades":
        return ordered.filter(pl.col("id").is_null() | pl.col("id").is_first_distinct())
    if kind == "books":
        return ordered.filter(pl.col("position").is_null() | pl.struct(pl.all()).is_first_distinct())
    if "position" not in rows.columns:
        return ordered.unique(["symbol", "time"], keep="last", maintain_order=True)
    said = pl.struct(key(kind, rows))
    return ordered.filter(said.is_first_distinct() if kind == "quotes" else said.is_last_distinct())


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
    """Return how many different rows there are, and a hash of their keys that does not depend on their order.

    The hash is the sum and the exclusive or of the hashes of the different keys, 64 bits each, in hexadecimal.
    """
    columns = key(kind, rows)
    hashes = _hashes(rows, columns)
    always = np.zeros(0, dtype=bool)
    if kind in ("trades", "books"):
        absent = rows["id" if kind == "trades" else "position"].is_null()
        if absent.any():
            always = absent.to_numpy()
            if kind == "trades":
                whole = [name for name in rows.columns if name not in ("position", "rank")]
                hashes = np.where(always, _hashes(rows, whole), hashes)
    counted, keyed = (hashes[always], hashes[~always]) if len(always) else (hashes[:0], hashes)
    different = keyed if _rises(rows, columns) else pl.Series(keyed).unique().to_numpy()
    total = int(different.sum(dtype=np.uint64)) + int(counted.sum(dtype=np.uint64))
    parity = np.bitwise_xor.reduce(different) ^ np.bitwise_xor.reduce(counted)
    return len(different) + len(counted), f"{total % (1 << 64):016x}{int(parity):016x}"


def _rises(rows: pl.DataFrame, columns: list[str]) -> bool:
    """Whether a number of the key rises from row to row, so that no two rows have the same key."""
    for name in ("id", "open_time", "time"):
        if name in columns and rows[name].dtype.is_integer() | rows[name].dtype.is_temporal():
            values = rows[name].to_physical()
            if not values.null_count() and bool((values.diff() > 0).all()):
                return True
    return False


def _hashes(rows: pl.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """Return a hash of each row: its columns folded by multiplication, mixed by splitmix64 (Steele, Lea, Flood, 2014).

    A block of rows stays in the processor's cache while its columns are folded.
    """
    numbers = [_numbers(rows[name]) for name in columns]
    hashes = np.full(rows.height, STEP, dtype=np.uint64)
    spare = np.empty(min(BLOCK, rows.height), dtype=np.uint64)
    for first in range(0, rows.height, BLOCK):
        state = hashes[first : first + BLOCK]
        moved = spare[: len(state)]
        for column in numbers:
            state ^= column[first : first + BLOCK] if len(column) > 1 else column
            state *= MULTIPLIERS[0]
            state ^= np.right_shift(state, SHIFTS[0], out=moved)
        for shift, multiplier in zip(SHIFTS[1:], MULTIPLIERS, strict=True):
            state ^= np.right_shift(state, shift, out=moved)
            state *= multiplier
        state ^= np.right_shift(state, SHIFTS[0], out=moved)
    return hashes


def _numbers(column: pl.Series) -> NDArray[np.uint64]:
    """Return a column as unsigned integers, one number where all its values are the same text."""
    if column.dtype == pl.String:
        return _texts(column)
    if column.dtype.is_float():
        plain = column.cast(pl.Float64).to_physical().rechunk()
        floats = plain.fill_null(0.0).to_numpy() + 0.0  # minus zero is zero
        is_nan = np.isnan(floats)
        values = np.where(is_nan, np.nan, floats) if is_nan.any() else floats
    else:
        values = column.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    numbers: NDArray[np.uint64] = values.view(np.uint64)
    return np.where(column.is_null().to_numpy(), NULL, numbers) if column.null_count() else numbers


def _texts(column: pl.Series) -> NDArray[np.uint64]:
    if len(column) and not column.null_count() and bool((column == column[0]).all()):
        return np.array([_digest(column[0])], dtype=np.uint64)
    codes = column.cast(pl.Categorical).to_physical()
    places = codes.fill_null(0).to_numpy()
    digests = np.zeros(int(places.max(initial=0)) + 1, dtype=np.uint64)
    for row in codes.arg_unique():
        if column[row] is not None:
            digests[places[row]] = _digest(column[row])
    found = digests[places]
    return np.where(column.is_null().to_numpy(), NULL, found) if column.null_count() else found


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=TEXT).digest(), "little")
