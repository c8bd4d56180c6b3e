"""Compaction, tail and retention: whatever is done to the files, the answers stay those of a plain list of rows."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data import compaction
from cryptoquant.data.keys import fingerprint, once
from cryptoquant.data.snapshot import Fold
from cryptoquant.data.store import Store
from cryptoquant.errors import EmptyStoreError, StoreError
from cryptoquant.market.schema import SCHEMAS
from tests.data.rows import HOUR, START, SYMBOLS, Log, bar, frame, trade

GRACE = timedelta(0)


class Told:
    """What was said, as lists: the answers that a store has to give."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, object]]] = {"trades": [], "bars": []}

    def trades(self, symbols) -> pl.DataFrame:
        first: dict[object, dict[str, object]] = {}
        for row in self.rows["trades"]:
            key = (row["symbol"], row["id"])
            if key not in first or (row["time"], row["known"]) < (first[key]["time"], first[key]["known"]):
                first[key] = row
        chosen = [row for row in first.values() if row["symbol"] in symbols]
        kept = sorted(chosen, key=lambda row: (row["symbol"], row["time"], row["known"]))
        return frame("trades", kept).select(*SCHEMAS["trades"])

    def bars(self, symbol, as_of) -> pl.DataFrame:
        best: dict[object, tuple[tuple[object, object], dict[str, object]]] = {}
        for row in self.rows["bars"]:
            weight = (row["rank"], row["known"])
            known = as_of is None or row["known"] <= as_of
            if known and row["symbol"] == symbol and weight >= best.get(row["open_time"], (weight,))[0]:
                best[row["open_time"]] = (weight, row)
        return frame("bars", [best[opened][1] for opened in sorted(best)]).select(*SCHEMAS["bars"])


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(0, 4), st.sampled_from(SYMBOLS[1:]), st.just(0)),
        st.tuples(st.just("bar"), st.integers(0, 1), st.just("BTC/USD"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["publish", "publish", "compact", "vacuum", "drop", "reopen", "fetch", "move"])),
    ),
    min_size=20,
    max_size=40,
)  # fmt: skip


def answer(read):
    try:
        return read()
    except EmptyStoreError:
        return None


def same(found, wanted):
    assert (found is None and not wanted.height) or found.equals(wanted), (found, wanted)


@settings(max_examples=10)
@given(deeds)
def test_after_any_deeds_the_store_answers_as_a_list_of_all_rows_would(tmp_path_factory, deeds):
    root = tmp_path_factory.mktemp("store")
    store, log, told = Store(root / "store"), Log(), Told()
    store._reader.tail = log
    for sequence, (deed, *what) in enumerate(deeds, 1):
        if deed in ("trade", "bar"):
            number, symbol, third = what
            row = (  # a trade is at one time however often it comes
                trade(sequence, number, symbol, minute=number * 40 + len(symbol))
                if deed == "trade"
                else bar(sequence, number, third, 60.0 + sequence, symbol)
            )
            log.append(f"{deed}s", row)
            told.rows[f"{deed}s"].append(row)
        elif deed == "publish":
            store.publish_recent(log.frames(store.published, log.last), log.last, sequence)
        elif deed == "compact":
            store.compact()
        elif deed == "vacuum":
            store.vacuum(GRACE)
        elif deed == "drop":
            log.dropped = store.published
        elif deed == "reopen":
            store = Store(root / "store", cache_bytes=10_000 * (sequence % 2))
            store._reader.tail = log
        elif deed == "move":
            store.move("trades", timedelta(0), to=root / "cold")
        elif deed == "fetch" and told.rows["trades"]:
            again = {**told.rows["trades"][0], "position": None, "rank": 2}
            store.write("trades", frame("trades", [again]).select(*SCHEMAS["trades"]))
        same(answer(store.trades), told.trades(SYMBOLS))
    for symbol in SYMBOLS:
        for as_of in (None, START + 3 * HOUR + 20):
            if symbol in store.symbols("bars"):
                same(answer(lambda s=symbol, t=as_of: store.bars(s, "1h", as_of=t)), told.bars(symbol, as_of))
    store.publish_recent(log.frames(store.published, log.last), log.last, 1)
    store.compact()
    same(answer(store.trades), told.trades(SYMBOLS))
    assert not [e for e in store._vault.snapshot().entries() if e.path.startswith("_recent")]


