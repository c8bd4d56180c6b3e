"""Frames of a real market through the whole path, from the socket to the store, end on the real book."""

import time
from datetime import timedelta

from cryptoquant.data.decode import decode
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store
from cryptoquant.market.book import Book, book_updates
from tests.data.stream import real_frames, venue

PAIRS = ("BTC/USDT", "ETH/USDT")
COUNTS = {"trades": 15_863, "quotes": 52_117, "bars": 10}
UPDATES = 6_883
BEST = {"BTC/USDT": (61685.99, 61686.00), "ETH/USDT": (2682.50, 2682.51)}
"""Best bid and ask after the last frame, as the data's own description states them."""


def best(updates):
    books = {symbol: Book(symbol) for symbol in PAIRS}
    for update in updates:
        books[update.symbol].update(update)
    return {symbol: (book.best_bid[0], book.best_ask[0]) for symbol, book in books.items()}


def test_decoded_frames_end_on_the_real_book(real_market):
    frames = enumerate(real_frames(real_market), 1)
    decoded = decode([Record(number, received, 1, RecordKind.FRAME, content) for number, (received, content) in frames])
    assert {kind: rows.height for kind, rows in decoded.frames.items() if kind != "books"} == COUNTS
    updates = book_updates(decoded.frames["books"])
    assert len(updates) == UPDATES
    assert best(updates) == BEST


def test_what_is_recorded_read_followed_and_replayed_ends_on_the_real_book(real_market, tmp_path):
    frames = real_frames(real_market)
    stamps = iter([frames[0][0]] * 3 + [received for received, _ in frames] + [frames[-1][0]] * 1_000_000)

    def script(connection, asked):
        yield "echo"
        yield from (content for _, content in frames)
        yield "hold"

    store = Store(tmp_path / "store")
    options = RecorderOptions(
        backfill=False, compact_every=None, flush_every=timedelta(milliseconds=200), segment_bytes=1 << 20
    )
    channels = ("trades", "quotes", "bars", "orderbooks")
    with venue(script) as there:
        recorder = Recorder(store, PAIRS, there.alpaca(), channels=channels, options=options, clock=stamps.__next__)
        live = recorder.subscribe({"books"}, limit_bytes=1 << 30)
        recorder.start()
        deadline = time.monotonic() + 300
        while recorder.status().received < sum(COUNTS.values()) + UPDATES:
            assert time.monotonic() < deadline, recorder.status()
            time.sleep(0.05)
        recorder.stop()
    assert store.published > len(frames)
    heard = list(live)
    assert (len(heard), best(heard)) == (UPDATES, BEST)
    for _ in range(2):
        assert {kind: store.scan(kind).height for kind in COUNTS} == COUNTS
        assert best(book_updates(store.books())) == BEST
        replayed = list(store.replay(["books"]))
        assert (len(replayed), best(replayed)) == (UPDATES, BEST)
        store.compact()
    assert store.quarantine().height == 0
    assert store.gaps().height == 0
