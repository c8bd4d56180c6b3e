import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.portion import Portion
from cryptoquant.backtest.sandbox.refusal import Refusal
from cryptoquant.backtest.sandbox.ticket import Ticket
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.order import Fill
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Costs, Venue, increments

MINUTE = 60_000_000_000
SYMBOLS = ("BTC/USD", "ETH/USD")
INSTRUMENTS = [
    increments("BTC/USD", "0.000000001", "0.01", "0.000016"),
    increments("ETH/USD", "0.000000001", "0.01", "0.0004"),
]


def exchange(cash: float = 100_000.0, portion: Portion | None = None, **rules: object) -> Exchange:
    costs = {name: rules.pop(name) for name in ("maker_bps", "taker_bps") if name in rules}
    terms = Costs(**({"maker_bps": 15.0, "taker_bps": 25.0} | costs))
    venue = replace(Venue.alpaca(terms, INSTRUMENTS), **rules)
    return Exchange(venue, np.array([50_000.0, 2_000.0]), cash, portion=portion)


def minute(index: int, *prices: tuple[float, float, float, float]) -> Slice:
    values = np.full((2, len(FIELDS)), np.nan)
    for row, price in enumerate(prices):
        values[row] = [*price, 1.0, 1.0, price[3]]
    time = (index + 1) * MINUTE
    return Slice(time, time, SYMBOLS, values)


def order(side: str = "buy", qty: str | None = "1", symbol: str = "BTC/USD", **changes: object) -> dict[str, object]:
    body = {"symbol": symbol, "side": side, "type": "market", "time_in_force": "gtc", "qty": qty}
    return {key: value for key, value in (body | changes).items() if value is not None}


def flat(index: int, price: float = 50_000.0) -> Slice:
    return minute(index, (price,) * 4, (2_000.0,) * 4)


moves = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from(SYMBOLS),
            st.sampled_from(("buy", "sell")),
            st.sampled_from(("market", "limit", "stop_limit")),
            st.sampled_from(("gtc", "ioc")),
            st.integers(1, 1_900_000_000),
            st.integers(-300, 300),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 10)),
        st.tuples(st.just("replace"), st.integers(0, 10), st.integers(1, 1_900_000_000)),
        st.tuples(st.just("bar"), st.integers(-200, 200), st.integers(-200, 200), st.integers(0, 100)),
    ),
    min_size=8,
    max_size=40,
)
rules = st.fixed_dictionaries(
    {
        "participation": st.sampled_from((math.inf, 0.3)),
        "latency": st.sampled_from((timedelta(0), timedelta(seconds=60), timedelta(seconds=90))),
        "portion": st.sampled_from((Portion(7), Portion(7, 0.5), Portion(7, 1.0))),
    }
)
ENDS = ("fill", "canceled", "rejected", "replaced")


def play(steps: list, venue: Exchange) -> list[Slice]:
    bars: list[Slice] = []
    for kind, *values in steps:
        now = len(bars) * MINUTE
        if kind == "submit":
            symbol, side, type_, force, nano, ticks = values
            price = f"{venue.mark(symbol) * (1 + ticks / 10_000):.2f}"
            prices = {"market": {}, "limit": {"limit_price": price}}
            prices["stop_limit"] = {"limit_price": price, "stop_price": price}
            body = order(side, str(Decimal(nano).scaleb(-9)), symbol, type=type_, time_in_force=force, **prices[type_])
            venue.submit(body, now)
        elif kind in ("cancel", "replace"):
            for key in list(venue.tickets)[values[0] : values[0] + 1]:
                if kind == "cancel":
                    venue.cancel(key, now)
                elif venue.tickets[key].status in ("new", "partially_filled"):
                    venue.replace(key, {"qty": str(Decimal(values[1]).scaleb(-9))}, now)
        else:
            rows = []
            for symbol, move in zip(SYMBOLS, values[:2], strict=True):
                opened = venue.mark(symbol)
                closed = opened * (1 + move / 10_000)
                width = opened * values[2] / 10_000
                rows.append((opened, max(opened, closed) + width, min(opened, closed) - width, closed))
            bars.append(minute(len(bars), *rows))
            venue.match(bars[-1], now)
    return bars


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves, rules)
def test_books_balance_whatever_is_ordered(steps: list, terms: dict) -> None:
    venue = exchange(**terms)
    play(steps, venue)
    asked = sum(call.verb != "cancel" for call in venue.calls)
    assert venue.submitted == asked == len(venue.tickets) + venue.refused
    books = venue.portfolio
    assert (books.lots >= 0).all()
    assert books.cash >= 0
    assert venue.cash == Decimal(100_000) + sum(
        (Decimal(int(fill.cash_change)) * Decimal("0.000001") for fill in venue.fills), Decimal(0)
    )
    for symbol in SYMBOLS:
        assert venue.position(symbol).lots == books.held(symbol)
        assert 0 <= venue.available(symbol) <= venue.coins(symbol, books.held(symbol))
    assert {key for key, ticket in venue.tickets.items() if ticket.is_open} == set(venue.matcher.open)
    assert [u.ticket.id for u in venue.updates if u.event == "new"] == list(venue.tickets)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves, rules)
