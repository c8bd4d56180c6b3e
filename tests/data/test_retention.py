"""Retention: only what is old goes, tiers are read as one, and a file that is wanted is never deleted."""

import os
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.store import Store
from cryptoquant.errors import StoreError
from tests.data.rows import HOUR, START, frame, trade

DAY = timedelta(days=1)
NOW = START + 10 * 24 * HOUR


def filled(root, days: int = 5) -> Store:
    """Return a store with one trade an hour over some days, in a file a day."""
    store = Store(root, clock=lambda: NOW)
    rows = [trade(n + 1, n, minute=60 * n) for n in range(24 * days)]
    store.publish_recent({"trades": frame("trades", rows)}, len(rows), 1)
    store.compact()
    return store


@settings(max_examples=10)
@given(st.integers(0, 12 * 24), st.booleans())
def test_what_is_pruned_is_older_than_asked_and_nothing_else_is_missing(tmp_path_factory, hours, dry_run):
    store = filled(tmp_path_factory.mktemp("store"))
    before = store.trades()
    age = timedelta(hours=hours)
    gone = store.prune("trades", age, dry_run=dry_run)
    assert all(NOW - last > hours * HOUR for last in gone["last"].to_physical())
    kept = store.summary()["rows"].sum()
    assert kept + (0 if dry_run else gone["rows"].sum()) == before.height
    if kept:
        assert store.trades().equals(before.tail(kept))
    again = store.prune("trades", age)
    assert again.equals(gone) if dry_run else not again.height


def test_tiers_are_read_as_one_and_the_moved_files_are_deleted_here_after_the_grace(tmp_path):
    store = filled(tmp_path / "store")
    before = store.trades()
    moved = store.move("trades", timedelta(days=7), to=tmp_path / "cold")
    assert 0 < moved.height < store.summary()["files"].sum()
    assert set(moved["place"]) == {str(tmp_path / "cold")}
    assert store.trades().equals(before)
    assert store.vacuum(timedelta(0)) >= moved.height
    for path in moved["path"]:
        assert not (store.root / path).exists()
        assert (tmp_path / "cold" / path).exists()
    assert Store(store.root).trades().equals(before)
    assert not store.move("trades", timedelta(days=7), to=tmp_path / "cold").height
    store.compact()
    back = Store(store.root, clock=lambda: NOW)
    assert back.trades().equals(before)
    back.move("trades", timedelta(days=7), to=tmp_path / "colder")
    assert back.trades().equals(before)
    back.vacuum(timedelta(0))
    assert back.trades().equals(before)
    assert not list((tmp_path / "cold").rglob("*.parquet"))


def test_a_file_that_is_not_what_the_manifest_says_is_not_moved(tmp_path):
    store = filled(tmp_path / "store")
    path = sorted((store.root / "kind=trades").rglob("*.parquet"))[0]
    content = path.read_bytes()
    for damaged in (content[:-1], content[:100] + b"?" + content[101:]):
        path.write_bytes(damaged)
        version = store.version
        with pytest.raises(StoreError, match="not moved"):
            store.move("trades", timedelta(0), to=tmp_path / "cold")
        assert store.version == version
    with pytest.raises(ValueError, match="the store itself"):
        store.move("trades", timedelta(0), to=store.root)


def test_leftovers_go_after_the_grace_and_what_is_not_ours_stays(tmp_path):
    store = filled(tmp_path / "store")
    store.vacuum(timedelta(0))
    folder = next(store.root.rglob("*.parquet")).parent
    foreign = [store.root / "notes.txt", store.root / "log" / "1.tmp", folder / "notes.txt"]
    leftovers = [folder / ".a.tmp", folder / "unlisted.parquet", store.root / ".b.tmp"]
    for path in (*foreign, *leftovers):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, ns=(NOW - 60 * 10**9, NOW - 60 * 10**9))
    before = store.trades()
    assert store.vacuum(timedelta(minutes=2)) == 0
    assert store.vacuum(timedelta(seconds=30)) == 3
    assert all(path.exists() for path in foreign)
    assert not any(path.exists() for path in leftovers)
    assert store.trades().equals(before)
    with pytest.raises(ValueError, match="not negative"):
        store.vacuum(timedelta(seconds=-1))


def test_a_reader_that_began_before_a_vacuum_starts_again(tmp_path):
    store = filled(tmp_path / "store", days=1)
    reader = Store(tmp_path / "store")
    rows = [trade(100, 100, minute=5)]
    store.publish_recent({"trades": frame("trades", rows)}, 100, 1)

    class Meanwhile:
        """A tail during whose reading the store is compacted and cleaned, once."""

        is_done = False

        def frame(self, kind, symbols, after):
            if not self.is_done:
                self.is_done = True
                store.compact()
                for path in store.root.rglob("*.parquet"):
                    os.utime(path, ns=(NOW - 10**9, NOW - 10**9))
                store.vacuum(timedelta(0))
            return frame(kind, [])

    reader._reader.tail = Meanwhile()
    assert reader.trades().height == 25
