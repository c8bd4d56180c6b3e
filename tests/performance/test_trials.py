"""The ledger counts each configuration once, and survives crashes and company."""

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.errors import DataError
from cryptoquant.performance.metrics import sharpe_ratio
from cryptoquant.performance.selection import NUMBERS
from cryptoquant.performance.trials import StudyTrial, TrialLedger, recount, variance_of_ratios
from tests.performance.reports import GOOD


def trial(key: str, returns, first: int = 0, study: str = "s") -> StudyTrial:
    values = np.asarray(returns, dtype=float)
    return StudyTrial(study, key, np.arange(first, first + len(values), dtype=np.int64), values, {"key": key})


def add_many(path: Path, name: str, count: int, start) -> None:
    ledger = TrialLedger(path)
    start.wait(60)
    for number in range(count):
        ledger.add_study_trial(trial(f"{name}-{number}", np.full(3, 0.01)))


@pytest.fixture(params=["memory", "file"])
def ledger(request, tmp_path):
    return TrialLedger(tmp_path / "deep" / "trials.jsonl" if request.param == "file" else None)


def test_a_configuration_counts_once_with_its_last_run(ledger):
    ledger.add_study_trial(trial("a", [0.01, 0.02]))
    ledger.add_study_trial(trial("b", [0.03, 0.01]))
    ledger.add_study_trial(trial("a", [0.05, 0.07]))
    ledger.add_study_trial(trial("a", [0.0, 0.1], study="another"))
    found = ledger.study_trials("s")
    assert [one.key for one in found] == ["a", "b"]
    assert found[0].returns.tolist() == [0.05, 0.07]
    assert found[0].settings == {"key": "a"}


def test_a_trial_that_never_traded_counts_with_a_ratio_of_zero_and_disjoint_days_are_not_defined(ledger):
    ledger.add_study_trial(trial("a", [0.01, 0.02, -0.01]))
    ledger.add_study_trial(trial("idle", [0.0, 0.0, 0.0]))
    assert ledger.sharpes("s").tolist() == [sharpe_ratio(np.array([0.01, 0.02, -0.01])), 0.0]
    ledger.add_study_trial(trial("later", [0.01, 0.02], first=50))
    assert np.isnan(ledger.sharpes("s")).all()


def test_tuning_trials_are_counted_apart(ledger):
    ledger.add_tuning_trials("s", "a", 0, [{"score": 1.0}, {"state": "pruned"}])
    ledger.add_tuning_trials("s", "a", 1, [{"score": float("nan")}])
    assert ledger.tuning_count("s") == 3
    assert ledger.study_trials("s") == []
    assert len(ledger.sharpes("s")) == 0


def test_every_line_is_strict_json(tmp_path):
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    path = tmp_path / "trials.jsonl"
    TrialLedger(path).add_study_trial(trial("a", [0.01, np.nan]))
    TrialLedger(path).add_tuning_trials("s", "a", 0, [{"score": float("nan"), "params": {"depth": float("inf")}}])
    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["study", "tuning"]
    assert np.isnan(TrialLedger(path).study_trials("s")[0].returns[1])


def test_sharpe_ratios_use_the_days_common_to_all_trials(ledger):
    first, second = [0.01, 0.02, -0.01, 0.03, 0.5], [0.02, -0.01, 0.01, 0.4]
    ledger.add_study_trial(trial("a", first))
    ledger.add_study_trial(trial("b", second, first=1))
    common = [sharpe_ratio(np.array(first[1:])), sharpe_ratio(np.array(second))]
    assert ledger.sharpes("s").tolist() == pytest.approx(common)
    ledger.add_study_trial(trial("c", [0.1, 0.2], first=100))
    assert np.isnan(ledger.sharpes("s")).all()


@pytest.mark.parametrize("torn", [b'{"kind": "study", "stu', b'{"kind": "study"}'])
def test_a_torn_last_line_is_as_if_it_was_never_written(tmp_path, torn):
    path = tmp_path / "trials.jsonl"
    TrialLedger(path).add_study_trial(trial("a", [0.01, 0.02]))
    with path.open("ab") as file:
        file.write(torn)
    assert [one.key for one in TrialLedger(path).study_trials("s")] == ["a"]
    TrialLedger(path).add_study_trial(trial("b", np.full(3_000, 0.01)))
    assert [one.key for one in TrialLedger(path).study_trials("s")] == ["a", "b"]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "trials.jsonl"
    TrialLedger(path).add_study_trial(trial("a", [0.01]))
    path.write_bytes(path.read_bytes() + b"garbage\n")
    TrialLedger(path).add_study_trial(trial("b", [0.01]))
    with pytest.raises(DataError, match="line 2 is not readable"):
        TrialLedger(path).study_trials("s")


