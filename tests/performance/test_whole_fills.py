"""A trade is the same whether its order filled at once or in parts."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cryptoquant as cq
from cryptoquant.performance.metrics import statistics
from cryptoquant.performance.report import Report
from cryptoquant.performance.whole_fills import whole_fills
from tests.market_makers import gapping_panel
from tests.performance.reports import fills_of, report_over

row = st.tuples(
    st.sampled_from(["BTC/USD", "ETH/USD"]),
    st.sampled_from([-2.0, -1.0, -0.25, 0.5, 1.0]),
    st.floats(1, 100),
    st.integers(1, 5),
)


def with_fills(fills: pl.DataFrame) -> Report:
    return report_over(60, fills=fills)


def in_parts(rows):
    """Return the fills of (hour, symbol, quantity, price) whole and, the symbols in turn, in equal parts."""
    whole = [(hour, symbol, quantity, price) for hour, (symbol, quantity, price, _) in enumerate(rows)]
    parts = [(hour, rows[hour][0], rows[hour][1] / rows[hour][3], rows[hour][2])
             for hour in range(len(rows)) for _ in range(rows[hour][3])]  # fmt: skip
    return fills_of(whole, 0.001), fills_of(parts, 0.001)


@settings(deadline=None, max_examples=60)
@given(st.lists(row, min_size=1, max_size=25))
def test_an_order_in_parts_is_the_same_trades_as_the_whole_order(rows):
    whole, parts = (with_fills(fills).trades for fills in in_parts(rows))
    exact = ["symbol", "side", "opened", "closed", "is_final"]
    assert parts.select(exact).equals(whole.select(exact))
    for name in ("quantity", "profit", "return"):
        assert parts[name].to_numpy() == pytest.approx(whole[name].to_numpy(), rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(row, min_size=1, max_size=25))
def test_the_statistics_count_the_trades_of_the_table(rows):
    report = with_fills(in_parts(rows)[1])
    found = statistics(report.equity, report.fills, report.initial)
    profits = report.trades["profit"].to_numpy()
    assert found.trades == len(profits)
    assert found.fills == report.fills.height
    if len(profits):
        assert found.hit_rate == np.mean(profits > 0)
        assert found.expectancy == pytest.approx(profits.mean(), rel=1e-9, abs=1e-9)


def test_parts_of_one_exit_are_one_row_over_what_was_paid_and_exits_apart_stay_apart():
    fills = fills_of(
        [
            (0, "BTC/USD", 2.0, 100.0),
            (0, "BTC/USD", 2.0, 200.0),
            (1, "BTC/USD", -1.0, 180.0),
            (2, "BTC/USD", -1.0, 170.0),
            (2, "ETH/USD", 1.0, 10.0),
            (2, "BTC/USD", -2.0, 140.0),
        ]
    )
    trades = with_fills(fills).trades
    assert trades["quantity"].to_list() == [1.0, 3.0]
    assert trades["profit"].to_list() == pytest.approx([30.0, 20.0 - 20.0])
    assert trades["return"].to_list() == pytest.approx([0.2, 0.0])
    assert trades["is_final"].to_list() == [False, True]


def test_what_was_bought_back_at_the_same_time_parts_two_exits():
    rows = [(0, "BTC/USD", 2.0, 100.0), (1, "BTC/USD", -1.0, 110.0), (1, "BTC/USD", 1.0, 105.0)]
    trades = with_fills(fills_of([*rows, (1, "BTC/USD", -2.0, 120.0)])).trades
    assert trades["profit"].to_list() == pytest.approx([10.0, 35.0])


def test_no_fills_are_none_whole():
    assert whole_fills(fills_of([])).is_empty()


def test_trade_numbers_do_not_depend_on_the_size_of_the_account():
    panel = gapping_panel(300, ("BTC/USD", "ETH/USD"), seed=3, absent=0.0)
    weights = np.where(np.arange(300)[:, None] // 40 % 2 == 0, 0.5, 0.0) * np.ones((1, 2))
    small, large = (cq.simulate(weights, panel, cq.Costs.alpaca(tier=1), cash=cash) for cash in (100_000, 3_000_000))
    assert large.statistics.fills > 2 * small.statistics.fills
    assert small.statistics.trades == large.statistics.trades == small.trades.height == large.trades.height
    assert small.statistics.hit_rate == large.statistics.hit_rate
