"""How busy the market is against its own habit."""

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import VOLUME, Bars, Feature, Run, whole
from cryptoquant.features.rolling import mean_size, means
from cryptoquant.market.slice import Floats

__all__ = ["volume_ratio"]


@borrowing
def volume_ratio_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write volume / mean volume of the last ``settings[0]`` bars."""
    at, rows, seen, to = run
    volumes, found = floats_at(bars[VOLUME], at + rows), out[0, to : to + rows]
    means(state, 0, int(settings[0]), volumes, at, rows, seen, found)
    volume = volumes[at:]
    for row in range(rows):
        found[row] = 1.0 if found[row] == 0.0 else volume[row] / found[row]


def volume_ratio(window: int) -> Feature:
    """Return the bar's volume over its mean of the last ``window`` bars, this one included.

    Formula: volume / SMA(volume, window); 1 when nothing traded in the whole window. A pure number from 0 to window.
    Inputs: volume. Output: ``volume_ratio_{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("volume_ratio", "window", window)
    return Feature(
        name="volume_ratio",
        step=volume_ratio_step,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("volume",),
        outputs=(f"volume_ratio_{window}",),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=mean_size(window),
        history=window,
    )
