"""What every disk promises, asked of this machine's and of the simulated one; and what the simulated one forgets."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.disk import TEMPORARY, LocalDisk, publish
from tests.data.simulated_disk import SECTOR, Crash, SimulatedDisk


@pytest.fixture(params=["local", "simulated"])
def disk(request, tmp_path):
    return LocalDisk(tmp_path) if request.param == "local" else SimulatedDisk()


def content(disk, path):
    file = disk.open(path)
    found = file.read_at(0, file.size())
    file.close()
    return found


class TestEveryDisk:
    def test_chunks_are_written_one_after_the_other(self, disk):
        file = disk.create("a/b/file")
        chunks = [bytes([number % 256]) * (number % 7) for number in range(1500)]
        assert file.write_at(3, chunks) == sum(map(len, chunks))
        assert content(disk, "a/b/file") == bytes(3) + b"".join(chunks)
        assert file.size() == 3 + sum(map(len, chunks))

    def test_nothing_is_written_by_no_bytes(self, disk):
        file = disk.create("file")
        assert file.write_at(0, []) == 0
        assert file.write_at(0, [b"", b""]) == 0
        assert file.size() == 0

    def test_reading_ends_at_the_end(self, disk):
        file = disk.create("file")
        file.write_at(0, [b"abcdef"])
        assert (file.read_at(4, 10), file.read_at(6, 10), file.read_at(99, 1)) == (b"ef", b"", b"")

    def test_reserved_space_reads_as_zeros_and_never_shrinks_a_file(self, disk):
        file = disk.create("file")
        file.write_at(0, [b"abc"])
        file.allocate(10)
        assert content(disk, "file") == b"abc" + bytes(7)
        file.allocate(2)
        assert file.size() == 10

    def test_a_file_is_cut_and_lengthened(self, disk):
        file = disk.create("file")
        file.write_at(0, [b"abcdef"])
        file.truncate(3)
        file.truncate(5)
        file.sync()
        assert content(disk, "file") == b"abc\x00\x00"

    def test_a_name_is_made_once_and_must_be_there_to_open(self, disk):
        disk.create("x/file")
        with pytest.raises(FileExistsError):
            disk.create("x/file")
        with pytest.raises(FileNotFoundError):
            disk.open("x/other")
        with pytest.raises(FileNotFoundError):
            disk.replace("x/other", "x/third")

    def test_a_rename_takes_the_place_of_another_file(self, disk):
        for name in ("old", "new"):
            disk.create(f"x/{name}").write_at(0, [name.encode()])
        disk.replace("x/old", "x/new")
        assert disk.listing("x") == ["new"]
        assert content(disk, "x/new") == b"old"

    def test_an_open_file_outlives_its_name(self, disk):
        file = disk.create("x/file")
        file.write_at(0, [b"abc"])
        disk.remove("x/file")
        assert not disk.exists("x/file")
        assert file.read_at(0, 3) == b"abc"

    def test_removing_what_is_not_there_is_no_error(self, disk):
        disk.remove("nothing")
        disk.sync_folder("")

    def test_names_are_listed_sorted_with_folders(self, disk):
        for path in ("x/c", "x/a/deep", "x/b", "y"):
            disk.create(path)
        assert disk.listing("x") == ["a", "b", "c"]
        assert disk.listing("") == ["x", "y"]
        assert disk.listing("none") == []
        assert disk.exists("x")
        assert disk.exists("x/a/deep")
        assert not disk.exists("z")
        disk.sync_folder("x")

    def test_a_published_file_is_complete_and_leaves_nothing_else(self, disk):
        publish(disk, "x/file", [b"old"])
        publish(disk, "x/file", [b"ne", b"w"])
        assert content(disk, "x/file") == b"new"
        assert disk.listing("x") == ["file"]


SEEDS = range(60)


def outcomes(disk, path):
    """All contents that some power cut leaves of a file; None when its name is gone."""
    cut = [disk.power_cut(seed) for seed in SEEDS]
    return {bytes(content(one, path)) if one.exists(path) else None for one in cut}


def test_what_was_not_synced_may_be_kept_lost_or_torn_between_sectors():
    disk = SimulatedDisk()
    file = disk.create("file")
    disk.sync_folder("")
    file.write_at(0, [b"a" * 3 * SECTOR])
    found = outcomes(disk, "file")
    assert {b"", b"a" * 3 * SECTOR, b"a" * SECTOR, bytes(SECTOR) + b"a" * 2 * SECTOR} <= found
    assert all(set(one[place : place + SECTOR]) <= {0} or set(one[place : place + SECTOR]) == {97}
               for one in found for place in range(0, len(one), SECTOR))  # fmt: skip


def test_what_was_synced_stays():
    disk = SimulatedDisk()
    file = disk.create("file")
    file.write_at(0, [b"abc"])
    file.sync()
    disk.sync_folder("")
    file.write_at(1, [b"X"])
    assert outcomes(disk, "file") == {b"abc", b"aXc"}


def test_a_name_that_was_not_synced_may_be_gone_although_its_content_is_safe():
    disk = SimulatedDisk()
    file = disk.create("file")
    file.write_at(0, [b"abc"])
    file.sync()
    assert outcomes(disk, "file") == {b"abc", None}


def test_a_removed_name_may_come_back_until_its_folder_is_synced():
    disk = SimulatedDisk()
    publish(disk, "x/file", [b"abc"])
    disk.remove("x/file")
    assert outcomes(disk, "x/file") == {b"abc", None}
    disk.sync_folder("x")
    assert outcomes(disk, "x/file") == {None}


def test_writes_that_were_not_synced_change_places():
    disk = SimulatedDisk()
    file = disk.create("file")
    disk.sync_folder("")
    file.write_at(0, [b"1"])
    file.write_at(0, [b"2"])
    assert outcomes(disk, "file") == {b"", b"1", b"2"}
    second_only = [disk.power_cut(seed) for seed in SEEDS]
    assert any(content(one, "file") == b"1" for one in second_only)


@given(crash_at=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_published_file_is_the_old_or_the_new_one_wherever_the_power_is_cut(crash_at, seed):
    disk = SimulatedDisk()
    publish(disk, "x/file", [b"old"])
    disk.crash_at = disk.calls + crash_at
    try:
        publish(disk, "x/file", [b"new" * SECTOR])
        is_published = True
    except Crash:
        is_published = False
    found = content(disk.power_cut(seed), "x/file")
    assert found in ({b"new" * SECTOR} if is_published else {b"old", b"new" * SECTOR})


@pytest.mark.parametrize("number", range(1, 5))
def test_a_publication_that_fails_leaves_nothing(number):
    disk = SimulatedDisk()
    publish(disk, "x/file", [b"old"])
    disk.errors[disk.calls + number] = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        publish(disk, "x/file", [b"new"])
    assert content(disk, "x/file") == b"old"
    assert not any(name.endswith(TEMPORARY) for name in disk.listing("x"))


def test_a_full_disk_takes_what_fits_and_says_so():
    disk = SimulatedDisk(capacity=5)
    file = disk.create("file")
    with pytest.raises(OSError, match="No space left") as refused:
        file.write_at(0, [b"abc", b"def"])
    assert refused.value.errno == errno.ENOSPC
    assert content(disk, "file") == b"abcde"
    with pytest.raises(OSError, match="No space left"):
        file.allocate(6)


def test_after_a_failed_sync_the_content_is_seen_but_never_becomes_durable():
    disk = SimulatedDisk()
    file = disk.create("file")
    disk.sync_folder("")
    file.write_at(0, [b"abc"])
    disk.errors[disk.calls + 1] = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    assert content(disk, "file") == b"abc"
    assert outcomes(disk, "file") == {b""}


def test_a_killed_process_loses_nothing_and_has_nothing_more_durable():
    disk = SimulatedDisk()
    disk.create("x/file").write_at(0, [b"abc"])
    disk.crash_at = disk.calls + 1
    with pytest.raises(Crash):
        disk.remove("other")
    with pytest.raises(Crash):
        disk.listing("x")
    after = disk.kill()
    assert content(after, "x/file") == b"abc"
    assert {None, b"", b"abc"} == outcomes(after, "x/file")
