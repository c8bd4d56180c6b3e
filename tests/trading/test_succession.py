"""Strategies that follow each other: each decides in its own time, with the past that it needs."""

import numpy as np
import pytest

from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy import LongFlat, Momentum, MovingAverageCross
from cryptoquant.trading.strategy.succession import Succession, weights_over

PANEL = Panel.from_frame(SyntheticMarket(seed=4, symbols=["BTC/USD", "ETH/USD"], days=20, timeframe="1h").bars())
FAST, SLOW = Momentum(window=5, max_weight=0.3), MovingAverageCross(fast=6, slow=30)


def test_each_rule_has_its_own_rows_and_nothing_is_wanted_before_the_first_start():
    starts = (int(PANEL.times[40]), int(PANEL.times[200]))
    weights = weights_over(Succession((FAST, SLOW), starts), PANEL)
    assert np.isnan(weights[:41]).all()
    assert np.array_equal(weights[41:201], FAST.weights(PANEL)[41:201], equal_nan=True)
    assert np.array_equal(weights[201:], SLOW.weights(PANEL)[201:], equal_nan=True)
    assert np.isfinite(weights[41:]).any(axis=0).all()


def test_a_strategy_that_is_no_rule_has_no_weights():
    assert weights_over(LongFlat(), PANEL) is None
    assert weights_over(Succession((FAST, LongFlat()), (0, 1)), PANEL) is None


def test_the_longest_past_and_the_need_for_signals_are_passed_on():
    both = Succession((FAST, SLOW), (0, 1))
    assert both.lookback == max(FAST.lookback, SLOW.lookback)
    assert not both.reads_signals
    assert Succession((FAST, LongFlat()), (0, 1)).reads_signals


@pytest.mark.parametrize(
    ("strategies", "starts", "words"),
    [((), (), "0 strategies"), ((FAST,), (1, 2), "1 strategies and 2 starts"), ((FAST, SLOW), (2, 2), "must ascend")],
)
def test_parts_that_do_not_fit_are_refused(strategies, starts, words):
    with pytest.raises(ValueError, match=words):
        Succession(strategies, starts)
