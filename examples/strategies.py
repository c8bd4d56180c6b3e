"""Rules, hours, portfolios and mixtures of them over one market, each through the same simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time

import numpy as np

import cryptoquant as cq
from cryptoquant import strategy as s


@dataclass(frozen=True)
class Dip:
    """Your own: buy after three falling closes, sell after a rise."""

    weight: float = 0.5
    lookback: int = 4

    def decide(self, view: cq.View) -> Mapping[str, float]:
        """Return the weights that are to change."""
        target = {}
        for symbol in view.symbols:
            moves = np.diff(view.history(symbol, "close", self.lookback))
            if len(moves) == self.lookback - 1 and (moves < 0).all():
                target[symbol] = self.weight
            elif len(moves) and moves[-1] > 0:
                target[symbol] = 0.0
        return target


def main() -> None:
    bars = cq.SyntheticMarket(symbols=["BTC/USD", "ETH/USD", "SOL/USD"], days=90, timeframe="1h", seed=7).bars()
    trend = (s.MovingAverageCross(24, 168), s.Momentum(168), s.Breakout(48))
    strategies: dict[str, s.Strategy] = {
        "my own rule": Dip(),
        "trend by vote": s.Voting(trend),
        "trend and reversion": s.Ensemble((s.Voting(trend), s.MeanReversion(48)), shares=(2, 1)),
        "calm or wild": s.Switch(s.VolatilityRegime((0.6,)), (s.Momentum(168), s.MeanReversion(48))),
        "trend, sized": s.VolatilityScaled(s.MovingAverageCross(24, 168), volatility=0.4, max_weight=0.5),
        "nights of London": s.OvernightHold(s.Session("Europe/London", time(8), time(16, 30), s.WORKDAYS)),
        "risk parity": s.RiskParity(s.Schedule(window=336, every="7d")),
    }
    for name, strategy in strategies.items():
        found = cq.simulate(strategy, bars, cq.Costs.alpaca(tier=1)).statistics
        print(f"{name:20} return {found.total_return:+.1%}  drawdown {found.max_drawdown:.1%}  trades {found.trades}")


if __name__ == "__main__":
    main()
