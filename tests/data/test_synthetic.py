"""The synthetic market: deterministic, possible, and with exactly the edge that was planted."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.synthetic import SyntheticMarket, ticks
from cryptoquant.errors import UnknownSymbolError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.book import Book
from cryptoquant.market.schema import BARS, Bar, BookUpdate, Quote, Trade, check_bars, validate

HOUR = 3_600_000_000_000


def test_the_same_seed_gives_the_same_bars_and_another_seed_gives_others():
    one, same = (SyntheticMarket(seed=3, days=3, timeframe="5m").bars() for _ in range(2))
    assert one.equals(same)
    assert not one.equals(SyntheticMarket(seed=4, days=3, timeframe="5m").bars())


def test_adding_a_symbol_does_not_change_another():
    alone = SyntheticMarket(symbols=["ETH/USD"], days=3, timeframe="5m").bars("5m", "ETH/USD")
    together = SyntheticMarket(symbols=["SOL/USD", "ETH/USD"], days=3, timeframe="5m").bars("5m", "ETH/USD")
    assert alone.equals(together)


def test_bars_are_possible_gap_between_close_and_open_and_carry_volume():
    bars = SyntheticMarket(symbols=["BTC/USD", "DOGE/USD"], days=5, timeframe="1m").bars()
    check_bars(validate(bars, "bars"))
    assert list(bars.columns) == list(BARS)
    assert (bars["volume"] > 0).all()
    assert (bars["trade_count"] > 0).all()
    assert bars["vwap"].is_between(bars["low"], bars["high"]).all()
    gap = bars.select((pl.col("open") != pl.col("close").shift(1)).over("symbol").mean()).item(0, 0)
    assert gap > 0.9


def test_larger_bars_are_the_aggregate_of_the_smaller_also_inside_a_range():
    market = SyntheticMarket(days=4, timeframe="5m")
    hours = aggregate(market.bars(), "1h")
    assert market.bars("1h").equals(hours)
    part = market.bars("1h", "BTC/USD", start="2024-01-02T00:30:00Z", end="2024-01-03T05:59:00Z")
    wanted = hours.filter(
        (pl.col("symbol") == "BTC/USD")
        & (pl.col("open_time") >= pl.lit("2024-01-02T01:00:00Z").str.to_datetime(time_zone="UTC"))
        & (pl.col("time") <= pl.lit("2024-01-03T05:00:00Z").str.to_datetime(time_zone="UTC"))
    )
    assert part.equals(wanted)


def test_hourly_volatility_is_near_the_one_promised():
    hours = SyntheticMarket(symbols=["BTC/USD"], days=700, timeframe="1h").bars()
    deviation = float(np.std(np.diff(np.log(hours["close"].to_numpy()))))
    assert 0.0055 < deviation < 0.0068


def test_without_an_edge_prices_are_a_martingale_and_symbols_are_independent():
    bars = SyntheticMarket(days=700, timeframe="1h").bars()
    returns = bars.select("symbol", change=pl.col("close").pct_change().over("symbol")).drop_nulls()
    one, other = (part["change"].to_numpy() for part in returns.partition_by("symbol", maintain_order=True))
    for change in (one, other):
        assert abs(change.mean()) / change.std() * np.sqrt(len(change)) < 3
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def z_of_state_and_next_return(edge: float, seed: int) -> float:
    """The z score of the covariance between the state and the return of the same hour, 4,380 hours."""
    market = SyntheticMarket(seed=seed, symbols=["BTC/USD"], days=365 * 2, timeframe="1h", edge=edge)
    bars, state = market.bars(), market.state("BTC/USD").astype(float)
    returns = np.log(bars["close"].to_numpy() / bars["open"].to_numpy())
    product = (state - state.mean()) * (returns - returns.mean())
    return float(product.mean() / product.std() * np.sqrt(len(product)))


def test_without_an_edge_the_state_says_nothing_about_returns():
    scores = [z_of_state_and_next_return(0.0, seed) for seed in range(8)]
    assert abs(sum(scores)) / np.sqrt(8) < 2.6


def test_with_an_edge_the_state_tells_the_drift():
    assert z_of_state_and_next_return(0.1, seed=1) > 6


def test_the_state_shows_in_volume_with_and_without_an_edge():
    for edge in (0.0, 0.1):
        market = SyntheticMarket(symbols=["BTC/USD"], days=365, timeframe="1h", edge=edge)
        state, volume = market.state("BTC/USD"), np.log(market.bars()["volume"].to_numpy())
        assert volume[state > 0].mean() - volume[state < 0].mean() == pytest.approx(1.0, abs=0.05)
        assert volume[state > 0].std() == pytest.approx(0.5, abs=0.03)


def test_the_state_holds_for_the_mean_time_asked():
    market = SyntheticMarket(symbols=["BTC/USD"], days=3_000, timeframe="1h", regime=timedelta(hours=48))
    switches = np.count_nonzero(np.diff(market.state("BTC/USD")))
    assert 3_000 * 24 / switches == pytest.approx(48, rel=0.1)


def test_an_unknown_symbol_and_a_reversed_range_are_refused():
    market = SyntheticMarket(days=1, timeframe="5m")
    with pytest.raises(UnknownSymbolError, match="SOL/USD"):
        market.bars(symbols="SOL/USD")
    with pytest.raises(ValueError, match="lies after"):
        market.bars(start="2024-01-02", end="2024-01-01")


prices = st.floats(0.5, 60_000.0)


@given(
    st.tuples(prices, st.floats(0, 0.01), st.floats(0, 0.01)), st.floats(0, 50), st.integers(1, 6), st.integers(0, 9)
)
def test_ticks_fit_into_their_bar(shape, volume, trades, seed):
    low, up, over = shape[0], shape[0] * shape[1], shape[0] * shape[2]
    low, open_, close, high = (round(value, 9) for value in (low, low + up, low + up / 2, low + up + over))
    bar = Bar("BTC/USD", 2 * HOUR, 2 * HOUR, HOUR, open_, high, low, close, round(volume, 4), 5, close)
    events = ticks(bar, seed=seed, trades=trades)
    assert events == ticks(bar, seed=seed, trades=trades)
    assert all(bar.open_time < event.time <= bar.time for event in events)
    assert [event.time for event in events] == sorted(event.time for event in events)
    done = [event for event in events if isinstance(event, Trade)]
    assert sum(trade.size for trade in done) == pytest.approx(bar.volume, abs=1e-8)
    assert len({trade.id for trade in done}) == len(done)
    assert all(bar.low <= trade.price <= bar.high and trade.id > 2**53 for trade in done)
    if done:
        assert done[-1].price == bar.close
        assert len(done) == 1 or done[0].price == bar.open
    if len(done) >= 4:
        assert {bar.high, bar.low} <= {trade.price for trade in done}
    assert all(quote.bid_price < quote.ask_price for quote in events if isinstance(quote, Quote))
    book = Book("BTC/USD")
    for update in (event for event in events if isinstance(event, BookUpdate)):
        book.update(update)
        assert book.is_ready
        assert not book.is_crossed
        assert [len(side) for side in book.depth(9)] == [5, 5]


def test_ids_of_trades_do_not_repeat_between_bars():
    bars = [Bar("BTC/USD", n * HOUR, n * HOUR, (n - 1) * HOUR, 9.0, 9.0, 9.0, 9.0, 1.0) for n in range(1, 50)]
    ids = [event.id for bar in bars for event in ticks(bar, seed=1, trades=9) if isinstance(event, Trade)]
    assert len(set(ids)) == 49 * 9
