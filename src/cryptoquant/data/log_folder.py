"""The folder of the recorder's log: the names of its segments, and how it is put in order after a crash."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cryptoquant.data.disk import Disk, publish
from cryptoquant.data.segment import HEAD_SIZE, HEADER_SIZE, read_header, scan

NAME = re.compile(r"(\d{8})-(\d{20})\.log")
ASIDE = "damaged"
BLOCK = 1 << 20


class SegmentName(NamedTuple):
    """The name of a segment: the epoch of its recorder and its first record; names sort as the records do."""

    epoch: int
    first: int

    def __str__(self) -> str:
        return f"{self.epoch:08d}-{self.first:020d}.log"


def segments_of(disk: Disk, folder: str) -> list[SegmentName]:
    """Return the segments of a log, oldest first."""
    matches = map(NAME.fullmatch, disk.listing(folder))
    return sorted(SegmentName(int(match[1]), int(match[2])) for match in matches if match)


@dataclass(frozen=True, slots=True)
class Tail:
    """What a scan found in one of the last segments.

    Attributes
    ----------
    end
        The offset after the last good record that has only good ones before it; 0 when the header is not good.
    last
        The largest sequence that the segment may have used; after damage, more than were read.
    is_damaged
        Whether a good record follows a bad one: not (only) the torn end of an unfinished write.
    """

    name: SegmentName
    end: int
    last: int
    is_damaged: bool

    @property
    def has_records(self) -> bool:
        """Whether it holds records that are kept."""
        return self.end > HEADER_SIZE


def recover(disk: Disk, folder: str) -> list[Tail]:
    """Scan the end of a log and make durable what is good in it; return the segments to `settle`, newest first.

    A rotation syncs a segment before it makes the next one, so only the last segment with records can have a torn end.
    Its good records are written again before the sync: after a failed sync the system may take pages as clean that
    never reached the disk. Nothing is cut yet, so that a crash in the middle finds all of it again.

    Raises
    ------
    OSError
        The disk failed.
    """
    tails: list[Tail] = []
    for name in reversed(segments_of(disk, folder)):
        file = disk.open(f"{folder}/{name}")
        try:
            content = file.read_at(0, file.size())
            tail = examine(name, content)
            if tail.is_damaged:
                publish(disk, f"{folder}/{ASIDE}/{name}", [content])
            if tail.has_records:
                file.write_at(0, [content[: tail.end]])
                file.sync()
        finally:
            file.close()
        tails.append(tail)
        if tail.has_records:
            break
    return tails


def settle(disk: Disk, folder: str, tails: list[Tail]) -> None:
    """Cut the torn ends that `recover` found and remove segments without records; the next segment exists already.

    Also what is removed is cut before, so that a reader that has it open comes to its end and goes on.

    Raises
    ------
    OSError
        The disk failed.
    """
    for tail in tails:
        file = disk.open(f"{folder}/{tail.name}")
        try:
            file.truncate(tail.end)
            file.sync()
        finally:
            file.close()
        if not tail.has_records:
            disk.remove(f"{folder}/{tail.name}")


def examine(name: SegmentName, content: bytes) -> Tail:
    """Return where the good records of a segment end and whether there are more after a bad one."""
    header, end, count = read_header(content), 0, 0
    if header is not None and (header.epoch, header.first) == name:
        end = HEADER_SIZE
        for _, end in scan(content, HEADER_SIZE, name.first):  # noqa: B007
            count += 1
    last = name.first + count - 1
    if not _has_record_after(content, end):
        return Tail(name, end, last, is_damaged=False)
    # No record is shorter than its head, so the damaged part cannot have used more numbers than this.
    lost = 1 + (len(content.rstrip(b"\x00")) - end) // HEAD_SIZE
    return Tail(name, end, last + lost, is_damaged=True)


def _has_record_after(content: bytes, offset: int) -> bool:
    """Whether a good record begins anywhere behind ``offset``, which itself holds none."""
    octets = np.frombuffer(content, dtype=np.uint8)
    stop = len(content.rstrip(b"\x00"))
    for start in range(offset + 1, stop, BLOCK):
        window = octets[start : start + BLOCK + HEAD_SIZE - 1]
        places = len(window) - HEAD_SIZE + 1
        if places <= 0:
            break
        # A head ends in the high byte of its kind and two spare bytes, all zero; its time is not zero.
        may_be = (window[21:][:places] | window[22:][:places] | window[23:][:places]) == 0
        time = window[8:][:places].copy()
        for shift in range(9, 16):
            time |= window[shift:][:places]
        for place in np.flatnonzero(may_be & (time != 0)):
            if next(scan(content, start + int(place), 0), None) is not None:
                return True
    return False
