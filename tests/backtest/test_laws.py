"""What holds on every market, for every order and at any cost."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.orders import Orders
from cryptoquant.backtest.run import Run
from cryptoquant.backtest.simulator import simulate, simulate_orders, simulate_weights
from cryptoquant.market.slice import Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order, Protection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import PATHS, Costs, Venue
from tests.backtest.test_two_drivers import SLICES, random_orders, venues
from tests.market_makers import gapping_panel

seeds = st.integers(0, 10_000)
symbols = st.integers(1, 3)


def panel_of(seed: int, count: int = 1, absent: float = 0.0) -> Panel:
    return gapping_panel(SLICES, tuple(f"{c}/USD" for c in "ABC"[:count]), seed=seed, sigma=0.03, absent=absent)


def table_of(panel: Panel, seed: int, count: int = 40) -> pl.DataFrame:
    return random_orders(panel, np.random.default_rng(seed), count)


def weights_of(panel: Panel, seed: int, levels: tuple[float, ...] = (0.0, 0.2, 0.3)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([np.nan, *levels], size=(len(panel), len(panel.symbols)))


def sent(table: pl.DataFrame, panel: Panel, venue: Venue, cash: float = 1e9) -> Run:
    return simulate_orders(Orders.from_frame(table, panel, venue), panel, venue, cash)


def any_run(seed: int, count: int, venue: Venue, cash: float, *, by_weights: bool) -> tuple[Panel, Run]:
    panel = panel_of(seed, count, 0.1)
    if by_weights:
        plan = Execution(stop_loss=0.02, take_profit=0.03)
        return panel, simulate_weights(weights_of(panel, seed), panel, venue, cash, plan)
    return panel, sent(table_of(panel, seed), panel, venue, cash)


def scaled(panel: Panel, price: float, volume: float = 1.0) -> Panel:
    factor = {"volume": volume, "trade_count": 1.0}
    columns = {name: column * factor.get(name, price) for name, column in panel.columns.items()}
    return Panel(panel.times, panel.known, panel.symbols, columns, panel.width)


@given(
    seed=seeds,
    by_weights=st.booleans(),
    fee=st.sampled_from([0.0, 10.0, 80.0]),
    asset=st.sampled_from(["received", "quote"]),
    whole=st.booleans(),
)
def test_in_a_market_that_does_not_move_only_fees_change_the_equity(seed, by_weights, fee, asset, whole):
    panel = panel_of(seed)
    columns = {name: np.full_like(column, 100.0) for name, column in panel.columns.items()}
    still = Panel(panel.times, panel.known, panel.symbols, columns, panel.width)
    costs = Costs(fee, fee, fee_asset=asset)
    venue = Venue.alpaca(costs) if whole else Venue.research(costs)
    if by_weights:
        run = simulate_weights(weights_of(panel, seed), still, venue, 1e6, Execution())
    else:
        run = sent(table_of(still, seed).with_columns(stop=100.0), still, venue, 1e6)
    fees = sum(one.fee for one in run.fills)
    assert run.fills
    assert run.equity[-1] == pytest.approx(1e6 - fees, abs=1e-6 * (1 + len(run.fills)))


@given(seed=seeds, count=symbols, venue=venues(), by_weights=st.booleans(), cash=st.sampled_from([1e3, 1e6]))
def test_the_fills_folded_into_an_empty_book_give_the_cash_the_holdings_and_the_equity(
    seed, count, venue, by_weights, cash
):
    panel, run = any_run(seed, count, venue, cash, by_weights=by_weights)
    if venue.financing is not None:
        return
    book = Portfolio(panel.symbols, venue, cash)
    for one in run.fills:
        assert book.apply(one)
        if not venue.allows_short:
            assert book.cash >= 0.0
            assert (book.lots >= 0.0).all()
    for row in range(len(panel)):
        book.mark(panel.field("close")[row])
    assert book.cash * venue.unit == run.cash[-1]
    assert book.equity == run.equity[-1]


@given(seed=seeds, count=symbols, venue=venues(), cash=st.sampled_from([1e3, 1e6]))
def test_every_order_has_one_fate(seed, count, venue, cash):
    """Refused when it is sent, or accepted and then filled, ended once, or open at the end."""
    panel = panel_of(seed, count, 0.1)
    table = table_of(panel, seed)
    run = sent(table, panel, venue, cash)
    given_ids = set(table.filter(pl.col("type") != "cancel")["id"])
    accepted = {one.id: one for one in run.orders}
    ended = [one.order_id for one in (*run.cancellations, *run.rejections)]
    assert set(accepted) | (set(ended) & given_ids) == given_ids
    assert len(set(ended)) == len(ended)
    filled: dict[str, float] = {}
    for one in run.fills:
        filled[one.order_id] = filled.get(one.order_id, 0.0) + one.lots
        assert one.lots > 0.0
    assert (set(filled) & given_ids) <= set(accepted)
    last = int(panel.times[-1]) - panel.width
    for name, one in accepted.items():
        assert filled.get(name, 0.0) <= one.lots * (1 + 1e-12)
        if filled.get(name, 0.0) >= one.lots:
            assert name not in ended
        elif one.expires and one.expires <= last:
            assert name in ended


@given(seed=seeds, count=symbols, venue=venues(), by_weights=st.booleans())
def test_a_decision_at_a_close_is_never_filled_before_the_next_open_and_the_latency(seed, count, venue, by_weights):
    _, run = any_run(seed, count, venue, 1e6, by_weights=by_weights)
    orders = {one.id: one for one in run.orders}
    for one in run.fills:
        if one.order_id in orders:
            assert one.time >= orders[one.order_id].time + venue.latency_ns


@given(seed=seeds, by_weights=st.booleans(), cash=st.sampled_from([1e4, 1e6, 1e8]))
def test_no_order_is_taken_beyond_the_venues_limits(seed, by_weights, cash):
    """10 to 200,000 dollars at the price that is asked; what only reduces and what is triggered is the client's."""
    panel = panel_of(seed)
    venue = Venue.alpaca(Costs.free())
    if by_weights:
        run = simulate_weights(weights_of(panel, seed), panel, venue, cash, Execution())
    else:
        more = 10.0 ** np.random.default_rng(seed).uniform(-3, 3, 40)
        table = table_of(panel, seed).with_columns(quantity=(pl.col("quantity") * pl.Series(more)).round(6) + 1e-6)
        run = sent(table, panel, venue, cash)
    close = dict(zip(panel.times.tolist(), panel.field("close")[:, 0].tolist(), strict=True))
    checked = 0
    for one in run.orders:
        if one.type in ("market", "limit", "stop_limit") and not one.reduces:
            value = one.lots * 1e-9 * (one.limit_price or close[one.time])
            assert 10.0 * (1 - 1e-12) <= value <= 200_000.0 * (1 + 1e-12)
            checked += 1
    assert checked


