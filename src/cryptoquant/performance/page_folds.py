"""The folds of a report's page: what each one learned from, what it was tested on, and how it did."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.performance.axes import Scale, Tick, scale_over
from cryptoquant.performance.folding import chosen, without_empty
from cryptoquant.performance.page_pictures import Floats, epochs, legend
from cryptoquant.performance.page_tables import table
from cryptoquant.performance.report import Report
from cryptoquant.performance.svg import Axes, picture
from cryptoquant.performance.words import currency_of, money, number, percent

MOST_FOLDS = 200
MOST_LETTERS = 12
SPANS = ("train_start", "train_end", "test_start", "test_end")
THICK = 0.36


def folds_part(report: Report) -> str:
    """Return the time line, the hit rates and the table of the folds, empty without folds."""
    return f"{time_line(report)}{fold_picture(report)}{folds_table(report)}"


def time_line(report: Report) -> str:
    """Draw each fold as a row: the training span, the embargo and the test span; empty where spans are not known."""
    folds = report.folds
    if folds.is_empty() or not set(SPANS) <= set(folds.columns):
        return ""
    folds = folds.tail(MOST_FOLDS)
    spans = np.column_stack([epochs(folds[name]).astype(np.float64) for name in SPANS])
    rows = list(range(len(spans)))
    every = -(-len(rows) // MOST_LETTERS)
    named: list[Any] = folds["fold"].to_list() if "fold" in folds.columns else rows
    levels: tuple[Tick, ...] = tuple((float(-row), str(named[row])) for row in rows[::every])
    axes = Axes(Scale(float(spans.min()), float(spans.max())), Scale(0.5 - len(rows), 0.5), str, levels=levels)
    shapes = []
    for row, (first, learned, start, end) in zip(rows, spans.tolist(), strict=True):
        shapes.append(axes.bar(first, learned, -row - THICK, -row + THICK, "learned"))
        shapes.append(axes.level(learned, start, float(-row), "embargo"))
        shapes.append(axes.bar(start, end, -row - THICK, -row + THICK, "tested"))
    keys = legend([("learned", "Trained on"), ("embargo", "Embargo and purge"), ("tested", "Tested on")])
    height = max(60, min(420, 18 * len(rows)))
    return f"{keys}{picture(axes, shapes, label='The folds on a time line, oldest at the top', height=height)}"


def fold_picture(report: Report) -> str:
    """Draw the folds on the time line at their hit rates, on training rows and out of sample."""
    folds = report.folds
    if folds.is_empty() or not {"test_start", "test_end", "hit_rate_test", "hit_rate_train"} <= set(folds.columns):
        return ""
    starts, ends = (epochs(folds[name]).astype(np.float64) for name in ("test_start", "test_end"))
    train, test = (_floats(folds[name]) for name in ("hit_rate_train", "hit_rate_test"))
    known = np.concatenate([rates[np.isfinite(rates)] for rates in (train, test)])
    low, high = min(0.45, float(known.min(initial=0.5))), max(0.55, float(known.max(initial=0.5)))
    first, last = float(starts.min()), float(ends.max())
    across = Scale(first, last) if last > first else Scale(first - 1.8e12, first + 1.8e12)
    axes = Axes(across, scale_over(low, high), lambda share: percent(share, 0))
    shapes = [axes.level(axes.across.low, axes.across.high, 0.5, "base")]
    for start, end, learned, met in zip(starts, ends, train, test, strict=True):
        gap = (end - start) * 0.02
        pairs = ((learned, "train"), (met, "test"))
        shapes += [axes.level(start + gap, end - gap, rate, kind) for rate, kind in pairs if np.isfinite(rate)]
    keys = legend([("test", "Hit rate out of sample"), ("train", "Hit rate on training rows")])
    label = "Hit rates of the folds over time"
    return keys + picture(axes, shapes, label=label, height=170)


def _floats(series: pl.Series) -> Floats:
    values: Floats = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values


def folds_table(report: Report) -> str:
    """Return one row for each fold: when, how many rows, how often right, how it paid; below, what was chosen."""
    folds = report.folds.tail(MOST_FOLDS)
    writers = _writers(currency_of(report))
    shown = folds.select(name for name in writers if name in folds.columns)
    if shown.is_empty():
        return ""
    rows = [[writers[name][1](value) for name, value in row.items()] for row in shown.iter_rows(named=True)]
    heads = [writers[name][0] for name in shown.columns]
    for name, start, end in (("Tested on", "test_start", "test_end"), ("Trained on", "train_start", "train_end")):
        if {start, end} <= set(shown.columns):
            heads, rows = _joined(name, (writers[start][0], writers[end][0]), heads, rows)
    heads, rows = without_empty(heads, rows)
    note = f"<p>The last {MOST_FOLDS} of {report.folds.height} folds.</p>" if report.folds.height > MOST_FOLDS else ""
    return f"{note}{table(heads, rows, text=0, kind='folds', label='Folds')}{_chosen_table(folds)}"


def _joined(
    name: str, pair: tuple[str, str], heads: list[str], rows: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Return a table with two neighbouring columns, a first and a last day, as one."""
    place = heads.index(pair[0])
    rows = [
        [*row[:place], " to ".join(day for day in row[place : place + 2] if day), *row[place + 2 :]] for row in rows
    ]
    return [*heads[:place], name, *heads[place + 2 :]], rows


def _chosen_table(folds: pl.DataFrame) -> str:
    picked = chosen(folds)
    if not picked:
        return ""
    heads, rows = without_empty(["Fold", "Trials", "Chosen parameters"], picked)
    return table(heads, rows, text=len(heads), kind="chosen", label="Chosen parameters")


def _writers(currency: str) -> dict[str, tuple[str, Callable[[Any], str]]]:
    return {
        "fold": ("Fold", str),
        "train_start": ("Trained from", _day),
        "train_end": ("Trained to", _day),
        "test_start": ("Tested from", _day),
        "test_end": ("Tested to", _day),
        "train_rows": ("Train rows", _count),
        "test_rows": ("Test rows", _count),
        "hit_rate_train": ("Hits, train", _rate),
        "hit_rate_test": ("Hits, test", _rate),
        "return": ("Return", lambda value: "" if value is None else percent(value, 1, signed=True)),
        "sharpe": ("Sharpe", lambda value: "" if value is None else number(value)),
        "max_drawdown": ("Drawdown", _rate),
        "fees": (f"Fees, {currency}" if currency else "Fees", lambda value: "" if value is None else money(value)),
    }


def _day(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d}" if value is not None else ""


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "" if value is None else percent(value, 1)
