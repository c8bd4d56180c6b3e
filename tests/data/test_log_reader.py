"""Reading the log while it is written: every record once, in order, by threads, processes and over rotations."""

import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.log import Log
from cryptoquant.data.log_folder import segments_of
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.segment import HEAD_SIZE, HEADER_SIZE
from cryptoquant.errors import StoreError
from tests.data.simulated_disk import SimulatedDisk

ACTS = st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(["commit", "read", "drop", "restart"])), max_size=40)


def open_log(disk, epoch=1, segment_bytes=150, **settings):
    return Log(disk, epoch=epoch, segment_bytes=segment_bytes, threaded=False, **settings)


def keep(log, payloads):
    for payload in payloads:
        log.append(5, 1, 0, payload)
    log.commit()


def numbers(records):
    return [record.sequence for record in records]


def read_all(reader, limit_bytes=1 << 20):
    found = []
    while records := reader.read(limit_bytes):
        found += records
    return found


@given(ACTS, st.sampled_from([1, 50, 1 << 20]))
def test_a_reader_gets_every_written_record_once_and_in_order(acts, limit_bytes):
    disk = SimulatedDisk()
    log, reader = open_log(disk), LogReader(disk)
    sent, got = [], []
    for act in acts:
        if isinstance(act, bytes):
            log.append(5, 1, 0, act)
            sent.append(act)
        elif act == "commit":
            log.commit()
        elif act == "read":
            got += read_all(reader, limit_bytes)
            assert [record.payload for record in got] == sent[: log.written]
        elif act == "drop":
            log.drop(got[-1].sequence if got else 0)
        else:
            log.commit()
            disk_epoch = log.epoch + 1
            log = open_log(disk, disk_epoch)
    log.commit()
    got += read_all(reader, limit_bytes)
    assert [record.payload for record in got] == sent
    assert numbers(got) == list(range(1, len(sent) + 1))
    assert (reader.missed, reader.last) == (0, len(sent))


@given(st.integers(0, 30))
def test_reading_begins_after_a_sequence(after):
    disk = SimulatedDisk()
    keep(open_log(disk), [b"%d" % number for number in range(20)])
    reader = LogReader(disk, after=after)
    assert numbers(read_all(reader)) == list(range(after + 1, 21))
    assert reader.missed == 0


def test_one_record_is_given_even_when_it_is_longer_than_the_limit():
    disk = SimulatedDisk()
    keep(open_log(disk, segment_bytes=10_000), [b"a" * 500, b"b", b"c"])
    reader = LogReader(disk)
    assert numbers(reader.read(10)) == [1]
    assert numbers(reader.read(2 * (HEAD_SIZE + 1))) == [2, 3]


def test_what_is_written_but_not_synced_is_seen():
    disk = SimulatedDisk()
    log, reader = open_log(disk), LogReader(disk)
    log.append(5, 1, 0, b"a")
    disk.errors[disk.calls + 2] = 5
    log.commit()
    assert (log.durable, numbers(reader.read())) == (0, [1])


def test_a_half_written_record_is_waited_for():
    """A reader may look between two pages of one write: what it cannot check it reads again."""
    disk = SimulatedDisk()
    keep(open_log(disk, segment_bytes=1000), [b"first", b"second" * 20])
    (name,) = segments_of(disk, "log")
    content = disk.open(f"log/{name}").read_at(0, 1000)
    for cut in range(HEADER_SIZE, len(content.rstrip(b"\x00"))):
        slow = SimulatedDisk()
        file = slow.create(f"log/{name}")
        file.write_at(0, [content[:cut].ljust(1000, b"\x00")])
        reader = LogReader(slow)
        found = read_all(reader)
        file.write_at(0, [content])
        assert numbers(found + read_all(reader)) == [1, 2]


def test_segments_that_were_dropped_before_they_were_read_are_counted_as_missed():
    disk = SimulatedDisk()
    log, reader = open_log(disk, segment_bytes=200), LogReader(disk)
    keep(log, [b"x" * 30] * 2)
    assert numbers(reader.read(1)) == [1]
    keep(log, [b"x" * 30] * 8)
    log.drop(8)
    assert numbers(read_all(reader)) == [2, 9, 10]
    assert reader.missed == 6
    assert read_all(LogReader(disk, after=8))[0].sequence == 9


@pytest.mark.parametrize("damage", [b"\xff" * 30, bytes(30), bytes(54) + b"\xff"])
def test_damage_in_a_sealed_segment_is_passed_over_and_counted(damage):
    disk = SimulatedDisk()
    keep(open_log(disk, segment_bytes=200), [b"x" * 30] * 6)
    name = segments_of(disk, "log")[1]
    disk.open(f"log/{name}").write_at(HEADER_SIZE, [damage])
    reader = LogReader(disk)
    assert numbers(read_all(reader)) == [1, 2, 5, 6]
    assert reader.missed == 2


class Interleaved(SimulatedDisk):
    """Lets the writer act just before or just after a reader lists the segments."""

    def __init__(self):
        super().__init__()
        self.before = self.after = lambda: None

    def listing(self, folder):
        before, after = self.before, self.after
        self.before = self.after = lambda: None
        before()
        names = super().listing(folder)
        after()
        return names


def test_what_is_written_while_a_reader_looks_for_the_next_segment_is_not_skipped():
    disk = Interleaved()
    log, reader = open_log(disk, segment_bytes=200), LogReader(disk)
    keep(log, [b"x" * 30])
    assert numbers(reader.read()) == [1]
    disk.before = lambda: keep(log, [b"x" * 30] * 3)
    assert numbers(reader.read()) == [2]
    assert numbers(reader.read()) == [3, 4]
    assert reader.missed == 0