@pytest.mark.deep
@settings(max_examples=200)
@given(deeds)
def test_after_many_more_deeds_it_does_too(tmp_path_factory, deeds):
    law = test_after_any_deeds_the_store_answers_as_a_list_of_all_rows_would
    law.hypothesis.inner_test(tmp_path_factory, deeds)


@dataclass
class Diary:
    """A table and hourly bars of one symbol, as what was said last, and a store that was told the same."""

    root: Path
    table: dict[int, float] = field(default_factory=dict)
    bars: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    shadow: list[dict[str, object]] = field(default_factory=list)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.now = START + 400 * HOUR
        self.store = Store(self.root / "store", clock=lambda: self.now)

    def write(self, hours: list[int], value: float, known: int) -> None:
        times = pl.from_epoch(pl.Series([START + hour * HOUR for hour in hours]), "ns").dt.replace_time_zone("UTC")
        said = pl.DataFrame({"symbol": ["BTC/USD"] * len(hours), "time": times, "value": [value] * len(hours)})
        self.store.write("own", said, lineage={"of": "hand"})
        self.table |= dict.fromkeys(hours, value)
        rows = [bar(known, hour, rank=2, close=value) for hour in hours]
        self.store.write("bars", frame("bars", rows).drop("position", "rank"))
        self.say(rows)

    def publish(self, hours: list[int], value: float, known: int) -> None:
        """Tell streamed bars, which lie in recent files."""
        rows = [bar(known, hour, close=value) for hour in hours]
        self.sequence += 1
        self.store.publish_recent({"bars": frame("bars", rows)}, self.sequence, 1)
        self.say(rows)

    def say(self, rows) -> None:
        self.shadow += rows

    def move(self, hours: list[int]) -> None:
        age = timedelta(hours=400 - hours[0])
        for name in ("own", "bars"):
            self.store.move(name, age, to=self.root / "cold")

    def check(self) -> None:
        if not self.table:
            return
        told = self.store.read("own")
        assert told["value"].to_list() == [self.table[hour] for hour in sorted(self.table)]
        for as_of in (None, START + 2 * HOUR, START + 2 * HOUR + 1):
            latest = Told()
            latest.rows["bars"] = self.shadow
            same(answer(lambda t=as_of: self.store.bars("BTC/USD", "1h", as_of=t)), latest.bars("BTC/USD", as_of))


