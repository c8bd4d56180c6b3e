"""Many parameter sets over the same market, side by side."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cryptoquant.backtest.checking import checked
from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.simulator import rules_of, simulate_weights
from cryptoquant.market.slice import Panel
from cryptoquant.performance.metrics import Statistics
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import RuleOverBars, Strategy
from cryptoquant.trading.venue import Costs, Venue

NUMBERS = [name for name, kind in Statistics.__annotations__.items() if kind in (int, float, "int", "float")]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One row for each parameter set.

    Attributes
    ----------
    frame
        Columns: the parameters, then every number of the statistics.
    parameters
        The names of the swept parameters.
    """

    frame: pl.DataFrame
    parameters: tuple[str, ...]

    def best(self, metric: str = "sharpe", count: int = 1) -> pl.DataFrame:
        """Return the rows with the largest values of a metric; a best of many is biased upwards, so judge it anew."""
        return self.frame.filter(pl.col(self._known(metric)).is_finite()).sort(metric, descending=True).head(count)

    def heatmap(self, metric: str = "sharpe") -> Any:
        """Return a plotly heat map of a metric over two swept parameters.

        Raises
        ------
        ValueError
            Not exactly two parameters were swept, or the metric is unknown.
        """
        if len(self.parameters) != 2:
            raise ValueError(f"a heat map needs two swept parameters, found {', '.join(self.parameters)}")
        import plotly.graph_objects as go

        across, down = self.parameters
        table = self.frame.pivot(on=across, index=down, values=self._known(metric), sort_columns=False)
        names = [name for name in table.columns if name != down]
        figure = go.Figure(go.Heatmap(z=table.select(names).to_numpy(), x=names, y=table[down], colorscale="Viridis"))
        return figure.update_layout(title=metric, xaxis_title=across, yaxis_title=down)

    def _known(self, metric: str) -> str:
        if metric not in NUMBERS:
            raise ValueError(f"no metric {metric!r}; there are: {', '.join(NUMBERS)}")
        return metric


def sweep(
    strategy: Callable[..., Strategy],
    grid: Mapping[str, Iterable[Any]],
    market: Any,
    costs: Costs | None = None,
    *,
    cash: float = 100_000.0,
    venue: Venue | None = None,
    execution: Execution | None = None,
    jobs: int | None = None,
) -> Sweep:
    """Simulate every combination of the grid and return their statistics; no curve is kept.

    Rules over bars run through the compiled loop, side by side in threads; other strategies through the event driver,
    in processes.

    Parameters
    ----------
    strategy
        A class or function that makes a strategy from the grid's parameters.
    grid
        Values by parameter; a combination that the strategy refuses is an error, so keep the ranges apart.
    venue
        Rules; by default Alpaca's. ``costs`` is part of it: give one of the two.
    execution
        How targets become orders, the same for all; to compare exits, call ``sweep`` once for each.
    jobs
        Threads or processes; -1 uses every core. The result does not depend on it.

    Raises
    ------
    ValueError
        The grid is empty, or the strategy refuses a combination.
    """
    names = tuple(grid)
    combinations = list(itertools.product(*(list(values) for values in grid.values())))
    if not names or not combinations:
        raise ValueError("the grid holds no combination")
    panel = checked(market) if isinstance(market, Panel) else Panel.from_frame(market)
    strategies = [strategy(**dict(zip(names, values, strict=True))) for values in combinations]
    terms = (rules_of(venue, costs), cash, execution or Execution())
    is_compiled = all(isinstance(one, RuleOverBars) for one in strategies)
    is_one_kind = is_compiled and len({type(one) for one in strategies}) == 1
    prepare = getattr(strategies[0], "prepare", None) if is_one_kind else None
    shared = prepare(panel) if prepare is not None else None
    tasks = ((one, panel, terms, shared) for one in strategies)
    rows = list(side_by_side(_judge, tasks, jobs, prefer="threads" if is_compiled else "processes"))
    columns = {name: [values[place] for values in combinations] for place, name in enumerate(names)}
    frame = pl.DataFrame(columns | {name: [getattr(row, name) for row in rows] for name in NUMBERS})
    return Sweep(frame, names)


def _judge(strategy: Strategy, panel: Panel, terms: tuple[Venue, float, Execution], shared: Any) -> Statistics:
    venue, cash, execution = terms
    if isinstance(strategy, RuleOverBars):
        weights = strategy.weights(panel) if shared is None else strategy.weights(panel, shared)  # type: ignore[call-arg]
        run = simulate_weights(weights, panel, venue, cash, execution)
    else:
        run = drive(Engine(strategy, venue, panel.symbols, cash, execution=execution), panel, {})
    return run.statistics(cash)
