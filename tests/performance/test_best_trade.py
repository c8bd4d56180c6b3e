"""The best round trip, against a plain walk over the fills: closed ones, parts of one, and what is still open."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.performance.best_trade import best_trade
from cryptoquant.performance.report import REJECTIONS, Report, build_report
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, report_over, stamps

LAST = {"BTC/USD": 130.0, "ETH/USD": 70.0}


def report_of(rows) -> Report:
    times = stamps(START + 24 * HOUR * np.arange(1, 4, dtype=np.int64))
    flat = [1_000.0] * 3
    frame = pl.DataFrame({"time": times, "equity": flat, "cash": flat, "exposure": [0.0] * 3})
    prices = pl.concat(
        pl.DataFrame({"time": times, "symbol": [symbol] * 3, "close": [1.0, 2.0, last]})
        for symbol, last in LAST.items()
    )
    facts = (fills_of(rows, 0.001), pl.DataFrame(schema=REJECTIONS))
    return build_report("a run", frame, facts, 1_000.0, Costs.free(), prices=prices)


def plain(rows) -> list[float]:
    """Return the profit of each round trip: all cash between two times without a position, or up to the last price."""
    profits = []
    for symbol, last in LAST.items():
        held, cash = 0.0, 0.0
        for _, traded, quantity, paid in rows:
            if traded == symbol:
                held, cash = held + quantity, cash - quantity * paid - 0.001 * abs(quantity) * paid
                if held == 0.0:
                    profits.append(cash)
                    cash = 0.0
        if held:
            profits.append(cash + held * last)
    return profits


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_it_is_the_best_of_a_plain_walk_over_the_fills(seed, count):
    rng, held, rows = np.random.default_rng(seed), {"BTC/USD": 0, "ETH/USD": 0}, []
    for hour in range(count):
        symbol = str(rng.choice(list(LAST)))
        now = held[symbol]
        step = int(rng.integers(-3, 4)) or 1
        target = 0 if now * (now + step) < 0 else now + step
        rows.append((hour, symbol, float(target - now), float(rng.integers(50, 150))))
        held[symbol] = target
    found = best_trade(report_of(rows))
    assert found is not None
    assert found.profit == pytest.approx(max(plain(rows)), abs=1e-9)


def test_an_open_position_is_the_best_at_its_last_price_with_what_its_parts_made():
    """Three for 100 each, one sold for 110, two at 130: 10 + 60, less fees of 0.3 and 0.11."""
    closed = [(0, "ETH/USD", 1.0, 50.0), (1, "ETH/USD", -1.0, 60.0)]
    rows = [*closed, (2, "BTC/USD", 3.0, 100.0), (3, "BTC/USD", -1.0, 110.0)]
    found = best_trade(report_of(rows))
    assert found[:3] == ("BTC/USD", "long", None)
    assert found.profit == pytest.approx(70.0 - 0.41)
    ended = best_trade(report_of([*rows, (4, "BTC/USD", -2.0, 100.0)]))
    assert (ended.symbol, ended.side) == ("ETH/USD", "long")
    assert ended.closed.hour == 1
    assert best_trade(report_of([(0, "BTC/USD", -1.0, 140.0)])).side == "short"


def test_without_a_trade_there_is_none():
    assert best_trade(report_over(48, trades=0)) is None
    report = report_of([(0, "BTC/USD", 1.0, 100.0)])
    assert best_trade(replace(report, prices=report.prices.clear())) is None
    assert math.isfinite(best_trade(report).profit)