spans = st.sampled_from([[0], [0, 1], [1, 2], [0, 1, 2, 70]])
said = st.tuples(st.just("write"), spans, st.sampled_from([60.0, 70.0]), st.integers(0, 1))
acts = st.lists(
    st.one_of(
        said,
        said,
        st.tuples(st.just("publish"), spans, st.sampled_from([60.0, 70.0]), st.integers(0, 1)),
        st.tuples(st.just("move"), st.sampled_from([[2], [3], [100]])),
        st.tuples(st.just("move"), st.sampled_from([[2], [3]])),
        st.tuples(st.just("meet"), spans, st.sampled_from([60.0, 70.0]), st.integers(0, 1)),
        st.tuples(st.sampled_from(["compact", "checkpoint", "vacuum"])),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=10)
@given(acts)
def test_what_was_written_last_stays_last_whatever_is_moved_merged_and_restored(tmp_path_factory, acts):
    diary = Diary(tmp_path_factory.mktemp("diary"))
    store = diary.store
    replaced = compaction._replace
    for act, *what in acts:
        if act in ("write", "publish", "move"):
            getattr(diary, act)(*what)
        elif act in ("compact", "vacuum"):
            getattr(store, act)()
        elif act == "checkpoint":
            store._vault.manifest.checkpoint(0, least_bytes=0)
        else:
            met = []

            def meets(*given, what=what, met=met):
                if not met:
                    met.append(1)
                    diary.write(*what)
                return replaced(*given)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(compaction, "_replace", meets)
                store.compact()
        diary.check()
    store.compact()
    diary.check()
    diary.store = Store(store.root)
    diary.check()


@pytest.mark.deep
@settings(max_examples=200)
@given(acts)
def test_what_was_written_last_stays_last_in_many_more_histories(tmp_path_factory, acts):
    law = test_what_was_written_last_stays_last_whatever_is_moved_merged_and_restored
    law.hypothesis.inner_test(tmp_path_factory, acts)


def test_a_file_that_is_moved_stays_older_than_one_that_was_written_later(tmp_path):
    diary = Diary(tmp_path)
    diary.write([0, 1], 60.0, 0)
    diary.write([0, 1, 2, 70], 70.0, 0)
    diary.move([3])
    assert {entry.place != "" for entry in diary.store._vault.snapshot().entries()} == {True, False}
    diary.check()
    diary.store.compact()
    diary.check()


def test_files_are_not_merged_across_one_that_was_written_between_them_and_moved(tmp_path):
    diary = Diary(tmp_path)
    diary.write([0, 1, 2, 70], 60.0, 0)
    diary.write([0, 1], 70.0, 0)
    diary.move([3])
    for hours in ([2], [2, 70]):
        diary.write(hours, 61.0, 0)
        diary.store.compact()
        diary.check()


def test_recent_rows_go_after_a_file_that_has_to_stay_as_it_is(tmp_path):
    diary = Diary(tmp_path)
    diary.store.publish_recent({"bars": frame("bars", [bar(0, 0, rank=2, close=60.0)])}, 1, 1)
    diary.write([0], 70.0, 0)
    diary.move([3])
    before = diary.store.bars("BTC/USD", "1h")
    assert diary.store.compact() == 1
    assert diary.store.bars("BTC/USD", "1h").equals(before)


@pytest.mark.parametrize("kind", ["own", "bars"])
def test_what_is_written_during_a_compaction_is_newer_than_what_that_merges(tmp_path, monkeypatch, kind):
    diary, replaced = Diary(tmp_path), compaction._replace
    for value in (60.0, 61.0):
        diary.write([0, 1, 2], value, 0)
    values = [70.0, 60.0]  # first one that came back, then a new one

    def meets(*given):
        if values:
            diary.write([0, 1, 2], values.pop(), 0)
        return replaced(*given)

    monkeypatch.setattr(compaction, "_replace", meets)
    while values:
        diary.store.compact([kind])
        diary.check()


@pytest.mark.parametrize("last", [[0, 1], [0, 1, 2]])
def test_a_value_that_came_back_is_told_before_and_after_a_compaction(tmp_path, last):
    store = Store(tmp_path / "store")
    for hours, close in (([0, 1], 1.0), ([0, 1], 2.0), (last, 1.0)):
        rows = [bar(0, hour, close=100.0 + close) for hour in hours]
        store.write("bars", frame("bars", rows).drop("position", "rank"))
        before = store.bars("BTC/USD", "1h")
        assert set(before["close"]) == {100.0 + close}
    store.compact()
    assert store.bars("BTC/USD", "1h").equals(before)


def test_a_compaction_that_would_tell_readers_other_bars_is_refused(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    for close in (1.0, 2.0, 1.0):
        rows = [bar(0, hour, close=100.0 + close) for hour in range(2 + int(close == 1.0))]
        store.write("bars", frame("bars", rows).drop("position", "rank"))
    monkeypatch.setattr(compaction, "once", lambda kind, rows: once(kind, rows.reverse()))
    with pytest.raises(StoreError, match="readers would be told other values; the files stay as they were"):
        store.compact()


def test_nothing_is_put_for_a_store_that_is_opened_at_an_earlier_version(full, tmp_path):
    files = sorted(full.root.rglob("*"))
    past = full.at(2)
    for write in (past.compact, lambda: past.move("trades", GRACE, to=tmp_path / "cold")):
        with pytest.raises(StoreError, match="opened at version 2"):
            write()
    assert sorted(full.root.rglob("*")) == files
    assert not (tmp_path / "cold").exists()


def test_an_earlier_version_is_folded_once(full, monkeypatch):
    folds = []
    take = Fold.take
    monkeypatch.setattr(Fold, "take", lambda fold, writes: (folds.append(len(writes)), take(fold, writes)))
    past = full.at(2)
    seen = len(folds)
    assert folds.count(2) == 1
    for _ in range(3):
        past.trades()
    assert len(folds) == seen


@pytest.fixture
def full(tmp_path):
    """A store with two recent files and an imported one that says some of it again."""
    store = Store(tmp_path / "store")
    for first in (1, 11):
        rows = [trade(n, n % 15, SYMBOLS[n % 2], minute=n * 30) for n in range(first, first + 10)]
        store.publish_recent({"trades": frame("trades", rows)}, first + 9, 5)
    store.write("trades", store.trades().head(3))
    return store


def test_after_compaction_there_is_one_file_for_each_symbol_and_day(full):
    before = full.trades()
    assert full.compact() > 0
    assert full.compact() == 0
    assert full.trades().equals(before)
    summary = full.summary()
    assert summary["symbol"].to_list() == ["BTC/USD", "ETH/USD"]
    assert summary["rows"].sum() == before.height
    full.vacuum(GRACE)
    files = sorted(path.relative_to(full.root).as_posix() for path in full.root.rglob("*.parquet"))
    assert files == sorted(entry.path for entry in full._vault.snapshot().entries())
    hive = pl.scan_parquet(full.root / "kind=trades", hive_partitioning=True).collect()
    assert hive.height == before.height


def lose_one(kind, rows):
    return once(kind, rows).slice(1)


def double_one(kind, rows):
    kept = once(kind, rows)
    return kept.vstack(kept.tail(1))


def change_one(kind, rows):
    kept = once(kind, rows)
    return kept.with_columns(id=pl.col("id") + 1)


@pytest.mark.parametrize("fault", [lose_one, double_one, change_one])
def test_a_compaction_that_loses_doubles_or_changes_a_row_is_refused(full, monkeypatch, fault):
    before, version = full.trades(), full.version
    monkeypatch.setattr(compaction, "once", fault)
    with pytest.raises(StoreError, match="the files stay as they were"):
        full.compact()
    assert full.version == version
    full.vacuum(timedelta(minutes=15))
    assert full.trades().equals(before)


def test_a_damaged_recent_file_is_not_compacted_away(full):
    recent = next((full.root / "_recent").rglob("*.parquet"))
    content = bytearray(recent.read_bytes())
    content[len(content) // 3] ^= 0xFF
    recent.write_bytes(content)
    with pytest.raises(StoreError):
        full.compact()
    assert recent.exists()


def test_recent_files_with_later_rows_are_left_alone(full):
    full.compact(["trades"], upto=START + 10 * 30 * 60_000_000_000)
    recent = [e for e in full._vault.snapshot().entries() if e.path.startswith("_recent")]
    assert [entry.positions[0] >> 20 for entry in recent] == [11]


levels = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 3), st.sampled_from(["bid", "ask"]), st.integers(1, 3)), max_size=12
)


