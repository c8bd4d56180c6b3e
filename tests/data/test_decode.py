"""Decoding: exact nanoseconds, ids and sides, and what cannot be read is kept with a reason."""

import gzip
import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.decode import decode, instant
from cryptoquant.market.book import Book, book_updates
from cryptoquant.market.schema import validate

NOW = 1_700_000_000_123_456_789
MINUTE = 60_000_000_000
TIME = msgpack.Timestamp.from_unix_nano(NOW)
TRADE = {"T": "t", "S": "BTC/USD", "p": 100.5, "s": 0.25, "t": TIME, "i": 3447222699101865076, "tks": "S"}
QUOTE = {"T": "q", "S": "ETH/USD", "bp": 99.0, "bs": 1, "ap": 100.0, "as": 2.0, "t": TIME}
OPEN = msgpack.Timestamp.from_unix_nano(1_700_000_040 * 10**9)
BAR = {"T": "b", "S": "BTC/USD", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 3, "n": 4, "vw": 1.2, "t": OPEN}
BOOK = {"T": "o", "S": "BTC/USD", "t": TIME, "b": [{"p": 99.0, "s": 1.0}], "a": [{"p": 101.0, "s": 0}], "r": True}


@given(st.integers(0, 2**34 * 10**9 - 1) | st.integers(0, 2**33).map(lambda s: s * 10**9) | st.just(2**35 * 10**9 + 7))
def test_every_nanosecond_survives_the_wire_in_all_three_lengths(ns):
    packed = msgpack.packb({"t": msgpack.Timestamp.from_unix_nano(ns)})
    assert instant(msgpack.unpackb(packed)["t"]) == ns


def test_each_kind_becomes_rows_of_its_schema():
    decoded = decode([(NOW + 5, message) for message in (TRADE, QUOTE, BAR, BOOK)])
    assert decoded.rejected == ()
    heights = {kind: frame.height for kind, frame in decoded.frames.items()}
    assert heights == {"trades": 1, "quotes": 1, "bars": 1, "books": 2}
    for kind, frame in decoded.frames.items():
        assert validate(frame, kind).equals(frame)
    trade = decoded.frames["trades"].row(0, named=True)
    assert (trade["id"], trade["taker_side"]) == (3447222699101865076, "S")
    assert decoded.frames["trades"]["time"].dt.epoch("ns").item() == NOW
    assert decoded.frames["trades"]["known"].dt.epoch("ns").item() == NOW + 5


def test_a_bar_is_stamped_at_its_close_and_never_known_before_it():
    close = 1_700_000_100 * 10**9
    for received, known, early in ((close + 7, close + 7, 0), (close - 7, close, 1)):
        decoded = decode([(received, BAR)])
        bar = decoded.frames["bars"].select("open_time", "time", "known").cast(int).row(0)
        assert bar == (close - MINUTE, close, known)
        assert decoded.early == early


def test_a_corrected_bar_is_a_later_revision_of_the_same_bar():
    frame = decode([(NOW + MINUTE * 5, BAR), (NOW + MINUTE * 6, BAR | {"T": "u", "c": 1.75})]).frames["bars"]
    assert frame["time"].n_unique() == 1
    assert frame["known"].n_unique() == 2


def test_a_bar_without_trades_is_a_bar():
    decoded = decode([(NOW, BAR | {"v": 0, "n": 0, "vw": 0})])
    assert decoded.frames["bars"].select("volume", "trade_count", "vwap").row(0) == (0.0, 0, 0.0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "no field 'T'"),
        (TRADE | {"T": "x"}, "T is 'x'"),
        ({k: v for k, v in TRADE.items() if k != "p"}, "no field 'p'"),
        (TRADE | {"p": -1.0}, "wanted a price above zero"),
        (TRADE | {"p": float("nan")}, "wanted a finite number"),
        (TRADE | {"s": "1"}, "wanted a finite number"),
        (TRADE | {"i": 3.4e18}, "wanted an int64"),
        (TRADE | {"i": 2**63}, "wanted an int64"),
        (TRADE | {"tks": "?"}, "'?'"),
        (TRADE | {"t": 1.5}, "wanted a msgpack timestamp"),
        (TRADE | {"S": "???"}, "cannot read the symbol"),
        (QUOTE | {"bs": -2}, "wanted zero or more"),
        (BAR | {"h": 0.9}, "do not hold"),
        (BOOK | {"b": [{"p": 1.0}]}, "no field 's'"),
        ("text", "str"),
    ],
)
def test_what_cannot_be_read_is_kept_with_its_reason_and_the_rest_goes_on(message, reason):
    decoded = decode([(NOW, TRADE), (NOW + 1, message), (NOW + 2, QUOTE)])
    assert {kind: frame.height for kind, frame in decoded.frames.items()} == {"trades": 1, "quotes": 1}
    (rejected,) = decoded.rejected
    assert (rejected.known, rejected.message) == (NOW + 1, message)
    assert reason in rejected.reason


def test_real_frames_replay_to_the_real_best_prices(real_market):
    path = real_market / "alpaca_shaped/crypto_stream_btc_eth_usdt_20240808.jsonl.gz"
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    messages = [
        (line["recv_ns"], m) for line in lines for m in line["frame"] if m["T"] not in ("success", "subscription")
    ]
    decoded = decode(messages)
    assert decoded.rejected == ()
    counts = {kind: frame.height for kind, frame in decoded.frames.items() if kind != "books"}
    assert counts == {"trades": 15_863, "quotes": 52_117, "bars": 10}
    books = {symbol: Book(symbol) for symbol in ("BTC/USDT", "ETH/USDT")}
    updates = book_updates(decoded.frames["books"])
    for update in updates:
        books[update.symbol].update(update)
    assert len(updates) == 6_883
    best = {symbol: (book.best_bid[0], book.best_ask[0]) for symbol, book in books.items()}
    assert best == {"BTC/USDT": (61685.99, 61686.00), "ETH/USDT": (2682.50, 2682.51)}
