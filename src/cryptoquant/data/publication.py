"""Rows into files: what is imported or fetched goes into its partitions, what was recorded into recent files."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import polars as pl

from cryptoquant.data.encryption import KeyRing
from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.layout import PLAIN_KINDS, RECENT, STORED, conform, files, packed, stored, timeframe_of
from cryptoquant.data.segment import sequence_of
from cryptoquant.data.selection import timeframe_of_span
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.vault import Vault
from cryptoquant.errors import SchemaError
from cryptoquant.market.time import Timeframe

Origin = tuple[Timeframe | None, str, str | None]


def write(vault: Vault, kind: str, frame: Any, origin: Origin) -> int:
    """Add rows of a market kind; ``origin`` is timeframe, source and lineage key. See `Store.write`."""
    timeframe, source, lineage = origin
    table = conform(kind, frame)
    name = timeframe_of(table, timeframe) if kind == "bars" and table.height else ""
    made = list(files(kind, stored(kind, table), name, source, ring=vault.ring)) if table.height else []
    add(vault, made, lineage)
    return table.height


def add(vault: Vault, made: list[tuple[Entry, bytes]], lineage: str | None) -> None:
    """Publish files that are not there yet, or others were written after, and add them in one write."""
    added: dict[str, tuple[Entry, bytes]] = {}

    def decide(snapshot: Snapshot) -> Write | None:
        added.clear()
        added.update((file[0].path, file) for file in made if not _is_newest(snapshot, file[0]))
        _put(vault, added.values())
        if not added and lineage is None:
            return None
        return Write(tuple(entry for entry, _ in added.values()), lineage, at=vault.clock())

    vault.commit(decide)
    vault.restore(added.values())


def _is_newest(snapshot: Snapshot, entry: Entry) -> bool:
    """Whether a file is there and none that may hold the same rows was written after it."""
    near = snapshot.series(entry.kind, entry.timeframe, entry.symbol).within(entry.first, entry.last)
    held = [found.written for found in near if found.path == entry.path]
    return bool(held) and held[0] == max(found.written for found in near)


def _put(vault: Vault, files: Collection[tuple[Entry, bytes]]) -> None:
    for entry, content in files:
        vault.shelf.put(entry.path, content)
    vault.restore(files)


def publish_recent(vault: Vault, frames: Mapping[str, pl.DataFrame], published: int, received: int) -> int:
    """Add decoded records as recent files and move ``published``; see `Store.publish_recent`."""
    for kind, frame in frames.items():
        if kind not in STORED:
            raise SchemaError(f"kind {kind!r}: wanted one of {', '.join(STORED)}")
        if frame.schema != pl.Schema(STORED[kind]):
            raise SchemaError(f"{kind}: found the columns {dict(frame.schema)}, wanted those of STORED")
    made = [file for kind, frame in frames.items() if frame.height for file in _recent(kind, frame, vault.ring)]
    counted: list[tuple[Entry, bytes]] = []

    def decide(snapshot: Snapshot) -> Write | None:
        counted[:] = [] if published <= snapshot.published else made
        if published <= snapshot.published:
            return None
        _put(vault, counted)
        return Write(tuple(entry for entry, _ in counted), None, (), published, received, vault.clock())

    vault.commit(decide)
    vault.restore(counted)
    return sum(entry.rows for entry, _ in counted)


def _recent(kind: str, frame: pl.DataFrame, ring: KeyRing | None) -> Iterator[tuple[Entry, bytes]]:
    """Yield one file of the rows as they came, several symbols together; of bars one for each timeframe.

    They are neither sorted nor compared with one another: readers and the compaction do that anyway.
    """
    if kind not in PLAIN_KINDS:
        yield _file(kind, frame, "", ring)
        return
    spans = (frame["time"] - frame["open_time"]).dt.total_nanoseconds()
    for span in sorted(spans.unique()):
        yield _file(kind, frame.filter(spans == span), timeframe_of_span(span), ring)


def _file(kind: str, frame: pl.DataFrame, timeframe: str, ring: KeyRing | None) -> tuple[Entry, bytes]:
    positions = frame["position"].drop_nulls()
    ends = (positions.min(), positions.max()) if len(positions) else (0, 0)
    first, last = (sequence_of(int(end)) for end in ends)  # type: ignore[arg-type]
    folder = f"{RECENT}/kind={kind}" + (f"/timeframe={timeframe}" if timeframe else "")
    return packed(kind, frame, f"{folder}/{first}-{last}-", (timeframe, "log"), ring=ring)
