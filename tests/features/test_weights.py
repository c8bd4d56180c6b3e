"""Weights of overlapping labels against the formulas of the book, bar by bar."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from tests.features.examples import panel_of
from tests.market_makers import HOUR, START, frame_of, gapping_panel

BARS = 40


def labels_of(begins: np.ndarray, ends: np.ndarray, symbols: np.ndarray | None = None) -> pl.DataFrame:
    """Labels from bar to bar of an hour."""
    names = np.full(len(begins), "BTC/USD") if symbols is None else symbols
    times = {"time": START + HOUR * begins, "label_known": START + HOUR * ends}
    table = pl.DataFrame({"symbol": names, **times})
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in times)


@st.composite
def overlapping(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    begins = rng.integers(0, BARS - 1, count)
    ends = np.minimum(begins + rng.integers(1, draw(st.integers(1, 15)) + 1, count), BARS - 1)
    return begins, np.maximum(ends, begins + 1), rng.choice(["A/USD", "B/USD"], count)


def indicator(begins: np.ndarray, ends: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Snippet 4.3: which label lives at which bar; the bars of two symbols are different bars."""
    bars = np.arange(1, BARS + 1)
    lives = (bars[:, None] > begins) & (bars[:, None] <= ends)
    return np.vstack([lives & (symbols == symbol) for symbol in ("A/USD", "B/USD")]).astype(float)


def average_uniqueness(lives: np.ndarray) -> np.ndarray:
    """Snippet 4.4."""
    shares = lives / np.maximum(lives.sum(axis=1, keepdims=True), 1)
    return shares.sum(axis=0) / lives.sum(axis=0)


@given(overlapping())
def test_uniqueness_is_the_mean_of_one_over_the_labels_that_live(drawn: tuple) -> None:
    found = f.uniqueness(labels_of(*drawn)).to_numpy()
    np.testing.assert_allclose(found, average_uniqueness(indicator(*drawn)), rtol=1e-12)
    assert (found > 0).all()
    assert (found <= 1).all()


@given(overlapping(), st.integers(0, 100))
def test_the_order_of_the_labels_does_not_matter(drawn: tuple, seed: int) -> None:
    labels = labels_of(*drawn)
    turn = np.random.default_rng(seed).permutation(labels.height)
    bars = frame_of(gapping_panel(BARS, ("A/USD", "B/USD"), seed=seed))
    np.testing.assert_array_equal(f.uniqueness(labels[turn]), f.uniqueness(labels).to_numpy()[turn])
    one, two = f.return_attribution(labels, bars).to_numpy(), f.return_attribution(labels[turn], bars).to_numpy()
    np.testing.assert_allclose(two, one[turn], rtol=1e-12)


def test_uniqueness_by_hand() -> None:
    labels = labels_of(np.array([0, 2, 4]), np.array([3, 5, 6]))  # snippet 4.6 draws these three spans
    np.testing.assert_allclose(f.uniqueness(labels), [(2 + 0.5) / 3, (0.5 + 1 + 0.5) / 3, (0.5 + 1) / 2])
    alone = labels_of(np.array([0, 3]), np.array([3, 9]))
    assert f.uniqueness(alone).to_list() == [1.0, 1.0]
    assert f.uniqueness(labels_of(np.zeros(4, int), np.full(4, 5))).to_list() == [0.25] * 4
    assert f.uniqueness(labels.head(0)).is_empty()


@given(overlapping(), st.integers(0, 1000))
def test_attribution_shares_each_bars_return_among_the_labels_that_live(drawn: tuple, seed: int) -> None:
    bars = frame_of(gapping_panel(BARS, ("A/USD", "B/USD"), seed=seed))
    begins, ends, symbols = drawn
    found = f.return_attribution(labels_of(*drawn), bars).to_numpy()
    wanted = np.empty(len(begins))
    for symbol in np.unique(symbols):
        mine = symbols == symbol
        close = bars.filter(symbol=symbol)["close"].to_numpy()
        returns = np.diff(np.log(close), prepend=np.log(close[0]))
        for label in np.flatnonzero(mine):
            total = 0.0
            for bar in range(begins[label] + 1, ends[label] + 1):
                living = np.sum(mine & (begins < bar) & (ends >= bar))
                total += returns[bar - 1] / living  # the first bar closes an hour after the start
            wanted[label] = abs(total)
        wanted[mine] *= mine.sum() / wanted[mine].sum() if wanted[mine].sum() else np.nan
    np.testing.assert_allclose(found, np.where(np.isnan(wanted), 1.0, wanted), rtol=1e-9, atol=1e-12)


def test_where_the_price_stands_still_all_labels_weigh_the_same() -> None:
    bars = frame_of(panel_of(np.full(10, 5.0), spread=0.0)).with_columns(symbol=pl.lit("BTC/USD"))
    assert f.return_attribution(labels_of(np.array([1, 2]), np.array([3, 8])), bars).to_list() == [1.0, 1.0]


