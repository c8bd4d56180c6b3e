"""The audit: one question at a time, and only what is found twice in a row counts."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from cryptoquant.live.audit import Audit, Finding
from cryptoquant.live.dispatcher import Standing
from cryptoquant.live.doubt import CASH, Doubt


@pytest.fixture
def asked():
    """The questions that were sent."""
    return []


@pytest.fixture
def truth(traded):
    """What the venue holds, as the books have it."""
    book = traded.desk.engine.portfolio
    held = {symbol: traded.desk.engine.venue.instrument(symbol).quantity(book.held(symbol)) for symbol in book.symbols}
    return Standing(held, Decimal(repr(book.cash_value)))


@pytest.fixture
def traded(hire):
    """A trader that has traded a day and stopped."""
    trader = hire()
    trader.run(until=timedelta(hours=24, minutes=5))
    return trader


@pytest.fixture
def audit(traded, asked):
    floor = traded.floor
    late = traded.clock.now() + 2 * 86_400 * 10**9
    return Audit(floor.account, floor.desks, lambda: asked.append("what do you hold?"), lambda: late)


def test_a_question_waits_for_the_answer_to_the_one_before(audit, asked, truth):
    audit.ask()
    audit.ask()
    audit.ask()
    assert len(asked) == 1
    assert audit.take(truth) == Finding(fees=[])
    assert len(asked) == 2
    audit.take(truth)
    assert len(asked) == 2


def test_a_question_without_an_answer_does_not_hinder_the_next_one(audit, asked):
    audit.ask()
    audit.ask()
    audit.fail()
    audit.ask()
    assert len(asked) == 2


def test_a_difference_counts_once_it_is_found_twice_in_a_row(audit, asked, truth):
    wrong = replace(truth, cash=truth.cash - 100)
    audit.ask()
    assert audit.take(wrong) == Finding()
    assert len(asked) == 2  # it is asked again at once
    assert "cash: our books hold" in audit.take(wrong).difference


def test_a_difference_that_is_gone_at_the_second_look_is_none(audit, asked, truth):
    wrong = replace(truth, cash=truth.cash - 100)
    audit.ask()
    for answer in (wrong, truth, wrong, truth):
        assert audit.take(answer).difference == ""
        audit.ask()


def test_an_answer_that_the_books_have_overtaken_neither_confirms_nor_lifts_a_doubt(audit, asked, traded, truth):
    wrong = replace(truth, cash=truth.cash - 100)
    audit.ask()
    audit.take(wrong)
    for overtaken in (wrong, truth):
        audit.moved()
        assert audit.take(overtaken) == Finding()
        audit.ask()
    assert audit.take(wrong).difference != ""


def test_fees_in_doubt_are_found_by_an_answer_that_nothing_has_overtaken(audit, traded, truth):
    traded.floor.account.doubts = {"main": Doubt({CASH: 3.0})}
    taken = replace(truth, cash=truth.cash - 2)
    audit.ask()
    audit.moved()
    assert audit.take(taken) == Finding()
    audit.ask()
    ((desk, fee),) = audit.take(taken).fees
    assert (desk.name, fee.cash_change) == ("main", pytest.approx(-2e6, abs=1.0))


def test_a_doubt_that_is_settled_by_an_equal_answer_is_told_once(audit, traded, truth):
    traded.floor.account.doubts = {"main": Doubt({CASH: 3.0})}
    audit.ask()
    found = audit.take(truth)
    assert (found.fees, found.settled) == ([], {"doubts": {}, "paid": {}})
    audit.ask()
    assert audit.take(truth).settled is None
