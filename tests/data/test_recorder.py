"""The recorder: what is received is written, rejected or counted as lost; nothing disappears."""

import asyncio
import itertools
import json
import queue
import socket
import threading
from datetime import timedelta

import msgpack
import pytest

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.recorder import Recorder, record
from cryptoquant.data.store import Store
from cryptoquant.errors import ConfigurationError, StoreError, VenueUnreachableError

START = 1_700_000_000 * 10**9


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def nowhere() -> Alpaca:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Alpaca("K", "S", data_stream_url=f"ws://127.0.0.1:{port}/v1beta3/crypto/us")


def trade(number: int) -> dict[str, object]:
    time = msgpack.Timestamp.from_unix_nano(START + number)
    return {"T": "t", "S": "BTC/USD", "p": 100.0, "s": 1.0, "t": time, "i": 2**60 + number, "tks": "B"}


def ticking():
    return itertools.count(START, 1_000).__next__


def test_every_message_is_written_or_in_quarantine_with_its_reason(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    for number in range(50):
        recorder.take(trade(number))
        recorder.take({"T": "t", "S": "BTC/USD", "p": "dear"})
        if number % 20 == 0:
            recorder.flush()
    recorder.flush()
    status = recorder.status()
    assert (status.received, status.written, status.rejected, status.queued) == (100, {"trades": 50}, 50, 0)
    trades = store.trades()
    assert trades["id"].to_list() == [2**60 + number for number in range(50)]
    assert (trades["known"].dt.epoch("ns") >= START).all()
    kept = [json.loads(line) for line in (store.root / "quarantine.jsonl").read_text().splitlines()]
    assert len(kept) == 50
    assert kept[0]["message"] == {"T": "t", "S": "BTC/USD", "p": "dear"}
    assert "no field" in kept[0]["reason"]


def test_a_full_queue_is_counted(store, monkeypatch):
    monkeypatch.setattr("cryptoquant.data.recorder.QUEUE_LIMIT", 3)
    recorder = Recorder(store, "BTC/USD", nowhere())
    for number in range(5):
        recorder.take(trade(number))
    status = recorder.status()
    assert (status.received, status.queued, status.dropped) == (5, 3, 2)


def test_messages_received_while_several_flushes_run_are_written_once(store):
    recorder = Recorder(store, "BTC/USD", nowhere())
    failures = []

    def flush_often() -> None:
        try:
            for _ in range(15):
                recorder.flush()
        except (KeyError, queue.Empty) as error:
            failures.append(error)

    workers = [threading.Thread(target=flush_often) for _ in range(3)]
    for worker in workers:
        worker.start()
    for number in range(5_000):
        recorder.take(trade(number))
    for worker in workers:
        worker.join()
    recorder.flush()
    assert failures == []
    assert store.trades().height == recorder.status().written["trades"] == 5_000


def test_rows_that_cannot_be_written_are_kept_for_the_next_flush(store):
    recorder = Recorder(store, "BTC/USD", nowhere())
    recorder.take(trade(1))
    store.root.write_text("a file where the folder should be")
    with pytest.raises((StoreError, OSError)):
        recorder.flush()
    assert recorder.status().written == {}
    store.root.unlink()
    recorder.take(trade(2))
    recorder.flush()
    assert store.trades().height == 2


def test_nobody_at_the_address_ends_the_recording_with_one_clear_line(store):
    with pytest.raises(VenueUnreachableError, match="no connection in 5 attempts"):
        record(store, ["BTC/USD"], nowhere(), until=timedelta(seconds=30))


def test_a_recorder_works_inside_a_running_event_loop_and_stops_at_once(store):
    async def notebook() -> None:
        recorder = Recorder(store, ["BTC/USD"], nowhere()).start()
        recorder.take(trade(1))
        await asyncio.sleep(0)
        assert recorder.status().is_running
        assert recorder.stop().written == {"trades": 1}
        assert not recorder.status().is_running

    asyncio.run(notebook())


def test_a_recorder_that_was_stopped_before_it_started_connects_to_nothing(store):
    recorder = Recorder(store, ["BTC/USD"], nowhere())
    recorder.stop()
    assert recorder.run().errors == ()


def test_missing_keys_and_unknown_channels_are_named(store):
    with pytest.raises(ConfigurationError, match="found no key"):
        Recorder(store, "BTC/USD", Alpaca("", "")).run(timedelta(seconds=5))
    with pytest.raises(ValueError, match=r"channels: found \['candles'\]"):
        Recorder(store, "BTC/USD", nowhere(), channels=("candles",))
    with pytest.raises(ValueError, match="symbols: found none"):
        Recorder(store, [], nowhere())
