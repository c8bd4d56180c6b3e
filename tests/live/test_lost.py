"""Answers of the venue that got lost: what they were about is asked again soon, and sent once."""

import contextlib
from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import VenueUnreachableError
from cryptoquant.live import shift
from cryptoquant.live.dispatcher import Answer
from cryptoquant.live.trader import Trader
from cryptoquant.market.time import from_iso
from cryptoquant.trading.order import Order
from tests.live.test_outages import HOUR_NS, protected, wait_for


@pytest.mark.parametrize("is_killed", [False, True])
def test_in_lockstep_what_the_venue_failed_on_is_sent_again_before_time_moves(hire, sandbox, monkeypatch, is_killed):
    class Crash(BaseException):
        pass

    trader = hire().open()
    asked = trader.floor.dispatcher.ask

    def fail(task, order=None, *, reduces=False):
        if task == "send":
            sandbox.inject(Fault("http.error", method="POST", path="/v2/orders", count=2))
            monkeypatch.undo()
            if is_killed:
                raise Crash
        asked(task, order, reduces=reduces)

    monkeypatch.setattr(trader.floor.dispatcher, "ask", fail)
    with contextlib.suppress(Crash):
        trader.run(until=timedelta(hours=24))
    if is_killed:
        trader = hire()
        trader.run(until=timedelta(hours=1))
    first = min(trader.desk.orders.values(), key=lambda order: order.time)
    told = trader.connection.trading().get("/orders:by_client_order_id", {"client_order_id": first.id})
    assert from_iso(told["submitted_at"]) == first.time
    assert [fault["fired"] for fault in sandbox.faults()] == [2]


def test_what_the_venue_failed_on_is_asked_about_before_the_next_poll(hire, bundle, monkeypatch):
    monkeypatch.setattr(shift, "POLL_EVERY_SECONDS", 3_600.0)
    days = {"days": 15, "history": timedelta(days=10)}
    fault = Fault("http.error", method="POST", path="/v2/orders", count=4)  # both orders of the first slice, twice
    with Sandbox(11, bundle.symbols, speed=600.0, faults=[fault], **days) as venue:
        trader = hire(connection=venue.alpaca()).start()
        wait_for(lambda: len(venue._exchange.tickets) >= 2)
        assert [one["fired"] for one in venue.faults()] == [4]
        trader.stop()


def test_an_order_that_ended_after_its_answer_was_lost_is_not_asked_about_for_ever(hire):
    trader = hire().open()
    gone = Order("gone", "main", "BTC/USD", "buy", 1e9, 1)
    trader.floor.on_answer(Answer("send", gone, trouble=VenueUnreachableError("no answer")))
    assert trader.floor.lost == {"gone"}
    trader.shift.look()
    trader.shift._settle()
    assert not trader.floor.lost
    trader.stop()


def test_a_cancel_that_was_lost_on_the_way_is_asked_for_again(bundle, sandbox, tmp_path, monkeypatch):
    lives = protected(bundle, limit_bps=100.0, life=timedelta(minutes=5))
    trader = Trader(lives, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    ask, lost = trader.floor.dispatcher.ask, []

    def forgetful(task, order=None, *, reduces=False):
        if task == "cancel":
            lost.append(order.id)
            trader.floor.unanswered.discard(order.id)
        else:
            ask(task, order, reduces=reduces)

    monkeypatch.setattr(trader.floor.dispatcher, "ask", forgetful)
    while not lost:
        assert trader.state != "stopped"
        trader.shift.run(trader.clock.now() + 60 * HOUR_NS // 60, lambda: "")
    trader.stop()
    second = Trader(lives, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    second.run(until=timedelta(minutes=1))
    states = {o["client_order_id"]: o["status"] for o in sandbox.alpaca().trading().get("/orders", {"status": "all"})}
    assert states[lost[0]] == "canceled"
    assert lost[0] not in second.desk.engine.in_flight
