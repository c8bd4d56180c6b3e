"""Gradient-boosted trees of xgboost, with the number of rounds found on a purged part of the training rows."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptoquant.errors import ModelError
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters, Predictor
from cryptoquant.models.ranges import (
    ClassWeight,
    check_not_negative,
    check_one_of,
    check_share,
    check_span,
    check_whole,
)
from cryptoquant.models.splits import hold_out
from cryptoquant.models.tabular import balanced, check_classes, single
from cryptoquant.models.trees import Trees


@dataclass(frozen=True, slots=True)
class XGBoost(Parameters):
    """Gradient-boosted trees for the probability of a rise (Chen & Guestrin 2016), histogram splits.

    Fitted with one thread, so that a seed gives the same model wherever it runs; folds are what runs in parallel.

    Parameters
    ----------
    max_depth, n_estimators, learning_rate, min_child_weight, subsample, colsample_bytree, reg_lambda
        As in xgboost.
    seed
        Of row and column sampling.
    class_weight
        ``balanced`` lets both classes count the same in total.
    early_stopping_rounds
        Rounds without a better log loss on the validation rows after which no more are tried; the model is then
        learned from all rows with the best number of rounds, ``n_estimators`` at most. None uses ``n_estimators``.
    validation
        Share of the distinct times, the latest ones, whose rows validate.
    embargo
        Time kept free between the moment the last learned label is known and the first validating bar.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    max_depth: int = 4
    n_estimators: int = 200
    learning_rate: float = 0.05
    min_child_weight: float = 20.0
    subsample: float = 0.8
    colsample_bytree: float = 0.8
    reg_lambda: float = 1.0
    seed: int = 0
    class_weight: ClassWeight = None
    early_stopping_rounds: int | None = None
    validation: float = 0.2
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        check_whole(self, 1, "max_depth", "n_estimators")
        check_whole(self, 0, "seed")
        check_share(self, "learning_rate", "subsample", "colsample_bytree")
        check_not_negative(self, "min_child_weight", "reg_lambda")
        check_one_of(self, "class_weight", None, "balanced")
        check_span(self, "embargo")
        check_share(self, "validation")
        if self.validation == 1:
            raise ValueError("validation must lie below 1: all rows would validate")
        if self.early_stopping_rounds is not None:
            check_whole(self, 1, "early_stopping_rounds")

    def fit(self, examples: Examples) -> Predictor:
        """Return the trees learned from the classes of the examples; ``rounds`` tells how many rounds they are of.

        Raises
        ------
        ModelError
            The rows cannot be learned from, or are too few to keep some of them for validation.
        """
        check_classes(examples)
        rounds = self.n_estimators if self.early_stopping_rounds is None else self._best_rounds(examples)
        return self._grown(examples, rounds)

    def resume(self, start: Predictor, examples: Examples) -> Predictor:
        """Return the trees of ``start`` and those that boosting goes on with, learned from the examples.

        With early stopping, the number of rounds added is the one that is best on the latest part, from 1.

        Raises
        ------
        ModelError
            ``start`` holds no trees of xgboost, or of rows of another number of features; or the rows cannot be
            learned from.
        """
        check_classes(examples)
        if not isinstance(start, Trees) or start.content is None:
            raise ModelError(f"XGBoost cannot go on from {type(start).__name__}, wanted trees of xgboost")
        width = examples.features.shape[1]
        if start.features != width:
            raise ModelError(f"XGBoost cannot go on from trees of {start.features} features with rows of {width}")
        booster = start.booster()
        rounds = self.n_estimators if self.early_stopping_rounds is None else self._best_rounds(examples, booster)
        return self._grown(examples, rounds, booster)

    def _grown(self, examples: Examples, rounds: int, start: Any = None) -> Trees:
        import xgboost

        booster = xgboost.train(self._settings(), self._matrix(examples), num_boost_round=rounds, xgb_model=start)
        return Trees.boosted(bytes(booster.save_raw("ubj")))

    def _best_rounds(self, examples: Examples, start: Any = None) -> int:
        """Return after how many more rounds the validation rows, later than all learned rows, are predicted best."""
        import xgboost

        learned, judged = (examples.take(rows) for rows in hold_out(examples, self.validation, self.embargo))
        check_classes(learned)
        booster = xgboost.train(
            {**self._settings(), "eval_metric": "logloss"},
            self._matrix(learned),
            num_boost_round=self.n_estimators,
            evals=[(self._matrix(judged), "validation")],
            early_stopping_rounds=self.early_stopping_rounds,
            verbose_eval=False,
            xgb_model=start,
        )
        return int(booster.best_iteration) + 1 - (0 if start is None else int(start.num_boosted_rounds()))

    def _settings(self) -> dict[str, Any]:
        names = (
            "max_depth",
            "learning_rate",
            "min_child_weight",
            "subsample",
            "colsample_bytree",
            "reg_lambda",
            "seed",
        )
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0}

    def _matrix(self, examples: Examples) -> Any:
        import xgboost

        heavy = balanced(examples) if self.class_weight else examples
        return xgboost.DMatrix(single(heavy.features), label=heavy.rises, weight=heavy.weights, nthread=1)
