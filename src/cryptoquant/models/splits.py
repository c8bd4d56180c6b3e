"""How history is cut into training and test rows so that no label of the training rows reaches into the test."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

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


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Trains on the past, tests on what follows, and moves on by the length of the test.

    Parameters
    ----------
    train, test
        Spans of a training window and of a test.
    embargo
        Time kept free between the moment the last training label is known and the test.
    expanding
        Whether training always starts at the first row.
    """

    train: timedelta
    test: timedelta
    embargo: timedelta = timedelta(0)
    expanding: bool = False

    def __post_init__(self) -> None:
        if self.train <= timedelta(0) or self.test <= timedelta(0) or self.embargo < timedelta(0):
            raise ValueError(f"train and test must be longer than zero and embargo not negative, found {self}")

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the folds, oldest first; see ``cut``."""
        return self.cut(dataset.times, dataset.label_known, dataset.width)

    def cut(self, times: NDArray[np.int64], known: NDArray[np.int64], width: int) -> list[Fold]:
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
        train, test, embargo = span_ns(self.train), span_ns(self.test), span_ns(self.embargo) if self.embargo else 0
        first, last = int(times[0]) - width, int(times[-1])
        folds: list[Fold] = []
        for start in range(first + train, last, test):
            end = min(start + test, last)
            oldest = first if self.expanding else start - train
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

    def split(self, dataset: Dataset) -> list[Fold]:
        """Return the folds of the labelled rows, oldest test block first."""
        times, known = dataset.times, dataset.label_known
        rows = np.flatnonzero(known < UNKNOWN)
        cuts = list(self.cut(times[rows], known[rows]))
        return [
            Fold(number, rows[train], rows[test], int(times[rows[test[0]]]) - 1, int(times[rows[test[-1]]]))
            for number, (train, test) in enumerate(cuts)
        ]

    def cut(self, times: NDArray[np.int64], known: NDArray[np.int64]) -> Iterator[tuple[Rows, Rows]]:
        """Yield (training rows, test rows) for rows in time order with the times at which their labels are known.

        Raises
        ------
        ModelError
            There are fewer distinct times than folds, or purging empties a fold (it names the fold).
        """
        distinct = np.unique(times)
        if len(distinct) < self.folds:
            raise ModelError(f"{len(distinct)} distinct times cannot be cut into {self.folds} folds")
        embargo = span_ns(self.embargo) if self.embargo else 0
        for number, block in enumerate(np.array_split(distinct, self.folds)):
            start, end = int(block[0]), int(block[-1])
            test = np.flatnonzero((times >= start) & (times <= end))
            settled = int(known[test].max()) + embargo
            train = np.flatnonzero((known < start) | (times > settled))
            if not len(train):
                raise ModelError(
                    f"fold {number}: purging around {to_datetime(start)} to {to_datetime(end)} leaves no training row"
                )
            yield train, test


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
