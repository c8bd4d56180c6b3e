"""Bars of trades: history and the present agree to the bit, and a bar looks closed only when it is."""

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.errors import SchemaError
from cryptoquant.market.aggregation import BarAggregator, aggregate
from cryptoquant.market.bar_ladder import BarLadder
from cryptoquant.market.event_bars import EventBars, Every, Imbalance, event_bars, trade_signs
from cryptoquant.market.schema import Bar, Trade, bar_rows, check_bars
from cryptoquant.market.time_bars import TimeBars, time_bars
from tests.market_makers import HOUR, START, frame_of, gapping_panel

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
BEGIN = 1_704_067_200 * SECOND
OPEN = "2024-01-01T00:00:00Z"

moves = st.tuples(
    st.sampled_from([0, 0, 1, 7 * SECOND, 20 * SECOND, MINUTE, 11 * MINUTE]),
    st.integers(-3, 3),
    st.sampled_from([0.0, 0.1, 0.3, 1.7, 1e-8]),
    st.sampled_from(["B", "S", "", ""]),
    st.sampled_from([-SECOND, 0, 5, 3 * MINUTE]),
)


def trades_of(
    steps: list[tuple[int, int, float, str, int]], symbol: str = "BTC/USD", start: int = BEGIN
) -> list[Trade]:
    found, time, price = [], start, 100.0
    for number, (pause, move, size, side, lag) in enumerate(steps):
        time, price = time + pause, max(1.0, price + move * 0.1)
        found.append(Trade(symbol, time, time + lag, number, price, size, side))
    return found


def frame(trades: list[Trade]) -> pl.DataFrame:
    columns = {name: [getattr(trade, name) for trade in trades] for name in Trade.__struct_fields__}
    schema = {"symbol": pl.String, "time": pl.Int64, "known": pl.Int64, "id": pl.Int64, "price": pl.Float64}
    table = pl.DataFrame(columns, schema={**schema, "size": pl.Float64, "taker_side": pl.String})
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known"))


def rules() -> st.SearchStrategy[Every | Imbalance]:
    measures = st.sampled_from(["ticks", "volume", "dollars"])
    amounts = st.sampled_from([1.0, 2.0, 3.5, 60.0, 250.0])
    lengths = st.integers(1, 12)
    spans = st.integers(1, 5)
    return st.one_of(
        st.builds(Every, measures, amounts),
        st.builds(Imbalance, measures, lengths, spans),
        st.builds(lambda m, n, s: Imbalance(m, n, s, shortest=1, longest=40), measures, lengths, spans),
    )


def online(folding: TimeBars | EventBars, trades: list[Trade]) -> list[Bar]:
    return [bar for trade in trades for bar in folding.update(trade)]


@given(st.lists(moves, max_size=120), st.sampled_from(["1m", "5m", "7s", "1h"]), st.booleans(), st.booleans())
def test_time_bars_one_by_one_equal_those_of_history_to_the_bit(steps, timeframe, is_whole, is_over):
    trades = trades_of(steps)
    folding = TimeBars(timeframe, since=BEGIN if is_whole else None)
    found = online(folding, trades)
    end = trades[-1].time + 30 * SECOND if trades else BEGIN
    found += folding.expire(end) if is_over else []
    whole = time_bars(frame(trades), timeframe, since=OPEN if is_whole else None, until=end if is_over else None)
    assert bar_rows(whole) == found
    assert folding.late == 0
    check_bars(whole)


@given(st.lists(moves, max_size=200), rules())
def test_event_bars_one_by_one_equal_those_of_history_to_the_bit(steps, rule):
    trades = trades_of(steps)
    whole = event_bars(frame(trades), rule)
    assert bar_rows(whole) == online(EventBars(rule), trades)
    check_bars(whole)


@given(st.lists(moves, min_size=1, max_size=150), st.permutations(["1m", "5m", "15m", "1h"]))
def test_a_ladder_of_trades_equals_each_timeframe_made_alone(steps, timeframes):
    trades = [*trades_of(steps, "A/USD"), *trades_of(steps[::-1], "B/USD", BEGIN + 3 * MINUTE)]
    trades.sort(key=lambda trade: trade.time)
    end = trades[-1].time + 3 * MINUTE
    ladder = BarLadder(timeframes)
    found = [closed for trade in trades for closed in ladder.update(trade)]
    found += ladder.expire(end)
    for symbol in ("A/USD", "B/USD"):
        own = [trade for trade in trades if trade.symbol == symbol]
        minutes = time_bars(frame(own), "1m", until=end)
        assert bar_rows(minutes) == [bar for name, bar in found if name == "1m" and bar.symbol == symbol]
        for timeframe in ("5m", "15m", "1h"):
            mine = [bar for name, bar in found if name == timeframe and bar.symbol == symbol]
            folded = aggregate(minutes, timeframe, since=own[0].time)
            # The clock closes what aggregate must leave open: it sees bars alone.
            assert bar_rows(folded) == mine[: folded.height]
            assert len(mine) - folded.height in (0, 1)
            direct = time_bars(frame(own), timeframe, until=end)
            assert [bar.open_time for bar in mine] == direct["open_time"].dt.epoch("ns").to_list()
            for small, large in zip(mine, bar_rows(direct), strict=True):
                assert (small.open, small.high, small.low, small.close) == (
                    large.open,
                    large.high,
                    large.low,
                    large.close,
                )
                assert small.volume == pytest.approx(large.volume)
                assert (small.trade_count, small.known) == (large.trade_count, large.known)


