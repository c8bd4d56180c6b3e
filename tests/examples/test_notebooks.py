import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.examples.notebook_cells import NOTEBOOKS, ROOT, SCRIPTS, code_cells, code_of

# What the prose of a notebook promises: the last line of a cell, and the value that it shows.
PROMISES = {
    "evidence": {
        "study.evidence.study_trials": "3",
        "round(float(study.report.to_vectorbt().total_return() - study.report.statistics.total_return), 9)": "0.0",
        "{symbol: one.evidence.study_trials for symbol, one in each.items()}": "{'BTC/USD': 2, 'ETH/USD': 2}",
    },
    "five_days": {
        "done.state, done.now, done.spare": "('stopped', '2024-05-04T00:00:00Z', 20000.0)",
        'days.filter(pl.col("fills") > 0)["day"].n_unique()  # days on which anyone traded': "5",
        'refused.group_by("reason").len().rows()': "[('more than is held: the venue is spot and long only', 48)]",
        "all(abs(totals[name] - one.profit) < 0.005 for name, one in done.profiles.items())": "True",
        "abs(coins - venue.quantity(pair)) < 1e-9 and abs(cash - venue.cash_value) < 0.01": "True",
        'str(compared["model"])': '"all 7 live orders and 7 fills equal the backtest\'s on the same bars"',
        "[name for name, one in replays.items() if not one.is_equal]  # that differ from the journal": "[]",
    },
    "learning": {
        "paths.paths.shape  # whole histories that are made of test blocks": "(5, 6)",
        "recurrent.fit(train).predict(test.features[:20]).shape  # one value for each complete window": "(5,)",
        'registry.rollback("hourly", "champion")': "Version(name='hourly', number=1)",
        "[drift.judge(rows).is_alarm for rows in (train.features[-window:], shifted)]": "[False, True]",
    },
    "rule": {},
    "model": {
        "np.array_equal(row, features.compute_panel(panel)[-1])": "True",
        "cq.Gate().check(study.evidence)": "()",
        'registry.aliases("btc-eth-1h")': "{'challenger': 2, 'champion': 1}",
        'registry.rollback("btc-eth-1h", "champion")': "Version(name='btc-eth-1h', number=1)",
        "again.is_equal": "True",
    },
}

names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["evidence", "five_days", "learning", "model", "rule"]


@names
def test_a_notebook_is_committed_without_outputs(path):
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


@names
def test_a_notebook_runs_keeps_its_promises_and_writes_nothing_beside_itself(path, tmp_path, monkeypatch):
    shown = run(path, tmp_path, monkeypatch)
    for line, value in PROMISES[path.stem].items():
        assert shown[line][-1].data["text/plain"] == value
    assert list((tmp_path / "beside").iterdir()) == []


def test_learning_goes_the_same_way_on_real_bars(real_market, tmp_path, monkeypatch):
    monkeypatch.setenv("REAL_BARS", str(real_market / "bars" / "binance_5m_2024"))
    shown = run(ROOT / "examples" / "learning.ipynb", tmp_path, monkeypatch)
    assert shown["dataset"][-1].data["text/plain"].startswith("Dataset(11,960 bars, not computed yet, BTC/USDT")
    assert shown['registry.aliases("hourly")'][-1].data["text/plain"] == "{}"
    assert "is not promoted to champion" in shown['registry.aliases("hourly")'][0].text


def run(path, folder, monkeypatch):
    """Execute a notebook in a folder of its own; return what each cell shows, by its last line."""
    for variable in [name for name in os.environ if name.startswith(("CQ_", "APCA_", "ALPACA_"))]:
        if variable != "CQ_CACHE":  # machine code, which is the same wherever it is kept
            monkeypatch.delenv(variable)
    monkeypatch.setenv("TMPDIR", str(folder))
    (folder / "beside").mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder / "beside")}}
    )
    client.execute()
    return {cell.source.splitlines()[-1]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def test_notebooks_and_scripts_type_check_strictly(tmp_path):
    modules = []
    for path in NOTEBOOKS:
        module = tmp_path / f"notebook_{path.stem}.py"
        module.write_text(code_of(path), encoding="utf-8")
        modules.append(module)
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, [*modules, *SCRIPTS])]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
