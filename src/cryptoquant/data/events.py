"""From the recorder's log to events, as strategies and features take them one by one."""

import math
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from cryptoquant.data.decode import EARLIEST, FUTURE, LONGEST_SYMBOL, MINUTE, messages
from cryptoquant.data.message import BarMessage, BookMessage, QuoteMessage, TradeMessage, UpdatedBarMessage, instant
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import Bar, BookUpdate, Quote, Trade

Event = Trade | Quote | Bar | BookUpdate
INT64 = 1 << 63
SIDES = {"B": "B", "S": "S", "-": "", "": "", None: ""}
KINDS = {
    TradeMessage: "trades",
    QuoteMessage: "quotes",
    BarMessage: "bars",
    UpdatedBarMessage: "bars",
    BookMessage: "books",
}


def events(
    records: Iterable[Record],
    kinds: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
    *,
    history: bool = False,
) -> list[Event]:
    """Return what some records say as events, in the order of the log; what cannot be read is left out.

    By default these are the messages of the stream, each once and in the order in which they came.

    Parameters
    ----------
    kinds
        Of ``trades``, ``quotes``, ``bars``, ``books``; by default all.
    symbols
        Pairs in slash form; by default all.
    history
        Also the rows of pages that were fetched to fill gaps. They are older than what stands before them, they repeat
        messages of the stream around the gap, and ``known`` is when the page came.
    """
    found: list[Event] = []
    for record in records:
        if record.kind == RecordKind.PAGE and not history:
            continue
        for message in messages(record):
            kind = KINDS.get(message.__class__)
            if kind is None or kind not in EVENTS or (kinds is not None and kind not in kinds):
                continue
            event = event_of(message, record.received)
            if event is not None and (symbols is None or event.symbol in symbols):
                found.append(event)
    return found


def event_of(message: Any, known: int) -> Event | None:
    """Return one message as the event that was known at ``known`` (ns UTC), None for one that is impossible."""
    kind = KINDS.get(message.__class__)
    symbol = None if kind is None else _pair(message.S)
    return None if kind is None or symbol is None else EVENTS[kind](symbol, message, known)


@lru_cache(maxsize=4096)
def _pair(name: str) -> str | None:
    if len(name) > LONGEST_SYMBOL or not name.isascii():
        return None
    try:
        return normalize_symbol(name)
    except ValueError:
        return None


def _trade(symbol: str, message: TradeMessage, known: int) -> Trade | None:
    side, time = SIDES.get(message.tks), instant(message.t)
    sold = 0 < message.p < math.inf and 0 <= message.s < math.inf and -INT64 <= message.i < INT64
    if side is None or not sold or not _is_timely(time, known):
        return None
    return Trade(symbol, time, known, message.i, message.p, message.s, side)


def _quote(symbol: str, message: QuoteMessage, known: int) -> Quote | None:
    time = instant(message.t)
    values = (message.bp, message.bs, message.ap, message.ask_size)
    if not all(0 <= value < math.inf for value in values) or not _is_timely(time, known):
        return None
    return Quote(symbol, time, known, *values)


def _bar(symbol: str, message: BarMessage, known: int) -> Bar | None:
    opened = instant(message.t)
    first, high, low, last = message.o, message.h, message.l, message.c
    holds = 0 < low <= min(first, last) <= max(first, last) <= high < math.inf
    counted = 0 <= message.v < math.inf and 0 <= message.vw < math.inf and 0 <= message.n < INT64
    if not holds or not counted or not _is_timely(opened, known):
        return None
    close = opened + MINUTE
    return Bar(symbol, close, max(known, close), opened, first, high, low, last, message.v, message.n, message.vw)


def _book(symbol: str, message: BookMessage, known: int) -> BookUpdate | None:
    time = instant(message.t)
    bids, asks = (tuple((level.p, level.s) for level in side) for side in (message.b, message.a))
    if not all(0 < p < math.inf and 0 <= s < math.inf for p, s in (*bids, *asks)) or not _is_timely(time, known):
        return None
    return BookUpdate(symbol, time, known, bids, asks, message.r is True)


EVENTS: dict[str, Callable[[str, Any, int], Event | None]] = {
    "trades": _trade,
    "quotes": _quote,
    "bars": _bar,
    "books": _book,
}


def _is_timely(time: int, known: int) -> bool:
    return EARLIEST <= time <= known + FUTURE
