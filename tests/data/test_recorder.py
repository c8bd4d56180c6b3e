"""The recorder: what is received is in the store, in quarantine or counted as lost; every silence is in the ledger."""

import asyncio
import atexit
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.recorder import Recorder, record
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.data.subscription import Follower
from cryptoquant.errors import AuthenticationError, ConfigurationError, StoreError, VenueUnreachableError
from cryptoquant.market.schema import Bar, Quote, Trade
from cryptoquant.market.time import from_iso, iso
from tests.data.stream import MINUTE, START, bar, book, frame, quote, trade, venue

QUICK = RecorderOptions(flush_every=timedelta(seconds=0.3), compact_every=None, backfill=False)
PATIENCE = 20.0


NOBODY = socket.socket()  # bound for as long as the tests run, so that nobody else comes to listen there
NOBODY.bind(("127.0.0.1", 0))
atexit.register(NOBODY.close)
ACCOUNTS = itertools.count()


def nowhere() -> Alpaca:
    """Return a new account at an address that nobody listens at."""
    address = f"ws://127.0.0.1:{NOBODY.getsockname()[1]}/v1beta3/crypto/us"
    return Alpaca(f"K{next(ACCOUNTS)}", "S", data_stream_url=address)


def ticking():
    return itertools.count(START, 1_000).__next__


