"""The manifest: whatever is appended, torn, rewritten or read meanwhile, the fold is that of the writes in order."""

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.manifest import Entry, Manifest, Write
from cryptoquant.data.snapshot import Fold, Series
from cryptoquant.errors import StoreError

SYMBOLS = ["BTC/USD", "ETH/USD", ""]


def entry(name: int, first: int = 0, last: int = 9, symbol: str = "BTC/USD") -> Entry:
    symbols = ("BTC/USD", "SOL/USD") if not symbol else ()
    return Entry(f"{name}.parquet", "trades", "", symbol, first, last, 1, 1, "", "", symbols)


writes = st.lists(
    st.builds(
        lambda added, removed, published, lineage, at: Write(
            tuple({e.path: e for e in added}.values()),
            lineage,
            tuple(f"{n}.parquet" for n in removed),
            published,
            3,
            at,
        ),
        st.lists(
            st.builds(entry, st.integers(0, 9), st.integers(0, 20), st.integers(20, 40), st.sampled_from(SYMBOLS)),
            max_size=3,
        ),
        st.sets(st.integers(0, 9), max_size=3),
        st.none() | st.integers(0, 20),
        st.none() | st.sampled_from(["a", "b"]),
        st.integers(0, 9),
    ),
    max_size=12,
)


def told(said: list[Write]) -> dict[str, Entry]:
    live: dict[str, Entry] = {}
    for write in said:
        for path in write.removed:
            live.pop(path, None)
        for added in write.added:
            live.pop(added.path, None)
            live[added.path] = added
    return live


def check(snapshot, said: list[Write]) -> None:
    live = told(said)
    assert {e.path: replace(e, written=(0, 0)) for e in snapshot.entries()} == live
    assert snapshot.version == len(said)
    assert snapshot.published == max((w.published or 0 for w in said), default=0)
    assert list(snapshot.lineages) == [w.lineage for w in said if w.lineage is not None]
    names = {e.symbol for e in live.values() if e.symbol} | {n for e in live.values() for n in e.symbols}
    assert list(snapshot.symbols("trades")) == sorted(names)
    for symbol in SYMBOLS:
        series = snapshot.series("trades", "", symbol)
        written = [e for e in live.values() if e.symbol == symbol]
        assert [e.path for e in series.as_written(series.entries)] == [e.path for e in written]
        for first, last in ((None, None), (5, 25), (21, 22), (None, 3)):
            hit = [e for e in written if (first is None or e.last >= first) and (last is None or e.first <= last)]
            assert [e.path for e in series.as_written(series.within(first, last))] == [e.path for e in hit]


def check_past(manifest, said: list[Write]) -> list[int]:
    """Hold that each version can be told truly or not at all; return those that can."""
    readable = []
    for version in range(len(said) + 1):
        try:
            snapshot = manifest.at(version)
        except StoreError:
            continue
        check(snapshot, said[:version])
        readable.append(version)
    return readable


@settings(max_examples=25)
@given(writes, st.sets(st.integers(0, 12)), st.integers(-1, 9))
def test_a_reader_sees_the_writes_in_order_however_they_are_taken_and_checkpointed(
    tmp_path_factory, said, looks, removed_after
):
    disk = LocalDisk(tmp_path_factory.mktemp("store"))
    writer, reader = Manifest(disk), Manifest(disk)
    kept = {}
    for number, write in enumerate(said, 1):
        kept[number] = writer.append(write)
        if number in looks:
            check(reader.snapshot(), said[:number])
    for number, snapshot in kept.items():
        check(snapshot, said[:number])
        check(reader.at(number), said[:number])
    writer.checkpoint(removed_after, least_bytes=0)
    for manifest in (writer, reader, Manifest(disk)):
        check(manifest.snapshot(), said)
        assert {0, len(said)} <= set(check_past(manifest, said))
    more = [*said, Write((entry(99),), at=5)]
    writer.append(more[-1])
    for manifest in (writer, reader, Manifest(disk)):
        check(manifest.snapshot(), more)


@given(writes, st.integers(-1, 9))
def test_a_checkpoint_tells_the_same_state_and_when_what_was_removed_since_was(said, removed_after):
    assume(said)
    fold, again = Fold(), Fold()
    fold.take(said)
    again.take([fold.checkpoint(removed_after)])
    assert set(again.snapshot().entries()) == set(fold.snapshot().entries())
    assert again.version == fold.version
    assert again.removed() == [(at, e) for at, e in fold.removed() if at > removed_after]


