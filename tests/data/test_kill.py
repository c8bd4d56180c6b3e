"""A recorder that is killed again and again loses, doubles and tears nothing; planted bugs are caught.

SIGKILL leaves what the system has taken, so a missing sync cannot be seen here; `test_power` sees it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.kill_harness import BUGS

ROOT = Path(__file__).resolve().parents[2]
SHORT, WORLD = 10, 40
ENOUGH = 160
GOOD = {"lost": 0, "doubled": 0, "torn": 0, "disordered": 0, "said": []}


def verdict(folder: Path, seed: int, kills: int, *bug: str) -> dict[str, object]:
    """Return what the harness found, in a process of its own, since only one that has started no thread can fork."""
    command = [sys.executable, "-m", "tests.data.kill_harness", str(seed), str(kills), str(folder), *bug]
    surroundings = {**os.environ, "CQ_STATE": str(folder / "state")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=surroundings)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def expect_nothing_amiss(found: dict[str, object], kills: int) -> None:
    assert {name: found[name] for name in GOOD} == GOOD
    assert found["kills"] == kills
    assert found["found"] >= found["acknowledged"] > 100 * kills
    assert kills / 2 < found["recovered"] <= kills


def test_killed_ten_times_everything_acknowledged_is_there_once_whole_and_in_order(tmp_path):
    expect_nothing_amiss(verdict(tmp_path, 1, SHORT), SHORT)


@pytest.mark.deep
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(tmp_path, bug):
    assert is_caught(tmp_path, bug)


def test_what_is_acknowledged_before_it_is_written_or_dropped_too_early_is_missed_at_once(tmp_path):
    for bug in BUGS[:2]:  # ten kills may all miss the moment
        assert any(verdict(tmp_path / f"{bug}-{seed}", seed, SHORT, bug)["lost"] for seed in (1, 2, 3))


def is_caught(folder: Path, bug: str) -> bool:
    found = verdict(folder, 1, ENOUGH, bug)
    wrong = {BUGS[0]: "lost", BUGS[1]: "lost", BUGS[2]: "doubled", BUGS[3]: "torn"}[bug]
    return bool(found[wrong])


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 125))
def test_killed_a_thousand_times_everything_acknowledged_is_there_once_whole_and_in_order(tmp_path, seed):
    expect_nothing_amiss(verdict(tmp_path, seed, WORLD), WORLD)
