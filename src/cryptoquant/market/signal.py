"""The hinge between research and trading: a prediction for one symbol, with the time at which it was known."""

from typing import Literal

import msgspec

SignalKind = Literal["probability", "expected_return", "score"]


class Signal(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One prediction.

    Attributes
    ----------
    name
        Who predicts, for example the bundle's name.
    symbol
        Slash form.
    time, known
        Nanoseconds UTC: the close of the bar that it was computed from, and when it could be acted on.
    kind
        ``probability`` (of a rise, 0 to 1), ``expected_return`` (a fraction over the horizon) or ``score`` (unitless).
    value
        The prediction.
    horizon
        Nanoseconds over which it holds.
    dissimilarity
        How unlike the training rows the row was that the model saw, 1 as unlike as these are on average; None from a
        model that does not tell.
    """

    name: str
    symbol: str
    time: int
    known: int
    kind: SignalKind
    value: float
    horizon: int
    dissimilarity: float | None = None
