"""A report in the terminal and in a notebook: tables by rich, pictures by plotly at screen resolution."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.decimation import extreme_rows
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.evidence_lines import evidence_lines
from cryptoquant.performance.metrics import drawdowns
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import (
    before_costs_of,
    cautions,
    currency_of,
    drawdown_rows,
    evidence_of,
    number,
    parameters,
    percent,
    relative_rows,
    result_rows,
    risk_rows,
    trade_rows,
    trading_rows,
    verdict,
)

if TYPE_CHECKING:
    from rich.table import Table

BLUE, GREY, VERMILION, GREEN = "#0072B2", "#8D959E", "#D55E00", "#009E73"
LOGARITHMIC_FROM = 5.0
MOST_YEARS = 10
TONES = {"passed": "bold green", "failed": "bold red", "open": "bold"}


def show(report: Report) -> None:
    """Print a report's tables; in a notebook also display equity, drawdown and each symbol's price with its fills."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    found = verdict(report)
    console.print(Text(report.name, style="bold"))
    console.print(Text(found.headline, style=TONES[found.tone]))
    for words in (*found.reasons, *report.notes, *cautions(report)):
        console.print(Text(f"  {words}"))
    console.print(_statistics_table(report))
    for table in (_risk_table(report), _trades_table(report), _drawdowns_table(report), _months_table(report)):
        if table is not None:
            console.print(table)
    if not report.folds.is_empty():
        console.print(_folds_table(report.folds))
    evidence = evidence_of(report)
    if evidence is not None:
        console.print(_evidence_table(evidence))
    display = notebook_display()
    if display is not None:
        for figure in figures(report):
            display(figure)


def show_evidence(evidence: Evidence) -> None:
    """Print every number of the evidence with what the gate wants of it and what it means."""
    from rich.console import Console

    Console().print(_evidence_table(evidence))


def print_frame(frame: pl.DataFrame) -> None:
    """Print a frame as a table, numbers with four digits."""
    from rich.console import Console

    heads = [f"{'>' if kind.is_numeric() else ''}{name}" for name, kind in frame.schema.items()]
    rows = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in frame.iter_rows()]
    Console().print(_table(heads, rows))


def figures(report: Report) -> list[Any]:
    """Return the plotly figures of a report: equity, drawdown, and one for each symbol."""
    symbols = report.prices["symbol"].unique().sort().to_list()
    return [equity_figure(report), drawdown_figure(report), *(price_figure(report, symbol) for symbol in symbols)]


def equity_figure(report: Report) -> Any:
    """Return a plotly figure of the equity against buy and hold."""
    import plotly.graph_objects as go

    columns = {"equity": ("Strategy", BLUE), "benchmark": ("Buy and hold", GREY)}
    there = {name: style for name, style in columns.items() if name in report.equity.columns}
    values = np.concatenate([_finite(report.equity[name]) for name in there])
    logarithmic = values.min() > 0 and values.max() > LOGARITHMIC_FROM * values.min()
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
    """Return a plotly figure of a symbol's price with its buys and sells.

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
    signs = (("buy", "triangle-up", GREEN), ("sell", "triangle-down", VERMILION))
    for side, shape, colour in signs:
        fills = report.fills.filter((pl.col("symbol") == symbol) & (pl.col("side") == side))
        figure.add_scatter(
            x=fills["time"].to_list(),
            y=fills["price"].to_list(),
            name=side.capitalize(),
            mode="markers",
            marker={"symbol": shape, "color": colour, "size": 8},
            text=[f"{quantity:.6g}" for quantity in fills["quantity"]],
        )
    return _dressed(figure, symbol)


def _points(frame: pl.DataFrame, column: str) -> dict[str, Any]:
    rows = extreme_rows(frame[column].cast(pl.Float64).to_numpy())
    thin = frame[rows]
    return {"x": thin["time"].to_list(), "y": thin[column].to_list(), "mode": "lines"}


def _finite(series: pl.Series) -> NDArray[np.float64]:
    values: NDArray[np.float64] = series.cast(pl.Float64).to_numpy()
    return values[np.isfinite(values)]


def _dressed(figure: Any, title: str) -> Any:
    return figure.update_layout(
        title=title,
        template="plotly_white",
        hovermode="x unified",
        legend={"orientation": "h"},
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
    )


def notebook_display() -> Any:
    """Return the notebook's display function, None outside a kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    return display


def _statistics_table(report: Report) -> "Table":
    numbers, free, currency = report.statistics, before_costs_of(report), currency_of(report)
    rows = [*result_rows(numbers), *trading_rows(numbers, currency)]
    if free is None:
        return _table(["Statistics", ">", "", ">"], _halves(rows))
    others = [*result_rows(free), *trading_rows(free, currency)]
    return _table(
        ["Statistics", ">After costs", ">Before costs"],
        [(*row, other[1]) for row, other in zip(rows, others, strict=True)],
    )


def _risk_table(report: Report) -> "Table":
    risk, beside = risk_rows(report), relative_rows(report)
    if not beside:
        return _table(["Risk", ">"], risk)
    pairs = [(*one, *other) for one, other in zip(risk, beside, strict=True)]
    return _table(["Risk", ">", "Against buy and hold", ">"], pairs)


def _trades_table(report: Report) -> "Table | None":
    rows = trade_rows(report)
    return _table(["Closed trades", ">", "", ">"], _halves(rows)) if rows else None


def _drawdowns_table(report: Report) -> "Table | None":
    rows = drawdown_rows(report)
    return _table(["Deepest drawdowns", "Lowest", "Last below", ">Depth", ">Days"], rows) if rows else None


def _months_table(report: Report) -> "Table":
    """Return a column for each year, so that a terminal of 80 letters holds ten of them."""
    years = report.monthly().tail(MOST_YEARS)
    names = (*MONTHS, "total")
    rows = [
        (name.capitalize(), *("" if value is None else number(100.0 * value, 1) for value in years[name]))
        for name in names
    ]
    return _table(["Return, %", *(f">{year}" for year in years["year"])], rows)


def _halves(rows: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    half = -(-len(rows) // 2)
    right = [*rows[half:], ("", "")][:half]
    return [(*one, *other) for one, other in zip(rows[:half], right, strict=True)]


def _evidence_table(evidence: Evidence) -> "Table":
    signs = {True: "met", False: "MISSED", None: ""}
    rows = [(e.name, e.value, e.wanted, signs[e.passed], e.meaning) for e in evidence_lines(evidence)]
    return _table(["Evidence", ">Value", ">Wanted", "", "Meaning"], rows)


def _folds_table(folds: pl.DataFrame) -> "Table":
    writers: dict[str, tuple[str, Callable[[Any], str]]] = {
        "fold": (">Fold", str),
        "test_start": ("Test from", "{:%Y-%m-%d}".format),
        "test_end": ("to", "{:%Y-%m-%d}".format),
        "hit_rate_train": (">Hits train", lambda rate: percent(rate, 1)),
        "hit_rate_test": (">test", lambda rate: percent(rate, 1)),
        "params": ("Parameters", parameters),
    }
    there = [name for name in writers if name in folds.columns]
    rows = [
        ["" if value is None else writers[name][1](value) for name, value in zip(there, row, strict=True)]
        for row in folds.select(there).iter_rows()
    ]
    return _table([writers[name][0] for name in there], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Return a rich table; a head that begins with ``>`` is that of a column of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        is_number = head.startswith(">")
        table.add_column(head.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
