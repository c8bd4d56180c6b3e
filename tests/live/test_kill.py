"""A trader that is killed again and again trades as one that nobody killed; planted bugs are caught.

The venue's ids, lots, sides, times and fills, its books and ours, to the unit: all as undisturbed, among faults of the
venue. SIGKILL leaves what the system has taken, so a missing sync of the journal cannot be seen here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.kill_harness import BLIND, BUGS

ROOT = Path(__file__).resolve().parents[2]
ENOUGH = 40


def verdict(folder: Path, seed: int, kills: int, hours: int, *bug: str) -> dict[str, object]:
    """Return what the harness found, in a process of its own, since only one that has started no thread can fork."""
    command = [sys.executable, "-m", "tests.live.kill_harness", *map(str, (seed, kills, hours)), str(folder), *bug]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_killed_ten_times_among_faults_it_trades_as_if_it_had_lived_on(tmp_path):
    found = verdict(tmp_path, 3, 10, 6)
    assert found["said"] == []
    assert found["kills"] >= 7
    assert found["fills"] > 20
    assert found["faults"] > 10


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(10, 15))
def test_killed_seventy_times_among_faults_it_trades_as_if_it_had_lived_on(tmp_path, seed):
    found = verdict(tmp_path, seed, 70, 44)
    assert found["said"] == []
    assert found["kills"] >= 60


@pytest.mark.deep
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(tmp_path, bug):
    said = verdict(tmp_path, 3, ENOUGH, 16, bug)["said"]
    assert any("halted" in line or line.startswith(("fills", "account", "an order was given twice")) for line in said)


@pytest.mark.deep
def test_an_order_that_is_sent_again_blindly_is_stopped_by_its_id(tmp_path):
    assert verdict(tmp_path, 3, ENOUGH, 16, BLIND)["said"] == []
