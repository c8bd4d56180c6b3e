"""Bars against trades: exactly the minutes that lack some are found, fetched again, and not asked for for ever."""

import time
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.reconciliation import FRUITLESS, LONGEST, SETTLED, Reconciliation, by_minute, reconcile
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.market.schema import SCHEMAS
from cryptoquant.market.time import iso
from tests.data import rows
from tests.data.stream import MINUTE, START, bar, frame, history, stamp, trade

PAIRS = ("BTC/USD", "ETH/USD")
OPEN = START + 40 * 10**9
"""The first whole minute after the start."""


def traded(number: int, symbol: str, minute: int, size: float) -> dict[str, object]:
    at = OPEN + minute * MINUTE + number % MINUTE
    return {**rows.trade(number + 1, number, symbol), "time": at, "known": at, "size": size}


def closed(symbol: str, minute: int, volume: float, count: int, rank: int = 0) -> dict[str, object]:
    opened = OPEN + minute * MINUTE
    told = rows.bar(minute + 1, 0, rank, symbol=symbol)
    times = {"open_time": opened, "time": opened + MINUTE, "known": opened + MINUTE}
    return {**told, **times, "volume": volume, "trade_count": count}


minutes = st.tuples(st.sampled_from(PAIRS), st.integers(0, 3))
sizes = st.sampled_from([0.1, 0.25, 1e-6, 3.0, 12_345.678])


