"""A report as one page: a single file without a script or anything from outside, the same bytes for the same report."""

import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptoquant.performance.alarms import Alarm, alarms
from cryptoquant.performance.page_costs import costs_part
from cryptoquant.performance.page_folds import fold_picture, folds_part
from cryptoquant.performance.page_pictures import (
    drawdown_picture,
    equity_picture,
    exposure_pictures,
    rolling_picture,
    signal_pictures,
)
from cryptoquant.performance.page_prices import price_pictures
from cryptoquant.performance.page_study import (
    fingerprints_part,
    importance_part,
    paths_part,
    quality_part,
    robustness_part,
)
from cryptoquant.performance.page_style import SIGNS, STYLE
from cryptoquant.performance.page_tables import (
    evidence_table,
    months_table,
    refusals_table,
    risk_tables,
    statistics_tables,
)
from cryptoquant.performance.page_trades import trades_part
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import (
    ABSENT,
    before_costs_of,
    buy_and_hold_return,
    cautions,
    currency_of,
    evidence_of,
    moment,
    money,
    number,
    percent,
    timeframe_of,
    verdict,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PARTS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    ("equity", "Equity", equity_picture),
    ("drawdown", "Drawdown", drawdown_picture),
    ("rolling-sharpe", "Rolling Sharpe ratio", rolling_picture),
    ("evidence", "Evidence", evidence_table),
    ("robustness", "Robustness", robustness_part),
    ("paths", "Paths of the cross-validation", paths_part),
    ("prices", "Prices and fills", price_pictures),
    ("months", "Returns by month", months_table),
    ("folds", "Folds", folds_part),
    ("exposure", "Exposure and turnover", exposure_pictures),
    ("trades", "Closed trades", trades_part),
    ("costs", "Costs", costs_part),
    ("importance", "Feature importance", importance_part),
    ("signals", "Signals", signal_pictures),
    ("statistics", "Statistics", statistics_tables),
    ("risk", "Risk", risk_tables),
    ("refusals", "Refused orders", refusals_table),
    ("quality", "Data quality", quality_part),
)
MARKS = {"passed": "✓ ", "failed": "✗ ", "open": ""}


def write_page(report: Report, path: Path) -> Path:
    """Write a report as one self-contained page and return its path.

    The page needs no network and no script, follows the reader's light or dark scheme, and stays below 1 MB because
    long curves are thinned to screen resolution with their extremes kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page_text(report), encoding="utf-8", newline="\n")
    return path


def page_text(report: Report) -> str:
    """Return the page as text."""
    there = [(anchor, title, body) for anchor, title, of in PARTS if (body := of(report))]
    body = "\n".join(f'<section id="{anchor}"><h2>{title}</h2>{part}</section>' for anchor, title, part in there)
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in there)
    contents = f'<nav aria-label="Contents">{links}</nav>'
    return _document(report.name, f"{_head(report)}{_cards(report)}{contents}\n{body}\n{_foot(report)}")


def picture_pages(report: Report) -> dict[str, str]:
    """Return a small page for each of the main pictures, by its name."""
    pictures = {"equity": equity_picture(report), "drawdown": drawdown_picture(report), "folds": fold_picture(report)}
    return {
        name: _document(f"{report.name}: {name}", f"<h1>{escape(report.name)}: {name}</h1>{text}")
        for name, text in pictures.items()
        if text
    }


def _document(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{SIGNS}<main>"
        f"{body}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    numbers, found = report.statistics, verdict(report)
    width = timeframe_of(numbers)
    span = (
        f"{moment(numbers.start)} to {moment(numbers.end)} UTC, {numbers.periods:,} slice{'s' * (numbers.periods != 1)}"
    )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    notes = "".join(f"<p>{escape(note)}</p>" for note in (*report.notes, *cautions(report)))
    return (
        f"<header><h1>{escape(report.name)}</h1><p>{escape(span)}{f' of {width}' if width else ''}</p>"
        f'<div class="verdict {found.tone}"><strong>{MARKS[found.tone]}{escape(found.headline)}</strong>'
        f"<ul>{reasons}</ul></div>{alarm_box(alarms(report))}{notes}</header>"
    )


def alarm_box(raised: Sequence[Alarm]) -> str:
    """Return alarms as a box with a sign for each, empty without any."""
    if not raised:
        return ""
    sign = '<svg class="sign" width="18" height="16" aria-hidden="true"><use href="#alarm" x="9" y="8"/></svg>'
    rows = "".join(
        f"<li>{sign}<span><b>{escape(one.name[:1].upper() + one.name[1:])}</b> {escape(one.words)}</span></li>"
        for one in raised
    )
    return f'<ul class="alarms" aria-label="Alarms">{rows}</ul>'


def _cards(report: Report) -> str:
    numbers, currency, free = report.statistics, currency_of(report), before_costs_of(report)
    held = buy_and_hold_return(report)
    traded = float(report.fills["value"].sum())
    paid = numbers.fees + numbers.slippage + numbers.impact
    rate = f"{number(1e4 * paid / traded, 1)} bps of traded value, " if traded else ""
    cards = [
        (
            "Total return",
            percent(numbers.total_return, 1, signed=True),
            "" if math.isnan(held) else f"buy and hold {percent(held, 1, signed=True)}",
        ),
        _sharpe_card(report),
        ("Largest drawdown", percent(numbers.max_drawdown, 1), _longest(numbers.max_drawdown_days)),
        (
            "Closed trades",
            f"{numbers.trades:,}",
            "none closed" if not numbers.trades else f"{percent(numbers.hit_rate, 0)} with a profit, after costs",
        ),
        ("Fees, slippage, impact", money(paid, currency, 0), f"{rate}{percent(paid / report.initial, 1)} of start"),
        (
            "Before costs",
            percent(free.total_return, 1, signed=True) if free else ABSENT,
            _free_sharpe(report) if free else "not simulated",
        ),
    ]
    body = "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(words)}</small></div>'
        for name, value, words in cards
    )
    return f'<div class="cards">{body}</div>'


def _longest(days: float) -> str:
    return f"{number(days, 1)} days below a high at the longest" if days > 0 else "never below a high for long"


def _free_sharpe(report: Report) -> str:
    evidence = evidence_of(report)
    return "" if evidence is None else f"Sharpe {number(evidence.sharpe_before_costs)}, daily returns"


def _sharpe_card(report: Report) -> tuple[str, str, str]:
    evidence = evidence_of(report)
    if evidence is None:
        width = timeframe_of(report.statistics)
        return (
            "Sharpe ratio",
            number(report.statistics.sharpe),
            f"annual, from {width} returns" if width else "needs two returns",
        )
    low, high = number(evidence.sharpe_low), number(evidence.sharpe_high)
    return "Sharpe ratio", number(evidence.sharpe), f"95 % interval {low} to {high}, daily returns"


def _foot(report: Report) -> str:
    costs = report.costs
    rates = ((costs.maker_bps, "maker"), (costs.taker_bps, "taker"), (costs.slippage_bps, "slippage"))
    charged = "fees by date and volume" if costs.schedule else ", ".join(f"{rate:g} bps {name}" for rate, name in rates)
    words = (
        f"Costs charged: {charged}. Rates are simple returns; a year has 365 days; no risk-free rate. Times are UTC."
    )
    return f"<footer><p>{escape(words)}</p>{fingerprints_part(report)}<p>cryptoquant {_version()}</p></footer>"


def _version() -> str:
    try:
        return version("cryptoquant")
    except PackageNotFoundError:
        return ""
