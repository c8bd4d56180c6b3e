"""The tables of a report's page: statistics, evidence, months, folds, costs, refusals and trades."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.evidence_lines import evidence_lines
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import (
    before_costs_of,
    currency_of,
    drawdown_rows,
    evidence_of,
    money,
    number,
    parameters,
    percent,
    price,
    relative_rows,
    result_rows,
    risk_rows,
    trade_rows,
    trading_rows,
)

LAST_TRADES = 50
MOST_FOLDS = 200
SIGNS = {True: '<span class="good">met</span>', False: '<span class="bad">missed</span>', None: ""}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, kind: str = "") -> str:
    """Return a table of escaped cells; the first ``text`` columns are words, the others numbers."""
    heading = "".join(f"<th{_side(place, text)}>{escape(head)}</th>" for place, head in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{_side(place, text)}>{escape(cell)}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    whole = f"<thead><tr>{heading}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide-table"><table class="{kind}">{whole}</table></div>'


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
    return f'<h2>Statistics</h2><div class="halves">{"".join(halves)}</div>'


def risk_tables(report: Report) -> str:
    """Return how the curve may hurt, how the run did beside its benchmark, and the deepest drawdowns."""
    halves = [table(["Risk", ""], risk_rows(report))]
    beside = relative_rows(report)
    if beside:
        halves.append(table(["Against buy and hold", ""], beside))
    fallen = drawdown_rows(report)
    deepest = table(["Deepest drawdowns: from", "Lowest", "Last below", "Depth", "Days"], fallen, text=3)
    return f'<h2>Risk</h2><div class="halves">{"".join(halves)}</div>{deepest if fallen else ""}'


def trading_tables(report: Report) -> str:
    """Return what the closed trades have in common, empty without one."""
    rows = trade_rows(report)
    if not rows:
        return ""
    half = -(-len(rows) // 2)
    halves = "".join(table(["After costs", ""], part) for part in (rows[:half], rows[half:]))
    return f'<h2>Closed trades</h2><div class="halves">{halves}</div>'


def evidence_table(report: Report) -> str:
    """Return every number of the evidence with its demand and its meaning, empty without evidence."""
    evidence = evidence_of(report)
    if evidence is None:
        return ""
    rows = "".join(
        f'<tr><td>{escape(line.name)}</td><td class="n">{escape(line.value)}</td>'
        f'<td class="n">{escape(line.wanted)}</td>'
        f"<td>{SIGNS[line.passed]}</td><td>{escape(line.meaning)}</td></tr>"
        for line in evidence_lines(evidence)
    )
    heads = '<th>Number</th><th class="n">Value</th><th class="n">Wanted</th><th></th><th>Meaning</th>'
    body = f"<table class='evidence'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>Evidence</h2><div class="wide-table">{body}</div>'


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
    note = "<p>The first and the last month may be parts of a month.</p>"
    return f'<h2>Returns by month</h2><div class="wide-table"><table class="months">{body}</table></div>{note}'


def _month_cell(value: float | None, largest: float) -> str:
    if value is None or not math.isfinite(value):
        return '<td class="n"></td>'
    depth = math.ceil(4 * abs(value) / largest) if largest > 0 else 0
    tone = f" {'up' if value > 0 else 'down'}{depth}" if depth else ""
    return f'<td class="n{tone}">{number(100 * value, 1)}</td>'


def folds_table(report: Report) -> str:
    """Return one row for each fold: when, how many rows, how often right, and which parameters were chosen."""
    folds = report.folds
    writers: dict[str, tuple[str, Callable[[Any], str]]] = {
        "fold": ("Fold", str),
        "test_start": ("Test from", _day),
        "test_end": ("to", _day),
        "train_rows": ("Train rows", _count),
        "test_rows": ("Test rows", _count),
        "hit_rate_train": ("Hits, train", _rate),
        "hit_rate_test": ("Hits, test", _rate),
        "trials": ("Trials", _count),
        "params": ("Chosen parameters", parameters),
    }
    there = [name for name in writers if name in folds.columns]
    if folds.is_empty() or not there:
        return ""
    shown = folds.select(there).tail(MOST_FOLDS)
    rows = [[writers[name][1](value) for name, value in zip(there, row, strict=True)] for row in shown.iter_rows()]
    note = f"<p>The last {MOST_FOLDS} of {folds.height} folds.</p>" if folds.height > MOST_FOLDS else ""
    return note + table([writers[name][0] for name in there], rows, text=0, kind="folds")


def _day(value: Any) -> str:
    return f"{value:%Y-%m-%d}" if value is not None else ""


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _rate(value: Any) -> str:
    return "" if value is None else percent(value, 1)


def costs_table(report: Report) -> str:
    """Return fees by liquidity, slippage and impact, in money, in basis points of the traded value and of the start."""
    fills, currency = report.fills, currency_of(report)
    if fills.is_empty():
        return ""
    traded = float(fills["value"].sum())
    kinds = fills.group_by("liquidity").agg(pl.col("fee").sum(), pl.col("value").sum()).sort("liquidity")
    lines = [(f"Fees, {kind}", float(fee), float(value)) for kind, fee, value in kinds.iter_rows()]
    lines += [(name.capitalize(), float(fills[name].sum()), traded) for name in ("slippage", "impact")]
    lines.append(("All costs", sum(line[1] for line in lines), traded))
    rows = [
        (
            name,
            money(paid, currency),
            money(value, currency, 0),
            number(1e4 * paid / value if value else math.nan),
            percent(paid / report.initial),
        )
        for name, paid, value in lines
    ]
    return "<h2>Costs</h2>" + table(["Kind", "Paid", "Traded value", "bps of it", "of the start"], rows)


def refusals_table(report: Report) -> str:
    """Return how many orders were refused, by reason."""
    if report.rejections.is_empty():
        return ""
    counts = report.rejections.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
    rows = [(reason, f"{count:,}") for reason, count in counts.iter_rows()]
    return "<h2>Refused orders</h2>" + table(["Reason", "Orders"], rows)


def trades_table(report: Report) -> str:
    """Return the last closed trades, newest first."""
    trades, currency = report.trades, currency_of(report)
    if trades.is_empty():
        return ""
    last = trades.tail(LAST_TRADES).reverse().select("symbol", "opened", "closed", "quantity", "profit", "return")
    rows = [
        (
            symbol,
            f"{opened:%Y-%m-%d %H:%M}",
            f"{closed:%Y-%m-%d %H:%M}",
            f"{(closed - opened).total_seconds() / 86_400:,.1f}",
            price(quantity),
            money(profit),
            percent(gained, signed=True),
        )
        for symbol, opened, closed, quantity, profit, gained in last.iter_rows()
    ]
    title = f"Last {len(rows)} of {trades.height:,} trades" if trades.height > len(rows) else "Trades"
    profit = f"Profit, {currency}" if currency else "Profit"
    heads = ["Symbol", "Opened", "Closed", "Days", "Quantity", profit, "Return"]
    return f"<h2>{title}</h2>" + table(heads, rows, text=3, kind="trades")
