"""The round trip that brought most: closed ones by their profit, a position that is still open by its last mark."""

from datetime import datetime
from typing import NamedTuple

import polars as pl

from cryptoquant.performance.report import Report
from cryptoquant.performance.round_trips import ROUNDING_SHARE


class BestTrade(NamedTuple):
    """A round trip: when it was closed, None where it is still open, and its profit in quote currency, after fees."""

    symbol: str
    side: str
    closed: datetime | None
    profit: float


def best_trade(report: Report) -> BestTrade | None:
    """Return the round trip with the highest profit; None where nothing was traded.

    Partial closes of one position are one round trip. What is open is worth its quantity at the symbol's last price.
    """
    ended, rest = _by_position(report)
    found = [BestTrade(*row) for row in ended.iter_rows()]
    for symbol, held, profit in _open_positions(report).iter_rows():
        partly = sum(rest.filter(pl.col("symbol") == symbol)["profit"].to_list())
        found.append(BestTrade(symbol, "long" if held > 0.0 else "short", None, profit + partly))
    return max(found, key=lambda trade: trade.profit, default=None)


def _by_position(report: Report) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return positions that ended (symbol, side, closed, profit), and the trades that only took a part of one."""
    trades = report.trades.with_columns(
        pl.col("is_final").reverse().cum_sum().reverse().over("symbol").alias("finals_ahead")
    )
    ended = (
        trades.filter(pl.col("finals_ahead") > 0)
        .group_by("symbol", "finals_ahead", maintain_order=True)
        .agg(pl.col("side").last(), pl.col("closed").last(), pl.col("profit").sum())
        .drop("finals_ahead")
    )
    return ended, trades.filter(pl.col("finals_ahead") == 0)


def _open_positions(report: Report) -> pl.DataFrame:
    """Return symbol, quantity and what each open position gained at its mark beyond what its closed parts did."""
    marks = report.prices.group_by("symbol", maintain_order=True).agg(pl.col("close").last())
    realised = report.trades.group_by("symbol").agg(pl.col("profit").sum())
    change = pl.col("quantity_change")
    held = report.fills.group_by("symbol", maintain_order=True).agg(
        change.sum(), pl.col("value_change").sum(), (ROUNDING_SHARE * change.abs().sum()).alias("rounding")
    )
    gained = pl.col("value_change") + change * pl.col("close") - pl.col("profit").fill_null(0.0)
    return (
        held.filter(change.abs() > pl.col("rounding"))
        .join(marks, on="symbol", how="inner", maintain_order="left")
        .join(realised, on="symbol", how="left", maintain_order="left")
        .select("symbol", "quantity_change", gained.alias("gained"))
    )
