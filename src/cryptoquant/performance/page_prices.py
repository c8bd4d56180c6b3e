"""The prices of a report's page: where was bought and sold, what was stopped out, and the barriers between."""

from html import escape

import numpy as np
import polars as pl

from cryptoquant.performance.axes import scale_over
from cryptoquant.performance.page_pictures import LOGARITHMIC_FROM, Floats, epochs, legend, tick_price, time_scale
from cryptoquant.performance.report import Report
from cryptoquant.performance.svg import Axes, Mark, picture
from cryptoquant.performance.words import price

MOST_MARKS = 300
MOST_BARRIERS = 300
MOST_SYMBOLS = 12
BARRIERS = ("symbol", "opened", "closed", "take", "stop")
KEYS = {
    "buy": "Buy (entry or addition)",
    "sell": "Sell (exit or reduction)",
    "stop": "Stopped out",
    "target": "Target reached",
    "liquidation": "Liquidated",
}
LEVELS = [("take", "Target of a position or label"), ("guard", "Its stop")]


def price_pictures(report: Report) -> str:
    """Draw the price of each symbol with its fills; the most traded symbols first when there are many."""
    traded = report.fills.group_by("symbol").agg(pl.col("value").sum())
    worth = dict(traded.iter_rows())
    prices = report.prices.partition_by("symbol", as_dict=True, maintain_order=True) if report.prices.height else {}
    symbols = sorted((str(name) for (name,) in prices), key=lambda name: (-worth.get(name, 0.0), name))
    drawn = sorted(symbols[:MOST_SYMBOLS])
    pictures = "".join(_price_picture(report, symbol, prices[(symbol,)]) for symbol in drawn)
    if not pictures:
        return ""
    left = len(symbols) - len(drawn)
    note = f"<p>The {len(drawn)} most traded of {len(symbols)} symbols are drawn.</p>" if left else ""
    there = set(_kinds(report.fills).unique().to_list()) | {"buy", "sell"}
    keys = [(kind, words) for kind, words in KEYS.items() if kind in there]
    return legend(keys + (LEVELS if has_barriers(report) else [])) + note + pictures


def has_barriers(report: Report) -> bool:
    """Return whether the report knows what ends its positions or labels."""
    barriers = report.dossier.barriers
    return set(BARRIERS) <= set(barriers.columns) and not barriers.is_empty()


def barriers_of(report: Report, symbol: str) -> pl.DataFrame:
    """Return the barriers of a symbol that are drawn: the longest few hundred, in the order in which they opened."""
    if not has_barriers(report):
        return pl.DataFrame(schema=dict.fromkeys(BARRIERS, pl.Float64))
    found = report.dossier.barriers.filter(pl.col("symbol") == symbol).select(BARRIERS)
    length = pl.col("closed") - pl.col("opened")
    return found.sort(length, descending=True, maintain_order=True).head(MOST_BARRIERS).sort("opened")


def largest_fills(fills: pl.DataFrame) -> pl.DataFrame:
    """Return the fills that are marked: exits that the market forced first, then the largest, in time order."""
    forced = (pl.col("reason") != "").fill_null(False).alias("forced")
    order = fills.with_columns(forced).sort(["forced", "value", "time"], descending=[True, True, False])
    return order.head(MOST_MARKS).sort("time", maintain_order=True).drop("forced")


def _price_picture(report: Report, symbol: str, prices: pl.DataFrame) -> str:
    values = prices["close"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    values = np.where(np.isfinite(values), values, np.nan)
    fills = report.fills.filter(pl.col("symbol") == symbol)
    shown, barriers = largest_fills(fills), barriers_of(report, symbol)
    seen = np.concatenate([_known(one) for one in (values, shown["price"], barriers["take"], barriers["stop"])])
    if not len(seen):
        return ""
    low, high = float(seen.min()), float(seen.max())
    up = scale_over(low, high, logarithmic=low > 0 and high > LOGARITHMIC_FROM * low)
    axes = Axes(time_scale(report), up, tick_price)
    signs = [axes.sign(mark) for mark in _marks(shown)]
    line = axes.curve(epochs(prices["time"]), values, "price")
    rest = fills.height - shown.height
    note = f" <small>{shown.height} of {fills.height:,} fills are marked: forced exits, then the largest</small>"
    shapes = [*_levels(axes, barriers), line]
    drawn = picture(axes, shapes, signs, label=f"Price of {symbol} with fills", height=240)
    return f"<figure><figcaption>{escape(symbol)}{note if rest else ''}</figcaption>{drawn}</figure>"


def _known(values: pl.Series | Floats) -> Floats:
    found = values.cast(pl.Float64).fill_null(np.nan).to_numpy() if isinstance(values, pl.Series) else values
    known: Floats = found[np.isfinite(found)]
    return known


def _levels(axes: Axes, barriers: pl.DataFrame) -> list[str]:
    drawn = []
    for column, kind in (("take", "take"), ("stop", "guard")):
        known = barriers.filter(pl.col(column).cast(pl.Float64).is_finite())
        if known.height:
            starts, ends = (epochs(known[name]).astype(float).tolist() for name in ("opened", "closed"))
            drawn.append(axes.levels_of(zip(starts, ends, known[column].to_list(), strict=True), kind))
    return drawn


def _kinds(fills: pl.DataFrame) -> pl.Series:
    reason = pl.col("reason")
    return fills.select(pl.when(reason.is_in(list(KEYS))).then(reason).otherwise("side").alias("kind"))["kind"]


def _marks(fills: pl.DataFrame) -> list[Mark]:
    marks = []
    columns = ("time", "side", "quantity", "price", "reason")
    for (time, side, quantity, paid, reason), kind in zip(
        fills.select(columns).iter_rows(), _kinds(fills), strict=True
    ):
        why = f" ({reason})" if reason else ""
        words = f"{side} {quantity:.6g} at {price(paid)}, {time:%Y-%m-%d %H:%M}{why}"
        marks.append(Mark(time.timestamp() * 1e9, paid, kind, words))
    return marks
