"""Meta-labelling: the sides of a rule from its past only, and a model that says when to follow it."""

import math
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant.backtest.sides import sides_of
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import Breakout, Followed, LongFlat, MovingAverageCross
from cryptoquant.trading.strategy.signals import bet_size
from cryptoquant.trading.venue import Costs
from tests.models.datasets import market_bars
from tests.trading.views import decisions, last_view, panel_of

RULE = MovingAverageCross(3, 12)


@dataclass(frozen=True)
class Fixed:
    """Wants what it is told."""

    weights: tuple[tuple[str, float], ...]
    lookback: int = 1

    def decide(self, view):
        return dict(self.weights)


def test_sides_are_the_signs_of_what_the_rule_wants():
    bars = market_bars(days=10)
    sides = sides_of(RULE, bars)
    panel = cq.market.slice.Panel.from_frame(bars)
    wanted = decisions(RULE, panel)
    rows = {(symbol, time): side for symbol, time, side in sides.with_columns(pl.col("time").dt.epoch("ns")).rows()}
    found = np.array([[rows.get((symbol, int(time)), 0) for symbol in panel.symbols] for time in panel.times])
    assert np.array_equal(found, np.sign(np.nan_to_num(wanted)))
    assert set(sides["side"]) == {1}
    assert 50 < sides.height < panel.times.size * 2


def test_sides_do_not_change_when_the_future_does():
    bars = market_bars(days=10)
    cut = bars["time"].sort()[bars.height // 2]
    other = market_bars(days=10, seed=8)
    mixed = pl.concat([bars.filter(pl.col("time") <= cut), other.filter(pl.col("time") > cut)]).sort("symbol", "time")
    for rule in (RULE, Breakout(20, 10)):
        one, two = (sides_of(rule, frame).filter(pl.col("time") <= cut) for frame in (bars, mixed))
        assert one.height > 20
        assert one.equals(two)


def test_a_rule_that_reads_signals_has_no_sides():
    with pytest.raises(ValueError, match="LongFlat reads signals itself"):
        sides_of(LongFlat(), market_bars(days=2))
    with pytest.raises(ValueError, match="LongFlat reads signals itself"):
        Followed(LongFlat())


@pytest.mark.parametrize(
    ("wanted", "chance", "held", "target"),
    [
        (0.5, 0.6, 0.0, {"A/USD": 0.5}),
        (0.5, 0.55, 0.0, {"A/USD": 0.5}),
        (0.5, 0.54, 0.4, {"A/USD": 0.0}),
        (-0.5, 0.6, 0.0, {"A/USD": -0.5}),
        (0.0, 0.9, 0.4, {"A/USD": 0.0}),
        (0.0, None, 0.4, {"A/USD": 0.0}),
        (None, 0.1, 0.4, {}),
        (0.5, None, 0.0, {}),
        (0.5, None, 0.4, {}),
        (0.5, math.nan, 0.4, {}),
        (0.5, None, -0.4, {"A/USD": 0.0}),
        (-0.5, None, 0.4, {"A/USD": 0.0}),
    ],
)
def test_a_rule_is_followed_where_the_model_believes_in_it(wanted, chance, held, target):
    rule = Followed(Fixed(() if wanted is None else (("A/USD", wanted),)), threshold=0.55)
    said = {} if chance is None else {"A/USD": chance}
    assert rule.decide(last_view(rule, panel_of({"A/USD": [1.0]}), said, held={"A/USD": held})) == target


def test_the_size_of_a_bet_follows_the_probability():
    # z = (0.8 - 0.5) / sqrt(0.8 * 0.2) = 0.75 and N(0.75) = 0.773372648 (a table of the normal distribution).
    assert bet_size(0.8) == pytest.approx(2 * 0.773372648 - 1, abs=1e-8)
    assert [bet_size(chance) for chance in (0.0, 0.5, 1.0)] == [0.0, 0.0, 1.0]
    rule = Followed(Fixed((("A/USD", 0.5),)), sized=True)
    view = last_view(rule, panel_of({"A/USD": [1.0]}), {"A/USD": 0.8})
    assert rule.decide(view)["A/USD"] == pytest.approx(0.5 * (2 * 0.773372648 - 1), abs=1e-8)
    with pytest.raises(ValueError, match="wanted a probability"):
        rule.decide(last_view(rule, panel_of({"A/USD": [1.0]}), {"A/USD": 0.8}, kind="score"))
    for threshold in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="threshold must lie in"):
            Followed(RULE, threshold)


def test_a_model_learns_when_to_follow_a_rule_and_trades_it():
    bars = market_bars(days=60, edge=1.0)
    sides = sides_of(RULE, bars)
    barrier = f.triple_barrier(1.5, 1.5, timedelta(hours=12), 24)
    features = FeatureSet([f.log_return(1), f.rsi(14), f.zscore("volume", 48)])
    dataset = Dataset.build(bars, features, f.meta_label(sides, barrier))
    splits = WalkForward(timedelta(days=25), timedelta(days=10), timedelta(hours=12))
    judged = dataset.frame.join(sides, on=["symbol", "time"], how="semi")
    for fold in splits.split(dataset):
        learned = dataset.frame[fold.train]
        assert learned.join(judged, on=["symbol", "time"], how="anti").is_empty()
        assert set(learned["label"]) == {0.0, 1.0}
    study = cq.walk_forward(
        dataset, Logistic(), Followed(RULE, 0.5), splits, Costs.free(), ledger=TrialLedger(), jobs=1
    )
    fills = study.report.fills
    assert fills.height > 5
    wanted = {(symbol, time) for symbol, time, _ in sides.rows()}
    values = study.signals["symbol", "time", "value"].rows()
    believed = {(symbol, time) for symbol, time, value in values if value >= 0.5}
    bought = fills.filter(pl.col("side") == "buy")
    assert bought.height
    hour = timedelta(hours=1)
    for symbol, time in bought["symbol", "time"].rows():
        close = time.replace(minute=0, second=0, microsecond=0)
        assert {(symbol, close), (symbol, close - hour)} & wanted & believed
