"""What goes wrong around a recorder, and what comes of it: each test says its outcome in a sentence."""

import errno
import itertools
import random
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgpack
import pytest

from cryptoquant.data import alpaca
from cryptoquant.data.disk import LocalDisk, LocalFile
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.publisher import Publisher
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.segment import RecordKind
from cryptoquant.errors import StoreError
from tests.data.simulated_disk import SimulatedDisk
from tests.data.store_world import BEFORE, StoreWorld
from tests.data.stream import MINUTE, START, Text, bar, book, frame, history, quote, stamp, trade, venue
from tests.data.test_recorder import await_that, ids, nowhere, ticking

QUICK = RecorderOptions(flush_every=timedelta(seconds=0.3), compact_every=None, backfill=False)
CALLS = 70
TIMEOUTS = ("ping_interval", "ping_timeout", "close_timeout")


class Scene(StoreWorld):
    """A recorder's work in a fixed order, of which any call may fail."""

    def play(self, disk: SimulatedDisk, errors: dict[int, int]) -> None:
        self.rng = random.Random(self.seed)
        store, log = self.open(disk, 1)
        log.on_durable(self.acknowledge)
        publisher = Publisher(store, log, LogReader(disk))
        disk.calls, disk.errors = 0, errors
        for act in ("publish", "publish", "compact", "publish", "compact", "vacuum", "publish"):
            self.attempt(lambda: self.append(log))
            log.commit()
            if act == "publish":
                self.attempt(publisher.decode)
                self.attempt(publisher.publish)
            elif act == "compact":
                self.attempt(store.compact)
            else:
                self.attempt(lambda: store.vacuum(timedelta(0)))
        disk.errors = {}
        self.failed = log.failure is not None
        if not self.failed:
            log.close()
        publisher.drain()
        self.check(disk, BEFORE)

    def attempt(self, act) -> None:
        try:
            act()
        except (StoreError, OSError) as error:
            self.said = str(error)


def suffer(folder: Path, code: int, calls: range) -> int:
    """Let each of some calls fail, then cut the power or kill; return how often it was the end of the log."""
    ended = 0
    for call in calls:
        disk, scene = SimulatedDisk(), Scene(7, folder)
        scene.play(disk, {call: code})
        ended += scene.failed
        acknowledged = set(scene.acknowledged)
        for cut in (disk.kill(), disk.power_cut(call), disk.power_cut(-call)):
            scene.acknowledged = set(acknowledged)
            scene.look(cut, 2)
    return ended


@pytest.mark.parametrize(("code", "first"), [(errno.ENOSPC, 1), (errno.EIO, 3)], ids=["ENOSPC", "EIO"])
def test_an_error_of_the_disk_in_a_call_costs_nothing_that_was_acknowledged(tmp_path, code, first):
    """Outcome: log, file or manifest, the error ends the log or is tried again; all acknowledged is there once."""
    assert suffer(tmp_path, code, range(first, CALLS, 6))


@pytest.mark.deep
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_an_error_of_the_disk_in_any_call_costs_nothing_that_was_acknowledged(tmp_path, code):
    """Outcome: the same, whichever call it is."""
    assert 0 < suffer(tmp_path, code, range(1, CALLS)) < CALLS / 2


def test_a_full_disk_ends_the_log_with_its_reason_and_the_next_recorder_goes_on(tmp_path):
    """Outcome: the record that found no room is refused, those before are kept, and nothing is acknowledged after."""
    disk = SimulatedDisk()
    log = Log(disk, epoch=1, segment_bytes=400, threaded=False)
    log.append(START, 1, RecordKind.FRAME, frame(trade(1)))
    log.commit()
    disk.capacity = 500
    log.append(START, 1, RecordKind.FRAME, frame(*(trade(number) for number in range(2, 30))))
    assert log.commit() == 1
    with pytest.raises(StoreError, match=r"ended after record 1: the disk is full \(ENOSPC\)"):
        log.append(START, 1, RecordKind.FRAME, b"")
    disk.capacity = None
    after = Log(disk, epoch=2, threaded=False)
    assert [record.payload for record in LogReader(disk).read()] == [frame(trade(1))]
    assert after.append(START, 1, RecordKind.FRAME, b"") == 2


