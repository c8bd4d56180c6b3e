"""Tables of one's own beside the market's: features, indicators, other bars, with what they were made from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from cryptoquant.data.keys import once
from cryptoquant.data.layout import conform_table, files, table_name
from cryptoquant.data.publication import add
from cryptoquant.data.reading import View
from cryptoquant.data.selection import Bounds, inside
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.vault import Vault
from cryptoquant.errors import SchemaError

MARK = "table"


def write(vault: Vault, name: str, frame: Any, source: str, lineage: Mapping[str, Any]) -> int:
    """Add rows of a table and keep what they were made from; see `Store.write`.

    Raises
    ------
    SchemaError
        The name is a kind's, a column cannot be kept or changes its type, or the lineage cannot be said in JSON.
    """
    table_name(name)
    table = conform_table(name, frame)
    columns = {column: str(dtype) for column, dtype in table.schema.items()}
    try:
        said = json.dumps({MARK: name, "lineage": dict(lineage), "columns": columns}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"table {name}: the lineage cannot be written as JSON: {error}") from error
    held = _columns(vault.snapshot(), name)
    for column, dtype in columns.items():
        if held.get(column, dtype) != dtype:
            raise SchemaError(f"table {name}: column {column} is {dtype}, wanted {held[column]} as it is stored")
    made = list(files(name, table, "", source, ring=vault.ring)) if table.height else []
    add(vault, made, said)
    return table.height


def read(view: View, name: str, symbols: Sequence[str], bounds: Bounds) -> pl.DataFrame:
    """Return rows of a table by symbol in time order, of each symbol and time the one written last."""
    parts = []
    for symbol in symbols:
        series = view.snapshot.series(name, "", symbol)
        entries = series.as_written(series.within(*bounds))
        if entries:
            parts.append(once(name, view.table(entries).filter(inside(name, bounds))))
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def lineage(snapshot: Snapshot, name: str) -> list[dict[str, Any]]:
    """Return the lineages of a table's writes, each once, the oldest first."""
    found: list[dict[str, Any]] = []
    for told in _told(snapshot, name):
        if told["lineage"] not in found:
            found.append(told["lineage"])
    return found


def _columns(snapshot: Snapshot, name: str) -> dict[str, str]:
    """Return the types of a table's columns by name; none when it has no rows."""
    if not snapshot.symbols(name):
        return {}
    return {column: dtype for told in _told(snapshot, name) for column, dtype in told.get("columns", {}).items()}


def _told(snapshot: Snapshot, name: str) -> list[dict[str, Any]]:
    said = [json.loads(text) for text in dict.fromkeys(snapshot.lineages) if text.startswith("{")]
    return [entry for entry in said if entry.get(MARK) == name]
