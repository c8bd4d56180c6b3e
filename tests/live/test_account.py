"""The account against the venue: what may differ, what may not, and fees that nobody told."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from cryptoquant.live.account import Account
from cryptoquant.live.dispatcher import Standing
from cryptoquant.live.doubt import CASH, Doubt
from cryptoquant.live.journal import Entry
from cryptoquant.live.replay import replay
from cryptoquant.trading.order import Order


@pytest.fixture
def traded(hire):
    """A trader that has traded a day and stopped, and what its account holds."""
    trader = hire()
    trader.run(until=timedelta(hours=24, minutes=5))
    book = trader.desk.engine.portfolio
    held = {symbol: trader.desk.engine.venue.instrument(symbol).quantity(book.held(symbol)) for symbol in book.symbols}
    return trader, Standing(held, Decimal(repr(book.cash_value)))


def test_the_same_is_no_difference_and_more_than_the_steps_is_one(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    late = trader.clock.now() + 2 * 86_400 * 10**9
    assert account.fills == trader.desk.fills > 0
    step = Decimal("0.000000001") * trader.desk.fills
    assert account.difference(desks, truth, late) == ""
    for by, differs in ((step, False), (step + Decimal("1e-9"), True)):
        for sign in (1, -1):
            moved = {**truth.positions, "BTC/USD": truth.positions["BTC/USD"] + sign * by}
            assert bool(account.difference(desks, replace(truth, positions=moved), late)) is differs
    cents = Decimal("0.01") * trader.desk.fills
    assert account.difference(desks, replace(truth, cash=truth.cash + cents * Decimal("0.99")), late) == ""
    assert "cash: our books hold" in account.difference(desks, replace(truth, cash=truth.cash + 2 * cents), late)


def test_fees_of_the_day_that_are_not_posted_yet_are_no_difference(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    last = replay(trader.journal_path).fills[-1]
    pending = account.pending(last.time)
    instrument = trader.desk.engine.venue.instrument(last.symbol)
    gross = dict(truth.positions)
    for symbol, lots in pending.lots.items():
        gross[symbol] += instrument.quantity(lots)
    posted_later = Standing(gross, truth.cash + Decimal(repr(pending.cash)))
    assert pending.cash > 0.0 or pending.lots
    assert account.difference(desks, posted_later, last.time) == ""
    assert account.difference(desks, posted_later, last.time + 2 * 86_400 * 10**9) != ""


def test_a_fee_in_doubt_is_booked_as_far_as_the_venue_took_it_and_then_no_doubt_is_left(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    account.doubts = {"main": Doubt({"BTC/USD": 5_000.0, CASH: 3.0})}
    taken = Standing({**truth.positions, "BTC/USD": truth.positions["BTC/USD"] - Decimal("0.000004")}, truth.cash - 2)
    assert account.difference(desks, taken, 0) == ""
    coins, cash = account.resolved(desks, taken, 7)
    assert (coins[1].symbol, coins[1].lots_change, coins[1].cash_change) == ("BTC/USD", -4_000.0, 0.0)
    assert (cash[1].symbol, cash[1].lots_change) == ("", 0.0)
    assert cash[1].cash_change == pytest.approx(-2e6, abs=1.0)
    assert account.resolved(desks, taken, 8) == []


def test_while_the_venue_has_still_to_post_fees_the_doubt_stands(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    account.doubts = {"main": Doubt({"BTC/USD": 5_000.0, CASH: 3.0})}
    gross = Standing({**truth.positions, "BTC/USD": truth.positions["BTC/USD"] + 1}, truth.cash + 100)
    assert account.resolved(desks, gross, 7) == []
    assert account.doubts["main"] == Doubt({"BTC/USD": 5_000.0, CASH: 3.0})


def test_an_order_in_flight_hides_its_own_symbol_and_cash_as_far_as_it_moves_it_and_nothing_else(traded):
    trader, truth = traded
    account, desks, engine = Account(trader.floor.account.spare), trader.floor.desks.values(), trader.desk.engine
    late = trader.clock.now() + 2 * 86_400 * 10**9
    engine.working.add(Order("one", "main", "BTC/USD", "buy", 1e6, 1, "limit", limit_price=40_000.0))
    moved = {**truth.positions, "BTC/USD": truth.positions["BTC/USD"] + 1}
    assert account.difference(desks, Standing(moved, truth.cash - 40), late) == ""
    assert "cash: our books hold" in account.difference(desks, Standing(moved, truth.cash - 41), late)
    assert "cash: our books hold" in account.difference(desks, Standing(moved, truth.cash + 1), late)
    foreign = {**truth.positions, "ETH/USD": truth.positions["ETH/USD"] + 5}
    assert "ETH/USD: our books hold" in account.difference(desks, Standing(foreign, truth.cash), late)


def test_a_doubt_of_a_symbol_is_settled_while_another_symbol_has_an_order_in_flight(traded):
    trader, truth = traded
    account, desks, engine = trader.floor.account, trader.floor.desks.values(), trader.desk.engine
    account.doubts = {"main": Doubt({"BTC/USD": 5_000.0, "ETH/USD": 5_000.0, CASH: 3.0}), "gone": Doubt({"X/USD": 1.0})}
    engine.working.add(Order("one", "main", "ETH/USD", "buy", 1e6, 1, "limit", limit_price=2_000.0))
    taken = {symbol: held - Decimal("0.000004") for symbol, held in truth.positions.items()}
    ((_, fee),) = account.resolved(desks, Standing(taken, truth.cash - 2), 7)
    assert (fee.symbol, fee.lots_change) == ("BTC/USD", -4_000.0)
    assert account.doubts["main"] == Doubt({"ETH/USD": 5_000.0, CASH: 3.0})


def test_cash_in_doubt_is_settled_while_an_order_rests_that_has_moved_no_coins(traded):
    trader, truth = traded
    account, desks, engine = trader.floor.account, trader.floor.desks.values(), trader.desk.engine
    engine.working.add(Order("one", "main", "ETH/USD", "buy", 1e6, 1, "limit", limit_price=2_000.0))
    account.doubts = {"main": Doubt({CASH: 3.0})}
    moved = {**truth.positions, "ETH/USD": truth.positions["ETH/USD"] + Decimal("0.0003")}
    assert account.resolved(desks, Standing(moved, truth.cash - 2), 7) == []
    account.doubts["main"].more["ETH/USD"] = 1.0  # a symbol in doubt may have moved by it
    assert account.resolved(desks, Standing(truth.positions, truth.cash - 2), 7) == []
    account.doubts = {"main": Doubt({CASH: 3.0})}
    ((_, fee),) = account.resolved(desks, Standing(truth.positions, truth.cash - 2), 7)
    assert fee.cash_change == pytest.approx(-2e6, abs=1.0)


def test_what_a_removed_profile_left_is_the_accounts(traded):
    trader, truth = traded
    account, book = Account(trader.floor.account.spare), trader.desk.engine.portfolio
    account.inherit(book)
    assert account.cash([]) == pytest.approx(float(truth.cash))
    assert account.held("BTC/USD", []) == book.held("BTC/USD")
    assert account.held("BTC/USD", [trader.desk]) == 2 * book.held("BTC/USD")


def test_a_fee_that_was_lower_than_booked_is_no_difference_and_is_booked_back(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    late = trader.clock.now() + 2 * 86_400 * 10**9
    more = Standing({**truth.positions, "BTC/USD": truth.positions["BTC/USD"] + Decimal("0.000004")}, truth.cash + 2)
    assert account.difference(desks, more, late) != ""
    account.doubts = {"main": Doubt(less={"BTC/USD": 5_000.0, CASH: 3.0})}
    assert account.difference(desks, more, late) == ""
    assert "cash: our books hold" in account.difference(desks, replace(more, cash=truth.cash + 4), late)
    coins, cash = account.resolved(desks, more, late)
    assert (coins[1].lots_change, coins[1].reason) == (4_000.0, "the venue took a maker's fee")
    assert cash[1].cash_change == pytest.approx(2e6, abs=1.0)
    assert account.settled["doubts"] == {}


def test_what_a_removed_profile_had_in_doubt_is_taken_from_what_no_profile_has(traded):
    trader, truth = traded
    account, desks = trader.floor.account, trader.floor.desks.values()
    spare = account.spare
    account.doubts = {"gone": Doubt({"BTC/USD": 5_000.0, CASH: 3.0})}
    taken = Standing({**truth.positions, "BTC/USD": truth.positions["BTC/USD"] - Decimal("0.000004")}, truth.cash - 2)
    assert account.difference(desks, taken, 0) == ""
    assert account.resolved(desks, taken, 7) == []
    assert (account.left["BTC/USD"], account.spare) == (-4_000.0, pytest.approx(spare - 2.0))
    assert account.difference(desks, replace(taken, cash=taken.cash - 1), 0) != ""
    again = Account(spare)
    again.recall([Entry(1, "settled", "", "settled:7", 7, json.dumps(account.settled).encode())], {})
    assert (again.left, again.spare, again.settled) == (account.left, account.spare, account.settled)
