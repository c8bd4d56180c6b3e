"""How history is cut into training and test rows so that no label of the training rows reaches into the test."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from math import comb
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.time import span_ns, to_datetime
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.examples import UNKNOWN, Examples

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """One cut.

    Attributes
    ----------
    number
        From 0.
    train, test
        Row numbers of the dataset; every training row has a label that was known before the test starts, less the
        embargo.
    test_start, test_end
        Nanoseconds UTC; test rows lie in ``(test_start, test_end]``.
    """

    number: int
    train: Rows
    test: Rows
    test_start: int
    test_end: int

    def __iter__(self) -> Iterator[Rows]:
        """Give training and test rows, so that a list of folds is a ``cv`` for scikit-learn."""
        return iter((self.train, self.test))


class Splitter(Protocol):
    """Cuts a dataset into folds; purging cannot be forgotten, since it takes a dataset and not row numbers."""

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the folds, oldest test first."""
        ...


def cross_validation(splits: Splitter, dataset: Dataset) -> list[tuple[Rows, Rows]]:
    """Return what scikit-learn takes as ``cv``: pairs of training and test rows of the whole dataset, labelled only.

    Examples
    --------
    >>> import numpy as np
    >>> from datetime import timedelta
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from cryptoquant import SyntheticMarket, features as f
    >>> bars = SyntheticMarket(seed=7, days=20, timeframe="1h", edge=0.4).bars("1h")
    >>> label = f.triple_barrier(take=1.5, stop=1.5, horizon=timedelta(hours=12))
    >>> dataset = Dataset.build(bars, f.FeatureSet([f.log_return(1), f.rsi(14)]), label)
    >>> cv = cross_validation(PurgedKFold(3, embargo=timedelta(hours=12)), dataset)
    >>> len(cross_val_score(LogisticRegression(), dataset.features, dataset.rises, cv=cv))
    3
    """
    known = dataset.label_known < UNKNOWN
    return [(fold.train, fold.test[known[fold.test]]) for fold in splits.split(dataset)]


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Trains on the past, tests on what follows, and moves on by the length of the test.

    Parameters
    ----------
    train, test
        Lengths of a training window and of a test: spans of time, or whole numbers of slices (closes of the market,
        of however many symbols).
    embargo
        Time kept free between the moment the last training label is known and the test.
    expanding
        Whether training always starts at the first row.

    Raises
    ------
    ValueError
        A length is not above zero, one is a span and the other a number, or the embargo is negative.
    """

    train: timedelta | int
    test: timedelta | int
    embargo: timedelta = timedelta(0)
    expanding: bool = False

    def __post_init__(self) -> None:
        spans = [isinstance(length, timedelta) for length in (self.train, self.test)]
        whole = [type(length) is int for length in (self.train, self.test)]
        if not all(spans) and not all(whole):
            raise ValueError(f"train and test must both be spans of time or both numbers of slices, found {self}")
        least = timedelta(0) if all(spans) else 0
        if self.train <= least or self.test <= least or self.embargo < timedelta(0):  # type: ignore[operator]
            raise ValueError(f"train and test must be longer than zero and embargo not negative, found {self}")

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the folds, oldest first; see ``cut``."""
        return self.cut(dataset.times, dataset.label_known, dataset.width)

    def cut(self, times: Rows, known: Rows, width: int) -> list[Fold]:
        """Return the folds of rows in time order, oldest first; the last test may be shorter.

        Parameters
        ----------
        times, known
            Of each row: its close, and when its label is known; nanoseconds UTC.
        width
            Length of a bar in nanoseconds: the first training window starts at the open of the first row's bar.

        Raises
        ------
        ModelError
            The rows span less than one training window and a test row, or purging empties a fold.
        """
        embargo = span_ns(self.embargo) if self.embargo else 0
        first, last = int(times[0]) - width, int(times[-1])
        folds: list[Fold] = []
        for oldest, start, end in self._windows(times, first):
            judged = np.flatnonzero((times > start) & (times <= end))
            if not len(judged):
                continue
            learns = np.flatnonzero((times > oldest) & (times <= start) & (known <= start - embargo))
            if not len(learns):
                raise ModelError(
                    f"fold {len(folds)}: no training row in {to_datetime(oldest)} to {to_datetime(start)} has a label "
                    f"known {self.embargo} before its end"
                )
            folds.append(Fold(len(folds), learns, judged, start, end))
        if not folds:
            raise ModelError(
                f"{to_datetime(first)} to {to_datetime(last)} is too short for {self.train} of training and a test"
            )
        return folds

    def last_window(self, times: Rows) -> int:
        """Return the moment (ns) after which the rows lie that a model trained on all there is would learn from."""
        if self.expanding:
            return int(times[0]) - 1
        if isinstance(self.train, timedelta):
            return int(times[-1]) - span_ns(self.train)
        distinct = np.unique(times)
        return int(distinct[-self.train - 1]) if len(distinct) > self.train else int(distinct[0]) - 1

    def _windows(self, times: Rows, first: int) -> Iterator[tuple[int, int, int]]:
        """Yield when training starts, the test starts and the test ends; each lies before the rows that it begins."""
        last = int(times[-1])
        if isinstance(self.train, int) and isinstance(self.test, int):
            closes = np.concatenate([[first], np.unique(times)])
            for place in range(self.train, len(closes) - 1, self.test):
                oldest = 0 if self.expanding else place - self.train
                end = min(place + self.test, len(closes) - 1)
                yield int(closes[oldest]), int(closes[place]), int(closes[end])
            return
        train, test = (span_ns(length) for length in (self.train, self.test) if isinstance(length, timedelta))
        for start in range(first + train, last, test):
            yield first if self.expanding else start - train, start, min(start + test, last)


