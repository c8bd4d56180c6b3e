"""Tabular models: repeatable to the byte, the same row by row, and with skill only where there is a signal."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models import (
    Average,
    Calibrated,
    ExtraTrees,
    HistGradientBoosting,
    Logistic,
    RandomForest,
    Ridge,
    Stacked,
    Vetoed,
    Weighted,
    XGBoost,
)  # fmt: skip
from cryptoquant.models.examples import Examples
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.model import Model, Predictor
from tests.models.datasets import area_under_curve, planted

CLASSIFIERS = [
    XGBoost(n_estimators=25, seed=3),
    RandomForest(n_estimators=15, max_depth=5, seed=3),
    ExtraTrees(n_estimators=15, max_depth=5, seed=3),
    HistGradientBoosting(max_iter=15, seed=3),
    Logistic(),
]
SINGLE = [*CLASSIFIERS, Ridge()]
COMPOSED = [
    Calibrated(XGBoost(n_estimators=10, seed=3)),
    Calibrated(Ridge(), "isotonic"),
    Average((Logistic(), XGBoost(n_estimators=10, seed=3)), (2.0, 1.0)),
    Stacked((Logistic(), Ridge(), ExtraTrees(n_estimators=10, seed=3))),
    Weighted(Logistic(), decay=0.5),
    Vetoed(Logistic(), quantile=1.0, neighbours=200),
]


def called(model: Model) -> str:
    return type(model).__name__


EACH = pytest.mark.parametrize("model", SINGLE + COMPOSED, ids=called)
EACH_CLASSIFIER = pytest.mark.parametrize("model", CLASSIFIERS, ids=called)
EACH_SINGLE = pytest.mark.parametrize("model", SINGLE, ids=called)


def fitted(model: Model, examples=None) -> Predictor:
    learned = examples or planted()
    return model.fit(learned)


@EACH
def test_the_same_seed_gives_the_same_bytes(model, tmp_path):
    files = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        told = fitted(model).save(tmp_path / str(number))
        kept = {path.name: path.read_bytes() for path in (tmp_path / str(number)).iterdir()}
        files.append((told, kept))
    assert files[0] == files[1]
    assert files[0][1]


@pytest.mark.parametrize("model", CLASSIFIERS[:3], ids=called)
def test_another_seed_gives_other_trees(model):
    rows = planted().features
    one, two = (fitted(model.with_params(seed=seed)).predict(rows) for seed in (3, 4))
    assert not np.array_equal(one, two)


@EACH
def test_a_row_gives_the_same_bits_alone_and_in_a_batch(model):
    predictor = fitted(model)
    rows = np.random.default_rng(5).standard_normal((500, 4))
    batch = predictor.predict(rows)
    assert np.array_equal(batch, np.array([predictor.predict(row[None, :])[0] for row in rows]))
    assert np.array_equal(batch[::-1], predictor.predict(rows[::-1]))
    assert np.array_equal(batch, predictor.predict(np.asfortranarray(rows)))
    assert predictor.predict(rows[:0]).shape == (0,)
    assert isinstance(predictor, Predictor)
    assert predictor.kind == ("expected_return" if type(model) is Ridge else "probability")
    assert type(model) is Ridge or ((batch >= 0) & (batch <= 1))[~np.isnan(batch)].all()


@EACH_SINGLE
def test_rows_of_another_width_are_refused(model):
    predictor = fitted(model, planted(200))
    with pytest.raises(ModelError, match=r"rows of 5 features, .* on 4"):
        predictor.predict(np.zeros((2, 5)))


@EACH
def test_saving_and_loading_changes_no_bit(model, tmp_path):
    predictor = fitted(model)
    rows = np.random.default_rng(6).standard_normal((200, 4))
    loaded = read_predictor(tmp_path, json.loads(json.dumps(predictor.save(tmp_path))))
    assert np.array_equal(loaded.predict(rows), predictor.predict(rows), equal_nan=True)
    assert (loaded.kind, loaded.window) == (predictor.kind, 1)


@EACH
def test_a_planted_signal_is_found_and_shuffled_labels_give_no_skill(model):
    train, test = planted(4_000, seed=1), planted(4_000, seed=2)
    found = fitted(model, train).predict(test.features)
    assert skill(test, found) > 0.70
    rng = np.random.default_rng(9)
    skills = []
    for _ in range(5):
        mixed = rng.permutation(len(train))
        shuffled = model.fit(
            replace(train, rises=train.rises[mixed], returns=train.returns[mixed], targets=train.targets[mixed])
        )
        skills.append(skill(test, shuffled.predict(test.features)))
    assert abs(np.mean(skills) - 0.5) < 0.05


@EACH_CLASSIFIER
def test_rows_that_do_not_count_teach_nothing(model):
    train, test = planted(3_000, seed=1), planted(3_000, seed=2)
    lies = np.arange(3_000) % 2 == 0
    told = replace(train, rises=np.where(lies, train.features[:, 0] < 0.0, train.rises).astype(float))
    assert skill(test, model.fit(told).predict(test.features)) < 0.5
    heavy = model.fit(replace(told, weights=np.where(lies, 0.0, 1.0)))
    assert skill(test, heavy.predict(test.features)) > 0.70
    with pytest.raises(ModelError, match="weight above zero"):
        model.fit(replace(train, weights=np.zeros(3_000)))
    with pytest.raises(ModelError, match="labels are 1: nothing to learn"):
        model.fit(replace(train, weights=train.rises))


@EACH_CLASSIFIER
def test_balanced_classes_move_the_mean_of_the_values_to_one_half(model):
    train = planted(4_000, strength=1.0)
    rare = train.take(np.flatnonzero((train.rises == 1.0) | (np.arange(4_000) % 5 == 0)))
    plain, even = (model.with_params(class_weight=how).fit(rare).predict(train.features) for how in (None, "balanced"))
    assert plain.mean() > 0.75
    assert abs(even.mean() - 0.5) < 0.06
    with pytest.raises(ValueError, match="class_weight must be one of None, 'balanced', found 'even'"):
        model.with_params(class_weight="even")


def test_ridge_equals_the_normal_equations():
    train, test = planted(400, seed=1), planted(50, seed=2)
    weights = np.random.default_rng(0).random(400)
    mean, scale = train.features.mean(axis=0), train.features.std(axis=0)
    table = np.column_stack([(train.features - mean) / scale, np.ones(400)])
    pull = np.diag([0.3 * weights.sum()] * 4 + [0.0])
    line = np.linalg.solve((table * weights[:, None]).T @ table + pull, (table * weights[:, None]).T @ train.returns)
    values = Ridge(penalty=0.3).fit(replace(train, weights=weights)).predict(test.features)
    assert values == pytest.approx(((test.features - mean) / scale) @ line[:4] + line[4], abs=1e-12)


def test_ridge_refuses_targets_that_teach_nothing():
    train = planted(100)
    with pytest.raises(ModelError, match="all 100 training targets are 0"):
        Ridge().fit(replace(train, targets=np.zeros(100)))
    unknown = train.targets.copy()
    unknown[4] = np.nan
    with pytest.raises(ModelError, match="training target 4 is nan"):
        Ridge().fit(replace(train, targets=unknown))


def test_ridge_learns_the_targets_and_calls_what_is_no_return_a_score(tmp_path):
    train = planted(400)
    targets = 3.0 * train.features[:, 1] + 1.0
    predictor = Ridge(penalty=1e-9).fit(replace(train, targets=targets))
    assert predictor.kind == "score"
    assert predictor.predict(train.features) == pytest.approx(targets, abs=1e-6)
    assert read_predictor(tmp_path, predictor.save(tmp_path)).kind == "score"
    assert Ridge().fit(train).kind == "expected_return"


def skill(test: Examples, values: np.ndarray) -> float:
    said = ~np.isnan(values)
    return area_under_curve(test.rises[said], values[said])


def test_logistic_equals_scikit_learn():
    train, test = planted(seed=1), planted(seed=2)
    scaled = train.features * [1.0, 1e3, 1e-3, 5.0] + [0.0, 10.0, 1.0, -3.0]
    other = test.features * [1.0, 1e3, 1e-3, 5.0] + [0.0, 10.0, 1.0, -3.0]
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1_000)).fit(scaled, train.rises)
    ours = Logistic(strength=0.3).fit(Examples.of(scaled, train.rises))
    assert ours.predict(other) == pytest.approx(theirs.predict_proba(other)[:, 1], abs=1e-12)


@pytest.mark.parametrize("model", [Logistic(), Ridge()], ids=called)
@settings(max_examples=40, deadline=None)
@example(constant=0.3, rows=3_000, moved=0.31)
@example(constant=0.1, rows=7, moved=1e9)
@given(
    constant=st.floats(allow_nan=False, allow_infinity=False),
    rows=st.integers(7, 3_000),
    moved=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_feature_that_stands_still_has_no_influence_then_or_later(model, constant, rows, moved):
    train = planted(rows)
    more = replace(train, features=np.column_stack([train.features, np.full(rows, constant)]))
    predictor = model.fit(more)
    found = predictor.predict(more.features)
    assert found == pytest.approx(model.fit(train).predict(train.features), abs=1e-9)
    elsewhere = np.column_stack([train.features, np.full(rows, moved)])
    assert np.array_equal(predictor.predict(elsewhere), found)


def test_a_feature_that_stands_still_tells_no_rows_apart():
    train = planted(3_000)
    more = replace(train, features=np.column_stack([train.features, np.full(3_000, 0.3)]))
    plain, still = Vetoed(Logistic()).fit(train), Vetoed(Logistic()).fit(more)
    wanted = plain.dissimilarity(train.features)
    for value in (0.3, 0.3 + 1e-15, 7.0):
        rows = np.column_stack([train.features, np.full(3_000, value)])
        assert still.dissimilarity(rows) == pytest.approx(wanted, rel=1e-12)
    assert still.threshold == pytest.approx(plain.threshold, rel=1e-12)


@EACH
def test_no_rows_are_refused(model):
    with pytest.raises(ModelError, match=r"no training rows|distinct times"):
        model.fit(planted(100).take(np.arange(0)))


@pytest.mark.parametrize("model", [*CLASSIFIERS, COMPOSED[0], COMPOSED[2], *COMPOSED[4:]], ids=called)
def test_rows_that_cannot_be_learned_are_refused(model):
    train = planted(100)
    with pytest.raises(ModelError, match=r"all 100 training labels are 1"):
        model.fit(replace(train, rises=np.ones(100)))
    broken = train.features.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ModelError, match="training row 7 has no finite value in feature 2"):
        model.fit(replace(train, features=broken))
    unknown = train.rises.copy()
    unknown[4] = np.nan
    with pytest.raises(ModelError, match="training label 4 is nan"):
        model.fit(replace(train, rises=unknown))


CHANGES = {
    Average: ("0__strength", 7.0),
    Stacked: ("final__strength", 7.0),
    Calibrated: ("folds", 7),
    Weighted: ("model__strength", 7.0),
    Vetoed: ("quantile", 0.5),
    Ridge: ("penalty", 7.0),
    Logistic: ("strength", 7.0),
}


@EACH
def test_parameters_follow_scikit_learns_conventions(model):
    assert model.with_params(**model.get_params()) == model
    name, value = CHANGES.get(type(model), (next(iter(model.get_params())), 7))
    changed = model.with_params(**{name: value})
    assert changed.get_params() == {**model.get_params(), name: value}
    assert model.get_params()[name] != value
    with pytest.raises(ValueError, match=r"has no parameter depth, width; it has"):
        model.with_params(depth=1, width=2)
    assert isinstance(model, Model)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_depth": 0},
        {"max_depth": 2.5},
        {"n_estimators": True},
        {"seed": -1},
        {"learning_rate": 0.0},
        {"learning_rate": "fast"},
        {"subsample": 1.5},
        {"min_child_weight": -1.0},
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        XGBoost(**wrong)


@pytest.mark.parametrize("strength", [0.0, -1.0, np.inf, "much"])
def test_a_penalty_without_strength_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        Logistic(strength=strength)


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "model.ubj").write_bytes(b"not a model")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(BundleError, match="pickle' is unknown"):
        read_predictor(tmp_path, {"format": "pickle", "file": "model.pkl"})
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    numbers = {"kind": "probability", "features": 4, "output": 1, "column": 1, "typical": 1.0, "threshold": 1.0}
    more = {**numbers, "base": 0.0, "divisor": 1.0, "is_logistic": True, "roots": 4, "rounds": 4}
    files = {"xgboost": "ubj", "line": "json", "trees": "safetensors", "onnx": "onnx", "vetoed": "safetensors"}
    for kind, ending in files.items():
        with pytest.raises(BundleError, match=r"(no|not a) readable"):
            read_predictor(tmp_path, {"format": kind, "file": f"model.{ending}", **more})
        with pytest.raises(BundleError):
            read_predictor(tmp_path, {"format": kind, "file": f"absent.{ending}", **more})
    for kind in ("average", "stacked", "calibrated"):
        with pytest.raises(BundleError):
            read_predictor(tmp_path, {"format": kind})
        with pytest.raises(BundleError):
            read_predictor(tmp_path, {"format": kind, "members": [], "weights": [], "final": {"format": "line"}})
