"""The recorder's log: what was acknowledged is read back in order, whatever the disk did."""

import contextlib
import errno
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.log import LONGEST_PAYLOAD, Log
from cryptoquant.data.log_folder import segments_of
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.segment import HEAD_SIZE, HEADER_SIZE, SegmentHeader
from cryptoquant.errors import LogFullError, StoreError
from tests.data.simulated_disk import Crash, SimulatedDisk

PAYLOADS = st.lists(st.binary(max_size=60), max_size=12)


def open_log(disk, epoch=1, **settings):
    return Log(disk, epoch=epoch, **{"threaded": False, "segment_bytes": 1000, **settings})


def keep(log, payloads):
    """Append and commit; return the sequences."""
    sequences = [log.append(5 + number, 1, 0, payload) for number, payload in enumerate(payloads)]
    log.commit()
    return sequences


def read_all(disk, **settings):
    reader, found = LogReader(disk, **settings), []
    while records := reader.read():
        found += records
    return found


def rows(disk, **settings):
    return [(record.sequence, record.payload) for record in read_all(disk, **settings)]


def numbered(payloads, first=1):
    return list(enumerate(payloads, first))


@given(st.lists(PAYLOADS, max_size=6), st.sampled_from([1, 100, 250, 10_000]))
def test_what_was_acknowledged_is_read_back_in_order_at_any_size_of_segment(groups, segment_bytes):
    disk = SimulatedDisk()
    log = open_log(disk, segment_bytes=segment_bytes)
    for group in groups:
        keep(log, group)
    sent = [payload for group in groups for payload in group]
    assert log.written == log.durable == len(sent)
    assert rows(disk) == numbered(sent)
    log.close()
    assert rows(disk) == numbered(sent)
    firsts = [name.first for name in segments_of(disk, "log")]
    assert firsts == sorted(set(firsts))


@given(st.lists(PAYLOADS, min_size=1, max_size=5), st.integers(1, 40), st.integers(0, 1 << 20), st.booleans())
def test_what_was_acknowledged_survives_a_cut_at_any_call(groups, crash_at, seed, is_cut):
    disk, sent, acknowledged = SimulatedDisk(), [], 0
    disk.crash_at = crash_at
    try:
        log = open_log(disk, segment_bytes=200)
        for group in groups:
            sent += group
            keep(log, group)
            acknowledged = log.durable
        log.close()
    except Crash:
        pass
    after = disk.power_cut(seed) if is_cut else disk.kill()
    with_new = open_log(after, epoch=2)
    found = rows(after)
    assert found == numbered(sent)[: len(found)]
    assert len(found) >= acknowledged
    keep(with_new, [b"next"])
    assert rows(after)[:-1] == found
    assert rows(after)[-1] == (with_new.durable, b"next")


def test_nothing_is_acknowledged_before_its_sync():
    disk = SimulatedDisk()
    log = open_log(disk)
    seen = []
    log.on_durable(seen.append)
    log.append(1, 1, 0, b"a")
    assert (log.written, log.durable, log.wait(1, timeout=0)) == (0, 0, False)
    disk.crash_at = disk.calls + 1
    with pytest.raises(Crash):
        log.commit()
    assert (log.written, log.durable, seen) == (0, 0, [])


def test_a_torn_end_is_cut_at_every_byte():
    payloads = [b"first", b"", b"third" * 3]
    disk = SimulatedDisk()
    log = open_log(disk)
    keep(log, payloads)
    (name,) = segments_of(disk, "log")
    content = disk.open(f"log/{name}").read_at(0, 1000).rstrip(b"\x00")
    ends, end = [], HEADER_SIZE
    for payload in payloads:
        end += HEAD_SIZE + len(payload)
        ends.append(end)
    for cut in range(end + 1):
        for reserved in (0, 1000):
            torn, left = SimulatedDisk(), content[:cut].ljust(reserved, b"\x00")
            torn.create(f"log/{name}").write_at(0, [left])
            whole = sum(left[:stop] == content[:stop] for stop in ends)
            again = open_log(torn, epoch=2)
            assert (again.durable, again.damaged) == (whole, 0)
            assert rows(torn) == numbered(payloads[:whole])
            assert keep(again, [b"next"]) == [whole + 1]
            assert rows(torn) == numbered([*payloads[:whole], b"next"])


