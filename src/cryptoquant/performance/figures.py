"""A report in the terminal and in a notebook: tables by rich, and the figures of ``plots``."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from cryptoquant.performance.alarms import alarms
from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.evidence_lines import evidence_lines
from cryptoquant.performance.folding import chosen, folded_lines, without_empty
from cryptoquant.performance.plots import PLOTS, price_figure
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import (
    before_costs_of,
    cautions,
    currency_of,
    drawdown_rows,
    evidence_of,
    number,
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

MOST_YEARS = 10
SIGNS = {True: "met", False: "MISSED", None: ""}
TONES = {"passed": "bold green", "failed": "bold red", "open": "bold"}


def show(report: Report) -> None:
    """Print a report's verdict, alarms and tables; in a notebook also display its figures."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    found = verdict(report)
    console.print(Text(report.name, style="bold"))
    console.print(Text(found.headline, style=TONES[found.tone]))
    for alarm in alarms(report):
        console.print(Text(f"  ! {alarm.name}: {alarm.words}", style="bold"))
    for words in (*found.reasons, *report.notes, *cautions(report)):
        console.print(Text(f"  {words}"))
    console.print(_statistics_table(report))
    for table in (_risk_table(report), _trades_table(report), _drawdowns_table(report), _months_table(report)):
        if table is not None:
            console.print(table)
    if not report.folds.is_empty():
        console.print(_folds_table(report.folds))
        picked = chosen(report.folds)
        if picked:
            heads, rows = without_empty(["Fold", ">Trials", "Chosen parameters"], picked)
            console.print(_table(heads, rows))
    evidence = evidence_of(report)
    if evidence is not None:
        console.print(_evidence_table(evidence))
    robustness = _robustness_table(report)
    if robustness is not None:
        console.print(robustness)
    display = notebook_display()
    if display is not None:
        for figure in figures(report).values():
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


def figures(report: Report) -> dict[str, Any]:
    """Return the pictures of a report as plotly figures by name; what a report does not know is left out.

    Names are equity, drawdown, rolling Sharpe, exposure, turnover, months, folds, hit rates, trades, time held, costs,
    importance, robustness, paths, signals, and ``price`` with each symbol.
    """
    found = {name: of(report) for name, of in PLOTS.items()}
    symbols = report.prices["symbol"].unique().sort().to_list()
    found |= {f"price {symbol}": price_figure(report, symbol) for symbol in symbols}
    return {name: figure for name, figure in found.items() if figure is not None}


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
    lines = folded_lines(evidence_lines(evidence))
    rows = [(e.name, e.value, e.wanted, SIGNS[e.passed], e.meaning) for e in lines]
    return _table(["Evidence", ">Value", ">Wanted", "", "Meaning"], rows)


def _robustness_table(report: Report) -> "Table | None":
    found = report.dossier.robustness
    if found is None or not found.stresses:
        return None
    rows = [
        (
            stress.family,
            stress.name,
            number(stress.sharpe),
            "" if math.isnan(stress.limit) else f"> {number(stress.limit)}",
            SIGNS[stress.passed],
            percent(stress.total_return, 1, signed=True),
            percent(stress.max_drawdown, 1),
        )
        for stress in found.stresses
    ]
    return _table(["Robustness", "Change", ">Sharpe", ">Wanted", "", ">Return", ">Drawdown"], rows)


def _folds_table(folds: pl.DataFrame) -> "Table":
    writers: dict[str, tuple[str, Callable[[Any], str]]] = {
        "fold": (">Fold", str),
        "test_start": ("Test from", "{:%Y-%m-%d}".format),
        "test_end": ("to", "{:%Y-%m-%d}".format),
        "hit_rate_train": (">Hits train", lambda rate: percent(rate, 1)),
        "hit_rate_test": (">test", lambda rate: percent(rate, 1)),
        "return": (">Return", lambda value: percent(value, 1, signed=True)),
        "sharpe": (">Sharpe", number),
    }
    there = [name for name in writers if name in folds.columns]
    rows = [
        ["" if value is None else writers[name][1](value) for name, value in zip(there, row, strict=True)]
        for row in folds.select(there).iter_rows()
    ]
    heads, rows = without_empty([writers[name][0] for name in there], rows)
    table = _table(heads, rows)
    for column in table.columns:
        column.no_wrap = True
    return table


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
