"""One file of the recorder's log: a header, then records with length and checksum, and how to read them back."""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

MAGIC = b"CQLOG\x00\x00\x02"
HEADER = struct.Struct("<8sIQQ32sI")
HEADER_SIZE = 64
HEAD = struct.Struct("<IIQIHH")
HEAD_SIZE = HEAD.size
CHECKED = struct.Struct("<IQIHH")
LONGEST_RECORD = 1 << 26
POSITION_BITS = 20


class RecordKind(IntEnum):
    """What the payload of a record is."""

    FRAME = 0
    """The bytes of one websocket message, as they came (MessagePack array of messages)."""
    PAGE = 1
    """One page of the venue's history: JSON ``{"kind", "body"}``, the body as the venue sent it."""
    EVENT = 2
    """What happened to the recorder: JSON with ``event``; see `cryptoquant.data.events`."""


class Record(NamedTuple):
    """One entry of the log.

    ``sequence`` rises by one from record to record, over segments and restarts, and is never used twice; ``received``
    is the receive time in ns UTC; ``connection`` differs from connection to connection, also of different recorders.
    """

    sequence: int
    received: int
    connection: int
    kind: int
    payload: bytes


class SegmentHeader(NamedTuple):
    """The head of a segment: the epoch of the recorder that wrote it, its first sequence, its creation (ns UTC)."""

    epoch: int
    first: int
    created: int
    key: bytes = b""

    def pack(self) -> bytes:
        """Return 64 bytes; ``key`` is the name of the key when the payloads are encrypted, else empty."""
        body = HEADER.pack(MAGIC, self.epoch, self.first, self.created, self.key.ljust(32, b"\x00"), 0)
        body = body[:-4] + struct.pack("<I", zlib.crc32(body[:-4]))
        return body.ljust(HEADER_SIZE, b"\x00")


def read_header(content: bytes) -> SegmentHeader | None:
    """Return the head of a segment, or None when the file ends before it or it is damaged."""
    if len(content) < HEADER_SIZE:
        return None
    magic, epoch, first, created, key, checksum = HEADER.unpack_from(content)
    if magic != MAGIC or checksum != zlib.crc32(content[: HEADER.size - 4]):
        return None
    return SegmentHeader(epoch, first, created, key.rstrip(b"\x00"))


def pack_head(received: int, connection: int, kind: int, payload: bytes) -> bytes:
    """Return the 24 bytes that stand before a payload."""
    length = len(payload)
    checksum = zlib.crc32(payload, zlib.crc32(CHECKED.pack(length, received, connection, kind, 0)))
    return HEAD.pack(length, checksum, received, connection, kind, 0)


def scan(content: bytes, offset: int, sequence: int) -> Iterator[tuple[Record, int]]:
    """Yield the records from ``offset`` on, each with the offset after it, until one is absent, torn or damaged."""
    size = len(content)
    while offset + HEAD_SIZE <= size:
        length, checksum, received, connection, kind, spare = HEAD.unpack_from(content, offset)
        end = offset + HEAD_SIZE + length
        if end > size or length > LONGEST_RECORD or not received:
            return
        payload = content[offset + HEAD_SIZE : end]
        if zlib.crc32(payload, zlib.crc32(CHECKED.pack(length, received, connection, kind, spare))) != checksum:
            return
        yield Record(sequence, received, connection, kind, payload), end
        sequence, offset = sequence + 1, end


def position(sequence: int, item: int) -> int:
    """Return the position of a message in the log: its record and its place in the frame, as one rising int64."""
    return sequence << POSITION_BITS | item


def sequence_of(position: int) -> int:
    """Return the record of a position."""
    return position >> POSITION_BITS
