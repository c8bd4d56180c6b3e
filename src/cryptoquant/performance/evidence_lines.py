"""The evidence in lines: each number with its value, what the gate wants of it and what it means in plain words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from cryptoquant.performance.evidence import Criterion, Evidence, Gate
from cryptoquant.performance.words import ABSENT, UNDEFINED, number, percent, probability

Text = tuple[str, str, str, str]
LUCK = "Deflated by trials"


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One number of the evidence: its name, its value, what the gate wants of it, what it means and its group."""

    name: str
    value: str
    wanted: str
    passed: bool | None
    meaning: str
    group: str = ""


def evidence_lines(evidence: Evidence, gate: Gate | None = None) -> list[EvidenceLine]:
    """Return every number of the evidence with what the gate wants and a plain meaning; a group stands together."""
    demands = {criterion.number: criterion for criterion in (gate or Gate()).criteria}
    groups = {
        "Result": _result(evidence),
        "Other costs and markets": _assumptions(evidence),
        "Sharpe ratio, as sure as the record makes it": _certainty(evidence),
        LUCK: _deflated(evidence),
        "What it rests on": _basis(evidence),
    }
    return [
        EvidenceLine(label, text, *_demand(demands.get(name), evidence), meaning, group)
        for group, texts in groups.items()
        for name, label, text, meaning in texts
    ]


def _demand(criterion: Criterion | None, evidence: Evidence) -> tuple[str, bool | None]:
    if criterion is None:
        return "", None
    value = float(getattr(evidence, criterion.number))
    failed = bool(criterion.failure(evidence))
    return f"{criterion.relation} {criterion.bound:g}", None if math.isnan(value) and not failed else not failed


def _result(e: Evidence) -> Iterable[Text]:
    interval = "95 % interval of the Sharpe ratio: studentised stationary bootstrap"
    growth = "95 % interval of the growth per year: studentised stationary bootstrap"
    band = "by daily returns: another history of this length falls further once in about twenty to fifty times"
    return [
        ("days", "Days out of sample", f"{e.days:,}", "daily returns: all here but the largest drawdown rests on them"),
        ("sharpe", "Sharpe ratio (1d)", _number(e.sharpe), "annual, from daily returns, after costs"),
        ("sharpe_low", "Sharpe, lower end", _number(e.sharpe_low), interval),
        ("sharpe_high", "Sharpe, upper end", _number(e.sharpe_high), interval),
        ("cagr", "Growth per year", _percent(e.cagr), "compound, after costs"),
        ("cagr_low", "Growth, lower end", _percent(e.cagr_low), growth),
        ("cagr_high", "Growth, upper end", _percent(e.cagr_high), growth),
        ("max_drawdown", "Largest drawdown", _percent(e.max_drawdown), "as it happened, by bars, after costs"),
        ("max_drawdown_low", "Drawdown, lower end", _percent(e.max_drawdown_low), band),
    ]


def _assumptions(e: Evidence) -> Iterable[Text]:
    return [
        ("sharpe_before_costs", "Sharpe before costs", _number(e.sharpe_before_costs), "traded free"),
        (
            "sharpe_double_costs",
            "Sharpe at double costs",
            _number(e.sharpe_double_costs),
            "twice the fees and slippage",
        ),
        (
            "sharpe_triple_costs",
            "Sharpe at triple costs",
            _number(e.sharpe_triple_costs),
            "three times the fees and slippage",
        ),
        (
            "sharpe_delayed",
            "Sharpe, one bar late",
            _number(e.sharpe_delayed),
            "the same decisions, traded one bar later",
        ),
        (
            "sharpe_missing_bars",
            "Sharpe, bars missing",
            _number(e.sharpe_missing_bars),
            "the same study where some bars are missing",
        ),
    ]


def _certainty(e: Evidence) -> Iterable[Text]:
    above = "probability that the true Sharpe ratio is above zero"
    return [
        ("psr", "PSR (2012)", probability(e.psr), above),
        ("psr_2026", "PSR (2026)", probability(e.psr_2026), f"{above}; counts the memory of returns"),
        (
            "sharpe_error",
            "Standard error (2026)",
            _number(e.sharpe_error),
            "of the annual Sharpe ratio; counts the memory of returns",
        ),
        (
            "autocorrelation",
            "Autocorrelation",
            _number(e.autocorrelation),
            "of daily returns with those of the day before",
        ),
        (
            "minimum_track_record_days",
            "Days needed (2012)",
            _number(e.minimum_track_record_days, 0),
            track_record_in_words(e),
        ),
        (
            "minimum_track_record_days_2026",
            "Days needed (2026)",
            _number(e.minimum_track_record_days_2026, 0),
            track_record_in_words(e, e.minimum_track_record_days_2026),
        ),
        (
            "false_discovery",
            "False discovery (2026)",
            probability(e.false_discovery),
            "probability that there is no edge after all, if one in ten such strategies has a Sharpe ratio of 1; not "
            "adjusted for trials",
        ),
    ]


