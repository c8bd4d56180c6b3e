"""What the README says of fills, each answer on bars that are made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import cryptoquant as cq

START, HOUR = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
FLAT = (100, 101, 99, 100)
RESEARCH = cq.Venue.research()


def market(*rows, symbol="BTC/USD", absent=(), volume=50.0):
    """Hourly bars of (open, high, low, close)."""
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "time": START + (row + 1) * HOUR,
                "known": START + (row + 1) * HOUR,
                "open_time": START + row * HOUR,
                **dict(zip(("open", "high", "low", "close"), map(float, prices), strict=True)),
                "volume": volume,
                "trade_count": 1,
                "vwap": float(prices[3]),
            }
            for row, prices in enumerate(rows)
            if row not in absent
        ]
    )


def traded(bars, venue=RESEARCH, **order):
    """What became of a buy of one coin that is decided at the first close."""
    row = {"time": START + HOUR, "symbol": "BTC/USD", "side": "buy", "quantity": 1.0, **order}
    return cq.simulate(pl.DataFrame([row]), bars, venue=venue)


def fills(*arguments, **order):
    return traded(*arguments, **order).fills.select("price", "liquidity").rows()


def test_a_decision_is_filled_at_the_next_open_and_a_second_of_latency_costs_a_bar():
    bars = market(FLAT, (102, 103, 101, 102), (105, 106, 104, 105))
    assert fills(bars) == [(102.0, "taker")]
    assert fills(bars, replace(RESEARCH, latency=timedelta(seconds=1))) == [(105.0, "taker")]


def test_a_market_order_pays_slippage_half_the_spread_and_impact():
    costs = cq.Costs(slippage_bps=1.0, spread_bps=4.0, impact_linear_bps=100.0)
    assert fills(market(FLAT, FLAT), cq.Venue.research(costs)) == [
        (pytest.approx(100 * (1 + 3e-4 + 1e-2 / 50)), "taker")
    ]


def test_a_limit_order_needs_a_trade_through_it_or_an_open_beyond_it():
    assert fills(market(FLAT, FLAT), type="limit", limit=99.0) == []
    assert fills(market(FLAT, (100, 101, 98.9, 100)), type="limit", limit=99.0) == [(99.0, "maker")]
    assert fills(market(FLAT, (98, 101, 97, 100)), type="limit", limit=99.0) == [(98.0, "taker")]


def test_a_stop_takes_its_price_or_a_gap_and_a_trailing_one_follows_the_bars_before():
    assert fills(market(FLAT, FLAT, (100, 101, 97, 100)), stop_loss=0.02)[1] == (98.0, "taker")
    assert fills(market(FLAT, FLAT, (90, 91, 89, 90)), stop_loss=0.02)[1] == (90.0, "taker")
    rising = market(FLAT, FLAT, (100, 110, 96, 107), (107, 108, 103, 105))
    for path in ("worst", "best", "ohlc", "olhc", "adaptive"):
        trailed = traded(rising, replace(RESEARCH, path=path), trailing=0.05).fills
        assert trailed.row(1, named=True)["time"] == START + 4 * HOUR
        assert trailed.row(1, named=True)["price"] == 104.5


def test_the_path_says_whether_the_stop_or_the_target_comes_first_unless_the_open_does():
    exits = {"stop_loss": 0.02, "take_profit": 0.02}
    both = market(FLAT, FLAT, (100, 103, 96, 100))
    found = {
        path: fills(both, replace(RESEARCH, path=path), **exits)[1][0]
        for path in ("worst", "best", "ohlc", "olhc", "adaptive")
    }
    assert found == {"worst": 98.0, "best": 102.0, "ohlc": 102.0, "olhc": 98.0, "adaptive": 102.0}
    assert fills(market(FLAT, FLAT, (104, 105, 96, 100)), **exits)[1] == (104.0, "taker")


def test_exits_live_in_the_bar_of_the_entry():
    assert fills(market(FLAT, (100, 101, 95, 100)), stop_loss=0.02) == [(100.0, "taker"), (98.0, "taker")]


def test_what_participation_leaves_over_waits_for_the_next_bar():
    bars = market(FLAT, FLAT, FLAT, FLAT)
    assert traded(bars, replace(RESEARCH, participation=0.1), quantity=12.0).fills["quantity"].to_list() == [5, 5, 2]


def test_fees_are_taken_from_what_is_received_and_a_buy_needs_its_collar():
    bought = traded(market(FLAT, FLAT), cq.Venue.alpaca()).fills.row(0, named=True)
    assert (bought["quantity_change"], bought["value_change"], bought["fee"]) == (0.9975, -100.0, 0.25)
    assert traded(market(FLAT, FLAT), cq.Venue.alpaca(), quantity=975.0).statistics.fills == 1
    dear = traded(market(FLAT, FLAT), cq.Venue.alpaca(), quantity=976.0)
    assert dear.rejections["reason"].to_list() == ["insufficient cash"]


def test_an_absent_symbol_is_waited_for_and_a_holding_without_bars_is_told():
    other = market(FLAT, FLAT, FLAT, FLAT, symbol="ETH/USD")
    late = traded(pl.concat([market(*[FLAT] * 4, absent=(1, 2)), other])).fills
    assert late["time"].to_list() == [START + 3 * HOUR]
    ended = traded(pl.concat([market(*[FLAT] * 4, absent=(2, 3)), other]))
    assert ended.equity["equity"][-1] == ended.initial
    assert "BTC/USD has no bar after 2024-01-01 02:00" in ended.notes[0]


def test_shorts_are_refused_on_a_spot_venue_and_taken_in_research():
    short = traded(market(FLAT, FLAT), cq.Venue.alpaca(), side="sell")
    assert short.rejections["reason"].to_list() == ["more than is held: the venue is spot and long only"]
    assert fills(market(FLAT, FLAT), side="sell") == [(100.0, "taker")]
    lent = replace(RESEARCH, financing=cq.Financing(borrow=0.365))
    charged = traded(market(*[FLAT] * 25), lent, side="sell")
    assert charged.initial - charged.equity["equity"][-1] == pytest.approx(0.1, rel=1e-6)
