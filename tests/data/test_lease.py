"""One recorder at a time, each with a larger number than the one before, also after a kill."""

import os
import signal
import subprocess
import sys

import pytest

from cryptoquant.data.lease import Lease
from cryptoquant.errors import StoreError

HOLDER = """
import sys
from pathlib import Path
from cryptoquant.data.lease import Lease

lease = Lease(Path(sys.argv[1]), "recorder")
print(lease.epoch, flush=True)
sys.stdin.read()
"""


def hold(folder):
    """A process that holds the lease; returns it and its epoch."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def test_each_holder_gets_a_larger_epoch(tmp_path):
    epochs = []
    for _ in range(4):
        with Lease(tmp_path / "new", "recorder") as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3, 4]


def test_a_second_holder_is_told_who_holds_it(tmp_path):
    with Lease(tmp_path, "recorder"), pytest.raises(StoreError, match=f"held by process {os.getpid()}; wanted one"):
        Lease(tmp_path, "recorder")
    with Lease(tmp_path, "recorder") as lease:
        assert lease.epoch == 2


def test_two_names_are_two_leases(tmp_path):
    with Lease(tmp_path, "one") as one, Lease(tmp_path, "two") as two:
        assert one.epoch == two.epoch == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_of_a_dead_process_is_free_and_its_epoch_used_up(tmp_path, end):
    process, epoch = hold(tmp_path)
    with pytest.raises(StoreError, match=f"held by process {process.pid}"):
        Lease(tmp_path, "recorder")
    process.send_signal(end)
    process.communicate(timeout=60)
    with Lease(tmp_path, "recorder") as lease:
        assert (epoch, lease.epoch) == (1, 2)


def test_the_child_of_a_holder_does_not_keep_it(tmp_path):
    with Lease(tmp_path, "recorder"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with Lease(tmp_path, "recorder") as lease:
        assert lease.epoch == 2
    child.communicate(b"\n", timeout=60)


def test_a_lease_that_was_made_but_never_given_out_begins_at_one(tmp_path):
    (tmp_path / "recorder.lease").touch()
    with Lease(tmp_path, "recorder") as lease:
        assert lease.epoch == 1


def test_a_damaged_lease_is_refused_and_not_kept(tmp_path):
    path = tmp_path / "recorder.lease"
    path.write_bytes(b"epoch 12")
    for _ in range(2):
        with pytest.raises(StoreError, match="found b'epoch 12', wanted 'epoch <number> pid <number>'"):
            Lease(tmp_path, "recorder")


def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="lease cannot be opened: "):
        Lease(tmp_path / "file", "recorder")


def test_releasing_twice_changes_nothing(tmp_path):
    lease = Lease(tmp_path, "recorder")
    lease.release()
    lease.release()
