"""The gate catches each kind of planted leak, and lets clean features pass."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.errors import DataError, LeakageError
from cryptoquant.features.causality import check_futures, check_isolation, check_prefixes, check_row_order
from cryptoquant.features.gate import check_features, check_online
from cryptoquant.market.slice import Floats, Panel
from tests.features.examples import every_feature
from tests.market_makers import frame_of, gapping_panel

BARS = frame_of(gapping_panel(150, ("A/USD", "B/USD"), seed=8, absent=0.05))
WHOLE = frame_of(gapping_panel(150, ("A/USD", "B/USD"), seed=8))
CLOSE = pl.col("close")


def planted(expression: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda bars: bars.select("symbol", "time", "known", leak=expression)


def open_labelled(bars: pl.DataFrame) -> pl.DataFrame:
    """Join the close of a four-hour bar that carries the time of its open: rows inside it see its end."""
    by_symbol = bars.sort("symbol", "time")
    large = by_symbol.group_by_dynamic("time", every="4h", group_by="symbol").agg(leak=CLOSE.last())
    return (
        bars.sort("time")
        .join_asof(large.sort("time"), on="time", by="symbol")
        .select("symbol", "time", "known", "leak")
    )


def fitted_on_everything(bars: pl.DataFrame) -> pl.DataFrame:
    rows = bars.select(CLOSE).to_numpy()
    scaled = f.Scaler("robust").fit(rows).transform(rows)[:, 0]
    return bars.select("symbol", "time", "known", leak=pl.Series(scaled))


LEAKS = {
    "a z-score over the whole series": planted(((CLOSE - CLOSE.mean()) / CLOSE.std()).over("symbol")),
    "a centred window": planted(CLOSE.rolling_mean(5, center=True).over("symbol")),
    "a value filled backward": planted(pl.when(CLOSE > 100).then(CLOSE).fill_null(strategy="backward").over("symbol")),
    "the length of the series": planted(pl.len().over("symbol").cast(pl.Float64) * 1.0),
    "the next close": planted(CLOSE.shift(-1).over("symbol")),
    "a branch that is rarely taken": planted(pl.when(CLOSE.max() == CLOSE).then(0.0).otherwise(CLOSE).over("symbol")),
    "one early bar that knows the last": planted(
        pl.when(pl.int_range(pl.len()) == 3).then(CLOSE.last()).otherwise(0.0).over("symbol")
    ),
    "a larger bar labelled by its open": open_labelled,
    "the mean of a day that is not over": planted(CLOSE.mean().over("symbol", pl.col("time").dt.truncate("1d"))),
    "a rank among all values": planted((CLOSE.rank() / CLOSE.len()).over("symbol")),
    "an outlier cut at a quantile of everything": planted(CLOSE.clip(CLOSE.quantile(0.1), CLOSE.quantile(0.9))),
    "a straight line through what is missing": planted(
        pl.when(pl.int_range(pl.len()) % 5 > 0).then(CLOSE).interpolate().over("symbol")
    ),
    "a smoother that runs both ways": planted(
        CLOSE.ewm_mean(span=5).reverse().ewm_mean(span=5).reverse().over("symbol")
    ),
    "the last close of the series as a unit": planted((CLOSE / CLOSE.last()).over("symbol")),
    "the largest move marked at its beginning": planted(
        (CLOSE.shift(-2) / CLOSE - 1).abs().ge(0.03).cast(pl.Float64).over("symbol")
    ),
    "a scaler fitted on everything": fitted_on_everything,
}
CLEAN = {
    "a trailing mean": planted(CLOSE.rolling_mean(5).over("symbol")),
    "an expanding maximum": planted(CLOSE.cum_max().over("symbol")),
    "a constant": planted(pl.lit(1.0)),
    "a value filled forward": planted(pl.when(CLOSE > 100).then(CLOSE).fill_null(strategy="forward").over("symbol")),
    "the mean of a day so far": planted(
        (CLOSE.cum_sum() / CLOSE.cum_count()).over("symbol", pl.col("time").dt.truncate("1d"))
    ),
    "the clock": planted(pl.col("time").dt.hour().cast(pl.Float64)),
    "an average that fades": planted(CLOSE.ewm_mean(span=5).over("symbol")),
    "holes": planted(pl.when(CLOSE > 100).then(CLOSE).over("symbol")),
}


@pytest.mark.parametrize("name", LEAKS)
def test_the_gate_catches(name: str) -> None:
    with pytest.raises(LeakageError, match=r"leak: [AB]/USD 2024-01.* became .* when the bars after"):
        check_prefixes(LEAKS[name], BARS)
    # On bars without any gap too.
    with pytest.raises(LeakageError):
        check_prefixes(LEAKS[name], WHOLE)


@pytest.mark.parametrize("name", [name for name in LEAKS if name != "the length of the series"])
def test_a_changed_future_alone_betrays(name: str) -> None:
    with pytest.raises(LeakageError):
        check_futures(LEAKS[name], BARS)


@pytest.mark.parametrize("name", CLEAN)
def test_the_gate_lets_pass(name: str) -> None:
    check_prefixes(CLEAN[name], BARS)
    check_futures(CLEAN[name], BARS)
    check_row_order(CLEAN[name], BARS)
    check_isolation(CLEAN[name], BARS)


def test_cuts_in_step_with_the_larger_bar_miss_what_other_cuts_catch() -> None:
    times = BARS["time"].dt.epoch("ns").unique().sort()
    in_step = [int(time) for time in times if time % (4 * 3_600_000_000_000) == 3 * 3_600_000_000_000]
    check_prefixes(LEAKS["a larger bar labelled by its open"], BARS, cuts=in_step)


def test_a_long_series_is_cut_off_phase_too() -> None:
    long = frame_of(gapping_panel(900, seed=2))
    late = pl.when(pl.int_range(pl.len()) > 400).then(CLOSE.shift(-1)).otherwise(CLOSE).over("symbol")
    with pytest.raises(LeakageError):
        check_prefixes(planted(late), long)
    single = pl.when(pl.int_range(pl.len()) == 100).then(CLOSE.shift(-1)).otherwise(CLOSE).over("symbol")
    with pytest.raises(LeakageError, match="2024-01-05T05:00:00Z"):
        check_prefixes(planted(single), long)
    check_prefixes(CLEAN["a trailing mean"], long)


@pytest.mark.parametrize(
    "leak",
    [
        CLOSE.mean().over("time"),
        CLOSE.shift(1).fill_null(0.0),
        pl.col("symbol").n_unique().cast(pl.Float64) + 0 * CLOSE,
    ],
)
def test_a_feature_that_reads_another_symbol_is_caught(leak: pl.Expr) -> None:
    with pytest.raises(LeakageError, match="other symbol"):
        check_isolation(planted(leak), BARS)


def test_a_feature_that_counts_symbols_is_caught_even_with_one_symbol() -> None:
    count = pl.col("symbol").n_unique().cast(pl.Float64) + 0 * CLOSE
    with pytest.raises(LeakageError, match="another symbol was added"):
        check_isolation(planted(count), BARS.filter(symbol="A/USD"))


def test_a_feature_that_depends_on_the_order_of_rows_is_caught() -> None:
    with pytest.raises(LeakageError, match="ordered by time"):
        check_row_order(planted(CLOSE.rolling_mean(3)), BARS)


def test_a_computation_that_loses_rows_is_caught() -> None:
    with pytest.raises(LeakageError, match="rows themselves"):
        check_prefixes(lambda bars: planted(CLOSE)(bars).filter(pl.col("time") < pl.col("time").max()), BARS)


def test_all_our_features_pass_the_whole_gate() -> None:
    every_feature().check_causal(BARS)


def test_a_symbol_that_appears_late_and_fields_that_are_missing_are_no_leaks() -> None:
    late = BARS.filter((pl.col("symbol") == "A/USD") | (pl.col("time").rank("dense") > 20))
    features = [f.cross_sectional_rank(2), f.beta("B/USD", 5), f.timeframe("3h", [f.relative_return(2)])]
    f.FeatureSet(features).check_causal(late)
    holed = BARS.with_columns(trade_count=pl.when(pl.int_range(pl.len()) % 7 > 0).then("trade_count"))
    f.FeatureSet([f.mean("trade_count", 5), f.rsi(3)]).check_causal(holed)
    with pytest.raises(DataError, match="no bars to prove anything on"):
        f.FeatureSet([f.rsi(3)]).check_causal(BARS.clear())


class Smoothed(f.FeatureSet):
    """A set whose panel history peeks one slice ahead, as its online updater cannot."""

    __slots__ = ()

    def compute_panel(self, panel: Panel, ticks: f.Ticks | None = None, *, threads: int = 1) -> Floats:
        honest = f.FeatureSet.compute_panel(self, panel, ticks, threads=threads)
        return np.concatenate([honest[1:], honest[-1:]])


def test_a_history_that_the_online_updater_cannot_repeat_is_caught() -> None:
    panel = Panel.from_frame(BARS)
    with pytest.raises(LeakageError, match=r"log_return_1: .*history has .*the online update"):
        check_online(Smoothed([f.log_return(1)]), panel)
    with pytest.raises(LeakageError):
        check_features(Smoothed([f.log_return(1)]), BARS)
    check_online(f.FeatureSet([f.log_return(1)]), panel)
