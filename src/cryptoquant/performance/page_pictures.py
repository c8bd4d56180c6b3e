"""The curves of a report's page: equity, drawdown, rolling Sharpe ratio, exposure, turnover and signals."""

from collections.abc import Callable
from html import escape

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.axes import Scale, Tick, number_ticks, scale_over
from cryptoquant.performance.course import exposure_course, rolling_sharpe, turnover_course
from cryptoquant.performance.metrics import drawdowns
from cryptoquant.performance.report import Report
from cryptoquant.performance.svg import Axes, picture
from cryptoquant.performance.words import currency_of, number, percent

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
LOGARITHMIC_FROM = 5.0
BINS = 40
SIGNS = ("buy", "sell", "stop", "target", "liquidation", "dot", "failed")


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
        curves["benchmark"] = report.equity["benchmark"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    values = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    low, high = (float(edge(values, initial=report.initial)) for edge in (np.min, np.max))
    logarithmic = low > 0 and high > LOGARITHMIC_FROM * low
    axes = Axes(time_scale(report), scale_over(low, high, logarithmic=logarithmic), short)
    shapes = [axes.curve(times, curve, kind) for kind, curve in reversed(curves.items())]
    base = axes.level(axes.across.low, axes.across.high, report.initial, "base")
    currency = currency_of(report)
    keys = legend([("strategy", "Strategy"), ("benchmark", "Buy and hold")][: len(curves)])
    unit = f"{currency or 'quote currency'}{', logarithmic axis' if logarithmic else ''}"
    drawn = picture(axes, [base, *shapes], label="Equity against buy and hold", height=320)
    return f'{keys}<p class="unit">{escape(unit)}</p>{drawn}'


def drawdown_picture(report: Report) -> str:
    """Draw how far the equity stood below its highest value so far."""
    values = report.equity["equity"].to_numpy()
    fallen = drawdowns(np.where(np.isfinite(values), values, np.nan), report.initial)
    worst = float(np.min(fallen, initial=0.0, where=np.isfinite(fallen)))
    digits = 0 if worst < -0.05 else 1 if worst < -0.005 else 2
    down = Scale(min(worst * 1.08, -0.001), 0.0)
    axes = Axes(time_scale(report), down, lambda share: percent(share, digits))
    shape = axes.area(epochs(report.equity["time"]), fallen, 0.0, "fallen")
    return picture(axes, [shape], label="Drawdown", height=150)


def rolling_picture(report: Report) -> str:
    """Draw the Sharpe ratio of a moving window with its zero line, empty for a run too short for one."""
    found = rolling_sharpe(report)
    ratios = found.frame["sharpe"].to_numpy()
    known = ratios[np.isfinite(ratios)]
    if not len(known):
        return ""
    axes = Axes(time_scale(report), _around_zero(known), number_or_short)
    base = axes.level(axes.across.low, axes.across.high, 0.0, "base")
    curve = axes.curve(epochs(found.frame["time"]), ratios, "strategy")
    words = f"Annual Sharpe ratio of the last {found.days} daily returns, from day {found.days} on; dashed: zero."
    return f"<p>{words}</p>" + picture(axes, [base, curve], label="Rolling Sharpe ratio", height=190)


def exposure_pictures(report: Report) -> str:
    """Draw the invested share of the equity over time and the turnover of each month, empty if nothing was held."""
    if report.fills.is_empty() and not (report.equity["exposure"].fill_null(0.0) != 0.0).any():
        return ""
    return _exposure_picture(report) + _turnover_picture(report)


def _exposure_picture(report: Report) -> str:
    found = exposure_course(report)
    shares = found["exposure"].to_numpy()
    if not np.isfinite(shares).any():
        return ""
    axes = Axes(time_scale(report), _around_zero(shares), lambda share: percent(share, 0))
    starts, ends = epochs(found["start"]), epochs(found["end"])
    times, values = np.column_stack([starts, ends]).ravel(), np.repeat(shares, 2)
    drawn = picture(axes, [axes.area(times, values, 0.0, "held")], label="Invested share of the equity", height=150)
    each = "" if found.height == report.equity.height else f"; mean of each {report.equity.height / found.height:,.0f}"
    words = f"Invested share of the equity, short positions below zero{each and each + ' slices'}"
    return f"<figure><figcaption>{words}</figcaption>{drawn}</figure>"


def _turnover_picture(report: Report) -> str:
    unit, found = turnover_course(report)
    values = np.nan_to_num(found["turnover"].to_numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    if not (values > 0).any():
        return ""
    starts, ends = epochs(found["start"]).astype(float), epochs(found["end"]).astype(float)
    across = Scale(float(starts[0]), float(ends[-1]))
    axes = Axes(across, Scale(0.0, float(values.max()) * 1.08), lambda value: f"{value:.4g}x")
    rows = zip(starts, ends, values, strict=True)
    shapes = [axes.bar(start, end, 0.0, value, "bars") for start, end, value in rows if value > 0]
    drawn = picture(axes, shapes, label=f"Turnover of each {unit}", height=150)
    words = f"Turnover of each {unit}: traded value over mean equity"
    return f"<figure><figcaption>{words}</figcaption>{drawn}</figure>"


def _around_zero(values: Floats) -> Scale:
    known = values[np.isfinite(values)]
    return scale_over(float(np.min(known, initial=0.0)), float(np.max(known, initial=0.0)))


def signal_pictures(report: Report) -> str:
    """Draw how the signals are distributed, one histogram for each kind."""
    if report.signals.is_empty():
        return ""
    kinds = report.signals["kind"].unique().sort().to_list()
    return "".join(_histogram(report, kind) for kind in kinds)


def _histogram(report: Report, kind: str) -> str:
    values = report.signals.filter(pl.col("kind") == kind)["value"].to_numpy()
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    ends = (0.0, 1.0) if kind == "probability" else (float(finite.min()), float(finite.max()))
    across = Scale(*ends) if ends[1] > ends[0] else scale_over(*ends)
    words = f"{kind}: {len(finite):,} signals, median {np.median(finite):.4g}"
    ticks = written_ticks(across, lambda value: f"{value:g}")
    drawn = histogram_picture(finite, across, f"Distribution of signals: {kind}", ticks)
    return f"<figure><figcaption>{escape(words)}</figcaption>{drawn}</figure>"


def histogram_picture(
    values: Floats, across: Scale, label: str, ticks: tuple[Tick, ...], zero: float | None = None
) -> str:
    """Draw how often values (finite, inside the scale) fall into forty equal parts of it, with a line at ``zero``."""
    edges = bin_edges(across)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    axes = Axes(across, Scale(0.0, float(counts.max(initial=1)) * 1.08), short, ticks)
    shapes = [axes.bar(edges[i], edges[i + 1], 0.0, float(n), "bars") for i, n in enumerate(counts.tolist()) if n]
    lines = [] if zero is None else [axes.upright(zero, "base")]
    return picture(axes, [*shapes, *lines], label=label, height=170)


def written_ticks(across: Scale, write: Callable[[float], str]) -> tuple[Tick, ...]:
    """Return about eight round numbers of a scale and how they are written."""
    return tuple((value, write(value)) for value in number_ticks(across, 8))


def bin_edges(across: Scale) -> Floats:
    """Return the edges of forty parts of a scale that look equally wide."""
    spaced = np.geomspace if across.logarithmic else np.linspace
    edges: Floats = spaced(across.low, across.high, BINS + 1)
    return edges


def legend(keys: list[tuple[str, str]]) -> str:
    """Return the key of a picture: a swatch of each class and its words."""
    parts = []
    for kind, words in keys:
        swatch = f'<svg class="sign" width="14" height="12"><use href="#{kind}" class="{kind}" x="7" y="6"/></svg>'
        mark = swatch if kind in SIGNS else f'<i class="swatch {kind}"></i>'
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


def number_or_short(value: float) -> str:
    """Return a ratio for an axis: plain, or short when it is large."""
    return f"{value:.3g}" if abs(value) < 1_000 else short(value)


def tick_price(value: float) -> str:
    """Return a price for an axis, without needless zeros."""
    return number(value, 0) if abs(value) >= 1_000 else f"{value:.6g}"
