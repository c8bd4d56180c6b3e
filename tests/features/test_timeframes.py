"""A longer timeframe joins when it is known: against a join written out, in the present, and at its borders."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptoquant import features as f
from cryptoquant.errors import DataError, LeakageError
from cryptoquant.features.causality import check_prefixes
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.slice import Panel
from tests.market_makers import HOUR, START, frame_of, gapping_panel

MINUTE = HOUR // 60
SYMBOLS = ("A/USD", "B/USD", "C/USD")


def minutes(rows: int, width: int, *, seed: int = 1, absent: float = 0.0, first: int = 0) -> Panel:
    """Return a panel of bars of ``width`` minutes whose first bar opens ``first`` minutes after an hour."""
    hourly = gapping_panel(rows, SYMBOLS, seed=seed, absent=absent)
    times = START + MINUTE * (first + width * np.arange(1, rows + 1, dtype=np.int64))
    return Panel.from_values(times, times + 7, SYMBOLS, hourly.values, width * MINUTE)


def joined(panel: Panel, timeframe: str, features: f.FeatureSet, stale: int) -> NDArray[np.float64]:
    """Return the features of aggregated bars, looked up row by row by the time at which they are known."""
    frame = frame_of(panel)
    longer = aggregate(frame, timeframe)
    # What Panel cannot tell: a first bucket that is opened by its first bar counts for ``aggregate``.
    firsts = {symbol: frame.filter(symbol=symbol)["time"].dt.epoch("ns").min() for symbol in frame["symbol"].unique()}
    opens = pl.col("open_time").dt.epoch("ns")
    first = pl.col("symbol").replace_strict(firsts, return_dtype=pl.Int64)
    found = features.compute(longer.filter(opens >= first))
    out = np.full((len(panel), len(SYMBOLS), len(features.names)), np.nan)
    for place, symbol in enumerate(SYMBOLS):
        own = found.filter(symbol=symbol)
        times, known = (own[name].dt.epoch("ns").to_numpy() for name in ("time", "known"))
        values = own.select(features.names).to_numpy()
        for row, (time, moment) in enumerate(zip(panel.times, panel.known, strict=True)):
            usable = np.flatnonzero((times <= time) & (known <= moment))
            if len(usable) and time - times[usable[-1]] <= stale and not np.isnan(panel.field("close")[row, place]):
                out[row, place] = values[usable[-1]]
    return out


@pytest.mark.parametrize(("width", "timeframe", "absent"), [(5, "15m", 0.0), (5, "1h", 0.1), (15, "1h", 0.4)])
@pytest.mark.parametrize("first", [0, 30])
def test_the_join_is_the_one_by_known_times(width: int, timeframe: str, absent: float, first: int) -> None:
    panel = minutes(600, width, absent=absent, first=first)
    inner = f.FeatureSet([f.rsi(3), f.log_return(1), f.zscore("volume", 4), f.zscore("vwap", 3), f.atr(3)])
    longer = f.timeframe(timeframe, inner)
    found = f.FeatureSet([longer]).compute_panel(panel)
    wanted = joined(panel, timeframe, inner, longer.stale)
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(wanted).mean() > 0.3


@given(
    seed=st.integers(0, 50),
    absent=st.sampled_from([0.0, 0.2, 0.7]),
    first=st.sampled_from([0, 5, 55]),
    timeframe=st.sampled_from(["10m", "1h", "1d"]),
)
def test_the_present_is_history_to_the_bit(seed: int, absent: float, first: int, timeframe: str) -> None:
    panel = minutes(80, 5, seed=seed, absent=absent, first=first)
    features = f.FeatureSet([f.roc(2), f.timeframe(timeframe, [f.sma(2), f.relative_return(1)]), f.rsi(3)])
    history = features.compute_panel(panel)
    online = features.online(SYMBOLS)
    for row, slice in enumerate(panel):
        if row % 7 == 3:
            memory = online.state()
            online.peek(slice)
            np.testing.assert_array_equal(online.state(), memory)
            online = features.online(SYMBOLS)
            online.restore(memory)
        np.testing.assert_array_equal(online.update(slice), history[row])
    warm = features.online(SYMBOLS)
    warm.warm(panel.between(0, int(panel.times[59])))
    np.testing.assert_array_equal(warm.update(panel[60]), history[60])


def test_the_whole_gate_lets_it_pass_with_holes_and_off_phase_starts() -> None:
    for first in (0, 25):
        frame = frame_of(minutes(220, 5, absent=0.1, first=first))
        f.FeatureSet([f.timeframe("20m", [f.rsi(2), f.cross_sectional_rank(1)]), f.roc(1)]).check_causal(frame)


def test_a_row_inside_the_hour_sees_the_hour_before() -> None:
    panel = minutes(36, 5)
    found = f.FeatureSet([f.timeframe("1h", [f.roc(1)])]).compute_panel(panel)[:, 0, 0]
    close = panel.field("close")[:, 0]
    assert np.isnan(found[:35]).all()
    np.testing.assert_allclose(found[35], close[35] / close[23] - 1, rtol=1e-15)
    table = f.FeatureSet([f.timeframe("1h", [f.zscore("close", 2)])]).compute(frame_of(minutes(50, 5)))
    stairs = table.filter(symbol="A/USD")["zscore_close_2_1h"].to_numpy()
    assert len(set(stairs[35:47])) == 1
    assert stairs[47] != stairs[46]


def test_a_join_by_the_open_would_be_caught() -> None:
    frame = frame_of(minutes(150, 5))
    longer = aggregate(frame, "20m")

    def leaking(bars: pl.DataFrame) -> pl.DataFrame:
        early = aggregate(bars, "20m").select("symbol", pl.col("open_time").alias("time"), leak="close")
        joined = bars.sort("time").join_asof(early.sort("time"), on="time", by="symbol", check_sortedness=False)
        return joined.select("symbol", "time", "known", "leak")

    assert longer.height
    with pytest.raises(LeakageError):
        check_prefixes(leaking, frame)


def test_an_old_bar_counts_no_more() -> None:
    values = minutes(60, 5).values
    values[24:40, 0] = np.nan
    panel = Panel.from_values(minutes(60, 5).times, minutes(60, 5).known, SYMBOLS, values, 5 * MINUTE)
    inner = [f.zscore("close", 2)]
    patient = f.FeatureSet([f.timeframe("10m", inner, stale=timedelta(days=1))]).compute_panel(panel)[:, 0, 0]
    strict = f.FeatureSet([f.timeframe("10m", inner, stale=timedelta(minutes=10))]).compute_panel(panel)[:, 0, 0]
    usual = f.FeatureSet([f.timeframe("10m", inner)]).compute_panel(panel)[:, 0, 0]
    assert np.isfinite(patient[40])
    assert np.isnan(usual[40])
    assert np.isfinite(usual[43])
    assert np.isnan(patient[24:40]).all()
    assert np.isfinite(strict[20:24]).all()


def test_what_a_set_needs_is_enough_and_not_far_from_it() -> None:
    features = f.FeatureSet([f.roc(3), f.timeframe("1h", [f.rsi(5)])])
    lookback, warm_up = features.needed("5m")
    assert (lookback, warm_up) == (83, (f.rsi(5).warm_up + 1) * 12)
    for first in range(0, 60, 5):
        found = features.compute_panel(minutes(120, 5, first=first))[:, 0, 1]
        assert np.isfinite(found[lookback])
    with pytest.raises(ValueError, match=r"rsi_5_1h: how many bars it needs depends on them"):
        _ = features.lookback
    with pytest.raises(ValueError, match="7m do not make up longer bars of 1h"):
        features.needed("7m")


def test_a_set_with_longer_bars_is_saved_read_and_told_apart() -> None:
    features = f.FeatureSet([f.roc(1), f.timeframe("1h", [f.rsi(5), f.atr(3)])])
    assert features.names == ("roc_1", "rsi_5_1h", "atr_3_1h")
    assert f.FeatureSet.from_dict(features.to_dict()) == features
    assert f.FeatureSet.from_dict(features.to_dict()).fingerprint == features.fingerprint
    other = f.FeatureSet([f.roc(1), f.timeframe("1h", [f.rsi(5), f.atr(4)])])
    assert other.fingerprint != features.fingerprint
    assert other != features


def test_damaged_descriptions_and_missing_fields_are_told() -> None:
    saved = f.FeatureSet([f.timeframe("1h", [f.roc(1)]), f.normalised(f.roc(1), 4)]).to_dict()
    for place, key, value in ((0, "timeframe", 5), (0, "stale_ns", "x"), (1, "feature", "{"), (1, "window", None)):
        rows = [{**row, "parameters": dict(row["parameters"])} for row in saved["features"]]
        rows[place]["parameters"][key] = value
        with pytest.raises(ValueError, match=r"timeframe|normalised"):
            f.FeatureSet.from_dict({"features": rows})
        rows = [{**row, "version": 99} if number == place else row for number, row in enumerate(saved["features"])]
        with pytest.raises(ValueError, match="was saved as version 99"):
            f.FeatureSet.from_dict({"features": rows})
    panel = minutes(30, 5)
    part = Panel(
        panel.times, panel.known, SYMBOLS, {name: panel.field(name) for name in ("open", "close")}, panel.width
    )
    with pytest.raises(DataError, match="holds no"):
        f.FeatureSet([f.timeframe("15m", [f.atr(2)])]).compute_panel(part)
    with pytest.raises(DataError, match="5m do not make up longer bars of 7m"):
        f.FeatureSet([f.timeframe("7m", [f.roc(1)])]).online(SYMBOLS).warm(panel)


def test_wrong_timeframes_are_refused() -> None:
    with pytest.raises(DataError, match="5m do not make up longer bars of 7m"):
        f.FeatureSet([f.timeframe("7m", [f.roc(1)])]).compute_panel(minutes(30, 5))
    with pytest.raises(DataError, match="1h do not make up longer bars of 30m"):
        f.FeatureSet([f.timeframe("30m", [f.roc(1)])]).compute(frame_of(gapping_panel(30, SYMBOLS)))
    with pytest.raises(ValueError, match="wanted at least its length"):
        f.timeframe("1h", [f.roc(1)], stale=timedelta(minutes=30))
    with pytest.raises(ValueError, match="wanted '1h' and a timedelta"):
        f.timeframe("1h", [f.roc(1)], stale=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stand in the set itself"):
        f.timeframe("1d", [f.timeframe("1h", [f.roc(1)])])