def test_a_flipped_bit_ends_what_is_read_and_the_segment_is_kept_aside():
    payloads = [b"first", b"second", b"third"]
    disk = SimulatedDisk()
    keep(open_log(disk), payloads)
    (name,) = segments_of(disk, "log")
    content = disk.open(f"log/{name}").read_at(0, 1000)
    ends = [HEADER_SIZE]
    for payload in payloads:
        ends.append(ends[-1] + HEAD_SIZE + len(payload))
    for bit in range(8 * HEADER_SIZE, 8 * ends[-1]):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        whole = sum(stop <= bit // 8 for stop in ends[1:])
        spoilt = SimulatedDisk()
        spoilt.create(f"log/{name}").write_at(0, [bytes(damaged)])
        again = open_log(spoilt, epoch=2)
        assert again.damaged == (whole < 2)
        assert rows(spoilt) == numbered(payloads[:whole])
        sequence = keep(again, [b"next"])[0]
        assert sequence > (3 if again.damaged else 2)
        assert rows(spoilt)[-1] == (sequence, b"next")
        if again.damaged:
            assert spoilt.open(f"log/damaged/{name}").read_at(0, 1000) == bytes(damaged)


@pytest.mark.parametrize("crash_at", range(1, 20))
def test_no_sequence_is_used_twice_when_the_recovery_of_damage_is_cut_off(crash_at):
    disk = SimulatedDisk()
    keep(open_log(disk), [b"first", b"second", b"third", b"fourth"])
    (name,) = segments_of(disk, "log")
    file = disk.open(f"log/{name}")
    file.write_at(HEADER_SIZE + HEAD_SIZE + 5, [b"\xff" * 4])
    file.sync()
    disk = disk.kill()
    disk.crash_at = crash_at
    with contextlib.suppress(Crash):
        open_log(disk, epoch=2)
    for seed in range(20):
        after = disk.power_cut(seed)
        again = open_log(after, epoch=3)
        assert keep(again, [b"next"])[0] > 4
        assert [payload for _, payload in rows(after)] in ([b"first", b"next"], [b"next"])
        assert after.exists(f"log/damaged/{name}") or again.damaged == 0


@pytest.mark.parametrize("header", [b"?", SegmentHeader(1, 7, 1).pack(), SegmentHeader(7, 1, 1).pack()])
def test_a_segment_whose_header_is_damaged_or_of_another_is_kept_aside(header):
    disk = SimulatedDisk()
    keep(open_log(disk), [b"first", b"second"])
    (name,) = segments_of(disk, "log")
    disk.open(f"log/{name}").write_at(0, [header])
    again = open_log(disk, epoch=2)
    assert again.damaged == 1
    assert disk.listing("log/damaged") == [str(name)]
    assert keep(again, [b"next"])[0] > 2
    assert [payload for _, payload in rows(disk)] == [b"next"]


@given(PAYLOADS, PAYLOADS, st.integers(0, 30))
def test_sequences_go_on_above_the_log_and_the_manifest(before, later, published):
    disk = SimulatedDisk()
    keep(open_log(disk), before)
    log = open_log(disk, epoch=2, after=published)
    first = max(len(before), published) + 1
    assert keep(log, later) == list(range(first, first + len(later)))


@given(st.lists(PAYLOADS, min_size=1, max_size=6), st.data())
def test_only_whole_segments_that_are_published_are_dropped(groups, data):
    disk = SimulatedDisk()
    log = open_log(disk, segment_bytes=150)
    for group in groups:
        keep(log, group)
    names = segments_of(disk, "log")
    published = data.draw(st.integers(0, log.durable))
    dropped = log.drop(published)
    left = segments_of(disk, "log")
    assert left == names[dropped:]
    sent = numbered([payload for group in groups for payload in group])
    assert rows(disk, after=published) == sent[published:]
    assert len(left) == 1 or left[1].first > published + 1
    again = open_log(disk, epoch=2, after=published)
    assert again.durable == len(sent)


def test_restarts_that_write_nothing_leave_nothing_behind():
    disk = SimulatedDisk()
    keep(open_log(disk), [b"a"])
    for epoch in range(2, 6):
        assert open_log(disk, epoch=epoch).durable == 1
    assert [name.epoch for name in segments_of(disk, "log")] == [1, 5]


def test_what_was_reserved_is_given_back_by_rotation_closing_and_recovery():
    disk = SimulatedDisk()
    log = open_log(disk, segment_bytes=120)
    keep(log, [b"x" * 12] * 2)
    after = disk.kill()
    open_log(after, epoch=2, segment_bytes=100).close()
    sizes = [after.open(f"log/{name}").size() for name in segments_of(after, "log")]
    assert sizes == [HEADER_SIZE + HEAD_SIZE + 12] * 2 + [HEADER_SIZE]


@pytest.mark.parametrize("crash_at", range(1, 12))
def test_a_recovery_that_was_cut_off_is_finished_by_the_next_one(crash_at):
    disk = SimulatedDisk()
    keep(open_log(disk), [b"a", b"b"])
    disk = disk.kill()
    disk.crash_at = crash_at
    with contextlib.suppress(Crash):
        open_log(disk, epoch=2)
    after = disk.kill()
    open_log(after, epoch=3).close()
    names = segments_of(after, "log")
    assert [name.epoch for name in names] == [1, 3]
    assert [after.open(f"log/{name}").size() for name in names] == [HEADER_SIZE + 2 * (HEAD_SIZE + 1), HEADER_SIZE]


def test_an_earlier_recorder_is_fenced_off():
    disk = SimulatedDisk()
    open_log(disk, epoch=4)
    for epoch in (3, 4):
        with pytest.raises(StoreError, match=f"epoch 4, wanted none as late as this recorder's {epoch}"):
            open_log(disk, epoch=epoch)


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, r"disk is full \(ENOSPC\)"), (errno.EIO, r"\(EIO\)")])
@pytest.mark.parametrize("call", range(1, 12))
def test_the_first_error_of_the_disk_ends_the_log(call, code, words):
    """Write, sync, and at a rotation truncate, sync, create, allocate, header, sync and folder; each of them once."""
    disk = SimulatedDisk()
    log = open_log(disk, segment_bytes=150)
    keep(log, [b"kept"])
    disk.errors[disk.calls + call] = code
    log.append(1, 1, 0, b"a" * 20)
    log.append(1, 1, 0, b"b" * 90)
    durable = log.commit()
    calls = disk.calls
    assert log.failure is not None
    for act in (lambda: log.append(1, 1, 0, b"c"), lambda: log.wait(3), log.close):
        with pytest.raises(StoreError, match=f"ended after record {durable}: .*{words}"):
            act()
    assert (log.commit(), log.durable, disk.calls) == (durable, durable, calls)
    again = open_log(disk.kill(), epoch=2)
    assert again.durable >= durable >= 1


