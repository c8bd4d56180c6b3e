"""vectorbt gets the same fills and comes to the same equity at every close."""

import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.simulator import simulate
from cryptoquant.errors import MissingExtraError
from cryptoquant.performance.report import Report
from cryptoquant.performance.vectorbt_portfolio import TOLERANCE
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel
from tests.performance.reports import report_over

PAIRS = ("BTC/USD", "ETH/USD")


def run(share: float = 0.8, absent: float = 0.1, **changes) -> Report:
    panel = gapping_panel(400, PAIRS, seed=3, absent=absent)
    held = np.where(np.arange(400)[:, None] // [[17, 23]] % 2 == 0, share / 2, 0.0)
    return simulate(held, panel, **changes)


def test_the_default_fees_are_taken_in_coins_and_still_every_close_agrees():
    report = run(costs=Costs.alpaca(tier=1, slippage_bps=3.0))
    assert report.costs.fee_asset == "received"
    assert_same(report)


@pytest.mark.parametrize(
    "changes",
    [
        {"costs": Costs(10.0, 20.0, fee_asset="quote")},
        {"costs": Costs.free(), "share": 1.0},
        {"costs": Costs(10.0, 20.0), "execution": Execution(stop_loss=0.02, take_profit=0.02)},
        {"costs": Costs(10.0, 20.0), "execution": Execution(limit_bps=5.0)},
        {"venue": Venue.research(Costs(10.0, 20.0, fee_asset="quote")), "share": -0.6, "absent": 0.0},
    ],
    ids=["fees in cash", "free", "stops", "limits", "short"],
)
def test_every_close_agrees_whatever_the_fills_were(changes):
    assert_same(run(**changes))


def assert_same(report: Report) -> None:
    pytest.importorskip("vectorbt")
    assert report.fills.height > 20
    portfolio = report.to_vectorbt()
    assert portfolio.orders.count() == report.fills.height
    value = portfolio.value().reindex(report.to_pandas().index).to_numpy()
    assert value == pytest.approx(report.equity["equity"].to_numpy(), rel=1e-9)
    fees = float(portfolio.orders.values["fees"].sum())
    assert fees == pytest.approx(report.statistics.fees, rel=1e-6, abs=1e-4)


def test_several_fills_in_one_slice_stand_in_rows_of_their_own():
    report = run(costs=Costs(10.0, 20.0, fee_asset="quote"), absent=0.0)
    halves = report.fills.with_columns(
        *(pl.col(name) / 2 for name in ("quantity", "value", "fee", "quantity_change", "value_change"))
    )
    twice = pl.concat([halves, halves]).sort("time", "symbol", maintain_order=True)
    portfolio = replace(report, fills=twice).to_vectorbt()
    assert portfolio.orders.count() == 2 * report.fills.height
    value = portfolio.value().reindex(report.to_pandas().index).to_numpy()
    assert value == pytest.approx(report.equity["equity"].to_numpy(), rel=1e-9)


def test_what_vectorbt_cannot_carry_is_refused():
    venue = replace(Venue.research(Costs(10.0, 20.0, fee_asset="quote")), financing=Financing(borrow=0.5))
    report = run(venue=venue, share=-0.8, absent=0.0)
    with pytest.raises(ValueError, match="cannot carry borrowed cash or financing"):
        report.to_vectorbt()
    last = pl.int_range(pl.len()) == pl.len() - 1
    good = run(costs=Costs.free(), absent=0.0)
    for error, refused in ((0.5 * TOLERANCE, False), (2.0 * TOLERANCE, True)):
        shifted = pl.when(last).then(pl.col("equity") * (1.0 + error)).otherwise("equity").alias("equity")
        changed = replace(good, equity=good.equity.with_columns(shifted))
        if refused:
            with pytest.raises(ValueError, match="vectorbt ends at"):
                changed.to_vectorbt()
        else:
            changed.to_vectorbt()
    with pytest.raises(ValueError, match="no prices in this report"):
        replace(good, prices=good.prices.clear()).to_vectorbt()


def test_a_run_without_a_fill_is_cash():
    report = simulate(np.zeros((50, 2)), gapping_panel(50, PAIRS))
    assert report.to_vectorbt().value().to_numpy() == pytest.approx(100_000.0)


def test_vectorbt_absent_is_said_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vectorbt", None)
    with pytest.raises(MissingExtraError, match=r"cryptoquant\[vectorbt\]"):
        report_over(20).to_vectorbt()