@given(levels, st.randoms(use_true_random=False))
def test_a_book_keeps_the_order_of_its_positions_and_loses_nothing_across_connections(levels, random):
    rows = [
        {"symbol": "BTC/USD", "time": START - sequence, "known": START - clock, "side": side, "price": float(price),
         "size": 1.0, "reset": False, "position": sequence << 20, "rank": 0, "connection": 1 + sequence % 2}
        for sequence, clock, side, price in levels
    ]  # fmt: skip
    table = frame("books", sorted(rows, key=lambda row: row["position"]))
    random.shuffle(rows)
    kept = once("books", frame("books", rows))
    assert kept["position"].to_list() == sorted(kept["position"].to_list())
    assert kept.height == table.unique().height
    assert fingerprint("books", frame("books", rows)) == fingerprint("books", kept)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 3)), max_size=20))
def test_a_fingerprint_counts_what_is_kept_and_does_not_see_the_order(pairs):
    rows = [{**trade(n, 0, minute=minute), "id": number} for n, (number, minute) in enumerate(pairs, 1)]
    table, kept = frame("trades", rows), once("trades", frame("trades", rows))
    count, keys = fingerprint("trades", table)
    assert fingerprint("trades", kept) == (count, keys)
    assert count == kept.height
    assert fingerprint("trades", table.reverse()) == (count, keys)
    for lost in range(kept.height):
        assert fingerprint("trades", kept.with_row_index().filter(pl.col("index") != lost).drop("index")) != (
            count,
            keys,
        )


