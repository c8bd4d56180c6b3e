"""Models inside models: their parameters under their names, and their values out of fold."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.models.estimator import as_model
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
    TypeError
        What a member is to be is no model.
    """
    changed = dict(members)
    for name, model in members.items():
        said = params.pop(name, model)
        if not isinstance(said, str):
            model = as_model(said)
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


def own_names(names: Iterable[str], prefix: str, inner: Mapping[str, Any]) -> dict[str, str]:
    """Return what the own parameters of a model are called beside those of the model in it: prefixed where taken."""
    called = {}
    for name in names:
        free = name
        while free in inner:
            free = prefix + free
        called[name] = free
    return called


def refuse_other(owner: object, name: str, params: dict[str, Any], value: object) -> None:
    """Take a parameter that cannot change out of ``params``; raises ValueError where another value is given."""
    found = params.pop(name, value)
    if found != value:
        kind = type(owner).__name__
        raise ValueError(f"{kind}: {name} is {value!r}, not {found!r}: another one is another {kind}")


def within(model: Model) -> Iterator[Model]:
    """Yield a model and all the models inside it."""
    yield model
    names: list[str] = [one.name for one in fields(model)] if is_dataclass(model) else []
    for value in (getattr(model, name) for name in names):
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Model) and not isinstance(inner, type):
                yield from within(inner)


def refuse_unknown(owner: Any, params: Mapping[str, Any]) -> None:
    """Raise ValueError for parameters that nothing has taken."""
    if params:
        known = ", ".join(owner.get_params())
        raise ValueError(f"{type(owner).__name__} has no parameter {', '.join(sorted(params))}; it has {known}")
