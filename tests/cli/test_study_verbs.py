"""Studies from the command line: killed and gone on with, kept, read again, and held against placebo markets."""

import json
import re
from pathlib import Path

import pytest

from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.performance.report import Report
from tests.cli.test_verbs import EXPERIMENT, call

RULE = """
name = "rule"

[data]
symbols = ["BTC/USD"]
timeframe = "1h"

[strategy]
kind = "Momentum"
window = 24

[tune_strategy]
trials = 3

[tune_strategy.space]
window = [6, 48]

[splits]
train = "20d"
test = "10d"
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A working folder with sixty days of bars and two experiments."""
    monkeypatch.chdir(tmp_path)
    for name in ("CQ_STORE", "CQ_REGISTRY", "CQ_TRIALS", "CQ_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    bars = SyntheticMarket(seed=5, symbols=["BTC/USD"], days=60, timeframe="1h").bars()
    Store(tmp_path / "data").write("bars", bars)
    (tmp_path / "rule.toml").write_text(RULE)
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    return tmp_path


def test_a_rule_is_studied_stressed_kept_and_read_again(home):
    code, out, said = call("walk-forward", "rule.toml", "--json", "--save", "kept.cqr", "--resume", "folds")
    assert code == 0, said
    told, page = json.loads(out), (home / "report.html").read_text()
    assert {"statistics", "evidence", "robustness", "refused_by_gate", "report"} <= set(told)
    assert {"costs", "delay", "bars", "parameters"} <= {row["family"] for row in told["robustness"]}
    assert len(list((home / "folds").rglob("*.npz"))) == 4
    assert Report.read(home / "kept.cqr").dossier.robustness.frame.height == len(told["robustness"])
    again = json.loads(call("walk-forward", "rule.toml", "--json", "--resume", "folds", "--no-stress")[1])
    assert again["evidence"] == told["evidence"]
    assert again["robustness"] == []
    code, out, _ = call("report", "kept.cqr", "--html", "kept.html")
    assert code == 0
    assert "Robustness" in out
    assert (home / "kept.html").read_text() == page != (home / "report.html").read_text()


def test_a_rule_is_not_registered_and_says_why(home):
    code, _, said = call("register", "rule.toml", "rule")
    assert code == 1
    assert "a rule over bars has no predictor to keep in a bundle" in said


def test_placebo_counts_what_passes_and_goes_on_where_it_was(home):
    code, out, said = call("placebo", "tiny.toml", "--runs", "1", "--power-runs", "0", "--json")
    assert code == 0, said
    rates = json.loads(out)["rates"]
    assert [(row["market"], row["runs"]) for row in rates] == [("random walk", 1), ("shuffled", 1)]
    lines = (home / "placebo.jsonl").read_text().splitlines()
    assert len(lines) == 2
    code, out, _ = call("placebo", "tiny.toml", "--runs", "1", "--power-runs", "0", "--budget", "1m")
    assert code == 0
    assert (home / "placebo.jsonl").read_text().splitlines() == lines
    assert "random walk" in out
    assert not (home / "trials.jsonl").exists()


def test_what_is_done_is_shown_when_the_budget_ends(home):
    many = ("placebo", "tiny.toml", "--runs", "50000", "--power-runs", "1", "--budget", "1s")
    code, out, said = call(*many)
    assert code == 0, said
    assert "random walk" in out
    assert "its demands on DSR and PBO waived" in out
    assert re.search(r"the budget ended after \d+ of 100000 placebo studies", out)
    assert "the budget ended before the edges of the power curve were found" in out
    assert "no planted edge" not in out
    told = json.loads(call(*many, "--json")[1])
    done = sum(row["runs"] for row in told["rates"])
    assert 0 < done == len((home / "placebo.jsonl").read_text().splitlines())
    assert told["ended"][0] == f"the budget ended after {done} of 100000 placebo studies"
    nothing = ("placebo", "--days", "200", "--runs", "0", "--power-runs", "0")
    assert call(*nothing)[0] == 0
    code, out, said = call(*nothing, "--json")
    assert code == 0, said
    assert (json.loads(out)["rates"], json.loads(out)["ended"]) == ([], [])


def test_what_is_done_is_shown_when_no_edge_is_strong_enough(home):
    (home / "lazy.toml").write_text(EXPERIMENT.replace("threshold = 0.52", "threshold = 0.999"))
    code, out, said = call("placebo", "lazy.toml", "--runs", "1", "--power-runs", "1")
    assert code == 1
    assert "no planted edge gives this pipeline a Sharpe ratio of 1" in said
    assert "random walk" in out


def test_the_trials_that_deflate_are_an_option(home):
    code, out, said = call("placebo", "tiny.toml", "--runs", "1", "--power-runs", "0", "--trials", "4", "--json")
    assert code == 0, said
    assert [row["trials"] for row in json.loads(out)["rates"]] == [4, 4]
    code, out, _ = call("placebo", "tiny.toml", "--runs", "1", "--power-runs", "0", "--trials", "4")
    assert "deflated by 4 study trials" in out


def test_the_file_of_another_length_is_no_answer(home):
    counted = []
    for days in ("300", "200"):
        code, out, said = call("placebo", "--days", days, "--runs", "1", "--power-runs", "0", "--json")
        assert code == 0, said
        counted.append(json.loads(out)["rates"][0]["sharpe"])
    assert len((home / "placebo.jsonl").read_text().splitlines()) == 2
    assert counted[0] != counted[1]


def test_a_budget_that_is_no_span_is_named(home):
    code, _, said = call("placebo", "tiny.toml", "--runs", "1", "--budget", "soon")
    assert code == 1
    assert "soon" in said


def test_a_gate_that_is_wrong_is_named_before_anything_runs(home):
    (home / "gate.toml").write_text('[[criteria]]\nnumber = "luck"\nrelation = ">="\nbound = 1.0\nmeaning = "m"\n')
    code, _, said = call("placebo", "tiny.toml", "--gate", "gate.toml")
    assert code == 1
    assert "luck" in said
    assert not (home / "placebo.jsonl").exists()


@pytest.mark.parametrize("wrong", [("--runs", "-1"), ("--power-runs", "-1"), ("--trials", "0"), ("--days", "0")])
def test_a_count_that_makes_no_sense_is_wrong_usage(home, wrong):
    code, _, said = call("placebo", *wrong)
    assert code == 2
    assert wrong[0] in said
