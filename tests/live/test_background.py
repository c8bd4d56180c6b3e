"""A trader in a thread of its own, as in a notebook, and the end of one that another thread runs."""

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import AuthenticationError, TradingError
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.trading.execution import Execution

SECONDS = 30.0


@pytest.fixture
def fast(bundle):
    """A venue on which a minute lasts a twentieth of a second."""
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=1_200) as venue:
        yield venue


@pytest.fixture
def quick(bundle, fast, tmp_path):
    """Return a maker of traders that decide every five minutes."""

    def make(**settings):
        own = replace(bundle, timeframe="5m", horizon=timedelta(minutes=15))
        return Trader(own, fast.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite", **settings)

    return make


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_a_trader_that_was_started_trades_while_its_status_is_read_and_stop_ends_it(quick):
    trader = quick().start()
    assert trader.start() is trader
    with pytest.raises(TradingError, match="another thread trades already"):
        trader.run()
    wait_for(lambda: trader.status().profiles["main"].slices >= 3)
    assert trader.status().state == "running"
    done = trader.stop()
    assert (done.state, done.reason) == ("stopped", "asked to stop: stop()")
    assert trader.stop().state == "stopped"
    again = replay(trader.journal_path)
    assert again.is_equal
    assert len(again.slices) == done.slices >= 3


def test_a_trader_can_be_started_again_and_for_a_span(quick):
    trader = quick().start(until=timedelta(minutes=20))
    wait_for(lambda: trader.status().state == "stopped")
    assert trader.status().reason == ""
    before = trader.status().slices
    wait_for(lambda: trader.start(until=timedelta(hours=2)).status().slices > before)
    assert trader.stop().state == "stopped"


def test_what_ends_a_started_trader_is_in_its_status(quick, fast):
    trader = quick().start()
    fast.inject(Fault("http.revoked", method="GET"))
    wait_for(lambda: trader.floor.audit.ask() or trader.status().state == "halted")
    assert "refused" in trader.status().reason
    assert trader.stop().state == "halted"


def test_a_trader_that_cannot_open_says_so_to_who_starts_it(quick, fast):
    fast.inject(Fault("http.revoked", path="/v2/account"))
    trader = quick()
    with pytest.raises(AuthenticationError):
        trader.start()
    assert trader.status().state == "new"


def test_another_thread_may_stop_a_trader_that_runs(quick):
    trader, said = quick(), []
    worker = threading.Thread(target=lambda: said.append(trader.run()))
    worker.start()
    wait_for(lambda: trader.status().state == "running")
    assert trader.stop().reason == "asked to stop: stop()"
    worker.join(SECONDS)
    assert said[0].state == "stopped"


def test_a_halt_that_waits_while_a_trader_opens_comes_before_its_orders_are_sent_again(bundle, sandbox, tmp_path):
    waits = replace(bundle, execution=Execution(limit_bps=30.0))
    place = tmp_path / "j.sqlite"
    trader = Trader(waits, sandbox.alpaca(), Store(tmp_path / "store"), journal=place).open()
    sandbox.inject(Fault("http.reset", method="POST", path="/v2/orders", lasts=timedelta(hours=90)))
    while not trader.desk.engine.in_flight:
        for _ in trader.shift._steps(trader.clock.now() + 60 * 10**9):
            pass
    lost = set(trader.desk.engine.in_flight)
    trader.stop()
    sandbox.heal()
    inbox = Inbox(place)
    halt, profile = inbox.ask("halt", reason="a doubt"), inbox.ask("limits", "main", max_weight=0.1)
    again = Trader(waits, sandbox.alpaca(), Store(tmp_path / "store"), journal=place).open()
    try:
        assert (inbox.answer_of(halt), inbox.answer_of(profile)) == ("", None)
        assert again.desk.engine.risk.halted == "a doubt"
        again.shift._settle()
        assert not again.desk.engine.in_flight
        again.shift.look()
        assert inbox.answer_of(profile) == ""
        assert lost
        assert not sandbox.alpaca().trading().get("/orders", {"status": "all"})
    finally:
        again.stop()
        inbox.close()
