"""Books, orders and risk: the laws of the ledger."""

import math
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.market.instrument import Instrument, normalize_symbol
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.trading.engine import Command, Engine
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.matching import fill_price, settle, touch
from cryptoquant.trading.order import Adjustment, Fill, Order, Rejection, client_order_id
from cryptoquant.trading.portfolio import Portfolio, account
from cryptoquant.trading.resting import execute
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat, MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, gapping_panel

PAIRS = ("BTC/USD", "ETH/USD")


def order(side="buy", lots=5e7, symbol="BTC/USD", **more) -> Order:
    return Order(f"cq-{side}-{lots}", "main", symbol, side, lots, 1_700_000_000 * 10**9, **more)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PAIRS),
            st.sampled_from(["buy", "sell"]),
            st.integers(1, 10**12),
            st.floats(0.01, 100_000),
        ),
        max_size=30,
    ),
    st.integers(1, 4),
)
def test_the_account_is_the_exact_sum_of_its_ledgers(trades, profiles):
    venue = Venue.alpaca(Costs.alpaca())
    ledgers = [Portfolio(PAIRS, venue, 1000.0, f"p{i}") for i in range(profiles)]
    whole = Portfolio(PAIRS, venue, 1000.0 * profiles)
    for number, (symbol, side, lots, price) in enumerate(trades):
        made = Order(f"o{number}", "main", symbol, side, float(lots), number)
        fill = execute(made, price, number, venue, "taker")
        ledgers[number % profiles].apply(fill)
        whole.apply(fill)
    total = account(ledgers, venue)
    assert total.cash == whole.cash
    assert np.array_equal(total.lots, whole.lots)
    assert float(whole.cash).is_integer()
    assert all(float(value).is_integer() for value in whole.lots)


@given(st.integers(1, 10**13), st.floats(1e-4, 1e5), st.sampled_from([0.0, 0.0015, 0.0025]), st.sampled_from([1, -1]))
def test_a_settlement_never_favours_the_trader_by_more_than_half_a_cash_unit(lots, price, fee, sign):
    gain, paid, charged = settle(float(sign), float(lots), price, fee, 1e-9, 1e-6, True, False)
    value = lots * 1e-9 * price
    received = gain * 1e-9 * price + paid * 1e-6
    assert received <= 0.5e-6 + 1e-9 * value
    assert charged >= fee * value * (1 - 1e-9) - 1e-6 - 1e-9 * price


def test_a_fill_is_booked_once():
    venue = Venue.alpaca(Costs.alpaca())
    book = Portfolio(PAIRS, venue, 1000.0)
    fill = execute(order(), 40_000.0, 1, venue, "taker")
    assert book.apply(fill)
    before = (book.cash, book.lots.copy(), book.fees)
    assert not book.apply(fill)
    assert (book.cash, book.fees) == (before[0], before[2])
    assert np.array_equal(book.lots, before[1])


def test_an_adjustment_moves_coins_and_cash():
    book = Portfolio(PAIRS, Venue.alpaca(), 10.0)
    assert book.apply(Adjustment("fee-1", "main", "BTC/USD", -3.0, -2_000_000.0, 1, "posted fee"))
    assert book.held("BTC/USD") == -3.0
    assert book.cash_value == 8.0


@pytest.mark.parametrize(
    ("sign", "limit", "bar", "wanted"),
    [
        (1, math.nan, (100, 101, 99), 100.1),
        (-1, math.nan, (100, 101, 99), 99.9),
        (1, 99.5, (100, 101, 99), 99.5),
        (1, 99.0, (100, 101, 99), math.nan),
        (1, 102.0, (100, 101, 99), 100.1),
        (-1, 100.5, (100, 101, 99), 100.5),
        (-1, 101.0, (100, 101, 99), math.nan),
        (-1, 98.0, (100, 101, 99), 99.9),
        (1, 100.05, (100, 101, 99), 100.05),
    ],
)
def test_fill_prices_follow_the_stated_rules(sign, limit, bar, wanted):
    kind = 0 if math.isnan(limit) else 1
    reference, liquidity = touch(float(sign), kind, limit, math.nan, *map(float, bar))
    price = fill_price(float(sign), kind, limit, reference, liquidity, 0.001)
    assert price == pytest.approx(wanted, nan_ok=True)


