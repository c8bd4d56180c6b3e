"""One writer at a time: a lock file that the system frees when its holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptoquant.errors import StoreError

PAUSE_S = 0.01


@contextmanager
def only_writer(lock: Path, *, patience_s: float = 60.0) -> Iterator[None]:
    """Hold the lock file of a folder.

    Raises
    ------
    StoreError
        Another writer holds it for longer than ``patience_s`` seconds.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + patience_s
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise StoreError(f"{lock}: another writer has held the lock for {patience_s:g} s; wanted one at a time")
            time.sleep(PAUSE_S)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