def test_a_disk_that_refuses_files_for_long_costs_no_memory_without_end(store, tmp_path, monkeypatch):
    """Outcome: a publisher that is full decodes no more until files can be written; the log keeps the rest."""
    monkeypatch.setattr("cryptoquant.data.publisher.MOST_ROWS", 10)
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    recorder.open()
    blocked = store.root / "_recent"
    blocked.write_text("a file where the folder should be")
    follower = threading.Thread(target=recorder._publish_on)
    recorder.take(frame(*(trade(number) for number in range(20))))
    recorder._receiver.log.wait(1)
    follower.start()
    await_that(lambda: recorder.status().errors)
    recorder.take(frame(*(trade(number) for number in range(20, 40))))
    recorder._receiver.log.wait(2)
    await_that(lambda: len(recorder.status().errors) > 2)
    assert recorder.status().queued == 1
    blocked.unlink()
    await_that(lambda: store.published == 2)
    recorder._receiver.ended.set()
    follower.join()
    recorder.stop()
    assert ids(store) == list(range(40))


class SlowFile(LocalFile):
    """Its syncs wait for a gate."""

    gate: threading.Event

    def sync(self) -> None:
        self.gate.wait()
        super().sync()


class SlowDisk(LocalDisk):
    def __init__(self, root, gate) -> None:
        super().__init__(root)
        self.gate = gate

    def create(self, path):
        file = SlowFile(super().create(path)._handle)
        file.gate = self.gate
        return file


def test_a_slow_sync_delays_the_acknowledgement_and_no_frame(tmp_path):
    """Outcome: for the half second of a sync frames are taken at once and not acknowledged; then all are."""
    gate = threading.Event()
    gate.set()
    log = Log(SlowDisk(tmp_path, gate), epoch=1, segment_bytes=1 << 20)
    gate.clear()
    begun = time.monotonic()
    taken = 0
    while time.monotonic() - begun < 0.5:
        taken = log.append(START, 1, RecordKind.FRAME, frame(trade(taken)))
    assert taken > 1_000
    assert log.durable == 0
    assert not log.wait(1, timeout=0.0)
    gate.set()
    assert log.wait(taken, timeout=20.0)
    log.close()
    assert sum(len(batch) for batch in iter(LogReader(LocalDisk(tmp_path)).read, [])) <= taken


@pytest.mark.parametrize("step", [3_600 * 10**9, -3_600 * 10**9])
def test_a_clock_that_is_set_is_counted_and_is_no_silence(store, step):
    """Outcome: the jump is counted and told; nobody is taken for silent, and who falls silent later is noticed."""
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.open()
    recorder._supervisor._watchdog.heard(("bars", "BTC/USD"), START, 1)
    recorder._supervisor._check_clock(step)
    assert recorder.status().clock_steps == 1
    assert "jumped by" in recorder.status().errors[-1]
    assert not recorder._supervisor._watchdog.silent(START + step + MINUTE)
    assert recorder._supervisor._watchdog.silent(START + step + 4 * MINUTE)
    recorder._supervisor._check_clock(10_000_000)
    assert recorder.status().clock_steps == 1
    recorder.stop()


def test_an_outage_over_a_clock_that_is_set_back_is_a_gap_of_both_times(store):
    """Outcome: the gap goes from the earlier of the two to the later, so that what was missed lies inside."""
    recorder = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=ticking())
    recorder.open()
    recorder._outage(START + 60 * MINUTE, START, "connection lost")
    recorder.flush()
    recorder.stop()
    gaps = store.gaps()
    assert (gaps["time"].to_physical().item(), gaps["end"].to_physical().item()) == (START, START + 60 * MINUTE)


def test_times_that_run_backwards_keep_the_order_of_arrival(store):
    """Outcome: rows of a clock that was set back are all there; lineage tells the order in which they came."""
    clock = itertools.chain(range(START + MINUTE, START + MINUTE + 100), itertools.repeat(START + 2))
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=clock.__next__)
    for number in range(200):
        recorder.take(frame(trade(number)))
    recorder.stop()
    rows = store.scan("trades").sort("position")
    assert (rows["id"] - 2**60).to_list() == list(range(200))


def test_bars_that_fail_to_come_cost_the_connection_and_are_a_gap(store):
    """Outcome: a mute socket is left after two and a half minutes without a bar, and the gap says why."""

    def script(connection, asked):
        yield "echo"
        yield frame(bar(connection))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("bars",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 1)
        now = time.time_ns()
        recorder._supervisor._check_silence(now + 2 * MINUTE)
        recorder._supervisor._check_silence(now + 3 * MINUTE)
        await_that(lambda: recorder.status().received == 2)
        recorder.stop()
    assert there.connections == 2
    assert len(store.gaps()) == 1
    assert "bars of BTC/USD silent for 1" in store.gaps()["cause"].item()


