import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest

import cryptoquant as cq
from cryptoquant import features as f
from tests.examples.notebook_cells import ROOT, SCRIPTS

CLUSTER = ROOT / "examples" / "cluster.py"
PAPER_TRADE = ROOT / "examples" / "paper_trade.py"
ORDERS = ROOT / "examples" / "orders.py"
STRATEGIES = ROOT / "examples" / "strategies.py"
FEATURES = ROOT / "examples" / "features.py"
RECORDING = ROOT / "examples" / "recording.py"
REPORT = ROOT / "examples" / "report.py"
TRADING_DAY = ROOT / "examples" / "trading_day.py"


@pytest.fixture(scope="module")
def venue():
    with cq.Sandbox(seed=7, symbols=["BTC/USD"], edge=0.2, days=60, history=timedelta(days=59), lockstep=True) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def champion(venue, folder):
    """A registered bundle in a folder that is laid out as the settings expect it; the gate is left open."""
    store = cq.Store(folder / "data")
    cq.download(store, "BTC/USD", "1h", start="2024-01-01", source=venue.alpaca())
    features = cq.FeatureSet([f.log_return(1), f.zscore("volume", 48)])
    bars = store.bars("BTC/USD", "1h")
    dataset = cq.Dataset.build(bars, features, label=f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=12)))
    study = cq.walk_forward(
        dataset,
        cq.models.Logistic(),
        cq.strategy.LongFlat(threshold=0.5),
        splits=cq.WalkForward(train=timedelta(days=30), test=timedelta(days=15)),
        ledger=cq.TrialLedger(folder / "trials.jsonl"),
    )
    registry = cq.Registry(f"sqlite:///{folder / 'mlflow.db'}")
    registry.promote(registry.register("btc-1h", study), "champion", gate=cq.Gate(criteria=()))
    return "btc-1h@champion"


def unset():
    """The environment without settings; machine code is the same wherever it is kept."""
    ours = ("CQ_", "APCA_", "ALPACA_")
    return {name: value for name, value in os.environ.items() if name == "CQ_CACHE" or not name.startswith(ours)}


def run(reference, folder, **variables):
    clean = unset()
    return subprocess.run(
        [sys.executable, str(PAPER_TRADE), reference],
        cwd=folder,
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_script_of_the_examples_is_tested_here():
    assert SCRIPTS == [CLUSTER, FEATURES, ORDERS, PAPER_TRADE, RECORDING, REPORT, STRATEGIES, TRADING_DAY]


def test_the_paper_trading_script_trades_six_hours_on_a_running_sandbox(venue, champion, folder):
    began = venue.status()["now"]
    done = run(champion, folder, CQ_SANDBOX=venue.url)
    assert done.returncode == 0, done.stderr
    assert "slices=6" in done.stdout
    assert f"{champion} on paper" in done.stdout
    assert began < venue.status()["now"]
    again = cq.replay(folder / "journal.sqlite")
    assert again.is_equal
    assert (again.start.on_stop, again.start.limits.max_daily_loss) == ("close", 0.05)


def test_the_paper_trading_script_is_shorter_than_thirty_lines():
    assert len(PAPER_TRADE.read_text(encoding="utf-8").splitlines()) < 30


def test_the_paper_trading_script_without_keys_ends_with_an_error_and_no_trade(champion, folder):
    done = run(champion, folder, CQ_JOURNAL="without-keys.sqlite")
    assert done.returncode == 1
    assert "APCA_API_KEY_ID" in done.stderr


def on_a_trading_day(folder, *arguments):
    clean = unset()
    command = [sys.executable, str(TRADING_DAY), *arguments]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300)


def test_the_script_of_the_trading_day_tells_the_profit_of_each_rule_and_of_the_account(tmp_path):
    done = on_a_trading_day(tmp_path, "all", "--days", "2", "--capital", "20000", "--folder", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    *rules, account = done.stdout.splitlines()
    found = {}
    for line in rules:
        name, rest = line.split(maxsplit=1)
        numbers = re.fullmatch(r"([+-][\d,]+\.\d\d) USD, (\d+) fills, (\d+) refused, ([\d,]+\.\d\d) in fees", rest)
        profit, fills, refused, fees = (float(text.replace(",", "")) for text in numbers.groups())
        found[name] = profit
        assert fills > 0 or refused > 0
        assert (fills > 0) == (fees > 0)
    assert list(found) == ["overnight", "momentum", "hours"]
    equity, spare = (float(text.replace(",", "")) for text in re.findall(r"([\d,]+\.\d\d)", account))
    assert spare == 40_000.0
    assert equity == pytest.approx(100_000.0 + sum(found.values()), abs=0.03)
    for name in found:
        assert cq.replay(tmp_path / "kept" / "journal.sqlite", profile=name).is_equal


def test_the_script_of_the_trading_day_says_how_it_is_used(tmp_path):
    done = on_a_trading_day(tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for option in ("--symbol", "--capital", "--quantity", "--zone", "--open", "--close", "--days", "--paper"):
        assert option in done.stdout
    assert on_a_trading_day(tmp_path, "nonsense").returncode == 2


def test_the_script_of_strategies_trades_each_of_them():
    done = subprocess.run([sys.executable, str(STRATEGIES)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert all(int(line.rsplit(" ", 1)[1]) > 0 for line in lines)


def test_the_script_of_features_proves_them_causal_and_finds_the_present_in_history():
    done = subprocess.run([sys.executable, str(FEATURES)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2,880 rows of 68 columns from 50 features"
    assert lines[1] == "no column changed when the future did"
    assert lines[2] == "the present is the last row of history: True"


def test_the_script_of_orders_compares_venues_and_exits():
    done = subprocess.run([sys.executable, str(ORDERS)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    venues = [re.findall(r"return ([+-][\d.]+)% to ([+-][\d.]+)% .* fees (\d+)", line)[0] for line in lines[1:5]]
    assert all(float(worst) < float(best) for worst, best, _ in venues)
    assert len({fees for _, _, fees in venues}) > 1
    exits = [re.findall(r"sharpe ([+-][\d.]+)  trades (\d+)", line)[0] for line in lines[6:]]
    assert len(exits) == 9
    assert all(int(trades) > 0 for _, trades in exits)
    sharpes = [float(sharpe) for sharpe, _ in exits]
    assert sharpes == sorted(sharpes, reverse=True)


def test_the_script_of_recording_loses_and_doubles_nothing():
    done = subprocess.run([sys.executable, str(RECORDING)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "trades of an hour: 180, each once" in done.stdout
    assert "own tables: 28 rows made from ['trades']" in done.stdout
    assert done.stdout.endswith("clean\n")


@pytest.mark.deep
def test_two_nodes_of_ray_give_the_study_of_one_process(tmp_path):
    pytest.importorskip("ray", reason='needs pip install "cryptoquant[ray]"')
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a network of its own: run where unprivileged user namespaces are allowed")
    done = subprocess.run(
        [sys.executable, str(CLUSTER)], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "nodes: 2" in done.stdout
    assert "the same as in one process: True" in done.stdout
