"""Tuning: inside the training rows only, by seed, and with every trial counted."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.walk_forward import fit_fold
from cryptoquant.errors import ConfigurationError, ModelError
from cryptoquant.models import Logistic, Ridge, XGBoost
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters
from cryptoquant.models.objectives import SharpeAfterCosts, brier, log_loss, squared_error
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune, best
from cryptoquant.trading.venue import Costs
from tests.models.datasets import HOUR, planted

SPACE = {"max_depth": (1, 6), "learning_rate": (0.01, 0.5, "log"), "subsample": [0.5, 1.0]}
QUICK = XGBoost(n_estimators=8, seed=1)


@dataclass(frozen=True, slots=True)
class Level(Parameters):
    """Predicts a constant: the best constant tells which rows it was judged on."""

    kind = "probability"
    window = 1
    level: float = 0.5
    fails: bool = False

    def fit(self, examples):
        if self.fails:
            raise ModelError("this model never learns")
        return self

    def predict(self, rows):
        return np.full(len(rows), self.level)


def altered(examples: Examples, rows: np.ndarray) -> Examples:
    """Return the examples with other features and labels in some rows."""
    features, rises, returns = examples.features.copy(), examples.rises.copy(), examples.returns.copy()
    features[rows] = 1e3
    rises[rows] = 1.0 - rises[rows]
    returns[rows] = 9.0
    return replace(examples, features=features, rises=rises, returns=returns, targets=returns)


def test_what_happens_in_the_test_rows_changes_nothing_that_is_chosen():
    examples = planted(600)
    fold = WalkForward(timedelta(hours=400), timedelta(hours=200)).cut(examples.times, examples.label_known, HOUR)[0]
    tune = Tune(trials=8, space=SPACE, seed=2)
    one = fit_fold(examples, QUICK, tune, fold)
    outside = np.setdiff1d(np.arange(600), fold.train)
    two = fit_fold(altered(examples, outside), QUICK, tune, fold)
    assert one.params == two.params
    assert one.trials == two.trials
    assert one.hit_rate_train == two.hit_rate_train
    assert not np.array_equal(one.predicted, two.predicted)


def test_a_search_that_may_look_at_the_test_rows_would_choose_otherwise():
    examples = planted(400)
    rises = np.where(np.arange(400) < 300, 0.0, 1.0)
    rises[::10] = 1.0 - rises[::10]
    examples = replace(examples, rises=rises)
    tune = Tune(trials=15, space={"level": (0.05, 0.95)}, seed=2)
    honest, _ = tune.search(Level(), examples.take(np.arange(300)))
    leaking, _ = tune.search(Level(), examples)
    assert honest["level"] < 0.3
    assert leaking["level"] > 0.7


def test_the_search_judges_purged_rows_of_the_training_window():
    examples = planted(400)
    seen = []

    def objective(judged, predicted):
        seen.append((len(judged), judged.returns.sum()))
        return 0.0

    Tune(trials=1, space={"level": (0.1, 0.9)}, objective=objective, folds=4).search(Level(), examples)
    assert seen == [(100, examples.returns[300:].sum())]
    seen.clear()
    Tune(trials=1, space={"level": (0.1, 0.9)}, objective=objective, folds=4, inner="all").search(Level(), examples)
    assert [count for count, _ in seen] == [100] * 4


def test_a_seed_gives_the_same_trials_and_another_seed_others():
    examples = planted(500)
    one, two, other = (Tune(trials=6, space=SPACE, seed=seed).search(QUICK, examples) for seed in (1, 1, 5))
    assert one == two
    assert one != other
    assert [trial["number"] for trial in one[1]] == list(range(6))
    best = min(one[1], key=lambda trial: trial["loss"])
    assert one[0] == best["params"]
    for trial in one[1]:
        assert 1 <= trial["params"]["max_depth"] <= 6
        assert isinstance(trial["params"]["max_depth"], int)
        assert 0.01 <= trial["params"]["learning_rate"] <= 0.5
        assert trial["params"]["subsample"] in (0.5, 1.0)


def test_failing_trials_are_counted_with_their_reason():
    params, trials = Tune(trials=12, space={"fails": [True, False]}, seed=0).search(Level(), planted(200))
    states = [trial["state"] for trial in trials]
    assert params == {"fails": False}
    assert len(trials) == 12
    assert {"FAIL", "COMPLETE"} == set(states)
    assert trials[states.index("FAIL")]["error"] == "this model never learns"


def test_a_search_in_which_every_trial_fails_says_why():
    examples = planted(200)
    with pytest.raises(ModelError, match="all 3 tuning trials failed: this model never learns"):
        Tune(trials=3, space={"level": (0.1, 0.9)}).search(Level(fails=True), examples)
    constant = replace(examples, rises=np.ones(200))
    with pytest.raises(ModelError, match=r"all 2 tuning trials failed: all .* training labels are 1"):
        Tune(trials=2, space={"strength": (0.1, 1.0)}).search(Logistic(), constant)


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({}, "at least one parameter"),
        ({"max_depth": []}, "max_depth: an empty list"),
        ({"max_depth": (8, 2)}, "max_depth: wanted low < high"),
        ({"max_depth": (2,)}, "max_depth: wanted"),
        ({"max_depth": (2, 8, "linear")}, "max_depth: wanted"),
        ({"max_depth": ("a", "b")}, "max_depth: wanted"),
        ({"max_depth": (True, 8)}, "max_depth: wanted"),
        ({"learning_rate": (0.0, 1.0, "log")}, "low > 0"),
        ({"max_depth": 3}, "max_depth: wanted"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space, text):
    with pytest.raises(ValueError, match=text):
        Tune(trials=2, space=space)


def test_unknown_parameters_values_and_trial_counts_are_wrong_arguments_not_failed_trials():
    with pytest.raises(ValueError, match="XGBoost has no parameter depth"):
        Tune(trials=2, space={"depth": (1, 3)}).search(QUICK, planted(200))
    with pytest.raises(ValueError, match="subsample must lie in"):
        Tune(trials=2, space={"subsample": (2.0, 3.0)}).search(QUICK, planted(200))
    with pytest.raises(ValueError, match="trials: wanted at least one"):
        Tune(trials=0, space=SPACE)
    with pytest.raises(ValueError, match="inner"):
        Tune(trials=1, space=SPACE, inner="first")


def settled(trials: list[dict]) -> list[tuple]:
    return [(trial["number"], trial["state"], trial["params"], trial["loss"]) for trial in trials]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_search_begun_again_goes_on_where_it_ended_and_is_the_same_as_one_that_was_never_stopped(
    sampler, batch, tmp_path
):
    examples = planted(300)
    space = {"strength": (0.01, 10.0, "log")} if sampler != "cmaes" else {"strength": (0.01, 10.0)}
    tune = Tune(trials=8, space=space, sampler=sampler, batch=batch, seed=4, storage=str(tmp_path / "two"))
    whole = replace(tune, storage="memory").search(Logistic(), examples)
    assert replace(tune, trials=2 * batch).search(Logistic(), examples)[1] == whole[1][: 2 * batch]
    assert tune.search(Logistic(), examples) == whole
    journal = next((tmp_path / "two").iterdir())
    assert tune.search(Logistic(), examples) == whole
    assert journal.read_bytes().count(b'"op_code":4,') == 8


SEARCH = """
import sys
from tests.models.datasets import planted
from cryptoquant.models import Logistic
from cryptoquant.models.tune import Tune
space = {"strength": (0.01, 10.0, "log")}
tune = Tune(trials=12, space=space, batch=2, inner="all", prune=True, seed=4, storage=sys.argv[1])
print("ready", flush=True)
tune.search(Logistic(), planted(300))
"""


def test_a_search_killed_at_any_moment_ends_with_the_trials_of_one_that_was_not(tmp_path):
    examples = planted(300)
    tune = Tune(
        trials=12, space={"strength": (0.01, 10.0, "log")}, batch=2, inner="all", prune=True, seed=4, storage="memory"
    )
    whole = tune.search(Logistic(), examples)
    rng, folder = np.random.default_rng(3), tmp_path / "tuning"
    kills = 0
    for _ in range(3):
        worker = subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        deadline, wanted = time.monotonic() + 60, int(rng.integers(500, 2_500))
        begun = size(folder)
        while worker.poll() is None and size(folder) < begun + wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGKILL)
            kills += 1
        worker.communicate()
    assert kills >= 2
    resumed = replace(tune, storage=str(folder)).search(Logistic(), examples)
    assert settled(resumed[1]) == settled(whole[1])
    assert resumed[0] == whole[0]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.journal"))


def test_a_line_torn_by_a_crash_is_left_out(tmp_path):
    tune = Tune(trials=3, space={"strength": (0.1, 1.0)}, storage=str(tmp_path))
    first = tune.search(Logistic(), planted(200))
    journal = next(tmp_path.glob("*.journal"))
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    assert replace(tune, trials=4).search(Logistic(), planted(200))[1][:3] == first[1]


def test_the_trials_do_not_depend_on_how_many_work_on_them(monkeypatch):
    examples, found = planted(400), []
    tune = Tune(trials=6, space=SPACE, batch=3, seed=1, storage="memory")
    for jobs in (1, 2, 4):
        monkeypatch.setattr("cryptoquant.models.tune.settings", lambda jobs=jobs: Workers(jobs))
        found.append(tune.search(QUICK, examples))
    assert found[0] == found[1] == found[2]


@dataclass(frozen=True)
class Workers:
    jobs: int


def test_another_objective_model_seed_or_row_is_another_search(tmp_path):
    examples = planted(200)
    tune = Tune(trials=1, space={"strength": (0.1, 1.0)}, storage=str(tmp_path))
    other = replace(examples, rises=1.0 - examples.rises)
    for one, rows in (
        (tune, examples),
        (replace(tune, seed=1), examples),
        (replace(tune, objective=brier), examples),
        (replace(tune, objective=SharpeAfterCosts(0.5)), examples),
        (replace(tune, objective=SharpeAfterCosts(0.6)), examples),
        (tune, other),
    ):
        one.search(Logistic(), rows)
    assert len(list(tmp_path.glob("*.journal"))) == 6


def test_any_storage_of_optuna_is_taken_by_its_url(tmp_path):
    tune = Tune(trials=3, space={"strength": (0.1, 1.0)}, seed=2, storage=f"sqlite:///{tmp_path}/trials.db")
    first = tune.search(Logistic(), planted(200))
    assert tune.search(Logistic(), planted(200)) == first
    assert first == replace(tune, storage="memory").search(Logistic(), planted(200))
    with pytest.raises(ConfigurationError, match=r"tuning storage sqlite:///.*nowhere"):
        replace(tune, storage=f"sqlite:///{tmp_path}/nowhere/trials.db").search(Logistic(), planted(200))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="tuning storage"):
        replace(tune, storage=str(tmp_path / "file" / "deeper")).search(Logistic(), planted(200))


def test_a_trial_worse_than_the_median_midway_is_stopped_and_counted():
    rises = (np.arange(400) % 10 < 2).astype(float)
    examples = replace(planted(400), rises=rises)
    tune = Tune(trials=20, space={"level": (0.01, 0.99)}, inner="all", prune=True, sampler="random", storage="memory")
    params, trials = tune.search(Level(), examples)
    pruned = [trial for trial in trials if trial["state"] == "PRUNED"]
    complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
    assert len(trials) == 20
    assert pruned
    assert len(complete) >= 5
    assert all(len(trial["blocks"]) < 4 for trial in pruned)
    assert abs(params["level"] - 0.2) < 0.1
    assert min(abs(trial["params"]["level"] - 0.2) for trial in pruned) > abs(params["level"] - 0.2)


def test_of_several_objectives_the_best_compromise_on_the_pareto_front_is_chosen():
    losses = {0: [1.0, 9.0], 1: [2.0, 3.0], 2: [9.0, 1.0], 3: [2.5, 3.5], 4: [3.0, 2.5]}
    trials = [{"number": number, "loss": pair[0], "losses": pair} for number, pair in losses.items()]
    # Trial 3 is beaten by trial 1. On the front, scaled: (0, 1), (1/8, 1/4), (1, 0), (1/4, 3/16).
    assert best(trials)["number"] == 1
    assert best([*trials, {"number": 5, "loss": 2.0, "losses": [2.0, 2.0]}])["number"] == 5
    tune = Tune(trials=6, space=SPACE, objective=(log_loss, SharpeAfterCosts(0.55, Costs.free())), storage="memory")
    params, found = tune.search(QUICK, planted(400))
    assert params in [trial["params"] for trial in found]
    assert all(len(trial["losses"]) == 2 and trial["losses"][0] == trial["loss"] for trial in found)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_what_is_chosen_is_beaten_by_no_other(pairs):
    trials = [{"number": n, "loss": pair[0], "losses": list(pair)} for n, pair in enumerate(pairs)]
    chosen = best(trials)["losses"]
    assert not any(a <= chosen[0] and b <= chosen[1] and (a, b) != tuple(chosen) for a, b in pairs)


def test_losses_of_probabilities_are_refused_for_other_kinds():
    space = {"penalty": (0.1, 1.0)}
    with pytest.raises(ModelError, match="log_loss judges probabilities, and this model predicts the expected return"):
        Tune(trials=2, space=space, storage="memory").search(Ridge(), planted(200))
    params, _ = Tune(trials=2, space=space, objective=squared_error, storage="memory").search(Ridge(), planted(200))
    assert 0.1 <= params["penalty"] <= 1.0


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_a_loss_that_is_not_finite_fails_its_trial(wrong):
    def objective(judged, predicted):
        return wrong if predicted[0] > 0.5 else 0.1

    tune = Tune(
        trials=12, space={"level": (0.1, 0.9)}, objective=(objective, brier), sampler="random", storage="memory"
    )
    params, trials = tune.search(Level(), planted(200))
    assert params["level"] <= 0.5
    assert {trial.get("error") for trial in trials if trial["state"] == "FAIL"} == {f"the loss is {wrong}"}


def test_two_processes_at_one_search_in_a_database_both_come_to_its_end(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    code = SEARCH + "print(sorted(tune.search(Logistic(), planted(300))[0].items()), flush=True)\n"
    workers = [
        subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        for _ in range(2)
    ]
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert said[0] == said[1]


def test_a_block_that_is_not_used_need_not_be_cut():
    examples = planted(30)
    # The labels of the middle block live until the end, and those before it reach into it: nothing is left for it.
    known = examples.times + HOUR
    known[:10], known[10:20] = examples.times[12], examples.times[-1] + HOUR
    wide = replace(examples, label_known=known)
    tune = Tune(trials=1, space={"level": (0.1, 0.9)}, folds=3, storage="memory")
    with pytest.raises(ModelError, match="fold 1: purging"):
        replace(tune, inner="all").search(Level(), wide)
    assert tune.search(Level(), wide)[1][0]["state"] == "COMPLETE"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"folds": 1}, "at least 2 folds"),
        ({"embargo": timedelta(hours=-1)}, "embargo must not be negative"),
        ({"sampler": "grid"}, "sampler must be one of"),
        ({"batch": 0}, "batch: wanted"),
        ({"prune": True}, "prune wants inner='all'"),
        ({"prune": True, "inner": "all", "objective": (log_loss, brier)}, "prune wants"),
        ({"sampler": "cmaes", "objective": (log_loss, brier)}, "cmaes"),
        ({"objective": ()}, "objective"),
        ({"objective": "sharpe"}, "objective"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changed, text):
    with pytest.raises(ValueError, match=text):
        Tune(trials=2, space=SPACE, **changed)


def test_losses_by_hand():
    judged = Examples.of(
        np.zeros((4, 1)),
        [1, 0, 1, 0],
        [0.02, -0.01, 0.03, -0.02],
        times=np.arange(1, 5) * 24 * HOUR,
        weights=[1, 1, 2, 0],
    )
    predicted = np.array([0.8, 0.4, np.nan, 0.9])
    assert log_loss(judged, predicted) == pytest.approx(-(np.log(0.8) + np.log(0.6) + 2 * np.log(0.5)) / 4)
    assert brier(judged, predicted) == pytest.approx((0.04 + 0.16 + 2 * 0.25) / 4)
    assert squared_error(judged, np.array([0.01, 0.0, np.nan, 0.5])) == pytest.approx((1e-4 + 1e-4 + 2 * 9e-4) / 4)
    # Days one and four are taken, at 25 basis points a side and 5 of slippage.
    daily = np.array([np.expm1(0.02) - 0.006, 0.0, 0.0, np.expm1(-0.02) - 0.006])
    wanted = -daily.mean() / daily.std(ddof=1) * np.sqrt(365)
    assert SharpeAfterCosts(0.5, Costs(taker_bps=25.0, slippage_bps=5.0))(judged, predicted) == pytest.approx(wanted)
    assert SharpeAfterCosts(0.95)(judged, predicted) == 0.0
