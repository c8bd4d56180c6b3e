"""A few bars and orders, every fill computed by hand: paths, lives, partial fills, groups, latency, fees and loans."""

import math
from datetime import timedelta

import numpy as np
import pytest

from cryptoquant.backtest.drive import drive_orders
from cryptoquant.backtest.orders import Orders
from cryptoquant.backtest.run import Run
from cryptoquant.backtest.simulator import simulate, simulate_orders
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.order import Order, Protection
from cryptoquant.trading.schedule import Rate
from cryptoquant.trading.venue import PATHS, Costs, Venue
from tests.market_makers import HOUR, START

FLAT = (100.0, 100.0, 100.0, 100.0)


def market(*bars: tuple[float, ...], width: int = HOUR) -> Panel:
    """Bars of open, high, low, close and, where it matters, volume; the first closes at START + width."""
    values = np.full((len(bars), 1, len(FIELDS)), 1.0)
    for row, bar in enumerate(bars):
        values[row, 0, : len(bar)] = bar
    times = START + width * np.arange(1, len(bars) + 1, dtype=np.int64)
    return Panel.from_values(times, times, ("BTC/USD",), values, width)


def order(name: str, row: int, side: str, lots: float = 1.0, **more: object) -> Order:
    """An order that is decided at the close of a row."""
    return Order(name, "main", "BTC/USD", side, lots, START + HOUR * (row + 1), **more)


def free(**rules: object) -> Venue:
    """A continuous market without costs, on which one may be short."""
    return Venue(Costs(), {}, 0.0, math.inf, 0.0, True, is_continuous=True, collar=math.nan, **rules)


def run(panel: Panel, orders: list[Order], venue: Venue | None = None, cash: float = 10_000.0) -> Run:
    """Send the orders through both drivers, which must agree."""
    rules = venue or free()
    table = Orders.of(orders, panel, rules)
    compiled, events = simulate_orders(table, panel, rules, cash), drive_orders(table, panel, rules, cash)
    assert compiled.fills == events.fills
    assert compiled.cancellations == events.cancellations
    assert np.array_equal(compiled.equity, events.equity)
    return compiled


def filled(given: Run) -> list[tuple[str, float, float]]:
    """Order, lots and price of every fill."""
    return [(fill.order_id, fill.lots, fill.price) for fill in given.fills]


GUARDED = Protection(stop_price=98.0, target_price=103.0)
HIGH_FIRST = {"worst": False, "best": True, "ohlc": True, "olhc": False, "adaptive": False}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_bar_that_spans_stop_and_target_fills_the_one_that_the_path_reaches_first(path, side):
    """The low (97) is nearer to the open than the high (104), so the adaptive path goes down first."""
    guard = GUARDED if side == "buy" else Protection(stop_price=103.0, target_price=98.0)
    panel = market(FLAT, FLAT, (100, 104, 97, 101), FLAT)
    one, two = run(panel, [order("e", 0, side, protection=guard)], free(path=path)).fills
    goes_up = HIGH_FIRST[path] if side == "buy" or path not in ("worst", "best") else not HIGH_FIRST[path]
    assert (one.price, two.price) == (100.0, 103.0 if goes_up else 98.0)
    assert two.reason == ("target" if goes_up == (side == "buy") else "stop")
    assert two.time == panel.times[2]


@pytest.mark.parametrize("path", PATHS)
def test_a_limit_that_is_met_on_the_way_down_meets_its_stop_below_in_the_same_bar(path):
    """The price moved down through 98 on its way to 94, whatever came before, so that the stop at 95 is certain."""
    panel = market(FLAT, (100, 101, 94, 99), (99, 99, 99, 99))
    limit = order("e", 0, "buy", type="limit", limit_price=98.0, protection=Protection(stop_price=95.0))
    assert filled(run(panel, [limit], free(path=path))) == [("e", 1.0, 98.0), ("es0", 1.0, 95.0)]


@pytest.mark.parametrize("path", PATHS)
def test_a_limit_that_is_met_on_the_way_down_meets_its_target_only_if_the_high_is_still_to_come(path):
    """The high of 101 is nearer to the open, so the adaptive path has been there before the entry."""
    panel = market(FLAT, (100, 101, 94, 99), (99, 99, 99, 99))
    limit = order("e", 0, "buy", type="limit", limit_price=98.0, protection=Protection(target_price=100.5))
    exits = [("et0", 1.0, 100.5)] if path in ("best", "olhc") else []
    assert filled(run(panel, [limit], free(path=path))) == [("e", 1.0, 98.0), *exits]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_certain_after_an_entry_within_the_bar_is_the_way_from_the_last_extreme_to_the_close(path):
    """After the low of 94 the price must come back to the close of 99: a target at 98.5 is certain on every path."""
    panel = market(FLAT, (100, 101, 94, 99), (99, 99, 99, 99))
    limit = order("e", 0, "buy", type="limit", limit_price=98.0, protection=Protection(target_price=98.5))
    assert filled(run(panel, [limit], free(path=path))) == [("e", 1.0, 98.0), ("et0", 1.0, 98.5)]


