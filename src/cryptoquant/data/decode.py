"""From the venue's raw stream messages to rows: exact nanoseconds, taker side kept, and nothing dropped in silence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cryptoquant.market.book import book_rows
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import SCHEMAS, Bar, BookUpdate, Quote, Trade, bars_frame
from cryptoquant.market.time import from_iso

MINUTE_NS = 60_000_000_000
CHANNELS = {"trades": "t", "quotes": "q", "bars": "b", "updatedBars": "u", "orderbooks": "o"}
SIDES = {"B": "B", "S": "S", "-": "", "": "", None: ""}
INT64 = 1 << 63

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be read: why, when it was received (ns UTC), and the message itself."""

    reason: str
    known: int
    message: Any


@dataclass(frozen=True, slots=True)
class Decoded:
    """Frames by kind (only kinds with rows), rejected messages, and how many bars came before their close."""

    frames: dict[str, pl.DataFrame]
    rejected: tuple[Rejected, ...]
    early: int


def decode(received: Sequence[tuple[int, Message]]) -> Decoded:
    """Return the rows of raw messages in the order of their arrival.

    ``known`` is the receive time. A bar cannot be known before its close: where the receive clock lags, its close is
    taken and the bar is counted as early. Trades, quotes and books keep the receive time as it was recorded.

    Parameters
    ----------
    received
        Receive time (ns UTC) and message, as Alpaca's crypto stream v1beta3 sends it: ``T`` is t (trade), q (quote),
        b (minute bar), u (corrected minute bar) or o (order book).
    """
    rows: dict[str, list[Any]] = {"trades": [], "quotes": [], "bars": [], "books": []}
    rejected, early = [], 0
    for known, message in received:
        try:
            kind, row = read(known, message)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            rejected.append(Rejected(reason, known, message))
            continue
        early += kind == "bars" and row.known > known
        rows[kind].append(row)
    frames = {kind: _frame(kind, found) for kind, found in rows.items() if found}
    return Decoded({kind: frame for kind, frame in frames.items() if frame.height}, tuple(rejected), early)


def read(known: int, message: Message) -> tuple[str, Trade | Quote | Bar | BookUpdate]:
    """Return the kind and the row of one message.

    Raises
    ------
    KeyError, TypeError, ValueError
        A field is absent, of a wrong type, or impossible.
    """
    shape = message["T"]
    symbol, time = normalize_symbol(message["S"]), instant(message["t"])
    if shape == "t":
        side = SIDES[message.get("tks")]
        return "trades", Trade(
            symbol, time, known, _identity(message["i"]), _price(message, "p"), _size(message, "s"), side
        )
    if shape == "q":
        bid, ask = (_size(message, "bp"), _size(message, "bs")), (_size(message, "ap"), _size(message, "as"))
        return "quotes", Quote(symbol, time, known, *bid, *ask)
    if shape in ("b", "u"):
        return "bars", _bar(symbol, time, known, message)
    if shape == "o":
        bids, asks = (tuple((_price(level, "p"), _size(level, "s")) for level in message[side]) for side in "ba")
        return "books", BookUpdate(symbol, time, known, bids, asks, reset=message.get("r") is True)
    raise ValueError(f"T is {shape!r}, wanted t, q, b, u or o")


def instant(value: Any) -> int:
    """Return nanoseconds of a msgpack timestamp, which is exact, or of RFC 3339 text."""
    if isinstance(value, str):
        return from_iso(value)
    if hasattr(value, "to_unix_nano"):
        return int(value.to_unix_nano())
    raise TypeError(f"t is {type(value).__name__}, wanted a msgpack timestamp or RFC 3339 text")


def _bar(symbol: str, opened: int, known: int, message: Message) -> Bar:
    close = opened + MINUTE_NS
    first, high, low, last = (_price(message, name) for name in "ohlc")
    if high < max(first, last, low) or low > min(first, last):
        raise ValueError(f"high {high} and low {low} do not hold open {first} and close {last}")
    count = message.get("n", 0)
    return Bar(
        symbol=symbol,
        time=close,
        known=max(known, close),
        open_time=opened,
        open=first,
        high=high,
        low=low,
        close=last,
        volume=_size(message, "v"),
        trade_count=_identity(count),
        vwap=_size(message, "vw") if "vw" in message else 0.0,
    )


def _identity(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise TypeError(f"found {value!r}, wanted an int64")
    return value


def _number(message: Message, name: str) -> float:
    value = message[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{name} is {value!r}, wanted a finite number")
    return float(value)


def _price(message: Message, name: str) -> float:
    value = _number(message, name)
    if value <= 0:
        raise ValueError(f"{name} is {value}, wanted a price above zero")
    return value


def _size(message: Message, name: str) -> float:
    value = _number(message, name)
    if value < 0:
        raise ValueError(f"{name} is {value}, wanted zero or more")
    return value


def _frame(kind: str, rows: list[Any]) -> pl.DataFrame:
    if kind == "bars":
        return bars_frame(rows)
    if kind == "books":
        return book_rows(rows)
    schema = {name: pl.Int64 if name in ("time", "known") else dtype for name, dtype in SCHEMAS[kind].items()}
    columns = {name: [getattr(row, name) for row in rows] for name in schema}
    instants = (pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known"))
    return pl.DataFrame(columns, schema=schema).with_columns(instants)
