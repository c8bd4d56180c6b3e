"""How a run went over time: Sharpe ratio of a moving window, invested share, turnover and costs so far."""

import math
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.curve import ROUNDING
from cryptoquant.performance.report import Report
from cryptoquant.performance.risk import DAYS_PER_YEAR

Floats = NDArray[np.float64]
WINDOW_DAYS = 90
SHORTEST_WINDOW_DAYS = 10
STRETCHES = 360
FEWEST_MONTHS = 3
FLOW_SHARE = 1e-6
ROUNDING_OF_FLOWS = 1e-9


class Rolling(NamedTuple):
    """The Sharpe ratio of the last ``days`` daily returns: columns time and sharpe, NaN where nothing moved."""

    days: int
    frame: pl.DataFrame


def rolling_sharpe(report: Report) -> Rolling:
    """Return the annual Sharpe ratio of a moving window of daily returns: ddof 1, 365 days, no risk-free rate.

    The window is 90 days, a third of a run that is shorter than 270; a run of less than 30 days has none.
    """
    daily = report.daily_returns()
    days = min(WINDOW_DAYS, daily.height // 3)
    if days < SHORTEST_WINDOW_DAYS:
        return Rolling(0, pl.DataFrame(schema={"time": daily.schema["time"], "sharpe": pl.Float64}))
    windows = np.lib.stride_tricks.sliding_window_view(daily["return"].to_numpy(), days)
    means, deviations = windows.mean(axis=1), windows.std(axis=1, ddof=1)
    ratios = np.full(len(means), np.nan)
    np.divide(means, deviations, out=ratios, where=deviations > ROUNDING * np.abs(means))
    found = daily[days - 1 :].select("time", pl.Series("sharpe", ratios * math.sqrt(DAYS_PER_YEAR)))
    return Rolling(days, found)


def exposure_course(report: Report, stretches: int = STRETCHES) -> pl.DataFrame:
    """Return the mean signed share of equity that was invested, over equal stretches: start, end, exposure."""
    rows = report.equity.height
    edges = np.unique(np.linspace(0, rows, min(rows, stretches) + 1).astype(np.int64))
    values = report.equity["exposure"].cast(pl.Float64).fill_nan(None).fill_null(0.0).to_numpy()
    sums, sizes = np.add.reduceat(values, edges[:-1]), np.diff(edges)
    time = report.equity["time"]
    return pl.DataFrame(
        {"start": time.gather(np.maximum(edges[:-1] - 1, 0)), "end": time.gather(edges[1:] - 1)}
    ).with_columns(pl.Series("exposure", sums / sizes))


def turnover_course(report: Report) -> tuple[str, pl.DataFrame]:
    """Return ``month`` or, for a run within three months, ``day``, and its turnover: start, end, turnover.

    Turnover is the traded value over the mean equity of the calendar month or day; a close at midnight ends the day
    before, a fill at midnight begins the day after.
    """
    inside = (pl.col("time") - pl.duration(nanoseconds=1)).alias("start")
    months = report.equity.select(inside.dt.truncate("1mo")).n_unique()
    unit, every = ("month", "1mo") if months > FEWEST_MONTHS else ("day", "1d")
    held = (
        report.equity.select(inside.dt.truncate(every), "equity")
        .group_by("start", maintain_order=True)
        .agg(pl.col("equity").mean())
    )
    traded = (
        report.fills.select(pl.col("time").dt.truncate(every).alias("start"), "value")
        .group_by("start")
        .agg(pl.col("value").sum())
    )
    joined = held.join(traded, on="start", how="left", maintain_order="left").with_columns(
        pl.col("value").fill_null(0.0)
    )
    end = pl.col("start").dt.offset_by(every).alias("end")
    return unit, joined.select("start", end, (pl.col("value") / pl.col("equity")).alias("turnover"))


def costs_course(report: Report) -> pl.DataFrame:
    """Return what was paid so far after each fill, quote currency: time, fee, slippage, impact."""
    return report.fills.select("time", *(pl.col(name).cum_sum() for name in ("fee", "slippage", "impact")))


def other_flows(report: Report) -> float:
    """Return the cash that left other than by fills (negative: came), such as borrowing and funding; zero for rounding.

    NaN when the report knows no cash.
    """
    if "cash" not in report.equity.columns or not report.equity.height:
        return math.nan
    last = report.equity["cash"].item(-1)
    if last is None or not math.isfinite(last):
        return math.nan
    paid = report.initial + float(report.fills["value_change"].sum()) - float(last)
    room = FLOW_SHARE * report.initial + ROUNDING_OF_FLOWS * float(report.fills["value"].sum())
    return paid if abs(paid) > room else 0.0
