"""Splits: no training label reaches into a test, whatever the market looks like."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from cryptoquant.errors import ModelError
from cryptoquant.models.splits import PurgedKFold, WalkForward
from tests.models.datasets import HOUR, small_dataset

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