@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([1.0, 0.7, 0.0, -0.3, -0.9]))
def test_time_decay_is_the_line_of_the_book(count: int, seed: int, last: float) -> None:
    shares = np.random.default_rng(seed).uniform(0.05, 1, count)
    up_to = np.cumsum(shares)
    slope = (1 - last) / up_to[-1] if last >= 0 else 1 / ((last + 1) * up_to[-1])
    wanted = 1 - slope * up_to[-1] + slope * up_to
    wanted[wanted < 0] = 0
    found = f.time_decay(pl.Series(shares), last).to_numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert found[-1] == 1.0
    assert (np.diff(found) >= 0).all()
    turn = np.random.default_rng(seed).permutation(count)
    times = pl.Series(START + HOUR * np.arange(count))
    np.testing.assert_allclose(f.time_decay(pl.Series(shares[turn]), last, times[turn]), wanted[turn], atol=1e-12)


def test_labels_of_one_time_are_of_one_age() -> None:
    decay = f.time_decay(pl.Series([0.5, 1.0, 0.5]), 0.0, pl.Series([7, 3, 7]))
    assert decay.to_list() == [1.0, 0.5, 1.0]


@given(overlapping(), st.integers(0, 1000), st.integers(1, 60))
def test_the_sequential_bootstrap_draws_as_the_book_does(drawn: tuple, seed: int, draws: int) -> None:
    begins, ends, symbols = drawn
    found = f.sequential_bootstrap(labels_of(*drawn), draws, seed)
    order = np.lexsort((ends, begins, symbols))
    lives = indicator(begins[order], ends[order], symbols[order])
    chosen: list[int] = []
    for chance in np.random.default_rng(seed).random(draws):  # snippet 4.5
        shares = [average_uniqueness(lives[:, [*chosen, label]])[-1] for label in range(len(begins))]
        border = np.cumsum(shares) / np.sum(shares)
        near = np.abs(border - chance).min() < 1e-9
        label = int(np.searchsorted(border, chance, side="right"))
        if near:
            return
        chosen.append(label)
    np.testing.assert_array_equal(found, order[chosen])


def test_sequential_draws_overlap_less_than_plain_ones() -> None:
    """Snippet 4.7 to 4.9: ten labels of up to five bars among a hundred."""
    ours, theirs = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        begins = rng.integers(0, 100, 10)
        labels = labels_of(begins, begins + rng.integers(1, 6, 10))
        ours.append(f.uniqueness(labels[f.sequential_bootstrap(labels, 10, seed)]).mean())
        theirs.append(f.uniqueness(labels[rng.integers(0, 10, 10)]).mean())
    assert np.mean(ours) > np.mean(theirs) + 0.05
    one, two, three = (f.sequential_bootstrap(labels, 400, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)


def test_weights_of_a_long_series_lose_nothing() -> None:
    """After many labels, prefix sums are large and a label's own sum is small."""
    count = 200_000
    begins = np.arange(count)
    found = f.uniqueness(labels_of(begins, begins + 1 + begins % 3)).to_numpy()
    middle = slice(150_000, 150_030)
    living = np.array([np.sum((begins < bar) & (begins + 1 + begins % 3 >= bar)) for bar in range(150_001, 150_040)])
    for place, row in enumerate(range(middle.start, middle.stop)):
        length = 1 + row % 3
        assert found[row] == pytest.approx(np.mean(1 / living[place : place + length]), rel=1e-14)


def test_labels_of_the_library_are_weighed_as_they_come() -> None:
    bars = frame_of(gapping_panel(300, ("A/USD", "B/USD"), seed=9, absent=0.1))
    for label in (f.triple_barrier(2.0, 1.0, timedelta(hours=6), 5), f.trend_scanning(3, 9)):
        labels = label.build(bars)
        shares = f.uniqueness(labels)
        assert shares.is_between(0.0, 1.0).all()
        assert f.return_attribution(labels, bars).mean() == pytest.approx(1.0)
        assert f.time_decay(shares, 0.5, labels["time"]).is_between(0.5, 1.0).all()
        assert len(f.sequential_bootstrap(labels, 50, 0)) == 50


def test_what_cannot_be_weighed_is_refused() -> None:
    labels = labels_of(np.array([0, 4]), np.array([3, 4]))
    with pytest.raises(ValueError, match=r"BTC/USD 2024-01-01 04:00:00\+00:00 is known at its decision or before"):
        f.uniqueness(labels)
    with pytest.raises(ValueError, match="labels: found no label_known"):
        f.uniqueness(labels.drop("label_known"))
    with pytest.raises(ValueError, match="no bars of BTC/USD, found only A/USD"):
        f.return_attribution(labels.head(1), frame_of(gapping_panel(9, ("A/USD",))))
    for last in (-1.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="time_decay: last"):
            f.time_decay(pl.Series([1.0]), last)
    with pytest.raises(ValueError, match="time_decay: 2 times for 1 labels"):
        f.time_decay(pl.Series([1.0]), 0.5, pl.Series([1, 2]))
    with pytest.raises(ValueError, match="wanted labels, found none"):
        f.sequential_bootstrap(labels.head(0), 3, 0)
    with pytest.raises(ValueError, match="draws"):
        f.sequential_bootstrap(labels.head(1), 0, 0)
