"""A table of orders finds its rows: by a clock that is regular or not, and by words in short and long tables."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest import orders
from cryptoquant.backtest.desk import KIND, SIGN, SYMBOL
from cryptoquant.backtest.orders import Orders, first_at
from cryptoquant.market.slice import Panel
from cryptoquant.trading.venue import Venue
from tests.market_makers import HOUR, START, gapping_panel


def clock(gaps):
    times = START + HOUR * np.cumsum(np.array(gaps, dtype=np.int64))
    prices = np.full((len(times), 1), 100.0)
    return Panel.from_arrays(times, ("A/USD",), {"open": prices, "close": prices}, HOUR)


@given(
    gaps=st.one_of(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 30).map(lambda n: [1] * n)),
    halves=st.lists(st.integers(-10, 200), max_size=20),
)
def test_a_time_finds_the_first_close_that_is_not_before_it(gaps, halves):
    panel = clock(gaps)
    times = START + HOUR // 2 * np.array(halves, dtype=np.int64)
    assert np.array_equal(first_at(panel, times), np.searchsorted(panel.times, times))


def test_a_long_table_is_read_as_short_ones_are(monkeypatch):
    panel = gapping_panel(50, ("A/USD", "B/USD"), seed=1)
    rng = np.random.default_rng(2)
    rows = np.sort(rng.integers(0, 50, 200))
    frame = pl.DataFrame(
        {
            "time": pl.from_epoch(pl.Series(panel.times[rows]), "ns").dt.replace_time_zone("UTC"),
            "symbol": rng.choice(["A/USD", "B/USD"], 200),
            "side": rng.choice(["buy", "sell"], 200),
            "type": rng.choice(["market", "limit"], 200),
            "quantity": 1.0,
            "limit": 100.0,
        }
    )
    short = Orders.from_frame(frame, panel, Venue.research())
    monkeypatch.setattr(orders, "FEW", 0)
    long = Orders.from_frame(frame, panel, Venue.research())
    assert np.array_equal(short.rows, long.rows, equal_nan=True)
    assert short.rows[:, SYMBOL].tolist() == [["A/USD", "B/USD"].index(name) for name in frame["symbol"]]
    assert short.rows[:, SIGN].tolist() == [1.0 if side == "buy" else -1.0 for side in frame["side"]]
    assert short.rows[:, KIND].tolist() == [["market", "limit"].index(kind) for kind in frame["type"]]
