"""What to hold: rules, models and portfolios alike are one method and a frozen set of parameters.

A strategy of your own needs no base class. This one buys after three falling closes and sells after a rise:

>>> from dataclasses import dataclass
>>> import numpy as np
>>> @dataclass(frozen=True)
... class Dip:
...     weight: float = 0.5
...     lookback: int = 4
...     def decide(self, view):
...         target = {}
...         for symbol in view.symbols:
...             moves = np.diff(view.history(symbol, "close", self.lookback))
...             if len(moves) == self.lookback - 1 and (moves < 0).all():
...                 target[symbol] = self.weight
...             elif len(moves) and moves[-1] > 0:
...                 target[symbol] = 0.0
...         return target
>>> isinstance(Dip(), Strategy)
True
>>> Ensemble((Dip(), MovingAverageCross(24, 168))).lookback
168
"""

from cryptoquant.trading.strategy.allocation import hierarchical_risk_parity, mean_variance, risk_parity
from cryptoquant.trading.strategy.averages import MovingAverageCross, PrefixSums, crossing, prefix_sums
from cryptoquant.trading.strategy.composition import (
    Ensemble,
    Regime,
    Switch,
    VolatilityRegime,
    VolatilityScaled,
    Voting,
)
from cryptoquant.trading.strategy.construction import (
    HierarchicalRiskParity,
    MeanVariance,
    Optimised,
    RiskParity,
    Schedule,
    VolatilityTarget,
)
from cryptoquant.trading.strategy.quantity import FixedQuantity
from cryptoquant.trading.strategy.reversion import MeanReversion
from cryptoquant.trading.strategy.rules import Breakout, BuyAndHold, Momentum
from cryptoquant.trading.strategy.sessions import (
    EVERY_DAY,
    WORKDAYS,
    OpeningMomentum,
    OvernightHold,
    Session,
    TimeOfDay,
)
from cryptoquant.trading.strategy.signals import Followed, LongFlat, LongShort, ProbabilitySize, TopK
from cryptoquant.trading.strategy.view import HOLD, RuleOverBars, Strategy, Target, View

__all__ = [
    "EVERY_DAY",
    "HOLD",
    "WORKDAYS",
    "Breakout",
    "BuyAndHold",
    "Ensemble",
    "FixedQuantity",
    "Followed",
    "HierarchicalRiskParity",
    "LongFlat",
    "LongShort",
    "MeanReversion",
    "MeanVariance",
    "Momentum",
    "MovingAverageCross",
    "OpeningMomentum",
    "Optimised",
    "OvernightHold",
    "PrefixSums",
    "ProbabilitySize",
    "Regime",
    "RiskParity",
    "RuleOverBars",
    "Schedule",
    "Session",
    "Strategy",
    "Switch",
    "Target",
    "TimeOfDay",
    "TopK",
    "View",
    "VolatilityRegime",
    "VolatilityScaled",
    "VolatilityTarget",
    "Voting",
    "crossing",
    "hierarchical_risk_parity",
    "mean_variance",
    "prefix_sums",
    "risk_parity",
]
