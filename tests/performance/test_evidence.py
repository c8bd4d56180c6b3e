"""The gate: what passes, what fails and why, and what is not defined."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Criterion, Evidence, Gate
from cryptoquant.performance.evidence_lines import deflation_in_words, evidence_lines, track_record_in_words
from cryptoquant.performance.words import verdict
from tests.performance.reports import GOOD, report_over

NAN = math.nan
OLDER = (
    "days", "sharpe", "sharpe_before_costs", "sharpe_double_costs", "sharpe_low", "sharpe_high", "psr", "dsr",
    "minimum_track_record_days", "max_drawdown", "max_drawdown_low", "round_trips", "study_trials", "tuning_trials",
)  # fmt: skip
DEFLATED = {
    "DSR (2014)", "DSR (2026)", "Years needed", "Overfitting (PBO)", "PBO, lower end", "PBO, upper end",
    "Reality check", "SPA", "SPA, lower", "SPA, upper", "Effective trials",
}  # fmt: skip


def same(one: Evidence, other: Evidence) -> bool:
    return repr(one.to_dict()) == repr(other.to_dict())


def test_good_evidence_passes_and_survives_a_round_trip():
    assert Gate().check(GOOD) == ()
    assert same(Evidence.from_dict(GOOD.to_dict()), GOOD)
    assert same(Evidence.from_dict(json.loads(json.dumps(GOOD.to_json(), allow_nan=False))), GOOD)


def test_evidence_of_an_older_version_is_read_with_what_it_lacks_not_defined():
    older = {name: value for name, value in GOOD.to_dict().items() if name in OLDER}
    read = Evidence.from_dict(older)
    assert {name: getattr(read, name) for name in OLDER} == older
    assert all(math.isnan(value) for name, value in read.to_dict().items() if name not in OLDER)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"luck": 1.0}, "Evidence has no number luck"),
        ({"sharpe": None}, "Evidence: sharpe must be a number, found None"),
        ({"sharpe": "high"}, "Evidence: sharpe must be a number, found 'high'"),
    ],
)
def test_evidence_that_makes_no_sense_is_refused(changed, text):
    with pytest.raises(ValueError, match=text):
        Evidence.from_dict({**GOOD.to_dict(), **changed})
    with pytest.raises(ValueError, match="Evidence lacks days, psr"):
        Evidence.from_dict({name: value for name, value in GOOD.to_dict().items() if name not in ("days", "psr")})


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        ("psr", 0.94, "probability of a Sharpe ratio above zero: 0.94, wanted >= 0.95"),
        ("psr", NAN, "probability of a Sharpe ratio above zero: not defined"),
        ("dsr", 0.5, "the same, deflated by all study trials: 0.5, wanted >= 0.95"),
        ("sharpe_low", 0.0, "lower end of the bootstrap interval of the Sharpe ratio: 0, wanted > 0"),
        ("sharpe_double_costs", -0.1, "Sharpe ratio at twice the costs: -0.1, wanted > 0"),
        ("pbo_low", 0.51, "probability of backtest overfitting, lower end: 0.51, wanted <= 0.5"),
        ("sharpe_delayed", 0.0, "Sharpe ratio one bar later: 0, wanted > 0"),
        ("round_trips", 29, "closed positions: 29, wanted >= 30"),
        ("days", 89, "days out of sample: 89, wanted >= 90"),
    ],
)
def test_each_demand_fails_with_its_own_reason(number, value, words):
    assert Gate().check(replace(GOOD, **{number: value})) == (words,)


@pytest.mark.parametrize("number", ["dsr", "pbo_low"])
def test_a_missing_deflation_is_waived_for_the_first_study_trial_only(number):
    assert Gate().check(replace(GOOD, **{number: NAN}, study_trials=1)) == ()
    (reason,) = Gate().check(replace(GOOD, **{number: NAN}, study_trials=2))
    assert reason.endswith(": not defined")


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_relation_is_what_its_sign_says(value, bound):
    found = {
        sign: not Gate((Criterion("sharpe", sign, bound, "ratio"),)).check(replace(GOOD, sharpe=value))
        for sign in (">=", ">", "<=")
    }
    assert found == {">=": value >= bound, ">": value > bound, "<=": value <= bound}


def test_a_gate_is_data():
    strict = Gate((Criterion("sharpe", ">=", 3.0, "Sharpe ratio"),))
    assert strict.check(GOOD) == ("Sharpe ratio: 2, wanted >= 3",)


def test_every_number_is_explained_in_words():
    lines = evidence_lines(GOOD)
    assert len(lines) == len(GOOD.to_dict())
    assert all(line.meaning and line.value for line in lines)
    by_name = {line.name: line for line in lines}
    assert by_name["DSR (2014)"].meaning.endswith("deflated by 7 study trials")
    assert (by_name["DSR (2014)"].wanted, by_name["DSR (2014)"].passed) == (">= 0.95", True)
    assert by_name["Study trials"].passed is None


def test_each_number_that_depends_on_trials_says_by_how_many_and_no_other_does():
    full = Evidence.from_dict({name: 0.5 if value != value else value for name, value in GOOD.to_dict().items()})
    lines = {line.name: line for line in evidence_lines(replace(full, effective_trials=4.25, common_days=380.0))}
    assert lines["DSR (2026)"].meaning.endswith("(4.2 effective), which share 380 days")
    assert lines["Common days"].value == "380"
    deflated = {name for name, line in lines.items() if "deflated by 7 study trials (4.2 effective)" in line.meaning}
    assert deflated == DEFLATED
    alone = {line.name: line for line in evidence_lines(replace(full, study_trials=1))}
    undefined = {name for name, line in alone.items() if line.meaning == "not defined: fewer than two study trials"}
    assert undefined == DEFLATED


def test_both_variants_are_named_and_groups_stand_together():
    lines = evidence_lines(GOOD)
    names = {line.name for line in lines}
    assert {"PSR (2012)", "PSR (2026)", "DSR (2014)", "DSR (2026)", "Days needed (2012)", "Days needed (2026)"} <= names
    assert len(names) == len(lines)
    groups = [line.group for line in lines]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)
    assert all(groups)


def test_what_is_not_defined_says_why():
    alone = replace(GOOD, dsr=NAN, study_trials=1)
    line = next(line for line in evidence_lines(alone) if line.name == "DSR (2014)")
    assert (line.value, line.passed) == ("not defined", None)
    assert line.meaning == "not defined: fewer than two study trials"
    assert "share too few days" in deflation_in_words(replace(GOOD, dsr=NAN))
    assert "share too few days (12), or never" in deflation_in_words(replace(GOOD, dsr=NAN, common_days=12))
    assert "never moved" in track_record_in_words(replace(GOOD, minimum_track_record_days=NAN))
    assert "no record would do" in track_record_in_words(replace(GOOD, minimum_track_record_days=math.inf))
    assert "too short" in track_record_in_words(replace(GOOD, days=100))


def test_a_gate_is_read_from_a_file_and_written_as_plain_values(tmp_path):
    assert Gate.from_dict(Gate().to_dict()) == Gate()
    path = tmp_path / "gate.toml"
    path.write_text('[[criteria]]\nnumber = "sharpe"\nrelation = ">="\nbound = 3\nmeaning = "Sharpe ratio"\n')
    assert Gate.from_toml(path) == Gate((Criterion("sharpe", ">=", 3, "Sharpe ratio"),))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"number": "sharp"}, "evidence has no number 'sharp'"),
        ({"relation": "<"}, "relation must be >=, > or <="),
        ({"bound": "high"}, "bound must be a number"),
        ({"limit": 3}, "wanted criteria, each with number"),
        ({"bound": float("nan")}, "bound must be a number"),
        ({"required": "no"}, "required must be true or false"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(tmp_path, changed, text):
    good = {"number": "sharpe", "relation": ">=", "bound": 3.0, "meaning": "Sharpe ratio"}
    with pytest.raises(ValueError, match=text):
        Gate.from_dict({"criteria": [{**good, **changed}]})
    for wrong in ({}, {"criteria": {}}, {"criteria": []}, {"criteria": [good], "criterion": [good]}):
        with pytest.raises(ValueError, match="criteria"):
            Gate.from_dict(wrong)
    with pytest.raises(ValueError, match="nowhere"):
        Gate.from_toml(tmp_path / "nowhere.toml")


ALIKE = replace(GOOD, pbo=NAN, pbo_low=NAN, pbo_high=NAN, effective_trials=1.02, common_days=400.0)


def test_a_choice_among_trials_that_are_alike_is_not_demanded_to_be_sound():
    assert Gate().check(ALIKE) == ()
    line = next(line for line in evidence_lines(ALIKE) if line.name == "PBO, lower end")
    assert (line.passed, line.meaning) == (
        None,
        "not defined: the 7 study trials are alike, so that nothing was chosen",
    )
    found = verdict(replace(report_over(48), dossier=Dossier(ALIKE)))
    assert found.tone == "passed"
    assert "All study trials are alike" in found.reasons[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"effective_trials": 1.1},
        {"effective_trials": NAN},
        {"common_days": 39.0},
        {"common_days": NAN},
        {"pbo_low": 0.51},
    ],
)
def test_for_any_other_cause_it_is_demanded(changed):
    (reason,) = Gate().check(replace(ALIKE, **changed))
    assert reason.startswith("probability of backtest overfitting, lower end: ")


def test_only_the_choice_is_waived_and_only_where_the_gate_does_not_require_it():
    assert Gate().check(replace(ALIKE, dsr=NAN)) == ("the same, deflated by all study trials: not defined",)
    strict = Gate((Criterion("pbo", "<=", 0.3, "overfitting"),))
    assert strict.check(ALIKE) == ("overfitting: not defined",)


def test_words_say_what_rests_on_what():
    lines = {line.name: line.meaning for line in evidence_lines(GOOD)}
    assert "all here but the largest drawdown" in lines["Days out of sample"]
    assert "by bars" in lines["Largest drawdown"]
    assert "by daily returns" in lines["Drawdown, lower end"]
    assert lines["False discovery (2026)"].endswith("not adjusted for trials")
