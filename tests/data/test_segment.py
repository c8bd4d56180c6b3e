"""Records with length and checksum: they come back as they went in, and nothing else does."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.segment import (
    HEAD_SIZE,
    HEADER,
    HEADER_SIZE,
    POSITION_BITS,
    SegmentHeader,
    pack_head,
    position,
    read_header,
    scan,
    sequence_of,
)

TIMES = st.integers(1, (1 << 63) - 1)
RECORDS = st.lists(
    st.tuples(TIMES, st.integers(0, (1 << 32) - 1), st.integers(0, 255), st.binary(max_size=80)), max_size=8
)

LARGEST_ITEM = (1 << POSITION_BITS) - 1


def pack(records):
    return b"".join(pack_head(*record) + record[3] for record in records)


def unpack(content, offset=0, sequence=1):
    return [tuple(record)[1:] for record, _ in scan(content, offset, sequence)]


@given(RECORDS, st.integers(1, 1 << 40), st.integers(0, 200))
def test_records_come_back_as_they_went_in_and_reserved_space_ends_them(records, first, reserved):
    content = pack(records) + bytes(reserved)
    found = list(scan(content, 0, first))
    assert [tuple(record) for record, _ in found] == [(first + n, *record) for n, record in enumerate(records)]
    ends = [end for _, end in found]
    assert ends == [len(pack(records[: number + 1])) for number in range(len(records))]


@given(RECORDS.filter(bool), st.data())
def test_a_record_that_is_cut_anywhere_is_left_out_and_those_before_it_stay(records, data):
    content = pack(records)
    end = data.draw(st.integers(0, len(content)))
    whole = [number for number in range(len(records) + 1) if len(pack(records[:number])) <= end]
    assert unpack(content[:end]) == records[: whole[-1]]
    assert unpack(content[:end].ljust(len(content) + 50, b"\x00"))[: whole[-1]] == records[: whole[-1]]


@given(RECORDS.filter(bool), st.data())
def test_any_flipped_bit_is_found(records, data):
    content = bytearray(pack(records))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    before = [number for number in range(len(records)) if len(pack(records[: number + 1])) <= bit // 8]
    assert unpack(bytes(content)) == records[: len(before)]


def test_the_checksum_is_the_crc_of_the_head_and_the_payload():
    head = pack_head(7, 3, 1, b"abc")
    assert len(head) == HEAD_SIZE
    assert head[4:8] == zlib.crc32(head[:4] + head[8:] + b"abc").to_bytes(4, "little")


@given(st.integers(0, (1 << 32) - 1), TIMES, TIMES, st.binary(max_size=31))
def test_a_header_comes_back_and_any_flipped_bit_in_it_is_found(epoch, first, created, key):
    header = SegmentHeader(epoch, first, created, key.rstrip(b"\x00"))
    content = header.pack()
    assert len(content) == HEADER_SIZE
    assert read_header(content) == header
    assert read_header(content[:-1]) is None
    for bit in range(8 * HEADER.size):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        assert read_header(bytes(damaged)) is None


@given(st.integers(0, (1 << 43) - 1), st.integers(0, LARGEST_ITEM))
def test_a_position_orders_as_record_and_place_and_gives_the_record_back(sequence, item):
    assert sequence_of(position(sequence, item)) == sequence
    assert position(sequence, LARGEST_ITEM) < position(sequence + 1, 0) <= (1 << 63)