def test_what_came_while_the_disk_failed_is_not_written():
    class Hasty:
        """Appends one more record while the batch before it is prepared for a disk that will fail."""

        key_id = b"key"

        def seal(self, sequence, payload):
            log.append(1, 1, 0, b"late")
            return payload

        def open(self, sequence, payload):
            return payload

    disk = SimulatedDisk()
    log = open_log(disk, cipher=Hasty())
    log.append(1, 1, 0, b"a")
    disk.errors[disk.calls + 1] = errno.EIO
    log.commit()
    calls = disk.calls
    assert (log.commit(), disk.calls) == (0, calls)


def test_after_a_failed_sync_what_recovery_keeps_is_written_again():
    """The pages that a failed sync left count as clean: another sync alone would not bring them to the disk."""
    disk = SimulatedDisk()
    log = open_log(disk)
    disk.errors[disk.calls + 2] = errno.EIO
    keep(log, [b"a", b"b"])
    assert (log.written, log.durable) == (2, 0)
    restarted = disk.kill()
    assert open_log(restarted, epoch=2).durable == 2
    for seed in range(20):
        assert rows(restarted.power_cut(seed)) == [(1, b"a"), (2, b"b")]


def test_a_full_disk_is_named_when_the_log_is_opened():
    with pytest.raises(StoreError, match=r"log cannot be opened: the disk is full \(ENOSPC\)"):
        open_log(SimulatedDisk(capacity=500))


def test_a_disk_that_fills_up_keeps_what_was_acknowledged():
    disk = SimulatedDisk(capacity=1000)
    log = open_log(disk, segment_bytes=300)
    while log.failure is None:
        keep(log, [b"x" * 40])
    assert log.durable > 5
    assert [number for number, _ in rows(disk)] == list(range(1, log.durable + 1))
    assert log.drop(log.durable) > 0
    again = open_log(disk.kill(), epoch=2, after=log.durable, segment_bytes=300)
    assert again.durable == log.durable