def test_a_limit_order_rests_until_the_market_trades_through_it_and_pays_the_maker_fee():
    panel = gapping_panel(30, ("BTC/USD",), seed=5, sigma=0.02)
    venue = Venue.alpaca(Costs(10.0, 25.0))
    matcher = Matcher(venue, Portfolio(("BTC/USD",), venue, 100_000.0))
    low = float(panel.field("low").min()) * 1.001
    resting = Order("a", "main", "BTC/USD", "buy", 1e9, int(panel.times[0]), "limit", "gtc", low)
    assert matcher.submit(resting, 100.0) is None
    fills = [f for market in panel for f in matcher.match(market, market.time - HOUR) if isinstance(f, Fill)]
    assert [f.liquidity for f in fills] == ["maker"]
    assert fills[0].price == low
    assert fills[0].fee == pytest.approx(low * 0.001, rel=1e-6)


def test_an_immediate_order_that_does_not_fill_is_cancelled():
    panel = gapping_panel(3, seed=5)
    venue = Venue.alpaca()
    matcher = Matcher(venue, Portfolio(("BTC/USD",), venue, 100_000.0))
    matcher.submit(Order("a", "main", "BTC/USD", "buy", 1e9, 0, "limit", "ioc", 50.0), 100.0)
    outcomes = matcher.match(panel[0])
    assert [type(o).__name__ for o in outcomes] == ["Cancellation"]
    assert not matcher.open


def test_a_resting_sell_holds_its_coins_back():
    venue = Venue.alpaca()
    book = Portfolio(("BTC/USD",), venue, 0.0)
    book.lots[0] = 1e9
    matcher = Matcher(venue, book)
    first = Order("a", "main", "BTC/USD", "sell", 6e8, 0, "limit", "gtc", 200.0)
    assert matcher.submit(first, 100.0) is None
    refused = matcher.submit(Order("b", "main", "BTC/USD", "sell", 6e8, 0, "limit", "gtc", 200.0), 100.0)
    assert refused is not None
    assert refused.reason.startswith("more than is held")
    matcher.cancel("a", 1)
    assert matcher.submit(Order("c", "main", "BTC/USD", "sell", 6e8, 0, "limit", "gtc", 200.0), 100.0) is None


def test_client_ids_say_the_decision_and_stay_short():
    assert client_order_id("main", "BTC/USD", 1_735_689_600 * 10**9, 2) == "cq-main-BTCUSD-1735689600-2"
    with pytest.raises(ValueError, match="shorten the profile"):
        client_order_id("a-very-long-name-for-a-profile", "BTC/USD", 1_735_689_600 * 10**9)


@pytest.mark.parametrize("text", ["BTCUSD", "btc/usd", "BTC-USD", "BTC_USD", " BTC/USD "])
def test_symbols_are_read_in_every_spelling(text):
    assert normalize_symbol(text) == "BTC/USD"


@pytest.mark.parametrize("text", ["", "USD", "BTC/", "/USD", "BTC/USD/X", "NONSENSE"])
def test_what_is_no_symbol_is_refused(text):
    with pytest.raises(ValueError, match="cannot read the symbol"):
        normalize_symbol(text)


@given(st.integers(0, 10**15))
def test_lots_and_quantities_convert_without_loss(count):
    instrument = Instrument("BTC/USD", Decimal("0.000000001"))
    assert instrument.lots(instrument.quantity(float(count))) == count


def engine(limits=None, cash=100_000.0, **more) -> Engine:
    return Engine(LongFlat(0.6, **more), Venue.alpaca(Costs.alpaca()), PAIRS, cash, limits=limits)


def signal(market, value, symbol="BTC/USD") -> Signal:
    return Signal("m", symbol, market.time, market.known, "probability", value, HOUR)