@dataclass(frozen=True, slots=True)
class PurgedKFold:
    """Blocks of consecutive time; training rows whose label overlaps the test block are purged.

    Parameters
    ----------
    folds
        Number of blocks, at least 2.
    embargo
        Time after a test block from which no training row is taken.

    Notes
    -----
    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", section 7.4.
    """

    folds: int = 5
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"wanted at least 2 folds, found {self.folds}")
        if self.embargo < timedelta(0):
            raise ValueError(f"embargo must not be negative, found {self.embargo}")

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the folds of the labelled rows, oldest test block first."""
        times, known = dataset.times, dataset.label_known
        rows = np.flatnonzero(known < UNKNOWN)
        cuts = list(self.cut(times[rows], known[rows]))
        return [
            Fold(number, rows[train], rows[test], int(times[rows[test[0]]]) - 1, int(times[rows[test[-1]]]))
            for number, (train, test) in enumerate(cuts)
        ]

    def cut(self, times: Rows, known: Rows, chosen: Iterable[int] | None = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield (training rows, test rows) for rows in time order with the times at which their labels are known.

        Parameters
        ----------
        chosen
            Numbers of the blocks that are wanted; by default all.

        Raises
        ------
        ModelError
            There are fewer distinct times than folds, or purging empties a fold (it names the fold).
        """
        blocks = _blocks(times, self.folds)
        for number in range(self.folds) if chosen is None else chosen:
            yield _apart(times, known, blocks, (number,), self.embargo)