@pytest.mark.parametrize("path", PATHS)
def test_a_stop_that_enters_on_the_way_up_meets_the_low_only_if_that_is_still_to_come(path):
    panel = market(FLAT, (100, 104, 96, 101), (101, 101, 101, 101))
    entry = order("e", 0, "buy", type="stop", stop_price=102.0, protection=Protection(stop_price=97.0))
    exits = [("es0", 1.0, 97.0)] if path in ("worst", "ohlc") else []
    assert filled(run(panel, [entry], free(path=path))) == [("e", 1.0, 102.0), *exits]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("bar", "price"), [((95, 99, 94, 96), 95.0), ((105, 106, 97, 99), 105.0)])
def test_a_gap_through_the_stop_or_through_the_target_fills_at_the_open(path, bar, price):
    panel = market(FLAT, FLAT, bar, FLAT)
    fills = run(panel, [order("e", 0, "buy", protection=GUARDED)], free(path=path)).fills
    assert [fill.price for fill in fills] == [100.0, price]
    assert fills[1].time == panel.times[1]  # the open of the bar that gapped


@pytest.mark.parametrize(
    ("guard", "price", "slippage", "rate"),
    [(Protection(target_price=103.0), 103.0, 0.0, 0.001), (Protection(stop_price=98.0), 98.0 * 0.99, 0.98, 0.002)],
)
def test_a_stop_pays_slippage_and_the_takers_fee_and_a_target_neither(guard, price, slippage, rate):
    panel = market(FLAT, FLAT, (100, 104, 97, 100), FLAT)
    venue = Venue.research(Costs(10.0, 20.0, 100.0, "quote"))
    one, two = run(panel, [order("e", 0, "buy", protection=guard)], venue).fills
    assert (one.price, one.slippage, one.fee) == pytest.approx((101.0, 1.0, 101.0 * 0.002))
    assert (two.price, two.slippage, two.fee) == pytest.approx((price, slippage, price * rate))


def test_a_trailing_stop_follows_the_highest_price_of_the_bars_before():
    """Ten percent behind 100, 110 and 120: at 90, 99 and 108; the bar that makes a high is not stopped from it."""
    panel = market(FLAT, FLAT, (100, 110, 100, 109), (109, 120, 105, 119), (119, 119, 107, 110), FLAT)
    fills = filled(run(panel, [order("e", 0, "buy", protection=Protection(trailing=0.1))]))
    assert fills == [("e", 1.0, 100.0), ("es0", 1.0, pytest.approx(108.0))]


def test_a_trailing_stop_of_a_short_follows_the_lowest_price_of_the_bars_before():
    panel = market(FLAT, FLAT, (100, 100, 90, 91), (91, 95, 80, 85), (85, 89, 85, 88), FLAT)
    fills = filled(run(panel, [order("e", 0, "sell", protection=Protection(trailing=0.1))]))
    assert fills == [("e", 1.0, 100.0), ("es0", 1.0, pytest.approx(88.0))]


def test_a_target_below_zero_is_none():
    """A short that wants to gain more than all of it has a stop only."""
    panel = market(FLAT, FLAT, (100, 100, 1, 50), (50, 120, 50, 120), FLAT)
    fills = filled(run(panel, [order("e", 0, "sell", protection=Protection(stop_loss=0.1, take_profit=1.5))]))
    assert fills == [("e", 1.0, 100.0), ("es0", 1.0, pytest.approx(110.0))]


def test_immediate_orders_take_what_the_open_gives_or_end():
    """A tenth of the bar's volume of 20 may trade: two coins."""
    panel = market(FLAT, (100, 105, 95, 100, 20.0), (100, 105, 95, 100, 20.0), FLAT)
    venue = free(participation=0.1)
    orders = [
        order("ioc", 0, "buy", 3.0, time_in_force="ioc"),
        order("fok", 1, "buy", 3.0, time_in_force="fok"),
        order("missed", 1, "buy", 1.0, type="limit", limit_price=99.0, time_in_force="ioc"),
        order("whole", 1, "buy", 2.0, time_in_force="fok"),
    ]
    given = run(panel, orders, venue)
    assert filled(given) == [("ioc", 2.0, 100.0), ("whole", 2.0, 100.0)]
    assert [one.order_id for one in given.cancellations] == ["ioc", "fok", "missed"]


