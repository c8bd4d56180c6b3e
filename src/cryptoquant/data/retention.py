"""How long files are kept and where: pruning by age, colder tiers, and the deletion of what no longer counts."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl

from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.layout import RECENT, STORED
from cryptoquant.data.reading import View
from cryptoquant.data.shelf import Shelf
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.vault import Vault
from cryptoquant.errors import StoreError

LISTED: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("kind", "timeframe", "symbol"), pl.String),
    **dict.fromkeys(("first", "last", "rows", "bytes"), pl.Int64),
    **dict.fromkeys(("place", "path"), pl.String),
}


def listed(entries: Sequence[Entry]) -> pl.DataFrame:
    """Return files as a frame: kind, timeframe, symbol, first, last, rows, bytes, place and path."""
    rows = [{name: getattr(entry, name) for name in LISTED} for entry in entries]
    return pl.DataFrame(rows, schema=LISTED).with_columns(
        pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("first", "last")
    )


def summary(view: View) -> pl.DataFrame:
    """Return kind, timeframe, symbol, first, last, rows, files and bytes; see `Store.summary`."""
    keys = ["kind", "timeframe", "symbol"]
    own = listed([entry for entry in view.snapshot.entries() if entry.symbol])
    fresh = [
        {
            "kind": kind,
            "timeframe": timeframe,
            "symbol": symbol,
            "first": rows["time"].min(),
            "last": rows["time"].max(),
            "rows": rows.height,
        }
        for kind in STORED
        for (timeframe, symbol), rows in view.fresh(kind, view.symbols(kind), (None, None)).items()
        if rows.height
    ]
    schema = {name: dtype for name, dtype in own.schema.items() if name in (*keys, "first", "last", "rows")}
    behind = pl.DataFrame(fresh, schema=schema).with_columns(files=pl.lit(0, pl.Int64), bytes=pl.lit(0, pl.Int64))
    files = own.select(*schema, files=pl.lit(1, pl.Int64), bytes=pl.col("bytes"))
    totals = (pl.col("first").min(), pl.col("last").max(), pl.col("rows", "files", "bytes").sum())
    return pl.concat([files, behind]).group_by(keys).agg(*totals).sort(keys)


def nanoseconds(age: timedelta) -> int:
    """Return a duration in nanoseconds; raise ValueError when it is negative."""
    if age < timedelta(0):
        raise ValueError(f"an age or a grace is not negative, found {age}")
    return (age.days * 86_400 + age.seconds) * 1_000_000_000 + age.microseconds * 1_000


def prune(vault: Vault, kind: str, older_than: timedelta, *, dry_run: bool) -> pl.DataFrame:
    """Return the files of a kind whose rows are all older than an age, and let them go unless it is a dry run."""
    if dry_run:
        return listed(_older(vault, vault.snapshot(), kind, older_than))
    gone: list[Entry] = []

    def decide(snapshot: Snapshot) -> Write | None:
        gone[:] = _older(vault, snapshot, kind, older_than)
        return Write((), None, tuple(entry.path for entry in gone), at=vault.clock()) if gone else None

    vault.commit(decide)
    return listed(gone)


def move(vault: Vault, kind: str, older_than: timedelta, to: str) -> pl.DataFrame:
    """Copy old files to a place, check the copies byte by byte, and let them count from there."""
    place = to if "://" in to else str(Path(to).resolve())
    if place == vault.place:
        raise ValueError(f"move: {place} is the store itself; wanted another folder")
    target = vault.shelf_of(place)
    found = _older(vault, vault.snapshot(), kind, older_than)
    old = [entry for entry in found if entry.place != place and not entry.path.startswith(f"{RECENT}/")]
    for entry in old:
        _copy(entry, vault.shelf_of(entry.place), target)
    moved: list[Entry] = []

    def decide(snapshot: Snapshot) -> Write | None:
        live = {(entry.place, entry.path) for entry in snapshot.entries(kind)}
        still = [entry for entry in old if (entry.place, entry.path) in live]
        moved[:] = [msgspec.structs.replace(entry, place=place) for entry in still]
        return Write(tuple(moved), None, tuple(entry.path for entry in still), at=vault.clock()) if moved else None

    vault.commit(decide)
    return listed(moved)


def vacuum(vault: Vault, grace: timedelta) -> int:
    """Delete what has not counted for longer than a grace and return how many files; see `Store.vacuum`."""
    deleted = 0
    with vault.only_writer():
        vault.manifest.settle()
        before = vault.clock() - nanoseconds(grace)
        live = {(entry.place, entry.path) for entry in vault.snapshot().entries()}
        known = set(live)
        for at, entry in vault.manifest.removed():
            known.add((entry.place, entry.path))
            if at <= before and (entry.place, entry.path) not in live:
                deleted += vault.shelf_of(entry.place).delete(entry.path, unless_after=before)
        for path, modified in list(vault.shelf.files()):
            if ("", path) not in known and modified <= before:
                deleted += vault.shelf.delete(path, unless_after=before)
        vault.manifest.checkpoint(before)
    return deleted


def _older(vault: Vault, snapshot: Snapshot, kind: str, age: timedelta) -> list[Entry]:
    before = vault.clock() - nanoseconds(age)
    return [entry for entry in snapshot.entries(kind) if entry.last < before]


def _copy(entry: Entry, origin: Shelf, target: Shelf) -> None:
    content = origin.get(entry.path)
    for where, found in (("here", content), ("there", b"")):
        if where == "there":
            target.put(entry.path, content)
            found = target.get(entry.path)
        digest = hashlib.sha256(found).hexdigest()
        if digest != entry.sha256:
            raise StoreError(f"{entry.path}: sha256 {where} is {digest[:12]}, wanted {entry.sha256[:12]}; not moved")
