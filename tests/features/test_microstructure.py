"""The market's grain against formulas written out event by event, and a memory that no cut can change."""

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptoquant import features as f
from cryptoquant.features.folds.spans import PIECES
from cryptoquant.features.gate import check_online, check_ticks
from cryptoquant.features.ticks import LEVELS
from cryptoquant.market.book import Book, book_rows, book_updates
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.market.slice import FIELDS, Panel
from tests.features.examples import every_tick_feature

Floats = NDArray[np.float64]
Event = Trade | Quote
SECOND = 1_000_000_000
START = 1_704_067_200 * SECOND
SYMBOL = "A/USD"


def closes(slices: int, every: int = 60, late: int = 0) -> Panel:
    """Return a panel of bars that close every so many seconds and are known a moment later."""
    times = START + every * SECOND * np.arange(1, slices + 1, dtype=np.int64)
    values = np.full((slices, 1, len(FIELDS)), 100.0)
    return Panel.from_values(times, times + late, (SYMBOL,), values, every * SECOND)


def market(seed: int, minutes: int, *, sided: float = 0.5, on_the_second: bool = False) -> f.Ticks:
    """Return quotes that walk, trades at or inside them, and a book of eight levels."""
    rng = np.random.default_rng(seed)
    count = 30 * minutes
    stamps = START + np.sort(rng.integers(0, minutes * 60 * SECOND, count))
    if on_the_second:
        stamps = stamps // SECOND * SECOND
    mid = 100.0 * np.exp(np.cumsum(rng.standard_normal(count) * 2e-4))
    half = mid * rng.uniform(1e-4, 4e-4, count)
    bids, asks = np.round(mid - half, 2), np.round(mid + half, 2)
    sizes = np.round(rng.lognormal(0, 0.7, (count, 2)), 3)
    is_trade = rng.random(count) < 0.4
    prices = np.where(rng.random(count) < 0.5, bids, asks) + np.where(rng.random(count) < 0.3, 0.01, 0.0)
    sides = np.where(rng.random(count) < sided, rng.choice(["B", "S"], count), "")
    shared = {"symbol": [SYMBOL] * count, "time": stamps, "known": stamps}
    times = [pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known")]
    trade_frame = pl.DataFrame({**shared, "id": np.arange(count), "price": prices, "size": sizes[:, 0]})
    trades = trade_frame.with_columns(*times, taker_side=pl.Series(sides)).filter(pl.Series(is_trade))
    quote_columns = {"bid_price": bids, "bid_size": sizes[:, 0], "ask_price": asks, "ask_size": sizes[:, 1]}
    quotes = pl.DataFrame({**shared, **quote_columns}).with_columns(*times).filter(pl.Series(~is_trade))
    updates = [
        BookUpdate(
            SYMBOL,
            int(stamps[row]),
            int(stamps[row]),
            tuple((round(bids[row] - 0.01 * level, 2), float(sizes[row, 0] + level)) for level in range(8)),
            tuple((round(asks[row] + 0.01 * level, 2), float(sizes[row, 1] + level)) for level in range(8)),
            True,
        )
        for row in range(0, count, 5)
    ]
    return f.Ticks(trades=trades, quotes=quotes, books=book_rows(updates))


def computed(feature: f.TickFeature, panel: Panel, ticks: f.Ticks) -> Floats:
    return f.FeatureSet([feature]).compute_panel(panel, ticks)[:, 0]


def past(ticks: f.Ticks, moment: int) -> list[Event]:
    """Return trades and quotes known at a moment; at one instant trades come first."""
    found = [event for event in ticks.events() if not isinstance(event, BookUpdate) and event.known <= moment]
    return sorted(found, key=lambda event: (event.known, isinstance(event, Quote)))  # type: ignore[arg-type,return-value]


def is_recent(event_known: float, moment: int, seconds: float) -> bool:
    step = seconds / PIECES
    return math.ceil(event_known / 1e9 / step) - 1 >= math.floor(moment / 1e9 / step) - PIECES


def sides_of(events: list[Event]) -> list[float]:
    """Return the side of every trade: the venue's, else by the quote before, else by the last change."""
    mid, last, direction, sides = math.nan, math.nan, 0.0, []
    for event in events:
        if isinstance(event, Quote):
            mid = (event.bid_price + event.ask_price) / 2
            continue
        if not math.isnan(last) and event.price != last:
            direction = math.copysign(1.0, event.price - last)
        last = event.price
        if event.taker_side:
            sides.append(1.0 if event.taker_side == "B" else -1.0)
        elif not math.isnan(mid) and event.price != mid:
            sides.append(math.copysign(1.0, event.price - mid))
        else:
            sides.append(direction)
    return sides


def quotes_before(events: list[Event]) -> list[float]:
    """Return the mid before every trade, NaN where there is none."""
    mid, found = math.nan, []
    for event in events:
        if isinstance(event, Quote):
            mid = (event.bid_price + event.ask_price) / 2
        else:
            found.append(mid)
    return found


def naive_flow(events: list[Event], moment: int, seconds: float) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    rows = [(s, t.size) for s, t in zip(sides_of(events), trades, strict=True) if is_recent(t.known, moment, seconds)]
    signed, volume = sum(s * size for s, size in rows), sum(size for _, size in rows)
    share = signed / volume if volume else 0.0
    return [signed, share, len(rows) / seconds, volume / len(rows) if rows else 0.0]


def naive_effective(events: list[Event], moment: int, seconds: float) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    cost = volume = 0.0
    for side, mid, trade in zip(sides_of(events), quotes_before(events), trades, strict=True):
        if side != 0 and not math.isnan(mid) and is_recent(trade.known, moment, seconds):
            cost += 2 * side * (trade.price - mid) / mid * trade.size
            volume += trade.size
    return [cost / volume if volume else math.nan]


def naive_realized(events: list[Event], moment: int, seconds: float, delay: float) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    quotes = [event for event in events if isinstance(event, Quote)]
    kept = impact = volume = 0.0
    for side, mid, trade in zip(sides_of(events), quotes_before(events), trades, strict=True):
        due = trade.known / 1e9 + delay
        if math.isnan(mid) or side == 0 or due > moment / 1e9 or not is_recent(due * 1e9, moment, seconds):
            continue
        after = [(q.bid_price + q.ask_price) / 2 for q in quotes if q.known / 1e9 <= due][-1]
        kept += 2 * side * (trade.price - after) / mid * trade.size
        impact += 2 * side * (after - mid) / mid * trade.size
        volume += trade.size
    return [kept / volume, impact / volume] if volume else [math.nan, math.nan]


def naive_roll(events: list[Event], moment: int, seconds: float) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    returns = [math.log(b.price / a.price) for a, b in pairwise(trades)]
    pairs = [
        (returns[row], returns[row - 1])
        for row in range(1, len(returns))
        if is_recent(trades[row + 1].known, moment, seconds)
    ]
    if len(pairs) < 2:
        return [math.nan]
    one, two = np.array(pairs).T
    covariance = np.mean(one * two) - one.mean() * two.mean()
    return [2 * math.sqrt(-covariance) if covariance < 0 else 0.0]


def naive_kyle(events: list[Event], moment: int, seconds: float) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    pieces: dict[int, list[float]] = {}
    before = math.nan
    for side, trade in zip(sides_of(events), trades, strict=True):
        change = 0.0 if math.isnan(before) else math.log(trade.price / before)
        before = trade.price
        if is_recent(trade.known, moment, seconds):
            sums = pieces.setdefault(math.ceil(trade.known / 1e9 / (seconds / PIECES)) - 1, [0.0, 0.0])
            sums[0] += change
            sums[1] += side * trade.size
    if len(pieces) < 3:
        return [math.nan]
    returns, flows = np.array(list(pieces.values())).T
    return [float(np.polyfit(flows, returns, 1)[0])]


def naive_ofi(events: list[Event], moment: int, seconds: float) -> list[float]:
    quotes = [event for event in events if isinstance(event, Quote)]
    flows = []
    for old, new in pairwise(quotes):
        flow = 0.0
        flow += new.bid_size * (new.bid_price >= old.bid_price) - old.bid_size * (new.bid_price <= old.bid_price)
        flow += old.ask_size * (new.ask_price >= old.ask_price) - new.ask_size * (new.ask_price <= old.ask_price)
        if is_recent(new.known, moment, seconds):
            flows.append(flow)
    if not quotes:
        return [math.nan, math.nan]
    total = sum(abs(flow) for flow in flows)
    return [sum(flows), sum(flows) / total if total else 0.0]


def naive_average_spread(events: list[Event], moment: int, seconds: float) -> list[float]:
    quotes = [event for event in events if isinstance(event, Quote)]
    if not quotes:
        return [math.nan]
    step = seconds / PIECES
    begin = (math.floor(moment / 1e9 / step) - PIECES) * step
    ends = [quote.known / 1e9 for quote in quotes[1:]] + [moment / 1e9]
    total = weight = 0.0
    for quote, end in zip(quotes, ends, strict=True):
        stood = max(end - max(quote.known / 1e9, begin), 0.0)
        mid = (quote.bid_price + quote.ask_price) / 2
        total += (quote.ask_price - quote.bid_price) / mid * stood
        weight += stood
    last = quotes[-1]
    return [total / weight if weight else (last.ask_price - last.bid_price) / ((last.bid_price + last.ask_price) / 2)]


def naive_vpin(events: list[Event], volume: float, buckets: int) -> list[float]:
    trades = [event for event in events if isinstance(event, Trade)]
    slots: list[list[float]] = [[0.0, 0.0]]
    for side, trade in zip(sides_of(events), trades, strict=True):
        rest = trade.size
        while rest > 0:
            part = min(rest, volume - sum(slots[-1]))
            slots[-1][0] += part * (1 + side) / 2
            slots[-1][1] += part * (1 - side) / 2
            rest -= part
            if sum(slots[-1]) >= volume * (1 - 1e-12):
                slots.append([0.0, 0.0])
    full = slots[:-1][-buckets:]
    return [float(np.mean([abs(b - s) / volume for b, s in full]))] if len(full) == buckets else [math.nan]


ORACLES = {
    "trade_flow": (f.trade_flow("2m"), lambda events, at: naive_flow(events, at, 120.0)),
    "effective_spread": (f.effective_spread("5m"), lambda events, at: naive_effective(events, at, 300.0)),
    "realized_spread": (f.realized_spread("5m", "20s"), lambda events, at: naive_realized(events, at, 300.0, 20.0)),
    "roll_spread": (f.roll_spread("4m"), lambda events, at: naive_roll(events, at, 240.0)),
    "kyle_lambda": (f.kyle_lambda("6m"), lambda events, at: naive_kyle(events, at, 360.0)),
    "order_flow_imbalance": (f.order_flow_imbalance("3m"), lambda events, at: naive_ofi(events, at, 180.0)),
    "average_spread": (f.average_spread("2m"), lambda events, at: naive_average_spread(events, at, 120.0)),
    "vpin": (f.vpin(3.0, 4), lambda events, at: naive_vpin(events, 3.0, 4)),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("late", "on_the_second"), [(0, False), (7 * SECOND, False), (0, True)])
def test_each_sum_over_a_span_is_the_one_written_out(name: str, late: int, on_the_second: bool) -> None:
    feature, oracle = ORACLES[name]
    panel, ticks = closes(12, late=late), market(3, 12, on_the_second=on_the_second)
    found = computed(feature, panel, ticks)
    wanted = np.array([oracle(past(ticks, int(moment)), int(moment)) for moment in panel.known])
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-11)
    assert np.isfinite(wanted).any()


