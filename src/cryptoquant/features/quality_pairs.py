"""One feature beside the returns over one horizon: correlations, fifths, months and cross-sections."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.features.kernel import Integers
from cryptoquant.features.quality_bootstrap import estimates
from cryptoquant.features.quality_ranks import (
    average,
    centred,
    correlations,
    distinct,
    mean_ranks,
    places,
    rank_correlations,
)
from cryptoquant.market.slice import Floats

QUANTILES = 5
FEWEST_ROWS = 10
FEWEST_SYMBOLS = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of all symbols, one symbol after another, each in time order.

    Attributes
    ----------
    symbols, closes, months
        The numbers of each row's symbol, of its close, and of its month within the symbol.
    names
        The months in time order, such as ``2024-03``; a symbol's months follow those of the symbol before.
    """

    symbols: Integers
    closes: Integers
    months: Integers
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Rows":
        """Return the rows of a frame that is sorted by symbol and time."""
        named = table["time"].dt.strftime("%Y-%m")
        names = tuple(named.unique().sort())
        month = named.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
        symbols = table["symbol"].rle_id().to_numpy().astype(np.int64)
        closes = table["time"].rank("dense").to_numpy().astype(np.int64) - 1
        return cls(symbols, closes, symbols * len(names) + month, names)

    @property
    def has_cross_sections(self) -> bool:
        """Whether there are symbols enough to compare them at a close."""
        return bool(self.symbols[-1] + 1 >= FEWEST_SYMBOLS)

    def ahead(self, closes: Floats, horizon: int) -> Floats:
        """Return ln(close[t + horizon] / close[t]) within each symbol, NaN at its end."""
        found = np.full(len(closes), np.nan)
        if horizon < len(closes):
            same = self.symbols[horizon:] == self.symbols[:-horizon]
            found[:-horizon][same] = np.log(closes[horizon:][same] / closes[:-horizon][same])
        return found


@dataclass(frozen=True, slots=True)
class Column:
    """A feature or a return with its places: within symbols, within their months, and across symbols at a close."""

    values: Floats
    finite: "np.ndarray[Any, np.dtype[np.bool_]]"
    by_symbol: Integers
    by_month: Integers
    by_close: Integers | None

    @classmethod
    def of(cls, values: Floats, rows: Rows) -> "Column":
        """Return a column of the rows."""
        found = distinct(values)
        by_close = places(found, rows.closes) if rows.has_cross_sections else None
        return cls(values, np.isfinite(values), places(found, rows.symbols), places(found, rows.months), by_close)

    def ranks(self, rows: Rows) -> Floats:
        """Return ranks within symbols less their mean, divided by the symbol's rows; NaN where there is no value."""
        known = np.flatnonzero(self.finite)
        symbols = rows.symbols[known]
        sizes = np.bincount(symbols, minlength=1)
        found = np.full(len(self.finite), np.nan)
        found[known] = centred(mean_ranks(self.by_symbol[known]), symbols, sizes) / np.maximum(sizes, 1)[symbols]
        return found


