"""The pictures of a report as plotly figures, at screen resolution: what a notebook shows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.course import costs_course, exposure_course, rolling_sharpe, turnover_course
from cryptoquant.performance.decimation import extreme_rows
from cryptoquant.performance.metrics import drawdowns
from cryptoquant.performance.page_folds import SPANS
from cryptoquant.performance.page_prices import barriers_of, largest_fills
from cryptoquant.performance.page_study import MOST_FEATURES
from cryptoquant.performance.page_trades import holding_days
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import currency_of

BLUE, GREY, VERMILION, GREEN, RED, PURPLE = "#0072B2", "#8D959E", "#D55E00", "#009E73", "#B3261E", "#8F4A9E"
LOGARITHMIC_FROM = 5.0
FILLS = {
    "buy": ("triangle-up", GREEN),
    "sell": ("triangle-down", VERMILION),
    "stop": ("x", RED),
    "target": ("diamond", BLUE),
    "liquidation": ("square", PURPLE),
}


def equity_figure(report: Report) -> Any:
    """Return a plotly figure of the equity against buy and hold."""
    import plotly.graph_objects as go

    columns = {"equity": ("Strategy", BLUE), "benchmark": ("Buy and hold", GREY)}
    there = {name: style for name, style in columns.items() if name in report.equity.columns}
    values = np.concatenate([_finite(report.equity[name]) for name in there])
    low, high = values.min(initial=report.initial), values.max(initial=report.initial)
    logarithmic = low > 0 and high > LOGARITHMIC_FROM * low
    lines = [
        go.Scatter(name=title, line={"color": colour, "width": 1.5}, **_points(report.equity, name))
        for name, (title, colour) in reversed(there.items())
    ]
    figure = go.Figure(lines)
    figure.update_yaxes(type="log" if logarithmic else "linear", title=currency_of(report) or "quote currency")
    return _dressed(figure, f"{report.name}: equity")


def drawdown_figure(report: Report) -> Any:
    """Return a plotly figure of the fraction below the highest equity so far."""
    import plotly.graph_objects as go

    fallen = drawdowns(report.equity["equity"].to_numpy(), report.initial)
    frame = report.equity.select("time", pl.Series("drawdown", fallen))
    line = go.Scatter(name="Drawdown", fill="tozeroy", line={"color": VERMILION}, **_points(frame, "drawdown"))
    figure = go.Figure(line)
    figure.update_yaxes(tickformat=".0%")
    return _dressed(figure, f"{report.name}: drawdown")


def price_figure(report: Report, symbol: str) -> Any:
    """Return a plotly figure of a symbol's price with its fills by what they were, and its barriers where known.

    Raises
    ------
    ValueError
        The report holds no price of the symbol.
    """
    import plotly.graph_objects as go

    prices = report.prices.filter(pl.col("symbol") == symbol)
    if prices.is_empty():
        known = ", ".join(report.prices["symbol"].unique().sort().to_list()) or "none"
        raise ValueError(f"no prices of {symbol} in this report; there are: {known}")
    figure = go.Figure(go.Scatter(name="Close", line={"color": GREY, "width": 1.2}, **_points(prices, "close")))
    reason = pl.col("reason")
    kind = pl.when(reason.is_in(list(FILLS))).then(reason).otherwise("side").alias("kind")
    every = report.fills.filter(pl.col("symbol") == symbol).with_columns(kind)
    for name, (shape, colour) in FILLS.items():
        fills = largest_fills(every.filter(pl.col("kind") == name))
        if fills.height or name in ("buy", "sell"):
            figure.add_scatter(
                x=fills["time"].to_list(),
                y=fills["price"].to_list(),
                name=name.capitalize(),
                mode="markers",
                marker={"symbol": shape, "color": colour, "size": 8},
                text=[f"{quantity:.6g}" for quantity in fills["quantity"]],
            )
    barriers = barriers_of(report, symbol)
    for column, colour, dash in (("take", GREEN, "solid"), ("stop", VERMILION, "dash")):
        if barriers.height:
            figure.add_scatter(
                name=f"Barrier: {column}", line={"color": colour, "dash": dash}, **_spans(barriers, column)
            )
    return _dressed(figure, symbol)


def rolling_figure(report: Report) -> Any:
    """Return a plotly figure of the Sharpe ratio of a moving window, None for a short run."""
    import plotly.graph_objects as go

    found = rolling_sharpe(report)
    if found.frame.is_empty():
        return None
    figure = go.Figure(go.Scatter(name="Sharpe ratio", line={"color": BLUE}, **_points(found.frame, "sharpe")))
    figure.add_hline(0.0, line={"color": GREY, "dash": "dash"})
    return _dressed(figure, f"{report.name}: Sharpe ratio of the last {found.days} days")


def exposure_figure(report: Report) -> Any:
    """Return a plotly figure of the invested share of the equity."""
    import plotly.graph_objects as go

    found = exposure_course(report)
    line = {"color": BLUE, "shape": "hv"}
    trace = go.Scatter(x=found["start"].to_list(), y=found["exposure"].to_list(), line=line, fill="tozeroy")
    figure = go.Figure(trace.update(name="Exposure"))
    figure.update_yaxes(tickformat=".0%")
    return _dressed(figure, f"{report.name}: invested share of the equity")


def turnover_figure(report: Report) -> Any:
    """Return a plotly figure of the turnover of each month or day, None without a fill."""
    import plotly.graph_objects as go

    if report.fills.is_empty():
        return None
    unit, found = turnover_course(report)
    bars = go.Bar(x=found["start"].to_list(), y=found["turnover"].to_list(), marker={"color": BLUE}, name="Turnover")
    return _dressed(go.Figure(bars), f"{report.name}: turnover of each {unit}, times the equity")


def months_figure(report: Report) -> Any:
    """Return a plotly heat map of the returns by month; the colours part at zero."""
    import plotly.graph_objects as go

    months = report.monthly()
    values = months.select(MONTHS).to_numpy()
    years = [str(year) for year in months["year"]]
    scale = [[0.0, VERMILION], [0.5, "#FFFFFF"], [1.0, BLUE]]
    text = [["" if not np.isfinite(value) else f"{value:.1%}" for value in row] for row in values]
    heat = go.Heatmap(x=MONTHS, y=years, z=values, zmid=0.0, colorscale=scale, text=text, texttemplate="%{text}")
    figure = go.Figure(heat.update(showscale=False, xgap=1, ygap=1))
    figure.update_yaxes(autorange="reversed", type="category")
    return _dressed(figure, f"{report.name}: returns by month").update_layout(hovermode="closest")


def folds_figure(report: Report) -> Any:
    """Return a plotly figure of the training and test spans of the folds, None where they are not known."""
    import plotly.graph_objects as go

    folds = report.folds
    if folds.is_empty() or not set(SPANS) <= set(folds.columns):
        return None
    figure = go.Figure()
    rows = list(range(folds.height))
    for name, first, last, colour in (
        ("Trained on", "train_start", "train_end", GREY),
        ("Tested on", "test_start", "test_end", BLUE),
    ):
        lengths = (folds[last] - folds[first]).dt.total_milliseconds().to_list()
        bars = go.Bar(name=name, base=folds[first].to_list(), x=lengths, y=rows, orientation="h")
        figure.add_trace(bars.update(marker={"color": colour}))
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(type="date")
    figure.update_yaxes(autorange="reversed", title="Fold")
    return _dressed(figure, f"{report.name}: folds").update_layout(hovermode="closest")


def hits_figure(report: Report) -> Any:
    """Return a plotly figure of the hit rates of the folds, None where they are not known."""
    import plotly.graph_objects as go

    folds = report.folds
    names = {"hit_rate_train": ("Training rows", GREY), "hit_rate_test": ("Out of sample", BLUE)}
    if folds.is_empty() or not {"test_start", *names} <= set(folds.columns):
        return None
    figure = go.Figure()
    for column, (name, colour) in names.items():
        places, rates = folds["test_start"].to_list(), folds[column].to_list()
        figure.add_scatter(x=places, y=rates, name=name, mode="lines+markers", line={"color": colour, "shape": "hv"})
    figure.add_hline(0.5, line={"color": GREY, "dash": "dash"})
    figure.update_yaxes(tickformat=".0%")
    return _dressed(figure, f"{report.name}: hit rates of the folds")


def trades_figure(report: Report) -> Any:
    """Return a plotly histogram of the returns of the closed trades, None without one."""
    values = report.trades["return"]
    figure = _histogram(values.filter(values.is_finite()).to_numpy(), f"{report.name}: return of a trade")
    return figure if figure is None else figure.update_xaxes(tickformat=".1%")


def holding_figure(report: Report) -> Any:
    """Return a plotly histogram of how long the closed trades were held, None without one."""
    return _histogram(holding_days(report.trades), f"{report.name}: days held")


def costs_figure(report: Report) -> Any:
    """Return a plotly figure of the costs paid so far by kind, None without a fill."""
    import plotly.graph_objects as go

    if report.fills.is_empty():
        return None
    course, figure = costs_course(report), go.Figure()
    for name, colour, dash in (("fee", BLUE, "solid"), ("slippage", VERMILION, "dash"), ("impact", PURPLE, "dot")):
        figure.add_scatter(name=name.capitalize(), line={"color": colour, "dash": dash}, **_points(course, name))
    figure.update_yaxes(title=currency_of(report) or "quote currency")
    return _dressed(figure, f"{report.name}: costs paid so far")


def importance_figure(report: Report) -> Any:
    """Return a plotly figure of the features that mattered most, None where it is not known."""
    import plotly.graph_objects as go

    frame = report.dossier.importance
    if frame.is_empty():
        return None
    shown = frame.head(MOST_FEATURES).reverse()
    bars = go.Bar(x=shown["importance"].to_list(), y=shown["feature"].to_list(), orientation="h")
    figure = go.Figure(bars.update(marker={"color": BLUE})).update_xaxes(tickformat=".0%")
    return _dressed(figure, f"{report.name}: feature importance").update_layout(hovermode="closest")


def robustness_figure(report: Report) -> Any:
    """Return a plotly figure of the Sharpe ratio under each change beside its limit, None where it is not known."""
    import plotly.graph_objects as go

    found = report.dossier.robustness
    if found is None or not found.stresses:
        return None
    figure = go.Figure()
    names = [f"{stress.family}: {stress.name}" for stress in found.stresses]
    missed = [stress.passed is False for stress in found.stresses]
    marker = {"symbol": ["x" if one else "circle" for one in missed], "color": [RED if one else BLUE for one in missed]}
    sharpes, limits = ([getattr(one, name) for one in found.stresses] for name in ("sharpe", "limit"))
    figure.add_scatter(
        x=limits, y=names, mode="markers", name="Limit", marker={"symbol": "line-ns-open", "color": GREY}
    )
    figure.add_scatter(x=sharpes, y=names, mode="markers", name="Sharpe ratio", marker={**marker, "size": 9})
    figure.update_yaxes(autorange="reversed")
    return _dressed(figure, f"{report.name}: Sharpe ratio by change").update_layout(hovermode="closest")


def paths_figure(report: Report) -> Any:
    """Return a plotly histogram of the Sharpe ratios of the paths, None where they are not known."""
    paths = report.dossier.paths
    return _histogram(_finite(paths["sharpe"]), f"{report.name}: Sharpe ratio by path") if paths.height else None


def signals_figure(report: Report) -> Any:
    """Return a plotly histogram of the signals by kind, None without one."""
    import plotly.graph_objects as go

    if report.signals.is_empty():
        return None
    figure = go.Figure()
    for kind in report.signals["kind"].unique().sort().to_list():
        values = _finite(report.signals.filter(pl.col("kind") == kind)["value"])
        counts, edges = np.histogram(values, bins=40)
        figure.add_bar(x=((edges[:-1] + edges[1:]) / 2).tolist(), y=counts.tolist(), name=kind, opacity=0.7)
    return _dressed(figure, f"{report.name}: signals").update_layout(barmode="overlay", hovermode="closest")


def _histogram(values: NDArray[np.float64], title: str) -> Any:
    import plotly.graph_objects as go

    if not len(values):
        return None
    counts, edges = np.histogram(values, bins=40)
    bars = go.Bar(x=((edges[:-1] + edges[1:]) / 2).tolist(), y=counts.tolist(), width=np.diff(edges).tolist())
    figure = go.Figure(bars.update(marker={"color": BLUE}, name="Count"))
    return _dressed(figure, title).update_layout(hovermode="closest")


def _points(frame: pl.DataFrame, column: str) -> dict[str, Any]:
    rows = extreme_rows(frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy())
    thin = frame[rows]
    return {"x": thin["time"].to_list(), "y": thin[column].to_list(), "mode": "lines"}


def _spans(barriers: pl.DataFrame, column: str) -> dict[str, Any]:
    """Return horizontal strokes as one line with gaps."""
    across, upwards = [], []
    for opened, closed, level in barriers.select("opened", "closed", column).iter_rows():
        across += [opened, closed, None]
        upwards += [level, level, None]
    return {"x": across, "y": upwards, "mode": "lines"}


def _finite(series: pl.Series) -> NDArray[np.float64]:
    values: NDArray[np.float64] = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values[np.isfinite(values)]


def _dressed(figure: Any, title: str) -> Any:
    return figure.update_layout(
        title=title,
        template="plotly_white",
        hovermode="x unified",
        legend={"orientation": "h"},
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
    )


PLOTS: dict[str, Callable[[Report], Any]] = {
    "equity": equity_figure,
    "drawdown": drawdown_figure,
    "rolling Sharpe": rolling_figure,
    "exposure": exposure_figure,
    "turnover": turnover_figure,
    "months": months_figure,
    "folds": folds_figure,
    "hit rates": hits_figure,
    "trades": trades_figure,
    "time held": holding_figure,
    "costs": costs_figure,
    "importance": importance_figure,
    "robustness": robustness_figure,
    "paths": paths_figure,
    "signals": signals_figure,
}
