"""Numbers in words: how a rate, an amount or a date is written, what each number means, and the verdict of the gate."""

import json
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from cryptoquant.market.time import NANOSECONDS_PER_YEAR, timeframe_name
from cryptoquant.performance.evidence import Evidence, Gate
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.report import Report

ABSENT = "—"
UNDEFINED = "not defined"
REFUSED_SHARE = 0.1
SILENT_SHARE = 0.2


# A yearly number of a shorter run says nothing but noise: it is not shown.
SHORTEST_YEARLY = 30 / 365


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one may conclude: a headline, its tone and the reasons."""

    headline: str
    tone: Literal["passed", "failed", "open"]
    reasons: tuple[str, ...]


def number(value: float, digits: int = 2) -> str:
    """Return a number with thousands separated; a dash when it is not defined.

    Examples
    --------
    >>> number(1234.567)
    '1,234.57'
    """
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:,.{digits}f}" if abs(value) < 1e9 else f"{value:.3g}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else text


def percent(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Return a fraction in percent.

    Examples
    --------
    >>> percent(0.0512, signed=True)
    '+5.12 %'
    """
    text = number(100.0 * value, digits)
    if text == ABSENT:
        return text
    rises = signed and value > 0 and text.strip("0.,")
    return f"{'+' if rises else ''}{text} %"


def probability(value: float) -> str:
    """Return a probability with three decimals, never rounded up to certainty.

    Examples
    --------
    >>> probability(0.99997), probability(0.9004)
    ('> 0.999', '0.900')
    """
    if math.isnan(value):
        return UNDEFINED
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else number(value, 3)


def money(value: float, currency: str = "", digits: int = 2) -> str:
    """Return an amount with its currency.

    Examples
    --------
    >>> money(-1200.5, "USD")
    '-1,200.50 USD'
    """
    text = number(value, digits)
    return _with_unit(text, currency)


def _with_unit(text: str, unit: str) -> str:
    return text if text == ABSENT or not unit else f"{text} {unit}"


def price(value: float) -> str:
    """Return a price with about six significant digits, as many as a small coin needs.

    Examples
    --------
    >>> price(61234.5), price(0.0000123)
    ('61,234.50', '0.0000123000')
    """
    if not math.isfinite(value) or value == 0:
        return number(value)
    return number(value, max(2, 5 - math.floor(math.log10(abs(value)))))


def moment(text: str) -> str:
    """Return the date and minute of an instant as the statistics hold it.

    Examples
    --------
    >>> moment("2024-01-02 03:00:00+00:00")
    '2024-01-02 03:00'
    """
    return text[:16].replace("T", " ")


def parameters(text: Any) -> str:
    """Return the parameters that a fold chose, kept as a JSON object, in words; any other text as it is.

    Examples
    --------
    >>> parameters('{"learning_rate": 0.0281569, "max_depth": 2}')
    'learning_rate 0.02816, max_depth 2'
    """
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        return str(text)
    return ", ".join(f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}" for name, one in found.items())


def currency_of(report: Report) -> str:
    """Return the quote currency of a report's symbols, empty when they do not agree."""
    symbols = report.prices["symbol"].unique().to_list() if "symbol" in report.prices.columns else []
    quotes = {symbol.partition("/")[2] for symbol in symbols}
    return str(quotes.pop()) if len(quotes) == 1 else ""


def buy_and_hold_return(report: Report) -> float:
    """Return the total return of the benchmark, NaN when the report holds none."""
    if "benchmark" not in report.equity.columns:
        return math.nan
    last = report.equity["benchmark"].item(-1)
    return math.nan if last is None else float(last) / report.initial - 1.0


def timeframe_of(statistics: Statistics) -> str:
    """Return the length of a period, such as ``1h``; empty for a single period."""
    if not statistics.periods_per_year > 0:
        return ""
    seconds = round(NANOSECONDS_PER_YEAR / statistics.periods_per_year / 1e9)
    return timeframe_name(timedelta(seconds=max(1, seconds)))