def test_a_segment_that_is_dropped_while_a_reader_goes_to_it_is_passed_over():
    disk = Interleaved()
    log, reader = open_log(disk, segment_bytes=200), LogReader(disk)
    keep(log, [b"x" * 30] * 6)
    disk.after = lambda: log.drop(2)
    assert numbers(reader.read()) == [3, 4]
    assert reader.missed == 2


def test_a_segment_with_a_damaged_header_is_passed_over_and_counted():
    disk = SimulatedDisk()
    keep(open_log(disk, segment_bytes=200), [b"x" * 30] * 6)
    disk.open(f"log/{segments_of(disk, 'log')[1]}").write_at(0, [b"?"])
    reader = LogReader(disk)
    assert numbers(reader.read() + reader.read()) == [1, 2, 5, 6]
    assert reader.missed == 2


def test_following_passes_damage_in_a_sealed_segment_in_time():
    disk = SimulatedDisk()
    keep(open_log(disk, segment_bytes=200), [b"x" * 30] * 4)
    name = segments_of(disk, "log")[0]
    disk.open(f"log/{name}").write_at(HEADER_SIZE + HEAD_SIZE + 30, [bytes(HEAD_SIZE)])
    reader = LogReader(disk)
    assert numbers(reader.follow(3600)) == [1]
    assert numbers(reader.follow(3600)) == [3, 4]
    assert reader.missed == 1


def test_a_segment_without_a_header_yet_is_waited_for():
    disk = SimulatedDisk()
    keep(open_log(disk), [b"a"])
    reader = LogReader(disk)
    assert numbers(reader.read()) == [1]
    log = open_log(disk, epoch=2)
    (old, new) = segments_of(disk, "log")
    header = disk.open(f"log/{new}").read_at(0, HEADER_SIZE)
    disk.open(f"log/{new}").write_at(0, [bytes(HEADER_SIZE)])
    assert reader.read() == []
    keep(log, [b"b"])
    assert reader.read() == []
    disk.open(f"log/{new}").write_at(0, [header])
    assert numbers(reader.read()) == [2]
    assert old.epoch < new.epoch


def test_following_waits_for_the_next_record_and_gives_up_in_time(tmp_path):
    disk = LocalDisk(tmp_path)
    log = Log(disk, epoch=1)
    reader = LogReader(disk)
    assert reader.follow(0.01) == []
    sender = threading.Timer(0.02, log.append, (5, 1, 0, b"late"))
    sender.start()
    assert [record.payload for record in reader.follow(30)] == [b"late"]
    sender.join()
    log.close()
    reader.close()
    reader.close()


FOLLOWER = """
import sys
from pathlib import Path
from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.log_reader import LogReader

reader, count = LogReader(LocalDisk(Path(sys.argv[1]))), 0
print("ready", flush=True)
while count < 2000:
    for record in reader.follow(30):
        count += 1
        assert (record.sequence, record.payload) == (count, b"%d" % count)
print(reader.missed)
"""


def test_another_process_follows_over_rotations(tmp_path):
    follower = subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, str(tmp_path)], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    )
    assert follower.stdout.readline() == "ready\n"
    log = Log(LocalDisk(tmp_path), epoch=1, segment_bytes=4000)
    for number in range(1, 2001):
        log.append(5, 1, 0, b"%d" % number)
    out, err = follower.communicate(timeout=120)
    log.close()
    assert (out, follower.returncode) == ("0\n", 0), err


@dataclass
class Shift:
    """A cipher for tests alone: adds the sequence and a secret to each byte, and four bytes of its name."""

    key_id: bytes = b"key one\x00"
    secret: int = 7

    def seal(self, sequence, payload):
        return b"seal" + bytes((byte + self.secret + sequence) % 256 for byte in payload)

    def open(self, sequence, payload):
        assert payload[:4] == b"seal"
        return bytes((byte - self.secret - sequence) % 256 for byte in payload[4:])

    def under(self, key_id):
        return None


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_an_encrypted_log_is_read_with_its_key_over_restarts_without_it(payloads):
    disk, payloads = SimulatedDisk(), [*payloads, b"plain text"]
    keep(open_log(disk, cipher=Shift()), payloads)
    keep(open_log(disk, epoch=2, cipher=Shift(b"key two")), [])
    keep(open_log(disk, epoch=3, cipher=Shift()), payloads)
    found = read_all(LogReader(disk, cipher=Shift()))
    assert [record.payload for record in found] == payloads * 2
    everything = b"".join(bytes(disk.open(f"log/{name}").read_at(0, 9999)) for name in segments_of(disk, "log"))
    assert b"plain text" not in everything


@pytest.mark.parametrize(("cipher", "found"), [(None, "no key"), (Shift(b"other"), "key other")])
def test_without_the_right_key_the_reader_names_the_one_that_is_wanted(cipher, found):
    disk = SimulatedDisk()
    keep(open_log(disk, cipher=Shift()), [b"a"])
    reader = LogReader(disk, cipher=cipher)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"found {found}, wanted key key one to decrypt it"):
            reader.read()


def test_a_log_without_encryption_is_read_by_who_has_a_key():
    disk = SimulatedDisk()
    keep(open_log(disk), [b"a"])
    keep(open_log(disk, epoch=2, cipher=Shift()), [b"b"])
    assert [record.payload for record in read_all(LogReader(disk, cipher=Shift()))] == [b"a", b"b"]


def test_a_disk_that_cannot_be_read_is_an_error_of_the_store():
    class Broken(SimulatedDisk):
        def listing(self, folder):
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreError, match="log cannot be read: Input/output error"):
        LogReader(Broken()).read()