def _deflated(e: Evidence) -> Iterable[Text]:
    better = "p-value that the best trial is no better than cash"
    years = "a shorter record is expected to show this Sharpe ratio by luck alone"
    poor = "share of the splits in which the best trial of one half is at most average in the other"
    effective = "independent trials that the study trials amount to, by the correlation of their returns"
    rows = [
        ("dsr", "DSR (2014)", probability, "PSR against the best that chance finds"),
        ("dsr_2026", "DSR (2026)", probability, "the same by the spread of the best of so many trials"),
        ("minimum_backtest_years", "Years needed", _number, years),
        ("pbo", "Overfitting (PBO)", probability, poor),
        ("pbo_low", "PBO, lower end", probability, "95 % interval of the same, by half-samples"),
        ("pbo_high", "PBO, upper end", probability, "95 % interval of the same, by half-samples"),
        ("reality_check", "Reality check", probability, f"{better} (White)"),
        ("spa", "SPA", probability, f"{better} (Hansen, consistent)"),
        ("spa_lower", "SPA, lower", probability, f"{better}, poor trials left out"),
        ("spa_upper", "SPA, upper", probability, f"{better}, poor trials counted in full"),
        ("effective_trials", "Effective trials", _number, effective),
    ]
    return [
        (name, label, show(value), deflated_in_words(e, value, meaning))
        for name, label, show, meaning in rows
        for value in [float(getattr(e, name))]
    ]


def _basis(e: Evidence) -> Iterable[Text]:
    right = "predictions on the right side"
    return [
        ("round_trips", "Closed positions", f"{e.round_trips:,}", "positions that were opened and closed again"),
        (
            "best_trade_share",
            "Best trade",
            _percent(e.best_trade_share),
            "its share of the whole profit; a position still open counts at its mark",
        ),
        ("best_month_share", "Best month", _percent(e.best_month_share), "its share of the whole profit"),
        (
            "hit_rate_train",
            "Hit rate, training",
            _percent(e.hit_rate_train),
            f"{right}, on rows that were learned from",
        ),
        ("hit_rate_test", "Hit rate, out of sample", _percent(e.hit_rate_test), f"{right}, on rows never seen"),
        (
            "sharpe_train",
            "Sharpe, training",
            _number(e.sharpe_train),
            "annual, by bars: of the chosen parameters on the window that they were searched in",
        ),
        (
            "study_trials",
            "Study trials",
            f"{e.study_trials:,}",
            "configurations ever judged out of sample; all of them deflate",
        ),
        ("common_days", "Common days", number(e.common_days, 0), "days that all study trials have"),
        (
            "tuning_trials",
            "Tuning trials",
            f"{e.tuning_trials:,}",
            "tried inside training rows; shown, not deflated by",
        ),
    ]


def deflation_in_words(evidence: Evidence) -> str:
    """Return what the deflated Sharpe ratio of 2014 was deflated by, or why it is not defined."""
    return deflated_in_words(evidence, evidence.dsr, "PSR against the best that chance finds")


def deflated_in_words(evidence: Evidence, value: float, meaning: str) -> str:
    """Return what a number that depends on trials means and was deflated by, or why it is not defined."""
    if evidence.study_trials < 2:
        return f"{UNDEFINED}: fewer than two study trials"
    days = "" if math.isnan(evidence.common_days) else f"{evidence.common_days:,.0f}"
    if math.isnan(value) and evidence.are_trials_alike:
        return f"{UNDEFINED}: the {evidence.study_trials:,} study trials are alike, so that nothing was chosen"
    if math.isnan(value):
        share = f"share too few days{f' ({days})' * bool(days)}, or never traded"
        return f"{UNDEFINED}: the {evidence.study_trials:,} study trials {share}"
    return f"{meaning}: deflated by {trials_in_words(evidence)}" + f", which share {days} days" * bool(days)


def trials_in_words(evidence: Evidence) -> str:
    """Return the count of study trials, and of the independent ones that they amount to where that is known."""
    known = not math.isnan(evidence.effective_trials)
    return f"{evidence.study_trials:,} study trials" + (
        f" ({evidence.effective_trials:.1f} effective)" if known else ""
    )


def track_record_in_words(evidence: Evidence, needed: float | None = None) -> str:
    """Return whether the record is long enough to show a Sharpe ratio above zero; by the days of 2012 unless given."""
    needed = evidence.minimum_track_record_days if needed is None else needed
    if math.isnan(needed):
        return f"{UNDEFINED}: the equity never moved"
    if math.isinf(needed):
        return "no record would do: the Sharpe ratio is not above zero"
    enough = "so the record is long enough" if evidence.days >= needed else "so the record is too short"
    return f"for 95 % confidence in a Sharpe ratio above zero; {evidence.days:,} are there, {enough}"


def _number(value: float, digits: int = 2) -> str:
    text = number(value, digits)
    return UNDEFINED if text == ABSENT else text


def _percent(value: float) -> str:
    text = percent(value)
    return UNDEFINED if text == ABSENT else text
