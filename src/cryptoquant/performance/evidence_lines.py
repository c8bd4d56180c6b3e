"""The evidence in lines: each number with its value, what the gate wants of it and what it means in plain words."""

import math
from dataclasses import dataclass

from cryptoquant.performance.evidence import Criterion, Evidence, Gate
from cryptoquant.performance.words import ABSENT, UNDEFINED, number, percent, probability


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One number of the evidence: its name, its value, what the gate wants of it and what it means."""

    name: str
    value: str
    wanted: str
    passed: bool | None
    meaning: str


def evidence_lines(evidence: Evidence, gate: Gate | None = None) -> list[EvidenceLine]:
    """Return every number of the evidence with what the gate wants and a plain meaning."""
    demands = {criterion.number: criterion for criterion in (gate or Gate()).criteria}
    return [
        EvidenceLine(label, text, *_demand(demands.get(name), evidence), meaning)
        for name, label, text, meaning in _evidence_texts(evidence)
    ]


def _demand(criterion: Criterion | None, evidence: Evidence) -> tuple[str, bool | None]:
    if criterion is None:
        return "", None
    value = float(getattr(evidence, criterion.number))
    failed = bool(criterion.failure(evidence))
    return f"{criterion.relation} {criterion.bound:g}", None if math.isnan(value) and not failed else not failed


def _evidence_texts(e: Evidence) -> list[tuple[str, str, str, str]]:
    interval = "95 % stationary-bootstrap interval of the Sharpe ratio"
    deep = "one resampled history in forty fell further than this"
    return [
        ("days", "Days out of sample", f"{e.days:,}", "daily returns behind every number below"),
        ("sharpe", "Sharpe ratio (1d)", _or_undefined(number(e.sharpe)), "annual, from daily returns, after costs"),
        ("sharpe_low", "Sharpe, lower end", _or_undefined(number(e.sharpe_low)), interval),
        ("sharpe_high", "Sharpe, upper end", _or_undefined(number(e.sharpe_high)), interval),
        ("sharpe_before_costs", "Sharpe before costs", _or_undefined(number(e.sharpe_before_costs)), "traded free"),
        (
            "sharpe_double_costs",
            "Sharpe at double costs",
            _or_undefined(number(e.sharpe_double_costs)),
            "twice the fees and slippage",
        ),
        ("psr", "PSR (2012)", probability(e.psr), "probability that the true Sharpe ratio is above zero"),
        ("dsr", "DSR (2014)", probability(e.dsr), deflation_in_words(e)),
        (
            "minimum_track_record_days",
            "Days needed",
            _or_undefined(number(e.minimum_track_record_days, 0)),
            track_record_in_words(e),
        ),
        ("max_drawdown", "Largest drawdown", _or_undefined(percent(e.max_drawdown)), "as it happened, after costs"),
        ("max_drawdown_low", "Drawdown, lower end", _or_undefined(percent(e.max_drawdown_low)), deep),
        ("round_trips", "Closed positions", f"{e.round_trips:,}", "positions that were opened and closed again"),
        (
            "study_trials",
            "Study trials",
            f"{e.study_trials:,}",
            "configurations ever judged out of sample; all of them deflate",
        ),
        (
            "tuning_trials",
            "Tuning trials",
            f"{e.tuning_trials:,}",
            "tried inside training rows; shown, not deflated by",
        ),
    ]


def deflation_in_words(evidence: Evidence) -> str:
    """Return what the deflated Sharpe ratio was deflated by, or why it is not defined."""
    if evidence.study_trials < 2:
        return f"{UNDEFINED}: fewer than two study trials"
    if math.isnan(evidence.dsr):
        return f"{UNDEFINED}: the {evidence.study_trials:,} study trials share too few days, or never traded"
    return f"PSR against the best that chance finds: deflated by {evidence.study_trials:,} study trials"


def track_record_in_words(evidence: Evidence) -> str:
    """Return whether the record is long enough to show a Sharpe ratio above zero."""
    needed = evidence.minimum_track_record_days
    if math.isnan(needed):
        return f"{UNDEFINED}: the equity never moved"
    if math.isinf(needed):
        return "no record would do: the Sharpe ratio is not above zero"
    enough = "so the record is long enough" if evidence.days >= needed else "so the record is too short"
    return f"for 95 % confidence in a Sharpe ratio above zero; {evidence.days:,} are there, {enough}"


def _or_undefined(text: str) -> str:
    return UNDEFINED if text == ABSENT else text