@pytest.mark.parametrize("has_news", [True, False])
def test_quiet_trades_are_asked_for_in_the_history_before_the_connection_is_left(store, has_news):
    """Outcome: a quiet market is left alone; only when the history knows newer trades is the connection made anew."""
    asked = []

    def answer(path, query):
        asked.append(path)
        newest = START + (5 * MINUTE if has_news else 0)
        return 200, {"trades": {"BTC/USD": {"t": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest // 10**9))}}}

    with history(answer) as source:
        recorder = Recorder(store, "BTC/USD", source, channels=("trades",), options=QUICK, clock=ticking())
        recorder.open()
        recorder._count.is_subscribed = True
        for second in range(5):
            recorder._supervisor._watchdog.heard(("trades", "BTC/USD"), START + second * 10**9, 1)
        recorder._supervisor._check_silence(START + 5 * MINUTE)
        recorder._supervisor._check_silence(START + 5 * MINUTE + 1)
        errors = " ".join(recorder.status().errors)
        recorder.stop()
    assert asked == ["/v1beta3/crypto/us/latest/trades"]
    assert ("trades of BTC/USD silent" in errors) is has_news


@pytest.mark.parametrize("answer", [(400, {"message": "down"}), (200, {}), (200, {"trades": {"BTC/USD": {"t": "?"}}})])
def test_a_history_that_does_not_answer_is_told_and_the_watch_goes_on(store, answer):
    """Outcome: the trouble is a line of the status, the connection stays, and the question is asked again later."""
    with history(lambda path, query: answer) as source:
        recorder = Recorder(store, "BTC/USD", source, channels=("trades",), options=QUICK, clock=ticking())
        recorder.open()
        recorder._count.is_subscribed = True
        recorder._supervisor._watchdog.heard(("trades", "BTC/USD"), START, 1)
        recorder._supervisor._check_silence(START + 5 * MINUTE)
        recorder.stop()
    assert "does not answer" in " ".join(recorder.status().errors)


def test_a_half_open_socket_is_left_when_its_pings_are_not_answered(store, monkeypatch):
    """Outcome: a peer that is gone without a word is noticed by its missing pong, and the silence is a gap."""
    monkeypatch.setattr(alpaca, "WEBSOCKET", {**alpaca.WEBSOCKET, **dict.fromkeys(TIMEOUTS, 0.2)})

    def script(connection, asked):
        yield "echo"
        yield frame(trade(connection))
        yield "deaf" if connection == 1 else 0
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 2)
        recorder.stop()
    assert there.connections >= 2
    assert set(store.gaps()["cause"]) == {"connection lost"}


def test_a_pong_that_waits_behind_frames_is_no_reason_to_leave(store, monkeypatch):
    """Outcome: a machine too slow for the stream takes every frame once, however late the pongs behind them come."""
    monkeypatch.setattr(alpaca, "WEBSOCKET", {**alpaca.WEBSOCKET, **dict.fromkeys(TIMEOUTS, 0.3)})
    stamps, count = itertools.count(START, 1_000), 4_000

    def slow():
        time.sleep(0.0005)
        return next(stamps)

    def script(connection, asked):
        yield "echo"
        yield from (frame(trade(number)) for number in range(count))
        yield "hold"

    with venue(script) as there:
        options = {"channels": ("trades",), "options": QUICK, "clock": slow}
        recorder = Recorder(store, "BTC/USD", there.alpaca(), **options).start()
        await_that(lambda: recorder.status().received >= count)
        final = recorder.stop()
    assert (final.received, final.reconnects) == (count, 0)
    assert ids(store) == list(range(count))


def test_a_connection_limit_after_a_lost_connection_is_waited_out_as_one_gap(store):
    """Outcome: the venue still counts the lost connection (406); one gap spans from its last frame to the new one."""

    def script(connection, asked):
        if connection == 2:
            yield frame({"T": "error", "code": 406, "msg": "connection limit exceeded"})
            return
        yield "echo"
        yield frame(trade(connection))
        yield "hold" if connection == 3 else 0.05

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 2)
        errors = " ".join(recorder.stop().errors)
    assert "406 connection limit exceeded" in errors
    assert ids(store) == [1, 3]
    assert store.gaps()["cause"].to_list() == ["connection lost"]


def test_frames_come_whole_however_they_are_cut_and_merged(store):
    """Outcome: fragments are one frame, ten thousand messages in a frame are ten thousand rows, in order."""
    whole = frame(*(trade(number) for number in range(10)))

    def script(connection, asked):
        yield "echo"
        yield [whole[:1], whole[1:7], b"", whole[7:]]
        yield frame(*(trade(number) for number in range(10, 10_010)))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().received == 10_010)
        recorder.stop()
    assert ids(store) == list(range(10_010))


