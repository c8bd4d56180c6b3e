"""Which side a rule took at each bar of history: what a meta-label judges."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cryptoquant.backtest.drive import drive
from cryptoquant.market.schema import INSTANT, check_bars, validate
from cryptoquant.market.slice import Panel
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.strategy import Strategy, Target, View
from cryptoquant.trading.venue import Costs, Venue

CASH = 1e6


@dataclass(frozen=True, slots=True)
class _Noted:
    """A rule, and what it wanted at each close."""

    rule: Strategy
    wanted: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def lookback(self) -> int:
        return self.rule.lookback

    def decide(self, view: View) -> Target:
        target = self.rule.decide(view)
        self.wanted.extend((symbol, view.time, (weight > 0) - (weight < 0)) for symbol, weight in target.items())
        return target


def sides_of(rule: Strategy, bars: Any, venue: Venue | None = None) -> pl.DataFrame:
    """Return the side that a rule wants at each close, from bars up to that close only.

    The rule is traded through the bars as the simulator does, so that one that looks at its own book sees one. A symbol
    that it leaves out at a close has no side there, and neither has one that it wants to be flat.

    Parameters
    ----------
    bars
        Schema ``bars``, polars or pandas, in time order within each symbol.
    venue
        Where it is traded; by default without costs.

    Returns
    -------
    polars.DataFrame
        ``symbol``, ``time`` and ``side`` (1 or -1), as ``features.meta_label`` wants them.

    Raises
    ------
    ValueError
        The rule reads signals itself.
    SchemaError
        The bars are impossible or out of order.
    """
    if getattr(rule, "reads_signals", False):
        raise ValueError(f"{type(rule).__name__} reads signals itself, wanted a rule over bars")
    noted = _Noted(rule)
    panel = Panel.from_frame(check_bars(validate(bars, "bars")))
    drive(Engine(noted, venue or Venue.alpaca(Costs.free()), panel.symbols, CASH), panel, {})
    schema = {"symbol": pl.String(), "time": pl.Int64(), "side": pl.Int64()}
    frame = pl.DataFrame(noted.wanted, schema=schema, orient="row")
    return frame.filter(pl.col("side") != 0).with_columns(pl.col("time").cast(INSTANT)).sort("symbol", "time")
