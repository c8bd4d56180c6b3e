"""Retention: only what is old goes, tiers are read as one, and a file that is wanted is never deleted."""

import os
import uuid
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.entry import Write
from cryptoquant.data.shelf import LocalShelf
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
    aged(root)
    return store


def aged(root) -> None:
    """Let all files be a second older than the present of `filled`."""
    for path in root.rglob("*.parquet"):
        os.utime(path, ns=(NOW - 10**9, NOW - 10**9))


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
    (cold,) = set(moved["place"])
    assert cold.startswith(f"{tmp_path}/cold/")
    assert store.trades().equals(before)
    assert store.vacuum(timedelta(0)) >= moved.height
    for path in moved["path"]:
        assert not (store.root / path).exists()
        assert (tmp_path / cold / path).exists()
    assert Store(store.root).trades().equals(before)
    assert not store.move("trades", timedelta(days=7), to=tmp_path / "cold").height
    store.compact()
    back = Store(store.root, clock=lambda: NOW)
    assert back.trades().equals(before)
    back.move("trades", timedelta(days=7), to=tmp_path / "colder")
    assert back.trades().equals(before)
    aged(tmp_path)
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
    path.unlink()
    with pytest.raises(StoreError, match=r"is missing at .*; not moved"):
        store.move("trades", timedelta(0), to=tmp_path / "cold")


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


@pytest.mark.parametrize("spelling", ["{0}", "{0}/", "file://{0}", "{0}/../store", "{1}/link", "{0}/kind=trades"])
def test_a_store_is_not_moved_onto_itself_or_another_store_however_it_is_spelt(tmp_path, spelling):
    store, other = filled(tmp_path / "store", days=1), filled(tmp_path / "other", days=1)
    (tmp_path / "link").symlink_to(tmp_path / "store")
    before = store.trades()
    for one in (store, other):
        with pytest.raises(ValueError, match="is a store or lies in one"):
            one.move("trades", timedelta(0), to=spelling.format(tmp_path / "store", tmp_path))
        assert one.vacuum(timedelta(0)) == 1  # the recent file
        assert one.trades().equals(before)


@pytest.mark.parametrize("scheme", ["file://", "memory://"])
def test_files_that_an_older_manifest_says_were_moved_onto_the_store_itself_are_kept(tmp_path, scheme):
    url = f"{scheme}{tmp_path}/store" if scheme == "file://" else f"memory://{uuid.uuid4().hex}"
    store = Store(url)
    store.write("trades", frame("trades", [trade(n, n, minute=n) for n in range(9)]).drop("position", "rank"))
    before, vault = store.trades(), store._vault
    held = list(vault.snapshot().entries())
    moved = tuple(replace(entry, place=f"{url}/") for entry in held)
    vault.commit(lambda _: Write(moved, None, tuple(entry.path for entry in held), at=1))
    assert store.vacuum(timedelta(0)) == 0
    assert store.trades().equals(before)


def test_files_that_an_older_manifest_says_lie_at_the_tier_itself_stay_there(tmp_path):
    store = filled(tmp_path / "store")
    before, vault, cold = store.trades(), store._vault, f"memory://{uuid.uuid4().hex}"
    held = list(vault.snapshot().entries())
    for entry in held:
        vault.shelf_of(cold).put(entry.path, vault.shelf.get(entry.path))
    moved = tuple(replace(entry, place=f"{cold}/") for entry in held)
    vault.commit(lambda _: Write(moved, None, tuple(entry.path for entry in held), at=1))
    assert not store.move("trades", timedelta(0), to=cold).height
    store.vacuum(timedelta(0))
    assert store.trades().equals(before)


def test_a_tier_under_another_name_is_the_same_tier(tmp_path):
    store, cold = filled(tmp_path / "store"), f"memory://{uuid.uuid4().hex}"
    before = store.trades()
    assert store.move("trades", timedelta(0), to=f"{cold}/").height == 6
    for name in (cold, f"{cold}/", cold.replace("://", ":///")):
        assert not store.move("trades", timedelta(0), to=name).height
    store.vacuum(timedelta(0))
    assert store.trades().equals(before)


def test_two_stores_of_equal_rows_may_share_a_tier(tmp_path):
    stores = [filled(tmp_path / name) for name in ("one", "two")]
    before = stores[0].trades()
    for store in stores:
        store.move("trades", timedelta(0), to=tmp_path / "cold")
    stores[0].prune("trades", timedelta(0), dry_run=False)
    aged(tmp_path)
    assert stores[0].vacuum(timedelta(0)) == 13  # a recent file, six here and six there
    assert stores[1].trades().equals(before)


def test_a_store_that_was_made_without_a_name_for_its_tiers_gets_one_that_stays(tmp_path):
    store = filled(tmp_path / "store", days=2)
    (tmp_path / "store" / "store.json").write_text('{"layout": 2}')
    (place,) = set(store.move("trades", timedelta(days=9), to=tmp_path / "cold")["place"])
    store = Store(tmp_path / "store", clock=lambda: NOW)
    assert set(store.move("trades", timedelta(0), to=tmp_path / "cold")["place"]) == {place}


def test_a_file_that_was_put_again_since_it_was_found_to_be_old_is_not_deleted(tmp_path):
    shelf = LocalShelf(LocalDisk(tmp_path))
    shelf.put("kind=trades/a.parquet", b"x")
    ((path, modified),) = shelf.files()
    assert not shelf.delete(path, unless_after=modified - 1)
    assert shelf.exists(path)
    assert shelf.delete(path, unless_after=modified)
    assert not shelf.exists(path)
    assert not shelf.delete(path)