@given(st.lists(moves, min_size=1, max_size=120), st.sampled_from(["1m", "5m"]), st.integers(1, 119))
def test_what_is_closed_does_not_change_with_what_comes_later(steps, timeframe, cut):
    trades = trades_of(steps)
    whole, early = (bar_rows(time_bars(frame(part), timeframe)) for part in (trades, trades[:cut]))
    assert early == whole[: len(early)]
    assert all(bar.time <= trades[:cut][-1].time for bar in early)
    assert all(bar.known >= bar.time for bar in whole)


@given(st.lists(moves, min_size=2, max_size=200), rules(), st.integers(1, 199))
def test_an_event_bar_does_not_change_with_what_comes_later_and_no_trade_is_lost(steps, rule, cut):
    trades = trades_of(steps)
    whole, early = (bar_rows(event_bars(frame(part), rule)) for part in (trades, trades[:cut]))
    assert early == whole[: len(early)]
    at = 0
    for bar in whole:
        parts = trades[at : at + bar.trade_count]
        assert bar.known == max(bar.time, *(part.known for part in parts))
        assert (bar.open, bar.close) == (parts[0].price, parts[-1].price)
        at += bar.trade_count
    assert all(before.time <= after.open_time for before, after in pairwise(whole))


def test_an_unfinished_bar_never_looks_closed():
    folding = TimeBars("1m", since=BEGIN)
    trade = Trade("BTC/USD", BEGIN + 59 * SECOND, BEGIN + 60 * SECOND, 1, 100.0, 1.0)
    assert folding.update(trade) == []
    assert folding.expire(BEGIN + MINUTE - 1) == []
    (bar,) = folding.expire(BEGIN + MINUTE)
    assert (bar.open_time, bar.time, bar.known) == (BEGIN, BEGIN + MINUTE, BEGIN + MINUTE)
    assert folding.update(trade) == []
    assert folding.late == 1


def test_a_trade_at_the_close_belongs_to_the_next_bar_and_idle_minutes_are_absent():
    at = [0, 59 * SECOND, MINUTE, 5 * MINUTE]
    trades = [Trade("BTC/USD", BEGIN + time, BEGIN + time, i, 100.0 + i, 1.0) for i, time in enumerate(at)]
    bars = bar_rows(time_bars(frame(trades), "1m"))
    assert [(bar.open_time - BEGIN, bar.trade_count) for bar in bars] == [(0, 2), (MINUTE, 1)]


def test_trades_that_fall_back_in_time_are_refused_in_history():
    trades = trades_of([(MINUTE, 0, 1.0, "B", 0)] * 3)[::-1]
    with pytest.raises(SchemaError, match="out of order"):
        time_bars(frame(trades), "1m")
    with pytest.raises(SchemaError, match="price -1"):
        time_bars(frame([Trade("A/USD", 1, 1, 1, -1.0, 1.0)]), "1m")


def test_a_part_without_vwap_does_not_pull_the_mean_to_zero():
    rows = [(0, 100.0, 2.0), (1, None, 5.0), (2, 130.0, 1.0), (3, None, 4.0), (4, None, 1.0), (5, None, 0.0)]
    opens = [BEGIN + i * MINUTE for i, _, _ in rows]
    bars = pl.DataFrame({"symbol": "A/USD", "open_time": opens, "volume": [v for *_, v in rows]}).with_columns(
        open=110.0, high=130.0, low=90.0, close=110.0, vwap=pl.Series([p for _, p, _ in rows])
    )
    bars = bars.with_columns(time=pl.col("open_time") + MINUTE).with_columns(
        pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "open_time")
    )
    assert aggregate(bars, "3m")["vwap"].to_list() == [110.0, None]
    folding = BarAggregator("3m")
    rows = bar_rows(bars.with_columns(known="time", trade_count=pl.lit(1)))
    assert [large.vwap for bar in rows for large in folding.update(bar)] == [110.0, 0.0]
    assert aggregate(bars.tail(1), "1m")["vwap"].to_list() == [0.0]


