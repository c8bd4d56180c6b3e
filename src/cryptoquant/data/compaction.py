"""Many small files into few sorted ones, proven complete before the old ones stop counting."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.keys import fingerprint, once
from cryptoquant.data.layout import RECENT, STORED, packed, partitions
from cryptoquant.data.reading import View
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.vault import Vault
from cryptoquant.errors import StoreError

BATCH_ROWS = 4_000_000
LARGEST_BYTES = 256 << 20
LEVEL = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of one kind and timeframe that are merged in one step, in the order written."""

    kind: str
    timeframe: str
    entries: tuple[Entry, ...]


def compact(vault: Vault, kinds: Sequence[str] | None = None, limit: int | None = None) -> int:
    """Merge what can be merged and return how many files were replaced; see `Store.compact`.

    The work is cut into batches, each seen whole or not at all; killed at any point, it goes on with the next call.
    """
    replaced = 0
    names = sorted({entry.kind for entry in vault.snapshot().entries()}) if kinds is None else kinds
    for kind in names:
        done: set[str] = set()
        while (batch := _next(vault, kind, limit, done)) is not None:
            done |= {entry.path for entry in batch.entries}
            replaced += _merge(vault, batch)
    return replaced


def _next(vault: Vault, kind: str, limit: int | None, done: set[str]) -> Batch | None:
    """Return the next recent files, else the next partition of several files, of those not looked at yet.

    A file that is not encrypted with the current key is merged though it is alone; one whose key is gone is left alone.
    """
    snapshot = vault.snapshot()
    for timeframe in sorted(snapshot.timeframes(kind, "")):
        series = snapshot.series(kind, timeframe, "")
        recent = [e for e in series.as_written(series.entries) if _is_recent(e) and vault.has_key(e)]
        recent = [entry for entry in recent if limit is None or entry.last <= limit]
        if recent:
            chosen = list(_up_to(BATCH_ROWS, [entry for entry in recent if entry.path not in done]))
            if chosen:
                return Batch(kind, timeframe, tuple(chosen))
    folders: dict[str, list[Entry]] = {}
    for entry in snapshot.entries(kind):
        if _can_merge(vault, entry) and not _is_recent(entry):
            folders.setdefault(_folder(entry), []).append(entry)
    for entries in folders.values():
        is_due = len(entries) > 1 or vault.has_old_key(entries[0])
        if is_due and not all(entry.path in done for entry in entries):
            series = snapshot.series(kind, entries[0].timeframe, entries[0].symbol)
            return Batch(kind, entries[0].timeframe, tuple(series.as_written(entries)))
    return None


def _up_to(rows: int, entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        rows -= entry.rows
        if rows <= 0:
            return


def _is_recent(entry: Entry) -> bool:
    return entry.path.startswith(f"{RECENT}/")


def _can_merge(vault: Vault, entry: Entry) -> bool:
    is_small = entry.bytes < LARGEST_BYTES or vault.has_old_key(entry)
    return is_small and not entry.place and vault.has_key(entry)


def _folder(entry: Entry) -> str:
    return entry.path.rpartition("/")[0]


def _merge(vault: Vault, batch: Batch) -> int:
    """Write the merged files of a batch, prove them, and let them take the place of the old ones in one step."""
    snapshot = vault.snapshot()
    try:
        given = _read(vault, snapshot, batch.kind, batch.entries)
        inputs, outputs = list(batch.entries), []
        sources = {entry.source for entry in inputs}
        for folder, part in partitions(batch.kind, given, batch.timeframe):
            beside = _beside(vault, snapshot, batch, folder)
            rows = (
                pl.concat([_read(vault, snapshot, batch.kind, beside), part], how="diagonal_relaxed")
                if beside
                else part
            )
            said = ", ".join(sorted({entry.source for entry in beside} | sources))
            outputs.append(_written(vault, batch, folder, rows, said))
            inputs += beside
    except FileNotFoundError:
        return 0  # another compaction was faster, and a vacuum after it
    return _replace(vault, inputs, outputs)


def _beside(vault: Vault, snapshot: Snapshot, batch: Batch, folder: str) -> list[Entry]:
    """Return the files that already lie in a partition and are not in the batch."""
    chosen = {entry.path for entry in batch.entries}
    near = [e for e in snapshot.entries(batch.kind) if _folder(e) == folder and e.path not in chosen]
    found = [entry for entry in near if _can_merge(vault, entry)]
    if not found:
        return []
    return snapshot.series(batch.kind, found[0].timeframe, found[0].symbol).as_written(found)


def _read(vault: Vault, snapshot: Snapshot, kind: str, entries: Sequence[Entry]) -> pl.DataFrame:
    """Return the rows of some files, each proven to be the one that the manifest names."""
    for entry in entries:
        found = hashlib.sha256(vault.shelf_of(entry.place).get(entry.path)).hexdigest()
        if found != entry.sha256:
            raise StoreError(f"{entry.path}: found sha256 {found}, wanted {entry.sha256}; the files stay as they were")
    view = View(snapshot, vault.opener, None, None)
    rows = view.load(entries, kind) if kind in STORED else view.table(entries)
    wanted = sum(entry.rows for entry in entries)
    if rows.height != wanted:
        raise StoreError(f"{entries[0].path} and {len(entries) - 1} more: found {rows.height} rows, wanted {wanted}")
    return rows


def _written(vault: Vault, batch: Batch, folder: str, rows: pl.DataFrame, source: str) -> Entry:
    """Write the file of a partition and prove from what is read back that no key of the given rows is missing."""
    different, keys = fingerprint(batch.kind, rows)
    kept = once(batch.kind, rows)
    entry, content = packed(batch.kind, kept, f"{folder}/", (batch.timeframe, source), level=LEVEL, ring=vault.ring)
    # An encrypted file differs from another one of the same rows, and the one that counts is to stay what it is.
    same = next((found for found in vault.snapshot().entries(batch.kind) if found.path == entry.path), None)
    if same is not None:
        entry = same
    else:
        vault.shelf.put(entry.path, content)
    view = View(vault.snapshot(), vault.opener, None, None)
    back = view.load([entry], batch.kind) if batch.kind in STORED else view.table([entry])
    if (back.height, *fingerprint(batch.kind, back)) != (different, different, keys) or not back.equals(kept):
        raise StoreError(
            f"{entry.path}: compaction of {rows.height} rows: found {back.height} with keys"
            f" {fingerprint(batch.kind, back)[1]}, wanted {different} with keys {keys}; the files stay as they were"
        )
    return entry


def _replace(vault: Vault, inputs: Sequence[Entry], outputs: Sequence[Entry]) -> int:
    made, given = ({entry.path for entry in entries} for entries in (outputs, inputs))
    added = tuple(entry for entry in outputs if entry.path not in given)
    removed = tuple(entry.path for entry in inputs if entry.path not in made)
    replaced = 0

    def decide(state: Snapshot) -> Write | None:
        nonlocal replaced
        live = {entry.path for entry in state.entries()}
        replaced = len(removed) if given <= live and not (made - given) & live else 0
        if not replaced:
            return None
        for entry in added:
            if not vault.shelf.exists(entry.path):
                raise StoreError(f"{entry.path}: is missing before it could count; the files stay as they were")
        return Write(added, None, removed, at=vault.clock())

    vault.commit(decide)
    return replaced
