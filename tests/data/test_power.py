"""Power cuts and kills at any call of the disk: nothing that was acknowledged is lost, and planted bugs are found."""

import pytest

from cryptoquant.data.disk import TEMPORARY
from tests.data.power_world import Lost, World

SHORT, DEEP = 120, 5_000
ENOUGH = 2_000
BUGS = {
    "acknowledged before the sync": {"swallows": lambda call, path, is_open: is_open and is_log(call, path)},
    "the folder not synced at rotation": {
        "swallows": lambda call, path, is_open: is_open and (call, path) == ("sync_folder", "log")
    },
    "the folder not synced at opening": {
        "swallows": lambda call, path, is_open: not is_open and (call, path) == ("sync_folder", "log")
    },
    "recovery not synced": {"swallows": lambda call, path, is_open: not is_open and is_log(call, path)},
    "segments dropped before publication": {"drops_early": True},
    "files published without a sync": {
        "swallows": lambda call, path, is_open: call == "sync" and path.endswith(TEMPORARY)
    },
    "a manifest believed before it is durable": {
        "swallows": lambda call, path, is_open: not is_open and (call, path) == ("sync_folder", "")
    },
    "published names not synced": {"swallows": lambda call, path, is_open: (call, path) == ("sync_folder", "files")},
}


def is_log(call: str, path: str) -> bool:
    return call == "sync" and path.startswith("log/")


def verdict(world: World) -> str:
    """Return what a world lost, or an empty text."""
    try:
        world.run()
    except Lost as lost:
        return str(lost)
    return ""


def cuts(seeds: range) -> int:
    total = 0
    for seed in seeds:
        world = World(seed)
        world.run()
        total += world.cuts
    return total


def test_nothing_acknowledged_is_lost_in_hundreds_of_power_cuts():
    assert cuts(range(SHORT)) > 200


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug):
    assert any("seed" in verdict(World(seed, **BUGS[bug])) for seed in range(ENOUGH))


def test_a_world_is_the_same_each_time():
    """A seed that a failure names leads to the same failure again."""
    verdicts = [[verdict(World(seed, drops_early=True)) for seed in range(20)] for _ in range(2)]
    assert verdicts[0] == verdicts[1]
    assert any(verdicts[0])


@pytest.mark.deep
def test_nothing_acknowledged_is_lost_in_ten_thousand_power_cuts():
    assert cuts(range(SHORT, SHORT + DEEP)) >= 10_000
