"""The gate: what passes, what fails and why, and what is not defined."""

import math
from dataclasses import replace

import pytest

from cryptoquant.performance.evidence import Criterion, Evidence, Gate
from cryptoquant.performance.evidence_lines import deflation_in_words, evidence_lines, track_record_in_words
from tests.performance.reports import GOOD

NAN = math.nan


def test_good_evidence_passes_and_survives_a_round_trip():
    assert Gate().check(GOOD) == ()
    assert Evidence.from_dict(GOOD.to_dict()) == GOOD


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        ("psr", 0.94, "probability of a Sharpe ratio above zero: 0.94, wanted >= 0.95"),
        ("psr", NAN, "probability of a Sharpe ratio above zero: not defined"),
        ("dsr", 0.5, "the same, deflated by all study trials: 0.5, wanted >= 0.95"),
        ("sharpe_low", 0.0, "lower end of the bootstrap interval of the Sharpe ratio: 0, wanted > 0"),
        ("sharpe_double_costs", -0.1, "Sharpe ratio at twice the costs: -0.1, wanted > 0"),
        ("round_trips", 29, "closed positions: 29, wanted >= 30"),
        ("days", 89, "days out of sample: 89, wanted >= 90"),
    ],
)
def test_each_demand_fails_with_its_own_reason(number, value, words):
    assert Gate().check(replace(GOOD, **{number: value})) == (words,)


def test_a_missing_deflation_is_waived_for_the_first_study_trial_only():
    assert Gate().check(replace(GOOD, dsr=NAN, study_trials=1)) == ()
    assert Gate().check(replace(GOOD, dsr=NAN, study_trials=2)) == (
        "the same, deflated by all study trials: not defined",
    )


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


def test_what_is_not_defined_says_why():
    alone = replace(GOOD, dsr=NAN, study_trials=1)
    line = next(line for line in evidence_lines(alone) if line.name == "DSR (2014)")
    assert (line.value, line.passed) == ("not defined", None)
    assert line.meaning == "not defined: fewer than two study trials"
    assert "share too few days" in deflation_in_words(replace(GOOD, dsr=NAN))
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
        ({"relation": "<"}, "relation must be >= or >"),
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
    for wrong in ({}, {"criteria": {}}, {"criteria": [good], "criterion": [good]}):
        with pytest.raises(ValueError, match="criteria"):
            Gate.from_dict(wrong)
    with pytest.raises(ValueError, match="nowhere"):
        Gate.from_toml(tmp_path / "nowhere.toml")
