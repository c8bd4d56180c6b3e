"""The messages of Alpaca's crypto stream and the rows of its history, read with exact nanoseconds and taker sides."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.msgpack import Ext
from numpy.typing import NDArray

from cryptoquant.market.time import from_iso

TIMESTAMP = -1
SECONDS_BITS = 34
NANOSECONDS = 1_000_000_000
LATEST_SECOND = (1 << 63) // NANOSECONDS - 1


class Level(msgspec.Struct, gc=False):
    """A price and the size there; 0 removes it."""

    p: float
    s: float


class TradeMessage(msgspec.Struct, tag_field="T", tag="t", gc=False):
    """A trade: symbol, price, size, time, id, taker side."""

    S: str
    p: float
    s: float
    t: Ext
    i: int
    tks: str | None = ""


class QuoteMessage(msgspec.Struct, tag_field="T", tag="q", gc=False):
    """The best bid and ask: symbol, prices, sizes, time."""

    S: str
    bp: float
    bs: float
    ap: float
    t: Ext
    ask_size: float = msgspec.field(name="as")


class BarMessage(msgspec.Struct, tag_field="T", tag="b", gc=False):
    """A minute bar, stamped with its open."""

    S: str
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float
    t: Ext
    n: int = 0
    vw: float = 0.0


class UpdatedBarMessage(BarMessage, tag="u", gc=False):
    """A minute bar again, after late trades."""


class DailyBarMessage(BarMessage, tag="d", gc=False):
    """The day so far."""


class BookMessage(msgspec.Struct, tag_field="T", tag="o", gc=False):
    """Levels of an order book: all of them with ``r``, else those that changed."""

    S: str
    t: Ext
    b: list[Level]
    a: list[Level]
    r: bool | None = False


class SuccessMessage(msgspec.Struct, tag_field="T", tag="success"):
    """``connected`` or ``authenticated``."""

    msg: str


class ErrorMessage(msgspec.Struct, tag_field="T", tag="error"):
    """A refusal of the venue."""

    code: int
    msg: str = ""


class SubscriptionMessage(msgspec.Struct, tag_field="T", tag="subscription"):
    """All that the connection is subscribed to now."""

    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    updatedBars: list[str] = []  # noqa: N815
    dailyBars: list[str] = []  # noqa: N815
    orderbooks: list[str] = []


CONTROL = (SuccessMessage, ErrorMessage, SubscriptionMessage)
Message = (
    TradeMessage
    | QuoteMessage
    | BarMessage
    | UpdatedBarMessage
    | DailyBarMessage
    | BookMessage
    | SuccessMessage
    | ErrorMessage
    | SubscriptionMessage
)
BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)
MOST_MESSAGES = 1 << 16
_frame = msgspec.msgpack.Decoder(list[Message])
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw])
_single = msgspec.msgpack.Decoder(Message)


class Unreadable(NamedTuple):
    """A message that is none of those above: why, and what it was, as text."""

    reason: str
    text: str


def read_frame(payload: bytes) -> Sequence[Any]:
    """Return the messages of one frame; one that cannot be read is `Unreadable` in its place, the others stay."""
    try:
        return _frame.decode(payload)
    except BROKEN:
        return list(_one_by_one(payload))


def _one_by_one(payload: bytes) -> Iterator[Any]:
    try:
        parts = _parts.decode(payload)
        if len(parts) > MOST_MESSAGES:
            raise ValueError(f"{len(parts)} messages, wanted {MOST_MESSAGES} at most")
    except BROKEN as error:
        yield Unreadable(f"the frame cannot be read: {error}", payload.hex())
        return
    for part in parts:
        try:
            yield _single.decode(part)
        except BROKEN as error:
            yield Unreadable(str(error), as_text(bytes(part)))


def as_text(message: bytes) -> str:
    """Return a packed message as a person reads it, or in hexadecimal when it is no message at all."""
    try:
        return repr(msgspec.msgpack.decode(message, ext_hook=lambda code, data: f"ext {code}: {bytes(data).hex()}"))
    except (*BROKEN, OverflowError):
        return message.hex()


def is_control(payload: bytes) -> bool:
    """Whether a frame is one message of the connection itself (success, error, subscription), by its first bytes."""
    return payload[:1] == b"\x91" and b"\xa1T\xa1" not in payload


def is_heard(payload: bytes) -> bool:
    """Whether a frame shows that the stream is heard: it has data, or confirms a subscription."""
    return not is_control(payload) or b"\xacsubscription" in payload


def instants(stamps: Sequence[Ext]) -> NDArray[np.int64]:
    """Return nanoseconds of MessagePack timestamps of 4, 8 or 12 bytes; -1 for what is no timestamp or beyond 2262."""
    content = b"".join([bytes(stamp.data) for stamp in stamps])
    if len(content) == 8 * len(stamps) and all(s.code == TIMESTAMP and len(bytes(s.data)) == 8 for s in stamps):
        packed = np.frombuffer(content, ">u8").astype(np.uint64)
        seconds = (packed & np.uint64((1 << SECONDS_BITS) - 1)).astype(np.int64)
        nanoseconds = (packed >> np.uint64(SECONDS_BITS)).astype(np.int64)
        fits = (seconds < LATEST_SECOND) & (nanoseconds < NANOSECONDS)
        return np.where(fits, np.where(fits, seconds, 0) * NANOSECONDS + nanoseconds, -1)
    return np.array([instant(stamp) for stamp in stamps], np.int64)


def instant(stamp: Ext) -> int:
    """Return nanoseconds of one MessagePack timestamp, or -1."""
    data = bytes(stamp.data)
    if stamp.code != TIMESTAMP:
        return -1
    if len(data) == 4:
        seconds, nanoseconds = int.from_bytes(data, "big"), 0
    elif len(data) == 8:
        packed = int.from_bytes(data, "big")
        seconds, nanoseconds = packed & ((1 << SECONDS_BITS) - 1), packed >> SECONDS_BITS
    elif len(data) == 12:
        nanoseconds, seconds = struct.unpack(">Iq", data)
    else:
        return -1
    fits = 0 <= seconds < LATEST_SECOND and nanoseconds < NANOSECONDS
    return seconds * NANOSECONDS + nanoseconds if fits else -1


def timestamp(ns: int) -> Ext:
    """Return the MessagePack timestamp of nanoseconds since 1970."""
    seconds, nanoseconds = divmod(ns, NANOSECONDS)
    if 0 <= seconds < 1 << SECONDS_BITS:
        return Ext(TIMESTAMP, (nanoseconds << SECONDS_BITS | seconds).to_bytes(8, "big"))
    return Ext(TIMESTAMP, struct.pack(">Iq", nanoseconds, seconds))


TAGS = {"trades": "t", "quotes": "q", "bars": "b"}


def read_page(payload: bytes) -> Iterator[Any]:
    """Yield the rows of a record of the venue's history as messages of the stream, in the page's order.

    What is not shaped as the venue shapes it is `Unreadable`: the whole page, the rows of a symbol, or a row.
    """
    try:
        page = msgspec.json.decode(payload)
        kind, by_symbol = page["kind"], page["body"].get(page["kind"]) or {}
        listed = [(symbol, rows) for symbol, rows in by_symbol.items()]
    except (*BROKEN, AttributeError, KeyError, TypeError) as error:
        yield Unreadable(f"the page of history cannot be read: {error!r}", payload.decode(errors="replace"))
        return
    for symbol, rows in listed:
        if not isinstance(rows, list):
            yield Unreadable(f"the rows of {symbol} cannot be read: found {type(rows).__name__}", repr(rows))
            continue
        for row in rows:
            try:
                stamped = {**row, "T": TAGS[kind], "S": symbol, "t": timestamp(from_iso(row["t"]))}
                yield _single.decode(msgspec.msgpack.encode(stamped))
            except (*BROKEN, KeyError, TypeError, OverflowError) as error:
                yield Unreadable(f"a row of the history cannot be read: {error!r}", repr(row))
