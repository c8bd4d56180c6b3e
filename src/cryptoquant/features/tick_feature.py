"""What a feature of ticks is: a named, versioned step from trades, quotes or books to columns at each close."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptoquant.features.feature import Memory, Parameter, by_name
from cryptoquant.features.ticks import Source
from cryptoquant.market.time import Timeframe, span, timeframe_name


@dataclass(frozen=True, slots=True)
class TickFeature:
    """One or more columns computed from trades and quotes, or from books; made by the constructors of this room.

    Attributes
    ----------
    name, parameters, settings, outputs, memory, version
        As of ``Feature``.
    step
        The compiled step, see ``tick_program``.
    source
        ``ticks`` (trades and quotes in one stream) or ``books``.
    reads
        The frames that must be given, of ``trades``, ``quotes`` and ``books``.
    state_size
        Floats of memory per symbol.
    """

    name: str
    step: Callable[..., None]
    parameters: tuple[tuple[str, Parameter], ...]
    settings: tuple[float, ...]
    source: Source
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    memory: Memory
    state_size: int = 0
    version: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name(self)

    def to_dict(self) -> dict[str, Any]:
        """Return name, parameters and version as plain JSON values."""
        return {"name": self.name, "parameters": dict(self.parameters), "version": self.version}


def tick_feature_of(
    step: Callable[..., None],
    reads: tuple[str, ...],
    *,
    outputs: tuple[str, ...] = (),
    parameters: Mapping[str, Parameter] | None = None,
    state_size: int = 0,
    memory: Memory = "finite",
) -> TickFeature:
    """Return the feature of a step called ``{name}_step`` whose settings are its parameters, in their order.

    A timeframe among the parameters is set as its seconds. The columns are called after the name, or after
    ``outputs``, with the parameters behind.
    """
    chosen = dict(parameters or {})
    name = step.__name__.removesuffix("_step")
    behind = "".join(f"_{value:g}" if isinstance(value, float) else f"_{value}" for value in chosen.values())
    seconds = (span(value).total_seconds() if isinstance(value, str) else float(value) for value in chosen.values())
    return TickFeature(
        name=name,
        step=step,
        parameters=tuple(chosen.items()),
        settings=tuple(seconds),
        source="books" if "books" in reads else "ticks",
        reads=reads,
        outputs=tuple(f"{output}{behind}" for output in outputs or (name,)),
        memory=memory,
        state_size=state_size,
    )


def span_name(owner: str, window: Timeframe) -> str:
    """Return the name of a span of time, such as ``1m``.

    Raises
    ------
    ValueError
        It is no span of whole seconds above zero.
    """
    try:
        length = span(window)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{owner}: wanted a span such as '1m' or a timedelta, found {window!r}") from error
    if length.total_seconds() < 1 or length.microseconds:
        raise ValueError(f"{owner}: wanted a span of whole seconds above zero, found {window!r}")
    return timeframe_name(length)
