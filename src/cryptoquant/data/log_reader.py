"""Reading the recorder's log, while it is written or afterwards, in the recorder's process or in another."""

import time

from cryptoquant.data.disk import Disk, DiskFile
from cryptoquant.data.log import Cipher
from cryptoquant.data.log_folder import SegmentName, segments_of
from cryptoquant.data.segment import (
    HEAD,
    HEAD_SIZE,
    HEADER_SIZE,
    LONGEST_RECORD,
    Record,
    read_header,
    scan,
)
from cryptoquant.errors import StoreError

SHORTEST_PAUSE = 0.0002
LONGEST_PAUSE = 0.001
LOOKS_PER_LISTING = 64
SMALL_BLOCK, LARGE_BLOCK = 1 << 14, 1 << 20


class LogReader:
    """The reading end of a log: gives each record once, in order, and costs the writer nothing.

    It sees what was written, which may be some milliseconds before it is synced. What it gave therefore stays in the
    log when the recorder is killed, for recovery keeps every record that a reader can have seen; but a power cut may
    take back the newest ones, and their sequences are then used for others. Who keeps results beyond a power cut acts
    on `Log.durable` in the recorder's process, or asks the manifest for ``published``.

    Parameters
    ----------
    disk
        The store's folder.
    folder
        Where the segments are, relative to it.
    after
        The last sequence that is not wanted.
    cipher
        Decrypts the payloads.

    Attributes
    ----------
    missed
        Sequences after ``after`` that were passed over: their segments were dropped before they were read, or damaged.
        After damage it is an upper bound, since recovery leaves out more numbers than records can have been lost.
    """

    def __init__(self, disk: Disk, *, folder: str = "log", after: int = 0, cipher: Cipher | None = None) -> None:
        self.missed = 0
        self._disk, self._folder, self._cipher = disk, folder, cipher
        self._after = after
        self._name: SegmentName | None = None
        self._opening: Cipher | None = None
        self._file: DiskFile | None = None
        self._offset = self._next = 0
        self._block = SMALL_BLOCK

    @property
    def last(self) -> int:
        """The last sequence that was given, or ``after``."""
        return self._after

    def read(self, limit_bytes: int = 1 << 20) -> list[Record]:
        """Return the next records, about ``limit_bytes`` of them and one at least; none when there is none yet.

        Raises
        ------
        StoreError
            The log is encrypted with a key that is not here, or cannot be read.
        """
        return self._read(limit_bytes, is_patient=False)

    def follow(self, timeout: float) -> list[Record]:
        """Return the next records as soon as there are any, or none after ``timeout`` seconds.

        Looks every 0.2 ms at first and every millisecond when nothing comes.

        Raises
        ------
        StoreError
            As for `read`.
        """
        deadline, pause, looks = time.monotonic() + timeout, SHORTEST_PAUSE, 0
        while True:
            rest = deadline - time.monotonic()
            # Reserved space says that no other segment has begun, unless it is damage: so the folder is listed rarely.
            records = self._read(1 << 20, is_patient=rest > 0 and looks % LOOKS_PER_LISTING < LOOKS_PER_LISTING - 1)
            if records or rest <= 0:
                return records
            time.sleep(min(pause, rest))
            pause, looks = min(1.5 * pause, LONGEST_PAUSE), looks + 1

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, limit: int, *, is_patient: bool) -> list[Record]:
        try:
            while True:
                records, is_end = self._take(limit)
                if records or (is_patient and not is_end):
                    return records
                following = self._following()
                if not following:
                    return []
                # The segment was complete before the next one was made, but perhaps not when it was looked at.
                records, _ = self._take(limit)
                if records or not self._open_first(following):
                    return records
        except OSError as error:
            raise StoreError(f"{self._folder}: the log cannot be read: {error.strerror or error}") from error

    def _take(self, limit: int) -> tuple[list[Record], bool]:
        """Return records of the open segment; when none, whether its end was met rather than reserved space.

        Bytes behind the last good record are never kept: they may have been read while they were written.
        """
        while self._file is not None:
            head = self._file.read_at(self._offset, HEAD_SIZE)
            if len(head) < HEAD_SIZE:
                return [], True
            length, _, received, *_ = HEAD.unpack(head)
            if not received:
                return [], False
            wanted = max(min(limit, self._block), HEAD_SIZE + min(length, LONGEST_RECORD))
            content = self._file.read_at(self._offset, wanted)
            records, end = [], 0
            for record, end in scan(content, 0, self._next):  # noqa: B007
                records.append(record)
            if not records:
                return [], True
            # Larger blocks where there is much to read, small ones where most of a block is reserved space.
            is_full = len(content) - end < end
            self._block = min(4 * self._block, LARGE_BLOCK) if is_full else SMALL_BLOCK
            self._offset, self._next = self._offset + end, self._next + len(records)
            if self._after < records[-1].sequence:
                return self._give(records), False
        return [], True

    def _give(self, records: list[Record]) -> list[Record]:
        fresh = [record for record in records if record.sequence > self._after]
        self.missed += fresh[0].sequence - self._after - 1
        self._after = fresh[-1].sequence
        if self._opening is None:
            return fresh
        unseal = self._opening.open
        return [record._replace(payload=unseal(record.sequence, record.payload)) for record in fresh]

    def _following(self) -> list[SegmentName]:
        names = segments_of(self._disk, self._folder)
        if self._name is not None:
            return [name for name in names if name > self._name]
        begun = sum(name.first <= self._after + 1 for name in names)
        return names[max(0, begun - 1) :]

    def _open_first(self, names: list[SegmentName]) -> bool:
        """Go to the first of the segments that is there and has a header; False when none has one yet."""
        for name in names:
            try:
                file = self._disk.open(f"{self._folder}/{name}")
            except FileNotFoundError:
                continue
            header = read_header(file.read_at(0, HEADER_SIZE))
            if header is None:
                file.close()
                continue
            self._opening = self._cipher_of(name, header.key)
            self.close()
            self._file, self._name = file, name
            self._offset, self._next = HEADER_SIZE, name.first
            return True
        return False

    def _cipher_of(self, name: SegmentName, key: bytes) -> Cipher | None:
        if not key:
            return None
        mine = b"" if self._cipher is None else self._cipher.key_id.rstrip(b"\x00")
        cipher = self._cipher if self._cipher is None or mine == key else self._cipher.under(key)
        if cipher is None:
            found = f"key {_text(mine)}" if mine else "no key"
            raise StoreError(f"{self._folder}/{name}: found {found}, wanted key {_text(key)} to decrypt it")
        return cipher


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
