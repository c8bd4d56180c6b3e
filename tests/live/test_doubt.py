"""Fees in doubt: what a venue may have charged otherwise lies within it, and a restart has the doubt that was left."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as part_of

from cryptoquant.data.store import Store
from cryptoquant.live.account import Account
from cryptoquant.live.doubt import CASH, Doubt
from cryptoquant.live.inbox import Request
from cryptoquant.live.journal import read_journal
from cryptoquant.live.profile import Profile
from cryptoquant.live.settlement import Booked, Settlement
from cryptoquant.live.trader import Trader
from cryptoquant.models.tabular import Line
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order
from cryptoquant.trading.resting import execute
from cryptoquant.trading.venue import Costs, Venue, increments

VENUE = Venue.alpaca(Costs.alpaca(tier=1), [increments("ETH/USD", "0.000000001", "0.01", "0.001")])
LOT = Decimal("0.000000001")


@given(
    side=st.sampled_from(["buy", "sell"]),
    parts=st.lists(st.tuples(st.integers(1, 10**10), st.integers(0, 300)), min_size=1, max_size=5),
)
def test_whatever_fee_each_part_of_an_order_paid_that_one_word_tells_lies_within_the_doubt(side, parts):
    order = Order("x", "main", "ETH/USD", side, 1e12, 0, "limit", limit_price=2000.0)
    lots = sum(part for part, _ in parts)
    prices = [2000.0 - order.sign * cents / 100 for _, cents in parts]
    mean = sum(part * price for (part, _), price in zip(parts, prices, strict=True)) / lots
    word = {
        "filled_qty": str(lots * LOT),
        "filled_avg_price": repr(mean),
        "status": "filled",
        "updated_at": "2024-01-01",
    }
    (booked,) = Settlement(VENUE).outcomes(order, word, Booked(), at="2024-01-01T00:00:00Z")
    doubt = Doubt()
    doubt.take(booked, order, VENUE)
    for at_limit in ("maker", "taker"):
        fills = [
            execute(part_of(order, lots=float(part)), price, 0, VENUE, at_limit if price == 2000.0 else "taker")
            for (part, _), price in zip(parts, prices, strict=True)
        ]
        coins = booked.lots_change - sum(fill.lots_change for fill in fills)
        cash = (booked.cash_change - sum(fill.cash_change for fill in fills)) * VENUE.unit
        for key, gap, step in (("ETH/USD", coins, 1.0), (CASH, cash, 0.01)):
            more, less = doubt.more.get(key, 0.0), doubt.less.get(key, 0.0)
            assert -less - step * len(parts) <= gap <= more + step * len(parts)


def test_an_order_that_cannot_rest_leaves_no_doubt():
    order = Order("x", "main", "ETH/USD", "sell", 1e9, 0, "limit", "ioc", 2000.0)
    doubt = Doubt()
    for taken in (order, part_of(order, type="market", limit_price=None, time_in_force="gtc")):
        doubt.take(execute(taken, 2000.0, 0, VENUE, "taker"), taken, VENUE)
    assert doubt == Doubt()


@pytest.fixture
def busy(bundle, sandbox, tmp_path, monkeypatch):
    """A maker of traders of two profiles, one with limit orders near the price, that compare all the time."""
    monkeypatch.setattr("cryptoquant.live.shift.POLL_EVERY_SECONDS", 0.0)
    near = replace(
        bundle, timeframe="5m", predictor=Line(np.array([300.0, 0.0]), 0.0), execution=Execution(limit_bps=1.0)
    )
    hired = []
    profiles = [Profile("a", bundle, capital=30_000.0), Profile("b", near, capital=60_000.0)]

    def make():
        journal = tmp_path / "j.sqlite"
        hired.append(Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=journal).open())
        return hired[-1]

    yield make
    for trader in hired:
        trader.stop()


def trade(trader, hours):
    for _ in trader.shift._steps(trader.clock.now() + int(hours * 3600 * 10**9)):
        pass


def compare(trader):
    trader.floor.audit.ask()
    trader.shift._settle()


def off(trader, cash):
    """Return what is found where the venue holds as much less cash."""
    standing = trader.broker.standing()
    return trader.floor.audit.difference(replace(standing, cash=standing.cash - Decimal(cash)))


def test_a_doubt_that_was_settled_does_not_come_back_with_a_restart(busy):
    trader = busy()
    trade(trader, 8)
    trader.operator.do(Request("close", "b", {}))
    trade(trader, 0.25)
    compare(trader)
    known = trader.replays()
    venue = trader.floor.desks["b"].engine.venue
    ever = Account()
    orders = {order.id: order for order in known["b"].orders}
    for fill in known["b"].fills:
        ever.take(fill, orders, venue)
    assert ever.doubts["b"].more[CASH] > 50.0
    assert trader.floor.account.settled["doubts"] == {}
    trader.stop()
    again = busy()
    assert again.floor.account.settled == trader.floor.account.settled
    assert "cash: our books hold" in off(again, 50)


def test_the_account_of_a_journal_is_the_one_that_ran_wherever_it_ended(busy):
    trader = busy()
    for _ in range(5):
        trade(trader, 1.7)
        account = Account(trader.floor.account.spare)
        account.recall(trader.journal.entries(), trader.replays())
        ran = trader.floor.account
        assert (account.settled, account.fills) == (ran.settled, ran.fills)
        assert account.pending(trader.clock.now()) == ran.pending(trader.clock.now())
    assert ran.fills > 5
    trader.stop()


def test_the_doubts_of_a_removed_profile_are_settled_and_a_restart_has_what_came_of_them(busy, monkeypatch):
    trader = busy()
    with monkeypatch.context() as patched:  # no answer comes between the last fill and the removal
        patched.setattr(trader.floor.audit, "ask", lambda: None)
        trade(trader, 8)
        trader.operator.do(Request("close", "b", {}))
        trade(trader, 0.25)
        trader.operator.remove("b")
    account = trader.floor.account
    assert account.settled["doubts"]["b"]["more"][CASH] > 10.0
    trade(trader, 0.25)
    compare(trader)
    assert "b" not in account.settled["doubts"]
    assert account.paid[CASH] > 1.0
    assert account.cash(trader.floor.desks.values()) == pytest.approx(float(trader.broker.standing().cash), abs=0.01)
    assert "cash: our books hold" in off(trader, 5)
    trader.stop()
    again = busy()
    assert again.floor.account.spare == pytest.approx(account.spare, abs=1e-6)
    assert (again.floor.account.left, again.floor.account.settled) == (account.left, account.settled)
    assert "cash: our books hold" in off(again, 5)


def test_a_journal_without_what_was_settled_has_no_doubt_older_than_the_fee_that_ended_it(busy):
    trader = busy()
    trade(trader, 8)
    trader.stop()
    rows = [entry for entry in read_journal(trader.journal_path) if entry.kind != "settled"]
    fees = [entry for entry in rows if entry.kind == "adjustment" and entry.id.startswith("adjustment:fee:b::")]
    account = Account()
    account.recall(rows[: rows.index(fees[-1]) + 1], trader.replays())
    assert CASH not in account.doubts["b"].more
