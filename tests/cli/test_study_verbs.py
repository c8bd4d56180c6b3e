"""Studies from the command line: killed and gone on with, kept, read again, and held against placebo markets."""

import json
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