def test_readers_see_every_trade_once_while_a_publisher_and_a_compactor_work(tmp_path):
    store, log = Store(tmp_path / "store"), Log()
    ended = threading.Event()
    failures: list[BaseException] = []

    def record() -> None:
        publisher = Store(tmp_path / "store")
        for sequence in range(1, 121):
            log.append("trades", trade(sequence, sequence, SYMBOLS[sequence % 3], minute=sequence))
            if sequence % 5 == 0:
                publisher.publish_recent(log.frames(publisher.published, sequence), sequence, sequence)
                log.dropped = sequence
            if sequence % 30 == 0:
                publisher.compact()
                publisher.vacuum(GRACE)
        ended.set()

    def read() -> None:
        reader = Store(tmp_path / "store")
        reader._reader.tail = log
        seen = 0
        try:
            while seen < 120:
                before = log.last
                found = answer(reader.trades)
                numbers = [] if found is None else sorted(found["id"].to_list())
                assert numbers == list(range(1, len(numbers) + 1))
                assert len(numbers) >= max(seen, before - 1)
                seen = len(numbers)
        except BaseException as error:  # noqa: BLE001 (the test's thread has to hand it over)
            failures.append(error)

    threads = [threading.Thread(target=work) for work in (record, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ended.is_set()
    assert not failures
    assert store.trades().height == 120


COMPACTOR = """
import sys
from datetime import timedelta
from cryptoquant.data.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
while True:
    store.compact()
    store.vacuum(timedelta(0))
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_compactor_that_is_killed_at_any_point_loses_and_doubles_nothing(tmp_path, seed):
    store = Store(tmp_path / "store")
    store.create()
    sequence = 0
    for round_ in range(3):
        code = [sys.executable, "-c", COMPACTOR, str(store.root)]
        with subprocess.Popen(code, stdout=subprocess.PIPE, env={**os.environ}) as compactor:
            assert compactor.stdout is not None
            compactor.stdout.readline()
            begin = time.monotonic()
            while time.monotonic() - begin < 0.05 + 0.03 * seed + 0.02 * round_:
                sequence += 1
                rows = [trade(sequence, 10 * sequence + n, SYMBOLS[n % 3], minute=sequence) for n in range(10)]
                store.publish_recent({"trades": frame("trades", rows)}, sequence, sequence)
            compactor.kill()
        numbers = store.trades()["id"].sort().to_list()
        assert numbers == list(range(10, 10 * sequence + 10))
    store.compact()
    store.vacuum(GRACE)
    assert store.trades().height == 10 * sequence
    left = {path.relative_to(store.root).as_posix() for path in Path(store.root).rglob("*.parquet")}
    assert left == {entry.path for entry in store._vault.snapshot().entries()}
    assert not list(store.root.rglob("*.tmp"))


def test_what_was_removed_stays_for_a_grace_and_an_earlier_version_can_be_read_until_then(tmp_path):
    now = [time.time_ns()]
    store = Store(tmp_path / "store", clock=lambda: now[0])
    for sequence in (1, 2):
        rows = [trade(sequence, sequence, minute=sequence)]
        store.publish_recent({"trades": frame("trades", rows)}, sequence, sequence)
    store.compact()
    assert store.version == 3
    assert store.at(1).trades()["id"].to_list() == [1]
    assert store.at(2).trades()["id"].to_list() == [1, 2]
    now[0] += 10 * 60 * 1_000_000_000
    assert store.vacuum(timedelta(minutes=15)) == 0
    now[0] += 10 * 60 * 1_000_000_000
    assert store.vacuum(timedelta(minutes=15)) == 2
    with pytest.raises(StoreError, match="is missing"):
        store.at(1).trades()
    with pytest.raises(StoreError, match="version 9"):
        store.at(9)
    with pytest.raises(StoreError, match="opened at version 3"):
        store.at(3).vacuum()
    assert store.trades()["id"].to_list() == [1, 2]


def test_a_publisher_that_does_its_last_step_again_adds_nothing(tmp_path):
    store = Store(tmp_path / "store")
    rows = {"trades": frame("trades", [trade(3, 1)]), "quotes": frame("quotes", [])}
    assert store.publish_recent(rows, 3, 9) == 1
    assert store.publish_recent(rows, 3, 9) == 0
    assert store.publish_recent({}, 7, 10) == 0
    assert store.published == 7
    assert store.trades().height == 1


def test_bars_of_several_timeframes_share_nothing_and_the_last_running_day_is_read(tmp_path):
    store = Store(tmp_path / "store")
    minute = 60_000_000_000
    minutes = [bar(1, n, timeframe=minute) for n in range(60)]
    hours = [bar(2, 5, close=7.0)]
    days = [bar(n, 1, close=float(n), timeframe=24 * HOUR) | {"known": START + n} for n in (3, 4)]
    frames = {"bars": frame("bars", minutes + hours), "daily_bars": frame("daily_bars", days)}
    store.publish_recent(frames, 4, 4)
    for _ in range(2):
        assert store.bars("BTC/USD", "1m").height == 60
        assert store.bars("BTC/USD", "1h")["volume"].to_list() == [90.0, 1.5]
        assert store.daily_bars()["close"].to_list() == [4.0]
        assert store.daily_bars(as_of=START + 3)["close"].to_list() == [3.0]
        assert store.scan("daily_bars")["rank"].to_list() == [0, 0]
        store.compact()


def test_of_a_gap_the_latest_state_is_read_and_malformed_messages_are_kept(tmp_path):
    store = Store(tmp_path / "store")
    gap = {"symbol": "", "time": START, "known": START, "id": 1, "kind": "trades", "end": START + 5, "cause": "outage",
           "state": "open", "rows": 0, "position": 1 << 20, "rank": 0}  # fmt: skip
    filled = gap | {"state": "filled", "known": START + 9, "rows": 4, "position": 2 << 20}
    odd = {"symbol": "", "time": START, "known": START, "reason": "no price", "message": "{}", "position": 3 << 20,
           "rank": 0}  # fmt: skip
    assert store.gaps().height == store.quarantine().height == 0
    store.publish_recent({"gaps": frame("gaps", [gap])}, 1, 1)
    assert store.gaps()["state"].to_list() == ["open"]
    store.publish_recent({"gaps": frame("gaps", [filled]), "quarantine": frame("quarantine", [odd])}, 3, 1)
    for _ in range(2):
        assert store.gaps()["state"].to_list() == ["filled"]
        assert store.quarantine()["reason"].to_list() == ["no price"]
        store.compact()


def test_the_tail_begins_where_the_files_end_also_for_rows_that_have_no_key(tmp_path):
    store, log = Store(tmp_path / "store"), Log()
    store._reader.tail = log
    for sequence in range(1, 7):
        log.append("trades", trade(sequence, 0, minute=sequence) | {"id": None})
    for upto in (0, 2, 5, 6):
        store.publish_recent(log.frames(store.published, upto), upto, 1)
        assert store.trades().height == 6
        assert store.coverage("trades", None, "BTC/USD")[2] == 6
        store.compact()


def test_recent_files_are_merged_in_the_order_written_and_none_goes_before_an_older_one(tmp_path):
    store = Store(tmp_path / "store")
    for sequence, (hours, close) in enumerate((([1, 9], 101.0), ([1], 102.0)), 1):
        rows = [bar(0, hour, close=close) for hour in hours]
        store.publish_recent({"bars": frame("bars", rows)}, sequence, 1)
    before = store.bars("BTC/USD", "1h")
    assert before["close"].to_list() == [102.0, 101.0]
    for hours in (5, 20):
        store.compact(upto=START + hours * HOUR)
        assert store.bars("BTC/USD", "1h").equals(before)
    assert not list((store.root / "kind=bars").rglob("*.tmp"))
