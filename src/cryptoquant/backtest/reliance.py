"""How much a predictor's values rest on each feature."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Predictor
from cryptoquant.models.windows import predict_rows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
# So many rows of a fold's test are predicted once more for each feature.
MOST_ROWS = 400


def reliance(predictor: Predictor, examples: Examples, test: Rows, seed: int = 0) -> Floats:
    """Return how far predictions move when a feature is taken from another row of the same symbol, shape (features,).

    The mean absolute change over some of the test rows. It says what the predictions rest on, not what their skill
    rests on: for that see ``models.explain.permutation_importance``, which needs the labels and more time.
    """
    rows = test[:: max(1, len(test) // MOST_ROWS)]
    drawn = _drawn(examples.symbols[rows], seed)
    before = predict_rows(predictor, examples, rows)
    table = examples.features.copy() if predictor.window > 1 else examples.features[rows]
    places = rows if predictor.window > 1 else np.arange(len(rows))
    moved = np.zeros(table.shape[1])
    for column in range(len(moved)):
        kept = table[places, column].copy()
        table[places, column] = kept[drawn]
        if predictor.window > 1:
            after = predict_rows(predictor, replace(examples, features=table), rows)
        else:
            after = predictor.predict(table)
        table[places, column] = kept
        change = np.abs(after - before)
        there = np.isfinite(change)
        moved[column] = float(change[there].mean()) if there.any() else 0.0
    return moved


def _drawn(symbols: Rows, seed: int) -> Rows:
    """Return for each row another one of its symbol, each of them once."""
    rng, drawn = np.random.default_rng(seed), np.arange(len(symbols))
    for symbol in np.unique(symbols):
        own = np.flatnonzero(symbols == symbol)
        drawn[own] = rng.permutation(own)
    return drawn
