"""One report for every run: a backtest, a walk-forward, a replay and a paper run say the same things alike."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cryptoquant.market.schema import INSTANT, SIGNALS
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.metrics import Statistics, daily_returns, monthly_table, statistics
from cryptoquant.performance.relative import Relative, relative_of
from cryptoquant.performance.risk import Risk, drawdown_spells, risk_of
from cryptoquant.performance.round_trips import round_trips
from cryptoquant.performance.trading import Trading, trading_of
from cryptoquant.performance.whole_fills import whole_fills
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
    "impact": pl.Float64,
    "liquidity": pl.String,
    "reason": pl.String,
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


class Table:
    """A table of a report: given as a frame, or as a call that makes it when it is first read; then it is kept."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, report: "Report | None", owner: type | None = None) -> pl.DataFrame:
        if report is None:
            raise AttributeError(self._name)
        held = report.__dict__[self._name]
        if not isinstance(held, pl.DataFrame):
            held = report.__dict__[self._name] = held()
        frame: pl.DataFrame = held
        return frame

    def __set__(self, report: "Report", value: pl.DataFrame | Callable[[], pl.DataFrame]) -> None:
        report.__dict__[self._name] = value


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What a run did and what came of it.

    A table may be given as a call that makes it; it is made when it is first read, or when the report is pickled.

    Attributes
    ----------
    name
        What was run.
    initial
        Equity before the first period, in quote currency.
    statistics
        The table.
    costs
        Fees and slippage that were charged.
    equity
        Columns time, equity, cash, exposure (signed share of equity invested) and, where known, benchmark (buy and
        hold); one row for each slice.
    fills, rejections, signals
        The facts, in time order. The reason of a fill is empty after a decision, else stop, target or liquidation.
        Fills may have a column participation: the share of the traded bar's value.
    prices
        Columns time, symbol, close: what the pictures draw.
    folds
        One row for each fold of a walk-forward, else empty.
    notes
        Facts worth saying in words, shown at the head.
    dossier
        What a study knows beside the run: evidence, robustness, fingerprints.
    """

    name: str
    initial: float
    statistics: Statistics
    costs: Costs
    equity: Table = Table()
    fills: Table = Table()
    rejections: Table = Table()
    signals: Table = Table()
    prices: Table = Table()
    folds: pl.DataFrame = field(default_factory=pl.DataFrame)
    notes: tuple[str, ...] = ()
    dossier: Dossier = field(default_factory=Dossier)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __repr__(self) -> str:
        numbers = self.statistics
        span = f"{numbers.start[:10]} to {numbers.end[:10]}"
        return f"Report({self.name!r}, {span}, {numbers.total_return:+.1%}, {numbers.fills} fills)"

    @property
    def trades(self) -> pl.DataFrame:
        """Closed round trips: symbol, side, opened, closed, quantity, profit, return, is_final; see ``round_trips``.

        The parts of an order that fill at one time close one trade.
        """
        return round_trips(whole_fills(self.fills))

    @property
    def returns(self) -> pl.DataFrame:
        """Simple returns of each period: time, return."""
        before = self.equity["equity"].shift(1, fill_value=self.initial)
        return self.equity.select("time", (pl.col("equity") / before - 1.0).alias("return"))

    def daily_returns(self) -> pl.DataFrame:
        """Return the simple returns of each UTC day: time (midnight at its end), return."""
        return daily_returns(self.equity, self.initial)

    @property
    def risk(self) -> Risk:
        """How the curve may hurt."""
        return risk_of(self.equity, self.initial)

    @property
    def relative(self) -> Relative:
        """How the run did beside its benchmark."""
        return relative_of(self.equity, self.initial)

    @property
    def trading(self) -> Trading:
        """How the run traded."""
        return trading_of(self.trades, self.fills, self.equity)

    def monthly(self) -> pl.DataFrame:
        """Return the simple returns of UTC months: a row for each year, columns year, Jan to Dec and total."""
        return monthly_table(self.equity, self.initial)

    def drawdown_table(self, count: int = 5) -> pl.DataFrame:
        """Return the deepest spells below a high, deepest first: start, trough, end, depth, days, is_recovered."""
        return drawdown_spells(self.equity, self.initial).sort("depth", maintain_order=True).head(count)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the equity table as a pandas frame indexed by time."""
        return self.equity.to_pandas().set_index("time")

    def to_quantstats_returns(self) -> "pd.Series":
        """Return the daily simple returns as quantstats takes them: a pandas series by UTC date, without a time zone.

        Give quantstats ``periods=365`` (``periods_per_year=365`` for a page): its own year has 252 days.
        """
        import pandas as pd

        daily = self.daily_returns()
        dates = daily["time"].dt.offset_by("-1d").dt.replace_time_zone(None)
        index = pd.DatetimeIndex(dates.to_numpy(), name="time")
        return pd.Series(daily["return"].to_numpy(), index=index, name=self.name)

    def to_vectorbt(self) -> Any:
        """Return a ``vectorbt.Portfolio`` of the same fills; see ``performance.vectorbt_portfolio``."""
        from cryptoquant.performance.vectorbt_portfolio import portfolio_of

        return portfolio_of(self)

    def figures(self) -> dict[str, Any]:
        """Return the pictures of the page as plotly figures by name; a price is ``price BTC/USD``."""
        from cryptoquant.performance.figures import figures

        return figures(self)

    def save(self, path: str | Path) -> Path:
        """Write everything that the report holds into one file and return its path; ``read`` gives it back."""
        from cryptoquant.performance.report_file import save_report

        return save_report(self, Path(path))

    @classmethod
    def read(cls, path: str | Path) -> "Report":
        """Return the report that ``save`` wrote.

        Raises
        ------
        DataError
            The file is absent, no saved report, or holds something that a report has not.
        """
        from cryptoquant.performance.report_file import read_report

        return read_report(Path(path))

    def show(self) -> None:
        """Print the verdict, the alarms and the tables; in a notebook also draw the figures."""
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
                fill.impact,
                fill.liquidity,
                fill.reason,
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
