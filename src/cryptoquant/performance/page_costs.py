"""The costs of a report's page: what was paid by kind, and how it added up over time."""

import math

import numpy as np
import polars as pl

from cryptoquant.performance.axes import scale_over
from cryptoquant.performance.course import costs_course, other_flows
from cryptoquant.performance.page_pictures import epochs, legend, short, time_scale
from cryptoquant.performance.page_tables import bar_cell, table
from cryptoquant.performance.report import Report
from cryptoquant.performance.svg import Axes, picture
from cryptoquant.performance.words import currency_of, money, number, percent

KINDS = {"fee": "Fees", "slippage": "Slippage", "impact": "Impact"}


def costs_part(report: Report) -> str:
    """Return the costs by kind and over time, empty without a fill."""
    return "" if report.fills.is_empty() else f"{costs_table(report)}{_costs_picture(report)}"


def costs_table(report: Report) -> str:
    """Return fees by liquidity, slippage and impact, in money, in basis points of the traded value and of the start.

    Financing (borrowing, funding) is what left the cash beside the fills.
    """
    fills, currency = report.fills, currency_of(report)
    traded = float(fills["value"].sum())
    kinds = fills.group_by("liquidity").agg(pl.col("fee").sum(), pl.col("value").sum()).sort("liquidity")
    lines = [(f"Fees, {kind}", float(fee), float(value)) for kind, fee, value in kinds.iter_rows()]
    lines += [(name.capitalize(), float(fills[name].sum()), traded) for name in ("slippage", "impact")]
    financing = other_flows(report)
    if financing != 0.0 and not math.isnan(financing):
        lines.append(("Financing and other flows", financing, traded))
    whole, largest = sum(line[1] for line in lines), max(abs(line[1]) for line in lines)
    rows = [
        (
            name,
            bar_cell(abs(paid) / largest if largest else 0.0) if name != "All costs" else "",
            money(paid, currency),
            money(value, currency, 0),
            number(1e4 * paid / value if value else math.nan),
            percent(paid / report.initial),
        )
        for name, paid, value in [*lines, ("All costs", whole, traded)]
    ]
    heads = ["Kind", "", "Paid", "Traded value", "bps of it", "of the start"]
    return table(heads, rows, kind="with-bars", label="Costs by kind")


def _costs_picture(report: Report) -> str:
    course = costs_course(report)
    times = epochs(course["time"])
    there = [name for name in KINDS if float(np.nan_to_num(course[name].to_numpy()[-1])) != 0.0]
    if not there:
        return ""
    ends = [float(edge(course[name].to_numpy())) for name in there for edge in (np.nanmin, np.nanmax)]
    axes = Axes(time_scale(report), scale_over(min(0.0, *ends), max(0.0, *ends)), short)
    shapes = [axes.curve(times, course[name].to_numpy(), name) for name in there]
    keys = legend([(name, KINDS[name]) for name in there])
    unit = currency_of(report) or "quote currency"
    drawn = picture(axes, shapes, label="Costs paid so far", height=170)
    return f"<figure><figcaption>Paid so far, {unit}</figcaption>{keys}{drawn}</figure>"
