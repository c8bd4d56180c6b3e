"""Any field of a bar against its own recent distribution."""

import math

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Feature, known_field, whole
from cryptoquant.features.rolling import moments, moments_size
from cryptoquant.market.slice import Floats


@borrowing
def zscore_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write (value - mean) / sample deviation of the last ``settings[0]`` values."""
    window = int(settings[0])
    mean, squares = moments(state, 0, window, bar[0])
    deviation = math.sqrt(squares / (window - 1.0))
    out[0] = 0.0 if deviation == 0.0 else (bar[0] - mean) / deviation


def zscore(field: str, window: int) -> Feature:
    """Return how many sample deviations a field stands above its mean of the last ``window`` bars, this one included.

    Formula: (x - mean) / sqrt(sum (x - mean)^2 / (window - 1)); 0 when the window is flat. A pure number. Inputs: the
    field. Output: ``zscore_{field}_{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 2.
    """
    field = known_field("zscore", field)
    window = whole("zscore", "window", window, 2)
    return Feature(
        name="zscore",
        parameters=(("field", field), ("window", window)),
        settings=(float(window),),
        inputs=(field,),
        outputs=(f"zscore_{field}_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=moments_size(window),
    )
