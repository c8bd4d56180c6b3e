"""The rows of files wherever they lie: in a folder, in an object store, encrypted or not."""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import BinaryIO

import polars as pl

from cryptoquant.data.encryption import KeyRing
from cryptoquant.data.entry import Entry
from cryptoquant.data.selection import Bounds
from cryptoquant.data.shelf import LocalShelf, Shelf
from cryptoquant.errors import StoreError

LARGE_BYTES = 8 << 20


class Opener:
    """Opens the files of a store.

    Files of a folder are left to polars. Small ones that lie elsewhere or are encrypted are read whole, of large ones
    only the columns and the groups of rows that are wanted.

    Parameters
    ----------
    shelf_of
        The shelf of a tier.
    ring
        The keys, if any.
    large_bytes
        From which size on a file is read in parts.
    """

    def __init__(
        self, shelf_of: Callable[[str], Shelf], ring: KeyRing | None = None, *, large_bytes: int = LARGE_BYTES
    ) -> None:
        self._shelf_of, self._ring, self._large_bytes = shelf_of, ring, large_bytes

    def scan(
        self, entries: Sequence[Entry], columns: Sequence[str] | None = None, times: Bounds = (None, None)
    ) -> pl.LazyFrame:
        """Return the rows of some files one after the other, with the columns asked for at least, the same of all.

        Rows outside ``times`` (ns UTC, bounds of ``time``) may be missing.

        Raises
        ------
        StoreError
            A file is encrypted with a key that is not here, or is damaged.
        FileNotFoundError
            A file is not there.
        """
        for entry in entries:
            if entry.key:
                (self._ring or KeyRing({})).key(entry.key, entry.path)
        if all(self._is_plain(entry) for entry in entries):
            sources = [self._shelf_of(entry.place).source(entry.path) for entry in entries]
            return pl.scan_parquet(sources, glob=False, hive_partitioning=False)  # type: ignore[arg-type]
        fetched = self._fetched([e for e in entries if e.bytes < self._large_bytes and not self._is_plain(e)])
        parts = [self._opened(entry, fetched.get(entry.path), columns, times) for entry in entries]
        return pl.concat(parts if columns is None else [part.select(columns) for part in parts])

    def _is_plain(self, entry: Entry) -> bool:
        return not entry.key and isinstance(self._shelf_of(entry.place), LocalShelf)

    def _fetched(self, entries: Sequence[Entry]) -> dict[str, bytes]:
        """Return the contents of small files, of each tier all at once."""
        found: dict[str, bytes] = {}
        for place in {entry.place for entry in entries}:
            here = [entry for entry in entries if entry.place == place]
            contents = self._shelf_of(place).fetch([entry.path for entry in here])
            for entry, content in zip(here, contents, strict=True):
                if entry.key and hashlib.sha256(content).hexdigest() != entry.sha256:
                    raise StoreError(f"{entry.path}: is not the file that was written: its sha256 is another")
                found[entry.path] = content
        return found

    def _opened(
        self, entry: Entry, content: bytes | None, columns: Sequence[str] | None, times: Bounds
    ) -> pl.LazyFrame:
        shelf = self._shelf_of(entry.place)
        if self._is_plain(entry):
            return pl.scan_parquet(shelf.source(entry.path), glob=False, hive_partitioning=False)
        if content is not None and not entry.key:
            return pl.scan_parquet(io.BytesIO(content))
        with shelf.open(entry.path) if content is None else io.BytesIO(content) as file:
            return self._read(entry, file, columns, times).lazy()

    def _read(self, entry: Entry, file: BinaryIO, columns: Sequence[str] | None, times: Bounds) -> pl.DataFrame:
        """Read columns and groups of rows, each checked by its tag when the file is encrypted."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = self._ring.decryption() if entry.key and self._ring is not None else None
        try:
            parquet = pq.ParquetFile(file, decryption_properties=keys, pre_buffer=True)
            place = parquet.schema_arrow.get_field_index("time")
            about = parquet.metadata
            groups = [n for n in range(about.num_row_groups) if _may_hold(about.row_group(n).column(place), times)]
            table = parquet.read_row_groups(groups, columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise StoreError(f"{entry.path}: cannot be read: {error}") from error
        frame = pl.from_arrow(table)
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _may_hold(column: object, times: Bounds) -> bool:
    """Whether a group of rows may hold rows of a range, by the smallest and largest time that it tells."""
    told = getattr(column, "statistics", None)
    if told is None or not told.has_min_max:
        return True
    first, last = times
    smallest, largest = told.min_raw, told.max_raw
    return (first is None or largest >= first) and (last is None or smallest <= last)
