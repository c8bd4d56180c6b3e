"""Why a model says what it says: which features its skill rests on, and how its values move with them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.features.quality_clusters import linked
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.objectives import Objective, check_kind, log_loss
from cryptoquant.models.scaled import ScaledPredictor
from cryptoquant.models.splits import Fold, Splitter
from cryptoquant.models.trees import Trees
from cryptoquant.models.windows import predict_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much worse a model judges unseen rows when a feature, or a group of them, is shuffled.

    Attributes
    ----------
    frame
        Sorted by importance: ``feature`` (names joined by a comma for a group), ``importance`` (mean rise of the loss
        over folds), ``error`` (standard error over folds), ``low`` and ``high`` (95 %, Student's t), ``folds``,
        ``share_above_zero`` (of folds).
    loss
        Mean loss over folds with nothing shuffled.
    """

    frame: pl.DataFrame
    loss: float

    def figure(self) -> Any:
        """Return a plotly figure: a bar with its interval for each feature."""
        from cryptoquant.models.explain_figures import importance_figure

        return importance_figure(self)

    def show(self) -> None:
        """Print the table, and draw the figure in a notebook."""
        from cryptoquant.models.explain_figures import show

        show(self.frame, self.figure())


@dataclass(frozen=True, slots=True)
class ShapValues:
    """What each feature adds to each row's prediction, in log-odds (Lundberg et al. 2020, exact for trees).

    Attributes
    ----------
    names
        The features.
    values
        Shape (rows, features).
    base
        The mean prediction; ``base`` and the values of a row add up to its prediction in log-odds.
    rows
        The feature values, shape (rows, features).
    """

    names: tuple[str, ...]
    values: Floats
    base: float
    rows: Floats

    @property
    def frame(self) -> pl.DataFrame:
        """Mean absolute contribution, ``feature`` and ``contribution``, largest first."""
        mean = np.abs(self.values).mean(axis=0)
        return pl.DataFrame({"feature": self.names, "contribution": mean}).sort("contribution", descending=True)

    def figure(self) -> Any:
        """Return a plotly figure: contributions of the rows by feature, coloured by the feature's rank."""
        from cryptoquant.models.explain_figures import shap_figure

        return shap_figure(self)

    def show(self) -> None:
        """Print the mean absolute contributions, and draw the figure in a notebook."""
        from cryptoquant.models.explain_figures import show

        show(self.frame, self.figure())


@dataclass(frozen=True, slots=True)
class PartialDependence:
    """The mean prediction with one feature set to each of some values, and how far single rows differ from it.

    Attributes
    ----------
    feature
        Its name.
    frame
        ``value`` of the feature, ``prediction`` (mean over rows), ``low`` and ``high`` (tenths from either end).
    """

    feature: str
    frame: pl.DataFrame

    def figure(self) -> Any:
        """Return a plotly figure: the mean as a line within the band of single rows."""
        from cryptoquant.models.explain_figures import dependence_figure

        return dependence_figure(self)

    def show(self) -> None:
        """Print the table, and draw the figure in a notebook."""
        from cryptoquant.models.explain_figures import show

        show(self.frame, self.figure())