def test_every_order_ends_once_and_its_parts_add_up(steps: list, terms: dict) -> None:
    venue = exchange(**terms)
    play(steps, venue)
    told = {key: [u for u in venue.updates if u.ticket.id == key] for key in venue.tickets}
    for key, ticket in venue.tickets.items():
        ends = [update.event for update in told[key] if update.event in ENDS]
        assert len(ends) == (0 if ticket.is_open else 1)
        assert ticket.filled <= ticket.order.lots
        assert (ticket.left == 0) == (ticket.status == "filled")
        assert list(ticket.fills) == [fill for fill in venue.fills if fill.order_id == key]
        parts = [update for update in told[key] if update.event in ("partial_fill", "fill")]
        assert [update.fill for update in parts] == list(ticket.fills)
        assert [update.ticket.filled for update in parts] == list(np.cumsum([fill.lots for fill in ticket.fills]))
        assert all((update.event == "fill") == (update.ticket.left == 0) for update in parts)
        if ticket.replaced_by:
            assert venue.tickets[ticket.replaced_by].replaces == key
    assert len({fill.execution_id for fill in venue.fills}) == len(venue.fills)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves, st.sampled_from((math.inf, 0.3)), st.sampled_from((0, 60, 90)))
def test_without_parts_of_its_own_the_sandbox_fills_what_the_matcher_fills(
    steps: list, participation: float, seconds: int
) -> None:
    steps = [step for step in steps if step[0] in ("submit", "bar")]
    terms = {"participation": participation, "latency": timedelta(seconds=seconds)}
    venue = exchange(**terms)
    bars = play(steps, venue)
    matcher, fills = Matcher(venue.venue, Portfolio(SYMBOLS, venue.venue, 100_000.0)), []
    waiting = list(venue.tickets.values())
    for bar in bars:
        opened = bar.time - MINUTE
        while waiting and waiting[0].submitted <= opened:
            ticket = waiting.pop(0)
            assert matcher.submit(ticket.order, 100 / (ticket.order.lots * 1e-9)) is None
        fills += [one for one in matcher.match(bar, opened) if isinstance(one, Fill)]
    assert fills == venue.fills


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves, rules)
def test_replaying_the_fills_gives_the_same_books(steps: list, terms: dict) -> None:
    venue = exchange(**terms)
    play(steps, venue)
    again = Portfolio(SYMBOLS, venue.venue, 100_000.0)
    for fill in venue.fills:
        assert again.apply(fill)
    assert again.cash == venue.portfolio.cash
    assert (again.lots == venue.portfolio.lots).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves, rules)
def test_the_same_steps_give_the_same_updates(steps: list, terms: dict) -> None:
    first, second = exchange(**terms), exchange(**terms)
    play(steps, first)
    play(steps, second)
    assert first.updates == second.updates


def test_a_market_buy_fills_at_the_open_and_pays_its_fee_in_coins() -> None:
    venue = exchange()
    ticket = venue.submit(order(qty="0.1"), 0)
    assert isinstance(ticket, Ticket)
    venue.match(minute(0, (50_100.0, 50_200.0, 49_900.0, 50_000.0)), 0)
    (fill,) = venue.fills
    assert (fill.price, fill.time, fill.liquidity) == (50_100.0, 0, "taker")
    assert venue.coins("BTC/USD", venue.portfolio.held("BTC/USD")) == Decimal("0.09975")
    assert venue.cash == Decimal("94990")
    assert venue.position("BTC/USD").price == 50_100.0
    assert [update.event for update in venue.updates] == ["new", "fill"]
    assert venue.updates[-1].position == Decimal("0.09975")


