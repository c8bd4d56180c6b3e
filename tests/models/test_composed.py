"""Models made of models: what they learn is learned out of fold, and each says no more than its members know."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.features.weights import uniqueness
from cryptoquant.market.slice import Slice
from cryptoquant.models import (
    Average,
    Calibrated,
    ExtraTrees,
    Logistic,
    Ridge,
    Scaled,
    Stacked,
    Vetoed,
    Weighted,
    XGBoost,
)
from cryptoquant.models.calibration import Sigmoid, Steps
from cryptoquant.models.forecaster import Forecaster
from cryptoquant.models.formats import READERS, read_predictor
from cryptoquant.models.model import Parameters
from cryptoquant.models.windows import predict_rows
from tests.models.datasets import HOUR, planted
from tests.models.test_trees import neighbours

TRAIN, TEST = planted(2_000, seed=1), planted(2_000, seed=2)
DEEP = ExtraTrees(n_estimators=20, max_depth=None, min_samples_leaf=1, seed=1)


@dataclass(frozen=True, slots=True)
class Trailing(Parameters):
    """A model of several rows: the logistic of the mean of the first feature over a window."""

    length: int = 3

    def fit(self, examples):
        return TrailingPredictor(self.length)


@dataclass(frozen=True, slots=True)
class TrailingPredictor:
    window: int
    kind = "probability"

    def predict(self, rows):
        count = len(rows) - self.window + 1
        means = [rows[start : start + self.window, 0].sum() / self.window for start in range(max(count, 0))]
        return 1.0 / (1.0 + np.exp(-np.array(means, dtype=float)))

    def save(self, folder, name="model"):
        return {"format": "trailing", "window": self.window}


def log_loss(rises, values) -> float:
    bounded = np.clip(values, 1e-6, 1 - 1e-6)
    return float(-np.mean(rises * np.log(bounded) + (1 - rises) * np.log(1 - bounded)))


# Calibration


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_values_that_are_too_bold_are_brought_back(method):
    bold = DEEP.fit(TRAIN).predict(TEST.features)
    calm = Calibrated(DEEP, method).fit(TRAIN).predict(TEST.features)
    assert log_loss(TEST.rises, calm) < log_loss(TEST.rises, bold) - 0.01
    assert abs(calm.mean() - TEST.rises.mean()) < 0.05


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_on_rows_that_were_learned_from_would_believe_in_noise(method, monkeypatch):
    noise = replace(TRAIN, rises=np.random.default_rng(5).permutation(TRAIN.rises))
    bold = XGBoost(n_estimators=60, max_depth=6, min_child_weight=1.0, learning_rate=0.3, seed=1)
    honest = Calibrated(bold, method).fit(noise).predict(TEST.features)
    assert honest.std() < 0.06

    def unguarded(model, examples, folds, embargo):
        return model.fit(examples).predict(examples.features)

    monkeypatch.setattr("cryptoquant.models.calibration.out_of_fold", unguarded)
    assert Calibrated(bold, method).fit(noise).predict(TEST.features).std() > 0.2


def test_labels_that_overlap_the_block_teach_calibration_nothing(monkeypatch):
    """A feature that says where in time a row stands knows the labels beside it, if these are not purged."""
    examples = neighbours()
    honest = Calibrated(DEEP, folds=4).fit(examples).predict(examples.features)
    assert honest.std() < 0.2

    def shuffled(self, times, known):
        order = np.random.default_rng(0).permutation(len(times))
        for part in np.array_split(order, self.folds):
            yield np.setdiff1d(order, part), np.sort(part)

    monkeypatch.setattr("cryptoquant.models.splits.PurgedKFold.cut", shuffled)
    assert Calibrated(DEEP, folds=4).fit(examples).predict(examples.features).std() > 0.4


def test_the_sigmoid_is_the_logistic_regression_of_the_values():
    values = np.random.default_rng(1).normal(3.0, 20.0, 5_000)
    rises = (np.random.default_rng(2).random(5_000) < 1 / (1 + np.exp(-0.1 * values + 1.0))).astype(float)
    weights = np.random.default_rng(3).random(5_000)
    ours = Sigmoid.fit(values, rises, weights, is_odds=False)
    theirs = LogisticRegression(C=1e9, tol=1e-10).fit(values[:, None], rises, sample_weight=weights)
    # Platt's targets keep a hair's breadth from 0 and 1.
    assert (ours.slope, ours.offset) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), rel=5e-3, abs=5e-3)
    assert ours.apply(np.array([np.nan, 0.0]))[1] == pytest.approx(1 / (1 + np.exp(-ours.offset)), abs=1e-15)
    assert np.isnan(ours.apply(np.array([np.nan]))[0])


def test_the_sigmoid_of_values_that_part_the_classes_stays_finite():
    values, rises = np.arange(20.0), (np.arange(20) > 9).astype(float)
    curve = Sigmoid.fit(values, rises, np.ones(20), is_odds=False)
    # Platt (1999): with ten of each, targets are 11/12 and 1/12.
    assert 0.7 < curve.apply(values)[-1] < 1.0
    assert (np.diff(curve.apply(values)) > 0).all()
    assert Sigmoid.fit(np.zeros(20), rises, np.ones(20), is_odds=False).apply(np.zeros(1)) == pytest.approx([0.5])


@pytest.mark.parametrize("is_odds", [False, True])
def test_values_that_are_all_the_same_say_how_often_the_price_rose_and_no_more(is_odds):
    rises = (np.arange(3_000) % 4 == 0).astype(float)
    curve = Sigmoid.fit(np.full(3_000, 0.3), rises, np.ones(3_000), is_odds=is_odds)
    assert curve.slope == 0.0
    wanted = (750 * 751 / 752 + 2_250 / 2_252) / 3_000
    assert curve.apply(np.array([0.1, 0.3, 0.9])) == pytest.approx([wanted] * 3, rel=1e-9)


def test_the_steps_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    values, weights = np.round(rng.random(600), 2), rng.random(600) + 0.1
    rises = (rng.random(600) < values).astype(float)
    ours = Steps.fit(values, rises, weights)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(values, rises, sample_weight=weights)
    points = np.concatenate([np.linspace(-0.5, 1.5, 501), values])
    assert ours.apply(points) == pytest.approx(theirs.predict(points), abs=1e-12)
    assert np.isnan(ours.apply(np.array([np.nan]))[0])


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=50)
def test_steps_never_fall(pairs):
    values, rises = np.array([v for v, _ in pairs]), np.array([float(up) for _, up in pairs])
    told = Steps.fit(values, rises, np.ones(len(pairs))).apply(np.sort(values))
    assert (np.diff(told) >= 0.0).all()
    assert told.min() >= 0.0
    assert told.max() <= 1.0


def test_a_regression_becomes_a_probability():
    predictor = Calibrated(Ridge()).fit(TRAIN)
    assert predictor.kind == "probability"
    assert log_loss(TEST.rises, predictor.predict(TEST.features)) == pytest.approx(
        log_loss(TEST.rises, Logistic().fit(TRAIN).predict(TEST.features)), abs=0.01
    )


def test_a_model_of_several_rows_is_calibrated_on_whole_windows_only():
    examples = planted(400)
    predictor = Calibrated(Trailing(5), folds=3).fit(examples)
    assert predictor.window == 5
    values = predict_rows(predictor, examples, np.arange(400))
    assert np.isnan(values[:4]).all()
    assert not np.isnan(values[4:]).any()


@pytest.mark.parametrize(
    ("curve", "text"),
    [
        ({"method": "isotonic", "corners": [1.0, 0.0], "levels": [0.1, 0.2]}, "do not ascend"),
        ({"method": "isotonic", "corners": [0.0, 1.0], "levels": [0.3, 0.2]}, "rising probabilities"),
        ({"method": "isotonic", "corners": [0.0, 1.0], "levels": [0.3, 1.2]}, "rising probabilities"),
        ({"method": "isotonic", "corners": [], "levels": []}, "are no curve"),
        ({"method": "sigmoid", "slope": float("nan"), "offset": 0.0, "is_odds": True}, "are no line"),
    ],
)
def test_a_curve_that_is_none_is_refused(curve, text, tmp_path):
    told = Calibrated(Logistic()).fit(TRAIN).save(tmp_path)
    with pytest.raises(BundleError, match=text):
        read_predictor(tmp_path, {**told, "curve": curve})


# Averages and stacks


def test_an_average_is_the_weighted_mean_of_its_members():
    models = (Logistic(), XGBoost(n_estimators=5), Logistic(0.01))
    one, two, three = (model.fit(TRAIN).predict(TEST.features) for model in models)
    found = Average(models, (1, 2, 5)).fit(TRAIN).predict(TEST.features)
    assert found == pytest.approx((one + 2 * two + 5 * three) / 8, abs=1e-15)
    assert Average(models[:1]).fit(TRAIN).predict(TEST.features) == pytest.approx(one, abs=0.0)
    with pytest.raises(ModelError, match="expected_return and probability have no average"):
        Average((Logistic(), Ridge())).fit(TRAIN)
    for weights in ((1.0,), (1.0, 2.0, 0.0), (1.0, 2.0, float("inf"))):
        with pytest.raises(ValueError, match="weights must be 3 numbers"):
            Average(models, weights)
    with pytest.raises(ValueError, match="wanted at least one model"):
        Average(())


def test_members_with_other_windows_speak_of_the_same_rows():
    examples = planted(60)
    predictor = Average((Trailing(2), Logistic(), Trailing(4))).fit(examples)
    assert predictor.window == 4
    values = predictor.predict(examples.features)
    assert len(values) == 57
    wanted = [TrailingPredictor(2), Logistic().fit(examples), TrailingPredictor(4)]
    for row in (3, 20, 59):
        parts = [member.predict(examples.features[row - member.window + 1 : row + 1])[0] for member in wanted]
        assert values[row - 3] == pytest.approx(sum(parts) / 3, abs=1e-15)
        assert values[row - 3] == predictor.predict(examples.features[row - 3 : row + 1])[0]
    assert predictor.predict(examples.features[:3]).shape == (0,)
    stacked = Stacked((Trailing(4), Logistic()), folds=3).fit(examples)
    assert stacked.window == 4
    assert stacked.predict(examples.features).shape == (57,)


def test_parameters_of_members_carry_their_numbers():
    model = Stacked((XGBoost(), Calibrated(Scaled(Logistic()))), Ridge())
    params = model.get_params()
    assert (params["0"], params["0__max_depth"], params["1__model__strength"]) == ("XGBoost", 4, 1.0)
    changed = model.with_params(**{"0__max_depth": 2, "1__model__strength": 0.5, "final__penalty": 1.0, "folds": 3})
    assert changed == Stacked((XGBoost(max_depth=2), Calibrated(Scaled(Logistic(0.5)))), Ridge(1.0), 3)
    assert model.with_params(**{"1": Logistic()}).models[1] == Logistic()
    with pytest.raises(ValueError, match="0 is a XGBoost, not 'Logistic'"):
        model.with_params(**{"0": "Logistic"})
    with pytest.raises(ValueError, match="Stacked has no parameter 2__depth"):
        model.with_params(**{"2__depth": 2})
    with pytest.raises(ValueError, match="Logistic has no parameter depth"):
        Average((Logistic(),)).with_params(**{"0__depth": 2})


def test_a_stack_learns_whom_to_believe_from_rows_that_its_members_did_not_learn():
    noise = TRAIN.features.copy()
    noise[:, 0] = np.random.default_rng(8).standard_normal(len(noise))
    liar = ExtraTrees(n_estimators=20, max_depth=None, min_samples_leaf=1, max_features=0.25, seed=1)
    honest = Stacked((Logistic(), liar), folds=4).fit(TRAIN)
    loss = log_loss(TEST.rises, honest.predict(TEST.features))
    assert loss < log_loss(TEST.rises, Average((Logistic(), liar)).fit(TRAIN).predict(TEST.features))
    # On rows that it learned the liar is always right: its slope would dwarf that of the other.
    values = np.column_stack([one.fit(TRAIN).predict(TRAIN.features) for one in (Logistic(), liar)])
    fooled = Logistic().fit(replace(TRAIN, features=values))
    assert fooled.slope[1] > 3 * honest.final.slope[1]


def test_a_final_model_of_several_rows_is_refused():
    with pytest.raises(ModelError, match="the final model reads 3 rows"):
        Stacked((Logistic(),), Trailing()).fit(TRAIN)


def test_rows_that_a_member_is_silent_on_get_no_value():
    model = Stacked((Vetoed(Logistic(), 0.9, 300), Ridge())).fit(TRAIN)
    rows = np.vstack([TEST.features[:5], np.full((1, 4), 50.0)])
    assert np.isnan(model.predict(rows)).tolist()[-1]
    assert np.isnan(Average((Vetoed(Logistic()), Logistic())).fit(TRAIN).predict(rows)[-1])


def test_models_within_models_are_kept_in_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "trailing", lambda folder, told, read: TrailingPredictor(told["window"]))
    deep = Average((Calibrated(XGBoost(n_estimators=3)), Stacked((Vetoed(ExtraTrees(4)), Trailing(3)), XGBoost())))
    predictor = deep.fit(TRAIN)
    told = json.loads(json.dumps(predictor.save(tmp_path)))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "model_0.ubj", "model_1_0.safetensors", "model_1_0_near.safetensors", "model_1_final.ubj",
    }  # fmt: skip
    loaded = read_predictor(tmp_path, told)
    assert loaded.window == 3
    assert np.array_equal(loaded.predict(TEST.features), predictor.predict(TEST.features), equal_nan=True)


# Weights


def overlapping(rows: int = 300):
    examples = planted(rows)
    lives = np.random.default_rng(1).integers(1, 20, rows)
    return replace(examples, label_known=examples.times + HOUR * lives, symbols=np.arange(rows) % 2)


def test_weights_are_shares_of_the_time_that_labels_live_through():
    # Labels of (1, 3], (2, 4] and (9, 10]: the first two share one of their two hours.
    times = HOUR * np.array([1, 2, 9])
    known, returns = HOUR * np.array([3, 4, 10]), np.array([0.2, -0.1, 0.4])
    examples = replace(planted(3), times=times, label_known=known, returns=returns)
    assert Weighted(Logistic()).weights(examples) == pytest.approx(np.array([0.75, 0.75, 1.0]) / 2.5 * 3)
    shares = np.array([0.75 * 0.2, 0.75 * 0.1, 0.4])
    assert Weighted(Logistic(), "returns").weights(examples) == pytest.approx(shares / shares.mean())
    # The sum of uniqueness runs 0.75, 1.5, 2.5: a line from one half at 0 to 1 at 2.5.
    aged = 0.5 + 0.5 * np.array([0.75, 1.5, 2.5]) / 2.5
    assert Weighted(Logistic(), None, 0.5).weights(examples) == pytest.approx(aged / aged.mean())
    heavy = replace(examples, weights=np.array([2.0, 0.0, 1.0]))
    assert Weighted(Logistic(), None).weights(heavy) == pytest.approx([2.0, 0.0, 1.0])


def test_weights_are_computed_of_the_rows_given_only_and_change_the_fit():
    examples = overlapping()
    part = examples.take(np.arange(150))
    assert not np.allclose(Weighted(Logistic()).weights(examples)[:150], Weighted(Logistic()).weights(part), atol=1e-3)
    assert Weighted(Logistic()).weights(part).mean() == pytest.approx(1.0)
    assert not np.array_equal(Weighted(Logistic()).fit(examples).slope, Logistic().fit(examples).slope)
    assert callable(uniqueness)


def test_weights_that_cannot_be_told_are_refused():
    with pytest.raises(ModelError, match="known at its decision or before"):
        Weighted(Logistic()).fit(replace(TRAIN, label_known=TRAIN.times))
    with pytest.raises(ModelError, match="no training row counts"):
        Weighted(Logistic(), "returns").fit(replace(TRAIN, returns=np.zeros(2_000)))
    for wrong in ({"by": "size"}, {"decay": -1.0}, {"decay": 1.5}, {"decay": "slow"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Weighted(Logistic(), **wrong)


# Veto


def test_dissimilarity_by_hand():
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 6.0], [2.0, 6.0]])
    examples = replace(planted(4, columns=2), features=rows, rises=np.array([0.0, 1.0, 0.0, 1.0]))
    predictor = Vetoed(Logistic(), 1.0).fit(examples)
    # Standardised, the rows are the corners of a square of side 2: the mean of four sides and two diagonals is typical.
    typical = (4 * 2.0 + 2 * np.sqrt(8.0)) / 6
    assert predictor.threshold == pytest.approx(2.0 / typical)
    assert predictor.dissimilarity(rows) == pytest.approx(np.zeros(4))
    assert predictor.dissimilarity(np.array([[1.0, 3.0]])) == pytest.approx([np.sqrt(2.0) / typical])
    assert predictor.dissimilarity(np.array([[np.nan, 3.0]])) == [np.inf]


def test_rows_like_those_learned_pass_and_strange_ones_do_not():
    model = Vetoed(Logistic(), quantile=0.99, neighbours=500)
    predictor = model.fit(TRAIN)
    values = predictor.predict(TEST.features)
    plain = Logistic().fit(TRAIN).predict(TEST.features)
    passed = ~np.isnan(values)
    assert 0.98 < passed.mean() < 1.0
    assert np.array_equal(values[passed], plain[passed])
    assert np.isnan(predictor.predict(TEST.features + 6.0)).all()
    assert np.isnan(predictor.predict(np.full((1, 4), np.nan))).all()
    # Every training row would be its own nearest, were it not left out.
    assert predictor.threshold > 0.0
    own = predictor.dissimilarity(TRAIN.features)
    assert (own == 0.0).sum() == 500
    assert predictor.threshold >= np.quantile(own, 0.99)


def test_a_signal_tells_how_strange_its_row_was_when_the_model_can_tell():
    market = Slice(HOUR, HOUR, ("A/USD",), np.ones((1, 7)))
    for model, strange in ((Vetoed(Logistic()), True), (Logistic(), False)):
        predictor = model.fit(TRAIN)
        forecaster = Forecaster("m", predictor, ("A/USD",), 4, HOUR)
        (signal,) = forecaster.update(market, TEST.features[:1])
        wanted = float(predictor.dissimilarity(TEST.features[:1])[0]) if strange else None
        assert signal.dissimilarity == wanted


def test_the_veto_knows_training_rows_only():
    first = Vetoed(Logistic()).fit(TRAIN.take(np.arange(1_000)))
    changed = replace(TRAIN, features=np.where(np.arange(2_000)[:, None] < 1_000, TRAIN.features, 99.0))
    second = Vetoed(Logistic()).fit(changed.take(np.arange(1_000)))
    assert np.array_equal(first.dissimilarity(TEST.features), second.dissimilarity(TEST.features))
    assert first.threshold == second.threshold


def test_a_veto_over_windows_looks_at_their_last_row():
    predictor = Vetoed(Trailing(3), 1.0).fit(TRAIN)
    rows = TRAIN.features[:10].copy()
    rows[4] = 99.0
    assert np.flatnonzero(np.isnan(predictor.predict(rows))).tolist() == [2]


def test_a_veto_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ModelError, match="all 2000 training rows are the same"):
        Vetoed(Logistic()).fit(replace(TRAIN, features=np.ones((2_000, 4))))
    for wrong in ({"quantile": 0.0}, {"quantile": 1.5}, {"neighbours": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Vetoed(Logistic(), **wrong)
    predictor = Vetoed(Logistic()).fit(TRAIN)
    with pytest.raises(ModelError, match="rows of 3 features, the veto knows rows of 4"):
        predictor.dissimilarity(np.zeros((1, 3)))
    told = predictor.save(tmp_path)
    content = (tmp_path / told["file"]).read_bytes()
    (tmp_path / told["file"]).write_bytes(content[:100])
    with pytest.raises(BundleError, match="no readable safetensors"):
        read_predictor(tmp_path, told)


def test_embargo_and_folds_out_of_range_are_refused():
    for wrong in ({"folds": 1}, {"embargo": timedelta(-1)}, {"embargo": 3}):
        for make in (lambda **more: Calibrated(Logistic(), **more), lambda **more: Stacked((Logistic(),), **more)):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                make(**wrong)
    with pytest.raises(ValueError, match="method"):
        Calibrated(Logistic(), "linear")
    with pytest.raises(ModelError, match=r"inner fold \d of 4: all \d+ training labels"):
        Calibrated(Logistic()).fit(replace(TRAIN, rises=(np.arange(2_000) == 3).astype(float)))


def test_a_scaler_that_has_no_rows_fails_as_a_model_does():
    for rows, text in ((TRAIN.take(np.arange(0)), "at least one row"), (TRAIN, "column 2 holds no finite value")):
        features = rows.features.copy()
        features[:, 2] = np.nan
        with pytest.raises(ModelError, match=text):
            Scaled(Logistic()).fit(replace(rows, features=features))
