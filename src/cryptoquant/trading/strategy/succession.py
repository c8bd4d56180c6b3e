"""Strategies that follow each other in time: each fold's own parameters in one run."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy.view import HOLD, Floats, RuleOverBars, Strategy, Target, View


@dataclass(frozen=True, slots=True)
class Succession:
    """Each strategy decides from its start until the next one takes over; positions carry over.

    Parameters
    ----------
    strategies
        The members, at least one.
    starts
        When each takes over, nanoseconds UTC, ascending: it decides at closes later than that.
    """

    strategies: tuple[Strategy, ...]
    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.strategies or len(self.strategies) != len(self.starts):
            raise ValueError(f"Succession: {len(self.strategies)} strategies and {len(self.starts)} starts")
        if any(later <= earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)):
            raise ValueError(f"Succession: starts must ascend, found {self.starts}")

    @property
    def lookback(self) -> int:
        """The longest of the members."""
        return max(member.lookback for member in self.strategies)

    @property
    def reads_signals(self) -> bool:
        """Whether a member does."""
        return any(getattr(member, "reads_signals", False) for member in self.strategies)

    def decide(self, view: View) -> Target:
        """Return what the strategy of the time wants; nothing before the first start."""
        place = bisect_left(self.starts, view.time) - 1
        return self.strategies[place].decide(view) if place >= 0 else HOLD


def weights_over(strategy: Strategy, panel: Panel) -> Floats | None:
    """Return the weights of a rule over bars, or of a succession of such, shape (slices, symbols); None for others."""
    if isinstance(strategy, RuleOverBars):
        return strategy.weights(panel)
    if not isinstance(strategy, Succession) or not all(isinstance(one, RuleOverBars) for one in strategy.strategies):
        return None
    weights = np.full((len(panel), len(panel.symbols)), np.nan)
    borders = [*np.searchsorted(panel.times, strategy.starts, side="right").tolist(), len(panel)]
    for member, first, last in zip(strategy.strategies, borders, borders[1:], strict=False):
        if isinstance(member, RuleOverBars) and last > first:
            past = max(0, first - member.lookback)
            seen = panel.between(int(panel.times[past]) - 1, int(panel.times[last - 1]))
            weights[first:last] = member.weights(seen)[first - past :]
    return weights