def test_a_resting_limit_order_fills_at_its_limit_and_pays_as_maker() -> None:
    venue = exchange()
    venue.submit(order(qty="0.1", type="limit", limit_price="49000"), 0)
    venue.match(minute(0, (50_000.0, 50_000.0, 49_000.0, 49_500.0)), 0)
    assert not venue.fills
    venue.match(minute(1, (49_500.0, 49_500.0, 48_999.0, 49_500.0)), MINUTE)
    (fill,) = venue.fills
    assert (fill.price, fill.time, fill.liquidity) == (49_000.0, 2 * MINUTE, "maker")
    assert venue.coins("BTC/USD", fill.lots_change) == Decimal("0.09985")


def test_an_order_that_arrives_inside_a_bar_waits_for_the_next_open() -> None:
    venue = exchange()
    venue.submit(order(qty="0.1"), MINUTE // 2)
    venue.match(flat(0), 0)
    assert not venue.fills
    venue.match(flat(1, 51_000.0), MINUTE)
    assert venue.fills[0].price == 51_000.0


def test_an_ioc_limit_that_does_not_fill_is_canceled() -> None:
    venue = exchange()
    ticket = venue.submit(order(type="limit", limit_price="100", time_in_force="ioc"), 0)
    venue.match(flat(0), 0)
    assert isinstance(ticket, Ticket)
    assert venue.tickets[ticket.id].status == "canceled"
    assert venue.buying_power == venue.cash


def test_a_buy_that_the_cash_no_longer_covers_at_the_open_is_rejected() -> None:
    venue = exchange(cash=10_000.0)
    ticket = venue.submit(order(qty="0.195"), 0)
    assert isinstance(ticket, Ticket)
    venue.match(minute(0, (60_000.0,) * 4), 0)
    assert venue.tickets[ticket.id].status == "rejected"
    assert not venue.fills
    assert venue.cash == 10_000


def test_a_position_is_averaged_over_buys_and_gone_after_the_last_sell() -> None:
    venue = exchange(maker_bps=0.0, taker_bps=0.0)
    venue.submit(order(qty="0.1"), 0)
    venue.match(flat(0, 50_000.0), 0)
    venue.submit(order(qty="0.3"), MINUTE)
    venue.match(flat(1, 54_000.0), MINUTE)
    assert venue.position("BTC/USD").price == pytest.approx(53_000.0)
    venue.close_position("BTC/USD", 2 * MINUTE)
    venue.match(flat(2, 54_000.0), 2 * MINUTE)
    assert venue.position("BTC/USD").lots == 0
    assert venue.cash == Decimal("100400")


def test_a_resting_sell_holds_its_coins_back() -> None:
    venue = exchange(maker_bps=0.0, taker_bps=0.0)
    venue.submit(order(qty="1"), 0)
    venue.match(flat(0), 0)
    venue.submit(order("sell", "0.7", type="limit", limit_price="90000"), MINUTE)
    refused = venue.submit(order("sell", "0.5"), MINUTE)
    assert isinstance(refused, Refusal)
    assert refused.message == "insufficient balance for BTC (requested: 0.5, available: 0.3)"
    assert dict(refused.details) == {"available": "0.3", "balance": "1", "symbol": "BTC"}


def test_a_notional_order_becomes_the_quantity_it_buys_at_the_last_price() -> None:
    venue = exchange()
    ticket = venue.submit(order(qty=None, notional="1000.01"), 0)
    assert isinstance(ticket, Ticket)
    assert venue.coins("BTC/USD", ticket.order.lots) == Decimal("0.0200002")


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (order("sell", "0.1"), 403, 40310000, "insufficient balance for BTC (requested: 0.1, available: 0)"),
        (order(qty="3"), 403, 40310000, "insufficient balance for USD (requested: 153750, available: 100000)"),
        (order(qty="0.0001"), 403, 40310000, "cost basis must be >= minimal amount of order 10"),
        (order(qty="5"), 422, 42210000, "order value must be <= maximal amount of order 200000"),
        (order(time_in_force="day"), 422, 42210000, "invalid crypto time_in_force"),
        (order(time_in_force="fok"), 422, 42210000, "invalid crypto time_in_force"),
        (order(type="stop"), 422, 42210000, "invalid order type for crypto order"),
        (order(type="trailing_stop"), 422, 42210000, "invalid order type for crypto order"),
        (order(order_class="bracket"), 422, 42210000, "order_class bracket is not offered for crypto orders"),
        (order(symbol="FOO/USD"), 422, 42210000, 'asset "FOO/USD" not found'),
        (order(qty="0.0123456789"), 422, 42210000, "qty must be a multiple of 0.000000001"),
        (order(qty=None, notional="10.001"), 422, 42210000, "notional value must be limited to 2 decimal places"),
        (order(type="limit", limit_price="1.001"), 422, 42210000, "limit_price must be a multiple of 0.01"),
        (order(type="limit"), 422, 40010001, "limit orders require a limit price"),
        (order(limit_price="1"), 422, 40010001, "market orders take no price"),
        (order(notional="10"), 422, 40010001, "exactly one of qty or notional is accepted, not both"),
        (order(qty=None), 422, 40010001, "exactly one of qty or notional is required"),
        (order(qty="-1"), 422, 40010001, "qty must be a positive number, found -1"),
        (order(qty="NaN"), 422, 40010001, "qty must be a positive number, found NaN"),
        (order(side="hold"), 422, 40010001, "side must be buy or sell, found hold"),
        (order(client_order_id="x" * 129), 422, 40010001, "client_order_id must be no more than 128 characters"),
    ],
)
def test_a_bad_order_is_refused_in_alpacas_words(body: dict, status: int, code: int, message: str) -> None:
    venue = exchange()
    refused = venue.submit(body, 0)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code, refused.message) == (status, code, message)
    assert not venue.tickets
    assert not venue.updates