def test_the_last_quote_is_read_as_it_stands() -> None:
    panel, ticks = closes(8), market(5, 8)
    found = f.FeatureSet([f.mid_price(), f.quoted_spread(), f.microprice(), f.quote_imbalance()])
    rows = found.compute_panel(panel, ticks)[:, 0]
    for row, moment in zip(rows, panel.known, strict=True):
        quote = [event for event in past(ticks, int(moment)) if isinstance(event, Quote)][-1]
        mid, sizes = (quote.bid_price + quote.ask_price) / 2, quote.bid_size + quote.ask_size
        fair = (quote.bid_price * quote.ask_size + quote.ask_price * quote.bid_size) / sizes
        wanted = [
            mid,
            (quote.ask_price - quote.bid_price) / mid,
            fair / mid - 1,
            (quote.bid_size - quote.ask_size) / sizes,
        ]
        np.testing.assert_allclose(row, wanted, rtol=1e-12, atol=1e-15)


def test_the_book_is_read_level_by_level() -> None:
    panel, ticks = closes(8), market(6, 8)
    names = [f.book_depth(2), f.book_imbalance(3), f.depth_within(5.0), f.book_slope(4)]
    rows = f.FeatureSet(names).compute_panel(panel, ticks)[:, 0]
    for row, moment in zip(rows, panel.known, strict=True):
        book = Book(SYMBOL)
        for update in book_updates(ticks.books.filter(pl.col("known").dt.epoch("ns") <= moment)):
            book.update(update)
        bids, asks = book.depth(LEVELS)
        mid = (bids[0][0] + asks[0][0]) / 2
        two = [sum(size for _, size in side[:2]) for side in (bids, asks)]
        three = [sum(size for _, size in side[:3]) for side in (bids, asks)]
        near = [sum(size for price, size in side if abs(price / mid - 1) <= 5e-4) for side in (bids, asks)]
        slopes = []
        for side in (bids[:4], asks[:4]):
            x = np.array([abs(price / mid - 1) for price, _ in side])
            y = np.cumsum([size for _, size in side])
            slopes.append(float(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]))
        wanted = [*two, (three[0] - three[1]) / sum(three), *near, *slopes]
        np.testing.assert_allclose(row, wanted, rtol=1e-9)