@given(seed=seeds, dearer=st.sampled_from(["taker_bps", "slippage_bps", "spread_bps", "impact_linear_bps"]))
def test_what_costs_more_leaves_less_for_the_same_quantities(seed, dearer):
    panel = panel_of(seed)
    guards = ["stop_loss", "take_profit", "trailing", "stop_price", "group"]
    table = table_of(panel, seed).drop(guards)
    cheap = sent(table, panel, Venue.research(Costs(fee_asset="quote")))
    dear = sent(table, panel, Venue.research(Costs(fee_asset="quote", **{dearer: 40.0})))
    assert [(f.order_id, f.lots) for f in cheap.fills] == [(f.order_id, f.lots) for f in dear.fills]
    assert dear.equity[-1] <= cheap.equity[-1] + 1e-3
    if dearer == "taker_bps" and any(one.liquidity == "taker" for one in cheap.fills):
        assert dear.equity[-1] < cheap.equity[-1]


@given(seed=seeds, fee=st.floats(0.1, 100))
def test_a_fee_never_raises_the_equity_of_weights(seed, fee):
    panel = panel_of(seed)
    weights = weights_of(panel, seed, (0.0, 0.9))
    free, paid = (simulate(weights, panel, costs).equity["equity"].item(-1) for costs in (Costs(), Costs(0, fee)))
    assert paid <= free + 1e-6


@given(seed=seeds, count=symbols, by_weights=st.booleans(), share=st.sampled_from([math.inf, 0.3]))
def test_doubling_prices_and_halving_quantities_changes_no_bit_of_the_equity(seed, count, by_weights, share):
    panel = panel_of(seed, count)
    base = Venue.research(Costs(10, 25, 5, "quote", impact_sqrt=0.5))
    venue = Venue(
        base.costs, {}, 0.0, math.inf, 0.0, True, is_continuous=True, collar=math.nan, participation=share
    )  # fmt: skip
    doubled = scaled(panel, 2.0, 0.5)
    if by_weights:
        weights, plan = weights_of(panel, seed), Execution(stop_loss=0.02, take_profit=0.03)
        one, two = (simulate_weights(weights, market, venue, 1e5, plan) for market in (panel, doubled))
    else:
        table = table_of(panel, seed)
        turned = table.with_columns(pl.col("quantity") / 2, *(pl.col(n) * 2 for n in ("limit", "stop", "stop_price")))
        one, two = sent(table, panel, venue, 1e5), sent(turned, doubled, venue, 1e5)
    assert len(one.fills) == len(two.fills) > 0
    assert np.array_equal(one.equity, two.equity)