def test_text_and_empty_frames_are_kept_in_quarantine_and_the_stream_goes_on(store):
    """Outcome: what is no MessagePack array is a row of the quarantine; the connection stays and later frames count."""

    def script(connection, asked):
        yield "echo"
        yield Text('[{"T": "t"}]')
        yield b""
        yield frame()
        yield frame(trade(1))
        yield "hold"

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), channels=("trades",), options=QUICK).start()
        await_that(lambda: recorder.status().frames >= 7 and recorder._publisher.decoded >= 7)
        status = recorder.stop()
    assert (there.connections, status.reconnects) == (1, 0)
    assert ids(store) == [1]
    assert store.quarantine().height == 2


def test_unknown_kinds_are_kept_unknown_fields_passed_over_and_long_timestamps_read(store):
    """Outcome: a message of a new kind waits in quarantine, a new field changes nothing, twelve bytes are a time."""
    packed = b"\xc7\x0c\xff" + (5).to_bytes(4, "big") + (START // 10**9).to_bytes(8, "big")
    long = frame(trade(2)).replace(msgpack.packb(stamp(START + 2)), packed)
    assert packed in long
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.take(frame({"T": "x", "S": "BTC/USD"}, trade(1, venue="new", more=[1, {"a": None}])))
    recorder.take(long)
    recorder.stop()
    assert sorted(ids(store)) == [1, 2]
    assert store.trades()["time"].to_physical().to_list() == [START + 1, START + 5]
    assert store.quarantine().height == 1


STRANGE = ("../../ETC/USD", "..", "/", "BTC//USD", "", "比特币/USD", "A" * 70 + "/USD", "BTC/USD\x00/../x")
ODD = ("../USD", "%2E%2E/USD", ".HIDDEN/USD", "A" * 60 + "/USD", "A B/USD", "\x00/USD", "*?/USD")


def test_strange_symbols_are_names_or_in_quarantine_and_never_paths(store):
    """Outcome: what is no pair of at most 64 ASCII characters waits in quarantine; the rest is stored."""
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.take(frame(*(trade(number, name) for number, name in enumerate(STRANGE))))
    recorder.take(frame(*(trade(100 + number, name) for number, name in enumerate(ODD))))
    recorder.take(frame(*(quote(200 + number, name) for number, name in enumerate(ODD)), book(300, ODD[0])))
    recorder.stop()
    before = store.trades()
    assert sorted(before["symbol"].unique()) == sorted(ODD)
    assert store.quarantine().height == len(STRANGE)
    store.compact()
    store.vacuum(timedelta(0))
    assert store.trades().equals(before)
    assert {path.name for path in store.root.parent.iterdir()} <= {"store", "state"}
    assert store.trades("../USD").height == 1


def test_a_gap_that_the_ledger_did_not_take_is_not_forgotten(store):
    """Outcome: when the log is full at the end of an outage, the next confirmation notes the gap from its beginning."""
    options = RecorderOptions(limit_bytes=500, compact_every=None, backfill=False)
    recorder = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=options, clock=ticking())
    recorder.open()
    confirmed = frame({"T": "subscription", "trades": ["BTC/USD"]})
    recorder._receiver._silence(START - MINUTE, "connection lost")
    log = recorder._receiver.log
    log._limit_bytes = len(confirmed) + 40
    recorder.take(confirmed)
    assert recorder._receiver.missing_since == START - MINUTE
    log.wait(log.sequence)
    await_that(lambda: log.waiting_bytes == 0)
    log._limit_bytes = 1 << 20
    recorder.take(confirmed)
    recorder.stop()
    assert store.gaps()["time"].to_physical().to_list() == [START - MINUTE]


@pytest.mark.parametrize("stamped", [START, START - 1])
def test_stamps_at_the_edge_are_told_to_the_nanosecond(store, stamped):
    """Outcome: the venue's nanoseconds survive."""
    recorder = Recorder(store, "BTC/USD", nowhere(), clock=ticking())
    recorder.take(frame(trade(0, t=stamp(stamped))))
    recorder.stop()
    assert store.trades()["time"].to_physical().to_list() == [stamped]
