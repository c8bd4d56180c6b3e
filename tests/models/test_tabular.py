"""Tabular models: repeatable to the byte, the same row by row, and with skill only where there is a signal."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models import Logistic, XGBoost
from cryptoquant.models.examples import Examples
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.model import Model, Predictor
from tests.models.datasets import area_under_curve, planted

MODELS = [XGBoost(n_estimators=25, seed=3), Logistic()]
EACH = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


def fitted(model: Model, examples=None) -> Predictor:
    learned = examples or planted()
    return model.fit(learned)


@EACH
def test_the_same_seed_gives_the_same_bytes(model, tmp_path):
    files = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        told = fitted(model).save(tmp_path / str(number))
        files.append((tmp_path / str(number) / told["file"]).read_bytes())
    assert files[0] == files[1]


def test_another_seed_gives_other_trees(tmp_path):
    rows = planted().features
    one, two = (fitted(XGBoost(n_estimators=25, seed=seed)).predict(rows) for seed in (3, 4))
    assert not np.array_equal(one, two)


@EACH
def test_a_row_gives_the_same_bits_alone_and_in_a_batch(model):
    predictor = fitted(model)
    rows = np.random.default_rng(5).standard_normal((500, 4))
    batch = predictor.predict(rows)
    assert np.array_equal(batch, np.array([predictor.predict(row[None, :])[0] for row in rows]))
    assert np.array_equal(batch[::-1], predictor.predict(rows[::-1]))
    assert np.array_equal(batch, predictor.predict(np.asfortranarray(rows)))
    assert ((batch > 0) & (batch < 1)).all()
    assert predictor.predict(rows[:0]).shape == (0,)
    assert isinstance(predictor, Predictor)
    assert predictor.kind == "probability"


@EACH
def test_saving_and_loading_changes_no_bit(model, tmp_path):
    predictor = fitted(model)
    rows = np.random.default_rng(6).standard_normal((200, 4))
    loaded = read_predictor(tmp_path, predictor.save(tmp_path))
    assert np.array_equal(loaded.predict(rows), predictor.predict(rows))


@EACH
def test_a_planted_signal_is_found_and_shuffled_labels_give_no_skill(model):
    train, test = planted(4_000, seed=1), planted(4_000, seed=2)
    found = fitted(model, train).predict(test.features)
    assert area_under_curve(test.rises, found) > 0.70
    rng = np.random.default_rng(9)
    skills = []
    for _ in range(5):
        shuffled = model.fit(replace(train, rises=rng.permutation(train.rises)))
        skills.append(area_under_curve(test.rises, shuffled.predict(test.features)))
    assert abs(np.mean(skills) - 0.5) < 0.05


def test_logistic_equals_scikit_learn():
    train, test = planted(seed=1), planted(seed=2)
    scaled = train.features * [1.0, 1e3, 1e-3, 5.0] + [0.0, 10.0, 1.0, -3.0]
    other = test.features * [1.0, 1e3, 1e-3, 5.0] + [0.0, 10.0, 1.0, -3.0]
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1_000)).fit(scaled, train.rises)
    ours = Logistic(strength=0.3).fit(Examples.of(scaled, train.rises))
    assert ours.predict(other) == pytest.approx(theirs.predict_proba(other)[:, 1], abs=1e-12)


def test_a_constant_feature_does_no_harm_to_the_line():
    train = planted()
    rows = np.column_stack([train.features, np.full(len(train.rises), 7.0)])
    values = Logistic().fit(Examples.of(rows, train.rises)).predict(rows)
    assert values == pytest.approx(fitted(Logistic()).predict(train.features), abs=1e-9)


@EACH
def test_rows_that_cannot_be_learned_are_refused(model):
    train = planted(100)
    with pytest.raises(ModelError, match="no training rows"):
        model.fit(train.take(np.arange(0)))
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


@EACH
def test_parameters_follow_scikit_learns_conventions(model):
    assert model.with_params(**model.get_params()) == model
    name = next(iter(model.get_params()))
    changed = model.with_params(**{name: 7})
    assert changed.get_params()[name] == 7
    assert model.get_params()[name] != 7
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
    for kind, file in (("xgboost", "model.ubj"), ("line", "model.json")):
        with pytest.raises(BundleError, match="not a readable"):
            read_predictor(tmp_path, {"format": kind, "file": file})
