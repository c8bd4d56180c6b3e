"""Encryption at rest: nothing told in plain bytes, the same answers, and keys that come and go."""

import itertools
import json
import os
import struct
from base64 import b64encode

import polars as pl
import pytest

from cryptoquant.data import encryption
from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.encryption import KeyRing, sealing
from cryptoquant.data.log import Log
from cryptoquant.data.opening import Opener
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.segment import RecordKind
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ConfigurationError, StoreError
from cryptoquant.settings import settings
from tests.data import rows
from tests.data.stream import START, bar, book, frame, quote, trade
from tests.data.test_recorder import nowhere

pytest.importorskip("cryptography", reason="cryptography is not installed")
OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
SYMBOL, PRICE, ID = "ZQXJ/USD", 98_765.432_1, 0x1D2C_3B4A_5968_7706
BARS = SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], start="2024-01-20", days=3, timeframe="1h").bars()


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("CQ_STATE", str(tmp_path / "state"))
    settings.cache_clear()
    yield
    settings.cache_clear()


def ticks(first: int, last: int, symbol: str = "BTC/USD") -> pl.DataFrame:
    return rows.frame("trades", [rows.trade(n, n, symbol, minute=n) for n in range(first, last)]).drop(
        "position", "rank"
    )


def contents(store: Store) -> dict[str, bytes]:
    return {str(path.relative_to(store.root)): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def recorded(store: Store) -> Store:
    """Return a store with rows in partitions, in recent files and in a log whose recorder still runs."""
    low = {"o": PRICE, "h": PRICE, "l": PRICE, "c": PRICE, "vw": PRICE}
    told = [trade(1, SYMBOL, p=PRICE, i=ID), quote(1, SYMBOL, ap=PRICE, bp=PRICE), bar(0, SYMBOL, **low)]
    levels = [{"p": PRICE, "s": 1.0}]
    recorder = Recorder(store, SYMBOL, nowhere(), clock=itertools.count(START + 10**12, 1_000).__next__)
    recorder.take(frame(*told, book(1, SYMBOL, b=levels, a=[])))
    recorder.flush()
    store.write("bars", BARS.with_columns(symbol=pl.lit(SYMBOL), high=PRICE).unique("time", maintain_order=True))
    store.compact(["trades"])
    recorder.take(frame(trade(2, SYMBOL, p=PRICE, i=ID + 1), *told))
    recorder._receiver.log.wait(2)
    return store


def test_no_file_of_a_store_and_of_its_log_tells_a_symbol_a_price_or_an_id(tmp_path):
    plain, closed = recorded(Store(tmp_path / "a")), recorded(Store(tmp_path / "b", keys=KeyRing({"one": OLD})))
    little, _, *big = (struct.pack(order + code, told) for order in "<>" for code, told in (("d", PRICE), ("q", ID)))
    numbers, wanted = [little, *big], [SYMBOL.encode(), little, *big]
    found = contents(plain)
    assert any(little in content for name, content in found.items() if name.endswith(".parquet"))
    assert all(any(word in content for name, content in found.items() if "log" in name) for word in big)
    for name, content in contents(closed).items():
        # The manifest is not encrypted and tells symbols, but nothing of a row.
        assert not any(word in content for word in (numbers if name == "manifest.jsonl" else wanted)), name
    for kind in ("trades", "quotes", "books"):
        assert getattr(closed, kind)().equals(getattr(plain, kind)())
    for timeframe in ("1m", "1h", "4h"):
        assert closed.bars(SYMBOL, timeframe).equals(plain.bars(SYMBOL, timeframe))


def test_the_manifest_of_an_encrypted_store_confirms_no_guess_at_its_rows(tmp_path):
    stores = [Store(tmp_path / name, keys=KeyRing({"one": key})) for name, key in (("a", OLD), ("b", OTHER))]
    for store in stores:
        store.write("trades", ticks(1, 50))
    told = [json.loads((store.root / "manifest.jsonl").read_text())["added"][0] for store in stores]
    same = {name for name in told[0] if told[0][name] == told[1][name]}
    assert same == {"kind", "timeframe", "symbol", "first", "last", "rows", "bytes", "source", "is_distinct", "key"}
    assert "keys" not in told[0]


def test_plain_and_encrypted_files_are_read_together_and_compacted_into_one(tmp_path):
    plain, keyed = Store(tmp_path), Store(tmp_path, keys=KeyRing({"one": OLD}))
    plain.write("trades", ticks(1, 20))
    plain.write("bars", BARS.head(40))
    keyed.write("trades", ticks(20, 40))
    keyed.write("bars", BARS.tail(110))
    wanted = ticks(1, 40)
    for _ in range(2):
        assert keyed.trades().equals(wanted)
        assert keyed.trades(start=wanted["time"][10], end=wanted["time"][30]).equals(wanted[10:31])
        assert keyed.bars(None, "1h").equals(BARS)
        assert keyed.bars(None, "2h").height == BARS.height / 2
        assert keyed.compact() in (0, 4)
    assert {entry.key for entry in keyed._vault.snapshot().entries()} == {"one"}


@pytest.mark.parametrize("large_bytes", [0, 1 << 30])
def test_after_a_rotation_old_files_are_read_and_a_compaction_moves_them_to_the_new_key(tmp_path, large_bytes):
    Store(tmp_path, keys=KeyRing({"old": OLD})).write("trades", ticks(1, 20))
    store = Store(tmp_path, keys=KeyRing({"old": OLD, "new": NEW}))
    store._vault.opener = Opener(store._vault.shelf_of, store.keys, large_bytes=large_bytes)
    assert store.trades().equals(ticks(1, 20))
    store.write("trades", ticks(20, 30))
    assert store.trades().equals(ticks(1, 30))
    store.compact()
    assert {entry.key for entry in store._vault.snapshot().entries()} == {"new"}
    assert Store(tmp_path, keys=KeyRing({"new": NEW})).trades().equals(ticks(1, 30))


def test_a_deleted_key_takes_its_own_rows_and_no_others(tmp_path):
    Store(tmp_path, keys=KeyRing({"gone": OLD})).write("trades", ticks(1, 9, "BTC/USD"))
    Store(tmp_path, keys=KeyRing({"kept": NEW})).write("trades", ticks(1, 9, "ETH/USD"))
    store = Store(tmp_path, keys=KeyRing({"kept": NEW}))
    assert store.trades("ETH/USD").equals(ticks(1, 9, "ETH/USD"))
    for symbols in (None, "BTC/USD"):
        with pytest.raises(StoreError, match="encrypted with key gone, which is not here; found key kept"):
            store.trades(symbols)
    with pytest.raises(StoreError, match="encrypted with key kept, which is not here; found no key"):
        Store(tmp_path).trades("ETH/USD")


def logged(store: Store, ring: KeyRing, number: int) -> None:
    log = Log(LocalDisk(store.root), epoch=number, clock=lambda: START, threaded=False, cipher=sealing(ring))
    log.append(START, 1, RecordKind.FRAME, frame(trade(number)))
    log.commit()
    log.close()


def test_a_segment_of_the_log_that_was_written_with_the_old_key_is_read_after_a_rotation(tmp_path):
    old, both = KeyRing({"old": OLD}), KeyRing({"old": OLD, "new": NEW})
    store = Store(tmp_path, keys=both)
    store.create()
    logged(store, old, 1)
    logged(store, both, 2)
    assert [identity - 2**60 for identity in store.trades()["id"]] == [1, 2]
    with pytest.raises(StoreError, match="wanted key old to decrypt it"):
        Store(tmp_path, keys=KeyRing({"new": NEW})).trades()
    with pytest.raises(StoreError, match="key old is another one here"):
        Store(tmp_path, keys=KeyRing({"old": OTHER, "new": NEW})).trades()


def test_another_key_of_the_same_name_is_an_error(tmp_path):
    Store(tmp_path, keys=KeyRing({"one": OLD})).write("trades", ticks(1, 9))
    with pytest.raises(StoreError, match="key one is another one here"):
        Store(tmp_path, keys=KeyRing({"one": OTHER})).trades()


def test_a_store_takes_the_keys_of_the_file_that_the_environment_names(tmp_path, monkeypatch):
    KeyRing.create_key(tmp_path / "keys.json", "mine")
    monkeypatch.setenv("CQ_KEYS", str(tmp_path / "keys.json"))
    settings.cache_clear()
    store = Store(tmp_path / "store")
    store.write("trades", ticks(1, 9))
    assert [entry.key for entry in store._vault.snapshot().entries()] == ["mine"]
    assert Store(tmp_path / "store").trades().equals(ticks(1, 9))
    (tmp_path / "keys.json").chmod(0o644)
    with pytest.raises(ConfigurationError, match="found mode 0644, wanted 0600"):
        Store(tmp_path / "store")


def test_keys_are_made_one_after_the_other_and_the_newest_is_the_current_one(tmp_path):
    path = tmp_path / "new" / "keys.json"
    first = KeyRing.create_key(path, "2025")
    second = KeyRing.create_key(path, "2026")
    assert (first.names, first.current) == (("2025",), "2025")
    assert (second.names, second.current) == (("2025", "2026"), "2026")
    assert first.key("2025", "") == second.key("2025", "") != second.key("2026", "")
    again = KeyRing.load(path)
    assert (again.names, again.current, again.key("2026", "")) == (second.names, "2026", second.key("2026", ""))
    assert path.stat().st_mode & 0o777 == 0o600
    told = path.read_text()
    for name, reason in (("2025", "holds a key 2025 already"), ("current", "name of a key"), ("a b", "name of a key")):
        with pytest.raises(ConfigurationError, match=reason):
            KeyRing.create_key(path, name)
    assert path.read_text() == told
    assert {found.name for found in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}
    with pytest.raises(ConfigurationError, match="as JSON"):
        KeyRing.create_key(tmp_path / "keys.toml", "2025")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="found mode 0640"):
        KeyRing.create_key(path, "2027")


