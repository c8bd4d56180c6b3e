"""The pictures of a report's page: equity, drawdown, prices with fills, folds and signals."""

from html import escape

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.axes import Scale, Tick, number_ticks, scale_over
from cryptoquant.performance.metrics import drawdowns
from cryptoquant.performance.report import Report
from cryptoquant.performance.svg import Axes, Mark, picture
from cryptoquant.performance.words import currency_of, money, number, percent, price

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
MOST_MARKS = 300
MOST_SYMBOLS = 12
LOGARITHMIC_FROM = 5.0
BINS = 40


def time_scale(report: Report) -> Scale:
    """Return the scale from the first to the last slice of a report."""
    times = epochs(report.equity["time"])
    first, last = float(times[0]), float(times[-1])
    return Scale(first, last) if last > first else Scale(first - 1.8e12, first + 1.8e12)


def epochs(series: pl.Series) -> Times:
    """Return instants as nanoseconds."""
    times: Times = series.dt.epoch("ns").to_numpy()
    return times


def equity_picture(report: Report) -> str:
    """Draw equity beside buy and hold; the axis is logarithmic when the curves span more than five times."""
    times = epochs(report.equity["time"])
    curves = {"strategy": report.equity["equity"].to_numpy()}
    if "benchmark" in report.equity.columns:
        curves["benchmark"] = report.equity["benchmark"].cast(pl.Float64).to_numpy()
    values = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    low, high = min(float(values.min()), report.initial), max(float(values.max()), report.initial)
    logarithmic = low > 0 and high > LOGARITHMIC_FROM * low
    axes = Axes(time_scale(report), scale_over(low, high, logarithmic=logarithmic), short)
    shapes = [axes.curve(times, curve, kind) for kind, curve in reversed(curves.items())]
    base = axes.level(axes.across.low, axes.across.high, report.initial, "base")
    currency = currency_of(report)
    keys = legend([("strategy", "Strategy"), ("benchmark", "Buy and hold")][: len(curves)])
    unit = f"{currency or 'quote currency'}{', logarithmic axis' if logarithmic else ''}"
    drawn = picture(axes, [base, *shapes], label="Equity against buy and hold", height=320)
    return f"<h2>Equity</h2>{keys}<p class='unit'>{escape(unit)}</p>{drawn}"


def drawdown_picture(report: Report) -> str:
    """Draw how far the equity stood below its highest value so far."""
    fallen = drawdowns(report.equity["equity"].to_numpy(), report.initial)
    worst = float(fallen.min())
    digits = 0 if worst < -0.05 else 1 if worst < -0.005 else 2
    down = Scale(min(worst * 1.08, -0.001), 0.0)
    axes = Axes(time_scale(report), down, lambda share: percent(share, digits))
    shape = axes.area(epochs(report.equity["time"]), fallen, 0.0, "fallen")
    drawn = picture(axes, [shape], label="Drawdown", height=150)
    return f"<h2>Drawdown</h2>{drawn}"


def price_pictures(report: Report) -> str:
    """Draw the price of each symbol with its fills; the most traded symbols first when there are many."""
    traded = report.fills.group_by("symbol").agg(pl.col("value").sum())
    worth = dict(traded.iter_rows())
    symbols = sorted(report.prices["symbol"].unique().to_list(), key=lambda name: (-worth.get(name, 0.0), name))
    drawn = sorted(symbols[:MOST_SYMBOLS])
    if not drawn:
        return ""
    left = len(symbols) - len(drawn)
    note = f"<p>The {len(drawn)} most traded of {len(symbols)} symbols are drawn.</p>" if left else ""
    keys = legend([("buy", "Buy (entry or addition)"), ("sell", "Sell (exit or reduction)")])
    return f"<h2>Prices and fills</h2>{keys}{note}" + "".join(_price_picture(report, symbol) for symbol in drawn)


def _price_picture(report: Report, symbol: str) -> str:
    prices = report.prices.filter(pl.col("symbol") == symbol)
    values = prices["close"].to_numpy()
    values = np.where(np.isfinite(values), values, np.nan)
    fills = report.fills.filter(pl.col("symbol") == symbol)
    shown = fills.sort(["value", "time"], descending=[True, False]).head(MOST_MARKS).sort("time", maintain_order=True)
    seen = np.concatenate([values[np.isfinite(values)], shown["price"].to_numpy()])
    if not len(seen):
        return ""
    low, high = float(seen.min()), float(seen.max())
    up = scale_over(low, high, logarithmic=low > 0 and high > LOGARITHMIC_FROM * low)
    axes = Axes(time_scale(report), up, tick_price)
    signs = [axes.sign(mark) for mark in _marks(shown)]
    line = axes.curve(epochs(prices["time"]), values, "price")
    rest = fills.height - shown.height
    note = f" <small>the {shown.height} largest of {fills.height:,} fills are marked</small>" if rest else ""
    name = escape(symbol)
    drawn = picture(axes, [line], signs, label=f"Price of {symbol} with fills", height=240)
    return f"<figure><figcaption>{name}{note}</figcaption>{drawn}</figure>"


