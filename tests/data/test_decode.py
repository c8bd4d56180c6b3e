"""Decoding: exact nanoseconds, ids and sides, positions in the log; what cannot be read is kept with a reason."""

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data import decode as decoding
from cryptoquant.data.decode import decode
from cryptoquant.data.events import events
from cryptoquant.data.gaps import Gap
from cryptoquant.data.layout import STORED
from cryptoquant.data.message import CONTROL, instant, is_control, read_frame, timestamp
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.wire import parse
from cryptoquant.market.book import book_rows
from cryptoquant.market.schema import BookUpdate, Quote, Trade, bars_frame, validate
from cryptoquant.market.time import iso, to_ns
from tests.data.stream import MINUTE, START, bar, book, frame, quote, record, records, stamp, trade

NOW = START + MINUTE
PRICES = st.floats(allow_nan=True, allow_infinity=True, width=64) | st.integers(-5, 2**64 - 1)
TIMES = st.sampled_from([START, START + 1, (START // 10**9 + 7) * 10**9, 2**34 * 10**9 + 5]).map(stamp)
SYMBOLS = st.sampled_from(["BTC/USD", "ETHUSD", "btc/usd", "???", "Ωx/USD", ""])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "T": st.sampled_from(["t", "q", "b", "u", "d", "o", "x", "success", 5]),
        "S": SYMBOLS | st.integers(0, 9),
        **dict.fromkeys(("p", "s", "bp", "bs", "ap", "as", "o", "h", "l", "c", "v", "vw"), PRICES),
        "t": TIMES | st.just("2024-01-01T00:00:00Z") | st.integers(-9, 9),
        "i": st.integers(-(2**63), 2**64 - 1) | PRICES,
        "n": st.integers(-3, 2**63 - 1),
        "tks": st.sampled_from(["B", "S", "-", "", "?", None, "buy"]),
        "r": st.sampled_from([True, False, None, 1]),
        "b": st.lists(st.fixed_dictionaries({"p": PRICES, "s": PRICES}), max_size=3) | st.just([{"p": 1.0}]),
        "a": st.lists(st.fixed_dictionaries({"s": PRICES, "p": PRICES}), max_size=3),
        "x": st.sampled_from(["CBSE", 3, 1.5, None, [1, {"a": 2}]]),
    },
)
WHOLE = st.builds(lambda make, number, fields: {**make(number), **fields},
                  st.sampled_from([trade, quote, bar, book]), st.integers(0, 5), FIELDS | st.just({}))  # fmt: skip


def one_by_one(content: list[Record]) -> decoding.Decoded:
    """Decode with every message packed anew by itself, so that the slow path has seen each of them."""
    batch = object.__new__(decoding._Batch)
    batch._records, batch._aside = content, []
    pieces = [piece for index in range(len(content)) for piece in batch._one_by_one(index)]
    columns = decoding._parse(pieces)
    for index in np.flatnonzero(columns.bad).tolist():
        batch._set_aside(pieces[index].record, pieces[index].item, "a number or a time is out of range")
    batch.columns, batch.early = columns, 0
    batch._place(pieces)
    frames = {kind: batch.rows(kind) for kind in decoding.SHAPES} | {"quarantine": batch.quarantine()}
    return decoding.Decoded({kind: rows for kind, rows in frames.items() if rows.height}, 0, batch.early)


@given(st.lists(st.lists(WHOLE, max_size=4), max_size=5))
def test_whole_frames_in_machine_code_decode_as_messages_one_by_one(frames):
    content = records(frames)
    whole, single = decode(content), one_by_one(content)
    assert whole.frames.keys() == single.frames.keys()
    for kind, rows in whole.frames.items():
        assert rows.schema == pl.Schema(STORED[kind])
        assert rows.equals(single.frames[kind])


@given(st.lists(st.lists(WHOLE, max_size=4), max_size=5))
def test_every_message_is_rows_or_a_row_of_the_quarantine_and_never_both(frames):
    content = records(frames)
    decoded = decode(content)
    told = {
        (r.sequence << 20) | item
        for r in content
        for item, message in enumerate(read_frame(r.payload))
        if not isinstance(message, CONTROL)
    }
    assert decoded.messages == len(told)
    found = {kind: set(rows["position"].to_list()) for kind, rows in decoded.frames.items()}
    silent_books = {  # an update that changes nothing has no row
        (r.sequence << 20) | item
        for r in content
        for item, m in enumerate(read_frame(r.payload))
        if m.__class__.__name__ == "BookMessage" and not m.a and not m.b and m.r is not True
    }
    assert set().union(*found.values()) | silent_books == told
    assert sum(len(places) for places in found.values()) == len(set().union(*found.values()))


@given(st.lists(WHOLE, max_size=6))
def test_events_are_the_rows(messages):
    content = [record(1, *messages, received=NOW)]
    frames, found = decode(content).frames, events(content)
    bars = [event for event in found if event.__class__.__name__ == "Bar"]
    stored = frames.get("bars", pl.DataFrame(schema=STORED["bars"]))
    assert bars_frame(bars).equals(stored.select(bars_frame([]).columns))
    for schema, kind in ((Trade, "trades"), (Quote, "quotes")):
        told = [tuple(getattr(e, name) for name in schema.__struct_fields__) for e in found if isinstance(e, schema)]
        rows = frames.get(kind, pl.DataFrame(schema=STORED[kind])).select(schema.__struct_fields__)
        assert told == rows.with_columns(pl.col("time", "known").to_physical()).rows()
    levels = frames.get("books", pl.DataFrame(schema=STORED["books"])).select(book_rows([]).columns)
    assert book_rows(e for e in found if isinstance(e, BookUpdate)).equals(levels)


@given(st.binary(max_size=60) | st.lists(WHOLE, min_size=1, max_size=3).map(lambda m: frame(*m)[:-1]))
def test_bytes_that_are_no_frame_are_kept_whole(payload):
    decoded = decode([Record(1, NOW, 1, RecordKind.FRAME, payload)])
    assert set(decoded.frames) <= {"quarantine"} or isinstance(read_frame(payload), list)
    for row in decoded.frames.get("quarantine", pl.DataFrame()).iter_rows(named=True):
        assert row["reason"]


@given(
    st.integers(0, 2**33).map(lambda s: s * 10**9)
    | st.integers(to_ns("2009-01-03"), 2**33 * 10**9)
    | st.just(2**35 * 10**9)
)
def test_every_nanosecond_survives_the_wire_in_all_three_lengths(ns):
    (message,) = read_frame(frame(trade(0, t=stamp(ns))))
    fits = ns < (1 << 63) // 10**9 * 10**9 - 10**9
    assert instant(message.t) == (ns if fits else -1)
    assert instant(timestamp(ns)) == instant(message.t)
    columns = parse(frame(trade(0, t=stamp(ns))), np.array([len(frame(trade(0, t=stamp(ns))))]))
    assert columns.time.tolist() == ([ns] if fits else [])


def test_each_kind_becomes_rows_of_its_schema():
    decoded = decode(
        [record(9, trade(1, tks="S"), quote(2), bar(0), book(3), bar(0, T="u"), bar(0, T="d"), received=NOW)]
    )
    heights = {kind: rows.height for kind, rows in decoded.frames.items()}
    assert heights == {"trades": 1, "quotes": 1, "bars": 2, "books": 2, "daily_bars": 1}
    for kind in ("trades", "quotes", "bars", "books"):
        rows = decoded.frames[kind]
        assert validate(rows, kind).equals(rows.select(validate(rows, kind).columns))
    sold = decoded.frames["trades"].row(0, named=True)
    assert (sold["id"], sold["taker_side"], sold["position"], sold["rank"]) == (2**60 + 1, "S", 9 << 20, 0)
    assert decoded.frames["trades"].select("time", "known").cast(int).row(0) == (START + 1, NOW)
    assert decoded.frames["bars"]["rank"].to_list() == [0, 1]
    assert decoded.frames["books"].select("side", "price", "size", "connection").rows() == [
        ("bid", 99.0, 1.0, 1), ("ask", 101.0, 0.0, 1)
    ]  # fmt: skip


def test_a_bar_is_stamped_at_its_close_and_never_known_before_it():
    close = START + 100 * 10**9
    for received, known, early in ((close + 7, close + 7, 0), (close - 7, close, 1)):
        decoded = decode([record(1, bar(0), received=received)])
        row = decoded.frames["bars"].select("open_time", "time", "known").cast(int).row(0)
        assert row == (close - MINUTE, close, known)
        assert decoded.early == early


def test_a_day_so_far_is_known_before_its_close():
    received = START + 7 * MINUTE
    row = (
        decode([record(1, bar(0, T="d"), received=received)])
        .frames["daily_bars"]
        .select("time", "known")
        .cast(int)
        .row(0)
    )
    assert row == (START + 40 * 10**9 + 1440 * MINUTE, received)


def test_a_bar_without_trades_is_a_bar_and_an_empty_reset_a_row():
    decoded = decode([record(1, bar(0, v=0, n=0, vw=0), book(0, b=[], a=[]), book(1, b=[], a=[], r=False))])
    assert decoded.frames["bars"].select("volume", "trade_count", "vwap").row(0) == (0.0, 0, 0.0)
    assert decoded.frames["books"].select("side", "price", "size", "reset").rows() == [("bid", 0.0, 0.0, True)]
    assert decoded.messages == 3


def without(message, name):
    return {key: value for key, value in message.items() if key != name}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "missing required field"),
        (trade(0, T="x"), "Invalid value 'x'"),
        (without(trade(0), "p"), "missing required field `p`"),
        (trade(0, p=-1.0), "price: wanted a finite number above zero"),
        (trade(0, p=float("nan")), "price: wanted a finite number above zero"),
        (trade(0, s="1"), "Expected `float`"),
        (trade(0, i=3.4e18), "Expected `int`"),
        (trade(0, i=2**63), "out of range"),
        (trade(0, tks="?"), "out of range"),
        (trade(0, t=1.5), "Expected `ext`"),
        (trade(0, t=stamp(NOW + 2 * MINUTE)), "more than a minute after it was received"),
        (trade(0, t=stamp(5)), "wanted a timestamp of 2009 or later"),
        (trade(0, S="???"), "wanted BASE/QUOTE"),
        (quote(0, bs=-2), "bid_size: wanted a finite number, zero or more"),
        (bar(0, h=0.9), "do not hold"),
        (book(0, b=[{"p": 1.0}]), "missing required field `s`"),
        ("text", "Expected `object`"),
    ],
)
def test_what_cannot_be_read_is_kept_with_its_reason_and_the_rest_goes_on(message, reason):
    decoded = decode([record(1, trade(0), message, quote(0), received=NOW)])
    assert {kind: rows.height for kind, rows in decoded.frames.items()} == {"trades": 1, "quotes": 1, "quarantine": 1}
    kept = decoded.frames["quarantine"].row(0, named=True)
    assert kept["position"] == (1 << 20) + 1
    assert reason in kept["reason"]
    assert kept["message"]


