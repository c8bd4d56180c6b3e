"""Several threads over one history: the same numbers, and an error in one of them is heard."""

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.market.slice import Floats
from tests.market_makers import frame_of, gapping_panel


@f.custom(inputs=["high", "low"], compiled=False)
def plain_range(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    out[0] = bar[0] - bar[1]


@pytest.mark.parametrize("symbols", [1, 3, 40])
def test_threads_change_no_number(symbols: int) -> None:
    names = tuple(f"S{index}/USD" for index in range(symbols))
    panel = gapping_panel(60, names, seed=5, absent=0.05)
    features = f.FeatureSet([f.rsi(5), f.macd(3, 6, 4), f.atr(5), f.realized_volatility(5), plain_range(), f.obv()])
    alone = features.compute_panel(panel)
    for threads in (2, 3):
        np.testing.assert_array_equal(features.compute_panel(panel, threads=threads), alone)
    bars = frame_of(panel)
    assert features.compute(bars, threads=2).equals(features.compute(bars), null_equal=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_a_thread_is_raised_and_threads_are_counted() -> None:
    @f.custom(inputs=["close"])
    def broken(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        state[7] = bar[0]

    panel = gapping_panel(60, ("A/USD",))
    with pytest.raises(RuntimeError, match="broken: its step raised"):
        f.FeatureSet([f.rsi(5), broken()]).compute_panel(panel, threads=2)
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1"):
        f.FeatureSet([f.rsi(5)]).compute_panel(panel, threads=0)