class SlowDisk(SimulatedDisk):
    """Syncs nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.may_sync, self.is_asked = threading.Event(), threading.Event()
        self.may_sync.set()

    def check_power(self):
        super().check_power()
        if not self.may_sync.is_set():
            self.is_asked.set()
            assert self.may_sync.wait(30)


def test_a_stuck_disk_keeps_receiving_until_the_limit_and_then_says_so():
    disk = SlowDisk()
    log = Log(disk, epoch=1, limit_bytes=10 * (HEAD_SIZE + 6))
    disk.may_sync.clear()
    assert [log.append(1, 1, 0, b"stuck!") for _ in range(10)] == list(range(1, 11))
    with pytest.raises(LogFullError, match="300 bytes wait, wanted 300 at most"):
        log.append(1, 1, 0, b"stuck!")
    assert disk.is_asked.wait(30)
    assert not log.wait(1, timeout=0.001)
    disk.may_sync.set()
    assert log.wait(10, timeout=30)
    assert log.append(1, 1, 0, b"goes on") == 11
    log.close()
    assert log.waiting_bytes == 0
    assert [number for number, _ in rows(disk)] == list(range(1, 12))


@pytest.mark.parametrize("senders", [1, 4])
def test_threads_append_while_one_commits(tmp_path, senders):
    disk = LocalDisk(tmp_path)
    log = Log(disk, epoch=1, segment_bytes=5000)
    acknowledged, sent = [], [{} for _ in range(senders)]
    log.on_durable(acknowledged.append)

    def send(mine, number):
        for count in range(300):
            payload = b"%d:%d" % (number, count)
            mine[log.append(1, number, 0, payload)] = payload

    threads = [threading.Thread(target=send, args=(mine, number)) for number, mine in enumerate(sent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.wait(300 * senders, timeout=60)
    log.close()
    assert acknowledged == sorted(acknowledged)
    assert acknowledged[-1] == log.durable == 300 * senders
    assert dict(rows(disk)) == {number: payload for mine in sent for number, payload in mine.items()}
    assert all(list(mine) == sorted(mine) for mine in sent)


def test_a_log_that_lingers_writes_what_came_meanwhile_at_once_and_ends_at_once():
    disk = SimulatedDisk()
    log = Log(disk, epoch=1, linger=0.05)
    acknowledged = []
    log.on_durable(acknowledged.append)
    for _ in range(3):
        log.append(1, 1, 0, b"a")
    assert log.wait(3, timeout=30)
    assert acknowledged == [3]
    log.close()
    slow = Log(disk, epoch=2, after=3, linger=3_600.0)
    slow.append(1, 1, 0, b"a")
    assert not slow.wait(4, timeout=0.05)
    slow.close()
    assert slow.durable == 4


def test_a_failed_disk_wakes_who_waits():
    disk = SimulatedDisk()
    log = Log(disk, epoch=1)
    disk.errors[disk.calls + 1] = errno.EIO
    sequence = log.append(1, 1, 0, b"a")
    with pytest.raises(StoreError, match="EIO"):
        log.wait(sequence, timeout=30)
    with pytest.raises(StoreError, match="EIO"):
        log.close()
    log.close()


def test_closing_commits_what_waits_and_a_closed_log_takes_nothing():
    disk = SimulatedDisk()
    log = Log(disk, epoch=1)
    for _ in range(3):
        log.append(1, 1, 0, b"a")
    log.close()
    log.close()
    assert log.durable == 3
    with pytest.raises(StoreError, match="closed; wanted an open one"):
        log.append(1, 1, 0, b"a")
    (name,) = segments_of(disk, "log")
    assert disk.open(f"log/{name}").size() == HEADER_SIZE + 3 * (HEAD_SIZE + 1)


@pytest.mark.parametrize(
    ("received", "connection", "kind", "size", "words"),
    [
        (0, 1, 0, 0, "received 0"),
        (1 << 63, 1, 0, 0, "received 9223372036854775808"),
        (1, -1, 0, 0, "connection -1"),
        (1, 1 << 32, 0, 0, "connection 4294967296"),
        (1, 1, 256, 0, "kind 256"),
        (1, 1, 0, LONGEST_PAYLOAD, r"payload of 67,108,608 bytes"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_uses_no_number(received, connection, kind, size, words):
    log = open_log(SimulatedDisk())
    with pytest.raises(ValueError, match=words):
        log.append(received, connection, kind, bytes(size))
    assert log.append(1, 1, 0, b"") == 1


def test_a_long_record_gets_a_segment_of_its_own():
    disk = SimulatedDisk()
    log = open_log(disk, segment_bytes=100)
    keep(log, [b"a", b"b" * 5000, b"c"])
    assert [name.first for name in segments_of(disk, "log")] == [1, 2, 3]
    assert rows(disk) == [(1, b"a"), (2, b"b" * 5000), (3, b"c")]