def test_a_number_with_an_exponent_is_read_exactly() -> None:
    ticket = exchange().submit(order(qty=2.5e-4), 0)
    assert isinstance(ticket, Ticket)
    assert ticket.request.quantity == Decimal("0.00025")


def test_a_client_order_id_is_taken_once() -> None:
    venue = exchange()
    first = venue.submit(order(qty="0.1", client_order_id="mine"), 0)
    again = venue.submit(order(qty="0.1", client_order_id="mine"), 0)
    assert isinstance(first, Ticket)
    assert venue.find("mine") == first
    assert isinstance(again, Refusal)
    assert (again.status, again.code, again.message) == (422, 40010001, "client_order_id must be unique")


def test_canceling_tells_unknown_from_already_filled() -> None:
    venue = exchange()
    ticket = venue.submit(order(qty="0.1"), 0)
    venue.match(flat(0), 0)
    assert isinstance(ticket, Ticket)
    late, unknown = venue.cancel(ticket.id, MINUTE), venue.cancel("none", MINUTE)
    assert isinstance(late, Refusal)
    assert isinstance(unknown, Refusal)
    assert (late.status, late.code, late.message) == (422, 42210000, 'order is already in "filled" state')
    assert (unknown.status, unknown.code) == (404, 40410000)


def test_an_order_above_the_venues_share_of_a_bar_fills_in_parts() -> None:
    venue = exchange(participation=0.5, maker_bps=0.0, taker_bps=0.0)
    ticket = venue.submit(order(qty="1.2"), 0)
    assert isinstance(ticket, Ticket)
    assert venue.buying_power == Decimal(100_000) - Decimal("1.2") * 51_250
    venue.match(flat(0, 50_000.0), 0)
    part = venue.tickets[ticket.id]
    assert (part.status, venue.coins("BTC/USD", part.filled), part.average_price) == (
        "partially_filled",
        Decimal("0.5"),
        50_000,
    )
    assert venue.buying_power == Decimal(75_000) - Decimal("0.7") * 51_250
    venue.match(flat(1, 53_000.0), MINUTE)
    venue.match(flat(2, 50_000.0), 2 * MINUTE)
    done = venue.tickets[ticket.id]
    assert (done.status, done.average_price) == ("filled", Decimal("51250"))
    assert [update.event for update in venue.updates] == ["new", "partial_fill", "partial_fill", "fill"]
    assert [update.position for update in venue.updates] == [0, Decimal("0.5"), 1, Decimal("1.2")]
    assert venue.buying_power == venue.cash == Decimal(100_000 - 25_000 - 26_500 - 10_000)


