"""Many small files into few sorted ones, proven complete before the old ones stop counting."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import polars as pl
from msgspec.structs import replace

from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.keys import fingerprint, once
from cryptoquant.data.layout import PLAIN_KINDS, RECENT, STORED, packed, partitions
from cryptoquant.data.reading import View
from cryptoquant.data.selection import latest
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
    vault.check_present()
    replaced = 0
    names = sorted({entry.kind for entry in vault.snapshot().entries()}) if kinds is None else kinds
    for kind in names:
        done: set[str] = set()
        while (batch := _next(vault, kind, limit, done)) is not None:
            done |= {entry.path for entry in batch.entries}
            replaced += _merge(vault, batch)
    return replaced


def _next(vault: Vault, kind: str, limit: int | None, done: set[str]) -> Batch | None:
    """Return the next recent files, else the next files of a partition, of those not looked at yet.

    The row written last has to stay the last one: recent files go in the order written, and of a partition only files
    that were written one after the other, with none between them that has to stay as it is. A file that is not
    encrypted with the current key is merged though it is alone; one whose key is gone is left alone.
    """
    snapshot = vault.snapshot()
    for timeframe in sorted(snapshot.timeframes(kind, "")):
        series = snapshot.series(kind, timeframe, "")
        recent = [e for e in series.as_written(series.entries) if _is_recent(e) and vault.has_key(e)]
        first = list(takewhile(lambda entry: limit is None or entry.last <= limit, recent))
        if first and first[0].path not in done:
            return Batch(kind, timeframe, tuple(_up_to(BATCH_ROWS, first)))
    folders: dict[str, list[Entry]] = {}
    for entry in snapshot.entries(kind):
        if not _is_recent(entry):
            folders.setdefault(_folder(entry), []).append(entry)
    for entries in folders.values():
        for run in _runs(vault, entries):
            is_due = len(run) > 1 or vault.has_old_key(run[0])
            if is_due and not all(entry.path in done for entry in run):
                return Batch(kind, run[0].timeframe, tuple(run))
    return None


def _runs(vault: Vault, entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the files of a partition that can be merged, those together that were written one after the other."""
    written = sorted(entries, key=lambda entry: entry.written)
    return [list(run) for can_merge, run in groupby(written, lambda entry: _can_merge(vault, entry)) if can_merge]


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
            beside, last = _beside(vault, snapshot, batch, folder)
            rows = (
                pl.concat([_read(vault, snapshot, batch.kind, beside), part], how="diagonal_relaxed")
                if beside
                else part
            )
            said = ", ".join(sorted({entry.source for entry in beside} | sources))
            outputs.append(replace(_written(vault, batch, folder, rows, said), written=last))
            inputs += beside
    except FileNotFoundError:
        return 0  # another compaction was faster, and a vacuum after it
    return _replace(vault, inputs, outputs)


def _beside(vault: Vault, snapshot: Snapshot, batch: Batch, folder: str) -> tuple[list[Entry], tuple[int, int]]:
    """Return the files of a partition that recent ones are merged with, and when the last of all these was written.

    Recent files are read after all others, so that they go with the last files of the partition, and come after those
    that have to stay as they are.
    """
    last = max(entry.written for entry in batch.entries)
    if not _is_recent(batch.entries[0]):
        return [], last
    near = [entry for entry in snapshot.entries(batch.kind) if _folder(entry) == folder]
    if not near:
        return [], last
    version, number = final = max(entry.written for entry in near)
    runs = _runs(vault, near)
    if runs and runs[-1][-1].written == final:
        return runs[-1], max(last, final)
    return [], max(last, (version, number + 1))


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
    if batch.kind in PLAIN_KINDS and not latest(kept, None).equals(latest(rows, None)):
        raise StoreError(
            f"{folder}: compaction of {rows.height} rows: readers would be told other values;"
            " the files stay as they were"
        )
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
    made, given = ({entry.path: entry.written for entry in entries} for entries in (outputs, inputs))
    added = tuple(entry for entry in outputs if entry.path not in given)
    removed = tuple(entry.path for entry in inputs if entry.path not in made)
    replaced = 0

    def decide(state: Snapshot) -> Write | None:
        nonlocal replaced
        live = {entry.path: entry.written for entry in state.entries()}
        # A file that was written again meanwhile is another one: it comes after what was merged.
        is_same = given.items() <= live.items() and live.keys().isdisjoint(entry.path for entry in added)
        replaced = len(removed) if is_same else 0
        if not replaced:
            return None
        for entry in added:
            if not vault.shelf.exists(entry.path):
                raise StoreError(f"{entry.path}: is missing before it could count; the files stay as they were")
        return Write(added, None, removed, at=vault.clock())

    vault.commit(decide)
    return replaced
