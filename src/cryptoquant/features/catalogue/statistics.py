"""Any field of a bar against its own recent distribution."""

import math

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import INPUTS, Bars, Feature, Run, known_field, whole
from cryptoquant.features.rolling import moments, moments_size
from cryptoquant.market.slice import Floats

__all__ = ["zscore"]


@borrowing
def zscore_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write (value - mean) / sample deviation; settings: the window and the number of the field."""
    at, rows, seen, to = run
    window, field = int(settings[0]), int(settings[1])
    values = floats_at(bars[field], at + rows)
    means, found = scratch[0], out[0, to : to + rows]
    moments(state, 0, window, values, at, rows, seen, means, found)
    present = values[at:]
    for row in range(rows):
        deviation = math.sqrt(found[row] / (window - 1.0))
        found[row] = 0.0 if deviation == 0.0 else (present[row] - means[row]) / deviation


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
        step=zscore_step,
        parameters=(("field", field), ("window", window)),
        settings=(float(window), float(INPUTS.index(field))),
        inputs=(field,),
        outputs=(f"zscore_{field}_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=moments_size(window),
        history=window,
    )
