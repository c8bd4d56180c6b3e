"""A run's days taken apart: by calendar, and by what kind of market it was, as far as that was known the day before."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.metrics import drawdowns, sharpe_ratio
from cryptoquant.performance.robustness import Stress

Floats = NDArray[np.float64]
DAYS_PER_YEAR = 365
# Volatility is the deviation of the last twenty days, trend the place beside the mean of the last fifty.
VOLATILITY_DAYS, TREND_DAYS = 20, 50
# A tercile of fewer days than that says little about what is calm.
LEAST_HISTORY_DAYS = 60
# A Sharpe ratio of fewer days is noise: its standard error is above 3.
LEAST_DAYS = 30
# A calendar of less than two years is left out by quarters: half of it would go with a year.
SHORT_CALENDAR_DAYS = 2 * DAYS_PER_YEAR


def stress_of_days(family: str, name: str, returns: Floats, limit: float) -> Stress:
    """Return the row of a run that is made of some days only, from their simple returns in time order."""
    curve = np.cumprod(1.0 + returns, dtype=np.float64)
    total = float(curve[-1]) - 1.0 if len(curve) else 0.0
    deepest = float(drawdowns(curve, 1.0).min(initial=0.0))
    return Stress(family, name, sharpe_ratio(returns, DAYS_PER_YEAR), total, deepest, limit)


def without_calendar(days: pl.DataFrame, limit: float) -> list[Stress]:
    """Return a row for each year that is left out, or each quarter of a run shorter than two years.

    Parameters
    ----------
    days
        Columns time (midnight at the day's end) and return, as of ``daily_returns``.
    """
    inside = pl.col("time") - pl.duration(nanoseconds=1)
    within = days.select("return", year=inside.dt.year().cast(pl.String), quarter=inside.dt.quarter())
    part = pl.col("year")
    if days.height < SHORT_CALENDAR_DAYS:
        part = pl.format("{} Q{}", "year", "quarter")
    table = within.select("return", part=part)
    found = []
    for name in table["part"].unique(maintain_order=True):
        rest = table.filter(pl.col("part") != name)["return"].to_numpy()
        if len(rest) >= LEAST_DAYS:
            found.append(stress_of_days("calendar", f"without {name}", rest, limit))
    return found


def by_regime(days: pl.DataFrame, benchmark: pl.DataFrame, limit: float) -> list[Stress]:
    """Return a row for each kind of market that lasted for at least thirty days.

    Parameters
    ----------
    days, benchmark
        Columns time and return, as of ``daily_returns``: of the run, and of the market, which may begin earlier.
    """
    kinds = {"volatility": volatility_regime(benchmark), "trend": trend_regime(benchmark)}
    table = days.join(benchmark.select("time").with_columns(**kinds), on="time", how="left", maintain_order="left")
    found = []
    for kind in kinds:
        for name in sorted(table[kind].drop_nulls().unique()):
            within = table.filter(pl.col(kind) == name)["return"].to_numpy()
            if len(within) >= LEAST_DAYS:
                found.append(stress_of_days("regime", f"{name} days", within, limit))
    return found


def volatility_regime(benchmark: pl.DataFrame) -> pl.Series:
    """Return calm, usual or wild for each day; null where too little came before.

    The deviation of the twenty days before is placed among all such deviations up to then.
    """
    spread = benchmark["return"].shift(1).rolling_std(VOLATILITY_DAYS).to_numpy()
    place = np.full(len(spread), np.nan)
    for day in range(VOLATILITY_DAYS + LEAST_HISTORY_DAYS, len(spread)):
        before = spread[VOLATILITY_DAYS : day + 1]
        place[day] = float((before <= spread[day]).mean())
    names = np.where(place <= 1 / 3, "calm", np.where(place <= 2 / 3, "usual", "wild"))
    return pl.Series(
        [None if np.isnan(at) else str(name) for at, name in zip(place, names, strict=True)], dtype=pl.String
    )


def trend_regime(benchmark: pl.DataFrame) -> pl.Series:
    """Return rising or falling for each day; null where too little came before.

    The market's level of the day before stands above or below its mean over the fifty days before.
    """
    level = (1.0 + benchmark["return"]).cum_prod().shift(1)
    above = level > level.rolling_mean(TREND_DAYS)
    return pl.Series([None if up is None else "rising" if up else "falling" for up in above], dtype=pl.String)
