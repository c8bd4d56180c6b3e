"""How much a feature says about later returns, and how sure we can be of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from cryptoquant.errors import DataError
from cryptoquant.market.slice import Floats

DRAWS = 500
CONFIDENCE = 0.95
QUANTILES = 5


@dataclass(frozen=True, slots=True)
class FeatureQuality:
    """What ``FeatureSet.quality`` found.

    Attributes
    ----------
    frame
        One row per feature and horizon: ``feature``, ``horizon`` (bars), ``rows``, ``rank_ic``, ``rank_ic_low``,
        ``rank_ic_high`` (95 % interval), ``quantile_1`` ... ``quantile_5`` (mean log return from the lowest to the
        highest fifth of the feature), ``coverage`` (share of rows with a value), ``autocorrelation`` (lag of one bar).
        NaN where a figure is not defined.
    """

    frame: pl.DataFrame

    def show(self) -> None:
        """Print the table, the strongest rank IC first; quantile returns in basis points, the lowest fifth first."""
        table = Table(title="Feature quality", box=None, pad_edge=False)
        for name in ("feature", "bars", "rank IC", "95 %", "quantile returns, bps", "covered"):
            table.add_column(name, justify="left" if name == "feature" else "right")
        for row in self.frame.sort(pl.col("rank_ic").abs().fill_nan(-1.0), descending=True).iter_rows(named=True):
            fifths = " ".join(f"{1e4 * row[f'quantile_{number}']:+.0f}" for number in range(1, QUANTILES + 1))
            interval = f"{row['rank_ic_low']:+.2f} {row['rank_ic_high']:+.2f}"
            table.add_row(
                row["feature"],
                str(row["horizon"]),
                f"{row['rank_ic']:+.3f}",
                interval,
                fifths,
                f"{row['coverage']:.0%}",
            )
        Console().print(table)


def measure_quality(
    features: pl.DataFrame, bars: pl.DataFrame, horizons: Sequence[int], *, seed: int = 0
) -> FeatureQuality:
    """Return rank IC with intervals, quantile returns, coverage and autocorrelation.

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
        The rank IC is Spearman's correlation within each symbol, averaged by rows. Its interval is the percentile
        interval of a circular block bootstrap over closes (Politis, Romano 1992), which keeps what is common to all
        symbols at one close; blocks span max(horizon, cube root of the closes) and ranks are not drawn again.

    Raises
    ------
    ValueError
        A horizon is no whole number of at least 1, or none is given.
    DataError
        There are no bars.
    """
    if not len(horizons) or any(isinstance(h, bool) or not isinstance(h, int) or h < 1 for h in horizons):
        raise ValueError(f"quality: horizons are whole numbers of bars of at least 1, found {list(horizons)!r}")
    if not bars.height:
        raise DataError("quality: no bars")
    names = [name for name in features.columns if name not in ("symbol", "time", "known")]
    table = features.with_columns(close=bars["close"]).sort("symbol", "time")
    rows: list[dict[str, Any]] = []
    for name in names:
        value = table.select("symbol", "time", "close", value=pl.col(name).fill_nan(None))
        steady = {
            "coverage": 1.0 - value["value"].null_count() / value.height,
            "autocorrelation": _autocorrelation(value),
        }
        rows.extend({"feature": name, "horizon": h, **_relation(value, h, seed), **steady} for h in horizons)
    return FeatureQuality(pl.DataFrame(rows))


def _autocorrelation(table: pl.DataFrame) -> float:
    pairs = table.select("symbol", "value", before=pl.col("value").shift(1).over("symbol")).drop_nulls()
    by_symbol = pairs.group_by("symbol").agg(pl.corr("value", "before").alias("r"), rows=pl.len()).fill_nan(None)
    defined = by_symbol.drop_nulls()
    return float(np.average(defined["r"], weights=defined["rows"])) if defined.height else math.nan


def _relation(table: pl.DataFrame, horizon: int, seed: int) -> dict[str, Any]:
    """Return the figures of one feature (column ``value``) at one horizon."""
    ahead = (pl.col("close").shift(-horizon) / pl.col("close")).log().over("symbol")
    pairs = table.with_columns(ahead=ahead).drop_nulls()
    fifth = ((pl.col("value").rank("ordinal") - 1) * QUANTILES // pl.len()).over("symbol")
    means = dict(pairs.group_by(fifth.alias("fifth")).agg(pl.col("ahead").mean()).iter_rows())
    products = pairs.with_columns(_standard_rank(name).alias(name) for name in ("value", "ahead")).select(
        "time", product=pl.col("value") * pl.col("ahead")
    )
    by_time = (
        products.fill_nan(None).drop_nulls().group_by("time").agg(pl.col("product").sum(), rows=pl.len()).sort("time")
    )
    sums, counts = by_time["product"].to_numpy(), by_time["rows"].to_numpy().astype(np.float64)
    ic = float(sums.sum() / counts.sum()) if len(sums) else math.nan
    low, high = _interval(sums, counts, horizon, seed)
    quantiles = {f"quantile_{k + 1}": float(means.get(k, math.nan)) for k in range(QUANTILES)}
    return {"rows": pairs.height, "rank_ic": ic, "rank_ic_low": low, "rank_ic_high": high, **quantiles}


def _standard_rank(name: str) -> pl.Expr:
    """Return ranks within a symbol with mean 0 and deviation 1: their products average to Spearman's correlation."""
    rank = pl.col(name).rank("average")
    return ((rank - rank.mean()) / rank.std(ddof=0)).over("symbol")


def _interval(sums: Floats, counts: Floats, horizon: int, seed: int) -> tuple[float, float]:
    closes = len(sums)
    length = max(horizon, math.ceil(closes ** (1 / 3)))
    if closes < 2 * length:
        return math.nan, math.nan
    blocks = math.ceil(closes / length)
    starts = np.random.default_rng(seed).integers(0, closes, (DRAWS, blocks))
    total, number = (np.concatenate([[0.0], np.cumsum(np.concatenate([x, x[:length]]))]) for x in (sums, counts))
    drawn = (total[starts + length] - total[starts]).sum(axis=1) / (number[starts + length] - number[starts]).sum(
        axis=1
    )
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
