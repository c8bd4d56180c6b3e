"""How fast the simulator is: a moving-average cross on one symbol, ours and vectorbt's in one run.

Run with ``python benchmarks/simulator.py [bars]``. The targets are given to both; what is timed is trading them and the
statistics. Figures are medians of repeated runs; compare the ratios, the seconds depend on the machine.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cryptoquant.backtest.simulator import simulate, simulate_weights
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue

MINUTE = 60_000_000_000
FAST, SLOW = 240, 1440
COSTS = Costs(0.0, 5.0, 5.0, "quote")
RUNS = 3


@dataclass(frozen=True)
class Momentum:
    """A plain Python strategy: long above the close of an hour ago."""

    lookback: int = 60

    def decide(self, view):
        """Return half of the equity or nothing."""
        closes = view.history("BTC/USD", "close", 60)
        return {"BTC/USD": 0.5 if closes[-1] > closes[0] else 0.0} if len(closes) == 60 else {}


@dataclass(frozen=True)
class Steady:
    """The same weight at every bar: what the driver takes when it hardly trades."""

    lookback: int = 1

    def decide(self, view):
        """Return half of the equity."""
        return {"BTC/USD": 0.5}


def market(bars: int, seed: int = 7) -> Panel:
    rng = np.random.default_rng(seed)
    close = 4e4 * np.exp(np.cumsum(6e-4 * rng.standard_normal(bars)))
    opened = np.concatenate([close[:1], close[:-1]]) * np.exp(2e-4 * rng.standard_normal(bars))
    values = np.ones((bars, 1, len(FIELDS)))
    for index, field in enumerate((opened, np.maximum(opened, close), np.minimum(opened, close), close)):
        values[:, 0, index] = field
    times = MINUTE * np.arange(1, bars + 1, dtype=np.int64)
    return Panel.from_values(times, times, ("BTC/USD",), values, MINUTE)


def median(work: Callable[[], object], runs: int = RUNS) -> float:
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def vectorbt_runs(panel: Panel, weights: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return the same trades by vectorbt, down to the final equity, the Sharpe ratio and the drawdown.

    The index is a range: with an index of times vectorbt spends nearly all its time in walking through it. Signals are
    sized at the fill, so that their final equity differs a little.
    """
    import pandas as pd
    import vectorbt

    close, opened = (pd.Series(panel.field(name)[:, 0]) for name in ("close", "open"))
    late = np.concatenate([[np.nan], weights[:-1, 0]])
    last = pd.Series(np.concatenate([[close.iloc[0]], close.to_numpy()[:-1]]))
    terms = {"price": opened, "fees": 5e-4, "slippage": 5e-4, "init_cash": 1e6, "freq": "1min"}

    def judged(portfolio) -> float:
        portfolio.sharpe_ratio()
        portfolio.max_drawdown()
        return float(portfolio.value().iloc[-1])

    def orders() -> float:
        kind = {"size_type": "targetpercent", "val_price": last}
        return judged(vectorbt.Portfolio.from_orders(close, pd.Series(late), **kind, **terms))

    def signals() -> float:
        entries, exits = (pd.Series(late == level) for level in (0.5, 0.0))
        return judged(vectorbt.Portfolio.from_signals(close, entries, exits, size=0.5, size_type="percent", **terms))

    return {"vectorbt from_orders": orders, "vectorbt from_signals": signals}


def main(bars: int = 1_000_000) -> None:
    panel, venue, plan = market(bars), Venue.research(COSTS), Execution(reserve=0.0, band=0.0)
    levels = MovingAverageCross(FAST, SLOW, max_weight=0.5).weights(panel)
    turns = np.concatenate([[False], np.diff(levels[:, 0]) != 0]) & ~np.isnan(levels[:, 0])
    weights = np.where(turns[:, None], levels, math.nan)
    works: dict[str, Callable[[], object]] = {
        "our loop": lambda: simulate_weights(weights, panel, venue, 1e6, plan),
        "our report (loop, statistics, tables)": lambda: simulate(
            weights, panel, venue=venue, cash=1e6, execution=plan
        ),
    }
    ends = [simulate(weights, panel, venue=venue, cash=1e6, execution=plan).equity["equity"].item(-1)]
    try:
        peers = vectorbt_runs(panel, weights)
    except ImportError:
        print('vectorbt is not installed: pip install "cryptoquant[vectorbt]"')
        peers = {}
    ends += [work() for work in peers.values()]
    print(f"{bars:,} bars, {int(turns.sum()):,} turns; final equity: {', '.join(f'{end:.6f}' for end in ends)}")
    seconds = {name: median(work) for name, work in {**works, **peers}.items()}
    for name, taken in seconds.items():
        print(f"{name:40}{taken:9.4f} s  {1e9 * taken / bars:8.1f} ns a bar  {taken / seconds['our loop']:8.1f}")
    few = panel.between(0, 200_000 * MINUTE)
    for rule in (Momentum(), Steady()):
        orders = simulate(rule, few, Costs.alpaca()).fills.height
        taken = median(lambda rule=rule: simulate(rule, few, Costs.alpaca()))
        name = f"event driver, {type(rule).__name__}, {orders:,} orders in {len(few):,} bars"
        print(f"{name:60}{len(few) / taken:,.0f} bars/s")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
