"""The predictor that walks trees, whichever library grew them: the same bits for a row alone and among others."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.forest import Forest, Nodes, widened
from cryptoquant.models.rows import walk_trees
from cryptoquant.models.tensors import read_tensors, write_tensors
from cryptoquant.models.ubjson import read_ubjson

Floats = NDArray[np.float64]
ARRAYS = ("thresholds", "steps", "values", "rights")


class Trees:
    """Fitted trees; values are probabilities of a rise.

    Parameters
    ----------
    forest
        The trees.
    features
        How many a row has.
    base, divisor
        The value is ``(base + the sum of the leaves) / divisor``.
    is_logistic
        Whether that is the log odds of the probability.
    rounds
        Of boosting, or trees of a forest.
    content
        The model as xgboost keeps it, where it grew the trees.
    """

    kind: SignalKind = "probability"
    window = 1

    def __init__(
        self,
        forest: Forest,
        features: int,
        rounds: int,
        *,
        base: float = 0.0,
        divisor: float = 1.0,
        is_logistic: bool = False,
        content: bytes | None = None,
    ) -> None:
        if int(forest.steps[:, 0].max()) >= features:
            raise ValueError(f"the trees ask for feature {int(forest.steps[:, 0].max())} of {features}")
        if not (math.isfinite(base) and 0.0 < divisor < math.inf):
            raise ValueError(f"base {base} and divisor {divisor} are no finite numbers")
        self.forest = forest
        self.features = int(features)
        self.rounds = int(rounds)
        self.content = content
        self._ending = float(base), float(divisor), bool(is_logistic)
        self._walked = forest.thresholds, forest.steps, forest.values, forest.rights, forest.depths

    @classmethod
    def boosted(cls, content: bytes) -> "Trees":
        """Return the trees of a model of xgboost for two classes, from its universal binary JSON.

        Raises
        ------
        ValueError, KeyError, TypeError, IndexError
            The bytes hold no such model.
        """
        learner = read_ubjson(content)["learner"]
        booster, shape = learner["gradient_booster"], learner["learner_model_param"]
        found = learner["objective"]["name"], booster["name"], shape["num_target"], int(shape["num_class"]) < 2
        if found != ("binary:logistic", "gbtree", "1", True):
            raise ValueError(f"objective {found[0]}, booster {found[1]}: wanted binary:logistic, gbtree, one target")
        # Version 3 keeps a list of scores, one for each target; earlier ones kept a number.
        score = np.float32(shape["base_score"].strip("[]"))
        model = booster["model"]
        ends = model.get("iteration_indptr", ())
        return cls(
            Forest.of([_booster_nodes(tree) for tree in model["trees"]]),
            int(shape["num_feature"]),
            len(ends) - 1 if len(ends) else len(model["trees"]),
            base=float(np.log(score / (1.0 - score))),
            is_logistic=True,
            content=content,
        )

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each row.

        Raises
        ------
        ModelError
            A row has another number of features.
        """
        table = np.ascontiguousarray(rows, dtype=np.float64)
        if table.shape[1] != self.features:
            raise ModelError(f"rows of {table.shape[1]} features, the trees were grown on {self.features}")
        out = np.empty(len(table))
        walk_trees(table, *self._walked, *self._ending, out)
        return out

    def booster(self) -> Any:
        """Return the booster of xgboost that holds the same trees.

        Raises
        ------
        ModelError
            Another library grew them.
        """
        import xgboost

        if self.content is None:
            raise ModelError("these trees were not grown by xgboost: there is no booster")
        return xgboost.Booster({"nthread": 1}, model_file=bytearray(self.content))

    def contributions(self, rows: Floats) -> Floats:
        """Return what each feature adds to the log odds, and the mean last, shape (rows, features + 1).

        Errors as for ``booster``.
        """
        import xgboost

        matrix = xgboost.DMatrix(np.ascontiguousarray(rows, dtype=np.float32), nthread=1)
        found: Floats = self.booster().predict(matrix, pred_contribs=True).astype(np.float64)
        return found

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.ubj``, xgboost's own binary JSON, or the arrays as ``<name>.safetensors``."""
        if self.content is not None:
            (folder / f"{name}.ubj").write_bytes(self.content)
            return {"format": "xgboost", "file": f"{name}.ubj"}
        arrays = {one: getattr(self.forest, one) for one in ARRAYS}
        base, divisor, is_logistic = self._ending
        return {
            "format": "trees",
            "file": write_tensors(folder / f"{name}.safetensors", arrays),
            "features": self.features,
            "rounds": self.rounds,
            "roots": 4 * len(self.forest.depths),
            "base": base,
            "divisor": divisor,
            "is_logistic": is_logistic,
        }

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Trees":
        """Return what ``save`` wrote in the format ``trees``."""
        found = read_tensors(folder / description["file"], *ARRAYS)
        ending = {name: description[name] for name in ("base", "divisor", "is_logistic")}
        arrays = (found["thresholds"], found["steps"], found["values"], found["rights"])
        forest = Forest.checked(*arrays, roots=description["roots"])
        return cls(forest, description["features"], description["rounds"], **ending)

    @classmethod
    def read_boosted(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Trees":
        """Return what ``save`` wrote in the format ``xgboost``; xgboost itself is not needed."""
        path = folder / description["file"]
        try:
            return cls.boosted(path.read_bytes())
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise BundleError(f"{path.name}: not a readable xgboost model: {error}") from error


def _booster_nodes(tree: Mapping[str, Any]) -> Nodes:
    """Return a tree of xgboost, where single precision below the threshold goes left."""
    if np.any(tree["split_type"]):
        raise ValueError("a split by categories")
    limits = np.asarray(tree["split_conditions"], dtype=np.float32)
    return Nodes(
        np.asarray(tree["split_indices"], dtype=np.int64),
        widened(np.nextafter(limits, np.float32(-np.inf))),
        np.asarray(tree["left_children"], dtype=np.int64),
        np.asarray(tree["right_children"], dtype=np.int64),
        limits.astype(np.float64),
        np.asarray(tree["default_left"], dtype=np.bool_),
    )