def test_a_key_file_is_never_readable_by_others_and_never_half_written(tmp_path, monkeypatch):
    path, seen = tmp_path / "keys.json", []
    KeyRing.create_key(path, "first")
    told = path.read_text()

    def fail(handle: int) -> None:
        seen.append(os.fstat(handle).st_mode & 0o777)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encryption.os, "fsync", fail)
    before = os.umask(0)
    try:
        with pytest.raises(ConfigurationError, match="cannot be written: No space left"):
            KeyRing.create_key(path, "second")
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert path.read_text() == told
    assert {found.name for found in tmp_path.iterdir()} == {"keys.json", ".keys.json.lock"}


@pytest.mark.parametrize("make", [b64encode, lambda key: key.hex().encode()])
def test_no_message_shows_a_key_that_stands_where_a_name_should(tmp_path, make):
    secret = make(os.urandom(32)).decode()
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_text(json.dumps({secret: "main"}))
    for refused in (
        lambda: KeyRing({secret: "main"}),
        lambda: KeyRing({secret: b64encode(OLD).decode()}),
        lambda: KeyRing({"main": OLD}, current=secret),
        lambda: KeyRing.load(path),
        lambda: KeyRing.create_key(tmp_path / "other.json", secret),
    ):
        with pytest.raises(ConfigurationError) as error:
            refused()
        assert secret[:20] not in str(error.value)
    with pytest.raises(ConfigurationError, match="key other: is to be the current one"):
        KeyRing({"main": OLD}, current="other")
