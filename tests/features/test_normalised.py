"""A feature against its own past: the z-score of its columns, in history and present alike."""

import numpy as np
import pytest

from cryptoquant import features as f
from tests.features.examples import panel_of
from tests.market_makers import frame_of, gapping_panel

PANEL = gapping_panel(1_100, ("A/USD", "B/USD"), seed=4, absent=0.03)


def every_kind() -> f.FeatureSet:
    inner = [f.rsi(5), f.macd(3, 6, 4), f.realized_volatility(5), f.log_return(2), f.hour_of_day()]
    return f.FeatureSet([f.normalised(feature, window) for feature in inner for window in (4, 33)])


@pytest.mark.parametrize("window", [2, 20, 70])
def test_it_is_the_z_score_of_every_column(window: int) -> None:
    inner = f.FeatureSet([f.macd(3, 6, 4), f.rsi(5)])
    rng = np.random.default_rng(5)
    panel = panel_of(100 * np.exp(np.cumsum(rng.standard_normal(1_300) * 0.01)))
    plain = inner.compute_panel(panel)[:, 0]
    found = f.FeatureSet([f.normalised(feature, window) for feature in inner.features]).compute_panel(panel)[:, 0]
    for column in range(plain.shape[1]):
        values = plain[:, column]
        wanted = np.full(len(values), np.nan)
        for row in range(window - 1, len(values)):
            past = values[row + 1 - window : row + 1]
            if np.isfinite(past).all():
                wanted[row] = (past[-1] - past.mean()) / past.std(ddof=1)
        np.testing.assert_allclose(found[:, column], wanted, rtol=1e-8, atol=1e-9)


def test_its_present_is_its_history_and_the_gate_lets_it_pass() -> None:
    features = every_kind()
    history = features.compute_panel(PANEL)
    online = features.online(PANEL.symbols)
    for row, slice in enumerate(PANEL):
        np.testing.assert_array_equal(online.update(slice), history[row])
    features.check_causal(frame_of(gapping_panel(200, ("A/USD", "B/USD"), seed=4, absent=0.03)))


def test_it_says_when_it_begins() -> None:
    features = every_kind()
    found = features.compute_panel(gapping_panel(80, seed=1))
    for feature in features.features:
        column = features.names.index(feature.outputs[0])
        assert np.isnan(found[: feature.lookback, 0, column]).all()  # type: ignore[union-attr]
        assert np.isfinite(found[feature.lookback :, 0, column]).all()  # type: ignore[union-attr]


def test_it_is_saved_read_and_refused_where_it_cannot_be() -> None:
    features = every_kind()
    assert f.FeatureSet.from_dict(features.to_dict()) == features
    assert f.FeatureSet.from_dict(features.to_dict()).fingerprint == features.fingerprint
    assert features.fingerprint != f.FeatureSet([f.rsi(5)]).fingerprint
    with pytest.raises(ValueError, match="no feature of this library for the bars of one symbol"):
        f.normalised(f.cross_sectional_rank(3), 5)
    with pytest.raises(ValueError, match="window must be a whole number"):
        f.normalised(f.rsi(5), 1)
