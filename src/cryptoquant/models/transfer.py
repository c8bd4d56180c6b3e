"""A model that first learns elsewhere: from many symbols, or from what a registered version knows already."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.time import to_datetime
from cryptoquant.models.bundle import Bundle, digest
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.estimator import as_model
from cryptoquant.models.examples import COLUMNS, Examples
from cryptoquant.models.members import own_names, refuse_other
from cryptoquant.models.model import Continuable, Model, Predictor
from cryptoquant.models.scaled import Scaled

OWN, PREFIX = ("model", "base", "start"), "tuned_"


@dataclass(frozen=True, slots=True, eq=False)
class FineTuned:
    """A model that goes on learning from a start that knew nothing of what it will be tested on.

    From a donor, the start is learned anew in each fold, whatever the symbol: from those of its rows whose labels were
    known no later than the last training label of the fold, and which did not live, from their time to their label, in
    time that is barred because it will be judged. From a bundle, it is the bundle's predictor, as long as that was
    trained on labels no later than that, and known before any barred time begins.

    Parameters
    ----------
    model
        What goes on learning, for so long and so fast as its own parameters say: ``LSTM``, ``TCN`` or ``XGBoost``, also
        within ``Scaled``, which keeps the scale of the start.
    start
        The donor (``Dataset`` or ``Examples``, the same features in the same order), or a ``Bundle``.
    base
        What learns from the donor; by default the model itself. It must agree with the model in kind and size.

    Raises
    ------
    TypeError
        The model cannot go on from a start, or the start is none.
    ValueError
        A base is given for a bundle, which needs none.

    Examples
    --------
    >>> from cryptoquant.models import LSTM, FineTuned
    >>> FineTuned(LSTM(epochs=5, learning_rate=1e-4), donor, base=LSTM())  # doctest: +SKIP
    """

    model: Model
    start: Examples | Dataset | Bundle
    base: Model | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        inner = self.model
        while isinstance(inner, Scaled):
            inner = inner.model
        if not isinstance(inner, Continuable):
            raise TypeError(f"{type(inner).__name__} cannot go on from a start; LSTM, TCN and XGBoost can, also Scaled")
        if not isinstance(self.start, Examples | Dataset | Bundle):
            raise TypeError(f"start must be Examples, a Dataset or a Bundle, found {type(self.start).__name__}")
        if self.base is not None and isinstance(self.start, Bundle):
            raise ValueError("base: a bundle is a start already")
        if self.base is not None:
            object.__setattr__(self, "base", as_model(self.base))

    def get_params(self) -> dict[str, Any]:
        """Return the parameters of the model by name, what it is, the base's, and a digest of the start.

        Where the model has a ``model``, ``base`` or ``start`` of its own, that of the whole begins with ``tuned_``.
        """
        inner = self.model.get_params()
        own = (type(self.model).__name__, self._base_params(), fingerprint(self.start))
        return inner | dict(zip(own_names(OWN, PREFIX, inner).values(), own, strict=True))

    def with_params(self, **params: Any) -> Self:
        """Return a copy with other parameters of the model.

        Raises
        ------
        ValueError
            A name is unknown; another model, base or start is another ``FineTuned``.
        """
        model, base, start = own_names(OWN, PREFIX, self.model.get_params()).values()
        refuse_other(self, model, params, type(self.model).__name__)
        refuse_other(self, base, params, self._base_params())
        if start in params:
            refuse_other(self, start, params, fingerprint(self.start))
        return replace(self, model=self.model.with_params(**params))

    def _base_params(self) -> list[Any] | None:
        return None if self.base is None else [type(self.base).__name__, self.base.get_params()]

    def fit(self, examples: Examples) -> Predictor:
        """Return the predictor that went on learning from the examples.

        Raises
        ------
        ModelError
            The start has another number of features, no donor row may be learned from, the bundle was trained on labels
            that the examples do not reach or in time that is barred, or it is not known until when it was; and what the
            model raises.
        """
        if not len(examples):
            raise ModelError("no training rows")
        if isinstance(self.start, Bundle):
            start = _registered(self.start, examples)
        else:
            start = self._learned(self.start, examples)
        model = self.model
        if not isinstance(model, Continuable):
            raise TypeError(f"{type(model).__name__} cannot go on from a start")
        return model.resume(start, examples)

    def _learned(self, donor: Examples | Dataset, examples: Examples) -> Predictor:
        rows = donor.examples if isinstance(donor, Dataset) else donor
        last, width = int(examples.label_known.max()), examples.features.shape[1]
        if rows.features.shape[1] != width:
            raise ModelError(f"the donor has {rows.features.shape[1]} features, wanted {width}")
        known = rows.take(rows.is_known & (rows.label_known <= last) & ~_is_judged(rows, examples.barred))
        if not len(known):
            apart = " outside the time that is judged" if examples.barred else ""
            raise ModelError(f"no label of the donor's {len(rows)} rows was known by {to_datetime(last)}{apart}")
        base = self.model if self.base is None else self.base
        return base.fit(replace(known, barred=(*known.barred, *examples.barred)))


def _is_judged(rows: Examples, barred: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    """Return whether the life of each row, from its time to its label, touches a barred span; shape (rows,)."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for start, end in barred:
        found |= (rows.times <= end) & (rows.label_known >= start)
    return found


def _registered(bundle: Bundle, examples: Examples) -> Predictor:
    last, width = int(examples.label_known.max()), examples.features.shape[1]
    if len(bundle.features.names) != width:
        raise ModelError(f"{bundle.name} has {len(bundle.features.names)} features, wanted {width}")
    if not bundle.trained_until:
        raise ModelError(f"{bundle.name} does not say until when it was trained: it may have seen the test")
    if bundle.trained_until > last:
        raise ModelError(
            f"{bundle.name} was trained on labels known until {to_datetime(bundle.trained_until)}, the training rows' "
            f"end at {to_datetime(last)}: it may have seen the test"
        )
    for start, _ in examples.barred:
        if bundle.trained_until >= start:
            raise ModelError(
                f"{bundle.name} was trained on labels known until {to_datetime(bundle.trained_until)}, what is judged "
                f"begins at {to_datetime(start)}: it may have seen the test"
            )
    return bundle.predictor


def fingerprint(start: Examples | Dataset | Bundle) -> str:
    """Return a digest of what is learned from or started from, the same in every process."""
    if isinstance(start, Dataset):
        return start.fingerprint
    if isinstance(start, Examples):
        found = hashlib.sha256()
        for name in COLUMNS:
            column = getattr(start, name)
            found.update(f"{name} {column.shape}".encode())
            found.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        return found.hexdigest()
    with TemporaryDirectory() as place:
        told = start.predictor.save(Path(place))
        files = {path.name: digest(path) for path in sorted(Path(place).iterdir())}
    known = [start.name, start.trained_until, start.features.fingerprint, dict(start.fingerprints), told, files]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
