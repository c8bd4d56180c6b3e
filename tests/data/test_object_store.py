"""A store in an object store: the laws of a local one, and no write lost though nothing can be locked."""

import importlib.util
import socket
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.manifest import Manifest, Write
from cryptoquant.data.object_store import ObjectShelf
from cryptoquant.data.opening import Opener
from cryptoquant.data.remote_manifest import RemoteManifest
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ConfigurationError, StoreError, StoreLayoutError
from tests.data import rows
from tests.data.test_manifest import check, check_past, entry, writes

pytest.importorskip("fsspec", reason="fsspec is not installed")
MARKET = SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], start="2024-01-20", days=20, timeframe="1h").bars()


def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def bucket():
    """Options of a fresh server of S3 on loopback, with one bucket."""
    for package in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: no server of S3 to test against")
    import s3fs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options = {
        "key": "test", "secret": "test", "endpoint_url": f"http://127.0.0.1:{port}",
        "client_kwargs": {"region_name": "us-east-1"},
    }  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        s3fs.S3FileSystem(**options).call_s3("create_bucket", Bucket="bucket")
        yield options
    finally:
        server.kill()
        server.wait()


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """A URL to make a store at, and its options."""
    if request.param == "memory":
        return memory(), None
    return f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("bucket")


def opening(where, tmp_path_factory):
    """Return a function that opens the manifest of one new place again and again."""
    if where == "local":
        disk = LocalDisk(tmp_path_factory.mktemp("store"))
        return lambda: Manifest(disk)
    shelf = ObjectShelf(memory())
    return lambda: RemoteManifest(shelf, every=5)


@pytest.mark.parametrize("where", ["local", "memory"])
@settings(max_examples=20)
@given(writes, st.sets(st.integers(0, 12)), st.integers(-1, 9))
def test_every_manifest_tells_the_writes_in_order_however_they_are_taken_and_merged(
    tmp_path_factory, where, said, looks, removed_after
):
    open_one = opening(where, tmp_path_factory)
    writer, reader = open_one(), open_one()
    kept = {}
    for number, write in enumerate(said, 1):
        kept[number] = writer.append(write)
        if number in looks:
            check(reader.snapshot(), said[:number])
    for number, snapshot in kept.items():
        check(snapshot, said[:number])
        check(reader.at(number), said[:number])
    writer.checkpoint(removed_after)
    for manifest in (writer, reader, open_one()):
        check(manifest.snapshot(), said)
        assert {0, len(said)} <= set(check_past(manifest, said))
    more = [*said, Write((entry(99),), at=5)]
    writer.append(more[-1])
    for manifest in (writer, reader, open_one()):
        check(manifest.snapshot(), more)
    with pytest.raises(StoreError, match="cannot be told"):
        reader.at(len(more) + 1)


def test_a_lost_race_is_decided_again_on_top_of_the_new_state():
    shelf = ObjectShelf(memory())
    slow, fast = RemoteManifest(shelf), RemoteManifest(shelf)
    seen = []

    def decide(snapshot):
        seen.append([e.path for e in snapshot.entries()])
        if len(seen) == 1:
            fast.append(Write((entry(1),)))
        return Write((entry(2),))

    assert slow.commit(decide).version == 2
    assert seen == [[], ["1.parquet"]]
    assert {e.path for e in RemoteManifest(shelf).snapshot().entries()} == {"1.parquet", "2.parquet"}


def test_a_writer_that_slept_until_its_number_was_merged_and_deleted_is_not_lost():
    shelf = ObjectShelf(memory())
    sleeper, busy = RemoteManifest(shelf), RemoteManifest(shelf)
    asked = []

    def decide(snapshot):
        asked.append(snapshot.version)
        if len(asked) == 1:
            for number in range(1, 8):
                busy.append(Write((entry(number),)))
            busy.checkpoint(time.time_ns() + 10**12, least_commits=1)
            assert not shelf.exists("_manifest/00000000000000000001.json")
        return Write((entry(99),))

    stale = RemoteManifest(shelf)
    stale.snapshot()
    sleeper.commit(decide)
    assert asked == [0, 7]
    for manifest in (stale, busy, RemoteManifest(shelf)):
        assert {e.path for e in manifest.snapshot().entries()} == {f"{n}.parquet" for n in (*range(1, 8), 99)}
    assert not shelf.exists("_manifest/00000000000000000001.json")


