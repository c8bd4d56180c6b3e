"""Features of the user's own: a step for one bar, compiled or in plain Python."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from cryptoquant.compiled import uncached
from cryptoquant.features.feature import DERIVED, INPUTS, WIDEST, Feature, Memory, Parameter, feature_of, whole

Size = int | Callable[..., int]


@dataclass(frozen=True, slots=True)
class Custom:
    """A constructor of features, made by the decorator ``custom``; call it with its parameters."""

    name: str
    step: Callable[..., None]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    lookback: Size
    warm_up: Size | None
    state_size: Size
    memory: Memory
    version: int
    is_compiled: bool

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, **chosen: Parameter) -> Feature:
        """Return the feature with these parameters, the others as declared.

        Raises
        ------
        TypeError
            There is no such parameter.
        ValueError
            A parameter is no number of the declared kind, or a size is no whole number.
        """
        strange = sorted(chosen.keys() - self.parameters.keys())
        if strange:
            wanted = f"wanted some of {', '.join(self.parameters)}" if self.parameters else "it takes none"
            raise TypeError(f"{self.name}: unknown parameter {', '.join(strange)}; {wanted}")
        parameters = {name: self._number(name, chosen.get(name, usual)) for name, usual in self.parameters.items()}
        words = "".join(f"_{value:g}" if isinstance(value, float) else f"_{value}" for value in parameters.values())
        lead = 0 if DERIVED.keys().isdisjoint(self.inputs) else 1
        lookback = max(self._size("lookback", self.lookback, parameters), lead)
        warm_up = lookback + 1 if self.warm_up is None else self._size("warm_up", self.warm_up, parameters)
        return feature_of(
            self.step,
            self.inputs,
            lookback,
            name=self.name,
            outputs=tuple(f"{output}{words}" for output in self.outputs),
            fading_bars=max(warm_up - lookback - 1, 0),
            parameters=parameters,
            memory=self.memory,
            state_size=self._size("state_size", self.state_size, parameters),
            lead=lead,
            version=self.version,
            form="bar" if self.is_compiled else "python",
        )

    def _number(self, parameter: str, value: Any) -> Parameter:
        usual = self.parameters[parameter]
        try:
            number = type(usual)(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.name}: {parameter} must be a number like {usual!r}, found {value!r}") from error
        if isinstance(value, str) or isinstance(value, bool) is not isinstance(usual, bool) or number != value:
            raise ValueError(f"{self.name}: {parameter} must be a number like {usual!r}, found {value!r}")
        return number

    def _size(self, noun: str, size: Size, parameters: Mapping[str, Parameter]) -> int:
        return whole(self.name, noun, size(**parameters) if callable(size) else size, 0)


def custom(
    *,
    inputs: Sequence[str],
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
    lookback: Size = 0,
    warm_up: Size | None = None,
    state_size: Size = 0,
    memory: Memory = "finite",
    version: int = 1,
    compiled: bool = True,
) -> Callable[[Callable[..., None]], Custom]:
    """Turn ``step(state, settings, bar, out)`` into a constructor of features.

    The step takes one bar of one symbol: it reads ``bar``, the inputs in their order, and ``settings``, the parameters
    in theirs; it keeps what it likes in ``state``, zeros at the start; it writes ``out``, which holds NaN. All are
    float64 arrays of one dimension, and a place outside of them is an error. It is never called with a bar of which an
    input is missing, and must not raise. History and present call the same step, so its numbers are equal to the bit.

    Parameters
    ----------
    inputs
        What is read, see ``Feature.inputs``.
    outputs
        The columns, by default one with the name of the function; the parameters are appended.
    parameters
        Names and usual values: numbers.
    lookback
        The index of the first bar with a value: a number, or a function of the parameters.
    warm_up
        Bars after which the start no longer matters, as ``lookback``; by default lookback + 1.
    state_size
        Floats of memory for each symbol, as ``lookback``.
    memory
        As ``Feature.memory``.
    version
        Raise it when the meaning of the numbers changes.
    compiled
        Whether numba compiles the step (some 10 ns a bar); a plain Python one takes some microseconds.

    Raises
    ------
    ValueError
        An input is unknown, or there are more than 64 outputs.

    Examples
    --------
    >>> import cryptoquant as cq
    >>> from cryptoquant import features as f
    >>> @f.custom(inputs=["high", "low", "close"])
    ... def close_location(state, settings, bar, out):
    ...     high, low, close = bar[0], bar[1], bar[2]
    ...     out[0] = (close - low) / (high - low) if high > low else 0.5
    >>> cq.FeatureSet([close_location(), f.rsi(14)]).names
    ('close_location', 'rsi_14')
    """
    if not 0 < len(inputs) <= len(INPUTS) or isinstance(inputs, str) or not set(inputs) <= set(INPUTS):
        raise ValueError(f"custom feature: wanted a list of inputs of {', '.join(INPUTS)}, found {inputs!r}")
    if isinstance(outputs, str) or len(outputs) > WIDEST:
        raise ValueError(f"custom feature: wanted a list of at most {WIDEST} outputs, found {outputs!r}")

    def decorate(function: Callable[..., None]) -> Custom:
        name = function.__name__
        return Custom(
            name=name,
            step=uncached(_renamed(function)) if compiled else _renamed(function),
            inputs=tuple(inputs),
            outputs=tuple(outputs) or (name,),
            parameters=dict(parameters or {}),
            lookback=lookback,
            warm_up=warm_up,
            state_size=state_size,
            memory=memory,
            version=version,
            is_compiled=compiled,
        )

    return decorate


def _renamed(function: Callable[..., None]) -> Callable[..., None]:
    """Return a copy of a function that says where it is found once it is decorated, for pickle."""
    source: Any = function
    copy = FunctionType(source.__code__, source.__globals__, source.__name__, source.__defaults__, source.__closure__)
    copy.__module__, copy.__qualname__, copy.__doc__ = source.__module__, f"{source.__qualname__}.step", source.__doc__
    return copy