@dataclass(frozen=True, slots=True)
class CombinatorialPurged:
    """Every choice of some blocks of consecutive time as test, purged; the tests make up several whole histories.

    Parameters
    ----------
    folds
        Number of blocks N, at least 3.
    test_folds
        Blocks k of a test, from 1 and fewer than N. There are C(N, k) splits and C(N, k) k / N paths.
    embargo
        Time after each test block from which no training row is taken.

    Notes
    -----
    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", sections 12.3 and 12.4.
    """

    folds: int = 10
    test_folds: int = 2
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.folds < 3 or not 1 <= self.test_folds < self.folds:
            raise ValueError(f"wanted at least 3 folds and from 1 to folds - 1 of them as test, found {self}")
        if self.embargo < timedelta(0):
            raise ValueError(f"embargo must not be negative, found {self.embargo}")

    @property
    def choices(self) -> list[tuple[int, ...]]:
        """The blocks that each split tests, in lexicographic order."""
        return list(combinations(range(self.folds), self.test_folds))

    @property
    def paths(self) -> NDArray[np.int64]:
        """The split that predicts each block of each path, shape (paths, folds)."""
        count = comb(self.folds, self.test_folds) * self.test_folds // self.folds
        found = np.empty((count, self.folds), dtype=np.int64)
        for block in range(self.folds):
            found[:, block] = [number for number, chosen in enumerate(self.choices) if block in chosen]
        return found

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the C(N, k) folds of the labelled rows; their tests have holes between blocks."""
        times, known = dataset.times, dataset.label_known
        rows = np.flatnonzero(known < UNKNOWN)
        folds = []
        for number, (train, test) in enumerate(self.cut(times[rows], known[rows])):
            folds.append(
                Fold(number, rows[train], rows[test], int(times[rows[test[0]]]) - 1, int(times[rows[test[-1]]]))
            )
        return folds

    def cut(self, times: Rows, known: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Yield (training rows, test rows) of each split; arguments and errors as for ``PurgedKFold.cut``."""
        blocks = _blocks(times, self.folds)
        for chosen in self.choices:
            yield _apart(times, known, blocks, chosen, self.embargo)

    def blocks(self, dataset: Dataset) -> NDArray[np.int64]:
        """Return the block of each row of the dataset, -1 where its label is not known, shape (rows,)."""
        times = dataset.times
        known = dataset.label_known < UNKNOWN
        starts = [start for start, _ in _blocks(times[known], self.folds)]
        return np.where(known, np.searchsorted(starts, times, side="right") - 1, -1)


def _blocks(times: Rows, folds: int) -> list[tuple[int, int]]:
    """Return the first and last time of blocks of as many distinct times each as can be."""
    distinct = np.unique(times)
    if len(distinct) < folds:
        raise ModelError(f"{len(distinct)} distinct times cannot be cut into {folds} folds")
    return [(int(block[0]), int(block[-1])) for block in np.array_split(distinct, folds)]


def _apart(
    times: Rows, known: Rows, blocks: list[tuple[int, int]], chosen: tuple[int, ...], embargo: timedelta
) -> tuple[Rows, Rows]:
    """Return the training rows whose labels do not live beside the chosen blocks, and the rows of these blocks."""
    free = span_ns(embargo) if embargo else 0
    is_test, is_near = np.zeros(len(times), dtype=np.bool_), np.zeros(len(times), dtype=np.bool_)
    for start, end in (blocks[number] for number in chosen):
        within = (times >= start) & (times <= end)
        settled = int(known[within].max()) + free
        is_test |= within
        is_near |= (known >= start) & (times <= settled)
    train, test = np.flatnonzero(~is_near & ~is_test), np.flatnonzero(is_test)
    if not len(train):
        start, end = blocks[chosen[0]][0], blocks[chosen[-1]][1]
        raise ModelError(
            f"fold {chosen[0]}: purging around {to_datetime(start)} to {to_datetime(end)} leaves no training row"
        )
    return train, test


def hold_out(examples: Examples, share: float, embargo: timedelta = timedelta(0)) -> tuple[Rows, Rows]:
    """Return the rows to learn from and the latest rows to validate on, cut inside the training rows of one fold.

    Parameters
    ----------
    share
        Of the distinct times, the latest ones, that validate: above 0 and below 1.
    embargo
        Time kept free between the moment the last learned label is known and the first validating bar.

    Raises
    ------
    ModelError
        Purging leaves no row on one side.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must lie between 0 and 1, found {share!r}")
    distinct = np.unique(examples.times)
    place = len(distinct) - max(1, round(share * len(distinct)))
    start = int(distinct[place]) if len(distinct) else 0
    free = span_ns(embargo) if embargo else 0
    learned = np.flatnonzero((examples.times < start) & (examples.label_known < start - free))
    judged = np.flatnonzero(examples.times >= start)
    if not len(learned) or not len(judged):
        raise ModelError(f"{len(distinct)} distinct times are too few to keep {share:.0%} of them for validation")
    return learned, judged
