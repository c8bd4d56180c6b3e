"""The end of the log as rows, so that a read of the store includes what was received a moment ago."""

import threading
from collections.abc import Collection

import polars as pl

from cryptoquant.data.decode import decode
from cryptoquant.data.disk import Disk
from cryptoquant.data.layout import empty
from cryptoquant.data.log import Cipher
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.segment import Record

READ_BYTES = 4 << 20


def last_sequence(disk: Disk, after: int, cipher: Cipher | None = None) -> int:
    """Return the newest record of a log, of which those up to ``after`` are known to have been there."""
    reader = LogReader(disk, after=after, cipher=cipher)
    while reader.read(READ_BYTES):
        pass
    reader.close()
    return reader.last


class LogTail:
    """Reads on in the log at each question, and decodes of each kind only what is new since the last one.

    It holds the records that no file of the store holds yet; those are about as many as a recorder receives between two
    publications.

    Parameters
    ----------
    disk
        The store's folder.
    """

    def __init__(self, disk: Disk, *, cipher: Cipher | None = None) -> None:
        self._disk, self._cipher = disk, cipher
        self._reader: LogReader | None = None
        self._records: list[Record] = []
        self._frames: dict[str, tuple[int, list[pl.DataFrame]]] = {}
        self._refused: int | None = None
        self._turn = threading.Lock()

    def frame(self, kind: str, symbols: Collection[str] | None, after: int) -> pl.DataFrame | None:
        """Return the rows of a kind in all records with a sequence above ``after``, and perhaps some older ones.

        None says that records after ``after`` are gone because they were published; a second question with the same
        ``after`` is answered with what there is, since damage can leave numbers out too. ``symbols`` changes nothing.
        """
        with self._turn:
            if self._reader is None or after > self._reader.last:
                self._begin(after)
            is_whole = self._read_on(after)
            if not is_whole and self._refused != after:
                self._refused = after
                return None
            return self._decoded(kind)

    def _begin(self, after: int) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = LogReader(self._disk, after=after, cipher=self._cipher)
        self._records, self._frames = [], {}

    def _read_on(self, after: int) -> bool:
        """Take what the log has got since; return whether nothing is missing between ``after`` and it."""
        reader = self._reader
        if reader is None:
            return True
        missed = reader.missed
        while records := reader.read(READ_BYTES):
            self._records += records
        if self._records and self._records[0].sequence <= after:
            self._forget(after)
        is_next = not self._records or self._records[0].sequence == after + 1
        return is_next and reader.missed == missed

    def _forget(self, after: int) -> None:
        """Let go of what is in the store's files now; decoded frames go whole, so that some older rows may stay."""
        self._records = [record for record in self._records if record.sequence > after]
        self._frames = {}

    def _decoded(self, kind: str) -> pl.DataFrame:
        through, frames = self._frames.get(kind, (0, []))
        new = [record for record in self._records if record.sequence > through]
        if new:
            found = decode(new, {kind}).frames.get(kind)
            frames = frames if found is None else [*frames, found]
            self._frames[kind] = (new[-1].sequence, frames)
        if len(frames) > 1:
            frames = [pl.concat(frames)]
            self._frames[kind] = (self._frames[kind][0], frames)
        return frames[0] if frames else empty(kind)