def permutation_importance(
    model: Any,
    dataset: Dataset,
    splits: Splitter,
    objective: Objective = log_loss,
    *,
    groups: Sequence[Sequence[str]] | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> Importance:
    """Return how the loss on purged test folds rises when a feature is shuffled among the rows of its symbol.

    Breiman (2001), and Lopez de Prado (2018), Advances in Financial Machine Learning, section 8.3: the model is fitted
    on the training rows of each fold and judged on its test rows, so that features that only help to remember have no
    importance.

    Parameters
    ----------
    model
        A model, or an estimator of scikit-learn.
    groups
        Names of features that are shuffled together; by default each alone.
    repeats
        Shuffles for each fold and group.

    Raises
    ------
    ValueError
        There is no such feature, or fewer than two folds.
    TypeError
        The model is none.
    """
    model = as_model(model)
    wanted = [tuple(group) for group in groups] if groups is not None else [(name,) for name in dataset.names]
    strange = sorted({name for group in wanted for name in group} - set(dataset.names))
    if strange:
        raise ValueError(f"the dataset has no feature {', '.join(strange)}; it has {', '.join(dataset.names)}")
    folds, examples = splits.split(dataset), dataset.examples
    if len(folds) < 2:
        raise ValueError(f"wanted at least 2 folds to tell an error from, found {len(folds)}")
    columns = [[dataset.names.index(name) for name in group] for group in wanted]
    losses, rises = np.empty(len(folds)), np.empty((len(folds), len(wanted)))
    for place, fold in enumerate(folds):
        losses[place], rises[place] = _shuffled(model, examples, fold, columns, objective, (repeats, seed))
    return Importance(_table([", ".join(group) for group in wanted], rises), float(losses.mean()))


def clustered_importance(
    model: Any,
    dataset: Dataset,
    splits: Splitter,
    objective: Objective = log_loss,
    *,
    repeats: int = 3,
    seed: int = 0,
) -> Importance:
    """Return the permutation importance of groups of features that say the same, shuffled together.

    Of two features that say the same, neither seems important alone: the other takes its place. Features are grouped by
    average linkage on Spearman's correlation of 0.7 and more. Lopez de Prado (2020), Machine Learning for Asset
    Managers, section 6.5.2.
    """
    return permutation_importance(
        model, dataset, splits, objective, groups=feature_groups(dataset), repeats=repeats, seed=seed
    )


def feature_groups(dataset: Dataset) -> list[list[str]]:
    """Return the dataset's features in groups that correlate by 0.7 and more (Spearman, average linkage)."""
    ranks = dataset.features.argsort(axis=0).argsort(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        correlation = np.atleast_2d(np.corrcoef(ranks, rowvar=False))
    labels, order = linked(correlation)
    groups: dict[int, list[str]] = {}
    for place in order:
        groups.setdefault(labels[place], []).append(dataset.names[place])
    return list(groups.values())


def shap_values(predictor: Predictor, rows: Floats, names: Sequence[str]) -> ShapValues:
    """Return what each feature adds to each row's prediction; XGBoost's own exact values for trees.

    Parameters
    ----------
    rows
        Shape (rows, features).

    Raises
    ------
    ModelError
        The predictor is not XGBoost's, alone or behind a scaler.
    """
    table, inner = np.ascontiguousarray(rows, dtype=np.float64), predictor
    while isinstance(inner, ScaledPredictor):
        table, inner = inner.scaling.transform(table), inner.predictor
    if not isinstance(inner, Trees):
        raise ModelError(f"SHAP values are XGBoost's own; {type(inner).__name__} has none: use permutation_importance")
    found = inner.contributions(table)
    return ShapValues(tuple(names), found[:, :-1], float(found[0, -1]) if len(found) else 0.0, np.asarray(rows))


def partial_dependence(
    predictor: Predictor, dataset: Dataset, feature: str, *, points: int = 21, most_rows: int = 2_000
) -> PartialDependence:
    """Return the mean prediction with a feature set to some of its quantiles, all else as it was (Friedman 2001).

    For a sequence model the feature is set in all rows of each window.

    Parameters
    ----------
    points
        Quantiles of the feature from 1 to 99 %, evenly spaced.
    most_rows
        Rows are thinned evenly to about so many.

    Raises
    ------
    ValueError
        There is no such feature.
    """
    if feature not in dataset.names:
        raise ValueError(f"the dataset has no feature {feature}; it has {', '.join(dataset.names)}")
    examples, column = dataset.examples, dataset.names.index(feature)
    rows = np.arange(0, len(examples), max(1, len(examples) // most_rows))
    grid = np.unique(np.quantile(examples.features[:, column], np.linspace(0.01, 0.99, points)))
    found = []
    for value in grid:
        table = examples.features.copy()
        table[:, column] = value
        predicted = predict_rows(predictor, replace(examples, features=table), rows)
        predicted = predicted[~np.isnan(predicted)]
        low, high = np.quantile(predicted, (0.1, 0.9)) if len(predicted) else (np.nan, np.nan)
        mean = float(predicted.mean()) if len(predicted) else np.nan
        found.append({"value": float(value), "prediction": mean, "low": float(low), "high": float(high)})
    return PartialDependence(feature, pl.DataFrame(found))


def _shuffled(
    model: Model,
    examples: Examples,
    fold: Fold,
    columns: list[list[int]],
    objective: Objective,
    luck: tuple[int, int],
) -> tuple[float, Floats]:
    """Return the loss of one fold, and its mean rise for each group of columns that is shuffled."""
    repeats, seed = luck
    test = fold.test[examples.is_known[fold.test]]
    predictor, judged = model.fit(examples.learning(fold.train, fold.test)), examples.take(test)
    check_kind(objective, predictor.kind)
    table = examples.features.copy()
    shuffled = replace(examples, features=table)
    loss = objective(judged, predict_rows(predictor, examples, test))
    rises = np.empty(len(columns))
    for place, group in enumerate(columns):
        rng = np.random.default_rng([seed, fold.number, place])
        worse = []
        for _ in range(repeats):
            for symbol in np.unique(judged.symbols):
                own = test[judged.symbols == symbol]
                table[own[:, None], group] = table[rng.permutation(own)[:, None], group]
            worse.append(objective(judged, predict_rows(predictor, shuffled, test)))
            table[test[:, None], group] = examples.features[test[:, None], group]
        rises[place] = np.mean(worse) - loss
    return float(loss), rises


def _table(names: list[str], rises: Floats) -> pl.DataFrame:
    from scipy.stats import t

    folds = len(rises)
    mean, error = rises.mean(axis=0), rises.std(axis=0, ddof=1) / np.sqrt(folds)
    reach: Any = t.ppf(0.975, folds - 1) * error
    columns = {
        "feature": names,
        "importance": mean,
        "error": error,
        "low": mean - reach,
        "high": mean + reach,
        "folds": [folds] * len(names),
        "share_above_zero": (rises > 0.0).mean(axis=0),
    }
    return pl.DataFrame(columns).sort("importance", descending=True)
