"""vectorbt as a second simulator: the same targets, the same equity."""

import sys

import numpy as np
import pytest

from cryptoquant.backtest.simulator import simulate
from cryptoquant.errors import MissingExtraError
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel

EXACT = Execution(reserve=0.0, band=0.0)
QUOTE = Costs(0, 25.0, 5.0, "quote")


def targets(slices: int, symbols: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = np.full((slices, symbols), np.nan)
    weights[::10] = rng.uniform(0.0, 0.9 / symbols, size=weights[::10].shape)
    return weights


@pytest.fixture(scope="module")
def simulate_vectorbt():
    pytest.importorskip("vectorbt", reason='pip install "cryptoquant[vectorbt]" for this oracle')
    from cryptoquant.backtest.vectorized import simulate_vectorbt

    return simulate_vectorbt


@pytest.mark.parametrize("seed", [1, 2])
def test_targets_on_a_gapping_market_give_the_same_equity_and_fills(simulate_vectorbt, seed):
    panel = gapping_panel(300, ("A/USD", "B/USD", "C/USD"), seed=seed, sigma=0.02)
    weights = targets(300, 3, seed)
    ours = simulate(weights, panel, venue=Venue.research(QUOTE, allows_short=False), cash=1e6, execution=EXACT)
    theirs = simulate_vectorbt(weights, panel, QUOTE, cash=1e6)
    assert ours.rejections.height == 0
    assert ours.fills.height > 60
    assert theirs.equity["equity"].to_numpy() == pytest.approx(ours.equity["equity"].to_numpy(), rel=1e-12)
    assert theirs.statistics.sharpe == pytest.approx(ours.statistics.sharpe, rel=1e-9)
    for name in ("time", "symbol", "side"):
        assert theirs.fills.sort("time", "symbol")[name].to_list() == ours.fills.sort("time", "symbol")[name].to_list()
    for name in ("quantity", "price", "fee", "slippage", "value_change"):
        one, two = (report.fills.sort("time", "symbol")[name].to_numpy() for report in (theirs, ours))
        assert one == pytest.approx(two, rel=1e-9)


def test_fees_in_coins_and_absent_bars_are_refused(simulate_vectorbt):
    panel = gapping_panel(20, ("A/USD", "B/USD"), absent=0.3)
    with pytest.raises(ValueError, match="fee_asset='quote'"):
        simulate_vectorbt(targets(20, 2, 0), panel, Costs.alpaca())
    with pytest.raises(ValueError, match="every symbol in every slice"):
        simulate_vectorbt(targets(20, 2, 0), panel, QUOTE)


def test_without_the_package_the_extra_is_named(monkeypatch):
    from cryptoquant.backtest.vectorized import simulate_vectorbt

    monkeypatch.setitem(sys.modules, "vectorbt", None)
    with pytest.raises(MissingExtraError, match=r'pip install "cryptoquant\[vectorbt\]"'):
        simulate_vectorbt(targets(5, 1, 0), gapping_panel(5))