def test_an_ioc_order_keeps_its_first_part_and_loses_the_rest() -> None:
    for rules in ({"participation": 0.5}, {"portion": Portion(7, 1.0)}):
        venue = exchange(**rules)
        ticket = venue.submit(order(qty="1.2", time_in_force="ioc"), 0)
        assert isinstance(ticket, Ticket)
        venue.match(flat(0), 0)
        done = venue.tickets[ticket.id]
        assert done.status == "canceled"
        assert 0 < done.filled < done.order.lots
        assert [update.event for update in venue.updates] == ["new", "partial_fill", "canceled"]
        assert venue.buying_power == venue.cash


def test_the_share_of_orders_in_two_parts_is_the_one_that_was_asked_for() -> None:
    portion = Portion(7, 0.1)
    parts = [portion.first(f"order {number}", 1000.0) for number in range(5_000)]
    split = [part for part in parts if part]
    assert len(split) == pytest.approx(500, abs=75)
    assert 100 <= min(split) <= 130
    assert 870 <= max(split) <= 900
    assert portion.first("order", 1.0) == 0
    assert Portion(7).first("order", 1000.0) == 0
    with pytest.raises(ValueError, match="fraction from 0 to 1"):
        Portion(7, 1.5)


def test_a_resting_order_is_not_marketable_and_fills_in_one() -> None:
    venue = exchange(portion=Portion(7, 1.0))
    resting = venue.submit(order(qty="0.1", type="limit", limit_price="49000"), 0)
    crossing = venue.submit(order(qty="0.1", type="limit", limit_price="50000"), 0)
    assert isinstance(resting, Ticket)
    assert isinstance(crossing, Ticket)
    venue.match(minute(0, (50_000.0, 50_000.0, 48_000.0, 49_500.0)), 0)
    assert venue.tickets[resting.id].status == "filled"
    assert venue.tickets[crossing.id].status == "partially_filled"
    venue.match(flat(1, 49_000.0), MINUTE)
    assert len(venue.tickets[crossing.id].fills) == 2


def test_bars_are_faster_than_an_order_with_latency() -> None:
    venue = exchange(latency=timedelta(seconds=61))
    ticket = venue.submit(order(qty="0.1"), 0)
    assert isinstance(ticket, Ticket)
    for index, price in enumerate((50_000.0, 51_000.0, 52_000.0)):
        venue.match(flat(index, price), index * MINUTE)
    assert [fill.price for fill in venue.fills] == [52_000.0]


