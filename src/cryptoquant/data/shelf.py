"""The place where a store's files lie: put there whole or not at all, and handed to the readers of Parquet."""

import errno
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from cryptoquant.data.disk import TEMPORARY, Disk, LocalDisk, publish
from cryptoquant.errors import StoreError

Source = str | io.BytesIO
FOLDERS = ("kind=", "_recent")


class Shelf(Protocol):
    """A folder of whole files, here or elsewhere; paths are relative to it, with slashes.

    A file that `put` has returned from is durable and complete. Errors are StoreError; a file that is not there is
    FileNotFoundError.
    """

    def put(self, path: str, content: bytes) -> None:
        """Store a whole file under a name; one that is there is replaced."""

    def get(self, path: str) -> bytes:
        """Return the content of a file."""

    def fetch(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of several files."""

    def delete(self, path: str, *, unless_after: int | None = None) -> bool:
        """Remove a file, unless it was put after an instant (ns UTC); return whether it was there and had to go."""

    def exists(self, path: str) -> bool:
        """Whether the file is there."""

    def source(self, path: str) -> Source:
        """Return what polars can read the file from."""

    def open(self, path: str) -> BinaryIO:
        """Return a file to read ranges from."""

    def names(self) -> list[str]:
        """Return the names of files and folders at the top."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the data files and what was left of interrupted writes, each with its modification time (ns UTC)."""


class LocalShelf:
    """A folder of this machine, or of a simulated disk, whose files are read whole into memory."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._root = str(disk.root) if isinstance(disk, LocalDisk) else None

    def __repr__(self) -> str:
        return self._root or repr(self.disk)

    def put(self, path: str, content: bytes) -> None:
        """Publish a file: temporary name, sync, rename, sync of the folder."""
        try:
            publish(self.disk, path, [content])
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror}") from error

    def get(self, path: str) -> bytes:
        """Read a file."""
        try:
            file = self.disk.open(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "is missing", path) from error
        try:
            return file.read_at(0, file.size())
        finally:
            file.close()

    def fetch(self, paths: Sequence[str]) -> list[bytes]:
        """Read some files."""
        return [self.get(path) for path in paths]

    def delete(self, path: str, *, unless_after: int | None = None) -> bool:
        """Remove a file, unless it was put after an instant; a simulated disk has no times and removes it.

        A compaction puts files without the lock, perhaps one that a vacuum has just found to be old.
        """
        is_there = self.disk.exists(path)
        modified = os.stat(f"{self._root}/{path}").st_mtime_ns if is_there and self._root is not None else 0
        if unless_after is not None and modified > unless_after:
            return False
        self.disk.remove(path)
        return is_there

    def exists(self, path: str) -> bool:
        """Whether the name is there."""
        return self.disk.exists(path)

    def source(self, path: str) -> Source:
        """Return the path of the file, or its content where the disk is a simulated one."""
        return io.BytesIO(self.get(path)) if self._root is None else f"{self._root}/{path}"

    def open(self, path: str) -> BinaryIO:
        """Open a file to read ranges from."""
        return io.BytesIO(self.get(path)) if self._root is None else (Path(self._root) / path).open("rb")

    def names(self) -> list[str]:
        """Return the names in the folder."""
        return self.disk.listing("")

    def files(self) -> Iterator[tuple[str, int]]:
        """Walk the folders of data; a simulated disk has no times and yields nothing."""
        if self._root is None:
            return
        root = Path(self._root)
        for place, folders, names in os.walk(root):
            if Path(place) == root:
                folders[:] = [name for name in folders if name.startswith(FOLDERS)]
                names = [name for name in names if name.endswith(TEMPORARY)]
            for name in names:
                if name.endswith((".parquet", TEMPORARY)):
                    path = Path(place) / name
                    try:
                        yield path.relative_to(root).as_posix(), path.stat().st_mtime_ns
                    except FileNotFoundError:
                        continue