def test_an_order_good_till_a_time_takes_no_part_in_the_bar_that_opens_then():
    bars = (100, 100, 95, 100)
    panel = market(FLAT, FLAT, FLAT, bars, FLAT)
    for hours, fills in ((2, []), (3, [("e", 1.0, 97.0)])):
        until = START + HOUR * (1 + hours)
        limit = order("e", 0, "buy", type="limit", limit_price=97.0, time_in_force="gtt", expires=until)
        given = run(panel, [limit])
        assert filled(given) == fills
        assert [(one.order_id, one.time) for one in given.cancellations] == ([] if fills else [("e", until)])


def test_an_order_larger_than_its_share_of_the_volume_fills_over_three_bars_with_the_fee_in_coins():
    """Half of 4, 6 and 100 coins: 2, 3 and the 1 that is left; the fee of a percent stays with the venue."""
    panel = market(FLAT, (100, 100, 100, 100, 4.0), (101, 101, 101, 101, 6.0), (102, 102, 102, 102, 100.0), FLAT)
    venue = Venue(Costs(100.0, 100.0), participation=0.5, minimum_notional=0.0)
    given = run(panel, [order("e", 0, "buy", 6e9)], venue)
    assert [fill.price for fill in given.fills] == [100.0, 101.0, 102.0]
    assert [fill.lots for fill in given.fills] == pytest.approx([2e9, 3e9, 1e9], abs=1)
    assert [fill.lots_change for fill in given.fills] == pytest.approx([1.98e9, 2.97e9, 0.99e9], abs=2)
    assert [fill.fee for fill in given.fills] == pytest.approx([2.0, 3.03, 1.02])
    assert given.cash.tolist() == pytest.approx([10_000, 9_800, 9_497, 9_395, 9_395])
    assert given.equity.tolist() == pytest.approx([10_000, 9_998, 9_497 + 4.95 * 101, 9_395 + 5.94 * 102, 9_395 + 594])


def test_what_one_of_a_group_fills_the_other_loses():
    """The target sells one of three (half of a volume of 2); the stop is left with two."""
    panel = market(FLAT, (100, 100, 100, 100, 9.0), (100, 104, 100, 101, 2.0), (99, 99, 90, 91, 9.0), FLAT)
    together = {"group": "g", "reduces": True}
    orders = [
        order("e", 0, "buy", 3.0),
        order("stop", 1, "sell", 3.0, type="stop", stop_price=95.0, **together),
        order("target", 1, "sell", 3.0, type="limit", limit_price=103.0, **together),
    ]
    given = run(panel, orders, free(participation=0.5))
    assert filled(given) == [("e", 3.0, 100.0), ("target", 1.0, 103.0), ("stop", 2.0, 95.0)]
    assert [one.order_id for one in given.cancellations] == ["target"]


@pytest.mark.parametrize(("minutes", "fills"), [(0, [("new", 1.0, 96.0)]), (90, [("old", 1.0, 97.0)])])
def test_a_replacement_is_heard_after_the_latency_and_a_fill_may_be_faster(minutes, fills):
    """Both prices are passed in bar 3; what was decided at the close of bar 1 arrives 90 minutes later, in bar 4."""
    panel = market(FLAT, FLAT, (99, 99, 99, 99), (99, 99, 95, 99), (99, 99, 99, 99), FLAT)
    orders = [
        order("old", 0, "buy", type="limit", limit_price=97.0),
        order("new", 1, "buy", type="limit", limit_price=96.0, replaces="old"),
    ]
    given = run(panel, orders, free(latency=timedelta(minutes=minutes)))
    assert filled(given) == fills
    if minutes:
        assert [(one.order_id, one.reason) for one in given.rejections] == [
            ("new", "the order to replace is no longer open")
        ]


def test_the_tier_changes_at_midnight_and_not_with_the_trade_that_reaches_it():
    """1,000 traded on the first day pays 1 % to its end; the second day pays half."""
    panel = market(*[FLAT] * 26)
    venue = Venue.research(
        Costs(fee_asset="quote", schedule=(Rate(0, 0.0, 100.0, 100.0), Rate(0, 1_000.0, 50.0, 50.0)))
    )
    orders = [order("a", 0, "buy", 10.0), order("b", 21, "buy"), order("c", 22, "buy"), order("d", 23, "buy")]
    assert [fill.fee for fill in run(panel, orders, venue).fills] == pytest.approx([10.0, 1.0, 1.0, 0.5])


