"""One recorder at a time: a lock that dies with its holder, and a number that tells an old holder from a new one."""

import fcntl
import os
import re
from pathlib import Path
from types import TracebackType

from cryptoquant.errors import StoreError

CONTENT = re.compile(rb"epoch (\d{20}) pid (\d{10})\n")


class Lease:
    """The right to record into a store, or over an account's one connection; held from construction to `release`.

    The system frees it when the process ends, however it ends. ``epoch`` rises with every holder and is on the disk
    before it is given out; what a holder writes under its epoch cannot be mistaken for another's. A child that the
    process forks holds the lease too, until it ends or executes another program.

    Parameters
    ----------
    folder
        For a store its own folder; for an account a folder of the user's that is the same for all its stores. Made
        if missing, and on a local file system, since others may not keep locks.
    name
        What is leased; for an account the sha256 of its key's name, never the key.

    Raises
    ------
    StoreError
        Another process holds it (the message names it), or the file is damaged or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Lease(Path(folder), "recorder") as lease:
    ...         first = lease.epoch
    ...     with Lease(Path(folder), "recorder") as lease:
    ...         (first, lease.epoch)
    (1, 2)
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.lease"
        self.epoch = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{self.path}: the lease cannot be opened: {error.strerror}") from error
        try:
            self._acquire()
        except OSError as error:
            self.release()
            raise StoreError(f"{self.path}: the lease cannot be written: {error.strerror}") from error
        except StoreError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lease back; a second time changes nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self.path}: held by {self._holder()}; wanted one holder at a time") from error
        content = os.pread(self._handle, 64, 0)
        match = CONTENT.fullmatch(content)
        if content and match is None:
            raise StoreError(f"{self.path}: found {content!r}, wanted 'epoch <number> pid <number>'")
        epoch = int(match[1]) + 1 if match else 1
        # One line of fixed length lies in one sector, which a power cut leaves old or new.
        os.pwrite(self._handle, b"epoch %020d pid %010d\n" % (epoch, os.getpid()), 0)
        os.fsync(self._handle)
        if match is None:
            self._sync_name()
        self.epoch = epoch

    def _holder(self) -> str:
        match = CONTENT.fullmatch(os.pread(self._handle, 64, 0))
        return f"process {int(match[2])}" if match else "another process"

    def _sync_name(self) -> None:
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
