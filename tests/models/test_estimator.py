"""Any estimator of scikit-learn: learned as it is, kept as ONNX where that says the same, refused by name where not."""

import builtins
import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBClassifier

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models import Estimator, Logistic, as_model
from cryptoquant.models.estimator import NativePredictor
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.model import Model, Predictor
from tests.models.datasets import area_under_curve, planted


class Plain(LinearRegression):
    """A regressor that no converter knows."""


TRAIN, TEST = planted(200, seed=1), planted(60, seed=2)
CONVERTED = [
    (GaussianNB(), "probability"),
    (KNeighborsClassifier(3), "probability"),
    (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=60, tol=0.1)), "probability"),
    (make_pipeline(StandardScaler(), LogisticRegression()), "probability"),
    (ExtraTreesClassifier(8, max_depth=4), "probability"),
    (LinearSVC(), "score"),
    (make_pipeline(StandardScaler(), LinearRegression()), "expected_return"),
    (DecisionTreeRegressor(max_depth=3), "expected_return"),
]
NATIVE = [
    (HistGradientBoostingClassifier(max_iter=5), "probability"),
    (LinearDiscriminantAnalysis(), "probability"),
]


def called(thing) -> str:
    return getattr(thing, "steps", [[type(thing).__name__]])[-1][0] if not isinstance(thing, str) else thing


def said_by(estimator, kind, rows) -> np.ndarray:
    """Return what scikit-learn itself says, seeded as we seed it."""
    seeds = {name: 0 for name in estimator.get_params() if name.rpartition("__")[2] == "random_state"}
    learner = clone(estimator).set_params(**seeds)
    if kind == "expected_return":
        return learner.fit(TRAIN.features, TRAIN.returns).predict(rows)
    learner.fit(TRAIN.features, TRAIN.rises.astype(int))
    return learner.predict_proba(rows)[:, 1] if kind == "probability" else learner.decision_function(rows)


@pytest.mark.parametrize(("estimator", "kind"), CONVERTED, ids=called)
def test_an_estimator_that_can_be_converted_is_served_as_onnx(estimator, kind, tmp_path):
    predictor = Estimator(estimator).fit(TRAIN)
    assert isinstance(predictor, Predictor)
    assert (predictor.kind, predictor.window) == (kind, 1)
    batch = predictor.predict(TEST.features)
    assert batch == pytest.approx(said_by(estimator, kind, TEST.features), abs=1e-6)
    assert np.array_equal(batch, [predictor.predict(row[None, :])[0] for row in TEST.features])
    assert np.array_equal(batch[::-1], predictor.predict(TEST.features[::-1]))
    assert predictor.predict(TEST.features[:0]).shape == (0,)
    told = predictor.save(tmp_path)
    assert told["format"] == "onnx"
    first = (tmp_path / "model.onnx").read_bytes()
    assert np.array_equal(read_predictor(tmp_path, told).predict(TEST.features), batch)
    assert np.array_equal(pickle.loads(pickle.dumps(predictor)).predict(TEST.features), batch)
    Estimator(estimator).fit(TRAIN).save(tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == first
    with pytest.raises(ModelError, match="rows of 5 features, the model was fitted on 4"):
        predictor.predict(np.zeros((1, 5)))


@pytest.mark.parametrize(("estimator", "kind"), NATIVE, ids=called)
def test_an_estimator_that_cannot_be_converted_runs_but_is_not_kept(estimator, kind, tmp_path):
    predictor = Estimator(estimator).fit(TRAIN)
    batch = predictor.predict(TEST.features)
    assert batch == pytest.approx(said_by(estimator, kind, TEST.features), abs=1e-12)
    assert predictor.predict(TEST.features[:0]).shape == (0,)
    with pytest.raises(ModelError, match=rf"{called(estimator)} cannot be kept: wanted an ONNX file .*cannot be conv"):
        predictor.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_an_estimator_runs_and_saving_names_what_to_install(monkeypatch, tmp_path):
    load = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] in ("skl2onnx", "onnxruntime"):
            raise ImportError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    predictor = Estimator(GaussianNB()).fit(TRAIN)
    assert area_under_curve(TEST.rises, predictor.predict(TEST.features)) > 0.6
    with pytest.raises(ModelError, match=r'pip install "cryptoquant\[onnx\]"'):
        predictor.save(tmp_path)


def test_a_damaged_onnx_file_is_refused(tmp_path):
    told = Estimator(GaussianNB()).fit(TRAIN).save(tmp_path)
    path = tmp_path / "model.onnx"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole[:200] + bytes(100) + whole[300:]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not a readable ONNX model"):
            read_predictor(tmp_path, told)
    path.write_bytes(whole)
    with pytest.raises(BundleError, match="there is no output 9"):
        read_predictor(tmp_path, {**told, "output": 9})


