"""The tables of a report's page: statistics, evidence, months, risk and refusals."""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import polars as pl

from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.evidence_lines import evidence_lines
from cryptoquant.performance.folding import folded_lines
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import (
    before_costs_of,
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
)

MET = {
    True: '<span class="good">✓ met</span>',
    False: '<span class="bad">✗ missed</span>',
    None: "",
}


class Drawn(str):
    """A cell that is markup already, and is not escaped again."""

    __slots__ = ()


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, kind: str = "", label: str = ""
) -> str:
    """Return a table of escaped cells; the first ``text`` columns are words, the others numbers.

    Parameters
    ----------
    label
        What the table holds, for a reader who cannot see it; by default its first head.
    """
    heading = "".join(f"<th{_side(place, text)}>{escape(head)}</th>" for place, head in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{_side(place, text)}>{_cell(cell)}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    whole = f"<thead><tr>{heading}</tr></thead><tbody>{body}</tbody>"
    return scrolling(f'<table class="{kind}">{whole}</table>', label or next(iter(heads), ""))


def scrolling(body: str, label: str) -> str:
    """Return a table in a frame that scrolls by itself on a narrow screen, by finger, wheel or keyboard."""
    name = escape(label or "Table", quote=True)
    return f'<div class="wide-table" role="region" tabindex="0" aria-label="{name}">{body}</div>'


def bar_cell(share: float, kind: str = "bars") -> Drawn:
    """Return a bar whose length is a share of its cell."""
    wide = f"{100.0 * min(1.0, max(0.0, share)):.1f}%" if math.isfinite(share) else "0%"
    return Drawn(f'<svg class="bar" aria-hidden="true"><rect class="{kind}" width="{wide}" height="100%"/></svg>')


def _cell(cell: str) -> str:
    return cell if isinstance(cell, Drawn) else escape(cell)


def _side(place: int, text: int) -> str:
    return "" if place < text else ' class="n"'


def statistics_tables(report: Report) -> str:
    """Return the full statistics, beside those before costs where they are known."""
    numbers, free = report.statistics, before_costs_of(report)
    currency = currency_of(report)
    halves = []
    for title, of in (("Result", result_rows), ("Trading", lambda s: trading_rows(s, currency))):
        rows: list[Sequence[str]] = list(of(numbers))
        heads = [title, "After costs"]
        if free is not None:
            rows = [(*row, other[1]) for row, other in zip(rows, of(free), strict=True)]
            heads.append("Before costs")
        halves.append(table(heads, rows))
    return f'<div class="halves">{"".join(halves)}</div>'


def risk_tables(report: Report) -> str:
    """Return how the curve may hurt, how the run did beside its benchmark, and the deepest drawdowns."""
    halves = [table(["Risk", ""], risk_rows(report))]
    beside = relative_rows(report)
    if beside:
        halves.append(table(["Against buy and hold", ""], beside))
    fallen = drawdown_rows(report)
    heads = ["Deepest drawdowns: from", "Lowest", "Last below", "Depth", "Days"]
    deepest = table(heads, fallen, text=3, kind="times")
    return f'<div class="halves">{"".join(halves)}</div>{deepest if fallen else ""}'


def trading_tables(report: Report) -> str:
    """Return what the closed trades have in common, empty without one."""
    rows = trade_rows(report)
    if not rows:
        return ""
    half = -(-len(rows) // 2)
    halves = "".join(table(["After costs", ""], part) for part in (rows[:half], rows[half:]))
    return f'<div class="halves">{halves}</div>'


def evidence_table(report: Report) -> str:
    """Return every number of the evidence with its meaning, those that the gate asks for first; empty without any."""
    evidence = evidence_of(report)
    if evidence is None:
        return ""
    lines = folded_lines(evidence_lines(evidence))
    wanted, others = [line for line in lines if line.wanted], [line for line in lines if not line.wanted]
    body = ""
    for title, part in (("What the gate asks for", wanted), ("What else is known", others)):
        if part:
            body += f'<tr class="family"><th colspan="5">{title}</th></tr>'
        body += "".join(
            f'<tr><td>{escape(line.name)}</td><td class="n">{escape(line.value)}</td>'
            f'<td class="n">{escape(line.wanted)}</td>'
            f"<td>{MET[line.passed]}</td><td>{escape(line.meaning)}</td></tr>"
            for line in part
        )
    heads = '<th>Number</th><th class="n">Value</th><th class="n">Wanted</th><th></th><th>Meaning</th>'
    return scrolling(
        f'<table class="evidence"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>', "Evidence"
    )


def months_table(report: Report) -> str:
    """Return the returns of each month and year; the depth of the colour follows the size."""
    months = report.monthly()
    values = months.select(MONTHS).to_numpy()
    largest = float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
    rows = []
    for year, *found, total in months.iter_rows():
        cells = "".join(_month_cell(value, largest) for value in found)
        rows.append(f'<tr><td>{year}</td>{cells}<td class="n total">{percent(total, 1, signed=True)}</td></tr>')
    heads = "".join(f'<th class="n">{name}</th>' for name in (*MONTHS, "Year"))
    body = f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    note = "<p>In percent. The first and the last month may be parts of a month.</p>"
    return scrolling(f'<table class="months">{body}</table>', "Returns by month") + note


def _month_cell(value: float | None, largest: float) -> str:
    if value is None or not math.isfinite(value):
        return '<td class="n"></td>'
    depth = math.ceil(4 * abs(value) / largest) if largest > 0 else 0
    tone = f" {'up' if value > 0 else 'down'}{depth}" if depth else ""
    return f'<td class="n{tone}">{number(100 * value, 1)}</td>'


def refusals_table(report: Report) -> str:
    """Return how many orders were refused, by reason."""
    if report.rejections.is_empty():
        return ""
    counts = report.rejections.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
    return table(["Reason", "Orders"], [(reason, f"{count:,}") for reason, count in counts.iter_rows()])


def frame_table(frame: pl.DataFrame, *, label: str) -> str:
    """Return a small frame as a table: names as heads, whole numbers grouped, others with four digits."""
    text = sum(not kind.is_numeric() for kind in frame.dtypes)
    ordered = [*(name for name, kind in frame.schema.items() if not kind.is_numeric())]
    ordered += [name for name in frame.columns if name not in ordered]
    rows = [[_plain(cell) for cell in row] for row in frame.select(ordered).iter_rows()]
    return table([name.replace("_", " ").capitalize() for name in ordered], rows, text=text, label=label)


def _plain(cell: object) -> str:
    if isinstance(cell, float):
        return number(cell, 0) if cell.is_integer() else f"{cell:.4g}" if math.isfinite(cell) else number(cell)
    return "" if cell is None else f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