def test_funding_is_paid_every_eight_hours_on_the_value_at_the_mark():
    """Ten coins at 100: 1 % of 1,000 at 08:00 and at 16:00; one who is short receives it."""
    panel = market(*[FLAT] * 17)
    for side, sign in (("buy", -1.0), ("sell", 1.0)):
        given = run(panel, [order("e", 0, side, 10.0)], free(financing=Financing(funding=0.01)))
        paid = [0.0] * 7 + [10.0] * 8 + [20.0] * 2
        assert given.equity.tolist() == pytest.approx([10_000 + sign * value for value in paid])


def test_borrowed_coins_and_borrowed_cash_cost_simple_interest():
    """Ten coins of 100 short at 36.5 % a year: a thousandth of 1,000 a day; 10,000 borrowed at the same: 10 a day."""
    panel = market(*[FLAT] * 26)
    terms = Financing(borrow=0.365, margin=0.365)
    short = run(panel, [order("e", 0, "sell", 10.0)], free(financing=terms))
    assert short.equity[25] == pytest.approx(10_000 - 1.0 * 25 / 24)  # held from 01:00; charged at every close
    leveraged = run(panel, [order("e", 0, "buy", 200.0)], free(financing=terms))
    assert leveraged.equity[2] == pytest.approx(10_000 - 2 * 10.0 / 24, rel=1e-7)


def test_an_account_short_of_margin_is_closed_at_the_next_open_and_takes_no_orders_before():
    """400 coins bought at 100 with 10,000: at 80 the equity of 2,000 is less than a tenth of 32,000."""
    panel = market(FLAT, FLAT, (100, 100, 80, 80), (79, 79, 79, 79), FLAT)
    orders = [
        order("e", 0, "buy", 400.0),
        order("more", 2, "buy"),
        order("rest", 0, "buy", type="limit", limit_price=50.0),
    ]
    given = run(panel, orders, free(financing=Financing(maintenance=0.1)))
    assert filled(given) == [("e", 400.0, 100.0), (f"liquidation-BTC/USD-{panel.times[2]}", 400.0, 79.0)]
    assert given.equity.tolist() == [10_000, 10_000, 2_000, 1_600, 1_600]
    assert [one.order_id for one in given.cancellations] == ["rest"]
    assert [one.reason for one in given.rejections] == ["the account is being liquidated"]


def test_what_the_opens_fill_comes_before_what_happens_inside_the_bars():
    """A position that is left at the open cannot reach its target later in that bar."""
    weights = np.array([[0.5], [0.0], [np.nan], [np.nan]])
    flat = (100.0, 100.0, 100.0, 100.0)
    panel = market(flat, flat, (100.0, 104.0, 100.0, 100.0), flat)
    report = simulate(weights, panel, venue=Venue.research(Costs()), execution=Execution(0.0, 0.0, take_profit=0.03))
    assert report.fills["side"].to_list() == ["buy", "sell"]
    assert report.fills["price"].to_list() == [100.0, 100.0]
    assert report.fills["quantity_change"].sum() == 0.0


def test_an_exit_too_small_for_the_venue_is_refused_and_a_stop_above_its_largest_order_too():
    panel = market(FLAT, (100.0, 101.0, 99.0, 100.0), FLAT)
    small = order("e", 0, "buy", 1e7, type="stop", stop_price=100.5)
    large = order("f", 0, "buy", 1e13, type="stop", stop_price=100.5)
    for wish, reason in ((small, "smallest"), (large, "largest")):
        report = simulate([wish], panel, venue=Venue.alpaca(Costs()), cash=1e7)
        assert report.fills.height == 0
        assert reason in report.rejections["reason"].item()


def test_a_fill_says_which_share_of_its_bar_it_took_and_the_report_how_large_the_account_may_grow():
    panel = market(FLAT, FLAT, FLAT)
    weights = np.array([[0.4], [np.nan], [np.nan]])
    report = simulate(weights, panel, venue=Venue.research(Costs()), cash=1_000.0, execution=Execution(0.0, 0.0))
    volume = panel.field("volume")[1, 0]
    assert report.fills["participation"].to_list() == [4.0 / volume]
    assert report.trading.capacity == pytest.approx(1_000.0 * 0.01 / (4.0 / volume))
