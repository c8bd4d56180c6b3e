"""Two drivers, one truth: the compiled loop and the event driver on random markets, orders, costs and accounts."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.drive import drive, drive_orders
from cryptoquant.backtest.orders import Orders
from cryptoquant.backtest.simulator import simulate_orders, simulate_weights
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.schedule import Rate
from cryptoquant.trading.venue import PATHS, Costs, Venue
from tests.market_makers import HOUR, START, gapping_panel

SLICES = 60


class Replayed:
    """A strategy that wants the weights of a table."""

    lookback = 1

    def __init__(self, panel, weights):
        self.rows = {int(time): row for time, row in zip(panel.times, weights, strict=True)}

    def decide(self, view):
        row = self.rows[view.time]
        return {s: float(w) for s, w in zip(view.symbols, row, strict=True) if not math.isnan(w)}


SCHEDULE = (
    Rate(0, 0.0, 15.0, 25.0),
    Rate(0, 2_000.0, 10.0, 20.0),
    Rate(START + 30 * HOUR, 0.0, 5.0, 8.0),
    Rate(START + 30 * HOUR, 5_000.0, 1.0, 2.0),
)
costs_given = st.builds(
    Costs,
    maker_bps=st.sampled_from([0.0, 15.0]),
    taker_bps=st.sampled_from([0.0, 25.0, 80.0]),
    slippage_bps=st.sampled_from([0.0, 5.0]),
    fee_asset=st.sampled_from(["received", "quote"]),
    spread_bps=st.sampled_from([0.0, 4.0]),
    volatility_share=st.sampled_from([0.0, 0.0, 0.1]),
    impact_linear_bps=st.sampled_from([0.0, 0.0, 50.0]),
    impact_sqrt=st.sampled_from([0.0, 0.0, 0.5]),
    schedule=st.sampled_from([(), (), SCHEDULE]),
)
financing_given = st.one_of(
    st.none(),
    st.builds(
        Financing,
        borrow=st.sampled_from([0.0, 0.3]),
        margin=st.sampled_from([0.0, 0.2]),
        funding=st.sampled_from([0.0, 0.001, -0.002]),
        funding_hours=st.sampled_from([1.0, 8.0]),
        maintenance=st.sampled_from([0.0, 0.5]),
    ),
)


@st.composite
def venues(draw):
    costs = draw(costs_given)
    rules = {
        "participation": draw(st.sampled_from([math.inf, math.inf, 0.3, 0.02])),
        "latency": timedelta(minutes=draw(st.sampled_from([0, 0, 30, 150]))),
        "path": draw(st.sampled_from(PATHS)),
    }
    if draw(st.booleans()):
        return Venue(costs, **rules)
    base = Venue.research(costs, allows_short=draw(st.booleans()))
    return Venue(
        costs, {}, base.minimum_notional, base.maximum_notional, 0.0, base.allows_short, is_continuous=True,
        collar=math.nan, financing=draw(financing_given) if base.allows_short else None, **rules,
    )  # fmt: skip


executions = st.builds(
    Execution,
    reserve=st.sampled_from([0.0, 0.03]),
    band=st.sampled_from([0.0, 0.05]),
    limit_bps=st.sampled_from([None, None, 0.0, 60.0]),
    life=st.sampled_from([None, timedelta(hours=1), timedelta(hours=5)]),
    stop_loss=st.sampled_from([None, None, 0.02]),
    take_profit=st.sampled_from([None, None, 0.03]),
    trailing=st.sampled_from([None, None, 0.025]),
)
markets = st.tuples(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([0.0, 0.2]))


def market_of(seed, symbols, absent):
    names = tuple(f"{c}/USD" for c in "ABC"[:symbols])
    return gapping_panel(SLICES, names, seed=seed, sigma=0.03, absent=absent)


def assert_same(compiled, events):
    assert list(map(repr, compiled.fills)) == list(map(repr, events.fills))
    assert compiled.cancellations == events.cancellations
    assert sorted(map(repr, compiled.rejections)) == sorted(map(repr, events.rejections))
    assert sorted(map(repr, compiled.orders)) == sorted(map(repr, events.orders))
    assert np.array_equal(compiled.equity, events.equity, equal_nan=True)
    assert np.array_equal(compiled.cash, events.cash, equal_nan=True)


@settings(max_examples=100)
@given(
    market=markets,
    venue=venues(),
    plan=executions,
    levels=st.sampled_from([[0.0, 0.2, 0.5, 0.9, 1.3], [-0.8, -0.3, 0.0, 0.5, 1.5]]),
    cash=st.sampled_from([15.0, 1_000.0, 20_000.0, 2_000_000.0]),
)
def test_weights_give_the_same_bits_in_the_compiled_loop_and_through_the_engine(market, venue, plan, levels, cash):
    panel = market_of(*market)
    rng = np.random.default_rng(market[0] + 1)
    chances = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    weights = rng.choice([np.nan, *levels], size=(SLICES, len(panel.symbols)), p=chances)
    compiled = simulate_weights(weights, panel, venue, cash, plan)
    engine = Engine(Replayed(panel, weights), venue, panel.symbols, cash, execution=plan)
    assert_same(compiled, drive(engine, panel, {}))


def random_orders(panel, rng, count):
    """Orders of every kind, around the closes at which they are decided."""
    rows = np.sort(rng.integers(0, SLICES, count))
    symbols = rng.integers(0, len(panel.symbols), count)
    close = panel.field("close")[rows, symbols]
    close = np.where(np.isnan(close), 100.0, close)
    kinds = rng.choice(
        ["market", "limit", "stop", "stop_limit", "trailing_stop", "cancel"], count, p=[0.3, 0.25, 0.15, 0.1, 0.1, 0.1]
    )
    names = [f"o{place}" for place in range(count)]
    kinds[0] = "market"
    replaces = [
        names[rng.integers(0, place)] if kind == "cancel" or (place and rng.random() < 0.1) else None
        for place, kind in enumerate(kinds)
    ]

    def near():
        return np.round(close * (1 + 0.03 * rng.standard_normal(count)), 4)

    def maybe(values, share):
        return [None if rng.random() > share else float(value) for value in values]

    lives = np.where(kinds == "market", rng.choice(["gtc", "ioc", "fok"], count), rng.choice(["gtc", "gtt"], count))
    lives = np.where((kinds == "limit") & (rng.random(count) < 0.3), rng.choice(["ioc", "fok"], count), lives)
    expires = panel.times[rows] + HOUR * rng.integers(0, 9, count)
    stops = [guard if guard is None else 0.98 * price for guard, price in zip(maybe(close, 0.2), close, strict=True)]
    return pl.DataFrame(
        {
            "time": panel.times[rows],
            "symbol": [panel.symbols[place] for place in symbols],
            "side": rng.choice(["buy", "sell"], count, p=[0.6, 0.4]),
            "quantity": np.round(rng.choice([0.05, 0.5, 3.0, 40.0], count) * rng.random(count), 6) + 1e-6,
            "id": names,
            "type": kinds,
            "limit": near(),
            "stop": near(),
            "trail": rng.choice([0.01, 0.03], count),
            "time_in_force": lives,
            "expires": [
                int(moment) if life == "gtt" or rng.random() < 0.1 else None
                for moment, life in zip(expires, lives, strict=True)
            ],
            "group": [None if rng.random() < 0.7 else f"{place}-{rng.integers(0, 3)}" for place in symbols],
            "reduces": rng.random(count) < 0.2,
            "replaces": replaces,
            "stop_loss": [None if stop is not None else 0.02 if rng.random() < 0.3 else None for stop in stops],
            "take_profit": maybe(np.full(count, 0.03), 0.3),
            "trailing": maybe(np.full(count, 0.02), 0.1),
            "stop_price": stops,
        },
        strict=False,
    ).with_columns(*(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "expires")))


@settings(max_examples=100)
@given(
    market=markets,
    venue=venues(),
    count=st.integers(1, 60),
    cash=st.sampled_from([1_000.0, 20_000.0, 2_000_000.0]),
)
def test_orders_of_every_kind_give_the_same_bits_in_the_compiled_loop_and_through_the_matcher(
    market, venue, count, cash
):
    panel = market_of(*market)
    orders = Orders.from_frame(random_orders(panel, np.random.default_rng(market[0]), count), panel, venue)
    assert_same(simulate_orders(orders, panel, venue, cash), drive_orders(orders, panel, venue, cash))