def test_the_engine_gives_the_same_orders_for_the_same_events():
    panel = gapping_panel(60, PAIRS, seed=1)

    def orders() -> list:
        one = engine()
        said = []
        for row, market in enumerate(panel):
            one.on(signal(market, 0.7 if row % 7 < 3 else 0.2))
            for outcome in one.on(market):
                said.append(outcome)
                if isinstance(outcome, Order):
                    one.on(execute(outcome, float(market.field("close")[0]), market.time, one.venue, "taker"))
        return said

    first = orders()
    assert len(first) > 10
    assert first == orders()


def test_a_signal_of_another_slice_is_not_acted_on():
    panel = gapping_panel(3, PAIRS, seed=1)
    one = engine()
    one.on(signal(panel[0], 0.9))
    assert one.on(panel[1]) == ()
    assert len(one.on(panel[1])) == 0


def test_no_second_order_is_sent_while_one_is_in_flight():
    panel = gapping_panel(3, PAIRS, seed=1)
    one = engine()
    one.on(signal(panel[0], 0.9))
    (first,) = one.on(panel[0])
    one.on(signal(panel[1], 0.9))
    assert one.on(panel[1]) == []
    one.on(Rejection(first.id, "main", "BTC/USD", "buy", first.lots, 0, "venue: no"))
    one.on(signal(panel[2], 0.9))
    assert len(one.on(panel[2])) == 1


