"""Writing to a folder so that a crash leaves either the old state or the new one, never half of it."""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptoquant.errors import StoreError

TEMPORARY = ".tmp"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(target: Path, content: bytes) -> None:
    """Write a file durably under its final name: hidden temporary file, fsync, rename, fsync of the folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from error
    sync_folder(target.parent)


@contextmanager
def only_writer(lock: Path, *, patience_s: float = 60.0) -> Iterator[None]:
    """Hold the lock file of a folder; the system frees it when the process dies.

    Raises
    ------
    StoreError
        Another writer holds it for longer than ``patience_s`` seconds.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience_s
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise StoreError(f"{lock}: another writer has held the lock for {patience_s:g} s; wanted one at a time")
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
