"""What a model learns from, as arrays: one row for each moment of each symbol."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
COLUMNS = ("features", "rises", "returns", "targets", "times", "label_known", "symbols", "ordinals", "weights")
UNKNOWN = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A dataset as arrays, row by row: what a fold needs, and all that is sent to where it is fitted.

    Attributes
    ----------
    features
        Shape (rows, features), C order.
    rises, returns
        Shape (rows,): class (1 up, 0 down) and return of the label, NaN where it is not known.
    targets
        Shape (rows,): what a regression learns, the return unless the label is a number of its own.
    times, label_known
        Shape (rows,), nanoseconds UTC; the largest int where the label is not known yet.
    symbols, ordinals
        Shape (rows,): a number for each symbol, and the row's place among all rows of its symbol, from 0. Rows of one
        symbol with ordinals that follow each other can stand in one window of a sequence model.
    weights
        Shape (rows,): how much a row counts, 1 unless said otherwise.
    barred
        Spans of time, first and last nanosecond, that will be judged: nothing else may be learned of them either, such
        as from a donor's rows.
    """

    features: Floats
    rises: Floats
    returns: Floats
    targets: Floats
    times: Integers
    label_known: Integers
    symbols: Integers
    ordinals: Integers
    weights: Floats
    barred: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(
        cls,
        features: ArrayLike,
        rises: ArrayLike,
        returns: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        times: ArrayLike | None = None,
        label_known: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> "Examples":
        """Return the examples of one symbol, in time order.

        Parameters
        ----------
        returns
            By default the class as +1 and -1.
        targets
            By default the returns.
        times, label_known
            Nanoseconds UTC; by default one row a second, each known when it ends.
        weights
            By default 1 for each row.

        Raises
        ------
        ModelError
            The shapes do not fit, the times do not ascend, or a weight is negative or not finite.
        """
        table = np.ascontiguousarray(features, dtype=np.float64)
        if table.ndim != 2:
            raise ModelError(f"features of shape {table.shape}, wanted (rows, features)")
        rows = len(table)
        classes = np.asarray(rises, dtype=np.float64)
        moved = 2.0 * classes - 1.0 if returns is None else np.asarray(returns, dtype=np.float64)
        learned = moved if targets is None else np.asarray(targets, dtype=np.float64)
        when = 1_000_000_000 * np.arange(1, rows + 1) if times is None else np.asarray(times, dtype=np.int64)
        known = when if label_known is None else np.asarray(label_known, dtype=np.int64)
        heavy = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
        for name, column in (
            ("rises", classes),
            ("returns", moved),
            ("targets", learned),
            ("times", when),
            ("label_known", known),
            ("weights", heavy),
        ):
            if column.shape != (rows,):
                raise ModelError(f"{name} of shape {column.shape}, wanted ({rows},) as there are rows of features")
        if (np.diff(when) < 0).any():
            raise ModelError("times: the rows are not in time order")
        if not (np.isfinite(heavy) & (heavy >= 0.0)).all():
            raise ModelError("weights: wanted finite numbers from 0")
        symbols = np.zeros(rows, dtype=np.int64)
        return cls(table, classes, moved, learned, when, known, symbols, np.arange(rows), heavy)

    def __len__(self) -> int:
        return len(self.times)

    def take(self, rows: NDArray[Any]) -> "Examples":
        """Return some rows (numbers or a mask), in the order given."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def learning(self, train: NDArray[Any], test: NDArray[Any]) -> "Examples":
        """Return the training rows of a cut, with the time of its test rows barred.

        That is the span from its first row to its last label; of a test in several blocks, what lies between them too.
        """
        judged = self.take(test)
        known = judged.label_known[judged.label_known < UNKNOWN]
        last = max(int(judged.times[-1]), int(known.max()) if len(known) else 0)
        return replace(self.take(train), barred=(*self.barred, (int(judged.times[0]), last)))

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each row's label is known, shape (rows,)."""
        return ~np.isnan(self.rises) & (self.label_known < UNKNOWN)

    @property
    def target_kind(self) -> SignalKind:
        """What a regression of the targets gives: expected returns where they are the returns, else scores."""
        return "expected_return" if np.array_equal(self.targets, self.returns, equal_nan=True) else "score"

    @property
    def is_weighted(self) -> bool:
        """Whether any two rows count differently."""
        return bool(len(self.weights) and np.ptp(self.weights) > 0.0)
