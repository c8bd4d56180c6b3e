"""Models inside models: every parameter has a name by which it can be said again, and every member is a model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as Regression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryptoquant import models
from cryptoquant.features import Scaler
from cryptoquant.models import (
    LSTM,
    TCN,
    Average,
    Calibrated,
    Estimator,
    ExtraTrees,
    FineTuned,
    HistGradientBoosting,
    Logistic,
    RandomForest,
    Ridge,
    Scaled,
    Stacked,
    Vetoed,
    Weighted,
    XGBoost,
    as_model,
)
from cryptoquant.models.model import Model
from tests.models.datasets import planted

TRAIN = planted(400)
CONTINUABLE = (LSTM(units=8), TCN(channels=8), XGBoost(max_depth=3, early_stopping_rounds=5))
PLAIN = (
    *CONTINUABLE,
    Logistic(0.5),
    Ridge(0.2),
    ExtraTrees(4),
    RandomForest(4, max_features=0.5),
    HistGradientBoosting(4),
    Estimator(GaussianNB()),
    Estimator(make_pipeline(StandardScaler(), LogisticRegression())),
)
SCALERS = st.builds(Scaler, st.sampled_from(("standard", "robust")), st.none() | st.floats(1.0, 9.0))
WRAPPERS = {
    "model": lambda model: Calibrated(model, "isotonic", 3),
    "estimator": lambda model: Weighted(model, "returns", 0.5),
    "veto": lambda model: Vetoed(model, 0.9, 50),
    "average": lambda model: Average((Logistic(), model), (1.0, 2.0)),
    "stack": lambda model: Stacked((model, Ridge()), Logistic(0.1), 3),
    "final": lambda model: Stacked((Logistic(),), model),
}


def scaled(inner):
    return st.builds(Scaled, inner, SCALERS)


def wrapped(inner):
    return st.builds(lambda name, model: WRAPPERS[name](model), st.sampled_from(sorted(WRAPPERS)), inner)


def tuned(model, base):
    return FineTuned(model, TRAIN, model if base else None)


NESTED = st.recursive(st.sampled_from(PLAIN), lambda inner: scaled(inner) | wrapped(inner), max_leaves=4)
TUNED = st.builds(tuned, st.recursive(st.sampled_from(CONTINUABLE), scaled, max_leaves=3), st.booleans())
ANY = NESTED | st.recursive(TUNED, wrapped, max_leaves=3)


def test_the_kinds_that_are_tried_are_all_there_are():
    kinds = {type(one).__name__ for one in PLAIN}
    kinds |= {type(make(Logistic())).__name__ for make in WRAPPERS.values()} | {"Scaled", "FineTuned"}
    assert kinds == {name for name in models.__all__ if isinstance(getattr(models, name), type)}


@given(ANY)
@settings(max_examples=60, deadline=None)
def test_what_a_model_says_of_itself_makes_it_again(model):
    params = model.get_params()
    again = model.with_params(**params)
    assert type(again) is type(model)
    assert repr(again.get_params()) == repr(params)
    for name in params:
        one = model.with_params(**{name: params[name]})
        assert repr(one.get_params()) == repr(params), name


@given(NESTED, SCALERS)
@settings(max_examples=60, deadline=None)
def test_a_scaled_model_keeps_every_parameter_of_what_is_in_it(model, scaler):
    inner, outer = model.get_params(), Scaled(model, scaler).get_params()
    assert {name: repr(outer[name]) for name in inner} == {name: repr(value) for name, value in inner.items()}
    own = [value for name, value in outer.items() if name not in inner]
    assert own == [type(model).__name__, scaler.kind, scaler.limit]


def test_names_that_are_taken_get_a_prefix():
    model = Scaled(Scaled(Calibrated(Logistic())), Scaler("robust"))
    told = {name: value for name, value in model.get_params().items() if name.rpartition("_")[2] in ("model", "scaler")}
    assert told == {
        "model": "Logistic",
        "scaled_model": "Calibrated",
        "scaler": "standard",
        "scaled_scaled_model": "Scaled",
        "scaled_scaler": "robust",
    }
    changed = model.with_params(scaled_scaler="rank", scaler="robust", model__strength=0.5)
    assert changed == Scaled(Scaled(Calibrated(Logistic(0.5)), Scaler("robust")), Scaler("rank"))
    tuned = FineTuned(Scaled(XGBoost()), TRAIN)
    assert (tuned.get_params()["model"], tuned.get_params()["tuned_model"]) == ("XGBoost", "Scaled")
    assert tuned.with_params(limit=2.0).model == Scaled(XGBoost(), Scaler(limit=2.0))


@pytest.mark.parametrize(
    ("model", "params", "text"),
    [
        (Scaled(Logistic()), {"model": "Ridge"}, "Scaled: model is 'Logistic', not 'Ridge'"),
        (Scaled(Calibrated(Logistic())), {"scaled_model": "Vetoed"}, "scaled_model is 'Calibrated', not 'Vetoed'"),
        (FineTuned(XGBoost(), TRAIN), {"model": "LSTM"}, "FineTuned: model is 'XGBoost', not 'LSTM'"),
        (FineTuned(XGBoost(), TRAIN), {"base": ["XGBoost", {}]}, "base is None"),
        (FineTuned(XGBoost(), TRAIN), {"start": "0" * 64}, "another one is another FineTuned"),
    ],
)
def test_what_is_another_model_is_not_a_parameter(model, params, text):
    with pytest.raises(ValueError, match=text):
        model.with_params(**params)


# Members


AROUND = {
    "Calibrated": Calibrated,
    "Weighted": lambda one: Weighted(one, None),
    "Vetoed": Vetoed,
    "Scaled": Scaled,
    "Average": lambda one: Average((one, Logistic())),
    "Stacked": lambda one: Stacked((Logistic(), one)),
    "final": lambda one: Stacked((Logistic(),), one),
}
EACH = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)


@EACH
def test_an_estimator_of_scikit_learn_is_a_member_as_it_is(around):
    plain, told = around(GaussianNB()), around(Estimator(GaussianNB()))
    assert isinstance(plain, Model)
    assert plain == told
    rows = TRAIN.features[:50]
    values = [np.stack(model.fit(TRAIN).predict(rows)) for model in (plain, told)]
    assert np.array_equal(*values, equal_nan=True)


@EACH
@pytest.mark.parametrize("strange", ["Logistic", None, Logistic, 3], ids=str)
def test_what_is_no_model_is_refused_at_once(around, strange):
    with pytest.raises(TypeError, match="wanted a model or a classifier or regressor of scikit-learn"):
        around(strange)


def test_a_member_is_exchanged_for_an_estimator_but_not_for_nothing():
    changed = Stacked((Logistic(),)).with_params(final=Regression())
    assert changed.final == as_model(Regression())
    with pytest.raises(TypeError, match="wanted a model"):
        Calibrated(Logistic()).with_params(model=None)
