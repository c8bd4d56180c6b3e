"""Splits: no training label reaches into a test, whatever the market looks like."""

from datetime import timedelta

import numpy as np
import pytest
import skfolio.model_selection as skfolio
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from cryptoquant.errors import ModelError
from cryptoquant.models.examples import Examples
from cryptoquant.models.splits import CombinatorialPurged, PurgedKFold, WalkForward, cross_validation, hold_out
from tests.models.datasets import HOUR, planted, small_dataset

UNKNOWN = np.iinfo(np.int64).max


@st.composite
def events(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows in time order, several symbols at a time, gaps, and labels known after random waits."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    slots = draw(st.integers(60, 200))
    symbols = draw(st.integers(1, 3))
    hours = np.flatnonzero(rng.random(slots) < draw(st.sampled_from([0.6, 1.0]))) + 1
    times = np.repeat(hours * HOUR, rng.integers(1, symbols + 1, size=len(hours)))
    known = times + rng.integers(1, draw(st.sampled_from([2, 6, 30])), size=len(times)) * HOUR
    known[known > times[-1]] = UNKNOWN
    return times, known


spans = st.integers(1, 40).map(lambda hours: timedelta(hours=hours))
slices = st.integers(1, 40)
embargoes = st.integers(0, 8).map(lambda hours: timedelta(hours=hours))


@given(events(), spans, spans, embargoes, st.booleans())
def test_no_training_label_is_known_later_than_the_test_starts_less_the_embargo(rows, train, test, embargo, expanding):
    times, known = rows
    try:
        folds = WalkForward(train, test, embargo, expanding).cut(times, known, HOUR)
    except ModelError:
        return
    gap = embargo // timedelta(hours=1) * HOUR
    for fold in folds:
        assert known[fold.train].max() <= fold.test_start - gap
        assert times[fold.train].max() <= fold.test_start < times[fold.test].min()
        assert times[fold.test].max() <= fold.test_end
        assert not set(fold.train) & set(fold.test)
        assert not set(times[fold.train]) & set(times[fold.test])
        if not expanding:
            assert times[fold.train].min() > fold.test_start - train // timedelta(hours=1) * HOUR


@given(events(), spans, spans, st.booleans())
def test_every_row_after_the_first_training_window_is_tested_exactly_once(rows, train, test, expanding):
    times, known = rows
    try:
        folds = WalkForward(train, test, expanding=expanding).cut(times, known, HOUR)
    except ModelError:
        return
    tested = np.concatenate([fold.test for fold in folds])
    assert np.array_equal(tested, np.flatnonzero(times > times[0] - HOUR + train // timedelta(hours=1) * HOUR))
    assert [fold.number for fold in folds] == list(range(len(folds)))


@given(events(), spans, spans, embargoes)
def test_no_row_that_could_have_been_learned_from_is_left_out(rows, train, test, embargo):
    times, known = rows
    try:
        folds = WalkForward(train, test, embargo).cut(times, known, HOUR)
    except ModelError:
        return
    gap, window = (span // timedelta(hours=1) * HOUR for span in (embargo, train))
    for fold in folds:
        fit = [
            row
            for row in range(len(times))
            if fold.test_start - window < times[row] <= fold.test_start and known[row] <= fold.test_start - gap
        ]
        assert fold.train.tolist() == fit


@given(events(), slices, slices, embargoes, st.booleans())
def test_windows_of_slices_hold_that_many_closes_and_are_purged_alike(rows, train, test, embargo, expanding):
    times, known = rows
    gap = embargo // timedelta(hours=1) * HOUR
    try:
        folds = WalkForward(train, test, embargo, expanding).cut(times, known, HOUR)
    except ModelError:
        return
    closes = np.unique(times)
    assert np.array_equal(np.concatenate([fold.test for fold in folds]), np.flatnonzero(times > closes[train - 1]))
    for fold in folds:
        assert len(np.unique(times[fold.test])) == (
            test if fold is not folds[-1] else (len(closes) - train - 1) % test + 1
        )
        first = 0 if expanding else fold.number * test
        window = closes[first : train + fold.number * test]
        fit = np.isin(times, window) & (known <= fold.test_start - gap)
        assert np.array_equal(fold.train, np.flatnonzero(fit))
        assert fold.test_start == window[-1]


def test_what_a_model_of_all_history_learns_from_is_one_training_window():
    times = HOUR * np.repeat(np.arange(1, 31), 2)
    assert WalkForward(10, 5).last_window(times) == 20 * HOUR
    assert WalkForward(timedelta(hours=10), timedelta(hours=5)).last_window(times) == 20 * HOUR
    assert WalkForward(30, 5).last_window(times) == WalkForward(40, 5).last_window(times) == HOUR - 1
    assert WalkForward(10, 5, expanding=True).last_window(times) == HOUR - 1


@pytest.mark.parametrize("purged", [0, 1, 7])
@pytest.mark.parametrize("expanding", [False, True])
def test_walk_forward_equals_skfolio_where_every_label_is_known_as_many_bars_later(purged, expanding):
    times = HOUR * np.arange(1, 201, dtype=np.int64)
    ours = WalkForward(60, 20, expanding=expanding).cut(times, times + purged * HOUR, HOUR)
    theirs = skfolio.WalkForward(
        test_size=20, train_size=60 - purged, purged_size=purged, expand_train=expanding, reduce_test=True
    )
    pairs = list(theirs.split(np.zeros((200, 1))))
    assert len(ours) == len(pairs) == 7
    for (train, test), (learned, judged) in zip(ours, pairs, strict=True):
        assert np.array_equal(train, learned)
        assert np.array_equal(test, judged)


@pytest.mark.parametrize(
    ("folds", "tested", "purged", "embargo"), [(6, 2, 0, 0), (6, 2, 3, 2), (10, 2, 5, 7), (5, 3, 1, 0)]
)
def test_combinatorial_splits_and_paths_equal_skfolio(folds, tested, purged, embargo):
    times = HOUR * np.arange(1, 301, dtype=np.int64)
    ours = CombinatorialPurged(folds, tested, timedelta(hours=embargo))
    theirs = skfolio.CombinatorialPurgedCV(folds, tested, purged_size=purged, embargo_size=embargo)
    pairs = list(theirs.split(np.zeros((300, 1))))
    cuts = list(ours.cut(times, times + purged * HOUR))
    assert len(cuts) == len(pairs) == theirs.n_splits
    for (train, test), (learned, judged) in zip(cuts, pairs, strict=True):
        assert np.array_equal(train, learned)
        assert np.array_equal(test, np.concatenate(judged))
    assert ours.paths.shape == (theirs.n_test_paths, folds)
    for path, row in enumerate(ours.paths):
        for block, split in enumerate(row):
            assert theirs.get_path_ids()[split][ours.choices[split].index(block)] == path


@given(events(), st.integers(3, 6), st.integers(1, 2), embargoes)
def test_combinatorial_training_rows_live_beside_no_test_block(rows, folds, tested, embargo):
    times, known = rows[0][rows[1] < UNKNOWN], rows[1][rows[1] < UNKNOWN]
    gap = embargo // timedelta(hours=1) * HOUR
    plan = CombinatorialPurged(folds, tested, embargo)
    try:
        cuts = list(plan.cut(times, known))
    except ModelError:
        return
    blocks = np.array_split(np.unique(times), folds)
    for chosen, (train, test) in zip(plan.choices, cuts, strict=True):
        inside = [np.isin(times, blocks[number]) for number in chosen]
        assert np.array_equal(test, np.flatnonzero(np.any(inside, axis=0)))
        free = np.ones(len(times), dtype=bool)
        for within in inside:
            free &= (known < times[within].min()) | (times > known[within].max() + gap)
        assert np.array_equal(train, np.flatnonzero(free))


def test_paths_use_every_block_of_every_split_once_and_rows_know_their_block():
    plan = CombinatorialPurged(6, 2)
    assert plan.paths.shape == (5, 6)
    for split, chosen in enumerate(plan.choices):
        assert sorted(np.argwhere(plan.paths == split)[:, 1]) == list(chosen)
    dataset = small_dataset(days=20)
    blocks, folds = plan.blocks(dataset), plan.split(dataset)
    assert ((blocks == -1) == np.isnan(dataset.rises)).all()
    for fold, chosen in zip(folds, plan.choices, strict=True):
        assert np.array_equal(fold.test, np.flatnonzero(np.isin(blocks, chosen)))


@pytest.mark.parametrize("wrong", [{"folds": 2}, {"test_folds": 0}, {"test_folds": 10}])
def test_combinations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="from 1 to folds - 1"):
        CombinatorialPurged(**wrong)
    with pytest.raises(ValueError, match="embargo"):
        CombinatorialPurged(embargo=timedelta(hours=-1))


@pytest.mark.parametrize(
    "splits",
    [
        WalkForward(timedelta(days=8), timedelta(days=3)),
        PurgedKFold(4),
        CombinatorialPurged(4, 2),
    ],
    ids=lambda splits: type(splits).__name__,
)
def test_scikit_learn_takes_the_folds_as_cv(splits):
    dataset = small_dataset(days=20)
    folds = cross_validation(splits, dataset)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=folds, error_score="raise", refit=False)
    search.fit(dataset.features, dataset.rises)
    assert search.n_splits_ == len(folds)
    assert 0.4 < search.best_score_ < 0.9
    for fold, (train, test) in zip(splits.split(dataset), folds, strict=True):
        assert np.array_equal(fold.train, train)
        assert not np.isnan(dataset.rises[test]).any()


@given(events(), st.sampled_from([0.1, 0.25, 0.5]), embargoes)
def test_the_validation_part_is_the_latest_and_no_label_of_the_rest_reaches_it(rows, share, embargo):
    times, known = rows
    examples = Examples.of(np.zeros((len(times), 1)), np.zeros(len(times)), times=times, label_known=known)
    try:
        learned, judged = hold_out(examples, share, embargo)
    except ModelError:
        return
    assert judged[-1] == len(times) - 1
    assert len(np.unique(times[judged])) == max(1, round(share * len(np.unique(times))))
    gap = embargo // timedelta(hours=1) * HOUR
    assert learned.tolist() == [row for row in range(len(times)) if known[row] < times[judged[0]] - gap]


def test_too_few_rows_to_validate_on_are_an_error():
    with pytest.raises(ModelError, match="too few to keep 20% of them"):
        hold_out(planted(5), 0.2)
    with pytest.raises(ValueError, match="share"):
        hold_out(planted(5), 1.0)


def test_with_labels_known_at_once_the_folds_are_those_of_scikit_learn():
    times = HOUR * np.arange(1, 121, dtype=np.int64)
    folds = WalkForward(timedelta(hours=40), timedelta(hours=20)).cut(times, times, HOUR)
    theirs = list(TimeSeriesSplit(n_splits=4, test_size=20, max_train_size=40).split(times))
    assert len(folds) == len(theirs) == 4
    for fold, (train, test) in zip(folds, theirs, strict=True):
        assert np.array_equal(fold.train, train)
        assert np.array_equal(fold.test, test)
    growing = WalkForward(timedelta(hours=40), timedelta(hours=20), expanding=True).cut(times, times, HOUR)
    for fold, (train, _) in zip(growing, TimeSeriesSplit(n_splits=4, test_size=20).split(times), strict=True):
        assert np.array_equal(fold.train, train)


def test_an_embargo_with_fixed_waits_is_the_gap_of_scikit_learn():
    times = HOUR * np.arange(1, 121, dtype=np.int64)
    known = times + 3 * HOUR
    plan = WalkForward(timedelta(hours=40), timedelta(hours=20), timedelta(hours=2), expanding=True)
    theirs = TimeSeriesSplit(n_splits=4, test_size=20, gap=5).split(times)
    for fold, (train, test) in zip(plan.cut(times, known, HOUR), theirs, strict=True):
        assert np.array_equal(fold.train, train)
        assert np.array_equal(fold.test, test)


def test_a_purge_that_empties_a_fold_names_it():
    times = HOUR * np.arange(1, 101, dtype=np.int64)
    known = np.where(times > 60 * HOUR, UNKNOWN, times + HOUR)
    with pytest.raises(ModelError, match=r"fold 3: no training row in 1970-01-03"):
        WalkForward(timedelta(hours=20), timedelta(hours=20)).cut(times, known, HOUR)


def test_a_gap_longer_than_a_test_makes_no_empty_fold():
    times = HOUR * np.concatenate([np.arange(1, 61), np.arange(130, 161)]).astype(np.int64)
    folds = WalkForward(timedelta(hours=40), timedelta(hours=10), expanding=True).cut(times, times, HOUR)
    assert all(len(fold.test) for fold in folds)
    assert sum(len(fold.test) for fold in folds) == 20 + 31


def test_a_history_shorter_than_the_training_window_is_refused():
    times = HOUR * np.arange(1, 11, dtype=np.int64)
    with pytest.raises(ModelError, match="too short for 1 day"):
        WalkForward(timedelta(days=1), timedelta(hours=1)).cut(times, times, HOUR)


@pytest.mark.parametrize("wrong", [{"train": timedelta(0)}, {"test": timedelta(0)}, {"embargo": timedelta(hours=-1)}])
def test_windows_of_no_length_are_refused(wrong):
    with pytest.raises(ValueError, match="longer than zero"):
        WalkForward(0, 5)
    with pytest.raises(ValueError, match="both be spans"):
        WalkForward(timedelta(days=1), 5)
    with pytest.raises(ValueError, match="both be spans"):
        WalkForward(1.5, 5)
    with pytest.raises(ValueError, match="longer than zero"):
        WalkForward(**{"train": timedelta(days=1), "test": timedelta(days=1), **wrong})


@given(events(), st.integers(2, 6), embargoes)
def test_no_training_row_of_a_purged_block_overlaps_its_test(rows, folds, embargo):
    times, known = rows[0][rows[1] < UNKNOWN], rows[1][rows[1] < UNKNOWN]
    gap = embargo // timedelta(hours=1) * HOUR
    try:
        cuts = list(PurgedKFold(folds, embargo).cut(times, known))
    except ModelError:
        return
    assert len(cuts) == folds
    assert np.array_equal(np.concatenate([test for _, test in cuts]), np.arange(len(times)))
    for train, test in cuts:
        start, settled = times[test].min(), known[test].max()
        for row in train:
            assert known[row] < start or times[row] > settled + gap
        assert not set(times[train]) & set(times[test])
        apart = [row for row in range(len(times)) if known[row] < start or times[row] > settled + gap]
        assert train.tolist() == apart


def test_a_purge_that_empties_a_block_names_it():
    times = HOUR * np.arange(1, 11, dtype=np.int64)
    with pytest.raises(ModelError, match=r"fold 0: purging around"):
        list(PurgedKFold(2).cut(times, times + 50 * HOUR))
    with pytest.raises(ModelError, match="3 distinct times cannot be cut into 5 folds"):
        list(PurgedKFold(5).cut(times[:3], times[:3]))
    with pytest.raises(ValueError, match="at least 2 folds"):
        PurgedKFold(1)


def test_splits_of_a_dataset_leave_out_rows_without_a_label_for_training_only():
    dataset = small_dataset(days=20)
    folds = WalkForward(timedelta(days=8), timedelta(days=3), timedelta(hours=12)).split(dataset)
    assert folds[-1].test[-1] == len(dataset) - 1
    assert np.isnan(dataset.rises[folds[-1].test]).any()
    for fold in folds:
        assert not np.isnan(dataset.rises[fold.train]).any()
    for fold in PurgedKFold(4, timedelta(hours=12)).split(dataset):
        assert not np.isnan(dataset.rises[np.concatenate([fold.train, fold.test])]).any()
        assert ((dataset.times[fold.test] > fold.test_start) & (dataset.times[fold.test] <= fold.test_end)).all()
