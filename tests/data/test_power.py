"""Power cuts and kills at any call of the disk: nothing that was acknowledged is lost, and planted bugs are found."""

import pytest

from cryptoquant.data import compaction, vault
from cryptoquant.data.disk import TEMPORARY
from tests.data.planted import Believing, EagerPublisher, LineFirst, TwoLines, remove_first
from tests.data.power_world import Lost, World
from tests.data.store_world import StoreWorld

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
WORLDS, PART, PARTS = 4, 25, 10
MANY = 60
STORE_BUGS = {
    "files published without a sync": {"swallows": lambda call, path: call == "sync" and path.endswith(TEMPORARY)},
    "names of files not synced": {"swallows": lambda call, path: call == "sync_folder" and path.startswith("_recent")},
    "names of merged files not synced": {
        "swallows": lambda call, path: call == "sync_folder" and path.startswith("kind=")
    },
    "a line of the manifest not synced": {"swallows": lambda call, path: (call, path) == ("sync", "manifest.jsonl")},
    "the manifest line before the files": {"store": LineFirst},
    "published moved in a line of its own": {"store": TwoLines},
    "segments dropped before the manifest says so": {"publisher": EagerPublisher},
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


def store_verdict(world: StoreWorld) -> str:
    try:
        world.run()
    except Lost as lost:
        return str(lost)
    return ""


def store_cuts(seeds: range, folder) -> int:
    total = 0
    for seed in seeds:
        world = StoreWorld(seed, folder)
        world.run()
        total += world.cuts
    return total


def test_log_publisher_store_and_compaction_lose_and_double_nothing_in_power_cuts(tmp_path):
    assert store_cuts(range(WORLDS), tmp_path) > 40 * WORLDS


@pytest.mark.parametrize("bug", STORE_BUGS)
def test_a_bug_planted_in_the_store_is_found(tmp_path, bug):
    assert any("seed" in store_verdict(StoreWorld(seed, tmp_path, **STORE_BUGS[bug])) for seed in range(MANY))


def test_a_compaction_that_removes_before_what_came_of_it_counts_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "_replace", remove_first)
    assert any("seed" in store_verdict(StoreWorld(seed, tmp_path)) for seed in range(MANY))


def test_a_manifest_that_is_believed_before_it_is_durable_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(vault, "Manifest", Believing)
    assert any("seed" in store_verdict(StoreWorld(seed, tmp_path)) for seed in range(MANY))


@pytest.mark.deep
@pytest.mark.parametrize("part", range(PARTS))
def test_the_whole_path_loses_and_doubles_nothing_in_ten_thousand_power_cuts(tmp_path, part):
    first = WORLDS + part * PART
    assert store_cuts(range(first, first + PART), tmp_path) >= 10_000 / PARTS
