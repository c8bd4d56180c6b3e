"""Features of the user's own: a step for one bar, compiled or in plain Python, or a polars expression."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cryptoquant.compiled import uncached
from cryptoquant.features.entries import ExpressionStep, expression_of
from cryptoquant.features.feature import DERIVED, INPUTS, WIDEST, Feature, Memory, Parameter, feature_of, whole

Size = int | Callable[..., int]

PYTHON_NODES = {"AnonymousFunction", "AnonymousAgg", "AnonymousStreamingAgg", "PythonScan", "RenameAlias"}


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
        words = "".join(f"_{value:g}" for value in parameters.values())
        lookback = self._size("lookback", self.lookback, parameters)
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
            lead=0 if DERIVED.keys().isdisjoint(self.inputs) else 1,
            version=self.version,
            form="bar" if self.is_compiled else "python",
        )

    def _number(self, parameter: str, value: Any) -> Parameter:
        usual = self.parameters[parameter]
        try:
            number = type(usual)(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name}: {parameter} must be a number like {usual!r}, found {value!r}") from error
        if isinstance(value, str) or number != value:
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
    float64 arrays of one dimension. It is never called with a bar of which an input is missing, and must not raise.
    History and present call the same step, so its numbers are equal to the bit.

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
    if not 0 < len(inputs) <= len(INPUTS) or isinstance(inputs, str) or len(outputs) > WIDEST:
        raise ValueError(f"custom feature: wanted a list of inputs and at most {WIDEST} outputs, found {inputs!r}")

    def decorate(function: Callable[..., None]) -> Custom:
        name = function.__name__
        # Where the step is found from now on, for pickle.
        function.__qualname__ = f"{function.__qualname__}.step"
        return Custom(
            name=name,
            step=uncached(function) if compiled else function,
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


def expression(name: str, expression: pl.Expr | str, lookback: int) -> Feature:
    """Return a polars expression over the bars of one symbol as a feature.

    Its history is computed in pieces and its present from the last ``lookback + 1`` bars, so that both are equal to
    1e-10, not to the bit; one update takes a fraction of a millisecond. Inputs: the columns that it names, of the
    fields of a bar and ``time``. Output: ``name``. Lookback: as given. Memory: finite. Warm-up: lookback + 1 bars.

    Parameters
    ----------
    name
        Of the column.
    expression
        One value for each bar; or what ``to_dict`` kept of one.
    lookback
        How many bars before the present one it needs. ``check_causal`` finds out when that is too few.

    Raises
    ------
    ValueError
        It names no column or an unknown one, or holds a Python function, which cannot be kept.

    Examples
    --------
    >>> import polars as pl
    >>> close = pl.col("close")
    >>> expression("above_mean", close / close.rolling_mean(20) - 1, lookback=19).lookback
    19
    """
    lookback = whole("expression", "lookback", lookback, 0)
    text = expression if isinstance(expression, str) else expression.meta.serialize(format="json")
    try:
        nodes = set(_keys(json.loads(text)))
        names = set() if nodes & PYTHON_NODES else set(expression_of(text).meta.root_names())
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{name}: unreadable expression: {error}") from error
    if nodes & PYTHON_NODES:
        raise ValueError(f"{name}: a Python function inside an expression cannot be kept; use the decorator custom")
    strange = sorted(names - (set(INPUTS) - DERIVED.keys()))
    if strange or not names:
        wanted = ", ".join(column for column in INPUTS if column not in DERIVED)
        raise ValueError(f"{name}: unknown column {', '.join(strange) or 'none'}; wanted some of {wanted}")
    inputs = tuple(column for column in INPUTS if column in names)
    return Feature(
        name="expression",
        step=ExpressionStep(text, inputs, lookback),
        parameters=(("name", name), ("expression", text), ("lookback", lookback)),
        settings=(),
        inputs=inputs,
        outputs=(name,),
        lookback=lookback,
        memory="finite",
        warm_up=lookback + 1,
        history=lookback,
        form="expression",
    )


def _keys(tree: Any) -> Iterator[str]:
    """Yield the names of all nodes of an expression."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from _keys(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _keys(value)
    elif isinstance(tree, str):
        yield tree