@given(seed=st.integers(0, 40), sided=st.sampled_from([0.0, 0.5, 1.0]), late=st.sampled_from([0, 3 * SECOND]))
def test_how_often_one_looks_changes_nothing(seed: int, sided: float, late: int) -> None:
    ticks, features = market(seed, 8, sided=sided), every_tick_feature()
    often = features.compute_panel(closes(48, every=10, late=late), ticks)
    seldom = features.compute_panel(closes(8, every=60, late=late), ticks)
    once = features.compute_panel(closes(1, every=480, late=late), ticks)
    np.testing.assert_array_equal(often[5::6], seldom)
    np.testing.assert_array_equal(seldom[-1:], once)


def test_the_gate_lets_all_of_them_pass_and_the_present_is_history() -> None:
    panel, ticks = closes(20, late=2 * SECOND), market(9, 20)
    check_ticks(every_tick_feature(), panel, ticks)
    check_online(every_tick_feature(), panel, ticks)


def test_without_any_event_nothing_is_said() -> None:
    quiet = market(1, 3)
    ticks = f.Ticks(trades=quiet.trades.clear(), quotes=quiet.quotes.clear(), books=quiet.books.clear())
    features = every_tick_feature()
    found = features.compute_panel(closes(3), ticks)
    flow = [name.startswith(("signed", "trade")) for name in features.names]
    assert np.isnan(found[:, 0, [not is_flow for is_flow in flow]]).all()
    assert (found[:, 0, flow] == 0.0).all()