def test_a_partial_fill_keeps_the_order_in_flight_until_the_rest_is_filled():
    panel = gapping_panel(2, PAIRS, seed=1)
    one = engine()
    one.on(signal(panel[0], 0.9))
    (sent,) = one.on(panel[0])
    half = execute(msgspec.structs.replace(sent, lots=sent.lots // 2), 100.0, 1, one.venue, "taker")
    rest = execute(msgspec.structs.replace(sent, lots=sent.lots - sent.lots // 2), 100.0, 1, one.venue, "taker")
    one.on(msgspec.structs.replace(half, execution_id="1"))
    assert sent.id in one.in_flight
    one.on(msgspec.structs.replace(half, execution_id="1"))
    assert one.working.left[sent.id] == sent.lots - sent.lots // 2
    one.on(msgspec.structs.replace(rest, execution_id="2"))
    assert not one.in_flight


@given(st.floats(10, 1e6), st.floats(0.01, 1.2), st.floats(0.01, 1.2), st.floats(0.2, 1.0), st.integers(0, 500))
def test_what_the_gate_approves_stays_within_the_limits(cash, max_weight, max_gross, weight, seed):
    panel = gapping_panel(20, PAIRS, seed=seed)
    limits = RiskLimits(max_weight=max_weight, max_gross=max_gross, max_order_value=50_000.0)
    one = engine(limits, cash, max_weight=weight)
    for market in panel:
        for symbol in PAIRS:
            one.on(signal(market, 0.9, symbol))
        said = one.on(market)
        equity = one.portfolio.equity
        closes = market.field("close")
        after = one.portfolio.lots * one.portfolio.lot * closes
        for outcome in said:
            if isinstance(outcome, Rejection):
                assert outcome.reason
                continue
            place = PAIRS.index(outcome.symbol)
            value = outcome.lots * 1e-9 * closes[place]
            after[place] += outcome.sign * value
            assert value <= 50_000.0 * (1 + 1e-9)
            assert outcome.side == "sell" or after[place] <= max_weight * equity * (1 + 1e-9)
            assert outcome.side == "sell" or after.sum() <= max_gross * equity * (1 + 1e-9)
        for outcome in said:
            if isinstance(outcome, Order):
                one.on(execute(outcome, float(closes[PAIRS.index(outcome.symbol)]), market.time, one.venue, "taker"))


def test_the_gross_limit_counts_the_orders_of_the_same_slice_that_were_approved_before():
    panel = gapping_panel(1, PAIRS, seed=1)
    one = engine(RiskLimits(max_gross=0.6), max_weight=0.4)
    for symbol in PAIRS:
        one.on(signal(panel[0], 0.9, symbol))
    approved, refused = one.on(panel[0])
    assert (approved.symbol, refused.symbol) == PAIRS
    assert refused.reason == "gross exposure above 60.0%"


def test_a_drawdown_latches_until_it_is_reset_and_never_stops_a_sell():
    panel = gapping_panel(6, PAIRS, seed=1)
    one = engine(RiskLimits(max_drawdown=0.05), max_weight=0.5)
    one.on(signal(panel[0], 0.9))
    (bought,) = one.on(panel[0])
    one.on(execute(bought, float(panel[0].field("close")[0]), 1, one.venue, "taker"))
    fallen = panel[1].values.copy()
    fallen[0, :4] *= 0.8
    low = Slice(panel[1].time, panel[1].known, PAIRS, fallen)
    one.on(signal(low, 0.9, "ETH/USD"))
    (refused,) = one.on(low)
    assert "drawdown reached 5.0%" in refused.reason
    one.on(signal(panel[2], 0.9, "ETH/USD"))
    one.on(signal(panel[2], 0.1, "BTC/USD"))
    said = one.on(panel[2])
    assert [type(s).__name__ for s in said] == ["Order", "Rejection"]
    assert said[0].side == "sell"
    one.on(Command("c", "resume", panel[2].time))
    deep = Slice(panel[3].time, panel[3].known, PAIRS, panel[3].values * 0.5)
    one.on(signal(deep, 0.9, "ETH/USD"))
    assert [type(s).__name__ for s in one.on(deep)] == ["Order"]


def test_old_data_may_only_reduce_a_position():
    panel = gapping_panel(2, PAIRS, seed=1)
    late = Slice(panel[0].time, panel[0].time + 61 * 10**9, PAIRS, panel[0].values)
    one = engine(RiskLimits(max_age=60.0))
    one.on(signal(late, 0.9))
    (refused,) = one.on(late)
    assert "data is 61.0 s old" in refused.reason


def test_a_strategy_that_wants_an_unknown_symbol_is_told_so():
    class Stranger:
        lookback = 1

        def decide(self, view):
            return {"DOGE/USD": 1.0}

    one = Engine(Stranger(), Venue.alpaca(), PAIRS, 1000.0)
    with pytest.raises(ValueError, match="DOGE/USD"):
        one.on(gapping_panel(1, PAIRS)[0])


def test_a_view_shows_the_past_up_to_now_and_nothing_else():
    seen = []

    class Watcher:
        lookback = 5

        def decide(self, view):
            seen.append(view.history("ETH/USD", "close").copy())
            return {}

    panel = gapping_panel(500, PAIRS, seed=3)
    one = Engine(Watcher(), Venue.alpaca(), PAIRS, 1000.0)
    for market in panel:
        one.on(market)
    closes = panel.field("close")[:, 1]
    for row, view in enumerate(seen):
        assert np.array_equal(view, closes[max(0, row - 4) : row + 1])


@pytest.mark.parametrize(
    "arguments", [{"fast": 0, "slow": 5}, {"fast": 5, "slow": 5}, {"fast": 3, "slow": 9, "max_weight": 2}]
)
def test_a_rule_refuses_wrong_parameters(arguments):
    with pytest.raises(ValueError, match="found"):
        MovingAverageCross(**arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Costs(maker_bps=-1),
        lambda: Costs(fee_asset="coins"),
        lambda: Costs.alpaca(9),
        lambda: RiskLimits(max_weight=0),
        lambda: RiskLimits(max_orders_per_minute=0),
        lambda: LongFlat(0.4, exit=0.6),
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"found|must not|must be"):
        make()


def test_what_reduces_a_position_passes_the_limits_on_value_and_rate():
    panel = gapping_panel(2, PAIRS, seed=1)
    one = engine(RiskLimits(max_order_value=1_000.0, max_orders_per_minute=1))
    one.portfolio.lots[0] = 1e12
    one.risk.count(panel[0].time)
    one.on(signal(panel[0], 0.1))
    (sold,) = one.on(panel[0])
    assert isinstance(sold, Order)
    assert sold.side == "sell"


def test_a_daily_loss_counts_from_the_last_equity_before_the_day():
    day = 24 * HOUR
    one = engine(RiskLimits(max_daily_loss=0.05))
    one.risk.observe(day, 100.0, one.limits)
    assert not one.risk.halted
    one.risk.observe(2 * day, 90.0, one.limits)
    assert "daily loss" in one.risk.halted
