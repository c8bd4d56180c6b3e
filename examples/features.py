"""Features from history and in the present: ready sets, a longer timeframe, ticks, and three kinds of one's own."""

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

import cryptoquant as cq
from cryptoquant import features as f

Floats = NDArray[np.float64]


@f.custom(inputs=["high", "low", "close"])
def close_location(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Where the close stands in its bar, compiled: 0 at the low, 1 at the high."""
    high, low, close = bar[0], bar[1], bar[2]
    out[0] = (close - low) / (high - low) if high > low else 0.5


@f.custom(inputs=["close"], parameters={"window": 24}, state_size=2, lookback=1, memory="cumulative", compiled=False)
def rises_in_a_row(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """How many closes in a row rose, up to a window, in plain Python; state: the last close and the count."""
    if state[0] > 0.0:
        state[1] = min(state[1] + 1.0, settings[0]) if bar[0] > state[0] else 0.0
        out[0] = state[1]
    state[0] = bar[0]


def grain(bars: pl.DataFrame, seed: int = 7) -> f.Ticks:
    """Return quotes around the opens and closes of bars, and a trade at each."""
    rng = np.random.default_rng(seed)
    first = bars.select("symbol", pl.col("open_time").alias("time"), price="open")
    ends = pl.concat([first, bars.select("symbol", "time", price="close")]).sort("time").with_columns(known="time")
    size, width = pl.Series(rng.lognormal(0, 1, ends.height)), pl.Series(rng.uniform(1e-4, 4e-4, ends.height))
    side = pl.Series(rng.choice(["B", "S"], ends.height))
    trades = ends.with_columns(size=size, taker_side=side, id=pl.int_range(pl.len()))
    half = pl.col("price") * width / 2
    quotes = ends.with_columns(bid_price=pl.col("price") - half, ask_price=pl.col("price") + half)
    return f.Ticks(trades=trades, quotes=quotes.with_columns(bid_size=size, ask_size=size.reverse()))


def main() -> None:
    bars = cq.SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], days=60, timeframe="1h", seed=7, edge=0.1).bars()
    above_mean = pl.col("close") / pl.col("close").rolling_mean(24) - 1
    features = cq.FeatureSet(
        [
            *f.classic(),
            f.normalised(f.rsi(14), 96),
            f.timeframe("4h", [f.rsi(14), f.cross_sectional_rank(6)]),
            *f.microstructure("6h", "30m", books=False),
            *(close_location(), rises_in_a_row(window=12)),
            f.expression("above_mean", above_mean, lookback=23),
        ]
    )
    ticks = grain(bars)
    table = features.compute(bars, ticks)
    print(f"{table.height:,} rows of {len(features.names)} columns from {len(features.features)} features")

    features.check_causal(bars.filter(pl.col("time") < pl.col("time").min() + timedelta(days=12)), ticks)
    print("no column changed when the future did")

    online, slices = features.online(["BTC/USD", "ETH/USD"]), cq.Panel.from_frame(bars)
    online.warm(slices.between(0, int(slices.times[-2])), ticks)
    for event in ticks.events():
        if slices.known[-2] < event.known <= slices.known[-1]:
            online.observe(event)
    row = online.update(slices[len(slices) - 1])
    last = table.filter(time=bars["time"].max()).sort("symbol").select(features.names).to_numpy()
    print(f"the present is the last row of history: {np.allclose(row, last, rtol=1e-10, equal_nan=True)}")

    scaling = f.Scaler("robust", limit=5.0).fit(table.select(features.names).head(1_000).to_numpy())
    scaled = scaling.transform(last)
    print(f"scaled by the first thousand rows alone: {scaled.min():+.1f} to {scaled.max():+.1f}")

    labels = f.triple_barrier(take=2.0, stop=1.0, horizon=timedelta(hours=24)).build(bars)
    print(f"{labels.height:,} labels, {f.uniqueness(labels).to_numpy().mean():.2f} of each its own")
    features.quality(bars, horizons=[1, 6], ticks=ticks).show()


if __name__ == "__main__":
    main()