@given(writes, st.integers(0, 12))
def test_a_file_that_says_when_its_rows_were_written_keeps_its_place_through_moves_and_checkpoints(said, number):
    fold = Fold()
    fold.take(said)
    live = list(fold.snapshot().entries())
    moved = tuple(replace(e, place="cold") for e in live if int(e.path[0]) % 2)
    paths = tuple(e.path for e in moved)
    again = Fold()
    again.take([*said, Write(moved, None, paths, at=5)])
    late = Fold()
    late.take([again.checkpoint(9)])
    for folded in (again, late):
        folded.take([Write((entry(number),), at=6)])
        for symbol in SYMBOLS:
            series = folded.snapshot().series("trades", "", symbol)
            wanted = [e.path for e in told([*said, Write((entry(number),))]).values() if e.symbol == symbol]
            assert [e.path for e in series.as_written(series.entries)] == wanted


def test_a_checkpoint_of_two_lines_is_read_but_its_first_line_is_no_version(tmp_path):
    gone, moved, kept = entry(1), entry(2), entry(3)
    older = Write((gone, moved, kept), None, (), 7, 3, 0, 66, ("a",))
    newer = Write((replace(moved, place="cold"),), None, (gone.path, moved.path), None, 0, 5, 67)
    lines = [msgspec.json.encode(write) + b"\n" for write in (older, newer, Write((entry(4),), at=6))]
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(lines))
    manifest = Manifest(LocalDisk(tmp_path))
    assert {e.path for e in manifest.at(67).entries()} == {"2.parquet", "3.parquet"}
    assert {e.path for e in manifest.snapshot().entries()} == {"2.parquet", "3.parquet", "4.parquet"}
    with pytest.raises(StoreError, match="version 66 cannot be told; wanted 67 to 68"):
        manifest.at(66)


def test_two_checkpoints_of_one_version_are_told_apart_by_a_reader_that_was_open(tmp_path):
    disk = LocalDisk(tmp_path)
    writer, reader = Manifest(disk), Manifest(disk)
    writer.append(Write((entry(99),), at=0))
    for number in range(20):
        writer.append(Write((entry(number % 2),), None, (f"{number % 2}.parquet",), at=number))
        writer.append(Write((), None, (f"{number % 2}.parquet",), at=number))
    assert writer.checkpoint(15, least_bytes=0)
    reader.snapshot()
    assert writer.checkpoint(30, least_bytes=0)
    for number in range(10):
        writer.append(Write((entry(10 + number),), at=40))
    assert {e.path for e in reader.snapshot().entries()} == {"99.parquet", *(f"{10 + n}.parquet" for n in range(10))}


def test_a_checkpoint_is_noticed_by_a_reader_that_was_open_and_earlier_versions_are_gone(tmp_path):
    disk = LocalDisk(tmp_path)
    writer, reader = Manifest(disk), Manifest(disk)
    for number in range(50):
        writer.append(Write((entry(number),), None, (f"{number - 1}.parquet",), number, at=number))
    assert reader.snapshot().version == 50
    assert not writer.checkpoint(49)
    assert writer.checkpoint(49, least_bytes=0)
    assert (tmp_path / "manifest.jsonl").read_bytes().count(b"\n") == 1
    assert [e.path for e in reader.snapshot().entries()] == ["49.parquet"]
    assert reader.snapshot().version == 50
    assert [e.path for e in reader.at(50).entries()] == ["49.parquet"]
    with pytest.raises(StoreError, match="version 49 cannot be told; wanted 50 to 50"):
        reader.at(49)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30), st.integers(0, 60), st.integers(0, 60))
def test_files_are_found_by_time_also_when_they_overlap(spans, first, last):
    entries = [entry(n, begin, begin + length) for n, (begin, length) in enumerate(spans)]
    found = Series(entries).within(first, last)
    assert {e.path for e in found} == {e.path for e in entries if e.last >= first and e.first <= last}
    assert [e.first for e in found] == sorted(e.first for e in found)


def test_a_torn_line_is_passed_over_and_cut_off_by_the_next_write(tmp_path):
    disk = LocalDisk(tmp_path)
    Manifest(disk).append(Write((entry(1),)))
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    line = msgspec.json.encode(Write((entry(2),))) + b"\n"
    for cut in range(len(line)):
        path.write_bytes(whole + line[:cut])
        reader = Manifest(disk)
        assert reader.snapshot().version == 1
        path.write_bytes(whole + line)
        assert reader.snapshot().version == 2
    path.write_bytes(whole + b"\x00" * 100)
    writer = Manifest(disk)
    writer.append(Write((entry(3),)))
    assert [e.path for e in Manifest(disk).snapshot().entries()] == ["1.parquet", "3.parquet"]
    assert b"\x00" not in path.read_bytes()


def test_a_disk_that_refuses_is_a_store_error(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be"):
        Manifest(LocalDisk(tmp_path)).append(Write((entry(1),)))
