"""What a feature is: a named, versioned step from bars to columns, with what it reads, writes and remembers."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import named
from cryptoquant.market.slice import FIELDS

DERIVED = {"log_return": ("close",), "true_range": ("high", "low", "close")}
INPUTS = (*FIELDS, "time", *DERIVED)
OPEN, HIGH, LOW, CLOSE, VOLUME, TRADE_COUNT, VWAP, TIME, LOG_RETURN, TRUE_RANGE = range(len(INPUTS))
TOLERANCE = 1e-12
WIDEST = 64

Bars = NDArray[np.int64]
Run = tuple[int, int, int, int]
Memory = Literal["finite", "recursive", "cumulative"]
Form = Literal["run", "normalised", "bar", "python", "expression"]
Parameter = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Feature:
    """One or more columns computed bar by bar; made by the constructors of this room, such as ``rsi(14)``.

    Attributes
    ----------
    name
        The constructor's name.
    step
        The compiled step, see ``kernel``.
    parameters
        Pairs (parameter, value) as the constructor takes them.
    settings
        The same as float64 numbers, as the compiled step reads them.
    inputs
        What is read, of ``INPUTS``: fields of the bar; ``time``, the close in seconds since 1970 UTC; ``log_return``,
        ln(close / close of the bar before); ``true_range``, Wilder's. The last two need a ``lead``; a panel feature
        cannot read them.
    outputs
        The names of the columns written.
    lookback
        The index of a symbol's first bar with a value: so many bars before it give NaN.
    memory
        ``finite`` (a window of bars), ``recursive`` (older bars fade), ``cumulative`` (everything since the start).
    warm_up
        Bars after which the start of the series no longer matters: its weight is below ``TOLERANCE``. What is summed
        over a window is equal to rounding for different starts (to 1e-13 of its deviation, up to 1,440 bars).
    state_size
        Floats of memory per symbol.
    history
        How many bars before the present one the step reads again; a panel feature keeps its own.
    lead
        How many bars must lie before the first that the step sees; it gives NaN for them.
    version
        Rises when the meaning of the numbers changes.
    across
        Whether the step reads all symbols of a slice at once (a panel feature).
    form
        What the step takes: a ``run`` of bars; the same, its columns ``normalised`` by their past; one ``bar`` at a
        time, compiled or as plain ``python``; or it is a polars ``expression``, whose present equals its history to
        1e-10 only.
    against
        The symbol with which a panel feature compares; its place in the universe is the last of the step's settings.
    """

    name: str
    step: Callable[..., None]
    parameters: tuple[tuple[str, Parameter], ...]
    settings: tuple[float, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lookback: int
    memory: Memory
    warm_up: int
    state_size: int = 0
    history: int = 0
    lead: int = 0
    version: int = 1
    across: bool = False
    form: Form = "run"
    against: str = ""

    def __post_init__(self) -> None:
        strange = [name for name in self.inputs if name not in INPUTS]
        if strange:
            raise ValueError(f"{self.name}: unknown input {', '.join(strange)}; wanted some of {', '.join(INPUTS)}")
        if self.memory not in ("finite", "recursive", "cumulative"):
            raise ValueError(f"{self.name}: memory must be finite, recursive or cumulative, found {self.memory!r}")
        is_derived = not DERIVED.keys().isdisjoint(self.inputs)
        if self.across and (self.lead or self.history or is_derived):
            raise ValueError(f"{self.name}: a panel feature reads fields and time of its slice: no lead, no history")
        if self.against and not self.across:
            raise ValueError(f"{self.name}: only a panel feature compares with another symbol, {self.against}")
        if is_derived and self.lead < 1:
            raise ValueError(f"{self.name}: {', '.join(DERIVED)} begin with the second bar; wanted a lead of 1 or more")

    @property
    def reads(self) -> frozenset[str]:
        """The fields of a bar (and ``time``) that must be finite for a step, ``close`` always among them."""
        return frozenset({"close"}.union(*(DERIVED.get(name, (name,)) for name in self.inputs)))

    @property
    def places(self) -> list[int]:
        """The numbers of the inputs in ``INPUTS``."""
        return [INPUTS.index(name) for name in self.inputs]

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name(self)

    def to_dict(self) -> dict[str, Any]:
        """Return name, parameters and version as plain JSON values."""
        return {"name": self.name, "parameters": dict(self.parameters), "version": self.version}


def feature_of(
    step: Callable[..., None],
    inputs: tuple[str, ...],
    lookback: int,
    *,
    outputs: tuple[str, ...] = (),
    fading_bars: int = 0,
    parameters: Mapping[str, Parameter],
    **others: Any,
) -> Feature:
    """Return the feature of a step called ``{name}_step`` whose settings are its parameters, in their order.

    A field among the parameters is set as its number in ``INPUTS``. Without ``outputs`` the one column is called after
    the name and all parameters.

    Parameters
    ----------
    fading_bars
        Zero for a finite window, otherwise after how many more bars than ``lookback`` the start is forgotten.
    others
        Further attributes of the feature.
    """
    name = others.pop("name", step.__name__.removesuffix("_step"))
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in parameters.values()]
    return Feature(
        name=name,
        step=step,
        parameters=tuple(parameters.items()),
        settings=tuple(
            float(INPUTS.index(value) if isinstance(value, str) else value) for value in parameters.values()
        ),
        inputs=inputs,
        outputs=outputs or ("_".join([name, *words]),),
        lookback=lookback,
        warm_up=lookback + 1 + fading_bars,
        **{"memory": "recursive" if fading_bars else "finite", **others},
    )


def by_name(feature: Any) -> tuple[Any, ...]:
    """Return how a feature is pickled: its step by the name under which it is found, so that it is compiled once."""
    values = {name: getattr(feature, name) for name in feature.__slots__}
    return _found, (type(feature), {**values, "step": named(feature.step) or feature.step})


def _found(kind: type[Any], values: dict[str, Any]) -> Any:
    step = values["step"]
    if isinstance(step, tuple):
        place, names = step
        step = operator.attrgetter(names)(import_module(place))
    return kind(**{**values, "step": step})


def whole(feature: str, parameter: str, value: SupportsIndex, least: int = 1) -> int:
    """Return a parameter that counts bars as an int.

    Raises
    ------
    ValueError
        It is no whole number or smaller than ``least``.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < least:
        raise ValueError(f"{feature}: {parameter} must be a whole number of at least {least}, found {value!r}")
    return number


def positive(owner: str, parameter: str, value: SupportsFloat) -> float:
    """Return a parameter as a float.

    Raises
    ------
    ValueError
        It is no number, not finite, or not above zero.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0) or isinstance(value, bool):
        raise ValueError(f"{owner}: {parameter} must be a finite number above 0, found {value!r}")
    return number


def known_field(feature: str, field: str) -> str:
    """Return the name of a bar's field; raise ValueError for an unknown one."""
    if field not in FIELDS:
        raise ValueError(f"{feature}: unknown field {field!r}; wanted one of {', '.join(FIELDS)}")
    return field


def fading(weight: float) -> int:
    """Return after how many bars the weight of the start falls below ``TOLERANCE`` when each bar weighs ``weight``.

    Examples
    --------
    >>> fading(1 / 14)
    373
    """
    return 1 if weight >= 1 else math.ceil(math.log(TOLERANCE) / math.log1p(-weight))