def test_shuffled_labels_give_no_skill_and_a_planted_signal_is_found():
    model, rng = Estimator(make_pipeline(StandardScaler(), GaussianNB())), np.random.default_rng(3)
    train, test = planted(600, seed=1), planted(600, seed=2)
    assert area_under_curve(test.rises, model.fit(train).predict(test.features)) > 0.70
    skills = []
    for _ in range(16):
        shuffled = model.fit(replace(train, rises=rng.permutation(train.rises)))
        skills.append(area_under_curve(test.rises, shuffled.predict(test.features)))
    assert abs(np.mean(skills) - 0.5) < 0.08


def test_parameters_are_those_of_scikit_learn():
    model = Estimator(make_pipeline(StandardScaler(), LogisticRegression()))
    changed = model.with_params(logisticregression__C=0.1, seed=4)
    assert (changed.get_params()["logisticregression__C"], changed.seed) == (0.1, 4)
    assert model.get_params()["logisticregression__C"] == 1.0
    assert model.with_params(**model.get_params()) == model != changed
    assert isinstance(model, Model)
    with pytest.raises(ValueError, match="Pipeline has no parameter depth; it has estimator_class, seed"):
        model.with_params(depth=3)
    with pytest.raises(ValueError, match="another class is another Estimator"):
        model.with_params(estimator_class="SVC")
    assert Estimator(GaussianNB()).get_params() != Estimator(KNeighborsClassifier()).get_params()


def test_weights_are_passed_on_where_they_are_taken_and_refused_where_not():
    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    weighted = replace(TRAIN, weights=weights)
    for learner in (DecisionTreeRegressor(max_depth=2), make_pipeline(StandardScaler(), LogisticRegression())):
        assert not np.array_equal(
            Estimator(learner).fit(weighted).predict(TEST.features),
            Estimator(learner).fit(TRAIN).predict(TEST.features),
        )
    with pytest.raises(ModelError, match="KNeighborsClassifier takes no weights"):
        Estimator(KNeighborsClassifier()).fit(weighted)


def test_the_estimator_given_is_never_fitted_and_a_seed_is_set_where_there_is_none():
    learner = RandomForestClassifier(4, n_jobs=2)
    one, two = (Estimator(learner, seed=5).fit(TRAIN).predict(TEST.features) for _ in range(2))
    assert np.array_equal(one, two)
    assert not hasattr(learner, "classes_")
    assert not np.array_equal(one, Estimator(learner, seed=6).fit(TRAIN).predict(TEST.features))


def test_what_is_no_model_is_refused_at_the_door():
    model = Logistic()
    assert as_model(model) is model
    assert as_model(GaussianNB()) == Estimator(GaussianNB())
    for thing in (GaussianNB, Logistic, StandardScaler(), "XGBoost", None):
        with pytest.raises(TypeError, match="wanted a model or a classifier or regressor of scikit-learn"):
            as_model(thing)
    with pytest.raises(TypeError, match="wanted a classifier or regressor"):
        Estimator(StandardScaler())


@pytest.mark.parametrize("estimator", [make_pipeline(StandardScaler(), LinearRegression()), Plain()], ids=called)
def test_a_regressor_learns_the_targets_and_calls_what_is_no_return_a_score(estimator, tmp_path):
    targets = 3.0 * TRAIN.features[:, 1] + 1.0
    predictor = Estimator(estimator).fit(replace(TRAIN, targets=targets))
    assert isinstance(predictor, NativePredictor) == isinstance(estimator, Plain)
    assert predictor.kind == "score"
    assert predictor.predict(TRAIN.features) == pytest.approx(targets, abs=1e-6)
    if not isinstance(estimator, Plain):
        assert read_predictor(tmp_path, predictor.save(tmp_path)).kind == "score"


def test_a_fit_uses_one_core_whatever_an_estimator_takes_for_all_of_them():
    assert Estimator(XGBClassifier(n_estimators=2)).fit(TRAIN).fitted.n_jobs == 1
    grower = make_pipeline(StandardScaler(), XGBClassifier(n_estimators=2, n_jobs=4))
    assert Estimator(grower).fit(TRAIN).fitted[-1].n_jobs == 1


@pytest.mark.parametrize("estimator", [GaussianNB(), LinearRegression()], ids=called)
def test_rows_that_cannot_be_learned_are_refused(estimator):
    with pytest.raises(ModelError, match="no training rows"):
        Estimator(estimator).fit(TRAIN.take(np.arange(0)))
    with pytest.raises(ModelError, match="nothing to learn"):
        Estimator(estimator).fit(replace(TRAIN, rises=np.ones(200), targets=np.ones(200)))
    broken = TRAIN.features.copy()
    broken[3, 1] = np.inf
    with pytest.raises(ModelError, match="training row 3"):
        Estimator(estimator).fit(replace(TRAIN, features=broken))
