"""Parity over a gap: what passed while the trader stood still counts for the features, and journalled slices stay."""

import numpy as np

from cryptoquant.features import FeatureSet, log_return, zscore
from cryptoquant.live.universe import laid_over
from cryptoquant.market.slice import Panel
from tests.models.datasets import market_bars

HOUR = 3_600_000_000_000


def test_slices_that_no_journal_holds_come_from_the_history_and_the_features_are_whole():
    bars = Panel.from_frame(market_bars(days=12))
    start, stop, again, end = (int(bars.times[place]) for place in (100, 150, 170, 200))
    parts = [bars.between(start, stop), bars.between(again, end)]
    traded = Panel.from_values(
        np.concatenate([one.times for one in parts]),
        np.concatenate([one.known for one in parts]),
        bars.symbols,
        np.concatenate([one.values for one in parts]),
        bars.width,
    )
    whole = laid_over(bars.between(-1, end), list(traded))
    assert whole.times.tolist() == bars.between(0, end).times.tolist()
    features = FeatureSet([log_return(3), zscore("volume", 24)])
    wanted = features.compute_panel(bars.between(0, end))
    assert np.array_equal(features.compute_panel(whole), wanted, equal_nan=True)
    short = laid_over(bars.between(0, start), list(traded))
    assert len(short) == len(whole) - 20
    assert not np.array_equal(features.compute_panel(short)[-30:], wanted[-30:], equal_nan=True)


def test_a_journalled_slice_goes_before_that_of_the_history():
    bars = Panel.from_frame(market_bars(days=3))
    first, last = int(bars.times[20]), int(bars.times[30])
    told = bars.between(first, last)
    traded = Panel.from_values(told.times, told.known + HOUR, told.symbols, told.values * 2.0, told.width)
    whole = laid_over(bars.between(-1, last), list(traded))
    assert np.array_equal(whole.values[21:], traded.values, equal_nan=True)
    assert np.array_equal(whole.values[:21], bars.values[:21], equal_nan=True)
    assert whole.known[-1] == traded.known[-1]