def test_unknown_fields_are_passed_over_and_control_messages_are_no_data():
    decoded = decode([record(1, trade(0, x="CBSE", y=[1, {"z": 2}])), record(2, {"T": "success", "msg": "connected"})])
    assert (list(decoded.frames), decoded.messages) == (["trades"], 1)
    assert is_control(frame({"T": "error", "code": 406, "msg": "connection limit exceeded"}))
    assert not is_control(frame(trade(0)))


def test_a_page_of_history_is_rows_of_the_highest_rank():
    body = {"trades": {"BTC/USD": [{"t": iso(START + 5), "p": 1.5, "s": 2, "i": 7, "tks": "-"}, {"t": "soon"}]}}
    payload = msgspec.json.encode({"kind": "trades", "body": body})
    decoded = decode([Record(4, NOW, 1, RecordKind.PAGE, payload)])
    row = decoded.frames["trades"].row(0, named=True)
    assert (row["id"], row["taker_side"], row["rank"], row["position"]) == (7, "", 2, 4 << 20)
    assert decoded.frames["quarantine"]["reason"].item().startswith("a row of the history cannot be read")


def test_a_gap_is_a_row_of_the_ledger():
    gap = Gap(11, "trades", "BTC/USD", START, START + 5, "connection lost", "open")
    decoded = decode([Record(3, NOW, 1, RecordKind.EVENT, gap.event())])
    row = decoded.frames["gaps"].row(0, named=True)
    assert (row["id"], row["kind"], row["state"], row["rows"]) == (11, "trades", "open", 0)
    assert decoded.frames["gaps"].select("time", "end", "known").cast(int).row(0) == (START, START + 5, NOW)


def test_only_the_kinds_that_are_wanted_are_built():
    content = [record(1, trade(0), quote(0), trade(1, p=-1))]
    assert set(decode(content, {"trades"}).frames) == {"trades"}
    assert set(decode(content, {"quarantine"}).frames) == {"quarantine"}
    assert decode([], None).frames == {}
