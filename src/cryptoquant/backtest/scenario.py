"""What is traded, how and at what price, held apart from what comes of it: change one thing and trade it again."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, partial

import numpy as np
import polars as pl

from cryptoquant.backtest.rehearsal import trade
from cryptoquant.backtest.run import Run
from cryptoquant.backtest.simulator import report_of, signal_rows, simulate_weights, weights_of
from cryptoquant.market.slice import Panel
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.report import Report
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.strategy.succession import weights_over
from cryptoquant.trading.venue import Venue


@dataclass(frozen=True, eq=False)
class Scenario:
    """One run of a strategy through a span of history.

    Attributes
    ----------
    market
        The whole history; what lies before ``start`` is the past that the strategy may look back on.
    start, end
        Closes with ``start < time <= end`` are traded, nanoseconds UTC.
    signals
        Frame of the signals schema; None for a rule over bars.
    """

    name: str
    market: Panel
    start: int
    end: int
    strategy: Strategy
    venue: Venue
    execution: Execution
    cash: float
    limits: RiskLimits | None = None
    signals: pl.DataFrame | None = None

    @cached_property
    def panel(self) -> Panel:
        """The slices that are traded."""
        return self.market.between(self.start, self.end)

    def run(self) -> Run:
        """Trade it: a rule over bars by the compiled loop, any other strategy by the event driver."""
        past = self._past
        if self.limits is None and self.signals is None:
            before = int(past.times[0]) - 1 if len(past) else self.start
            weights = weights_over(self.strategy, self.market.between(before, self.end))
            if weights is not None:
                traded = weights_of(weights[len(past) :], self.panel)
                return simulate_weights(traded, self.panel, self.venue, self.cash, self.execution)
        engine = partial(Engine, self.strategy, self.venue, self.panel.symbols, self.cash, limits=self.limits)
        return trade(engine, self.panel, self.execution, signal_rows(self.signals, self.panel), past)

    def report(self) -> Report:
        """Trade it and report."""
        return report_of(self.name, self.run(), self.panel, self.venue, self.cash, signals=self.signals)

    def statistics(self) -> Statistics:
        """Trade it and return the numbers alone: no table is made."""
        return self.run().statistics(self.cash)

    @property
    def _past(self) -> Panel:
        """The slices before the start that the strategy may look back on."""
        stop = int(np.searchsorted(self.market.times, self.start, side="right"))
        first = max(0, stop - self.strategy.lookback + 1)
        return self.market.between(int(self.market.times[first]) - 1, self.start) if stop > first else _none(self)

    def at_costs(self, factor: float) -> "Scenario":
        """Return it at so many times the costs."""
        return replace(self, venue=replace(self.venue, costs=self.venue.costs.scaled(factor)))

    def delayed(self, bars: int = 1) -> "Scenario":
        """Return it with every order arriving so many bars later."""
        late = timedelta(microseconds=bars * self.market.width // 1_000)
        return replace(self, venue=replace(self.venue, latency=self.venue.latency + late))

    def without_bars(self, share: float, seed: int) -> "Scenario":
        """Return it on a market in which a random share of the bars, and the signals at them, are missing.

        The first slice of the market stays whole. A symbol that begins later may lose its first bars, and so begins
        later still.
        """
        closes = self.market.field("close")
        gone = np.random.default_rng(seed).random(closes.shape) < share
        gone[0] = False
        columns = {name: np.where(gone, np.nan, column) for name, column in self.market.columns.items()}
        whole = Panel(self.market.times, self.market.known, self.market.symbols, columns, self.market.width)
        return replace(self, market=whole, signals=self._signals_without(gone))

    def _signals_without(self, gone: np.ndarray) -> pl.DataFrame | None:
        if self.signals is None:
            return None
        rows, places = np.nonzero(gone)
        lost = pl.DataFrame({"time": self.market.times[rows], "symbol": np.array(self.market.symbols)[places]})
        lost = lost.with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"))
        return self.signals.join(lost, on=["time", "symbol"], how="anti", maintain_order="left")


def _none(scenario: Scenario) -> Panel:
    return scenario.market.between(scenario.start, scenario.start)