def test_one_enormous_trade_fills_all_buckets() -> None:
    trade = market(1, 3).trades.head(1).with_columns(size=pl.lit(1e9), taker_side=pl.lit("B"))
    assert computed(f.vpin(1.0, 50), closes(3), f.Ticks(trades=trade))[-1].tolist() == [1.0]


def test_of_too_many_waiting_trades_the_oldest_are_forgotten() -> None:
    quote = market(1, 1).quotes.head(1)
    stamp = quote["known"].dt.epoch("ns").item() + 1
    count = 5_000
    trades = pl.concat([market(1, 1).trades.head(1)] * count).with_columns(
        known=pl.from_epoch(pl.Series(np.full(count, stamp)), "ns").dt.replace_time_zone("UTC"),
        price=pl.Series(np.where(np.arange(count) < 904, 1e6, quote["ask_price"].item())),
        taker_side=pl.lit("B"),
        size=pl.lit(1.0),
    )
    found = computed(f.realized_spread("1h", "20s"), closes(5), f.Ticks(trades=trades, quotes=quote))
    mid = (quote["ask_price"].item() + quote["bid_price"].item()) / 2
    np.testing.assert_allclose(found[-1], [2 * (quote["ask_price"].item() - mid) / mid, 0.0], rtol=1e-9, atol=1e-15)


def test_sets_of_ticks_are_saved_and_wrong_spans_refused() -> None:
    features = every_tick_feature()
    assert f.FeatureSet.from_dict(features.to_dict()) == features
    assert f.FeatureSet.from_dict(features.to_dict()).fingerprint == features.fingerprint
    for wrong in ("soon", "0s", 60, None):
        with pytest.raises(ValueError, match="trade_flow: wanted a span"):
            f.trade_flow(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels must be from 1 to 10"):
        f.book_depth(11)
    with pytest.raises(ValueError, match="volume must be a finite number above 0"):
        f.vpin(-1.0)
