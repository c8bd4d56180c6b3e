"""Ready sets: no unit of the price in them, one memory for all, and the gate lets them pass."""

import numpy as np
import polars as pl

from cryptoquant import features as f
from cryptoquant.features.gate import check_online, check_ticks
from cryptoquant.market.slice import Panel
from tests.features.test_microstructure import closes, market
from tests.market_makers import frame_of, gapping_panel

PRICES = ("price", "bid_price", "ask_price")


def scaled(panel: Panel, factor: float) -> Panel:
    values = panel.values
    values[..., [0, 1, 2, 3, 6]] *= factor
    return Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)


def test_the_classic_set_does_not_know_the_unit_of_the_price() -> None:
    features, panel = f.FeatureSet(f.classic()), gapping_panel(500, ("A/USD", "B/USD"), seed=2)
    assert len(set(features.names)) == 48
    one, two = features.compute_panel(panel), features.compute_panel(scaled(panel, 4096.0))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)
    assert np.isfinite(one[features.lookback :]).all()


def test_the_microstructure_set_does_not_know_the_unit_of_the_price() -> None:
    features, ticks, panel = f.FeatureSet(f.microstructure("2m", "20s")), market(4, 12), closes(12)
    large = f.Ticks(
        **{
            kind: getattr(ticks, kind).with_columns(
                pl.col(name) * 1024.0 for name in PRICES if name in getattr(ticks, kind).columns
            )
            for kind in ("trades", "quotes", "books")
        }
    )
    one, two = features.compute_panel(panel, ticks), features.compute_panel(panel, large)
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    assert np.isfinite(one[5:]).all()
    assert not any(feature.source == "books" for feature in f.microstructure(books=False))
    check_ticks(features, panel, ticks)


def test_bars_ticks_and_a_longer_timeframe_stand_in_one_set() -> None:
    ticks, panel = market(4, 40), closes(40)
    longer = f.timeframe("5m", [f.rsi(3), f.cross_sectional_rank(1)])
    features = f.FeatureSet([*f.classic()[:8], longer, *f.microstructure("2m", "20s"), f.normalised(f.roc(2), 5)])
    check_online(features, panel, ticks)
    assert f.FeatureSet.from_dict(features.to_dict()) == features


def test_the_classic_set_passes_the_gate() -> None:
    f.FeatureSet(f.classic()).check_causal(frame_of(gapping_panel(260, ("A/USD", "B/USD"), seed=3, absent=0.02)))