def await_that(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ids(store: Store) -> list[int]:
    return [identity - 2**60 for identity in store.trades()["id"].to_list()]


def test_every_message_is_written_or_in_quarantine_with_its_reason(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    for number in range(50):
        recorder.take(frame(trade(number), {"T": "t", "S": "BTC/USD", "p": "dear"}))
        if number % 20 == 0:
            recorder.flush()
    recorder.flush()
    status = recorder.stop()
    assert (status.frames, status.received, status.queued) == (50, 100, 0)
    assert status.written == {"trades": 50, "quarantine": 50}
    assert ids(store) == list(range(50))
    kept = store.quarantine()
    assert kept.height == status.rejected == 50
    assert "Expected `float`" in kept["reason"][0]
    assert "dear" in kept["message"][0]


def test_what_was_received_a_moment_ago_is_part_of_every_read_here_and_in_another_process(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.take(frame(trade(1), quote(1), book(1)))
    recorder.flush()
    recorder.take(frame(trade(2), bar(0)))
    recorder._receiver.log.wait(2)
    assert ids(store) == [1, 2]
    code = (
        "from cryptoquant.data.store import Store\n"
        f"store = Store({str(store.root)!r})\n"
        "print(store.trades().height, store.symbols('bars'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["2", "['BTC/USD']\n"]
    recorder.stop()
    assert ids(store) == [1, 2]


def test_what_a_killed_recorder_left_in_its_log_is_read_and_then_published_once(store, tmp_path):
    code = (
        "import os, sys\n"
        "from cryptoquant.data.alpaca import Alpaca\n"
        "from cryptoquant.data.recorder import Recorder\n"
        "from cryptoquant.data.store import Store\n"
        "from tests.data.stream import frame, trade\n"
        f"recorder = Recorder(Store({str(store.root)!r}), 'BTC/USD', Alpaca('K', 'S'))\n"
        "for number in range(100):\n"
        "    recorder.take(frame(trade(number)))\n"
        "    if number == 40: recorder.flush()\n"
        "recorder._receiver.log.wait(100)\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert ids(store) == list(range(100))
    assert store.published == 41
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.open()
    assert store.published == 100
    recorder.stop()
    assert ids(store) == list(range(100))
    assert store.scan("trades")["position"].n_unique() == 100


def test_a_second_recorder_of_the_same_store_or_account_is_refused_by_name(store, tmp_path):
    first = Recorder(store, "BTC/USD", Alpaca("KEY", "S"))
    first.open()
    with pytest.raises(StoreError, match=r"recorder\.lease: held by process"):
        Recorder(Store(store.root), "BTC/USD", Alpaca("OTHER", "S")).open()
    with pytest.raises(StoreError, match="held by process"):
        Recorder(Store(tmp_path / "other"), "BTC/USD", Alpaca("KEY", "S")).open()
    first.stop()
    other = Recorder(Store(tmp_path / "other"), "BTC/USD", Alpaca("KEY", "S"))
    other.open()
    other.stop()


def test_rows_that_cannot_be_written_stay_in_the_log(store, tmp_path):
    recorder = Recorder(store, "BTC/USD", nowhere())
    recorder.take(frame(trade(1)))
    recorder.flush()
    blocked = store.root / "_recent"
    blocked.rename(tmp_path / "aside")
    blocked.write_text("a file where the folder should be")
    recorder.take(frame(trade(2)))
    with pytest.raises(StoreError):
        recorder.stop()
    blocked.unlink()
    (tmp_path / "aside").rename(blocked)
    assert ids(store) == [1, 2]


def test_a_slow_consumer_loses_the_oldest_frames_and_the_recorder_none(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    quick, slow = recorder.subscribe(), recorder.subscribe({"trades"}, limit_bytes=2_000)
    for number in range(200):
        recorder.take(frame(trade(number), quote(number)))
    assert [event.__class__ for event in quick.next(1.0)] == [Trade, Quote] * 200
    left = [event.id - 2**60 for event in slow.next(1.0)]
    assert left == list(range(200))[-len(left) :]
    assert slow.dropped == 200 - len(left) > 100
    quick.close()
    assert quick.next(0.0) == []
    recorder.stop()
    assert list(slow) == []
    assert ids(store) == list(range(200))


def test_another_process_may_follow_the_log(store):
    recorder = Recorder(store, ["BTC/USD", "ETH/USD"], nowhere(), clock=ticking())
    recorder.take(frame(trade(0)))
    with Follower(store.root, {"trades"}, ["ETH/USD"]) as follower:
        recorder.take(frame(trade(1, "ETH/USD"), quote(1, "ETH/USD"), trade(2)))
        found = []
        await_that(lambda: found.extend(follower.next(0.1)) or found)
        assert [(event.symbol, event.id - 2**60) for event in found] == [("ETH/USD", 1)]
        assert (follower.last, follower.missed) == (2, 0)
    recorder.stop()


def test_frames_of_a_socket_arrive_whole_in_order_and_once(store):
    def script(connection, asked):
        yield "echo"
        for number in range(300):
            yield frame(*(trade(3 * number + k) for k in range(3)))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 900)
        status = recorder.stop()
    assert there.subscribed == [{"trades": ["BTC/USD"], "action": "subscribe"}]
    assert status.is_running is False
    assert ids(store) == list(range(900))


def test_a_lost_connection_is_a_gap_of_each_kind_and_symbol_and_books_are_lost_for_good(store):
    def script(connection, asked):
        yield "echo"
        yield frame(trade(connection), book(connection))
        yield "hold" if connection == 3 else 0.05

    with venue(script) as there:
        channels = ("trades", "orderbooks", "dailyBars")
        recorder = Recorder(store, ["BTC/USD", "ETH/USD"], there.alpaca(), channels=channels, options=QUICK).start()
        await_that(lambda: recorder.status().received == 6)
        status = recorder.stop()
    gaps = store.gaps()
    assert status.reconnects == 2
    assert sorted(gaps.select("kind", "symbol", "state").rows()) == sorted(
        [("books", s, "permanent") for s in ("BTC/USD", "ETH/USD")] * 2
        + [("trades", s, "open") for s in ("BTC/USD", "ETH/USD")] * 2
    )
    assert gaps["cause"].unique().to_list() == ["connection lost"]
    assert (gaps["end"] > gaps["time"]).all()
    assert store.scan("books")["connection"].n_unique() == 3


def test_an_outage_is_filled_from_the_venues_history_and_counts_no_row_twice(store):
    with Sandbox(seed=3, symbols=["BTC/USD"], days=2, lockstep=True) as sandbox:

        def begin(home: Store) -> Recorder:
            recorder = Recorder(home, "BTC/USD", sandbox.alpaca(), clock=lambda: sandbox.market.now).start()
            await_that(lambda: recorder.status().is_subscribed)
            return recorder

        def advance(recorder: Recorder, minutes: int) -> None:
            before = recorder.status().frames
            sandbox.advance(timedelta(minutes=minutes))
            await_that(lambda: recorder.status().frames == before + minutes)

        recorder = begin(store)
        advance(recorder, 5)
        recorder.stop()
        sandbox.advance(timedelta(minutes=7))
        recorder = begin(store)
        await_that(lambda: recorder.status().open_gaps == 0)
        advance(recorder, 3)
        status = recorder.stop()
        assert status.errors == ()
        witness = told(sandbox, 15)
    trades = store.trades().select(pl.col("time").to_physical(), "id", "price", "size", "taker_side")
    assert trades.rows() == witness
    assert len(witness) == 15 * 3
    gaps = {row["kind"]: row for row in store.gaps().iter_rows(named=True)}
    assert {kind: row["state"] for kind, row in gaps.items()} == {
        "trades": "filled", "quotes": "filled", "bars": "filled", "books": "permanent",
    }  # fmt: skip
    assert gaps["trades"]["rows"] == 7 * 3
    assert gaps["trades"]["cause"] == "recorder was not running"
    assert store.bars("BTC/USD", "1m").height == 15
    assert store.quotes().height == 15 * 3


def told(sandbox: Sandbox, minutes: int) -> list[tuple[object, ...]]:
    """The trades of the last minutes as the venue's history has them."""
    query = {"symbols": "BTC/USD", "start": iso(sandbox.market.now - minutes * MINUTE + 1)}
    body = sandbox.alpaca().historical().get("/crypto/us/trades", query)
    return [(from_iso(row["t"]), row["i"], row["p"], row["s"], row["tks"]) for row in body["trades"]["BTC/USD"]]


@pytest.mark.parametrize(
    "refusal", [{"code": 402, "msg": "auth failed"}, {"code": 409, "msg": "insufficient subscription"}]
)
def test_refused_keys_end_the_recording_with_the_reason(store, refusal):
    def script(connection, asked):
        yield frame({"T": "error", **refusal})
        yield "hold"

    with venue(script) as there, pytest.raises(AuthenticationError, match=refusal["msg"]):
        record(store, "BTC/USD", there.alpaca(), until=timedelta(seconds=PATIENCE), options=QUICK)


def test_the_connection_limit_is_waited_out_and_the_symbol_limit_shown(store):
    def script(connection, asked):
        if connection == 1:
            yield frame({"T": "error", "code": 406, "msg": "connection limit exceeded"})
            return
        yield frame({"T": "error", "code": 405, "msg": "symbol limit exceeded"})
        yield frame({"T": "subscription", "trades": [], "quotes": ["BTC/USD"]})
        yield frame(trade(1))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades", "quotes"), options=QUICK).start()
        await_that(lambda: recorder.status().received == 1)
        errors = " ".join(recorder.stop().errors)
    assert "406 connection limit exceeded" in errors
    assert "405 symbol limit exceeded" in errors
    assert "the venue did not confirm {'trades': ['BTC/USD']}" in errors


def test_a_socket_that_is_cut_off_by_us_is_a_gap_with_our_reason(store):
    def script(connection, asked):
        yield "echo"
        yield frame(trade(connection))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 1)
        recorder._receiver.reconnect("trades of BTC/USD silent for 70 s")
        await_that(lambda: recorder.status().received == 2)
        recorder.stop()
    assert store.gaps()["cause"].to_list() == ["trades of BTC/USD silent for 70 s"]


def test_a_disk_too_slow_for_too_long_costs_the_connection_and_is_a_gap(store):
    options = RecorderOptions(limit_bytes=1_000, compact_every=None, backfill=False)
    recorder = Recorder(store, "BTC/USD", nowhere(), options=options, clock=ticking())
    closed = threading.Event()
    recorder.open()
    recorder._receiver.opened(closed.set)
    for number in range(2_000):
        recorder.take(frame(trade(number)))
    dropped = recorder.status().dropped
    recorder.flush()
    recorder.take(frame({"T": "subscription", "trades": ["BTC/USD"]}))
    recorder.stop()
    assert closed.is_set()
    assert dropped + len(ids(store)) == 2_000
    assert set(store.gaps()["cause"]) == {"the disk was too slow"}


def test_nobody_at_the_address_ends_the_recording_with_one_clear_line(store):
    with pytest.raises(VenueUnreachableError, match="no connection in 5 attempts"):
        record(store, ["BTC/USD"], nowhere(), until=timedelta(seconds=30), options=QUICK)


def test_a_recorder_works_inside_a_running_event_loop_and_stops_at_once(store):
    async def notebook() -> None:
        recorder = Recorder(store, ["BTC/USD"], nowhere(), options=QUICK).start()
        recorder.take(frame(trade(1)))
        await asyncio.sleep(0)
        assert recorder.status().is_running
        assert recorder.stop().written == {"trades": 1}
        assert not recorder.status().is_running

    asyncio.run(notebook())


def test_the_status_is_one_line_for_a_person_and_a_record_for_a_program(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.take(frame(trade(1), quote(1), {"T": "t"}))
    recorder.flush()
    status = recorder.stop()
    assert status.line.startswith("stopped: 3 messages")
    assert "1 quarantine, 1 quotes, 1 trades" in status.line
    assert json.dumps(status.written)


def test_bars_are_events_too(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    subscription = recorder.subscribe({"bars"})
    recorder.take(frame(bar(0), bar(0, T="u", c=1.75), bar(0, T="d")))
    bars = subscription.next(1.0)
    recorder.stop()
    assert [type(event) for event in bars] == [Bar, Bar]
    assert store.bars("BTC/USD", "1m")["close"].to_list() == [1.75]
    assert store.daily_bars("BTC/USD").height == 1


def test_missing_keys_and_unknown_channels_are_named(store):
    with pytest.raises(ConfigurationError, match="found no key"):
        Recorder(store, "BTC/USD", Alpaca("", "")).run(timedelta(seconds=5))
    with pytest.raises(ValueError, match=r"channels: found \['candles'\]"):
        Recorder(store, "BTC/USD", nowhere(), channels=("candles",))
    with pytest.raises(ValueError, match="symbols: found none"):
        Recorder(store, [], nowhere())