@pytest.mark.skipif(sys.platform == "win32", reason="file locks are POSIX")
def test_two_processes_append_at_once_without_losing_a_trial(tmp_path):
    path = tmp_path / "trials.jsonl"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=add_many, args=(path, name, 300, start)) for name in ("left", "right")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(TrialLedger(path).study_trials("s")) == 600


def test_the_returns_stand_side_by_side_on_their_common_days(ledger):
    assert ledger.returns("s").matrix.shape == (0, 0)
    ledger.add_study_trial(trial("a", [0.01, 0.02, -0.01, 0.03]))
    ledger.add_study_trial(trial("b", [0.05, 0.06, 0.07, 0.08], first=2))
    times, matrix, keys = ledger.returns("s")
    assert (times.tolist(), keys) == ([2, 3], ("a", "b"))
    assert matrix.tolist() == [[-0.01, 0.05], [0.03, 0.06]]
    ledger.add_study_trial(trial("later", [0.1], first=100))
    assert ledger.returns("s").matrix.shape == (0, 3)


def test_evidence_is_deflated_anew_by_the_trials_that_came_later(ledger):
    rng = np.random.default_rng(0)
    ledger.add_study_trial(trial("own", 0.001 + 0.01 * rng.standard_normal(200)))
    first = replace(GOOD, study_trials=1, **dict.fromkeys(NUMBERS, float("nan")))
    assert recount(first, ledger, "s", "own") is first
    assert recount(first, ledger, "s", "stranger") is first
    for number in range(30):
        ledger.add_study_trial(trial(str(number), 0.01 * rng.standard_normal(200)))
    later = recount(first, ledger, "s", "own")
    assert later.study_trials == 31
    assert 0 < later.dsr < 0.95
    found = {name: value for name, value in later.to_dict().items() if np.isfinite(value)}
    assert set(found) - {name for name, value in first.to_dict().items() if np.isfinite(value)} == set(NUMBERS)
    assert recount(later, ledger, "s", "own") == later
    assert recount(replace(later, study_trials=40), ledger, "s", "own").study_trials == 40


def test_evidence_of_an_older_version_gets_the_numbers_that_it_lacks(ledger):
    rng = np.random.default_rng(2)
    for key in ("own", "other"):
        ledger.add_study_trial(trial(key, 0.01 * rng.standard_normal(100)))
    older = replace(GOOD, study_trials=2, pbo=float("nan"))
    assert 0.0 <= recount(older, ledger, "s", "own").pbo <= 1.0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 80))
def test_on_one_calendar_the_variance_of_ratios_is_the_plain_one(seed, count, days):
    rng = np.random.default_rng(seed)
    trials = [trial(str(number), rng.standard_normal(days) + 0.1) for number in range(count)]
    sharpes = [sharpe_ratio(one.returns) for one in trials]
    assert variance_of_ratios(trials, trials[0].times) == pytest.approx(np.var(sharpes, ddof=1), rel=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_each_pair_counts_on_its_own_days_by_their_part_of_the_calendar(seed, count):
    """Three loops: the days of the calendar that both have, their ratios, the halved square times the part."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        first = int(rng.integers(0, 30))
        trials.append(trial(str(number), rng.standard_normal(int(rng.integers(45, 90))), first))
    calendar = np.arange(10, 90)
    halves = []
    for place, one in enumerate(trials):
        for other in trials[:place]:
            days = [day for day in calendar if day in one.times and day in other.times]
            ratios = [sharpe_ratio(each.returns[np.isin(each.times, days)]) for each in (one, other)]
            halves.append((ratios[0] - ratios[1]) ** 2 / 2 * len(days) / len(calendar))
    assert variance_of_ratios(trials, calendar) == pytest.approx(np.mean(halves), rel=1e-9)


def test_pairs_without_common_days_have_no_variance_and_idle_trials_have_a_ratio_of_zero():
    one, idle = trial("a", [0.01, 0.02, -0.01]), trial("idle", [0.0, 0.0, 0.0])
    assert variance_of_ratios([one, idle], one.times) == pytest.approx(sharpe_ratio(one.returns) ** 2 / 2)
    assert np.isnan(variance_of_ratios([one, trial("later", [0.1, 0.2], first=2)], one.times))
    assert np.isnan(variance_of_ratios([one], one.times))


def test_without_skill_the_variance_is_that_of_the_calendar_whatever_a_short_trial_adds():
    """Without skill a quick trial of 60 of 1,000 days leaves the variance where the length puts it: one in 1,000."""
    rng, found = np.random.default_rng(8), []
    for _ in range(100):
        trials = [trial("quick", rng.standard_normal(60))]
        trials += [trial(str(number), rng.standard_normal(1_000)) for number in range(4)]
        found.append(variance_of_ratios(trials, trials[1].times))
    assert np.mean(found) == pytest.approx(0.001, rel=0.15)
