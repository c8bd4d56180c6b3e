"""What a saved report must hold: the size of its file, the columns of its tables, and the type of each number."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import polars as pl

from cryptoquant.market.schema import INSTANT, SIGNALS
from cryptoquant.performance.report import FILLS, REJECTIONS

MOST_BYTES = 2 * 1024**3
# As numbers of eight bytes they fill as much memory.
MOST_CELLS = MOST_BYTES // 8
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
Schema = Mapping[str, Any]
Numbers = TypeVar("Numbers")

EQUITY: Schema = {"time": INSTANT, "equity": pl.Float64, "exposure": pl.Float64}
PRICES: Schema = {"time": INSTANT, "symbol": pl.String, "close": pl.Float64}
NEEDED: Mapping[str, Schema] = {
    "equity": EQUITY,
    "fills": FILLS,
    "rejections": REJECTIONS,
    "signals": SIGNALS,
    "prices": PRICES,
}
KNOWN: Mapping[str, Schema] = {
    "equity": {"cash": pl.Float64, "benchmark": pl.Float64},
    "fills": {"participation": pl.Float64},
    "folds": {
        "fold": int,
        **dict.fromkeys(("train_start", "train_end", "test_start", "test_end"), INSTANT),
        **dict.fromkeys(("train_rows", "test_rows", "trials"), int),
        **dict.fromkeys(("hit_rate_train", "hit_rate_test", "return", "sharpe", "max_drawdown", "fees"), float),
        "params": pl.String,
    },
    "importance": {"feature": pl.String, "importance": float},
    "paths": {"sharpe": float},
    "barriers": {"symbol": pl.String, "opened": INSTANT, "closed": INSTANT, "take": float, "stop": float},
}
FULL = {"equity": ("time", "equity"), "fills": tuple(FILLS), "prices": tuple(PRICES), "rejections": tuple(REJECTIONS)}
IN_ORDER = ("equity", "fills", "rejections")


def check_size(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that would unpack to more than ``MOST_BYTES``, or is packed in another way than ours."""
    found = sum(entry.file_size for entry in archive.infolist())
    if found > MOST_BYTES:
        raise ValueError(f"it unpacks to {found:,} bytes; a report may have {MOST_BYTES:,}")
    odd = [entry.filename for entry in archive.infolist() if entry.compress_type not in PACKED or entry.flag_bits & 1]
    if odd:
        raise ValueError(f"{', '.join(odd)}: stored or deflated entries wanted, without a password")


def check_cells(cells: int) -> None:
    """Refuse tables with more than ``MOST_CELLS`` cells together."""
    if cells > MOST_CELLS:
        raise ValueError(f"its tables have {cells:,} cells; a report may have {MOST_CELLS:,}")


def check_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Refuse a table that lacks a column, has one of another type, a gap where none may be, or no order in time."""
    for name, needed in NEEDED.items():
        missing = sorted(set(needed) - set(tables[name].columns)) if name in tables else ["every column"]
        if missing:
            raise ValueError(f"{name} lacks {', '.join(missing)}")
    for name, table in tables.items():
        for column, wanted in {**NEEDED.get(name, {}), **KNOWN.get(name, {})}.items():
            if column in table.columns and not _fits(table.schema[column], wanted):
                raise ValueError(f"{name}: column {column} is {table.schema[column]}, wanted {_called(wanted)}")
    for name, columns in FULL.items():
        for column in columns:
            if tables[name][column].null_count():
                raise ValueError(f"{name}: column {column} has {tables[name][column].null_count():,} gaps, wanted none")
    for name in IN_ORDER:
        if not tables[name]["time"].is_sorted():
            raise ValueError(f"{name}: its rows are not in time order")
    if tables["equity"].is_empty():
        raise ValueError("equity has no row, wanted one for each slice")


def _fits(found: pl.DataType, wanted: Any) -> bool:
    if wanted is int:
        return found.is_integer() or found == pl.Null
    if wanted is float:
        return found.is_integer() or found.is_float() or found == pl.Null
    return bool(found == wanted)


def _called(wanted: Any) -> str:
    return {int: "whole numbers", float: "numbers"}.get(wanted) or str(wanted() if isinstance(wanted, type) else wanted)


def a_number(name: str, value: Any) -> float:
    """Return a number; a text is one that is not finite, as JSON cannot hold it."""
    is_text = value in ("nan", "inf", "-inf")
    if not is_text and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name} is {value!r}, wanted a number")
    return float(value)


def a_text(name: str, value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, wanted a text")
    value.encode()
    return value


def a_list(name: str, value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}, wanted a list")
    return value


def a_mapping(name: str, value: Any) -> dict[str, Any]:
    """Return what was written as an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}, wanted names with their values")
    return value


def an_instant(name: str, value: Any) -> str:
    """Return the text of an instant."""
    try:
        datetime.fromisoformat(a_text(name, value))
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}, wanted an instant") from error
    return str(value)


def a_capital(name: str, value: Any) -> float:
    """Return an amount above zero."""
    found = a_number(name, value)
    if not 0.0 < found < math.inf:
        raise ValueError(f"{name} is {found:g}, wanted an amount above 0")
    return found


def numbers_of(kind: type[Numbers], name: str, saved: Any) -> Numbers:
    """Return a dataclass of numbers and texts from what was saved, each field of its type."""
    types = {one.name: getattr(one.type, "__name__", one.type) for one in fields(kind)}  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for field, value in a_mapping(name, saved).items():
        place, wanted = f"{name}: {field}", types.get(field)
        if wanted == "float":
            found[field] = a_number(place, value)
        elif wanted == "int":
            found[field] = _a_count(place, value)
        elif wanted == "str":
            found[field] = an_instant(place, value) if field in ("start", "end") else a_text(place, value)
        else:
            found[field] = value
    return kind(**found)


def _a_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, wanted a whole number")
    return value
