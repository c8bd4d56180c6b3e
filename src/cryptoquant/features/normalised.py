"""Any feature of bars against its own recent past, so that quiet and wild times are on one scale."""

import json
from dataclasses import replace

from cryptoquant.features.feature import Feature, whole
from cryptoquant.features.folds.moments import spreads_size


def normalised(feature: Feature, window: int) -> Feature:
    """Return how many deviations a feature stands above its own mean of the last ``window`` bars, this one included.

    Formula: (x - mean) / sqrt(sum (x - mean)^2 / (window - 1)) for each column; 0 when it stood still. A pure number,
    and the causal counterpart of a ``Scaler``: nothing is fitted. Inputs and memory: those of the feature. Outputs:
    its columns with ``_z{window}`` behind. Lookback: that of the feature + window - 1. Warm-up: that of the feature +
    window - 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2, or the feature is one of a panel or of the user's own.

    Examples
    --------
    >>> from cryptoquant import features as f
    >>> f.normalised(f.macd(), 96).outputs[0]
    'macd_12_26_9_z96'
    """
    window = whole("normalised", "window", window, 2)
    if not isinstance(feature, Feature) or feature.form != "run" or feature.across:
        raise ValueError(f"normalised: {feature.outputs[0]} is no feature of this library for the bars of one symbol")
    sizes = window, feature.state_size, feature.lookback - feature.lead, spreads_size(window)
    return replace(
        feature,
        name="normalised",
        parameters=(("feature", json.dumps(feature.to_dict(), sort_keys=True)), ("window", window)),
        settings=(*map(float, sizes), *feature.settings),
        outputs=tuple(f"{name}_z{window}" for name in feature.outputs),
        lookback=feature.lookback + window - 1,
        warm_up=feature.warm_up + window - 1,
        state_size=feature.state_size + len(feature.outputs) * spreads_size(window),
        form="normalised",
    )