def _marks(fills: pl.DataFrame) -> list[Mark]:
    marks = []
    for time, side, quantity, paid in fills.select("time", "side", "quantity", "price").iter_rows():
        words = f"{side} {quantity:.6g} at {price(paid)}, {time:%Y-%m-%d %H:%M}"
        marks.append(Mark(time.timestamp() * 1e9, paid, "buy" if side == "buy" else "sell", words))
    return marks


def fold_picture(report: Report) -> str:
    """Draw the folds on the time line at their hit rates, on training rows and out of sample."""
    folds = report.folds
    if folds.is_empty() or not {"test_start", "test_end", "hit_rate_test", "hit_rate_train"} <= set(folds.columns):
        return ""
    starts, ends = (epochs(folds[name]).astype(np.float64) for name in ("test_start", "test_end"))
    rates = np.concatenate([folds[name].to_numpy() for name in ("hit_rate_train", "hit_rate_test")])
    known = rates[np.isfinite(rates)]
    low, high = min(0.45, float(known.min(initial=0.5))), max(0.55, float(known.max(initial=0.5)))
    axes = Axes(Scale(float(starts.min()), float(ends.max())), scale_over(low, high), lambda share: percent(share, 0))
    shapes = [axes.level(axes.across.low, axes.across.high, 0.5, "base")]
    for start, end, train, test in zip(starts, ends, folds["hit_rate_train"], folds["hit_rate_test"], strict=True):
        gap = (end - start) * 0.02
        shapes += [
            axes.level(start + gap, end - gap, rate, kind)
            for rate, kind in ((train, "train"), (test, "test"))
            if rate is not None and np.isfinite(rate)
        ]
    keys = legend([("test", "Hit rate out of sample"), ("train", "Hit rate on training rows")])
    label = "Hit rates of the folds over time"
    return keys + picture(axes, shapes, label=label, height=170)


def signal_pictures(report: Report) -> str:
    """Draw how the signals are distributed, one histogram for each kind."""
    if report.signals.is_empty():
        return ""
    kinds = report.signals["kind"].unique().sort().to_list()
    return "<h2>Signals</h2>" + "".join(_histogram(report, kind) for kind in kinds)


def _histogram(report: Report, kind: str) -> str:
    values = report.signals.filter(pl.col("kind") == kind)["value"].to_numpy()
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    ends = (0.0, 1.0) if kind == "probability" else (float(finite.min()), float(finite.max()))
    across = Scale(*ends) if ends[1] > ends[0] else scale_over(*ends)
    counts, edges = np.histogram(finite, bins=BINS, range=(across.low, across.high))
    ticks: tuple[Tick, ...] = tuple((value, f"{value:g}") for value in number_ticks(across, 10))
    axes = Axes(across, Scale(0.0, float(counts.max()) * 1.08), short, ticks)
    shapes = [axes.bar(edges[i], edges[i + 1], 0.0, float(n), "bars") for i, n in enumerate(counts.tolist()) if n]
    words = f"{kind}: {len(finite):,} signals, median {np.median(finite):.4g}"
    drawn = picture(axes, shapes, label=f"Distribution of signals: {kind}", height=170)
    return f"<figure><figcaption>{escape(words)}</figcaption>{drawn}</figure>"


def legend(keys: list[tuple[str, str]]) -> str:
    """Return the key of a picture: a swatch of each class and its words."""
    signs = {"buy": "triangle up", "sell": "triangle down"}
    parts = []
    for kind, words in keys:
        swatch = f'<svg class="sign" width="14" height="12"><use href="#{kind}" class="{kind}" x="7" y="6"/></svg>'
        mark = swatch if kind in signs else f'<i class="swatch {kind}"></i>'
        parts.append(f"<span>{mark}{escape(words)}</span>")
    return f'<p class="legend">{"".join(parts)}</p>'


def short(value: float) -> str:
    """Return an amount for an axis: thousands as k, millions as M.

    Examples
    --------
    >>> short(125000.0), short(1.5e6), short(40.0)
    ('125k', '1.5M', '40')
    """
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def tick_price(value: float) -> str:
    """Return a price for an axis, without needless zeros."""
    return number(value, 0) if abs(value) >= 1_000 else f"{value:.6g}"


def costs_in_words(report: Report) -> str:
    """Return the rates that were charged."""
    costs = report.costs
    rates = ((costs.maker_bps, "maker"), (costs.taker_bps, "taker"), (costs.slippage_bps, "slippage"))
    return ", ".join(f"{rate:g} bps {name}" for rate, name in rates)


def paid_in_words(report: Report) -> str:
    """Return fees, slippage and impact in words."""
    currency = currency_of(report)
    paid = {name: getattr(report.statistics, name) for name in ("fees", "slippage", "impact")}
    return ", ".join(f"{name} {money(value, currency, 0)}" for name, value in paid.items())
