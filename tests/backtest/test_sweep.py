"""Sweeps: the numbers of single runs, however many run side by side."""

from dataclasses import dataclass

import numpy as np
import pytest

from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.sweep import NUMBERS, sweep
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import LongFlat, MovingAverageCross
from cryptoquant.trading.venue import Costs
from tests.market_makers import frame_of, gapping_panel

PANEL = gapping_panel(400, ("A/USD", "B/USD"), seed=4)
GRID = {"fast": [3, 6, 12], "slow": range(24, 73, 24)}


@dataclass(frozen=True)
class Dip:
    """A strategy that only the event driver can run: buys after a fall."""

    fall: float = 0.01
    lookback: int = 2

    def decide(self, view):
        last, now = view.history("A/USD", "close", 2)[[0, -1]]
        return {"A/USD": 0.5 if now < last * (1 - self.fall) else 0.0}


@pytest.fixture(scope="module")
def swept():
    return sweep(MovingAverageCross, GRID, PANEL, Costs.alpaca(), jobs=1)


def test_each_row_is_what_a_single_run_gives(swept):
    assert swept.frame.height == 9
    assert swept.frame.columns == ["fast", "slow", *NUMBERS]
    for row in swept.frame.iter_rows(named=True):
        alone = simulate(MovingAverageCross(row["fast"], row["slow"]), PANEL, Costs.alpaca()).statistics
        for name in NUMBERS:
            assert row[name] == pytest.approx(getattr(alone, name), rel=1e-12, nan_ok=True), name


def test_a_strategy_of_events_is_swept_with_the_same_numbers():
    done = sweep(Dip, {"fall": [0.0, 0.02]}, frame_of(PANEL), Costs.alpaca(), jobs=1)
    for row in done.frame.iter_rows(named=True):
        alone = simulate(Dip(row["fall"]), PANEL, Costs.alpaca()).statistics
        assert row["total_return"] == alone.total_return
        assert row["trades"] == alone.trades > 0


def test_jobs_change_nothing(swept):
    assert sweep(MovingAverageCross, GRID, PANEL, Costs.alpaca(), jobs=2).frame.equals(swept.frame)


def test_cash_costs_and_execution_count(swept):
    terms = {"cash": 50.0, "execution": Execution(band=0.5)}
    poor = sweep(MovingAverageCross, {"fast": [3], "slow": [24]}, PANEL, Costs.alpaca(8), jobs=1, **terms)
    alone = simulate(MovingAverageCross(3, 24), PANEL, Costs.alpaca(8), **terms).statistics
    assert poor.frame["total_return"].item() == alone.total_return
    assert alone.total_return != swept.frame["total_return"][0]


def test_the_best_rows_are_the_largest_finite_ones(swept):
    best = swept.best("total_return", 3)
    assert best["total_return"].to_list() == sorted(swept.frame["total_return"], reverse=True)[:3]
    with pytest.raises(ValueError, match=r"no metric 'sharp'; there are: .*sharpe"):
        swept.best("sharp")


def test_a_heat_map_shows_every_pair_of_two_parameters(swept):
    figure = swept.heatmap("total_return")
    cells = np.asarray(figure.data[0].z, dtype=float)
    assert cells.shape == (3, 3)
    for row in swept.frame.iter_rows(named=True):
        at = list(GRID["slow"]).index(row["slow"]), GRID["fast"].index(row["fast"])
        assert cells[at] == row["total_return"]
    with pytest.raises(ValueError, match="no metric 'sharp'"):
        swept.heatmap("sharp")


def test_a_heat_map_of_one_parameter_is_refused():
    one = sweep(MovingAverageCross, {"fast": [3, 6]}, gapping_panel(200), Costs.alpaca(), jobs=1)
    with pytest.raises(ValueError, match="needs two swept parameters, found fast"):
        one.heatmap()


def test_grids_that_make_no_sense_are_refused():
    for grid in ({}, {"fast": []}):
        with pytest.raises(ValueError, match="the grid holds no combination"):
            sweep(MovingAverageCross, grid, PANEL, jobs=1)
    with pytest.raises(ValueError, match="fast=24, slow=24"):
        sweep(MovingAverageCross, {"fast": [24], "slow": [24]}, PANEL, jobs=1)
    with pytest.raises(ValueError, match="exit"):
        sweep(LongFlat, {"exit": [0.9]}, PANEL, jobs=1)
