"""MessagePack frames of the venue's stream straight into columns, in machine code and outside Python's lock.

A frame that holds anything but well-formed messages of the known kinds is left alone and marked: `decode` reads it
message by message and says what is wrong with it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing
from cryptoquant.data.messagepack import (
    after_value,
    array_length,
    map_length,
    real_number,
    text_span,
    timestamp_ns,
    whole_number,
)

TRADE, QUOTE, BAR, UPDATED_BAR, DAILY_BAR, BOOK = range(6)
SMALLEST_MESSAGE = 16
SMALLEST_LEVEL = 8
SLOTS = 6

BP, BS, AP, AS = 1, 2, 4, 8
TIME, SYMBOL, IDENTITY, SIDE, RESET, BIDS, ASKS = 64, 128, 256, 512, 1024, 2048, 4096
OPEN, HIGH, LOW, CLOSE, VOLUME, VWAP = 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18
SIZE, COUNT, PRICE = 1 << 19, 1 << 20, 1 << 21
QUOTED = BP | BS | AP | AS
PRICED = OPEN | HIGH | LOW | CLOSE | VOLUME
UNSET = -2
KEY_P = int.from_bytes(b"p", "big")
KEY_S = int.from_bytes(b"s", "big")
KEY_BP = int.from_bytes(b"bp", "big")
KEY_BS = int.from_bytes(b"bs", "big")
KEY_AP = int.from_bytes(b"ap", "big")
KEY_AS = int.from_bytes(b"as", "big")
KEY_O = int.from_bytes(b"o", "big")
KEY_H = int.from_bytes(b"h", "big")
KEY_L = int.from_bytes(b"l", "big")
KEY_C = int.from_bytes(b"c", "big")
KEY_V = int.from_bytes(b"v", "big")
KEY_VW = int.from_bytes(b"vw", "big")
KEY_TAG = int.from_bytes(b"T", "big")
KEY_SYMBOL = int.from_bytes(b"S", "big")
KEY_TIME = int.from_bytes(b"t", "big")
KEY_I = int.from_bytes(b"i", "big")
KEY_N = int.from_bytes(b"n", "big")
KEY_TKS = int.from_bytes(b"tks", "big")
KEY_R = int.from_bytes(b"r", "big")
KEY_B = int.from_bytes(b"b", "big")
KEY_A = int.from_bytes(b"a", "big")


class Columns(NamedTuple):
    """What the messages of some frames hold, one row a message, in their order.

    Attributes
    ----------
    shape
        What each message is: TRADE to BOOK.
    frame, item
        The frame that it came in, and its place there.
    symbol
        Index into the symbols, -1 where there is none.
    time
        Nanoseconds since 1970.
    identity
        Trade id, or a bar's count of trades.
    side
        First byte of the taker side, 0 for none, -1 for one that is not known; of a book 1 where it is a reset.
    values
        ``(messages, 6)``: price, size; bid price, bid size, ask price, ask size; open, high, low, close, volume, vwap.
    levels
        Levels before this message, one more entry than messages.
    level_side, level
        Of each level: 0 bid or 1 ask; ``(levels, 2)`` price and size.
    names
        ``(symbols, 2)``: where in the bytes each symbol begins and ends.
    bad
        Which frames were left alone.
    """

    shape: NDArray[np.int8]
    frame: NDArray[np.int64]
    item: NDArray[np.int64]
    symbol: NDArray[np.int32]
    time: NDArray[np.int64]
    identity: NDArray[np.int64]
    side: NDArray[np.int8]
    values: NDArray[np.float64]
    levels: NDArray[np.int64]
    level_side: NDArray[np.int8]
    level: NDArray[np.float64]
    names: NDArray[np.int64]
    bad: NDArray[np.bool_]


def parse(content: bytes, ends: NDArray[np.int64]) -> Columns:
    """Return the columns of the frames that lie one after the other in ``content``, frame k ending at ``ends[k]``."""
    most = len(content) // SMALLEST_MESSAGE + len(ends) + 1
    many = len(content) // SMALLEST_LEVEL + 1
    columns = Columns(
        shape=np.empty(most, np.int8),
        frame=np.empty(most, np.int64),
        item=np.empty(most, np.int64),
        symbol=np.empty(most, np.int32),
        time=np.empty(most, np.int64),
        identity=np.empty(most, np.int64),
        side=np.empty(most, np.int8),
        values=np.empty((most, SLOTS)),
        levels=np.empty(most + 1, np.int64),
        level_side=np.empty(many, np.int8),
        level=np.empty((many, 2)),
        names=np.empty((most, 2), np.int64),
        bad=np.zeros(len(ends), np.bool_),
    )
    table = np.full(1 << max(8, (2 * most).bit_length()), -1, np.int32)
    content_array = np.frombuffer(content, np.uint8) if content else np.empty(0, np.uint8)
    word = np.empty(1, np.uint64)
    messages, levels, names = _parse(
        content_array, np.ascontiguousarray(ends, np.int64), *columns, table, word, word.view(np.float64)
    )
    return columns._replace(
        **{name: getattr(columns, name)[:messages] for name in ("shape", "frame", "item", "symbol", "time")},
        **{name: getattr(columns, name)[:messages] for name in ("identity", "side", "values")},
        levels=columns.levels[: messages + 1],
        level_side=columns.level_side[:levels],
        level=columns.level[:levels],
        names=columns.names[:names],
    )


@borrowing
def _parse(
    content, ends, shape, frame, item, symbol, time, identity, side, values, levels, level_side, level, names, bad,
    table, word, real,
) -> tuple[int, int, int]:  # fmt: skip
    messages, depth, known = 0, 0, 0
    levels[0] = 0
    begin = 0
    most_levels = level.shape[0]
    most_messages = shape.shape[0]
    for number in range(ends.shape[0]):
        end = ends[number]
        at = begin
        first_message, first_level = messages, depth
        count, at = array_length(content, at, end)
        good = count >= 0
        for place in range(count):
            if messages >= most_messages:
                good = False
                break
            at, depth, known = _message(
                content, at, end, messages, symbol, time, identity, side, values, shape,
                depth, most_levels, level_side, level, known, names, table, word, real,
            )  # fmt: skip
            if at < 0:
                good = False
                break
            frame[messages] = number
            item[messages] = place
            messages += 1
            levels[messages] = depth
        if not good or at != end:
            messages, depth = first_message, first_level
            bad[number] = True
        begin = end
    return messages, depth, known


@borrowing
def _message(
    content, at, end, row, symbol, time, identity, side, values, shape,
    depth, most_levels, level_side, level, known, names, table, word, real,
) -> tuple[int, int, int]:  # fmt: skip
    """Read one map into row ``row``; return where it ends, or -1, the levels and the names so far."""
    fields, at = map_length(content, at, end)
    if fields < 0:
        return -1, depth, known
    seen = 0
    kind = UNSET
    name_start, name_end = 0, 0
    symbol[row] = -1
    time[row] = 0
    identity[row] = 0
    side[row] = 0
    bids_first, bids_last, asks_first, asks_last = depth, depth, depth, depth
    for slot in range(SLOTS):
        values[row, slot] = 0.0
    for _ in range(fields):
        start, stop = text_span(content, at, end)
        if start < 0:
            return -1, depth, known
        at = stop
        key = 0
        if stop - start <= 3:
            for k in range(start, stop):
                key = key << 8 | content[k]
        bit = 0
        if key == KEY_TAG:
            start, stop = text_span(content, at, end)
            if start < 0 or kind != UNSET:
                return -1, depth, known
            at = stop
            kind = _kind(content, start, stop)
            if kind < 0:
                return -1, depth, known
        elif key == KEY_SYMBOL:
            name_start, name_end = text_span(content, at, end)
            if name_start < 0 or name_end - name_start > 64:
                return -1, depth, known
            at = name_end
            bit = SYMBOL
        elif key == KEY_TIME:
            stamp, at = timestamp_ns(content, at, end)
            if at < 0:
                return -1, depth, known
            time[row] = stamp
            bit = TIME
        elif key in (KEY_I, KEY_N):
            number, at = whole_number(content, at, end)
            if at < 0:
                return -1, depth, known
            identity[row] = number
            bit = IDENTITY if key == KEY_I else COUNT
        elif key == KEY_TKS:
            code, at = _side(content, at, end)
            if at < 0:
                return -1, depth, known
            side[row] = code
            bit = SIDE
        elif key == KEY_R:
            if at >= end or content[at] not in (0xC0, 0xC2, 0xC3):
                return -1, depth, known
            side[row] = 1 if content[at] == 0xC3 else 0
            at += 1
            bit = RESET
        elif key in (KEY_B, KEY_A):
            first = depth
            at, depth = _levels(content, at, end, depth, most_levels, level_side, level, key == KEY_A, word, real)
            if at < 0:
                return -1, depth, known
            if key == KEY_B:
                bids_first, bids_last = first, depth
                bit = BIDS
            else:
                asks_first, asks_last = first, depth
                bit = ASKS
        else:
            slot, bit = _slot(key)
            if slot < 0:
                at = after_value(content, at, end, word, real)
                if at < 0:
                    return -1, depth, known
                continue
            value, at = real_number(content, at, end, word, real)
            if at < 0:
                return -1, depth, known
            values[row, slot] = value
        if bit & seen:
            return -1, depth, known
        seen |= bit
    if not _complete(kind, seen):
        return -1, depth, known
    if kind == BOOK and asks_last > asks_first and bids_last > bids_first and asks_first < bids_first:
        return -1, depth, known
    shape[row] = kind
    if seen & SYMBOL:
        found, known = _intern(content, name_start, name_end, names, known, table)
        symbol[row] = found
    return at, depth, known


@borrowing
def _kind(content, start, stop) -> int:
    if stop - start == 1:
        letter = content[start]
        if letter == 116:
            return TRADE
        if letter == 113:
            return QUOTE
        if letter == 98:
            return BAR
        if letter == 117:
            return UPDATED_BAR
        if letter == 100:
            return DAILY_BAR
        if letter == 111:
            return BOOK
    return -1


@borrowing
def _slot(key) -> tuple[int, int]:
    """Return where a number of this key goes and the bit that marks it, or -1 for a key that is not known."""
    if key == KEY_P:
        return 0, PRICE
    if key == KEY_S:
        return 1, SIZE
    if key == KEY_BP:
        return 0, BP
    if key == KEY_BS:
        return 1, BS
    if key == KEY_AP:
        return 2, AP
    if key == KEY_AS:
        return 3, AS
    if key == KEY_O:
        return 0, OPEN
    if key == KEY_H:
        return 1, HIGH
    if key == KEY_L:
        return 2, LOW
    if key == KEY_C:
        return 3, CLOSE
    if key == KEY_V:
        return 4, VOLUME
    if key == KEY_VW:
        return 5, VWAP
    return -1, 0


@borrowing
def _complete(kind, seen) -> bool:
    """Whether a message has every field of its kind, and no number of another kind in its place."""
    named = SYMBOL | TIME
    numbers = PRICE | SIZE | QUOTED | PRICED | VWAP
    if seen & named != named:
        return False
    if kind == TRADE:
        wanted = PRICE | SIZE
        return seen & IDENTITY != 0 and seen & numbers == wanted and seen & COUNT == 0
    if kind == QUOTE:
        return seen & numbers == QUOTED
    if kind in (BAR, UPDATED_BAR, DAILY_BAR):
        return seen & (numbers & ~VWAP) == PRICED and seen & IDENTITY == 0 and seen & (SIDE | RESET) == 0
    if kind == BOOK:
        return seen & BIDS != 0 and seen & ASKS != 0 and seen & SIDE == 0
    return False


@borrowing
def _levels(content, at, end, depth, most, level_side, level, is_ask, word, real) -> tuple[int, int]:
    count, at = array_length(content, at, end)
    if count < 0:
        return -1, depth
    for _ in range(count):
        fields, at = map_length(content, at, end)
        if fields < 0 or depth >= most:
            return -1, depth
        seen = 0
        for _ in range(fields):
            start, stop = text_span(content, at, end)
            if start < 0:
                return -1, depth
            at = stop
            if stop - start == 1 and content[start] == 112:
                level[depth, 0], at = real_number(content, at, end, word, real)
                seen |= 1
            elif stop - start == 1 and content[start] == 115:
                level[depth, 1], at = real_number(content, at, end, word, real)
                seen |= 2
            else:
                at = after_value(content, at, end, word, real)
            if at < 0:
                return -1, depth
        if seen != 3:
            return -1, depth
        level_side[depth] = 1 if is_ask else 0
        depth += 1
    return at, depth


@borrowing
def _side(content, at, end) -> tuple[int, int]:
    if at >= end:
        return 0, -1
    if content[at] == 0xC0:
        return 0, at + 1
    start, stop = text_span(content, at, end)
    if start < 0:
        return 0, -1
    if stop == start or (stop - start == 1 and content[start] == 45):
        return 0, stop
    if stop - start == 1 and (content[start] == 66 or content[start] == 83):
        return np.int64(content[start]), stop
    return 0, -1


@borrowing
def _intern(content, start, stop, names, known, table) -> tuple[int, int]:
    """Return the index of a symbol, adding it when it is new, and the number of symbols."""
    hashed = np.uint64(14695981039346656037)
    for k in range(start, stop):
        hashed = (hashed ^ np.uint64(content[k])) * np.uint64(1099511628211)
    mask = np.uint64(table.shape[0] - 1)
    place = np.int64(hashed & mask)
    while table[place] >= 0:
        found = table[place]
        if names[found, 1] - names[found, 0] == stop - start:
            same = True
            for k in range(stop - start):
                if content[names[found, 0] + k] != content[start + k]:
                    same = False
                    break
            if same:
                return found, known
        place = np.int64(np.uint64(place + 1) & mask)
    table[place] = known
    names[known, 0], names[known, 1] = start, stop
    return np.int32(known), known + 1