@given(
    st.lists(st.tuples(minutes, sizes, st.booleans(), st.booleans()), max_size=30),
    st.lists(st.integers(0, 40), max_size=4),
    st.booleans(),
)
def test_exactly_the_minutes_that_lack_volume_are_found_however_the_rows_come(said, cuts, is_bars_first):
    numbered = [(number, *one) for number, one in enumerate(said)]
    every = [traded(n, symbol, minute, size) for n, (symbol, minute), size, _, _ in numbered]
    heard = [row for row, (*_, is_lost, _) in zip(every, numbered, strict=True) if not is_lost]
    again = [row for row, (*_, is_lost, is_twice) in zip(every, numbered, strict=True) if is_twice and not is_lost]
    table = rows.frame("trades", every)
    kept = rows.frame("trades", heard)
    bars = []
    for symbol in PAIRS:
        for minute in range(4):
            of = table.filter(
                pl.col("symbol") == symbol, pl.col("time").dt.epoch("ns").is_between(*_span(minute), closed="left")
            )
            bars.append(closed(symbol, minute, float(of["size"].sum()), of.height))
    wanted = {
        (symbol, OPEN + minute * MINUTE) for _, (symbol, minute), _, is_lost, _ in numbered if is_lost
    }  # however little the lost ones were
    watch = Reconciliation()
    if is_bars_first:
        watch.take({"bars": rows.frame("bars", bars)})
    told = [*heard, *again]
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(told)], strict=True):
        watch.take({"trades": rows.frame("trades", told[start : max(start, end)])})
    if not is_bars_first:
        watch.take({"bars": rows.frame("bars", bars)})
    assert watch.due(OPEN + MINUTE + SETTLED - 1) == []
    found = set(watch.due(OPEN + 4 * MINUTE + SETTLED))
    # A trade that the venue sent twice may hide another one of the same minute from the sum of what was heard.
    hidden = {(row["symbol"], OPEN + (row["time"] - OPEN) // MINUTE * MINUTE) for row in again}
    assert wanted - hidden <= found <= wanted
    table = reconcile(rows.frame("bars", bars), by_minute(kept))
    short = table.filter("is_short").select("symbol", pl.col("open_time").dt.epoch("ns")).rows()
    assert set(short) == wanted
    assert table["trades"].sum() == kept.height


def _span(minute: int) -> tuple[int, int]:
    return OPEN + minute * MINUTE, OPEN + (minute + 1) * MINUTE


def test_a_revised_bar_counts_one_of_history_alone_does_not_and_a_bar_of_an_hour_neither():
    watch = Reconciliation()
    watch.take({"bars": rows.frame("bars", [closed("BTC/USD", 0, 3.0, 3)])})
    watch.take({"trades": rows.frame("trades", [traded(1, "BTC/USD", 0, 3.0)])})
    watch.take(
        {"bars": rows.frame("bars", [closed("BTC/USD", 0, 4.0, 4, rank=1), closed("BTC/USD", 1, 9.0, 9, rank=2)])}
    )
    watch.take({"bars": rows.frame("bars", [rows.bar(9, 0)])})
    assert watch.due(OPEN + 2 * LONGEST) == [("BTC/USD", OPEN)]
    found = watch.judge(("BTC/USD", OPEN), rows.frame("trades", [traded(1, "BTC/USD", 0, 3.0)]))
    assert found.cause == "the bar has a volume of 4 in 4 trades, stored 3 in 1"
    assert watch.due(OPEN + 2 * LONGEST) == []
    assert (watch.checked, watch.short) == (1, 1)


def test_a_minute_whose_trades_are_stored_meanwhile_is_whole():
    watch = Reconciliation()
    watch.take({"bars": rows.frame("bars", [closed("BTC/USD", 0, 3.0, 1)])})
    (key,) = watch.due(OPEN + 2 * MINUTE)
    assert watch.judge(key, rows.frame("trades", [traded(1, "BTC/USD", 0, 3.0)])) is None
    assert (watch.checked, watch.short) == (1, 0)


def test_a_symbol_whose_bars_always_say_more_is_let_be_after_three_questions():
    watch, told = Reconciliation(), []
    for minute in range(FRUITLESS + 2):
        watch.take({"bars": rows.frame("bars", [closed("BTC/USD", minute, 3.0, 1)])})
        for key in watch.due(OPEN + LONGEST):
            watch.asked(minute, watch.judge(key, rows.frame("trades", [])))
            told.append(watch.answered(minute, 0))
    assert told == [None, None, "BTC/USD"]
    assert (watch.checked, watch.short) == (FRUITLESS + 2, FRUITLESS)
    assert watch.answered(77, 0) is None


class Wall:
    def __init__(self) -> None:
        self.now = OPEN

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.mark.parametrize("is_known", [True, False])
def test_a_trade_that_never_came_is_fetched_because_its_bar_counts_it(tmp_path, is_known):
    """Outcome: a gap of one minute with the reason, filled from the history; an unknown one is told and let be."""
    clock, asked = Wall(), []

    def answer(path, query):
        asked.append(query)
        lost = {"t": iso(OPEN + 30 * 10**9), "p": 1.0, "s": 2.0, "i": 7, "tks": "B"}
        return 200, {"trades": {"BTC/USD": [lost] if is_known else []}, "next_page_token": None}

    store, options = Store(tmp_path / "store"), RecorderOptions(backfill_after=timedelta(0), compact_every=None)
    with history(answer) as source:
        recorder = Recorder(store, "BTC/USD", source, channels=("trades", "bars"), options=options, clock=clock)
        recorder.open()
        recorder._backfill.start()
        recorder.take(frame(trade(1, t=stamp(OPEN + 5), s=1.0)))
        clock.now = OPEN + MINUTE
        recorder.take(frame(bar(0, v=3.0, n=2), bar(1, v=0.0, n=0, t=stamp(OPEN - MINUTE))))
        recorder.flush()
        clock.now += SETTLED
        recorder._supervisor.check(0, recorder._backfill)
        deadline = time.monotonic() + 20
        while recorder.status().open_gaps or not asked:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        recorder.flush()
        recorder._supervisor.check(0, recorder._backfill)
        final = recorder.stop()
    gap = store.gaps().row(0, named=True)
    assert store.gaps().height == 1
    assert gap["cause"] == "the bar has a volume of 3 in 2 trades, stored 1 in 1"
    assert (gap["kind"], gap["state"], gap["rows"]) == ("trades", "filled", int(is_known))
    assert (final.minutes, final.short) == (2, 1)
    assert store.trades()["size"].sum() == (3.0 if is_known else 1.0)
    assert list(store.trades().columns) == list(SCHEMAS["trades"])
