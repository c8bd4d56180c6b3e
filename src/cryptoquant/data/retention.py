"""How long files are kept and where: pruning by age, colder tiers, and the deletion of what no longer counts."""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import polars as pl

from cryptoquant.data.disk import TEMPORARY
from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.layout import RECENT, STORED
from cryptoquant.data.reading import View
from cryptoquant.data.shelf import Shelf
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.vault import Vault, place_of
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
    """Copy old files to a folder of this store's own at a place, check the copies, and let them count from there."""
    shared = place_of(to)
    place = vault.tier_below(shared)
    target = vault.shelf_of(place)
    found = [e for e in _older(vault, vault.snapshot(), kind, older_than) if not e.path.startswith(f"{RECENT}/")]
    places = {entry.place for entry in found}
    there = {name for name in places if vault.tier(name) in (shared, place) or _is_same(vault.shelf_of(name), target)}
    old = {(entry.place, entry.path): entry for entry in found if entry.place not in there}
    for entry in old.values():
        _copy(entry, vault.shelf_of(entry.place), target)
    moved: list[Entry] = []

    def decide(snapshot: Snapshot) -> Write | None:
        # A file that was written again meanwhile keeps the later place in the order.
        still = [entry for entry in snapshot.entries(kind) if (entry.place, entry.path) in old]
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
        # Listed before the manifest is read, which then names what was put before and committed meanwhile.
        found = list(vault.shelf.files())
        live = {(vault.tier(entry.place), entry.path) for entry in vault.snapshot().entries()}
        known = set(live)
        for at, entry in vault.manifest.removed():
            where = (vault.tier(entry.place), entry.path)
            known.add(where)
            if at <= before and where not in live:
                deleted += vault.shelf_of(entry.place).delete(entry.path, unless_after=before)
        for path, modified in found:
            if ("", path) not in known and modified <= before:
                deleted += vault.shelf.delete(path, unless_after=before)
        vault.manifest.checkpoint(before)
    return deleted


def _older(vault: Vault, snapshot: Snapshot, kind: str, age: timedelta) -> list[Entry]:
    before = vault.clock() - nanoseconds(age)
    return [entry for entry in snapshot.entries(kind) if entry.last < before]


def _is_same(one: Shelf, other: Shelf) -> bool:
    """Whether two shelves are one under two names, told by a file that is put on one and looked for on the other."""
    path = f".{uuid.uuid4().hex}{TEMPORARY}"
    one.put(path, b"")
    try:
        return other.exists(path)
    finally:
        one.delete(path)


def _copy(entry: Entry, origin: Shelf, target: Shelf) -> None:
    try:
        content = origin.get(entry.path)
    except FileNotFoundError as error:
        raise StoreError(f"{entry.path}: is missing at {origin!r}; not moved") from error
    for where, found in (("here", content), ("there", b"")):
        if where == "there":
            target.put(entry.path, content)
            found = target.get(entry.path)
        digest = hashlib.sha256(found).hexdigest()
        if digest != entry.sha256:
            raise StoreError(f"{entry.path}: sha256 {where} is {digest[:12]}, wanted {entry.sha256[:12]}; not moved")
