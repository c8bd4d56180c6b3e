"""The event driver: plain Python strategies, bar by bar, beside backtesting.py."""

from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np

import cryptoquant as cq
from cryptoquant.market.slice import Panel
from works.cross import KEEP, PLAN, at_turns, by_rule, traded
from works.data import CASH, FEE, SLIPPAGE, SYMBOL, UNITS, Floats, market, turns
from works.measure import Outcome, Way, Work

SPEED = 375_000  # bars a second
PART = 2  # of the bars, the peer takes one in so many; a small part would mostly show what it costs to begin


@dataclass(frozen=True)
class Planned:
    """Does what was planned for a moment: few orders, as little Python as a strategy can have."""

    plan: Mapping[int, Mapping[str, float]] = field(repr=False)
    lookback: int = 1

    def decide(self, view: cq.View) -> Mapping[str, float]:
        """Return the plan of this close."""
        return self.plan.get(view.time, {})


@dataclass(frozen=True)
class Steady:
    """Wants the same at every bar: what it costs to compare with the book."""

    weight: float = 0.1
    lookback: int = 1

    def decide(self, view: cq.View) -> Mapping[str, float]:
        """Return the weight."""
        return {SYMBOL: self.weight}


@dataclass(frozen=True)
class Climber:
    """Reads the past at every bar: long above the close of some bars ago. It trades far more often."""

    lookback: int = 1441
    weight: float = 0.1

    def decide(self, view: cq.View) -> Mapping[str, float]:
        """Return the weight or nothing."""
        closes = view.history(SYMBOL, "close", self.lookback)
        return {SYMBOL: self.weight if closes[-1] > closes[0] else 0.0} if len(closes) == self.lookback else {}


def plan_of(weights: Floats, panel: Panel) -> dict[int, Mapping[str, float]]:
    """Return weights by moment."""
    rows = np.flatnonzero(~np.isnan(weights))
    return {int(panel.times[row]): {SYMBOL: float(weights[row])} for row in rows}


def backtesting_of(panel: Panel, levels: Floats) -> Any:
    """Return a call that trades the turns by backtesting.py; it knows costs of entries only, as a spread."""
    import pandas as pd
    from backtesting import Backtest, Strategy

    columns = {name.title(): panel.field(name)[:, 0] for name in ("open", "high", "low", "close", "volume")}
    table = pd.DataFrame(columns, index=pd.to_datetime(panel.times, unit="ns"))
    up, down = (set(rows.tolist()) for rows in turns(levels))

    class Turns(Strategy):  # type: ignore[misc]
        def init(self) -> None: ...

        def next(self) -> None:
            row = len(self.data) - 1
            if row in up:
                self.buy(size=int(UNITS))
            elif row in down:
                self.position.close()

    def run() -> Outcome:
        test = Backtest(table, Turns, cash=CASH, commission=FEE, spread=2 * SLIPPAGE, finalize_trades=True)
        with redirect_stderr(StringIO()):  # a progress bar
            found = test.run()
        equity = found["_equity_curve"]["Equity"].iloc[-1]
        return Outcome(equity / CASH - 1.0, float("nan"), found["Max. Drawdown [%]"] / 100, 2 * len(found["_trades"]))

    return run


def work(*, quick: bool, with_peers: bool) -> Work:
    """Return the work of the driver; the peer takes a part of the bars, few orders."""
    panel = market(100_000 if quick else 1_000_000)
    levels = by_rule(panel)
    weights = at_turns(levels)
    planned = Planned(plan_of(weights, panel))
    limit = len(panel) / SPEED
    ways = [
        Way("driver: few orders", lambda: traded(planned, panel, PLAN), "turns", limit=limit),
        Way("driver: decides every bar", lambda: traded(Steady(), panel, KEEP), "steady", limit=limit),
        Way("driver: reads a day at every bar", lambda: traded(Climber(), panel, KEEP), "climber", limit=limit),
        Way("compiled: few orders", lambda: traded(weights, panel, PLAN), "turns"),
    ]
    if with_peers:
        part = panel.between(0, int(panel.times[len(panel) // PART - 1]))
        run = backtesting_of(part, levels[: len(part)])
        ways.append(Way("backtesting.py: few orders", run, is_peer=True, share=1 / PART))
    return Work("event", "one symbol, bar by bar", len(panel), ways)
