"""The list of what a store holds: one line per write, appended durably, the only truth that readers ask."""

import os
from pathlib import Path

import msgspec

from cryptoquant.data.durable import sync_folder
from cryptoquant.errors import StoreError


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the store; times in nanoseconds UTC, ``path`` relative to the store (or to ``place``).

    Attributes
    ----------
    symbol, symbols
        The one symbol of the file, or, in recent files, ``""`` and all of them.
    first, last
        Smallest and largest ``time`` of its rows.
    keys
        A hash of the rows that does not depend on their order, by which a compaction proves that it kept them all.
    is_distinct
        Whether the rows are in time order and no key occurs twice.
    positions
        Smallest and largest log position of its rows, none when they did not come through a log.
    place
        URL of another store folder (a colder tier) that holds the file; empty when it lies in this one.
    """

    path: str
    kind: str
    timeframe: str
    symbol: str
    first: int
    last: int
    rows: int
    bytes: int
    sha256: str
    source: str
    symbols: tuple[str, ...] = ()
    keys: str = ""
    is_distinct: bool = False
    positions: tuple[int, int] | None = None
    place: str = ""


class Write(msgspec.Struct, frozen=True, omit_defaults=True):
    """One write: the files it added and removed, seen all or not at all.

    Attributes
    ----------
    removed
        Paths of files that no longer count; they stay on disk for a grace period.
    lineage
        The key of a resumable download, or what a derived table was made from.
    published
        The last record of the log whose rows are in the store's files; later ones are read from the log itself.
    received
        The receive time of that record.
    at
        When the write was made.
    """

    added: tuple[Entry, ...] = ()
    lineage: str | None = None
    removed: tuple[str, ...] = ()
    published: int | None = None
    received: int = 0
    at: int = 0


class Manifest:
    """The append-only log of writes in one file.

    A last line that was torn by a crash is not part of the log: readers pass over it and the next writer cuts it off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writes: list[Write] = []
        self._end = 0

    def writes(self) -> list[Write]:
        """Return all writes, oldest first.

        Raises
        ------
        StoreError
            A line before the last is damaged; the message gives its number.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._end:
            self._writes, self._end = [], 0
        if size > self._end:
            with self.path.open("rb") as file:
                file.seek(self._end)
                self._take(file.read())
        return self._writes

    def append(self, write: Write) -> None:
        """Add one write durably; the caller holds the store's lock."""
        line = msgspec.json.encode(write) + b"\n"
        self.writes()
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(handle, self._end)
            os.lseek(handle, self._end, os.SEEK_SET)
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            sync_folder(self.path.parent)
        self.writes()

    def _take(self, content: bytes) -> None:
        lines = content.split(b"\n")
        for index, line in enumerate(lines[:-1]):
            try:
                write = msgspec.json.decode(line, type=Write)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if index == len(lines) - 2 and not lines[-1]:
                    return
                number = len(self._writes) + 1
                raise StoreError(
                    f"{self.path}: line {number} is damaged ({error}); wanted one write as JSON"
                ) from error
            self._writes.append(write)
            self._end += len(line) + 1
