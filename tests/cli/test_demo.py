"""The demo, whole: what the README promises of it."""

import re

import pytest
from typer.testing import CliRunner

from cryptoquant.cli.app import app


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["demo", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_demo_runs_the_whole_river_and_its_paper_trades_equal_the_backtest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run()
    assert "planted edge" in said
    assert "btc-eth-1h-edge@1 is champion" in said
    assert "replay of the journal: the same orders" in said
    (orders, fills) = re.findall(r"all (\d+) live orders and (\d+) fills equal the backtest's on the same bars", said)[
        0
    ]
    assert int(orders) > 3
    assert int(fills) > 3
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written >= {"report-edge.html", "store-edge", "mlflow.db", "journal.sqlite", "trials.jsonl"}
    page = (tmp_path / "demo" / "report-edge.html").read_text()
    assert "planted edge" in page
    assert "Passes the gate" in page


@pytest.mark.deep
def test_the_demo_on_noise_shows_the_refusal_and_a_second_run_counts_no_new_trial(tmp_path):
    for version in (1, 2):
        said = run("--noise", "--folder", str(tmp_path))
        assert f"btc-eth-1h-noise@{version} is registered, and refused as champion" in said
        assert "probability of a Sharpe ratio above zero" in said
        assert "[6/6]" not in said
    assert len([line for line in (tmp_path / "trials.jsonl").read_text().splitlines() if '"study"' in line[:20]]) == 2