@dataclass(frozen=True, slots=True)
class Pair:
    """The rows in which a feature and a return are both known.

    A symbol with fewer than ten such rows, or in which one of the two is constant, has no correlation and is left out.

    Attributes
    ----------
    feature, ahead
        The columns, whole.
    kept
        Which rows count.
    symbols, sizes
        The symbol of each row that counts, and how many of them each symbol has.
    ranks, ranks_ahead
        Ranks within symbols less their mean, divided by the symbol's rows: from -1/2 to 1/2.
    """

    feature: Column
    ahead: Column
    kept: Integers
    symbols: Integers
    sizes: Integers
    ranks: Floats
    ranks_ahead: Floats

    @classmethod
    def of(cls, rows: Rows, feature: Column, ahead: Column) -> "Pair":
        """Return the pair of two columns."""
        pair = cls._at(np.flatnonzero(feature.finite & ahead.finite), rows, feature, ahead)
        count = len(pair.sizes)
        varies = [np.bincount(pair.symbols, x * x, count) > 0.0 for x in (pair.ranks, pair.ranks_ahead)]
        counts = (pair.sizes >= FEWEST_ROWS) & varies[0] & varies[1]
        if counts[pair.symbols].all():
            return pair
        return cls._at(pair.kept[counts[pair.symbols]], rows, feature, ahead)

    @classmethod
    def _at(cls, kept: Integers, rows: Rows, feature: Column, ahead: Column) -> "Pair":
        symbols = rows.symbols[kept]
        sizes = np.bincount(symbols, minlength=1)
        scale = np.maximum(sizes, 1)[symbols]
        first, second = (
            centred(mean_ranks(column.by_symbol[kept]), symbols, sizes) / scale for column in (feature, ahead)
        )
        return cls(feature, ahead, kept, symbols, sizes, first, second)

    def rank_ic(self) -> float:
        """Return Spearman's correlation within symbols, averaged by rows."""
        return average(correlations(self.ranks, self.ranks_ahead, self.symbols, len(self.sizes)), self.sizes)

    def rank_influence(self) -> Floats:
        """Return what each row adds to the rank IC: numbers whose mean is the rank IC and whose scatter is its error.

        They hold that a row moves the ranks of all others, so that a bootstrap of their mean is one that ranks its
        draws again, to first order. With u and v the ranks and k(i, j) = 1 where i lies below j (1/2 where equal),
        psi_i = r + [u_i v_i + mean_j k(x_i, x_j) v_j + mean_j k(y_i, y_j) u_j] / (s_u s_v)
        - r/2 [(u_i^2 + 2 mean_j k(x_i, x_j) u_j) / s_u^2 + the same of v].

        Source: the influence function of a U-statistic (Hoeffding 1948), of ranks with ties.
        """
        u, v, count = self.ranks, self.ranks_ahead, len(self.sizes)
        above = [self._mean_above(column, w) for column in (self.feature, self.ahead) for w in (u, v)]
        own_u, across_v, across_u, own_v = above
        variances = [(np.bincount(self.symbols, w * w, count) / self.sizes.clip(1))[self.symbols] for w in (u, v)]
        r = correlations(u, v, self.symbols, count)[self.symbols]
        joint = (u * v + across_v + across_u) / np.sqrt(variances[0] * variances[1])
        alone = (u * u + 2.0 * own_u) / variances[0] + (v * v + 2.0 * own_v) / variances[1]
        influence: Floats = r + joint - 0.5 * r * alone
        return influence

    def _mean_above(self, column: Column, weights: Floats) -> Floats:
        """Return the mean over a symbol of the centred weights of the rows above each row, those equal by half."""
        found = column.by_symbol[self.kept]
        sums = np.bincount(found, weights)
        above: Floats = (0.5 * sums - np.cumsum(sums))[found] / self.sizes[self.symbols]
        return above

    def linear_influence(self) -> Floats:
        """Return numbers whose mean is the linear IC; psi_i = r + x_i y_i - r/2 (x_i^2 + y_i^2), x and y scaled."""
        count = len(self.sizes)
        scaled = []
        for column in (self.feature, self.ahead):
            less = centred(column.values[self.kept], self.symbols, self.sizes)
            variances = np.bincount(self.symbols, less * less, count) / self.sizes.clip(1)
            scaled.append(less / np.sqrt(variances)[self.symbols])
        x, y = scaled
        r = correlations(x, y, self.symbols, count)[self.symbols]
        influence: Floats = r + x * y - 0.5 * r * (x * x + y * y)
        return influence

    def fifths(self) -> Integers:
        """Return the fifth of the feature that each row lies in within its symbol, the lowest 0; equal values share."""
        ends = np.cumsum(self.sizes)
        ranks = mean_ranks(self.feature.by_symbol[self.kept]) - (ends - self.sizes)[self.symbols]
        return ((2.0 * ranks - 1.0) * QUANTILES).astype(np.int64) // (2 * self.sizes[self.symbols])


