"""The recorder's log: what the stream said, on disk before anything else is done with it."""

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from cryptoquant.data.disk import Disk
from cryptoquant.data.log_folder import SegmentName, recover, segments_of, settle
from cryptoquant.data.segment import HEAD_SIZE, HEADER_SIZE, LONGEST_RECORD, SegmentHeader, pack_head
from cryptoquant.errors import LogFullError, StoreError

PAUSE = 0.001
LONGEST_PAYLOAD = LONGEST_RECORD - 256


class Cipher(Protocol):
    """Encrypts payloads; ``key_id`` (1 to 32 bytes) stands in the segments' headers.

    ``seal`` adds at most 256 bytes; ``open`` gives back what was sealed under the same sequence, or raises StoreError.
    """

    key_id: bytes

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Encrypt the payload of a record."""

    def open(self, sequence: int, payload: bytes) -> bytes:
        """Decrypt the payload of a record."""

    def under(self, key_id: bytes) -> "Cipher | None":
        """Return what opens segments that were written with another key; None when that key is not here."""


Waiting = tuple[int, int, int, bytes]


class Log:
    """The writing end of a log; a store has one, held by a `cryptoquant.data.lease.Lease`.

    Records wait in memory until a thread has written and synced them, many at a time when they come fast. A record
    counts as kept once `durable` has reached its sequence. A sequence is never used twice for a kept record.

    The first error of the disk ends the log: nothing is acknowledged after it, and a failed sync is never tried again,
    because the system may forget what it could not write and then report success.

    Parameters
    ----------
    disk
        The store's folder.
    folder
        Where the segments are, relative to it.
    segment_bytes
        Size of a segment, reserved in advance. A longer record gets a segment of its own.
    limit_bytes
        How much may wait for a slow disk.
    epoch
        Number of this recorder, larger than that of any before it (`Lease.epoch`).
    after
        A sequence that was used at least, also when its segment is gone (the manifest's ``published``).
    clock
        Time in ns UTC, for the headers of segments.
    cipher
        Encrypts the payloads.
    threaded
        Whether a thread commits; without one the caller does, by `commit`.
    linger
        Seconds for which the thread sleeps at least before it writes, twice as many at most, and is not woken by what
        comes: whoever appends has the processor for its next steps. The death of the process takes what waits.

    Attributes
    ----------
    damaged
        Segments in which opening found a bad record before good ones. Their copies are in ``<folder>/damaged``; the
        records before the bad one stay in the log. A power cut in the middle of a write can also leave this; then
        nothing that was acknowledged is missing.

    Raises
    ------
    StoreError
        The disk failed, or another recorder has written under this epoch or a later one.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        folder: str = "log",
        segment_bytes: int = 64 << 20,
        limit_bytes: int = 256 << 20,
        epoch: int,
        after: int = 0,
        clock: Callable[[], int] = time.time_ns,
        cipher: Cipher | None = None,
        threaded: bool = True,
        linger: float = 0.0,
    ) -> None:
        self.folder, self.epoch, self.damaged = folder, epoch, 0
        self._linger = linger
        self._disk, self._clock, self._cipher = disk, clock, cipher
        self._segment_bytes, self._limit_bytes = segment_bytes, limit_bytes
        self._lock = threading.Lock()
        self._work, self._done = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
        self._callbacks: list[Callable[[int], None]] = []
        self._failure: StoreError | None = None
        self._is_closing = self._is_closed = False
        try:
            self._begin(after)
        except OSError as error:
            raise StoreError(f"{folder}: the log cannot be opened: {_reason(error)}") from error
        self._thread = threading.Thread(target=self._commit_on, name="log", daemon=True) if threaded else None
        if self._thread is not None:
            self._thread.start()

    def _begin(self, after: int) -> None:
        self._names = segments_of(self._disk, self.folder)
        if self._names and self._names[-1].epoch >= self.epoch:
            raise StoreError(
                f"{self.folder}: found a segment of epoch {self._names[-1].epoch}, wanted none as late as this "
                f"recorder's {self.epoch}: another recorder has written"
            )
        tails = recover(self._disk, self.folder)
        self.damaged = sum(tail.is_damaged for tail in tails)
        last = max([after, *(tail.last for tail in tails)])
        self._names = [name for name in self._names if all(name != tail.name or tail.has_records for tail in tails)]
        self._sequence = self._written = self._durable = last
        self._start_segment(last + 1)
        settle(self._disk, self.folder, tails)

    @property
    def written(self) -> int:
        """The last sequence that the system has taken; readers of other processes see it."""
        return self._written

    @property
    def durable(self) -> int:
        """The last sequence that is on the disk."""
        return self._durable

    @property
    def sequence(self) -> int:
        """The last sequence that was given to a record."""
        return self._sequence

    @property
    def waiting_bytes(self) -> int:
        """How much waits in memory for the disk."""
        return self._waiting_bytes

    @property
    def failure(self) -> StoreError | None:
        """Why the log has ended, or None."""
        return self._failure

    def append(self, received: int, connection: int, kind: int, payload: bytes) -> int:
        """Take a record and return its sequence; never waits for the disk.

        Raises
        ------
        LogFullError
            ``limit_bytes`` wait for the disk; the record is not taken, later ones may be.
        StoreError
            The disk failed or the log is closed.
        ValueError
            A number or the payload does not fit the format.
        """
        if not (0 < received < 1 << 63 and 0 <= connection < 1 << 32 and 0 <= kind < 256):
            raise ValueError(
                f"record: found received {received}, connection {connection}, kind {kind}; wanted a time in ns UTC "
                "after 1970, a connection below 2**32 and a kind below 256"
            )
        size = HEAD_SIZE + len(payload)
        if size > LONGEST_PAYLOAD:
            raise ValueError(f"record: found a payload of {len(payload):,} bytes, wanted {LONGEST_PAYLOAD:,} at most")
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._is_closing:
                raise StoreError(f"{self.folder}: the log is closed; wanted an open one")
            if self._waiting_bytes + size > self._limit_bytes:
                raise LogFullError(
                    f"{self.folder}: {self._waiting_bytes:,} bytes wait, wanted {self._limit_bytes:,} at most"
                )
            self._waiting_bytes += size
            self._sequence = sequence = self._sequence + 1
            self._waiting.append((received, connection, kind, payload))
            if len(self._waiting) == 1 and not self._linger:
                self._work.notify()
        return sequence

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Wait until a record is durable; return False after ``timeout`` seconds.

        Raises
        ------
        StoreError
            The disk failed before it was.
        """
        with self._lock:
            self._done.wait_for(lambda: self._durable >= sequence or self._failure is not None, timeout)
            if self._durable < sequence and self._failure is not None:
                raise self._failure
            return self._durable >= sequence

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Have ``callback(durable)`` called after each sync, by the thread that commits; it must be short."""
        self._callbacks.append(callback)

    def drop(self, published: int) -> int:
        """Remove the segments all of whose records are ``published`` or earlier; return how many.

        Raises
        ------
        StoreError
            A segment cannot be removed; the log goes on.
        """
        with self._lock:
            following = (name.first for name in self._names[1:])
            count = sum(first <= published + 1 for first in following)
            gone, self._names = self._names[:count], self._names[count:]
        try:
            for name in gone:
                self._disk.remove(f"{self.folder}/{name}")
        except OSError as error:
            raise StoreError(f"{self.folder}: a segment cannot be removed: {_reason(error)}") from error
        return count

    def commit(self) -> int:
        """Write and sync what waits; return the last durable sequence. The thread's step, or the caller's without one.

        An error of the disk is not raised here but kept as `failure`.
        """
        with self._lock:
            batch, self._waiting = self._waiting, []
            first = self._sequence - len(batch) + 1
        if batch and self._failure is None:
            try:
                self._write(first, batch)
            except OSError as error:
                self._fail(_reason(error))
        return self._durable

    def close(self) -> None:
        """Commit what waits and give the file back; a second call changes nothing.

        Raises
        ------
        StoreError
            The disk failed; what is after `durable` may be lost.
        """
        if self._is_closed:
            return
        with self._lock:
            self._is_closing = True
            self._work.notify()
        if self._thread is not None:
            self._thread.join()
        self.commit()
        self._is_closed = True
        if self._failure is None:
            try:
                self._seal()
            except OSError as error:
                self._fail(_reason(error))
        if self._failure is not None:
            self._file.close()
            raise self._failure

    def _commit_on(self) -> None:
        try:
            while True:
                with self._lock:
                    while not self._waiting and not self._is_closing:
                        self._work.wait(self._linger or None)
                    if not self._waiting or self._failure is not None:
                        return
                    if self._linger:
                        self._work.wait_for(lambda: self._is_closing, self._linger)
                start = time.monotonic()
                self.commit()
                rest = PAUSE - (time.monotonic() - start)
                if rest > 0 and not self._is_closing:
                    time.sleep(rest)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise

    def _write(self, sequence: int, batch: list[Waiting]) -> None:
        chunks: list[bytes] = []
        size = 0
        for received, connection, kind, content in batch:
            payload = content if self._cipher is None else self._cipher.seal(sequence, content)
            length = HEAD_SIZE + len(payload)
            # A segment takes its first record however long it is.
            if self._end + size + length > self._segment_bytes and self._end + size > HEADER_SIZE:
                self._flush(chunks, size, sequence - 1)
                self._seal()
                self._start_segment(sequence)
                chunks, size = [], 0
            chunks += (pack_head(received, connection, kind, payload), payload)
            size += length
            sequence += 1
        self._flush(chunks, size, sequence - 1)
        self._release(sum(HEAD_SIZE + len(content) for _, _, _, content in batch))

    def _flush(self, chunks: list[bytes], size: int, last: int) -> None:
        if not chunks:
            return
        self._file.write_at(self._end, chunks)
        self._end += size
        self._written = last
        self._file.sync()
        with self._lock:
            self._durable = last
            self._done.notify_all()
        for callback in self._callbacks:
            callback(last)

    def _release(self, size: int) -> None:
        with self._lock:
            self._waiting_bytes -= size

    def _start_segment(self, first: int) -> None:
        """Make the next segment; its name and header are durable before a record in it can be."""
        name = SegmentName(self.epoch, first)
        key = b"" if self._cipher is None else self._cipher.key_id
        self._file = self._disk.create(f"{self.folder}/{name}")
        self._file.allocate(max(self._segment_bytes, HEADER_SIZE))
        self._file.write_at(0, [SegmentHeader(self.epoch, first, self._clock(), key).pack()])
        self._file.sync()
        self._disk.sync_folder(self.folder)
        self._end = HEADER_SIZE
        with self._lock:
            self._names.append(name)

    def _seal(self) -> None:
        """Cut the reserved rest off, which tells readers that the segment is complete."""
        self._file.truncate(self._end)
        self._file.sync()
        self._file.close()

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._failure = StoreError(f"{self.folder}: the log has ended after record {self._durable}: {reason}")
            self._done.notify_all()


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full (ENOSPC)"
    code = errno.errorcode.get(error.errno or 0, "no errno")
    return f"{os.strerror(error.errno) if error.errno else error} ({code})"
