"""How much features say about later returns, how sure that is, when it held, and which of them say the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.errors import DataError
from cryptoquant.features.kernel import Integers
from cryptoquant.features.quality_bootstrap import DISCOVERY_RATE, q_values
from cryptoquant.features.quality_clusters import clusters_of, correlations_between
from cryptoquant.features.quality_figures import figure_of
from cryptoquant.features.quality_page import write_page
from cryptoquant.features.quality_pairs import (
    QUANTILES,
    Column,
    Pair,
    Rows,
    figures_of,
    half_life,
    months_of,
    stability_of,
)
from cryptoquant.features.quality_ranks import average, centred, correlations
from cryptoquant.features.quality_tables import by_strength, show
from cryptoquant.market.slice import Floats

FIGURES = (
    *("feature", "horizon", "rows", "rank_ic", "rank_ic_low", "rank_ic_high"),
    *("t_ratio", "p_value", "q_value", "significant", "linear_ic", "linear_ic_low", "linear_ic_high"),
    *(f"quantile_{number}" for number in range(1, QUANTILES + 1)),
    *("spread", "spread_low", "spread_high", "monotonicity", "turnover", "hit_rate"),
    *("months_same_sign", "worst_month", "worst_month_ic", "cross_ic", "cross_ic_deviation", "cross_ic_ratio"),
    *("coverage", "autocorrelation"),
)
HORIZONS = (1, 2, 3, 5, 8, 13, 24)
SHORTEST = 2 * QUANTILES


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FeatureQuality:
    """What ``FeatureSet.quality`` found. NaN (or null) stands where a figure is not defined.

    Attributes
    ----------
    frame
        One row per feature and horizon:

        - ``feature``, ``horizon`` (bars), ``rows`` (with both a value and a return).
        - ``rank_ic``, ``rank_ic_low``, ``rank_ic_high``: Spearman's correlation with the later return, and its 95 %
          interval; ``t_ratio``: the rank IC over the deviation of its draws.
        - ``p_value`` of a rank IC of zero, ``q_value``: the same for having looked at all rows of this frame, and
          ``significant``: it is at most 5 %, so that of all rows so marked one in twenty is expected to be chance.
        - ``linear_ic``, ``linear_ic_low``, ``linear_ic_high``: Pearson's correlation.
        - ``quantile_1`` ... ``quantile_5``: the mean log return from the lowest to the highest fifth of the feature;
          ``spread``, ``spread_low``, ``spread_high``: the highest less the lowest; ``monotonicity``: Spearman's
          correlation of the five with their order; ``turnover``: share of rows in another fifth than the bar before.
        - ``hit_rate``: share of rows whose return has the sign of the feature less its median, weighed by the rank's
          distance from the middle.
        - ``months_same_sign``: share of months whose rank IC has the sign of the whole; ``worst_month`` and
          ``worst_month_ic``: the month that contradicts it most.
        - ``cross_ic``, ``cross_ic_deviation``, ``cross_ic_ratio``: mean and deviation over closes of Spearman's
          correlation across symbols, and their ratio; for five symbols and more.
        - ``coverage`` (share of rows with a finite value), ``autocorrelation`` (lag of one bar).
    decay
        ``feature``, ``horizon``, ``rank_ic`` on a grid of horizons up to twice the longest asked for.
    months
        ``feature``, ``horizon``, ``month`` (such as ``2024-03``, UTC), ``rank_ic``, ``rows``.
    features
        One row per feature: ``feature``, ``coverage``, ``first_row`` (the number of a symbol's first bar with a value,
        the latest of all symbols), ``autocorrelation``, ``constant`` (no symbol in which it varies), ``peak_horizon``
        and ``half_life`` (bars; the horizon at which half the strongest rank IC is left, infinite if not yet at the
        longest), ``cluster``, ``representative``.
    clusters
        ``cluster``, ``feature``, ``representative`` (the strongest rank IC of the cluster), ``correlation`` with it,
        ``rank_ic`` and ``horizon`` at which it is the strongest.
    correlations
        Spearman's correlation between features: ``feature`` and a column for each, in the order of ``clusters``.
    sample
        The bars that were looked at, in words.
    """

    frame: pl.DataFrame
    decay: pl.DataFrame
    months: pl.DataFrame
    features: pl.DataFrame
    clusters: pl.DataFrame
    correlations: pl.DataFrame
    sample: str

    def __repr__(self) -> str:
        return f"FeatureQuality({self.verdict} {self.sample})"

    @property
    def verdict(self) -> str:
        """How many pairs were looked at and how many of them are more than chance."""
        frame = self.frame
        counts = {"feature": frame["feature"].n_unique(), "horizon": frame["horizon"].n_unique(), "pair": frame.height}
        features, horizons, pairs = (f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
        found = f"{frame['significant'].sum()} significant at a false discovery rate of {DISCOVERY_RATE:.0%}"
        return f"{features} x {horizons} = {pairs} looked at, {found}."

    def show(self, rows: int = 60) -> None:
        """Print the pairs, the strongest rank IC first, the clusters and the decay; in 100 columns.

        Parameters
        ----------
        rows
            The most pairs that are printed.
        """
        show(self, rows)

    def figure(self) -> Any:
        """Return a plotly figure: rank IC, returns by fifth, months, correlations in the order of clusters, decay."""
        return figure_of(self)

    def to_html(self, path: str | Path) -> Path:
        """Write the pictures and the tables as one page that needs no network (5 MB, most of it plotly's script)."""
        return write_page(self, Path(path))


def measure_quality(
    features: pl.DataFrame, bars: pl.DataFrame, horizons: Sequence[int], *, seed: int = 0
) -> FeatureQuality:
    """Return what features say about later returns.

    Every pair of a feature and a horizon is one look at the data: the more looks, the more of them seem to find
    something by chance. ``q_value`` and ``significant`` answer for all pairs of one call (Benjamini, Hochberg 1995),
    not for earlier calls with other features. The figures describe the whole sample, fifths included: they choose
    features for a model that is then tested on bars not seen here.

    Returns over more than one bar overlap, so their rows are no independent witnesses. The intervals come from a
    circular block bootstrap over closes (Politis, Romano 1992), which keeps what neighbouring closes and all symbols
    at a close have in common. Blocks span twice the horizon and the cube root of the closes; where there are fewer than
    eight, there is no interval. Correlations are linearised by their influence functions: to first order, ranks are
    drawn again. The bounds of the fifths are not.

    Parameters
    ----------
    features
        Columns ``symbol``, ``time``, ``known`` and features, rows as in ``bars``.
    horizons
        Bars ahead; the return is ln(close[t + h] / close[t]) within a symbol.
    seed
        Of the bootstrap.

    Returns
    -------
    FeatureQuality
        Correlations are those within each symbol, averaged by rows; a symbol with fewer than ten pairs of value and
        return, or without variation in one of them, is left out.

    Raises
    ------
    ValueError
        A horizon is no whole number of at least 1, stands twice, or none is given; or there is no feature.
    DataError
        There are no bars, or no symbol has ten more of them than the shortest horizon.
    """
    asked = _checked(horizons)
    names = [name for name in features.columns if name not in ("symbol", "time", "known")]
    if not names:
        raise ValueError("quality: found no feature")
    table = features.with_columns(close=bars["close"]).sort("symbol", "time")
    if table.is_empty():
        raise DataError("quality: no bars")
    longest, wanted = int(table["symbol"].value_counts()["count"].max()), min(asked) + SHORTEST  # type: ignore[arg-type]
    if longest < wanted:
        raise DataError(f"quality: the longest history has {longest} bars, wanted at least {wanted}")
    rows, closes = Rows.of(table), table["close"].cast(pl.Float64).to_numpy()
    grid = sorted({*asked, *_grid(2 * max(asked))})
    ahead = {horizon: Column.of(rows.ahead(closes, horizon), rows) for horizon in grid}
    judged = [_judged(table[name], rows, ahead, asked, seed) for name in names]
    frame = pl.DataFrame([row for one in judged for row in one.pairs], infer_schema_length=None)
    q = q_values(frame["p_value"].to_numpy())
    added = pl.Series("q_value", q), pl.Series("significant", np.nan_to_num(q, nan=1.0) <= DISCOVERY_RATE)
    frame = frame.with_columns(added).select(FIGURES)
    correlation = correlations_between([one.ranks for one in judged], rows)
    clusters = clusters_of(names, correlation, [_strongest(frame, name) for name in names])
    order = clusters["feature"].to_list()
    matrix = pl.DataFrame({"feature": names} | {name: correlation[:, names.index(name)] for name in order})
    features_seen = pl.DataFrame([one.steady for one in judged], infer_schema_length=None)
    return FeatureQuality(
        frame=frame,
        decay=pl.concat(one.decay for one in judged),
        months=pl.concat(month for one in judged for month in one.months),
        features=features_seen.join(clusters.select("feature", "cluster", "representative"), on="feature"),
        clusters=clusters,
        correlations=pl.DataFrame({"feature": order}).join(matrix, on="feature", maintain_order="left"),
        sample=_sample(table),
    )


def _checked(horizons: Sequence[int]) -> tuple[int, ...]:
    asked = tuple(horizons)
    if not asked or any(isinstance(h, bool) or not isinstance(h, int) or h < 1 for h in asked):
        raise ValueError(f"quality: horizons are whole numbers of bars of at least 1, found {list(asked)!r}")
    if len(set(asked)) < len(asked):
        raise ValueError(f"quality: a horizon stands twice in {list(asked)!r}")
    return asked


def _grid(longest: int) -> list[int]:
    """Return 1, 2, 3, 5, 8, 13, 24, and on by doubling, up to the longest."""
    found = list(HORIZONS)
    while found[-1] < longest:
        found.append(2 * found[-1])
    return [horizon for horizon in found if horizon <= longest]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one feature shows: rows of ``frame``, ``decay`` and ``months``, what no horizon changes, and its ranks."""

    pairs: list[dict[str, Any]]
    decay: pl.DataFrame
    months: list[pl.DataFrame]
    steady: dict[str, Any]
    ranks: Floats


def _judged(values: pl.Series, rows: Rows, ahead: dict[int, Column], asked: tuple[int, ...], seed: int) -> Judged:
    name, column = values.name, Column.of(values.cast(pl.Float64).fill_null(math.nan).to_numpy(), rows)
    steady = _steady(column, rows)
    shared = {key: steady[key] for key in ("coverage", "autocorrelation")}
    pairs, ics, months = {}, {}, {}
    for horizon, later in ahead.items():
        pair = Pair.of(rows, column, later)
        ics[horizon] = pair.rank_ic()
        if horizon in asked:
            by_month = months_of(pair, rows)
            figures = figures_of(pair, rows, horizon, seed) | stability_of(by_month, ics[horizon])
            pairs[horizon] = {"feature": name, "horizon": horizon} | figures | shared
            months[horizon] = by_month.select(pl.lit(name).alias("feature"), pl.lit(horizon).alias("horizon"), pl.all())
    decay = pl.DataFrame({"feature": [name] * len(ics), "horizon": list(ics), "rank_ic": list(ics.values())})
    peak, half = half_life(list(ics), list(ics.values()))
    steady = {"feature": name, **steady, "peak_horizon": peak, "half_life": half}
    in_order = [pairs[horizon] for horizon in asked], decay, [months[horizon] for horizon in asked]
    return Judged(*in_order, steady, column.ranks(rows))


def _steady(column: Column, rows: Rows) -> dict[str, Any]:
    """Return coverage, first row, autocorrelation and whether the feature is constant."""
    known = np.flatnonzero(column.finite)
    symbols = rows.symbols[known]
    starts = np.searchsorted(rows.symbols, np.arange(rows.symbols[-1] + 1))
    seen, first = np.unique(symbols, return_index=True)
    is_constant = len(known) > 0 and len(np.unique(column.by_symbol[known])) == len(seen)
    return {
        "coverage": len(known) / len(column.finite),
        "first_row": int((known[first] - starts[seen]).max()) if len(seen) == len(starts) else None,
        "autocorrelation": _autocorrelation(column.values, known, rows),
        "constant": is_constant,
    }


def _autocorrelation(values: Floats, known: Integers, rows: Rows) -> float:
    later = known[1:][(np.diff(known) == 1) & (np.diff(rows.symbols[known]) == 0)]
    symbols = rows.symbols[later]
    sizes = np.bincount(symbols, minlength=1)
    now, before = (centred(values[place], symbols, sizes) for place in (later, later - 1))
    return average(correlations(now, before, symbols, len(sizes)), sizes)


def _strongest(frame: pl.DataFrame, name: str) -> tuple[float, int]:
    """Return the strongest rank IC of a feature and its horizon."""
    row = by_strength(frame.filter(pl.col("feature") == name)).row(0, named=True)
    return row["rank_ic"], row["horizon"]


def _sample(table: pl.DataFrame) -> str:
    symbols, days = table["symbol"].n_unique(), table["time"].sort().dt.strftime("%Y-%m-%d")
    return f"{table.height:,} bars of {symbols} symbol{'s' * (symbols != 1)}, {days[0]} to {days[-1]}"
