"""One report for every run: a backtest, a walk-forward, a replay and a paper run say the same things alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cryptoquant.market.schema import INSTANT, SIGNALS
from cryptoquant.performance.metrics import Statistics, round_trips, statistics
from cryptoquant.trading.order import Fill, Rejection
from cryptoquant.trading.venue import Costs, Venue

if TYPE_CHECKING:
    import pandas as pd

FILLS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": INSTANT,
    "symbol": pl.String,
    "side": pl.String,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "value": pl.Float64,
    "fee": pl.Float64,
    "slippage": pl.Float64,
    "liquidity": pl.String,
    "quantity_change": pl.Float64,
    "value_change": pl.Float64,
    "order_id": pl.String,
}
REJECTIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": INSTANT,
    "symbol": pl.String,
    "side": pl.String,
    "quantity": pl.Float64,
    "reason": pl.String,
    "order_id": pl.String,
}


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What a run did and what came of it.

    Attributes
    ----------
    name
        What was run.
    initial
        Equity before the first period, in quote currency.
    statistics
        The table.
    equity
        Columns time, equity, cash, exposure (signed share of equity invested) and, where known, benchmark (buy and
        hold); one row for each slice.
    fills, rejections, signals
        The facts, in time order.
    prices
        Columns time, symbol, close: what the pictures draw.
    costs
        Fees and slippage that were charged.
    folds
        One row for each fold of a walk-forward, else empty.
    notes
        Facts worth saying in words, shown at the head.
    """

    name: str
    initial: float
    statistics: Statistics
    equity: pl.DataFrame
    fills: pl.DataFrame
    rejections: pl.DataFrame
    signals: pl.DataFrame
    prices: pl.DataFrame
    costs: Costs
    folds: pl.DataFrame = field(default_factory=pl.DataFrame)
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        numbers = self.statistics
        span = f"{numbers.start[:10]} to {numbers.end[:10]}"
        return f"Report({self.name!r}, {span}, {numbers.total_return:+.1%}, {numbers.fills} fills)"

    @property
    def trades(self) -> pl.DataFrame:
        """Closed round trips: symbol, opened, closed, quantity, profit, return, is_final; see ``round_trips``."""
        return round_trips(self.fills)

    @property
    def returns(self) -> pl.DataFrame:
        """Simple returns of each period: time, return."""
        before = self.equity["equity"].shift(1, fill_value=self.initial)
        return self.equity.select("time", (pl.col("equity") / before - 1.0).alias("return"))

    def daily_returns(self) -> pl.DataFrame:
        """Return the simple returns of each UTC day: time (midnight at its end), return."""
        days = (
            self.equity.select(
                ((pl.col("time") - pl.duration(nanoseconds=1)).dt.truncate("1d") + pl.duration(days=1)).alias("time"),
                "equity",
            )
            .group_by("time", maintain_order=True)
            .last()
        )
        before = days["equity"].shift(1, fill_value=self.initial)
        return days.select("time", (pl.col("equity") / before - 1.0).alias("return"))

    def to_pandas(self) -> "pd.DataFrame":
        """Return the equity table as a pandas frame indexed by time."""
        return self.equity.to_pandas().set_index("time")

    def show(self) -> None:
        """Print the table; in a notebook also draw equity, drawdown and prices with entries and exits."""
        from cryptoquant.performance.figures import show

        show(self)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page (no script or style from outside) and return its path."""
        from cryptoquant.performance.page import write_page

        return write_page(self, Path(path))


def fills_frame(fills: list[Fill], venue: Venue) -> pl.DataFrame:
    """Return fills as a frame, in coins and quote currency."""
    rows = []
    for fill in fills:
        lot = venue.instrument(fill.symbol).lot
        rows.append(
            (
                fill.time,
                fill.symbol,
                fill.side,
                fill.lots * lot,
                fill.price,
                fill.lots * lot * fill.price,
                fill.fee,
                fill.slippage,
                fill.liquidity,
                fill.lots_change * lot,
                fill.cash_change * venue.unit,
                fill.order_id,
            )
        )
    return _frame(rows, FILLS)


def rejections_frame(rejections: list[Rejection], venue: Venue) -> pl.DataFrame:
    """Return rejections as a frame, in coins."""
    rows = [
        (r.time, r.symbol, r.side, r.lots * venue.instrument(r.symbol).lot, r.reason, r.order_id) for r in rejections
    ]
    return _frame(rows, REJECTIONS)


def _frame(rows: list[Any], schema: dict[str, Any]) -> pl.DataFrame:
    stored = {name: pl.Int64 if dtype == INSTANT else dtype for name, dtype in schema.items()}
    frame = pl.DataFrame(rows, schema=stored, orient="row")
    return frame.with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"))


def build_report(
    name: str,
    equity: pl.DataFrame,
    facts: tuple[pl.DataFrame, pl.DataFrame],
    initial: float,
    costs: Costs,
    *,
    prices: pl.DataFrame,
    signals: pl.DataFrame | None = None,
    folds: pl.DataFrame | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Return the report of a run from its equity and its facts (fills, rejections)."""
    fills, rejections = facts
    return Report(
        name=name,
        initial=initial,
        statistics=statistics(equity, fills, initial, rejections.height),
        equity=equity,
        fills=fills,
        rejections=rejections,
        signals=signals if signals is not None else pl.DataFrame(schema=SIGNALS),
        prices=prices,
        costs=costs,
        folds=folds if folds is not None else pl.DataFrame(),
        notes=notes,
    )
