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
    try:
        said = json.dumps({MARK: name, "lineage": dict(lineage)}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"table {name}: the lineage cannot be written as JSON: {error}") from error
    table = conform_table(name, frame)
    made = list(files(name, table, "", source, ring=vault.ring)) if table.height else []
    add(vault, made, said, is_newest=True)
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
    said = [json.loads(text) for text in dict.fromkeys(snapshot.lineages) if text.startswith("{")]
    return [entry["lineage"] for entry in said if entry.get(MARK) == name]
