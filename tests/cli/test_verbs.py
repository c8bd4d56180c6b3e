"""The command line: each verb over the same calls, one clear line and exit code 1 when the work fails."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from cryptoquant.backtest.simulator import simulate
from cryptoquant.cli.app import VERBS, app, guarded
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import MovingAverageCross
from cryptoquant.trading.venue import Costs

EXPERIMENT = """
name = "tiny"
features = [
    { name = "log_return", window = 3 },
    { name = "rsi", window = 14 },
    { name = "zscore", field = "volume", window = 48 },
]
model = { kind = "Logistic" }
strategy = { kind = "LongFlat", threshold = 0.52 }

[data]
symbols = ["BTC/USD"]
timeframe = "1h"

[label]
horizon = "12h"
take = 2.0
stop = 2.0

[splits]
train = "20d"
test = "10d"
embargo = "12h"
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A working folder whose places are all inside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("CQ_STORE", "CQ_REGISTRY", "CQ_TRIALS", "CQ_JOURNAL", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def call(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def filled(home: Path, days: int = 60) -> Store:
    store = Store(home / "data")
    market = SyntheticMarket(seed=3, symbols=("BTC/USD", "ETH/USD"), days=days, timeframe="15m")
    store.write("bars", market.bars("1h"), timeframe="1h")
    return store


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert "Usage:" in out


def test_wrong_usage_is_2_and_says_what_is_missing():
    code, _, said = call("download")
    assert code == 2
    assert "Missing argument" in said
    assert call("no-such-verb")[0] == 2
    assert call()[0] == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("backtest", "BTC/USD"), "holds no bars"),
        (("check",), "holds no"),
        (("status",), "no journal at"),
        (("replay",), "no journal at"),
        (("report",), "no journal at"),
        (("resume",), "no journal at"),
        (("stop",), "no trader writes"),
        (("walk-forward", "absent.toml"), "absent.toml"),
        (("paper", "nothing@champion"), "not registered"),
        (("promote", "nothing@1"), "not registered"),
        (("rollback", "nothing"), "not registered|no registered|not found"),
        (("download", "BTC/USD", "--start", "2024-02-01", "--end", "2024-01-01"), "lies after"),
        (("download", "BTC/USD", "--sandbox", "http://127.0.0.1:9"), "no sandbox answers"),
        (("record", "BTC/USD", "--seconds", "1"), "APCA_API_KEY_ID"),
        (("import", "absent.parquet"), "absent.parquet"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_exit_code_1(home, arguments, text):
    code, _, said = call(*arguments)
    assert code == 1, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    assert re.search(text, lines[0]), lines[0]
    assert "Traceback" not in said


def test_an_unknown_symbol_is_named_with_the_nearest_one(home):
    filled(home, 5)
    code, _, said = call("backtest", "BTC/USDT")
    assert code == 1
    assert "BTC/USDT" in said
    assert "BTC/USD" in said


def test_a_store_of_another_layout_is_refused(home):
    store = filled(home, 2)
    layout = store.root / "store.json"
    layout.write_text(re.sub(r"\d+", "99", layout.read_text()))
    code, _, said = call("check")
    assert code == 1
    assert "99" in said


def test_a_full_disk_is_one_clear_line(home, monkeypatch):
    import errno

    filled(home, 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr("cryptoquant.performance.report.Report.to_html", full)
    code, _, said = call("backtest", "BTC/USD", "--set", "fast=2", "--set", "slow=5", "--html", "report.html")
    assert code == 1
    assert said.strip() == "error: the disk is full: report.html"


def test_import_check_backtest_sweep_and_export_share_one_store(home):
    market = SyntheticMarket(seed=3, symbols=("BTC/USD",), days=20, timeframe="15m").bars("1h")
    market.drop("time", "known").rename({"open_time": "timestamp"}).write_csv(home / "bars.csv")
    assert call("import", "bars.csv")[0] == 0
    code, out, _ = call("check", "--json")
    assert code == 0
    assert json.loads(out)["clean"] is True
    rule = ("--set", "fast=3", "--set", "slow=12")
    code, out, _ = call("backtest", "BTC/USD", *rule, "--html", "page.html", "--json")
    assert code == 0
    assert (home / "page.html").stat().st_size > 10_000
    statistics = json.loads(out[out.index("{") :])
    code, out, _ = call("sweep", "BTC/USD", "--grid", "fast=3:6:1", "--grid", "slow=12,24", "--json", "--count", "9")
    assert code == 0
    rows = json.loads(out)
    assert len(rows) == 6
    (same,) = [row for row in rows if row["fast"] == 3 and row["slow"] == 12]
    assert same["sharpe"] == statistics["sharpe"]
    assert call("export", "out.parquet", "--timeframe", "1h")[0] == 0
    assert pl.read_parquet(home / "out.parquet").height == market.height


def test_a_study_is_registered_refused_promoted_as_challenger_and_rolled_back(home):
    filled(home)
    (home / "tiny.toml").write_text(EXPERIMENT)
    code, out, said = call("walk-forward", "tiny.toml", "--register", "tiny", "--json")
    assert code == 0, said
    found = json.loads(out)
    assert found["refused_by_gate"]
    assert (home / "report.html").is_file()
    code, _, said = call("promote", "tiny@1")
    assert code == 1
    assert "is not promoted to champion" in said
    assert call("register", "tiny.toml", "tiny")[0] == 0
    assert call("promote", "tiny@1", "--alias", "challenger")[0] == 0
    assert call("promote", "tiny@2", "--alias", "challenger")[0] == 0
    code, out, _ = call("rollback", "tiny", "--alias", "challenger")
    assert code == 0
    assert "tiny@1 is challenger again" in out
    code, out, _ = call("models", "--json")
    assert [(row["model"], row["alias"]) for row in json.loads(out)] == [("tiny@1", "challenger"), ("tiny@2", "")]
    assert {path.name for path in home.iterdir()} >= {"data", "mlflow.db", "mlartifacts", "trials.jsonl"}


def test_a_misspelt_parameter_is_named_with_the_nearest_one(home):
    filled(home, 5)
    for arguments in (("backtest", "BTC/USD", "--set", "slwo=100"), ("sweep", "BTC/USD", "--grid", "slwo=9,10")):
        code, _, said = call(*arguments)
        assert code == 1
        assert said.strip() == "error: strategy.slwo: unknown, did you mean 'slow'?"


def test_backtest_and_sweep_take_costs_and_an_execution_as_an_experiment_does(home):
    bars = filled(home, 20).bars("BTC/USD", "1h")
    terms = ("--costs", "schedule=binance", "--costs", "spread_bps=2", "--slippage-bps", "1")
    terms += ("--execution", "stop_loss=0.01", "--execution", "limit_bps=2", "--execution", "life=3h")
    code, out, said = call("backtest", "BTC/USD", "--set", "fast=3", "--set", "slow=12", *terms, "--json")
    assert code == 0, said
    costs = replace(Costs.of("binance", 1.0), spread_bps=2.0)
    execution = Execution(stop_loss=0.01, limit_bps=2.0, life=timedelta(hours=3))
    wanted = simulate(MovingAverageCross(3, 12), bars, costs, execution=execution).statistics
    assert json.loads(out) == json.loads(json.dumps(wanted.to_dict()))
    assert wanted.fills > 0
    code, out, said = call("sweep", "BTC/USD", "--grid", "fast=3,4", "--grid", "slow=12", *terms, "--json")
    assert code == 0, said
    (same,) = [row for row in json.loads(out) if row["fast"] == 3]
    assert same["fees"] == wanted.fees


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--costs", "shedule=binance"), "costs.shedule: unknown, did you mean 'schedule'?"),
        (("--execution", "stop_los=0.02"), "execution.stop_los: unknown, did you mean 'stop_loss'?"),
        (("--execution", "life=soon"), "execution.life: cannot read the timeframe 'soon'"),
        (("--tier", "2", "--costs", "maker_bps=1"), "costs: give a tier, a schedule, or both maker_bps and taker_bps"),
        (("--tier", "9"), "costs: Alpaca has fee tiers 1 to 8, found 9"),
    ],
)
def test_a_mistake_in_costs_or_execution_is_named_by_its_path(home, arguments, text):
    filled(home, 5)
    code, _, said = call("backtest", "BTC/USD", *arguments)
    assert code == 1
    assert text in said


def test_doctor_says_what_is_there(home):
    code, out, _ = call("doctor", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["Alpaca keys"].startswith("none")
    assert found["store"] == "data"


class Served:
    """A verb in a process of its own, until it is told to stop."""

    def __init__(self, home: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "cryptoquant.cli", *arguments]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, said = self.process.communicate(timeout=60)
        return self.process.returncode, out, said


def test_a_sandbox_serves_download_record_and_paper_of_other_processes(home):
    venue = Served(home, "sandbox", "--days", "40", "--speed", "3600", "--edge", "0.2")
    url = venue.line().split()[2].rstrip(",")
    try:
        code, out, said = call("download", "BTC/USD", "--timeframe", "1h", "--start", "2024-01-01", "--sandbox", url)
        assert code == 0, said
        assert re.search(r"[1-9]\d* bars of BTC/USD", out)
        code, out, said = call("record", "BTC/USD", "--seconds", "2", "--sandbox", url, "--json")
        assert code == 0, said
        assert json.loads(out.splitlines()[-1])["written"]["bars"] > 0
        (home / "tiny.toml").write_text(EXPERIMENT.replace('train = "20d"', 'train = "10d"').replace('"10d"', '"5d"'))
        assert call("register", "tiny.toml", "tiny")[0] == 0
        trader = Served(home, "paper", "tiny@1", "--sandbox", url)
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            code, out, _ = call("status", "--json")
            if code == 0 and json.loads(out)["slices"] >= 2:
                break
            assert trader.process.poll() is None, trader.process.communicate()[1]
            time.sleep(0.3)
        assert code == 0, trader.stop(signal.SIGTERM)
        found = json.loads(out)
        assert found["running"] is True
        assert call("stop")[0] == 0
        out, said = trader.process.communicate(timeout=60)
        assert trader.process.returncode == 0, said
        assert "stopped" in out
        assert json.loads(call("status", "--json")[1])["running"] is False
        assert call("replay")[0] == 0
        assert json.loads(call("report", "--json")[1])["periods"] >= 2
        assert call("resume")[0] == 0
    finally:
        code, out, said = venue.stop(signal.SIGTERM)
    assert code == 0, said
    assert "sandbox stopped" in out


def test_an_interrupt_that_falls_into_a_finalizer_is_not_lost():
    class Mortal:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    @guarded
    def verb() -> None:
        Mortal()
        time.sleep(20)

    began, before = time.monotonic(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as ended:
            verb()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 1
    assert time.monotonic() - began < 10


def test_an_interrupted_demo_ends_with_one_line_and_goes_on_from_there(home):
    demo = Served(home, "demo", "--folder", "demo")
    while "[2/6]" not in demo.line():
        assert demo.process.poll() is None
    time.sleep(0.7)
    code, _, said = demo.stop(signal.SIGINT)
    assert code == 1
    assert said.strip().startswith("error: interrupted")
    assert len(said.strip().splitlines()) == 1
    assert not list((home / "demo").rglob("*.tmp*"))
