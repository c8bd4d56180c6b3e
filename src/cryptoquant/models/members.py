"""Models inside models: their parameters under their names, and their values out of fold."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model
from cryptoquant.models.splits import PurgedKFold
from cryptoquant.models.windows import predict_rows

Floats = NDArray[np.float64]


def member_params(members: Mapping[str, Model]) -> dict[str, Any]:
    """Return what each member is, and its parameters as ``member__parameter``."""
    found: dict[str, Any] = {}
    for name, model in members.items():
        found[name] = type(model).__name__
        found |= {f"{name}__{inner}": value for inner, value in model.get_params().items()}
    return found


def changed_members(owner: object, members: Mapping[str, Model], params: dict[str, Any]) -> dict[str, Model]:
    """Return the members with other parameters; a member's own name takes another model, or says what it is already.

    Names that are used are taken out of ``params``.

    Raises
    ------
    ValueError
        A name is not that of a parameter, or a member is said to be another model than it is.
    """
    changed = dict(members)
    for name, model in members.items():
        said = params.pop(name, model)
        if isinstance(said, Model):
            model = said
        elif said != type(model).__name__:
            raise ValueError(f"{type(owner).__name__}: {name} is a {type(model).__name__}, not {said!r}")
        inner = {key: params.pop(key) for key in list(params) if key.startswith(f"{name}__")}
        changed[name] = model.with_params(**{key.removeprefix(f"{name}__"): value for key, value in inner.items()})
    return changed


def out_of_fold(model: Model, examples: Examples, folds: int, embargo: timedelta) -> Floats:
    """Return a value for each row by a predictor that learned from other, purged blocks of the rows, shape (rows,).

    The time of the block is barred from all else that is learned from, such as a donor's rows. NaN where the predictor
    gives none, or the row's window is not complete.

    Raises
    ------
    ModelError
        The rows cannot be cut into blocks, or those beside a block cannot be learned from.
    """
    values = np.full(len(examples), np.nan)
    cuts = PurgedKFold(folds, embargo).cut(examples.times, examples.label_known)
    for number, (train, test) in enumerate(cuts):
        try:
            predictor = model.fit(examples.learning(train, test))
        except ModelError as error:
            raise ModelError(f"inner fold {number} of {folds}: {error}") from error
        values[test] = predict_rows(predictor, examples, test)
    return values


def refuse_unknown(owner: Any, params: Mapping[str, Any]) -> None:
    """Raise ValueError for parameters that nothing has taken."""
    if params:
        known = ", ".join(owner.get_params())
        raise ValueError(f"{type(owner).__name__} has no parameter {', '.join(sorted(params))}; it has {known}")
