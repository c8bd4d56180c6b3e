"""Tuning: inside the training rows only, by seed, and with every trial counted."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from cryptoquant.backtest.walk_forward import fit_fold
from cryptoquant.errors import ModelError
from cryptoquant.models import Logistic, XGBoost
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from tests.models.datasets import HOUR, planted

SPACE = {"max_depth": (1, 6), "learning_rate": (0.01, 0.5, "log"), "subsample": [0.5, 1.0]}
QUICK = XGBoost(n_estimators=8, seed=1)


@dataclass(frozen=True, slots=True)
class Level(Parameters):
    """Predicts a constant: the best constant tells which rows it was judged on."""

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
    return replace(examples, features=features, rises=rises, returns=returns)


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

    def objective(rises, predicted, returns):
        seen.append((len(rises), returns.sum()))
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
    with pytest.raises(ValueError, match="at least one trial"):
        Tune(trials=0, space=SPACE)
    with pytest.raises(ValueError, match="inner"):
        Tune(trials=1, space=SPACE, inner="first")
