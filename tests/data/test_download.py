"""Downloads: what arrives is what the venue has, and a broken download goes on where it stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox import Fault, Sandbox
from cryptoquant.data.download import download
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import AuthenticationError, StoreError, VenueError
from cryptoquant.market.schema import TRADES, validate
from tests.data.history import history

BARS = SyntheticMarket(start="2024-01-15", days=60, timeframe="1h").bars()
PAIRS = ["BTC/USD", "ETH/USD"]
BEGIN_OF_SANDBOX = 1_704_067_200 * 10**9


def test_a_download_brings_the_venue_s_bars_and_a_second_one_asks_for_nothing(store):
    with history(BARS) as server:
        seen = []
        result = download(
            store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca(), progress=lambda *at: seen.append(at)
        )
        assert (result.rows, result.fetched, result.skipped) == (BARS.height, 6, 0)
        assert seen[-1][:2] == (6, 6)
        assert f"{BARS.height:,} rows" in seen[-1][2]
        assert (result.came, result.pages, result.gaps.height) == (BARS.height, 8, 0)
        assert store.bars(PAIRS, "1h").equals(BARS)
        asked = len(server.requests)
        again = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
        assert (again.rows, again.skipped) == (0, 6)
        assert len(server.requests) == asked


def test_a_month_that_was_not_complete_is_asked_again_from_its_last_row(store):
    with history(BARS) as server:
        source = server.alpaca()
        download(store, "BTC/USD", "1h", "2024-01-15", "2024-02-10", source=source)
        before = len(server.requests)
        result = download(store, "BTC/USD", "1h", "2024-01-15", "2024-02-12", source=source)
        assert (result.skipped, result.came, result.rows) == (1, 49, 48)
        assert server.requests[before]["start"] == "2024-02-09T23:00:00Z"
        assert store.bars("BTC/USD", "1h").equals(BARS.head(28 * 24))


def test_an_earlier_start_fetches_what_was_missing(store):
    with history(BARS) as server:
        download(store, "BTC/USD", "1h", "2024-02-10", "2024-02-20", source=server.alpaca())
        download(store, "BTC/USD", "1h", "2024-02-05", "2024-02-20", source=server.alpaca())
        assert store.bars("BTC/USD", "1h").equals(BARS.slice(21 * 24, 15 * 24))


def test_a_failure_keeps_the_months_before_it_and_a_second_run_completes(store):
    with history(BARS) as server:
        server.refuse_after = 4
        with pytest.raises(AuthenticationError):
            download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca(), jobs=1)
        assert store.symbols() == ["BTC/USD"]
        server.refuse_after = None
        result = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
        assert result.skipped in (2, 3)
        assert store.bars(PAIRS, "1h").equals(BARS)


def test_months_without_bars_are_counted_and_asked_again(store):
    with history(BARS) as server:
        result = download(store, "BTC/USD", "1h", "2023-11-01", "2024-01-20", source=server.alpaca())
        assert (result.empty, result.fetched, result.rows) == (2, 1, 120)


def test_a_bar_that_is_not_closed_at_the_end_is_left_out(store):
    with history(BARS) as server:
        download(store, "BTC/USD", "1h", "2024-01-15", "2024-01-16T05:59:00Z", source=server.alpaca())
        assert store.bars("BTC/USD", "1h").height == 29


@pytest.mark.parametrize("seconds", [-2.0, 2.0])
def test_a_clock_of_the_venue_that_goes_wrong_takes_no_bar_that_has_closed(store, seconds):
    with Sandbox(7, PAIRS, days=3, history=timedelta(days=2), lockstep=True) as sandbox:
        sandbox.inject(Fault("venue.clock", seconds=seconds, lasts=timedelta(minutes=5)))
        for end in (None, sandbox.market.now):
            download(store, "BTC/USD", "1h", BEGIN_OF_SANDBOX, end, source=sandbox.alpaca())
            assert store.bars("BTC/USD", "1h")["time"].dt.epoch("ns").max() == sandbox.market.now


def test_a_reversed_range_is_refused_before_anything_is_asked(store):
    with history(BARS) as server:
        with pytest.raises(ValueError, match="lies after"):
            download(store, "BTC/USD", "1h", "2024-02-01", "2024-01-01", source=server.alpaca())
        assert not server.requests


def trades_of(steps: list[int], symbol: str = "BTC/USD") -> pl.DataFrame:
    """Trades some hours apart, those with a step of 0 at the same instant."""
    rows = pl.DataFrame({"symbol": symbol, "hours": pl.Series(steps, dtype=pl.Int64).cum_sum()}).with_row_index("id")
    begin = pl.datetime(2024, 1, 30, time_zone="UTC", time_unit="ns")
    side = pl.when(pl.col("id") % 3 == 0).then(pl.lit("")).otherwise(pl.lit("S"))
    stamped = rows.with_columns(pl.col("id").cast(pl.Int64), time=begin + pl.duration(hours="hours", time_unit="ns"))
    return validate(stamped.with_columns(price=100.0 + pl.col("id") % 7, size=1.0, taker_side=side), "trades")


def rows_in(store: Store, kind: str) -> int:
    return int(store.summary().filter(kind=kind)["rows"].sum())


steps_of_trades = st.lists(st.sampled_from([0, 0, 0, 1, 5, 30]), min_size=1, max_size=40)


@settings(max_examples=12)
@given(steps_of_trades, st.integers(2, 12), st.lists(st.integers(0, 6), max_size=3), st.integers(1, 3))
def test_however_often_a_download_breaks_every_trade_is_stored_once(steps, page, breaks, jobs):
    truth = pl.concat([trades_of(steps), trades_of(steps[::-1], "ETH/USD")])
    with tempfile.TemporaryDirectory() as folder, history(BARS, page, trades=truth) as server:
        store = Store(f"{folder}/store")

        def again():
            return download(
                store, PAIRS, None, "2024-01-30", "2024-03-15", kind="trades", source=server.alpaca(), jobs=jobs
            )

        for allowed in breaks:
            server.refuse_after = len(server.requests) + allowed
            with contextlib.suppress(VenueError):
                again()
        server.refuse_after = None
        result = again()
        assert store.trades().equals(truth)
        assert rows_in(store, "trades") == truth.height
        assert result.fetched + result.skipped + result.empty == 6
        assert again().rows == 0


def test_each_page_is_kept_when_a_later_one_fails(store):
    truth = trades_of([1] * 40)
    with history(BARS, 10, trades=truth) as server:
        server.refuse_after = 3
        with pytest.raises(AuthenticationError):
            download(store, "BTC/USD", None, "2024-01-30", "2024-02-10", kind="trades", source=server.alpaca(), jobs=1)
        assert store.trades().equals(truth.head(30))
        server.refuse_after = None
        result = download(
            store, "BTC/USD", None, "2024-01-30", "2024-02-10", kind="trades", source=server.alpaca(), jobs=1
        )
        assert (result.rows, result.came) == (10, 11)
        assert server.requests[4]["start"] == "2024-01-31T06:00:00Z"
        assert store.trades().equals(truth)


def test_a_killed_download_goes_on_and_stores_nothing_twice(store):
    truth = trades_of([0, 1, 1] * 60)
    code = (
        "import sys\n"
        "from cryptoquant.data.alpaca import Alpaca\n"
        "from cryptoquant.data.download import download\n"
        "from cryptoquant.data.store import Store\n"
        "source = Alpaca('KEY1234', 'secret', data_url=sys.argv[2])\n"
        "download(Store(sys.argv[1]), 'BTC/USD', None, '2024-01-30', '2024-02-10', kind='trades', source=source)\n"
    )
    with history(BARS, 9, trades=truth) as server:
        child = subprocess.Popen([sys.executable, "-c", code, str(store.root), str(server.alpaca().data_url)])
        server.at_request = lambda number: os.kill(child.pid, signal.SIGKILL) if number == 7 else None
        assert child.wait(60) == -signal.SIGKILL
        kept = rows_in(store, "trades")
        assert 0 < kept < truth.height
        download(store, "BTC/USD", None, "2024-01-30", "2024-02-10", kind="trades", source=server.alpaca())
    assert store.trades().equals(truth)
    assert rows_in(store, "trades") == truth.height


def test_a_pause_that_the_venue_asks_for_is_kept_by_all(store):
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    bucket = TokenBucket(clock=lambda: now[0], sleep=sleep)
    with history(BARS) as server:
        server.faults = [(429, {"Retry-After": "17"}, "slow down"), (429, {}, "slow down")]
        result = download(store, PAIRS, "1h", "2024-01-15", "2024-02-15", source=server.alpaca(), jobs=1, bucket=bucket)
    assert slept[0] == pytest.approx(17)
    assert len(slept) == 2
    assert result.rows == 31 * 24 * 2


def test_a_page_that_is_cut_off_is_asked_for_again_and_nothing_of_it_is_lost(store):
    with history(BARS, 100) as server:
        cut = (200, {"Content-Length": "5000"}, '{"bars":{"BTC/USD":[')
        server.at_request = lambda number: server.faults.extend([cut] if number in (2, 5) else [])
        result = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca(), jobs=1)
    assert (result.rows, len(server.requests)) == (BARS.height, result.pages + 2)
    assert store.bars(PAIRS, "1h").equals(BARS)


def test_requests_keep_to_the_allowance(store):
    now, asked = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    bucket = TokenBucket(30, burst=2, clock=lambda: now[0], sleep=sleep)
    with history(BARS, 36) as server:
        server.at_request = lambda number: asked.append(now[0])
        download(store, "BTC/USD", "1h", "2024-01-15", "2024-03-15", source=server.alpaca(), jobs=1, bucket=bucket)
    assert len(asked) == 42
    assert all(sum(at <= other < at + 59.999 for other in asked) <= 30 for at in asked)


def test_quotes_are_fetched_day_by_day_and_days_without_any_are_told(store):
    trades = trades_of([30] * 5)
    best = {"bid_price": 99.0, "bid_size": 1.0, "ask_price": 101.0, "ask_size": pl.col("id").cast(pl.Float64)}
    quotes = validate(
        trades.with_columns(**{k: v if isinstance(v, pl.Expr) else pl.lit(v) for k, v in best.items()}), "quotes"
    )
    with history(BARS, quotes=quotes) as server:
        result = download(store, "BTC/USD", None, "2024-01-30", "2024-02-06", kind="quotes", source=server.alpaca())
        assert (result.rows, result.fetched, result.empty) == (5, 5, 2)
        assert [str(start.date()) for start in result.gaps["start"]] == ["2024-01-30", "2024-02-03"]
        again = download(store, "BTC/USD", None, "2024-01-30", "2024-02-06", kind="quotes", source=server.alpaca())
        assert (again.rows, again.skipped, again.pages) == (0, 5, 2)
    assert store.quotes().equals(quotes)


def test_bars_that_the_venue_lacks_are_reported_as_gaps(store):
    holed = BARS.filter(~pl.int_range(pl.len()).is_in([30, 31, 700]))
    with history(holed) as server:
        result = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
    assert result.gaps.select("symbol", "missing").rows() == [("BTC/USD", 2), ("BTC/USD", 1)]
    assert result.gaps["start"][0] == BARS["time"][29]


def test_a_store_that_lost_what_was_kept_is_filled_again(store, tmp_path):
    truth = trades_of([1] * 40)
    with history(BARS, 10, trades=truth) as server:
        server.refuse_after = 2
        with pytest.raises(AuthenticationError):
            download(store, "BTC/USD", None, "2024-01-30", "2024-02-10", kind="trades", source=server.alpaca(), jobs=1)
        server.refuse_after = None
        other = trades_of([1] * 20).with_columns(id=pl.col("id") + 1_000)
        fresh = Store(tmp_path / "fresh")
        fresh.write("trades", other)
        for lineage in store.lineages():
            fresh.write("trades", pl.DataFrame(schema=TRADES), lineage=lineage)
        result = download(
            fresh, "BTC/USD", None, "2024-01-30", "2024-02-10", kind="trades", source=server.alpaca(), jobs=1
        )
    assert (result.reopened, result.rows) == (1, 40)
    assert fresh.trades().height == 60


def test_a_store_that_loses_rows_is_found_out(tmp_path):
    class Leaky(Store):
        def write(self, kind, frame, **how):
            return super().write(kind, frame.head(frame.height - 1), **how)

    with history(BARS) as server, pytest.raises(StoreError, match="1 of them are not in the store"):
        download(Leaky(tmp_path / "store"), "BTC/USD", "1h", "2024-01-20", "2024-01-25", source=server.alpaca())


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_ticks_of_the_sandbox_come_whole(tmp_path, kind):
    with Sandbox(7, PAIRS, days=3, history=timedelta(days=2), lockstep=True) as sandbox:
        source = sandbox.alpaca()
        store = Store(tmp_path / "store")
        result = download(store, PAIRS, None, "2024-01-01", "2024-01-01T06:00:00Z", kind=kind, source=source, jobs=3)
        begin, end = (BEGIN_OF_SANDBOX, BEGIN_OF_SANDBOX + 6 * 3_600 * 10**9 - 1)
        fetch = source.fetch_trades if kind == "trades" else source.fetch_quotes
        truth = pl.concat(fetch(PAIRS, begin, end)).unique(maintain_order=True)
    assert result.rows == truth.height > 1_000
    assert getattr(store, kind)().equals(truth)


def test_what_cannot_be_asked_for_is_refused_before_anything_is_asked(store):
    with history(BARS) as server:
        for kind, timeframe, text in (("books", None, "wanted one of"), ("bars", None, "timeframe is missing")):
            with pytest.raises(ValueError, match=text):
                download(store, "BTC/USD", timeframe, "2024-01-01", kind=kind, source=server.alpaca())
        with pytest.raises(ValueError, match="jobs"):
            download(store, "BTC/USD", "1h", "2024-01-01", source=server.alpaca(), jobs=0)
        assert not server.requests
