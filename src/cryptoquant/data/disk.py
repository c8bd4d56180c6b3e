"""The disk as the recorder sees it: everything that has to survive a crash goes through these few calls."""

import errno
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

TEMPORARY = ".tmp"
VECTOR = 512


class DiskFile(Protocol):
    """An open file. What was written is safe once `sync` has returned, and not before."""

    def write_at(self, offset: int, chunks: Sequence[bytes]) -> int:
        """Write all chunks one after the other from ``offset`` on; return the number of bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the file."""

    def allocate(self, size: int) -> None:
        """Reserve ``size`` bytes, read as zeros until written; raise OSError (ENOSPC) now rather than later."""

    def truncate(self, size: int) -> None:
        """Cut the file, or lengthen it with zeros."""

    def size(self) -> int:
        """Return the length in bytes."""

    def sync(self) -> None:
        """Make the content durable."""

    def close(self) -> None:
        """Give the handle back."""


class Disk(Protocol):
    """A folder. Paths are relative to it, with slashes; errors are OSError with the system's errno.

    A new, renamed or removed name is safe once `sync_folder` of its folder has returned. `replace` is atomic: after a
    crash the name is the old file or the new one.
    """

    def create(self, path: str) -> DiskFile:
        """Open a new file; FileExistsError when the name is taken. Missing folders are made."""

    def open(self, path: str) -> DiskFile:
        """Open an existing file to read and write; FileNotFoundError when there is none."""

    def replace(self, old: str, new: str) -> None:
        """Rename a file, over an existing one if need be."""

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of this name."""

    def listing(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is no such folder."""

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""


class LocalFile:
    """A file of this machine."""

    __slots__ = ("_handle",)

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write_at(self, offset: int, chunks: Sequence[bytes]) -> int:
        """Write all chunks; a short write is continued."""
        written = 0
        for first in range(0, len(chunks), VECTOR):
            pending: list[bytes | memoryview] = list(chunks[first : first + VECTOR])
            while pending:
                done = os.pwritev(self._handle, pending, offset + written)
                written += done
                while pending and done >= len(pending[0]):
                    done -= len(pending.pop(0))
                if done:
                    pending[0] = memoryview(pending[0])[done:]
        return written

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes."""
        parts = []
        while length > 0:
            part = os.pread(self._handle, length, offset)
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def allocate(self, size: int) -> None:
        """Reserve space; a file system that cannot reserve gets a sparse file."""
        try:
            os.posix_fallocate(self._handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            os.ftruncate(self._handle, size)

    def truncate(self, size: int) -> None:
        """Cut or lengthen."""
        os.ftruncate(self._handle, size)

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._handle).st_size

    def sync(self) -> None:
        """Write the content and what is needed to read it back to the device."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Close the handle; a second time changes nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


class LocalDisk:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, path: str) -> LocalFile:
        """Open a new file, making its folder, durably, if need be."""
        target = self.root / path
        self._make(target.parent)
        return LocalFile(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)

    def open(self, path: str) -> LocalFile:
        """Open an existing file."""
        return LocalFile(os.open(self.root / path, os.O_RDWR | os.O_CLOEXEC))

    def replace(self, old: str, new: str) -> None:
        """Rename a file."""
        os.replace(self.root / old, self.root / new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        (self.root / path).unlink(missing_ok=True)

    def exists(self, path: str) -> bool:
        """Whether the name is there."""
        return (self.root / path).exists()

    def listing(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        _sync_folder(self.root / folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(disk: Disk, path: str, chunks: Sequence[bytes]) -> None:
    """Write a whole file durably: temporary name, sync, rename, sync of the folder; seen complete or not at all.

    Raises
    ------
    OSError
        It could not be written; nothing of it is seen.
    """
    folder = path.rpartition("/")[0]
    temporary = f"{folder}/.{uuid.uuid4().hex}{TEMPORARY}".lstrip("/")
    file = disk.create(temporary)
    try:
        file.write_at(0, chunks)
        file.sync()
        file.close()
        disk.replace(temporary, path)
    except OSError:
        file.close()
        disk.remove(temporary)
        raise
    disk.sync_folder(folder)