def figures_of(pair: Pair, rows: Rows, horizon: int, seed: int) -> dict[str, Any]:
    """Return the figures of a pair by the names of ``FeatureQuality.frame``; NaN where not defined."""
    returns, fifths = pair.ahead.values[pair.kept], pair.fifths()
    counts = np.bincount(fifths, minlength=QUANTILES)
    with np.errstate(invalid="ignore"):
        means = np.bincount(fifths, returns, QUANTILES) / counts
    influences = (pair.rank_influence(), pair.linear_influence(), _spread_influence(returns, fifths, counts, means))
    names, found = ("rank_ic", "linear_ic", "spread"), np.array([x.mean() if len(x) else math.nan for x in influences])
    _, closes = np.unique(rows.closes[pair.kept], return_inverse=True)
    sums = np.array([np.bincount(closes, x) for x in influences])
    judged = estimates(sums, np.bincount(closes), found, horizon, seed)
    row: dict[str, Any] = {"rows": len(pair.kept)}
    for name, value, estimate in zip(names, found, judged, strict=True):
        row |= {name: float(value), f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    row |= {"t_ratio": judged[0].t_ratio, "p_value": judged[0].p_value}
    row |= {f"quantile_{number + 1}": float(mean) for number, mean in enumerate(means)}
    row |= {"monotonicity": _monotonicity(means), "turnover": _turnover(pair, fifths), "hit_rate": _hit_rate(pair)}
    return row | _cross_sections(pair, rows)


def _spread_influence(returns: Floats, fifths: Integers, counts: Integers, means: Floats) -> Floats:
    """Return numbers whose mean is the highest fifth's mean return less the lowest's, the fifths held."""
    spread = means[-1] - means[0]
    if math.isnan(spread):
        return np.full(len(returns), np.nan)
    top, bottom = (
        np.where(fifths == place, (returns - means[place]) * (len(returns) / counts[place]), 0.0)
        for place in (QUANTILES - 1, 0)
    )
    influence: Floats = spread + top - bottom
    return influence


def _monotonicity(means: Floats) -> float:
    if np.isnan(means).any():
        return math.nan
    found, _ = rank_correlations(np.arange(QUANTILES), distinct(means), np.zeros(QUANTILES, np.int64), QUANTILES)
    return float(found[0])


def _turnover(pair: Pair, fifths: Integers) -> float:
    """Return the share of rows whose fifth is another than at the bar before."""
    # A symbol's last bar has no return, so that rows next to each other are of one symbol.
    follows = np.diff(pair.kept) == 1
    return float((np.diff(fifths) != 0)[follows].mean()) if follows.any() else math.nan


def _hit_rate(pair: Pair) -> float:
    """Return the share of rows whose return has the sign of the centred rank, weighed by its size; zeros aside."""
    signs = np.sign(pair.ahead.values[pair.kept]) * np.sign(pair.ranks)
    weights = np.abs(pair.ranks) * (signs != 0.0)
    return float(weights[signs > 0.0].sum() / weights.sum()) if weights.any() else math.nan


def _cross_sections(pair: Pair, rows: Rows) -> dict[str, float]:
    """Return mean, deviation and their ratio of Spearman's correlation across symbols at each close."""
    found = np.empty(0)
    if pair.feature.by_close is not None and pair.ahead.by_close is not None and len(pair.kept):
        first, second = pair.feature.by_close[pair.kept], pair.ahead.by_close[pair.kept]
        found, _ = rank_correlations(first, second, rows.closes[pair.kept], FEWEST_SYMBOLS)
        found = found[~np.isnan(found)]
    mean = float(found.mean()) if len(found) else math.nan
    deviation = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    ratio = mean / deviation if deviation > 0.0 else math.nan
    return {"cross_ic": mean, "cross_ic_deviation": deviation, "cross_ic_ratio": ratio}


def months_of(pair: Pair, rows: Rows) -> pl.DataFrame:
    """Return ``month``, ``rank_ic`` and ``rows`` of a pair, ranked anew in each month of each symbol.

    The correlations of the symbols are averaged by rows; a symbol's month counts with ten rows and more.
    """
    if not len(pair.kept):
        return pl.DataFrame(schema={"month": pl.String, "rank_ic": pl.Float64, "rows": pl.Int64})
    first, second = pair.feature.by_month[pair.kept], pair.ahead.by_month[pair.kept]
    found, sizes = rank_correlations(first, second, rows.months[pair.kept], FEWEST_ROWS)
    month = np.arange(len(found)) % len(rows.names)
    defined = np.where(np.isnan(found), 0, sizes)
    totals = np.bincount(month, defined)
    with np.errstate(invalid="ignore"):
        means = np.bincount(month, np.nan_to_num(found) * defined) / totals
    there = np.flatnonzero(np.bincount(month, sizes))
    table = {
        "month": [rows.names[place] for place in there],
        "rank_ic": means[there],
        "rows": totals[there].astype(np.int64),
    }
    return pl.DataFrame(table)


def stability_of(months: pl.DataFrame, whole: float) -> dict[str, Any]:
    """Return the share of months whose rank IC has the sign of the whole, and the month that contradicts it most."""
    defined = months.filter(pl.col("rank_ic").is_not_nan())
    if not defined.height or math.isnan(whole):
        return {"months_same_sign": math.nan, "worst_month": None, "worst_month_ic": math.nan}
    signed = defined["rank_ic"].to_numpy() * np.sign(whole)
    worst = int(np.argmin(signed))
    return {
        "months_same_sign": float((signed > 0.0).mean()),
        "worst_month": defined["month"][worst],
        "worst_month_ic": float(defined["rank_ic"][worst]),
    }


def half_life(horizons: Sequence[int], ics: Sequence[float]) -> tuple[int | None, float]:
    """Return the horizon with the strongest rank IC, and that at which half of it is left.

    Between horizons the IC is taken as linear in the logarithm of the horizon; infinite if more than half is left at
    the longest. A feature that tells of one bar only has half its rank IC at four bars, since the returns over h bars
    scatter by the square root of h.
    """
    defined = [(horizon, ic) for horizon, ic in zip(horizons, ics, strict=True) if not math.isnan(ic)]
    if not defined:
        return None, math.nan
    start = max(range(len(defined)), key=lambda place: abs(defined[place][1]))
    peak, strongest = defined[start]
    if strongest == 0.0:
        return None, math.nan
    shares = [(horizon, ic / strongest) for horizon, ic in defined[start:]]
    for (before, more), (horizon, share) in pairwise(shares):
        if share <= 0.5:
            return peak, float(before * (horizon / before) ** ((more - 0.5) / (more - share)))
    return peak, math.inf