def test_a_damaged_and_a_missing_commit_are_named():
    shelf = ObjectShelf(memory())
    manifest = RemoteManifest(shelf)
    for number in range(3):
        manifest.append(Write((entry(number),)))
    shelf.delete("_manifest/00000000000000000001.json")
    with pytest.raises(StoreError, match="commit 1 is missing"):
        RemoteManifest(shelf).snapshot()
    shelf.put("_manifest/00000000000000000001.json", b"{")
    with pytest.raises(StoreError, match=r"00001\.json: is damaged"):
        RemoteManifest(shelf).snapshot()


def test_of_many_who_create_an_object_one_does(bucket):
    shelf = ObjectShelf(f"s3://bucket/{uuid.uuid4().hex}", bucket)
    made = []
    threads = [
        threading.Thread(target=lambda n=n: made.append((shelf.create("a/one", b"%d" % n), n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for is_made, number in made if is_made]
    assert len(made) == 8
    assert len(winners) == 1
    assert shelf.get("a/one") == b"%d" % winners[0]


def test_two_writers_at_once_lose_nothing(bucket):
    url = f"s3://bucket/{uuid.uuid4().hex}"
    trades = [rows.frame("trades", [rows.trade(n, n)]).drop("position", "rank") for n in range(40)]

    def work(part):
        store = Store(url, storage=bucket)
        for frame in trades[part::2]:
            store.write("trades", frame)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(url, storage=bucket)
    assert store.version == 40
    assert sorted(store.trades()["id"]) == list(range(40))


def test_writes_compaction_tables_retention_and_time_travel_are_those_of_a_local_store(place, tmp_path):
    url, storage = place
    stores = [Store(url, storage=storage), Store(tmp_path / "local")]
    features = MARKET.select("symbol", "time", pl.col("close").alias("feature"))
    ticks = rows.frame("trades", [rows.trade(n, n, minute=n) for n in range(1, 50)])
    for store in stores:
        for part in (MARKET.head(500), MARKET.tail(700)):
            store.write("bars", part)
        store.write("features", features, lineage={"of": "bars"})
        for n in (1, 2):
            assert store.publish_recent({"trades": ticks[25 * (n - 1) : 25 * n]}, 25 * n, 1) in (24, 25)
            assert store.publish_recent({"trades": ticks[25 * (n - 1) : 25 * n]}, 25 * n, 1) == 0
    remote, local = stores

    def agree():
        again = Store(url, storage=storage)
        for one in (remote, again):
            assert one.bars(None, "1h").equals(local.bars(None, "1h"))
            assert one.trades().equals(local.trades())
            assert one.read("features").equals(local.read("features"))
            assert one.bars("BTC/USD", "4h", start="2024-01-22", end="2024-01-24").equals(
                local.bars("BTC/USD", "4h", start="2024-01-22", end="2024-01-24")
            )
            assert one.summary().drop("bytes").equals(local.summary().drop("bytes"))
            assert (one.version, one.published, one.lineages()) == (local.version, local.published, local.lineages())

    agree()
    version = remote.version
    replaced = [store.compact() for store in stores]
    assert replaced[0] == replaced[1] > 0
    agree()
    assert remote.at(version).trades().equals(local.at(version).trades())
    assert remote.vacuum() == 0
    gone = [store.prune("trades", timedelta(0), dry_run=False) for store in stores]
    assert gone[0].height == gone[1].height > 0
    assert remote.bars(None, "1h").equals(local.bars(None, "1h"))
    deleted = remote.vacuum(timedelta(0))
    assert deleted > 0
    assert remote.bars(None, "1h").equals(local.bars(None, "1h"))


def test_old_files_move_to_an_object_store_and_are_read_from_both(place, tmp_path):
    url, storage = place
    store = Store(tmp_path / "store", storage=storage, clock=lambda: int(time.time_ns()))
    store.write("bars", MARKET)
    january = store.summary()["files"].sum()
    old = timedelta(microseconds=time.time_ns() // 1000) - timedelta(days=19_754)  # what ended before 2024-02-01
    moved = store.move("bars", old, to=url)
    assert 0 < moved.height < january
    assert all(told.startswith(f"{url}/") for told in moved["place"])
    store.vacuum(timedelta(0))
    assert len(list((tmp_path / "store").rglob("*.parquet"))) == january - moved.height
    assert store.bars(None, "1h").equals(MARKET)
    assert Store(tmp_path / "store", storage=storage).bars("ETH/USD", "1h").height == 480


def test_large_objects_are_read_in_parts_to_the_same_rows(place):
    url, storage = place
    store = Store(url, storage=storage)
    ticks = rows.frame("trades", [rows.trade(n, n, minute=n % 200) for n in range(3000)])
    store.write("trades", ticks.drop("position", "rank"))
    whole = store.trades(start="2024-01-31T21:00:00Z", end="2024-01-31T22:00:00Z")
    store._vault.opener = Opener(store._vault.shelf_of, large_bytes=0)
    assert store.trades(start="2024-01-31T21:00:00Z", end="2024-01-31T22:00:00Z").equals(whole)
    assert whole.height == 915


def test_what_cannot_be_opened_says_why(tmp_path, bucket):
    with pytest.raises(ConfigurationError, match="nonsense"):
        Store("nonsense://bucket")
    with pytest.raises(StoreError, match="cannot be asked for"):
        Store(
            "s3://bucket/x",
            storage={**bucket, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}},
        )
    url = memory()
    ObjectShelf(url).put("photo.jpg", b"")
    with pytest.raises(StoreLayoutError, match=r"photo\.jpg"):
        Store(url)
    with pytest.raises(StoreError, match="wanted a local folder, as a recorder's log needs"):
        Path(Store(memory()).root)
    store = Store(memory())
    store.write("bars", MARKET)
    store._vault.shelf.delete(next(store._vault.snapshot().entries()).path)
    with pytest.raises(StoreError, match="is missing"):
        store.bars(None, "1h")


def test_a_file_url_is_a_folder(tmp_path):
    Store(f"file://{tmp_path}/a b".replace(" ", "%20")).write("bars", MARKET)
    assert Store(tmp_path / "a b").bars(None, "1h").equals(MARKET)


def test_what_a_vacuum_has_deleted_is_forgotten():
    store = Store(memory())
    for sequence in range(1, 41):
        kept = {"trades": rows.frame("trades", [rows.trade(sequence, n, minute=n) for n in range(sequence)])}
        store.publish_recent(kept, sequence, 1)
        store.compact()
        store.vacuum(timedelta(0))
    manifest, shelf = store._vault.manifest, store._vault.shelf
    assert not manifest.removed()
    assert not RemoteManifest(shelf).removed()
    assert len(list(shelf.files())) == len(list(manifest.snapshot().entries())) == 1
    names = [name for name, _ in shelf.listing("_manifest")]
    assert sum(len(shelf.get(f"_manifest/{name}")) for name in names) < 15_000
    assert store.trades().height == 40


@pytest.mark.parametrize("when", ["before the commit", "while it is made"])
@pytest.mark.parametrize("how", ["write", "publish"])
def test_a_file_that_another_machine_took_for_a_leftover_is_put_again(monkeypatch, how, when):
    url = memory()
    store, other = Store(url), Store(url)
    store.create()
    shelf = store._vault.shelf
    slow = shelf.put if when == "before the commit" else shelf.create

    def waits(path, content):
        if when == "before the commit":
            done = slow(path, content)
        if path.endswith((".parquet", ".json")) and not gone:
            files = [name for name, _ in shelf.files()]
            gone.extend(files)
            other._vault.clock = lambda: time.time_ns() + 10**9
            assert other.vacuum(timedelta(milliseconds=1)) == len(files) > 0
        return done if when == "before the commit" else slow(path, content)

    gone = []
    monkeypatch.setattr(shelf, slow.__name__, waits)
    ticks = rows.frame("trades", [rows.trade(n, n, minute=n) for n in range(1, 9)])
    if how == "write":
        store.write("trades", ticks.drop("position", "rank"))
    else:
        store.publish_recent({"trades": ticks}, 8, 1)
    assert gone
    assert Store(url).trades()["id"].to_list() == list(range(1, 9))
