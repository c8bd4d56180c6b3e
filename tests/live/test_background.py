"""A trader in a thread of its own, as in a notebook, and the end of one that another thread runs."""

import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import AuthenticationError, ConfigurationError, HaltedError, TradingError
from cryptoquant.live.asking import ask
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.journal import Journal, read_journal
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
    with pytest.raises(TradingError, match="or trades with it"):
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


def opening(quick, fast, way):
    """Return a trader that opens slowly, in a thread."""
    fast.inject(Fault("http.latency", method="GET", path="/v2/account", seconds=1.0, count=1))
    trader = quick()
    worker = threading.Thread(target=getattr(trader, way))
    worker.start()
    wait_for(lambda: trader.status().state == "opening")
    return trader, worker


def test_a_stop_that_comes_while_it_opens_is_obeyed(quick, fast):
    trader, worker = opening(quick, fast, "start")
    assert trader.stop().state == "stopped"
    worker.join(SECONDS)
    time.sleep(0.1)
    assert trader.status().state == "stopped"
    trader.open().stop()


def test_a_trader_that_is_only_opened_is_closed_by_any_thread(hire):
    trader = hire().open()
    worker = threading.Thread(target=trader.stop)
    worker.start()
    worker.join(SECONDS)
    assert trader.status().state == "stopped"


def test_two_threads_cannot_open_a_trader_at_once(quick, fast):
    fast.inject(Fault("http.latency", method="GET", path="/v2/account", seconds=1.0, count=1))
    trader = quick()
    worker = threading.Thread(target=trader.open)
    worker.start()
    wait_for(lambda: trader.status().state == "opening")
    with pytest.raises(TradingError, match="another thread opens this trader"):
        trader.run()
    worker.join(SECONDS)
    assert trader.stop().state == "stopped"


def test_it_can_be_started_again_as_soon_as_its_status_says_that_it_has_halted(quick, fast):
    trader = quick().start()
    fast.inject(Fault("http.revoked", method="GET"))
    wait_for(lambda: trader.floor.audit.ask() or trader.status().state == "halted")
    fast.heal()
    assert trader.start().status().state == "running"
    assert trader.stop().state == "stopped"


@pytest.mark.parametrize("moment", ["decided", "send", "fill"])
def test_a_halt_that_a_listener_asks_for_comes_after_what_it_heard(hire, moment):
    told = []

    def hear(note):
        told.append(note.what)
        if note.what == moment and told.count(moment) == 1:
            trader.halt("I have heard enough")

    trader = hire(listeners=[hear])
    trader.run(until=timedelta(hours=12))
    assert trader.desk.engine.risk.halted == "I have heard enough"
    assert replay(trader.journal_path).is_equal
    assert hire().run(until=timedelta(hours=1)).profiles["main"].halted == "I have heard enough"


def test_a_listener_may_stop_the_trader(hire):
    def hear(note):
        if note.what == "fill":
            trader.stop()

    trader = hire(listeners=[hear])
    assert trader.run(until=timedelta(hours=24)).reason == "asked to stop: stop()"


def test_a_halt_is_refused_by_a_trader_that_has_ended(hire):
    trader = hire()
    with pytest.raises(HaltedError, match="halt is for a trader that was started"):
        trader.halt()
    trader.run(until=timedelta(hours=1))
    with pytest.raises(HaltedError, match="resume is for a trader that was started"):
        trader.resume()


def in_threads(*deeds):
    """Do all at once; return what they raised."""
    barrier, raised = threading.Barrier(len(deeds)), []

    def do(deed):
        barrier.wait()
        try:
            deed()
        except Exception as error:  # noqa: BLE001 - the test says what may be raised
            raised.append(error)

    workers = [threading.Thread(target=do, args=(deed,)) for deed in deeds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(2 * SECONDS)
        assert not worker.is_alive()
    return raised


def test_threads_that_halt_and_resume_an_open_trader_at_once_all_succeed_and_all_are_journalled(hire):
    trader = hire().open()

    def turn():
        for _ in range(5):
            trader.halt("panic")
            trader.resume()

    assert in_threads(*[turn] * 6) == []
    trader.halt("in the end")
    assert trader.stop().profiles["main"].halted == "in the end"
    commands = [entry.fact().action for entry in read_journal(trader.journal_path) if entry.kind == "command"]
    assert (commands.count("halt"), commands.count("resume")) == (31, 30)
    assert replay(trader.journal_path).engine.risk.halted == "in the end"


def test_a_halt_beside_start_and_stop_is_done_or_says_that_the_trader_has_ended(quick):
    for beside in ("start", "stop"):
        trader = quick().open()
        raised = in_threads(lambda: trader.halt("panic"), getattr(trader, beside), lambda: trader.halt("panic"))  # noqa: B023
        trader.stop()
        was_halted = trader.desk.engine.risk.halted == "panic"
        assert all(isinstance(error, HaltedError) and "has not ended" in str(error) for error in raised)
        assert was_halted or (beside == "stop" and len(raised) == 2)
        assert replay(trader.journal_path).engine.risk.halted == trader.desk.engine.risk.halted
        if was_halted:
            trader.open().resume()
            trader.stop()


def test_a_halt_beside_an_opening_waits_for_it_and_is_done(quick, fast):
    trader, worker = opening(quick, fast, "open")
    trader.halt("before it trades")
    worker.join(SECONDS)
    assert trader.desk.engine.risk.halted == "before it trades"
    assert trader.stop().state == "stopped"


def test_a_listener_that_hears_a_command_of_an_open_trader_may_stop_it(hire):
    def hear(note):
        if note.what == "command":
            trader.stop()

    trader = hire(listeners=[hear]).open()
    trader.halt("enough")
    assert trader.status().state == "stopped"
    assert replay(trader.journal_path).engine.risk.halted == "enough"


def test_who_asks_a_trader_that_ends_hears_that_it_has_ended_and_the_command_is_withdrawn(tmp_path):
    place = tmp_path / "j.sqlite"
    book = Journal(place)
    threading.Timer(0.1, book.close).start()
    with pytest.raises(TradingError, match="has ended meanwhile; the command was withdrawn"):
        ask(place, "halt", timeout=SECONDS)
    with closing(Inbox(place)) as inbox:
        assert inbox.waiting() == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_setting_that_json_would_write_as_none_is_refused_by_its_name(tmp_path, number):
    with closing(Inbox(tmp_path / "j.sqlite")) as inbox:
        for settings, name in (
            ({"capital": number}, "capital"),
            ({"limits": {"max_weight": number}}, "limits.max_weight"),
            ({"weights": [1.0, number]}, "weights.1"),
        ):
            with pytest.raises(ConfigurationError, match=f"add x: found {name}=.*(nan|inf), wanted a finite number"):
                inbox.ask("add", "x", reference="m@champion", **settings)
        assert inbox.waiting() == []


def test_a_listener_that_raises_hears_nothing_more_and_trading_goes_on(hire):
    told = []

    def breaks(note):
        told.append("broken")
        raise OSError("the line is dead")

    trader = hire(listeners=[breaks, lambda note: told.append(note.facts.get("reason", note.what))])
    done = trader.run(until=timedelta(hours=12))
    assert done.state == "stopped"
    assert told.count("broken") == 1
    assert "a listener raised OSError: the line is dead" in told
    assert told.count("decided") == done.slices == 12
