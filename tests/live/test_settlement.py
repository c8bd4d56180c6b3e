"""What the venue says of an order, however often and in whatever order it is told, is booked once."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.live.settlement import Booked, Settlement, liquidity_of
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Order
from cryptoquant.trading.venue import Costs, Venue

LOT = Decimal("0.000000001")
SETTLEMENT = Settlement(Venue.alpaca(Costs.alpaca(1)))
SENT = Order("cq-main-BTCUSD-1-0", "main", "BTC/USD", "buy", 1e9, 1)


def told(lots: int, mean: float, status: str = "partially_filled", **more):
    return {
        "filled_qty": str(lots * LOT),
        "filled_avg_price": repr(mean) if lots else None,
        "status": status,
        "updated_at": "2024-01-01T00:00:00Z",
        **more,
    }


def book(words, order=SENT):
    """Book what a list of words adds; return the facts and what is booked then."""
    booked, facts = Booked(), []
    for word in words:
        for fact in SETTLEMENT.outcomes(order, word, booked):
            facts.append(fact)
            if isinstance(fact, Fill | Adjustment):
                booked = booked.after(fact)
    return facts, booked


@st.composite
def histories(draw):
    """Parts of an order as the stream tells them one by one, and then the words of stream and look-ups in disorder."""
    parts = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
    prices = [draw(st.integers(900, 1100)) for _ in parts]
    words, lots, value = [], 0, 0
    for part, price in zip(parts, prices, strict=True):
        lots, value = lots + part, value + part * price
        beside = {"event": "partial_fill", "qty": str(part * LOT), "price": str(price)}
        words.append(told(lots, value / lots, **(beside if draw(st.booleans()) else {})))
    repeated = [words[draw(st.integers(0, place))] for place in range(len(words)) if draw(st.booleans())]
    return lots, value, [*words, *repeated], words


@given(histories())
def test_repeated_and_late_words_change_nothing(history):
    lots, value, words, once = history
    facts, booked = book(words)
    assert all(isinstance(fact, Fill) for fact in facts)
    assert len({fact.execution_id for fact in facts}) == len(facts)
    assert booked.lots == lots
    assert booked.value == pytest.approx(value, rel=1e-12)
    assert book(once)[1] == booked


@given(histories())
def test_the_last_word_alone_books_the_same_lots_and_value(history):
    lots, value, _, once = history
    _, booked = book(once[-1:])
    assert booked.lots == lots
    assert booked.value == pytest.approx(value, rel=1e-12)


def test_a_look_up_between_two_parts_books_only_what_is_new():
    first, second = told(4 * 10**8, 100.0), told(7 * 10**8, 103.0, "canceled")
    facts, _ = book([first, second])
    assert [type(fact) for fact in facts] == [Fill, Fill, Cancellation]
    assert (facts[0].lots, facts[1].lots) == (4e8, 3e8)
    assert (facts[0].price, facts[1].price) == (100.0, pytest.approx(107.0))
    assert -(facts[0].cash_change + facts[1].cash_change) * 1e-6 == pytest.approx(0.7 * 103)


@given(st.integers(1, 10**9), st.integers(900, 1100), st.integers(0, 10**9), st.integers(900, 1100))
def test_a_correction_leaves_the_books_as_if_the_venue_had_said_so_at_once(lots, price, now, corrected):
    for side in ("buy", "sell"):
        order = Order("a", "main", "BTC/USD", side, 1e9, 1)
        words = [told(lots, float(price), "filled"), told(min(now, lots), float(corrected), "filled", event="restated")]
        _, booked = book(words, order)
        _, at_once = book(words[1:], order)
        assert (booked.lots, booked.value) == (at_once.lots, at_once.value)
        assert (booked.lots_change, booked.cash_change) == (at_once.lots_change, at_once.cash_change)


def test_an_older_word_is_no_correction():
    facts, booked = book([told(7 * 10**8, 103.0), told(4 * 10**8, 100.0)])
    assert len(facts) == 1
    assert booked.lots == 7e8


def test_a_mean_price_that_the_venue_rounds_is_no_correction():
    facts, _ = book([told(10**8, 0.000012345678), told(10**8, 0.000012345, "filled")])
    assert [type(fact) for fact in facts] == [Fill]


@pytest.mark.parametrize(
    ("side", "price", "told"), [("buy", 99.0, "taker"), ("buy", 100.0, "maker"), ("sell", 101.0, "taker")]
)
def test_a_limit_that_was_filled_at_a_better_price_took_what_was_there(side, price, told):
    limited = Order("cq-main-BTCUSD-1-0", "main", "BTC/USD", side, 1e9, 1, "limit", "gtc", 100.0)
    assert liquidity_of(limited, price) == told


def test_an_order_that_was_corrected_down_and_is_filled_again_is_booked_again_under_another_name():
    words = [
        told(100, 10.0),
        told(40, 10.0, event="restated"),
        told(100, 10.0),
        told(40, 10.0, event="restated"),
        told(100, 10.0),
    ]
    facts, booked = book(words)
    assert len({fact.execution_id if isinstance(fact, Fill) else fact.id for fact in facts}) == 5
    assert (booked.lots, booked.corrections) == (100.0, 2)