def test_a_fill_may_be_faster_than_a_cancel() -> None:
    venue = exchange(latency=timedelta(seconds=61))
    tickets = [venue.submit(order(qty="0.1", type="limit", limit_price=price), 0) for price in ("49000", "40000")]
    keys = [ticket.id for ticket in tickets if isinstance(ticket, Ticket)]
    for key in keys:
        venue.cancel(key, 90 * MINUTE // 60)
        assert venue.tickets[key].status == "pending_cancel"
        assert isinstance(venue.cancel(key, 2 * MINUTE), Refusal)
    venue.match(minute(2, (48_000.0,) * 4), 2 * MINUTE)
    venue.match(minute(3, (48_000.0,) * 4), 3 * MINUTE)
    assert [venue.tickets[key].status for key in keys] == ["filled", "canceled"]
    events = [update.event for update in venue.updates if update.ticket.id == keys[0]]
    assert events == ["new", "pending_cancel", "fill", "order_cancel_rejected"]


def test_a_stop_limit_order_waits_for_its_stop() -> None:
    venue = exchange(maker_bps=0.0, taker_bps=0.0)
    venue.submit(order(qty="0.1"), 0)
    venue.match(flat(0), 0)
    stop = {"type": "stop_limit", "stop_price": "49000", "limit_price": "48900"}
    ticket = venue.submit(order("sell", "0.1", **stop), MINUTE)
    assert isinstance(ticket, Ticket)
    assert venue.available("BTC/USD") == 0
    venue.match(flat(1, 49_500.0), MINUTE)
    assert venue.tickets[ticket.id].status == "new"
    venue.match(minute(2, (49_500.0, 49_500.0, 48_950.0, 48_960.0)), 2 * MINUTE)
    assert venue.tickets[ticket.id].status == "filled"
    assert venue.fills[-1].price == 49_000.0


def test_a_replacement_takes_the_place_and_what_was_held_back() -> None:
    venue = exchange()
    first = venue.submit(order(qty="1.9", type="limit", limit_price="40000", client_order_id="a"), 0)
    assert isinstance(first, Ticket)
    second = venue.replace(first.id, {"limit_price": 45_000.5, "client_order_id": "b"}, MINUTE)
    assert isinstance(second, Ticket)
    assert (second.replaces, venue.tickets[first.id].replaced_by) == (first.id, second.id)
    assert (venue.tickets[first.id].status, venue.tickets[second.id].status) == ("replaced", "new")
    assert (second.request.quantity, second.request.limit_price) == (Decimal("1.9"), Decimal("45000.5"))
    assert [update.event for update in venue.updates] == ["new", "replaced", "new"]
    assert venue.buying_power == Decimal(100_000) - Decimal("1.9") * Decimal("45000.5")
    assert list(venue.matcher.open) == [second.id]


def test_a_part_that_was_filled_is_not_asked_for_again() -> None:
    venue = exchange(participation=0.5, maker_bps=0.0, taker_bps=0.0)
    first = venue.submit(order(qty="1.2", type="limit", limit_price="50000"), 0)
    venue.match(flat(0), 0)
    assert isinstance(first, Ticket)
    second = venue.replace(first.id, {"limit_price": 49_000}, MINUTE)
    assert isinstance(second, Ticket)
    assert second.request.quantity == Decimal("0.7")


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({}, 422, "a replacement changes at least one of"),
        ({"trail": 3, "qty": 1}, 422, "can be replaced"),
        ({"qty": 0.0001}, 403, "cost basis must be >= minimal amount of order 10"),
        ({"qty": 3}, 403, "insufficient balance for USD"),
        ({"limit_price": 1.001}, 422, "limit_price must be a multiple of 0.01"),
        ({"stop_price": 40_000}, 422, "limit orders take no stop price"),
        ({"time_in_force": "day"}, 422, "invalid crypto time_in_force"),
        ({"client_order_id": "a", "qty": 1}, 422, "client_order_id must be unique"),
    ],
)
def test_a_bad_replacement_leaves_the_order_as_it_is(changes: dict, status: int, message: str) -> None:
    venue = exchange()
    first = venue.submit(order(qty="0.5", type="limit", limit_price="40000", client_order_id="a"), 0)
    assert isinstance(first, Ticket)
    refused = venue.replace(first.id, changes, MINUTE)
    assert isinstance(refused, Refusal)
    assert refused.status == status
    assert message in refused.message
    assert venue.tickets == {first.id: first}
    assert list(venue.matcher.open) == [first.id]


def test_an_order_that_is_not_open_cannot_be_replaced() -> None:
    venue = exchange()
    filled = venue.submit(order(qty="0.1"), 0)
    venue.match(flat(0), 0)
    assert isinstance(filled, Ticket)
    refused, unknown = venue.replace(filled.id, {"qty": 1}, MINUTE), venue.replace("none", {"qty": 1}, MINUTE)
    assert isinstance(refused, Refusal)
    assert isinstance(unknown, Refusal)
    assert (refused.status, refused.message) == (422, 'order is already in "filled" state')
    assert unknown.status == 404


def test_a_fill_may_be_faster_than_a_replacement_which_is_then_rejected() -> None:
    venue = exchange(latency=timedelta(seconds=61))
    first = venue.submit(order(qty="1", type="limit", limit_price="49000"), 0)
    assert isinstance(first, Ticket)
    second = venue.replace(first.id, {"limit_price": 48_000}, 90 * MINUTE // 60)
    assert isinstance(second, Ticket)
    assert venue.buying_power == Decimal(51_000)
    assert isinstance(venue.replace(second.id, {"limit_price": 47_000}, 90 * MINUTE // 60), Refusal)
    venue.match(flat(2, 48_500.0), 2 * MINUTE)
    venue.match(flat(3, 48_500.0), 3 * MINUTE)
    assert [ticket.status for ticket in venue.tickets.values()] == ["filled", "rejected"]
    assert [update.event for update in venue.updates] == [
        "new",
        "pending_replace",
        "new",
        "fill",
        "order_replace_rejected",
        "rejected",
    ]
