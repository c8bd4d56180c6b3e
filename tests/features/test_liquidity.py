"""Amihud's illiquidity against its formula over every window, with bars in which nobody traded."""

import numpy as np
import pytest

from cryptoquant import features as f
from tests.features.examples import panel_of, panel_with


@pytest.mark.parametrize("window", [1, 5, 40])
def test_amihud_is_the_mean_move_per_money_over_the_bars_with_trades(window: int) -> None:
    rng = np.random.default_rng(3)
    values = panel_of(100 * np.exp(np.cumsum(rng.standard_normal(1_300) * 0.01))).values
    values[rng.random(1_300) < 0.2, 0, 4] = 0.0
    values[600:680, 0, 4] = 0.0
    panel = panel_with(values)
    found = f.FeatureSet([f.amihud(window)]).compute_panel(panel)[:, 0, 0]
    close, volume = values[:, 0, 3], values[:, 0, 4]
    with np.errstate(divide="ignore"):
        ratio = np.abs(np.diff(np.log(close))) / (close * volume)[1:]
    wanted = np.full(1_300, np.nan)
    for row in range(window, 1_300):
        past = ratio[row - window : row]
        if np.isfinite(past).any():
            wanted[row] = past[np.isfinite(past)].mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert np.isnan(wanted[660])
