"""Going on from a start: a donor without a glance past the fold, or a version that saw nothing of the test."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.naive_bayes import GaussianNB

from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.errors import ModelError
from cryptoquant.features import Scaler
from cryptoquant.models import (
    LSTM,
    TCN,
    Average,
    Calibrated,
    FineTuned,
    Logistic,
    Ridge,
    Scaled,
    Stacked,
    Weighted,
    XGBoost,
)
from cryptoquant.models.examples import UNKNOWN
from cryptoquant.models.members import out_of_fold
from cryptoquant.models.model import Model, Parameters
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.transfer import fingerprint
from cryptoquant.models.tune import Tune
from cryptoquant.models.windows import predict_rows
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat
from tests.models.datasets import HOUR, area_under_curve, planted, small_dataset
from tests.models.test_bundle import small_bundle
from tests.models.test_sequence import SMALL_LSTM, SMALL_TCN, remembered, weights_of

FIRST = XGBoost(n_estimators=1, learning_rate=1e-6)
BOLD = XGBoost(n_estimators=30, max_depth=8, learning_rate=0.3, min_child_weight=0.0, reg_lambda=0.0, subsample=1.0)


@dataclass(frozen=True, slots=True)
class Told(Parameters):
    """A model that knows no more than which rows it was given first."""

    def fit(self, examples):
        return examples

    def resume(self, start, examples):
        return start


EACH = pytest.mark.parametrize("model", [SMALL_LSTM, SMALL_TCN], ids=["LSTM", "TCN"])


@EACH
def test_going_on_starts_from_the_weights_and_the_scale_of_the_start(model):
    donor, own = remembered(600), remembered(300, seed=3)
    start = model.fit(donor)
    still = replace(model, learning_rate=1e-30, epochs=1).resume(start, own)
    assert weights_of(still) == weights_of(start)
    moved = model.resume(start, own)
    assert np.array_equal(moved.standard.mean, start.standard.mean)
    assert np.array_equal(moved.standard.deviation, start.standard.deviation)
    assert weights_of(moved) == weights_of(model.resume(start, own))


def test_what_many_rows_taught_helps_where_there_are_few():
    model = replace(SMALL_TCN, epochs=12)
    donor, own, test = remembered(1_500), remembered(80, seed=3), remembered(800, seed=1)
    skill = []
    for one in (replace(model, epochs=3), FineTuned(replace(model, epochs=3, learning_rate=1e-3), donor, base=model)):
        later = replace(own, times=own.times + donor.times[-1], label_known=own.label_known + donor.times[-1])
        found = predict_rows(one.fit(later), test, np.arange(7, len(test)))
        skill.append(area_under_curve(test.rises[7:], found))
    assert skill[1] > 0.75
    assert skill[1] > skill[0] + 0.1


@EACH
def test_a_start_of_another_kind_or_shape_is_refused(model):
    train = remembered(300)
    start = model.fit(train)
    other = SMALL_TCN if isinstance(model, LSTM) else SMALL_LSTM
    with pytest.raises(ModelError, match="goes on from"):
        other.resume(start, train)
    with pytest.raises(ModelError, match="goes on from"):
        model.resume(Scaled(model).fit(train), train)
    for changed in ({"window": 9}, {"units": 9} if isinstance(model, LSTM) else {"channels": 9}):
        name, size = next(iter(changed.items()))
        with pytest.raises(ModelError, match=f"another shape: {name} 8, wanted {size}"):
            replace(model, **changed).resume(start, train)
    wide = replace(train, features=np.column_stack([train.features, train.features]))
    with pytest.raises(ModelError, match="2 features, wanted 4"):
        model.resume(start, wide)


@EACH
def test_a_donor_row_known_after_the_last_training_label_moves_no_weight(model):
    donor, own = remembered(800), remembered(200, seed=3)
    last = int(own.label_known.max())
    late = donor.label_known > last
    assert 0 < late.sum() < len(donor)
    features, rises = donor.features.copy(), donor.rises.copy()
    features[late] = 1e3
    rises[late] = 1.0
    tuned = FineTuned(model, donor)
    altered = FineTuned(model, replace(donor, features=features, rises=rises))
    assert weights_of(tuned.fit(own)) == weights_of(altered.fit(own))
    unknown = np.where(late, UNKNOWN, donor.label_known)
    assert weights_of(tuned.fit(own)) == weights_of(FineTuned(model, replace(donor, label_known=unknown)).fit(own))
    early = np.flatnonzero(~late)
    features = donor.features.copy()
    features[early[0]] += 1.0
    assert weights_of(tuned.fit(own)) != weights_of(FineTuned(model, replace(donor, features=features)).fit(own))


def noise(rows: int = 800):
    examples = planted(rows, columns=3, strength=0.0, seed=11)
    return replace(examples, label_known=examples.times + 6 * HOUR)


@pytest.mark.parametrize("wrap", [lambda model: model, Weighted, lambda model: Average((model, Logistic(1e-6)))])
def test_noise_that_the_donor_holds_too_is_not_foretold_out_of_fold(wrap):
    examples = noise()
    values = out_of_fold(wrap(FineTuned(FIRST, examples, BOLD)), examples, 4, timedelta(hours=6))
    for block in np.array_split(np.arange(len(examples)), 4):
        assert 0.38 < area_under_curve(examples.rises[block], values[block]) < 0.62


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_what_is_calibrated_on_noise_that_the_donor_holds_too_is_not_sure(method):
    examples, test = noise(), replace(planted(800, columns=3, strength=0.0, seed=12))
    values = Calibrated(FineTuned(FIRST, examples, BOLD), method).fit(examples).predict(test.features)
    loss = -np.mean(np.log(np.where(test.rises == 1.0, values, 1.0 - values)))
    assert loss == pytest.approx(np.log(2.0), abs=0.03)


def test_tuning_over_purged_blocks_finds_nothing_in_noise_that_the_donor_holds_too():
    examples = noise()
    tune = Tune(2, {"n_estimators": (1, 2)}, inner="all", storage="memory")
    trials = tune.search(FineTuned(FIRST, examples, BOLD), examples)[1]
    assert all(trial["loss"] > 0.68 for trial in trials)


@given(
    st.lists(st.tuples(st.integers(0, 330), st.integers(0, 60)), min_size=1, max_size=3),
    st.integers(1, 30),
)
def test_a_donor_row_whose_life_touches_a_barred_span_teaches_nothing(spans, life):
    """What the base is given lies wholly before or wholly after each span."""
    donor = replace(planted(300), label_known=HOUR * np.arange(1, 301) + life * HOUR)
    barred = tuple((HOUR * start, HOUR * (start + length)) for start, length in spans)
    own = replace(planted(20), label_known=np.full(20, 400 * HOUR), barred=barred)
    wanted = np.ones(300, dtype=bool)
    for row in range(300):
        lived = range(row + 1, row + 2 + life)
        wanted[row] = not any(start <= hour <= start + length for start, length in spans for hour in lived)
    tuned = FineTuned(Told(), donor)
    if not wanted.any():
        with pytest.raises(ModelError, match=r"was known by .* outside the time that is judged"):
            tuned.fit(own)
        return
    learned = tuned.fit(own)
    assert learned.times.tolist() == donor.times[wanted].tolist()
    assert learned.barred == barred


def test_a_bundle_that_knew_what_is_judged_is_no_start():
    examples = small_dataset(days=25).examples
    known = examples.take(np.flatnonzero(examples.is_known))
    bundle = small_bundle(replace(SMALL_TCN, epochs=1))
    start = int(known.times[400])
    tuned = FineTuned(replace(SMALL_TCN, epochs=1), replace(bundle, trained_until=start - 1))
    judged = replace(known, barred=((start, start + 5 * HOUR), (start + 9 * HOUR, start + 10 * HOUR)))
    assert tuned.fit(judged)
    for until in (start, start + HOUR, int(known.label_known.max())):
        late = FineTuned(SMALL_TCN, replace(bundle, trained_until=until))
        with pytest.raises(ModelError, match=r"what is judged begins at .*: it may have seen the test"):
            late.fit(judged)
    with pytest.raises(ModelError, match=r"inner fold 0 of 4: .* may have seen the test"):
        Calibrated(tuned).fit(known)


@pytest.mark.parametrize("model", [SMALL_LSTM, SMALL_TCN, XGBoost(n_estimators=5)], ids=["LSTM", "TCN", "XGBoost"])
def test_a_scaled_model_goes_on_on_the_scale_of_its_start(model):
    donor, own = remembered(300), remembered(300, seed=3)
    far = [replace(one, features=1e4 + 100.0 * one.features) for one in (donor, own)]
    scaling = Scaler("robust", 4.0).fit(far[0].features)
    near = [replace(one, features=scaling.transform(one.features)) for one in far]
    by_hand = model.resume(model.fit(near[0]), near[1])
    tuned = FineTuned(Scaled(model, Scaler("robust", 4.0)), far[0]).fit(far[1])
    assert np.array_equal(tuned.scaling.numbers, scaling.numbers)
    rows = np.arange(len(own))
    assert np.array_equal(predict_rows(tuned, far[1], rows), predict_rows(by_hand, near[1], rows), equal_nan=True)
    twice = FineTuned(Scaled(Scaled(model, Scaler("robust", 4.0)), Scaler("robust", 4.0)), far[0]).fit(far[1])
    assert isinstance(twice.predictor.predictor, type(by_hand))


def test_a_scaled_start_of_another_kind_is_refused():
    train = remembered(300)
    model = XGBoost(n_estimators=2)
    scaled = Scaled(model)
    for start in (model.fit(train), Scaled(Logistic()).fit(train)):
        with pytest.raises(ModelError, match=r"go(es)? on from"):
            scaled.resume(start, train)
    with pytest.raises(ModelError, match="Logistic cannot go on from a start"):
        Scaled(Logistic()).resume(scaled.fit(train), train)
    with pytest.raises(ModelError, match=r"kind='rank'.*wanted .*kind='standard'"):
        scaled.resume(Scaled(model, Scaler("rank")).fit(train), train)
    wide = replace(train, features=np.column_stack([train.features, train.features]))
    with pytest.raises(ModelError, match="another number of features"):
        scaled.resume(scaled.fit(train), wide)


@pytest.mark.parametrize("around", [lambda one: one, Calibrated, Weighted, lambda one: Stacked((Logistic(), one))])
def test_a_scaler_around_a_start_that_it_would_not_reach_is_refused(around):
    tuned = FineTuned(XGBoost(), remembered(100))
    with pytest.raises(TypeError, match=r"would not be scaled: wanted FineTuned\(Scaled\(model\), start\)"):
        Scaled(around(tuned))
    assert around(FineTuned(Scaled(XGBoost()), remembered(100)))


def test_the_base_learns_from_the_donor_and_the_model_goes_on():
    donor, own = remembered(300), remembered(300, seed=3)
    base, model = replace(SMALL_TCN, seed=5), replace(SMALL_TCN, learning_rate=1e-3)
    by_hand = model.resume(base.fit(donor), own)
    assert weights_of(FineTuned(model, donor, base).fit(own)) == weights_of(by_hand)
    by_hand = model.resume(model.fit(donor), own)
    assert weights_of(FineTuned(model, donor).fit(own)) == weights_of(by_hand)


def test_a_donor_that_knew_nothing_yet_or_has_other_features_is_refused():
    donor, own = remembered(300), remembered(300, seed=3)
    later = replace(donor, label_known=donor.label_known + 10_000 * HOUR)
    with pytest.raises(ModelError, match="no label of the donor's 300 rows was known by 1970"):
        FineTuned(SMALL_TCN, later).fit(own)
    with pytest.raises(ModelError, match="the donor has 1 features, wanted 2"):
        FineTuned(SMALL_TCN, replace(donor, features=donor.features[:, :1])).fit(own)
    with pytest.raises(ModelError, match="no training rows"):
        FineTuned(SMALL_TCN, donor).fit(own.take(np.arange(0)))


def test_a_bundle_is_a_start_only_for_what_it_has_not_seen():
    dataset = small_dataset(days=25)
    examples = dataset.examples
    known = examples.take(np.flatnonzero(examples.is_known))
    bundle = small_bundle(replace(SMALL_TCN, epochs=1))
    seen = small_dataset(days=15).examples
    until = int(seen.label_known[seen.is_known].max())
    last = int(known.label_known.max())
    model = replace(SMALL_TCN, epochs=1)
    tuned = FineTuned(model, replace(bundle, trained_until=until)).fit(known)
    assert weights_of(tuned) == weights_of(model.resume(bundle.predictor, known))
    assert weights_of(FineTuned(model, replace(bundle, trained_until=last)).fit(known)) == weights_of(tuned)
    with pytest.raises(ModelError, match=r"was trained on labels known until .*may have seen the test"):
        FineTuned(model, replace(bundle, trained_until=last + 1)).fit(known)
    with pytest.raises(ModelError, match="does not say until when it was trained"):
        FineTuned(model, bundle).fit(known)
    narrow = replace(known, features=known.features[:, :2])
    with pytest.raises(ModelError, match="has 3 features, wanted 2"):
        FineTuned(model, replace(bundle, trained_until=until)).fit(narrow)
    with pytest.raises(ModelError, match="goes on from"):
        FineTuned(SMALL_LSTM, replace(bundle, trained_until=until)).fit(known)


def test_what_cannot_go_on_is_refused_with_the_names_of_those_that_can():
    donor = remembered(100)
    for model in (Logistic(), Scaled(Logistic()), Scaled(Scaled(Ridge())), Calibrated(XGBoost()), GaussianNB()):
        with pytest.raises(TypeError, match=r"cannot go on from a start; LSTM, TCN and XGBoost can, also Scaled"):
            FineTuned(model, donor)
    for strange in ("LSTM", None, LSTM):
        with pytest.raises(TypeError, match="wanted a model or a classifier"):
            FineTuned(strange, donor)
    with pytest.raises(TypeError, match="wanted a model or a classifier"):
        FineTuned(SMALL_LSTM, donor, base="LSTM")
    with pytest.raises(TypeError, match="start must be Examples, a Dataset or a Bundle, found str"):
        FineTuned(SMALL_LSTM, "the model of last week")
    with pytest.raises(ValueError, match="base: a bundle is a start already"):
        FineTuned(SMALL_TCN, small_bundle(replace(SMALL_TCN, epochs=1)), base=SMALL_TCN)


def test_parameters_are_the_models_and_the_start_is_told_by_its_digest():
    donor = remembered(100)
    tuned = FineTuned(SMALL_LSTM, donor)
    assert isinstance(tuned, Model)
    assert tuned.get_params() == {
        **SMALL_LSTM.get_params(),
        "model": "LSTM",
        "base": None,
        "start": fingerprint(donor),
    }
    assert tuned.with_params(epochs=9).get_params() == {**tuned.get_params(), "epochs": 9}
    with pytest.raises(ValueError, match="has no parameter depth"):
        tuned.with_params(depth=1)
    assert fingerprint(donor) == fingerprint(remembered(100))
    for changed in ({"rises": 1.0 - donor.rises}, {"ordinals": donor.ordinals + 1}):
        assert fingerprint(replace(donor, **changed)) != fingerprint(donor)
    dataset = small_dataset(days=15)
    assert fingerprint(dataset) == dataset.fingerprint
    bundle = small_bundle()
    assert fingerprint(bundle) == fingerprint(small_bundle())
    assert fingerprint(bundle) != fingerprint(replace(bundle, trained_until=5))
    assert fingerprint(bundle) != fingerprint(small_bundle(Logistic()))


def test_the_configuration_is_the_same_in_another_process():
    code = (
        "import json\n"
        "from cryptoquant.models import LSTM, FineTuned\n"
        "from tests.models.datasets import planted\n"
        "from tests.models.test_bundle import small_bundle\n"
        "for start in (planted(100), small_bundle()):\n"
        "    print(json.dumps(FineTuned(LSTM(), start).get_params(), default=str))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = [FineTuned(LSTM(), start).get_params() for start in (planted(100), small_bundle())]
    assert done.stdout.splitlines() == [json.dumps(one, default=str) for one in told]


def test_a_walk_forward_study_pretrains_on_many_symbols_and_tunes_on_one(tmp_path):
    dataset = small_dataset(days=20)
    model = FineTuned(replace(SMALL_TCN, epochs=1), dataset, base=TCN(8, 8, 2, epochs=1))
    splits = WalkForward(timedelta(days=8), timedelta(days=6))
    own = dataset.of("BTC/USD")
    study = walk_forward(own, model, LongFlat(0.5), splits, ledger=TrialLedger(tmp_path / "trials"))
    again = walk_forward(own, model, LongFlat(0.5), splits, ledger=TrialLedger(tmp_path / "again"), jobs=2)
    assert study.signals.equals(again.signals)
    assert study.key == again.key
    assert set(study.signals["symbol"]) == {"BTC/USD"}
    bundle = study.to_bundle("tuned")
    later = FineTuned(replace(SMALL_TCN, epochs=1), bundle)
    with pytest.raises(ModelError, match="may have seen the test"):
        walk_forward(own, later, LongFlat(0.5), splits, ledger=TrialLedger(tmp_path / "later"))
