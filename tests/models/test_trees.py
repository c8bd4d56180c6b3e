"""Trees as flat arrays: what each library says of a row, said faster, and never a walk out of a damaged file."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models import ExtraTrees, HistGradientBoosting, Logistic, RandomForest, XGBoost
from cryptoquant.models.forest import Forest, Nodes, widened
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.objectives import log_loss
from cryptoquant.models.splits import hold_out
from cryptoquant.models.tabular import balanced
from cryptoquant.models.trees import Trees
from cryptoquant.models.ubjson import read_ubjson
from tests.models.datasets import HOUR, planted

ANY = st.floats(allow_nan=False, width=64)
SMALL = planted(1_500, columns=6, seed=4)
ROWS = np.random.default_rng(8).standard_normal((700, 6))


@given(arrays.arrays(np.float64, 20, elements=ANY), arrays.arrays(np.float64, 20, elements=ANY))
def test_a_widened_threshold_says_of_doubles_what_the_threshold_says_of_singles(values, thresholds):
    bounds = np.tile(thresholds, 4)
    with np.errstate(all="ignore"):
        sides = [np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf)]
        near = np.concatenate([values, thresholds, *sides])
        edges = widened(bounds)
        for tested in (near, edges, np.nextafter(edges, np.inf)):
            finite = np.isfinite(tested) & np.isfinite(bounds)
            wanted = tested.astype(np.float32) <= bounds
            assert np.array_equal((tested <= edges)[finite], wanted[finite])


@pytest.mark.parametrize(("depth", "leaves"), [(1, 1.0), (4, 20.0), (9, 0.1)])
def test_boosted_trees_say_what_xgboost_says(depth, leaves):
    model = XGBoost(n_estimators=33, max_depth=depth, min_child_weight=leaves, seed=2)
    rare = SMALL.take(np.flatnonzero((SMALL.rises == 1.0) | (np.arange(1_500) % 4 == 0)))
    trees = model.fit(rare)
    rows = ROWS.copy()
    rows[::7, 2] = np.nan
    rows[0] = np.nan
    rows[1:40, 0] = rare.features[:39, 0]
    theirs = trees.booster().inplace_predict(rows.astype(np.float32), missing=np.nan)
    assert trees.predict(rows) == pytest.approx(theirs, abs=1e-6)
    assert trees.rounds == trees.booster().num_boosted_rounds() == 33


def test_thresholds_that_rows_meet_exactly_are_met_as_by_xgboost():
    trees = XGBoost(n_estimators=10, seed=2).fit(SMALL)
    limits = np.unique(trees.forest.thresholds[np.isfinite(trees.forest.thresholds)])
    singles = limits.astype(np.float32)
    near = np.concatenate([singles, np.nextafter(singles, np.float32(9)), np.nextafter(singles, np.float32(-9))])
    rows = np.repeat(near[:, None], 6, axis=1).astype(np.float64)
    assert trees.predict(rows) == pytest.approx(trees.booster().inplace_predict(rows.astype(np.float32)), abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(RandomForest, RandomForestClassifier), (ExtraTrees, ExtraTreesClassifier)]
)
@pytest.mark.parametrize("grown", [{"max_depth": 7, "min_samples_leaf": 5}, {"max_depth": None, "min_samples_leaf": 1}])
def test_forests_say_what_scikit_learn_says(ours, theirs, grown):
    weighted = replace(SMALL, weights=np.random.default_rng(1).random(1_500))
    trees = ours(n_estimators=13, max_features=0.5, seed=6, **grown).fit(weighted)
    fitted = theirs(n_estimators=13, max_features=0.5, random_state=6, **grown)
    fitted.fit(SMALL.features, SMALL.rises, sample_weight=weighted.weights)
    rows = np.vstack([ROWS, SMALL.features])
    assert trees.predict(rows) == pytest.approx(fitted.predict_proba(rows)[:, 1], abs=1e-12)


def test_histogram_boosting_says_what_scikit_learn_says_of_holes_too():
    trees = HistGradientBoosting(max_iter=20, max_features=0.5, seed=6).fit(SMALL)
    fitted = HistGradientBoostingClassifier(
        max_iter=20, learning_rate=0.05, max_depth=4, l2_regularization=1.0, early_stopping=False, max_features=0.5,
        random_state=6,
    ).fit(SMALL.features, SMALL.rises)  # fmt: skip
    rows = ROWS.copy()
    rows[::5, 0] = np.nan
    assert trees.predict(rows) == pytest.approx(fitted.predict_proba(rows)[:, 1], abs=1e-12)


def test_binary_json_is_read_as_xgboost_writes_it():
    booster = XGBoost(n_estimators=4).fit(SMALL).booster()
    ours = read_ubjson(bytes(booster.save_raw("ubj")))
    theirs = json.loads(bytes(booster.save_raw("json")))
    for one, two in zip(
        ours["learner"]["gradient_booster"]["model"]["trees"],
        theirs["learner"]["gradient_booster"]["model"]["trees"],
        strict=True,
    ):
        for name in ("split_indices", "left_children", "right_children", "default_left", "split_type"):
            assert list(one[name]) == two[name]
        assert np.array_equal(one["split_conditions"], np.array(two["split_conditions"], dtype=np.float32))
        assert one["tree_param"] == two["tree_param"]
    assert ours["learner"]["learner_model_param"] == theirs["learner"]["learner_model_param"]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"Z", None),
        (b"{i\x01aTi\x01b[i\x01U\xffF]}", {"a": True, "b": [1, 255, False]}),
        (b"[#i\x02d\x3f\x80\x00\x00D\x40\x00\x00\x00\x00\x00\x00\x00", [1.0, 2.0]),
        (b"SI\x00\x02\xc3\xa4", "ä"),
    ],
)
def test_binary_json_by_hand(content, value):
    assert read_ubjson(content) == value
    with pytest.raises(ValueError, match=r"wanted|end at"):
        read_ubjson(content[:-1] if value is not None else b"q")


def saved(model, folder):
    told = model.fit(SMALL).save(folder)
    return told, folder / told["file"]


def test_a_damaged_ubj_file_is_refused_or_says_something_else_and_never_crashes(tmp_path):
    told, path = saved(XGBoost(n_estimators=3), tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 300):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        try:
            assert read_predictor(tmp_path, told).predict(ROWS).shape == (700,)
        except BundleError:
            refused += 1
    assert refused > 50
    path.write_bytes(whole[:-40])
    with pytest.raises(BundleError, match="not a readable xgboost model: the bytes end"):
        read_predictor(tmp_path, told)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("steps", lambda steps: steps[:-1]),
        ("steps", lambda steps: steps + np.uint32([0, 1])),
        ("steps", lambda steps: np.zeros_like(steps)),
        ("steps", lambda steps: steps + np.uint32([99, 0])),
        ("steps", lambda steps: np.minimum(steps, np.uint32(7))),
        ("thresholds", lambda limits: np.zeros_like(limits)),
        ("rights", lambda rights: ~rights),
        ("values", lambda values: values[:5]),
    ],
)
def test_arrays_that_hold_no_trees_are_refused(tmp_path, name, change):
    told, path = saved(RandomForest(n_estimators=6), tmp_path)
    kept = load_file(path)
    save_file({**kept, name: np.ascontiguousarray(change(kept[name]))}, path)
    with pytest.raises(BundleError, match="not a readable trees model"):
        read_predictor(tmp_path, told)
    save_file({one: array for one, array in kept.items() if one != name}, path)
    with pytest.raises(BundleError, match=f"no array {name}"):
        read_predictor(tmp_path, told)
    save_file(kept, path)
    for wrong in ({"roots": 3}, {"roots": 0}, {"features": 2}, {"divisor": 0.0}, {"base": float("nan")}):
        with pytest.raises(BundleError):
            read_predictor(tmp_path, {**told, **wrong})


@pytest.mark.parametrize(("left", "right"), [([1, -1, 0], [2, -1, 1]), ([1, -1, -1], [-1, -1, -1]), ([1, -1], [5, -1])])
def test_nodes_that_are_no_tree_are_refused(left, right):
    blank = np.zeros(len(left))
    nodes = Nodes(blank, blank, np.array(left), np.array(right), blank, blank)
    with pytest.raises((ValueError, IndexError)):
        Forest.of([nodes])


def test_a_kept_model_of_xgboost_predicts_without_xgboost(tmp_path):
    told, _ = saved(XGBoost(n_estimators=5), tmp_path)
    code = (
        "import sys, json, numpy as np\nfrom pathlib import Path\n"
        "from cryptoquant.models.formats import read_predictor\n"
        f"values = read_predictor(Path({str(tmp_path)!r}), {told!r}).predict(np.zeros((1, 6)))\n"
        "print(values[0] > 0, *[name for name in ('xgboost', 'sklearn', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_other_models_of_xgboost_are_refused(tmp_path):
    matrix = xgboost.DMatrix(SMALL.features, label=SMALL.returns)
    for name, settings in (("reg:squarederror", {}), ("dart", {"objective": "binary:logistic", "booster": "dart"})):
        target = xgboost.DMatrix(SMALL.features, label=SMALL.rises) if settings else matrix
        booster = xgboost.train({"nthread": 1, **settings}, target, 2)
        (tmp_path / "model.ubj").write_bytes(bytes(booster.save_raw("ubj")))
        with pytest.raises(BundleError, match=rf"{name}.*: wanted binary:logistic, gbtree"):
            read_predictor(tmp_path, {"format": "xgboost", "file": "model.ubj"})


def test_boosting_goes_on_where_it_stood():
    first, more = XGBoost(n_estimators=8, seed=1), XGBoost(n_estimators=5, seed=1)
    start = first.fit(SMALL)
    later = planted(900, columns=6, seed=12)
    resumed = more.resume(start, later)
    assert resumed.rounds == 13
    nodes = resumed.booster().get_dump()
    assert nodes[:8] == start.booster().get_dump()
    assert not np.array_equal(resumed.predict(ROWS), start.predict(ROWS))
    assert start.rounds == 8
    with pytest.raises(ModelError, match="cannot go on from Line, wanted trees of xgboost"):
        more.resume(Logistic().fit(SMALL), SMALL)
    with pytest.raises(ModelError, match="cannot go on from Trees"):
        more.resume(RandomForest(n_estimators=4).fit(SMALL), SMALL)
    with pytest.raises(ModelError, match="trees of 6 features with rows of 4"):
        more.resume(start, planted(100))
    with pytest.raises(ModelError, match="there is no booster"):
        RandomForest(n_estimators=4).fit(SMALL).booster()


EARLY = XGBoost(n_estimators=200, learning_rate=0.3, min_child_weight=1.0, early_stopping_rounds=15, seed=1)


def test_early_stopping_refits_on_all_rows_with_the_rounds_that_it_found():
    stopped = EARLY.fit(SMALL)
    assert 1 <= stopped.rounds < 60
    again = replace(EARLY, n_estimators=stopped.rounds, early_stopping_rounds=None).fit(SMALL)
    assert stopped.content == again.content


def test_boosting_that_goes_on_stops_where_the_latest_rows_are_told_best():
    start = XGBoost(n_estimators=4, seed=1).fit(SMALL)
    later = planted(1_500, columns=6, seed=12)
    stopped = EARLY.resume(start, later)
    added = stopped.rounds - start.rounds
    assert 1 <= added < 60
    again = replace(EARLY, n_estimators=added, early_stopping_rounds=None).resume(start, later)
    assert stopped.content == again.content
    learned, judged = (later.take(rows) for rows in hold_out(later, EARLY.validation))
    losses = []
    for rounds in range(1, added + 16):
        one = replace(EARLY, n_estimators=rounds, early_stopping_rounds=None).resume(start, learned)
        losses.append(log_loss(judged, one.predict(judged.features)))
    assert int(np.argmin(losses)) + 1 == added
    # A start that knows all that there is to learn leaves nothing to go on for.
    ready = EARLY.fit(later)
    assert EARLY.resume(ready, later).rounds - ready.rounds < ready.rounds


def neighbours(blocks: int = 60, length: int = 40, seed: int = 3):
    """Return rows whose feature says only where in time they stand, and whose labels are one coin for each block.

    A label is known when the block after its own ends.
    """
    rng = np.random.default_rng(seed)
    count = blocks * length
    place = np.arange(count) // length
    coins = rng.integers(0, 2, blocks).astype(float)
    examples = planted(count, columns=1)
    times = HOUR * np.arange(1, count + 1)
    features = (place + 0.1 * rng.standard_normal(count))[:, None]
    known = HOUR * np.minimum((place + 2) * length, count)
    rises = coins[place]
    return replace(examples, features=features, rises=rises, returns=rises - 0.5, times=times, label_known=known)


def test_a_leak_into_the_validation_rows_does_not_make_boosting_go_on(monkeypatch):
    """The rows that validate are most of one block, whose coin the rows before them tell."""
    examples = neighbours()
    share = 30 / len(examples.times)
    model = replace(EARLY, validation=share, learning_rate=0.1)
    assert model.fit(examples).rounds < 10

    def unguarded(given, share, embargo):
        cut = round(len(given) * (1.0 - share))
        return np.arange(cut), np.arange(cut, len(given))

    monkeypatch.setattr("cryptoquant.models.boosting.hold_out", unguarded)
    assert model.fit(examples).rounds > 40


def test_an_embargo_keeps_time_free_before_the_validation_rows():
    with pytest.raises(ModelError, match="too few"):
        replace(EARLY, embargo=timedelta(hours=5_000)).fit(SMALL)
    with pytest.raises(ModelError, match="training labels are 1"):
        EARLY.fit(replace(SMALL, rises=(np.arange(1_500) < 1_250).astype(float)))


@pytest.mark.parametrize(
    "wrong",
    [{"early_stopping_rounds": 0}, {"validation": 1.0}, {"validation": 0.0}, {"embargo": timedelta(hours=-1)}],
)
def test_early_stopping_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        XGBoost(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"n_estimators": 0}, {"max_depth": 0}, {"max_features": 1.5}, {"max_features": "log2"}]
)
def test_a_forest_out_of_range_is_refused_by_name(wrong):
    for kind in (RandomForest, ExtraTrees):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            kind(**wrong)


def test_a_value_too_large_for_trees_is_refused():
    large = SMALL.features.copy()
    large[9, 1] = 1e300
    for model in (XGBoost(), RandomForest(), ExtraTrees()):
        with pytest.raises(ModelError, match=r"training row 9: 1e\+300 of feature 1 is too large"):
            model.fit(replace(SMALL, features=large))


def test_trees_travel_between_processes():
    import pickle

    trees = XGBoost(n_estimators=3).fit(SMALL)
    assert np.array_equal(pickle.loads(pickle.dumps(trees)).predict(ROWS), trees.predict(ROWS))
    assert isinstance(trees, Trees)


@pytest.mark.filterwarnings("error")
def test_validation_rows_of_one_class_are_balanced_without_a_warning():
    rises = SMALL.rises.copy()
    rises[-400:] = 0.0
    one = replace(SMALL, rises=rises)
    assert replace(EARLY, class_weight="balanced").fit(one).rounds >= 1
    tail = one.take(np.arange(len(one)) >= len(one) - 400)
    assert (balanced(tail).weights == 0.5).all()
    weightless = replace(one, weights=np.where(rises == 1.0, 0.0, 2.0))
    assert balanced(weightless).weights.tolist() == np.where(rises == 1.0, 0.0, 1.0).tolist()