def result_rows(numbers: Statistics) -> list[tuple[str, str]]:
    """Return name and text of the numbers that describe the equity curve."""
    periods = f"{numbers.periods:,}"
    width = timeframe_of(numbers)
    is_long = _is_long(numbers)
    each = f" ({width})" if width else ""
    return [
        ("Start", moment(numbers.start)),
        ("End", moment(numbers.end)),
        ("Periods", f"{periods} of {width}" if width else periods),
        ("Total return", percent(numbers.total_return, signed=True)),
        ("Growth per year", percent(numbers.cagr if is_long else math.nan, signed=True)),
        ("Volatility per year", percent(numbers.volatility if is_long else math.nan)),
        (f"Sharpe ratio{each}", number(numbers.sharpe if is_long else math.nan)),
        (f"Sortino ratio{each}", number(numbers.sortino if is_long else math.nan)),
        ("Calmar ratio", number(numbers.calmar if is_long else math.nan)),
        ("Largest drawdown", percent(numbers.max_drawdown)),
        ("Longest drawdown", _with_unit(number(numbers.max_drawdown_days, 1), "days")),
        ("Skewness of returns", number(numbers.skewness)),
        ("Kurtosis, normal: 3", number(numbers.kurtosis)),
    ]


def _is_long(numbers: Statistics) -> bool:
    return not numbers.periods / numbers.periods_per_year < SHORTEST_YEARLY


def trading_rows(numbers: Statistics, currency: str) -> list[tuple[str, str]]:
    """Return name and text of the numbers that describe the trading."""
    return [
        ("Time in the market", percent(numbers.exposure, 1)),
        ("Turnover per year", _with_unit(number(numbers.turnover, 1), "x equity")),
        ("Fills", f"{numbers.fills:,}"),
        ("Closed trades", f"{numbers.trades:,}"),
        ("Hit rate", percent(numbers.hit_rate, 1)),
        ("Profit factor", number(numbers.profit_factor)),
        ("Profit per trade", money(numbers.expectancy, currency)),
        ("Fees", money(numbers.fees, currency)),
        ("Slippage", money(numbers.slippage, currency)),
        ("Impact", money(numbers.impact, currency)),
        ("Refused orders", f"{numbers.refused:,}"),
    ]


def risk_rows(report: Report) -> list[tuple[str, str]]:
    """Return name and text of the numbers that describe how the curve may hurt."""
    risk, width = report.risk, timeframe_of(report.statistics)
    each = f" ({width})" if width else ""
    return [
        (f"VaR 95 %{each}", percent(risk.value_at_risk)),
        (f"Shortfall 95 %{each}", percent(risk.expected_shortfall)),
        ("Tail ratio, 95 to 5 %", number(risk.tail_ratio)),
        ("Omega ratio, threshold 0", number(risk.omega)),
        ("Sharpe ratio (1d)", number(risk.daily_sharpe if _is_long(report.statistics) else math.nan)),
        ("Average drawdown", percent(risk.average_drawdown)),
        ("Average time below a high", _with_unit(number(risk.average_drawdown_days, 1), "days")),
        ("Ulcer index", percent(risk.ulcer_index)),
    ]


def relative_rows(report: Report) -> list[tuple[str, str]]:
    """Return name and text of the numbers that compare a run with its benchmark, empty without one."""
    if "benchmark" not in report.equity.columns:
        return []
    found, is_long = report.relative, _is_long(report.statistics)
    return [
        ("Excess return", percent(found.excess_return, signed=True)),
        ("Alpha per year", percent(found.alpha if is_long else math.nan, signed=True)),
        ("Beta", number(found.beta)),
        ("Correlation", number(found.correlation)),
        ("Tracking error per year", percent(found.tracking_error if is_long else math.nan)),
        ("Information ratio", number(found.information_ratio if is_long else math.nan)),
        ("Capture of rises", percent(found.up_capture, 1)),
        ("Capture of falls", percent(found.down_capture, 1)),
    ]


