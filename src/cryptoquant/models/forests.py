"""Forests of scikit-learn and its boosting by histograms, kept as plain arrays and walked by the same step."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cryptoquant.models.alone import alone
from cryptoquant.models.examples import Examples
from cryptoquant.models.forest import Forest, Nodes, widened
from cryptoquant.models.model import Parameters, Predictor
from cryptoquant.models.ranges import ClassWeight, check_not_negative, check_one_of, check_share, check_whole
from cryptoquant.models.tabular import balanced, check_classes, single
from cryptoquant.models.trees import Trees


@dataclass(frozen=True, slots=True)
class RandomForest(Parameters):
    """The mean of trees grown on bootstrap samples of the rows (Breiman 2001), for the probability of a rise.

    Parameters
    ----------
    n_estimators, max_depth, min_samples_leaf
        As in scikit-learn; a ``max_depth`` of None grows each tree to its end.
    max_features
        Share of the features tried at each split, or ``sqrt``.
    class_weight
        ``balanced`` lets both classes count the same in total.
    seed
        Of the sampling of rows and features.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    n_estimators: int = 100
    max_depth: int | None = 8
    min_samples_leaf: int = 20
    max_features: float | Literal["sqrt"] = "sqrt"
    class_weight: ClassWeight = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_forest(self)

    def fit(self, examples: Examples) -> Predictor:
        """Return the trees learned from the classes of the examples."""
        from sklearn.ensemble import RandomForestClassifier

        return _bagged(RandomForestClassifier, self, examples)


@dataclass(frozen=True, slots=True)
class ExtraTrees(Parameters):
    """The mean of trees whose thresholds are drawn at random (Geurts, Ernst & Wehenkel 2006).

    Parameters and errors are those of ``RandomForest``; every tree sees all rows.
    """

    n_estimators: int = 100
    max_depth: int | None = 8
    min_samples_leaf: int = 20
    max_features: float | Literal["sqrt"] = "sqrt"
    class_weight: ClassWeight = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_forest(self)

    def fit(self, examples: Examples) -> Predictor:
        """Return the trees learned from the classes of the examples."""
        from sklearn.ensemble import ExtraTreesClassifier

        return _bagged(ExtraTreesClassifier, self, examples)


@dataclass(frozen=True, slots=True)
class HistGradientBoosting(Parameters):
    """Scikit-learn's gradient-boosted trees with histogram splits, for the probability of a rise.

    Parameters
    ----------
    max_iter, learning_rate, max_depth, max_leaf_nodes, min_samples_leaf, l2_regularization, max_features
        As in scikit-learn; ``max_iter`` is the number of trees.
    class_weight
        ``balanced`` lets both classes count the same in total.
    seed
        Of the sampling of features.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    max_iter: int = 100
    learning_rate: float = 0.05
    max_depth: int | None = 4
    max_leaf_nodes: int | None = 31
    min_samples_leaf: int = 20
    l2_regularization: float = 1.0
    max_features: float = 1.0
    class_weight: ClassWeight = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self, 1, "max_iter", "min_samples_leaf", *(["max_depth"] if self.max_depth is not None else []))
        check_whole(self, 2, *(["max_leaf_nodes"] if self.max_leaf_nodes is not None else []))
        check_whole(self, 0, "seed")
        check_share(self, "learning_rate", "max_features")
        check_not_negative(self, "l2_regularization")
        check_one_of(self, "class_weight", None, "balanced")

    def fit(self, examples: Examples) -> Predictor:
        """Return the trees learned from the classes of the examples."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        check_classes(examples)
        heavy = balanced(examples) if self.class_weight else examples
        chosen = {name: value for name, value in self.get_params().items() if name not in ("seed", "class_weight")}
        grower = HistGradientBoostingClassifier(**chosen, early_stopping=False, random_state=self.seed)
        weights = heavy.weights if heavy.is_weighted else None  # weighted bins take ten times as long
        with alone():
            grower.fit(heavy.features, heavy.rises, sample_weight=weights)
        trees = [_histogram_nodes(one[0].nodes) for one in grower._predictors]
        base = float(np.ravel(grower._baseline_prediction)[0])
        return Trees(Forest.of(trees), heavy.features.shape[1], len(trees), base=base, is_logistic=True)


def _check_forest(model: RandomForest | ExtraTrees) -> None:
    check_whole(model, 1, "n_estimators", "min_samples_leaf", *(["max_depth"] if model.max_depth is not None else []))
    check_whole(model, 0, "seed")
    check_one_of(model, "class_weight", None, "balanced")
    if model.max_features != "sqrt":
        check_share(model, "max_features")


def _bagged(kind: Any, model: RandomForest | ExtraTrees, examples: Examples) -> Trees:
    check_classes(examples)
    heavy = balanced(examples) if model.class_weight else examples
    chosen = {name: value for name, value in model.get_params().items() if name not in ("seed", "class_weight")}
    if not isinstance(model.max_features, str):
        chosen["max_features"] = float(model.max_features)
    grower = kind(**chosen, random_state=model.seed, n_jobs=1)
    grower.fit(single(heavy.features), heavy.rises, sample_weight=heavy.weights)
    trees = [_bagged_nodes(one.tree_) for one in grower.estimators_]
    return Trees(Forest.of(trees), heavy.features.shape[1], len(trees), divisor=len(trees))


def _bagged_nodes(tree: Any) -> Nodes:
    """Return a tree of scikit-learn's forests, which compare rows of single precision; a leaf holds class shares."""
    shares = tree.value[:, 0, :]
    left, right = tree.children_left, tree.children_right
    chance = shares[:, 1] / shares.sum(axis=1) if shares.shape[1] > 1 else np.zeros(len(left))
    return Nodes(tree.feature, widened(tree.threshold), left, right, chance, tree.missing_go_to_left)


def _histogram_nodes(nodes: Any) -> Nodes:
    """Return a tree of scikit-learn's histogram boosting, which compares rows of double precision."""
    left, right = (np.where(nodes["is_leaf"], -1, nodes[name].astype(np.int64)) for name in ("left", "right"))
    return Nodes(
        nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], left, right, nodes["value"],
        nodes["missing_go_to_left"],
    )  # fmt: skip
