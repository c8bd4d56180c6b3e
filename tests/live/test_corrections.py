"""Corrections of the venue, however late they come, leave the books as the venue has the order."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.live.corrections import Corrections
from cryptoquant.live.journal import read_journal
from cryptoquant.live.settlement import Booked, Settlement
from cryptoquant.live.trader import Trader
from cryptoquant.market.time import iso
from cryptoquant.trading.order import Adjustment, Fill, Order
from cryptoquant.trading.venue import Costs, Venue
from tests.live.conftest import PAIRS

LOT, START = Decimal("0.000000001"), 1_704_067_200 * 10**9
SETTLEMENT = Settlement(Venue.alpaca(Costs.alpaca(1)))
SENT = Order("cq-main-BTCUSD-1-0", "main", "BTC/USD", "buy", 1e9, 1)


@st.composite
def streams(draw):
    """Executions of an order, of which some are corrected or taken back, as a stream tells them, and in disorder."""
    parts: list[list[int]] = []
    words, is_cut = [], False
    for number in range(draw(st.integers(2, 8))):
        beside = {"event": "restated"}
        if not parts or draw(st.booleans()):
            lots, price = draw(st.integers(1, 10**6)), draw(st.integers(900, 1100))
            parts.append([lots, price])
            beside = {"event": "partial_fill", "qty": str(lots * LOT), "price": str(price)}
        else:
            cuts = draw(st.integers(0, 5)) == 0
            part = draw(st.sampled_from(parts))
            part[0 if cuts else 1], is_cut = draw(st.integers(900, 1100)), is_cut or cuts
        words.append(told(parts, number, beside))
    return words, draw(st.permutations(words)), is_cut


def told(parts, number, beside):
    lots = sum(part for part, _ in parts)
    mean = sum(part * price for part, price in parts) / lots
    moment = iso(START + number * 10**9)
    order = {"filled_qty": str(lots * LOT), "filled_avg_price": repr(mean), "status": "partially_filled"}
    return {**order, "updated_at": moment, **beside}


def after(booked, word, at=""):
    for fact in SETTLEMENT.outcomes(SENT, word, booked, at=at):
        assert isinstance(fact, Fill | Adjustment)
        booked = booked.after(fact)
    return booked


@given(streams())
def test_corrections_in_whatever_order_leave_the_books_as_the_venue_has_the_order(stream):
    words, heard, is_cut = stream
    now = {name: value for name, value in words[-1].items() if name not in ("event", "price", "qty")}
    corrections, booked = Corrections(), Booked()
    for word in heard:
        if SETTLEMENT.is_late(SENT, word, booked, word["updated_at"]):
            corrections.add(SENT)
            corrections.asked(SENT, booked)
        else:
            booked = after(booked, word, word["updated_at"])
    if is_asked := bool(corrections.orders):
        corrections.asked(SENT, booked)
        booked = after(booked, corrections.word(SENT, now, booked))
    if is_asked or not is_cut:  # a fill that comes behind what takes it back is known again at the order's end
        lots = float(Decimal(now["filled_qty"]) / LOT)
        assert (booked.lots, booked.value / lots) == (lots, pytest.approx(float(now["filled_avg_price"]), rel=1e-9))
    assert corrections.orders == []


@pytest.mark.parametrize(
    ("event", "lots", "second", "is_late"),
    [("restated", 99, 2, True), ("restated", 100, 1, True), ("restated", 100, 2, False), ("fill", 99, 1, False)],
)
def test_a_correction_is_late_that_tells_less_than_what_is_booked_or_is_no_newer(event, lots, second, is_late):
    booked = Booked(lots=100.0, value=1.0, time=START + 10**9)
    word = {"filled_qty": str(lots * LOT), "event": event}
    assert SETTLEMENT.is_late(SENT, word, booked, iso(START + second * 10**9)) is is_late


def test_an_answer_counts_only_when_nothing_was_booked_after_the_question():
    corrections, word = Corrections(), {"filled_qty": "0.5"}
    corrections.add(SENT)
    assert corrections.word(SENT, word, Booked()) is word  # this answer was on its way before
    corrections.asked(SENT, Booked())
    assert corrections.word(SENT, word, Booked(lots=1.0)) is word
    assert corrections.waits("main")
    corrections.asked(SENT, Booked(lots=1.0))
    assert corrections.word(SENT, word, Booked(lots=1.0))["event"] == "restated"
    assert not corrections.waits("main")
    assert corrections.word(SENT, word, Booked(lots=1.0)) is word


def test_a_correction_that_comes_behind_later_fills_does_not_undo_them(bundle, tmp_path):
    faults = [
        Fault("order.restate", count=2, factor=1.001),
        Fault("trading.late", event="restated", count=2, delay=timedelta(minutes=7)),
    ]
    place = tmp_path / "j.sqlite"
    with Sandbox(
        11, PAIRS, days=15, history=timedelta(days=10), lockstep=True, participation=0.1, faults=faults
    ) as venue:
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "store"), journal=place)
        trader.run(until=timedelta(hours=5, minutes=40))
        books, own = venue.account(), trader.desk.engine.portfolio
        assert own.lots.tolist() == pytest.approx(list(books.lots), abs=trader.desk.fills)
        assert own.cash_value == pytest.approx(books.cash * trader.desk.engine.venue.unit, abs=0.01 * trader.desk.fills)
    facts = [entry.fact() for entry in read_journal(place) if entry.kind in ("fill", "adjustment")]
    corrections = [fact for fact in facts if isinstance(fact, Adjustment)]
    assert len(corrections) == 2
    for one in corrections:
        before = [fact for fact in facts[: facts.index(one)] if isinstance(fact, Fill) and fact.order_id in one.id]
        assert len(before) > 1
    assert all(one.is_equal for one in trader.replays().values())