@given(seed=seeds, by_weights=st.booleans())
def test_the_order_of_symbols_changes_nothing_when_cash_is_ample(seed, by_weights):
    panel = panel_of(seed, 3)
    columns = {name: np.ascontiguousarray(column[:, ::-1]) for name, column in panel.columns.items()}
    turned = Panel(panel.times, panel.known, panel.symbols[::-1], columns, panel.width)
    venue = Venue.alpaca(Costs.alpaca(slippage_bps=5))
    if by_weights:
        weights = weights_of(panel, seed)
        one = simulate_weights(weights, panel, venue, 1e6, Execution())
        two = simulate_weights(np.ascontiguousarray(weights[:, ::-1]), turned, venue, 1e6, Execution())
    else:
        table = table_of(panel, seed)
        one, two = sent(table, panel, venue), sent(table, turned, venue)
    assert sorted(map(repr, one.fills)) == sorted(map(repr, two.fills))
    assert one.equity == pytest.approx(two.equity, rel=1e-12)


@given(seed=seeds, share=st.sampled_from([0.02, 0.3, 1.0]), by_weights=st.booleans())
def test_our_orders_trade_no_more_of_a_bar_than_the_share_of_its_volume(seed, share, by_weights):
    """Without slippage a fill at the open tells its bar by its price, as no two opens are the same here."""
    panel = panel_of(seed)
    venue = Venue(Costs(), {}, 0.0, math.inf, 0.0, True, is_continuous=True, collar=math.nan, participation=share)
    if by_weights:
        run = simulate_weights(weights_of(panel, seed), panel, venue, 1e6, Execution(stop_loss=0.02))
    else:
        run = sent(table_of(panel, seed), panel, venue)
    opens, volume, used = panel.field("open")[:, 0], panel.field("volume")[:, 0], np.zeros(SLICES)
    for one in run.fills:
        at = np.flatnonzero(opens == one.price)
        is_open = at.size and one.time == panel.times[at[0]] - panel.width
        used[at[0] if is_open else np.searchsorted(panel.times, one.time)] += one.lots
    assert used.any()
    assert (used <= share * volume * (1 + 1e-12)).all()


@given(seed=seeds, row=st.integers(0, 30), minutes=st.sampled_from([1, 60, 90, 400]), away=st.floats(-0.05, 0.05))
def test_latency_never_makes_a_fill_earlier(seed, row, minutes, away):
    panel = panel_of(seed)
    close = float(panel.field("close")[row, 0])
    for kind in ("market", "limit", "stop", "trailing_stop"):
        prices = {"limit_price": close * (1 + away)} if kind == "limit" else {}
        prices |= {"stop_price": close * (1 + away)} if kind == "stop" else {}
        prices |= {"trail": abs(away) + 1e-3} if kind == "trailing_stop" else {}
        order = Order("o", "main", "A/USD", "buy", 1.0, int(panel.times[row]), kind, **prices)
        found = []
        for wait in (0, minutes):
            base = Venue.research()
            venue = Venue(
                base.costs, {}, 0.0, math.inf, 0.0, True, is_continuous=True, collar=math.nan,
                latency=timedelta(minutes=wait),
            )  # fmt: skip
            found.append(simulate_orders(Orders.of([order], panel, venue), panel, venue, 1e6).fills)
        early, late = found
        assert not late or (early and late[0].time >= early[0].time)


@given(
    seed=seeds,
    row=st.integers(0, 30),
    side=st.sampled_from(["buy", "sell"]),
    stop=st.floats(0.005, 0.06),
    target=st.floats(0.005, 0.06),
)
def test_of_a_protected_order_the_best_path_ends_above_every_other_and_the_worst_below(seed, row, side, stop, target):
    """The entry is at an open, so that both exits see the same bars; with one they end in different bars."""
    panel = panel_of(seed)
    guard = Protection(stop_loss=stop, take_profit=target)
    order = Order("o", "main", "A/USD", side, 1.0, int(panel.times[row]), protection=guard)
    ends = {}
    for path in PATHS:
        venue = Venue(Costs(), {}, 0.0, math.inf, 0.0, True, is_continuous=True, collar=math.nan, path=path)
        ends[path] = simulate_orders(Orders.of([order], panel, venue), panel, venue, 1e4).equity[-1]
    assert ends["worst"] == min(ends.values())
    assert ends["best"] == max(ends.values())
    assert len({ends["ohlc"], ends["olhc"]} - {ends["worst"], ends["best"]}) == 0
    assert ends["adaptive"] in (ends["ohlc"], ends["olhc"])