def test_bars_by_hand_for_each_measure():
    sizes = [1.0, 2.0, 1.0, 4.0, 0.5]
    trades = [Trade("A/USD", BEGIN + i, BEGIN + i, i, 10.0, size) for i, size in enumerate(sizes)]
    counts = {
        rule: event_bars(frame(trades), rule)["trade_count"].to_list()
        for rule in (Every("ticks", 2), Every("volume", 3.0), Every("dollars", 40.0))
    }
    assert list(counts.values()) == [[2, 2], [2, 2], [3, 1]]


def test_imbalance_bars_follow_the_book_by_hand():
    sides = "BBSB" + "BB" + "SSSS"
    trades = [Trade("A/USD", BEGIN + i, BEGIN + i, i, 10.0, 1.0, side) for i, side in enumerate(sides)]
    # First bar: 4 trades, imbalance 2, mean 1/2; then 4 * 1/2 = 2 are expected: two buys close the second. With a span
    # of 3 (alpha 1/2): E[T] = 4 + (2 - 4) / 2 = 3, E[b] = 1/2 + (1 - 1/2) / 2 = 3/4, so the third needs 9/4: 3 sells.
    # Then E[T] = 3, E[b] = 3/4 - (1 + 3/4) / 2 = -1/8, and a single sell is more than 3/8.
    rule = Imbalance("ticks", 4, span=3, shortest=1, longest=100)
    assert event_bars(frame(trades), rule)["trade_count"].to_list() == [4, 2, 3, 1]


def test_the_tick_rule_speaks_where_the_venue_is_silent():
    prices, sides = [10.0, 10.0, 11.0, 11.0, 10.5, 10.5, 12.0], ["", "", "", "", "", "B", "S"]
    trades = [
        Trade("A/USD", BEGIN + i, BEGIN + i, i, price, 1.0, side)
        for i, (price, side) in enumerate(zip(prices, sides, strict=True))
    ]
    assert trade_signs(frame(trades)).tolist() == [0, 0, 1, 1, -1, 1, -1]


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]), st.booleans())
def test_a_ladder_of_bars_equals_aggregation(seed, absent, is_whole):
    bars = frame_of(gapping_panel(60, ("A/USD", "B/USD"), seed=seed, absent=absent))
    since = START - HOUR if is_whole else None
    ladder = BarLadder(["4h", "1d", "2h"], since=since)
    found = [closed for bar in bar_rows(bars) for closed in ladder.update(bar)]
    for name in ("2h", "4h", "1d"):
        assert [bar for timeframe, bar in found if timeframe == name] == bar_rows(aggregate(bars, name, since=since))


def test_rules_and_ladders_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="wanted one of"):
        Every("coins", 1)
    with pytest.raises(ValueError, match="above zero"):
        Every("ticks", 0)
    with pytest.raises(ValueError, match="shortest"):
        Imbalance("ticks", 10, shortest=20)
    with pytest.raises(ValueError, match="not a multiple"):
        BarLadder(["2m", "5m"])
    with pytest.raises(ValueError, match="at least one"):
        BarLadder([])


@pytest.mark.parametrize("name", ["btc", "eth"])
def test_real_trades_make_the_exchange_s_own_bar(real_market, name):
    raw = pl.read_parquet(real_market / f"trades/binance_spot_{name}usdt_20240808.parquet")
    assert (raw["trade_id"].diff().drop_nulls() == 1).all()
    sides = {"buy": "B", "sell": "S"}
    trades = raw.select(
        "symbol", "price", "size", time="timestamp", id="trade_id", taker_side=pl.col("side").replace(sides)
    )
    (mine,) = bar_rows(time_bars(trades, "5m", until="2024-08-09"))
    truth = pl.read_parquet(real_market / f"bars/binance_5m_2024/{name.upper()}_USDT.parquet")
    wanted = truth.filter(pl.col("timestamp").dt.epoch("ns") == mine.open_time).row(0, named=True)
    assert [mine.open, mine.high, mine.low, mine.close] == [wanted[n] for n in ("open", "high", "low", "close")]
    assert round(mine.volume, 6) == wanted["volume"]
    for rule in (Every("dollars", 2e6), Imbalance("volume", 300), Imbalance("dollars", 500)):
        bars = event_bars(trades, rule)
        assert bars.height >= 3
        assert bar_rows(bars) == online(EventBars(rule), [Trade(*row) for row in frame_rows(trades)])


def frame_rows(trades: pl.DataFrame) -> list[tuple]:
    ns = pl.col("time").dt.epoch("ns")
    return trades.select("symbol", ns, ns.alias("known"), "id", "price", "size", "taker_side").rows()
