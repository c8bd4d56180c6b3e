"""Any estimator of scikit-learn as a model, kept and served as ONNX where it can be converted without a difference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.alone import alone
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.onnx import TOLERANCE, converted
from cryptoquant.models.ranges import check_whole
from cryptoquant.models.tabular import check_classes, check_targets

Floats = NDArray[np.float64]
CLASS = "estimator_class"
COMPARED = 1_000


@dataclass(frozen=True, slots=True)
class Estimator:
    """A classifier, regressor or pipeline of scikit-learn.

    It is cloned for each fit. A classifier learns the class and gives probabilities, or scores if it has none; a
    regressor learns the targets and gives expected returns, or scores where the targets are no returns. Where it can
    be converted to ONNX (``cryptoquant[onnx]``) and the converted model gives the same values to 1e-6 on training rows
    (1,000 at most), that is what predicts; otherwise the estimator itself does, and cannot be kept in a file.

    Parameters
    ----------
    estimator
        Not fitted. Each ``n_jobs`` is set to 1: folds are what runs in parallel.
    seed
        For each ``random_state`` that is None.

    Raises
    ------
    TypeError
        It is no estimator of scikit-learn.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> Estimator(GaussianNB()).get_params()
    {'estimator_class': 'GaussianNB', 'seed': 0, 'priors': None, 'var_smoothing': 1e-09}
    """

    estimator: Any
    seed: int = 0

    def __post_init__(self) -> None:
        if not is_estimator(self.estimator):
            raise TypeError(f"wanted a classifier or regressor of scikit-learn, found {self.estimator!r}")
        check_whole(self, 0, "seed")

    def get_params(self) -> dict[str, Any]:
        """Return the class and the parameters by scikit-learn's names, such as ``step__name`` in a pipeline."""
        return {CLASS: type(self.estimator).__name__, "seed": self.seed, **self.estimator.get_params()}

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters.

        Raises
        ------
        ValueError
            A name is unknown, or the class another one.
        """
        from sklearn.base import clone

        name = type(self.estimator).__name__
        if params.pop(CLASS, name) != name:
            raise ValueError(f"{CLASS} is {name}: another class is another Estimator")
        seed = params.pop("seed", self.seed)
        unknown = sorted(set(params) - set(self.estimator.get_params()))
        if unknown:
            known = ", ".join(self.get_params())
            raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has {known}")
        return type(self)(clone(self.estimator).set_params(**params), seed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Estimator) and repr(self.get_params()) == repr(other.get_params())

    def __hash__(self) -> int:
        return hash(repr(self.get_params()))

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor learned from the examples.

        Raises
        ------
        ModelError
            The rows cannot be learned from, or differ in weight where the estimator takes no weights.
        """
        with alone():
            fitted, kind = self._fitted(examples)
        sample = examples.features[:: -(-len(examples) // COMPARED)]
        try:
            return converted(fitted, kind, sample, native_values(fitted, kind, sample))
        except ModelError as error:
            return NativePredictor(fitted, kind, str(error))

    def _fitted(self, examples: Examples) -> tuple[Any, SignalKind]:
        from sklearn.base import clone, is_classifier

        learner = clone(self.estimator)
        chosen: dict[str, Any] = {}
        params = learner.get_params()
        for name, value in params.items():
            owner, _, last = name.rpartition("__")
            if last == "random_state" and value is None:
                chosen[name] = self.seed
            elif last == "n_jobs" and not (value is None and _is_deaf(params.get(owner, learner))):
                chosen[name] = 1
        learner.set_params(**chosen)
        if is_classifier(learner):
            check_classes(examples)
            learner.fit(examples.features, examples.rises.astype(np.int64), **self._weights(learner, examples))
            return learner, "probability" if hasattr(learner, "predict_proba") else "score"
        check_targets(examples)
        learner.fit(examples.features, examples.targets, **self._weights(learner, examples))
        return learner, examples.target_kind

    def _weights(self, learner: Any, examples: Examples) -> dict[str, Any]:
        from sklearn.utils.validation import has_fit_parameter

        steps = getattr(learner, "steps", None)
        name, last = steps[-1] if steps else ("", learner)
        if has_fit_parameter(last, "sample_weight"):
            return {f"{name}__sample_weight" if steps else "sample_weight": examples.weights}
        if examples.is_weighted:
            raise ModelError(f"{type(last).__name__} takes no weights, and the training rows differ in weight")
        return {}


class NativePredictor:
    """A fitted estimator itself: it is never deployed, so that rows may be predicted together, which is faster."""

    window = 1

    def __init__(self, fitted: Any, kind: SignalKind, reason: str) -> None:
        self.fitted = fitted
        self.kind = kind
        self.reason = reason

    def predict(self, rows: Floats) -> Floats:
        """Return the value of each row."""
        with alone():
            return native_values(self.fitted, self.kind, np.asarray(rows)) if len(rows) else np.empty(0)

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Raise ModelError: no safe file holds this estimator."""
        raise ModelError(
            f"{type(self.fitted).__name__} cannot be kept: wanted an ONNX file that gives the same values to "
            f"{TOLERANCE:g}, and {self.reason}"
        )


def as_model(thing: Any) -> Model:
    """Return a model as it is, and an estimator of scikit-learn as an ``Estimator``.

    Raises
    ------
    TypeError
        It is neither.
    """
    if not isinstance(thing, type):
        if isinstance(thing, Model):
            return thing
        if is_estimator(thing):
            return Estimator(thing)
    raise TypeError(f"wanted a model or a classifier or regressor of scikit-learn, found {thing!r}")


def is_estimator(thing: Any) -> bool:
    """Whether a thing follows scikit-learn's conventions for what learns and predicts."""
    names = ("fit", "predict", "get_params", "set_params")
    return not isinstance(thing, type) and all(callable(getattr(thing, name, None)) for name in names)


def _is_deaf(estimator: Any) -> bool:
    """Whether an estimator has ``n_jobs`` without effect and warns of it; for others None may mean every core."""
    return type(estimator).__name__ == "LogisticRegression" and type(estimator).__module__.startswith("sklearn.")


def native_values(fitted: Any, kind: SignalKind, rows: Floats) -> Floats:
    """Return what an estimator says of rows."""
    if kind == "probability":
        found = fitted.predict_proba(rows)[:, 1]
    elif kind == "score" and hasattr(fitted, "decision_function"):
        found = fitted.decision_function(rows)
    else:
        found = fitted.predict(rows)
    return np.asarray(found, dtype=np.float64).reshape(len(rows))