def trade_rows(report: Report) -> list[tuple[str, str]]:
    """Return name and text of the numbers that describe the closed trades, empty without one."""
    found, currency = report.trading, currency_of(report)
    if not found.trades:
        return []
    sides = ((found.long_trades, found.long_profit), (found.short_trades, found.short_profit))
    long, short = (f"{count:,}, {money(profit, currency)}" for count, profit in sides)
    rows = [
        ("Long trades", long),
        ("Short trades", short),
        ("Trades per year", number(found.trades_per_year if _is_long(report.statistics) else math.nan, 1)),
        ("Mean gain to mean loss", number(found.payoff_ratio)),
        ("Average trade", percent(found.average_return, signed=True)),
        ("Best trade", percent(found.best_return, signed=True)),
        ("Worst trade", percent(found.worst_return, signed=True)),
        ("Average time held", _with_unit(number(found.average_holding_days, 1), "days")),
        ("Longest time held", _with_unit(number(found.longest_holding_days, 1), "days")),
        ("Fees to gross profit", percent(found.fee_share, 1)),
        ("Slippage to the same", percent(found.slippage_share, 1)),
        ("Impact to the same", percent(found.impact_share, 1)),
    ]
    known = not math.isnan(found.capacity)
    return [*rows, ("Capacity at 1 % of bars", money(found.capacity, currency, 0))] if known else rows


def drawdown_rows(report: Report) -> list[tuple[str, ...]]:
    """Return start, trough, end, depth and days of the deepest drawdowns, as texts."""
    columns = report.drawdown_table().select("start", "trough", "end", "depth", "days", "is_recovered")
    return [
        (
            *(f"{instant:%Y-%m-%d %H:%M}" for instant in (start, trough)),
            f"{end:%Y-%m-%d %H:%M}" if is_recovered else "not over",
            percent(depth),
            number(days, 1),
        )
        for start, trough, end, depth, days, is_recovered in columns.iter_rows()
    ]


def evidence_of(report: Report) -> Evidence | None:
    """Return the evidence that a report carries, if any."""
    return report.dossier.evidence


def before_costs_of(report: Report) -> Statistics | None:
    """Return the statistics of the same run traded free, if the report carries them."""
    return report.dossier.before_costs


def verdict(report: Report, gate: Gate | None = None) -> Verdict:
    """Return the verdict on a report: passed or not by its evidence, else open."""
    evidence = evidence_of(report)
    if evidence is None:
        reason = "One run of one configuration: nothing here says how likely luck is. A walk-forward study does."
        return Verdict("Not judged: this report holds no evidence", "open", (reason,))
    failures = (gate or Gate()).check(evidence)
    if failures:
        return Verdict("Does not pass the gate", "failed", failures)
    reason = f"All demands are met over {evidence.days:,} days out of sample."
    open_point: tuple[str, ...] = ()
    if evidence.study_trials < 2:
        open_point = ("One study trial only: the Sharpe ratio is not deflated.",)
    elif evidence.are_trials_alike and math.isnan(evidence.pbo):
        open_point = (
            "All study trials are alike: nothing was chosen, so that no overfitting of a choice is demanded.",
        )
    return Verdict("Passes the gate", "passed", (reason, *open_point))


def cautions(report: Report) -> tuple[str, ...]:
    """Return what a reader should know before believing the numbers: refused orders, and a run that fell silent."""
    found = []
    refused = report.rejections
    if refused.height > REFUSED_SHARE * report.fills.height:
        reason, count = refused.group_by("reason").len().sort(["len", "reason"], descending=[True, False]).row(0)
        found.append(
            f"Caution: {refused.height:,} orders were refused and {report.fills.height:,} filled; "
            f"the most frequent reason, {count:,} times: {reason}."
        )
    if report.fills.height:
        first, end, last = report.equity["time"].item(0), report.equity["time"].item(-1), report.fills["time"].max()
        silent = end - last
        if silent > SILENT_SHARE * (end - first):
            found.append(f"Caution: no fill in the last {silent.total_seconds() / 86_400:,.1f} days of the run.")
    return tuple(found)
