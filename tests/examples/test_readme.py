import os
import re
import subprocess
import sys
import tomllib

import cryptoquant as cq
from cryptoquant.backtest.experiment import section_of
from cryptoquant.backtest.sandbox import FAULT_KINDS
from cryptoquant.cli.app import VERBS
from cryptoquant.cli.operate import PROFILE_VERBS
from cryptoquant.cli.profile_file import ProfileSection
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.live.operator import changed
from cryptoquant.live.replay import replay_all
from cryptoquant.performance.evidence import Gate
from cryptoquant.trading import strategy
from tests.examples.notebook_cells import ROOT

COMMANDS = [*VERBS, "profile"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(<!-- needs keys -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language, *, with_keys):
    return [text for keys, name, text in BLOCK.findall(README) if name == language and bool(keys) is with_keys]


def test_every_python_block_of_the_readme_runs_as_it_stands(tmp_path):
    market = cq.SyntheticMarket(symbols=["BTC/USD"], days=30, timeframe="1h")
    cq.Store(tmp_path / "data").write("bars", market.bars())
    runnable = blocks("python", with_keys=False)
    assert len(runnable) == 9
    set_by_hand = [name for name in os.environ if name.startswith(("CQ_", "APCA_", "ALPACA_")) and name != "CQ_CACHE"]
    clean = {name: value for name, value in os.environ.items() if name not in set_by_hand}
    command = [sys.executable, "-c", "\n".join(runnable)]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "MovingAverageCross(fast=24, slow=168" in done.stdout
    brackets = done.stdout.split("\nbrackets\n")[1]
    assert int(re.search(r"Closed trades +(\d+)", brackets).group(1)) > 5
    assert re.search(r"Refused orders +0\b", brackets)
    assert cq.Store(tmp_path / "sandbox-data").symbols() == ["BTC/USD"]
    troubled = done.stdout.split("\nfills ")[1].splitlines()
    assert int(troubled[0]) > 0
    assert troubled[1:3] == ["struck {'http.accepted': 1, 'data.duplicate': 3}", "restored True"]
    assert {one.start.profile: one.is_equal and len(one.fills) > 0 for one in paper_of(tmp_path)} == {
        "overnight": True,
        "hours": True,
        "ghost": True,
    }


def paper_of(folder):
    return replay_all(folder / "paper.sqlite").values()


def test_a_python_block_that_needs_keys_compiles_and_uses_names_that_exist():
    for text in blocks("python", with_keys=True):
        compile(text, "README.md", "exec")
        for name in re.findall(r"\bcq\.(\w+)", text):
            assert name in cq.__all__


def test_the_readme_lists_every_verb_once_and_no_other():
    table = README.split("## The command line")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert sorted(re.findall(r"`([\w-]+)`", "\n".join(rows))) == sorted(COMMANDS)
    used = re.findall(r"^cryptoquant ([\w-]+)", "".join(blocks("sh", with_keys=True)), re.MULTILINE)
    assert used
    assert set(used) <= set(COMMANDS)


def test_the_readme_tells_the_demands_of_the_gate():
    table = README.split("| number | wanted |\n|---|---|\n")[1].split("\n\n")[0]
    rows = table.splitlines()
    bounds = [criterion.bound for criterion in Gate().criteria]
    assert [float(re.findall(r"[\d.]+", row.rsplit("|", 2)[1])[0]) for row in rows] == bounds


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert "docs/report.png" in links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_the_changelog_has_a_line_for_each_public_name_and_verb():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names, verbs = changelog.split("\nCommand line\n")
    assert sorted(re.findall(r"^- `(\w+)`:", names, re.MULTILINE)) == sorted(cq.__all__)
    heads = [line.split(":")[0] for line in verbs.splitlines() if line.startswith("- ")]
    assert sorted(re.findall(r"`([\w-]+)`", "\n".join(heads))) == sorted(COMMANDS)


def test_the_changelog_opens_with_the_version_of_the_package():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[([^\]]+)\]", changelog, re.MULTILINE).group(1) == cq.__version__


def test_the_readme_lists_every_feature_once_and_no_other():
    table = README.split("## Features")[1].split("| ready sets")[0]
    listed = re.findall(r"`(\w+)`", "\n".join(line for line in table.splitlines() if line.startswith("|")))
    library = {name for name in CONSTRUCTORS if not name.startswith("alpha_")} - {"expression"}
    assert sorted(listed) == sorted(library)


def test_the_readme_lists_what_can_be_asked_of_a_profile():
    row = next(line for line in README.splitlines() if line.startswith("| to change profiles while it runs"))
    assert re.findall(r"`(?:cryptoquant profile )?(\w+)`", row) == list(PROFILE_VERBS)


def test_the_profiles_of_the_readme_are_a_file_that_the_trader_takes():
    (text,) = blocks("toml", with_keys=False)
    found = [section_of("profile", ProfileSection, row) for row in tomllib.loads(text)["profile"]]
    assert [(one.name, one.on_stop, one.shadow) for one in found] == [
        ("careful", "close", False),
        ("next", "keep", True),
    ]
    assert changed(cq.RiskLimits(), found[0].limits) == cq.RiskLimits(max_weight=0.3, max_daily_loss=0.03)


def test_the_readme_counts_faults_and_strategies_as_they_are():
    assert re.findall(r"(\d+) (?:kinds of faults|faults\.|kinds \|)", README) == [str(len(FAULT_KINDS))] * 3
    classes = {name for name in strategy.__all__ if hasattr(getattr(strategy, name), "decide")}
    assert f"{len(classes - {'Strategy', 'RuleOverBars'})} strategies" in README
