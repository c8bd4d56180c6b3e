"""Values for chosen rows of a dataset, each from the window of rows of its own symbol that ends there."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant.models.examples import Examples
from cryptoquant.models.forecaster import Wary
from cryptoquant.models.model import Predictor

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def predict_rows(predictor: Predictor, examples: Examples, rows: Rows) -> Floats:
    """Return the predictor's value for each of some rows, shape (rows,); NaN where its window is not complete.

    Windows reach back into rows that are not asked for; they are never copied out.
    """
    if predictor.window == 1:
        return predictor.predict(examples.features[rows])
    out = np.full(len(examples), np.nan)
    wanted = np.zeros(len(examples), dtype=np.bool_)
    wanted[rows] = True
    for run in consecutive(examples):
        ends = np.flatnonzero(wanted[run])
        ends = ends[ends >= predictor.window - 1]
        if not len(ends):
            continue
        first, last = ends[0] - predictor.window + 1, ends[-1]
        table = np.ascontiguousarray(examples.features[run[first : last + 1]])
        values = predictor.predict(table)
        out[run[ends]] = values[ends - ends[0]]
    return out[rows]


def dissimilarity_rows(predictor: Predictor, examples: Examples, rows: Rows) -> Floats:
    """Return how unlike its training rows a predictor finds each row, shape (rows,); NaN where it does not tell."""
    if not isinstance(predictor, Wary):
        return np.full(len(rows), np.nan)
    return predictor.dissimilarity(examples.features[rows])


def consecutive(examples: Examples) -> list[Rows]:
    """Return the row numbers of each longest run of one symbol's rows without a hole, oldest first."""
    order = np.lexsort((examples.ordinals, examples.symbols))
    symbols, ordinals = examples.symbols[order], examples.ordinals[order]
    breaks = np.flatnonzero((np.diff(symbols) != 0) | (np.diff(ordinals) != 1)) + 1
    return [run for run in np.split(order, breaks) if len(run)]
