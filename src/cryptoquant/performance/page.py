"""A report as one page: a single file without a script or anything from outside, the same bytes for the same report."""

import math
from html import escape
from pathlib import Path

from cryptoquant.performance.page_pictures import (
    costs_in_words,
    drawdown_picture,
    equity_picture,
    fold_picture,
    paid_in_words,
    price_pictures,
    signal_pictures,
)
from cryptoquant.performance.page_style import STYLE
from cryptoquant.performance.page_tables import (
    costs_table,
    evidence_table,
    folds_table,
    months_table,
    refusals_table,
    risk_tables,
    statistics_tables,
    trades_table,
    trading_tables,
)
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
SIGNS = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    '<path id="buy" d="M0-5.5L5 3.5H-5z"/><path id="sell" d="M0 5.5L5-3.5H-5z"/></defs></svg>'
)


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
    sections = [
        equity_picture(report),
        drawdown_picture(report),
        evidence_table(report),
        price_pictures(report),
        months_table(report),
        _folds(report),
        statistics_tables(report),
        risk_tables(report),
        trading_tables(report),
        costs_table(report),
        refusals_table(report),
        signal_pictures(report),
        trades_table(report),
    ]
    body = "\n".join(f"<section>{section}</section>" for section in sections if section)
    return _document(report.name, f"{_head(report)}{_cards(report)}\n{body}\n{_foot(report)}")


def picture_pages(report: Report) -> dict[str, str]:
    """Return a small page for each of the main pictures, by its name."""
    pictures = {"equity": equity_picture(report), "drawdown": drawdown_picture(report), "folds": fold_picture(report)}
    return {name: _document(f"{report.name}: {name}", text) for name, text in pictures.items() if text}


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
        f'<div class="verdict {found.tone}"><strong>{escape(found.headline)}</strong><ul>{reasons}</ul></div>'
        f"{notes}</header>"
    )


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


def _folds(report: Report) -> str:
    body = folds_table(report)
    return f"<h2>Folds</h2>{fold_picture(report)}{body}" if body else ""


def _foot(report: Report) -> str:
    words = (
        f"Costs charged: {costs_in_words(report)}; {paid_in_words(report)}. "
        "Rates are simple returns; a year has 365 days; no risk-free rate. Times are UTC."
    )
    return f"<footer>{escape(words)}</footer>"
