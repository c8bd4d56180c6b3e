"""Values of MessagePack, the venue's way of packing messages, read in machine code.

Each takes the bytes, a place and the end, and returns where the value ends, or -1 where there is none of its type.
"""

import numpy as np

from cryptoquant.compiled import borrowing

NANOSECONDS = 1_000_000_000
LATEST_SECOND = (1 << 63) // NANOSECONDS - 1


@borrowing
def unsigned(content, at, length) -> int:
    """Return the number that some bytes are, the first the most significant."""
    value = np.uint64(0)
    for k in range(at, at + length):
        value = value << np.uint64(8) | np.uint64(content[k])
    return value


@borrowing
def array_length(content, at, end) -> tuple[int, int]:
    """Return the length of an array and where its first element begins, or -1."""
    if at >= end:
        return -1, at
    mark = content[at]
    if mark & 0xF0 == 0x90:
        return np.int64(mark & 0x0F), at + 1
    if mark == 0xDC and at + 3 <= end:
        return np.int64(unsigned(content, at + 1, 2)), at + 3
    if mark == 0xDD and at + 5 <= end:
        return np.int64(unsigned(content, at + 1, 4)), at + 5
    return -1, at


@borrowing
def map_length(content, at, end) -> tuple[int, int]:
    """Return the number of fields of a map and where the first begins, or -1."""
    if at >= end:
        return -1, at
    mark = content[at]
    if mark & 0xF0 == 0x80:
        return np.int64(mark & 0x0F), at + 1
    if mark == 0xDE and at + 3 <= end:
        return np.int64(unsigned(content, at + 1, 2)), at + 3
    return -1, at


@borrowing
def text_span(content, at, end) -> tuple[int, int]:
    """Return where an ASCII text begins and ends, or -1."""
    if at >= end:
        return -1, at
    mark = content[at]
    if mark & 0xE0 == 0xA0:
        start, length = at + 1, np.int64(mark & 0x1F)
    elif mark == 0xD9 and at + 2 <= end:
        start, length = at + 2, np.int64(content[at + 1])
    else:
        return -1, at
    if start + length > end:
        return -1, at
    for k in range(start, start + length):
        if content[k] >= 0x80:
            return -1, at
    return start, start + length


@borrowing
def whole_number(content, at, end) -> tuple[int, int]:
    """Return a whole number that fits int64 and where it ends, or -1 for the end."""
    if at >= end:
        return np.int64(0), -1
    mark = content[at]
    if mark < 0x80:
        return np.int64(mark), at + 1
    if mark >= 0xE0:
        return np.int64(mark) - 256, at + 1
    if 0xCC <= mark <= 0xCF:
        length = 1 << (mark - 0xCC)
        if at + 1 + length > end:
            return np.int64(0), -1
        value = unsigned(content, at + 1, length)
        if value >> np.uint64(63):
            return np.int64(0), -1
        return np.int64(value), at + 1 + length
    if 0xD0 <= mark <= 0xD3:
        length = 1 << (mark - 0xD0)
        if at + 1 + length > end:
            return np.int64(0), -1
        spare = np.int64(64 - 8 * length)
        return np.int64(unsigned(content, at + 1, length) << np.uint64(spare)) >> spare, at + 1 + length
    return np.int64(0), -1


@borrowing
def real_number(content, at, end, word, real) -> tuple[float, int]:
    """Return a float64 (a whole number becomes one) and where it ends, or -1 for the end.

    ``real`` shows the bits of ``word`` as a number: so no array is made for each.
    """
    if at >= end:
        return 0.0, -1
    if content[at] == 0xCB:
        if at + 9 > end:
            return 0.0, -1
        word[0] = unsigned(content, at + 1, 8)
        return real[0], at + 9
    value, stop = whole_number(content, at, end)
    return float(value), stop


@borrowing
def timestamp_ns(content, at, end) -> tuple[int, int]:
    """Return nanoseconds of a timestamp of 4, 8 or 12 bytes and where it ends, or -1 for the end."""
    if at + 6 > end:
        return np.int64(0), -1
    mark = content[at]
    fraction = np.int64(0)
    if mark == 0xD6 and content[at + 1] == 0xFF:
        seconds, stop = np.int64(unsigned(content, at + 2, 4)), at + 6
    elif mark == 0xD7 and content[at + 1] == 0xFF and at + 10 <= end:
        packed = unsigned(content, at + 2, 8)
        fraction = np.int64(packed >> np.uint64(34))
        seconds, stop = np.int64(packed & np.uint64((1 << 34) - 1)), at + 10
    elif mark == 0xC7 and at + 15 <= end and content[at + 1] == 12 and content[at + 2] == 0xFF:
        fraction = np.int64(unsigned(content, at + 3, 4))
        seconds, stop = np.int64(unsigned(content, at + 7, 8)), at + 15
    else:
        return np.int64(0), -1
    if seconds < 0 or seconds >= LATEST_SECOND or fraction >= NANOSECONDS:
        return np.int64(0), -1
    return seconds * NANOSECONDS + fraction, stop


@borrowing
def after_value(content, at, end, word, real) -> int:
    """Return where a value of an unknown field ends; -1 for a nested one, which the slow path reads."""
    if at >= end:
        return -1
    mark = content[at]
    if mark < 0x80 or mark >= 0xE0 or mark == 0xC0 or mark == 0xC2 or mark == 0xC3:
        return at + 1
    if mark & 0xE0 == 0xA0 or mark == 0xD9:
        start, stop = text_span(content, at, end)
        return stop if start >= 0 else -1
    if mark == 0xCA:
        return at + 5 if at + 5 <= end else -1
    _, stop = real_number(content, at, end, word, real)
    return stop
