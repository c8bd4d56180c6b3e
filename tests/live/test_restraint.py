"""What a trader must not send, or not go on sending: orders that it wanted ended, and exits that are refused."""

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import pytest

from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.dispatcher import Dispatcher, Standing
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order
from tests.live.strategies import Always

MINUTE_NS = 60 * 10**9


@dataclass(frozen=True)
class OnlyBitcoin:
    """Wants a third of one symbol."""

    lookback: int = 1

    def decide(self, view):
        return {"BTC/USD": 0.3}


def step(trader, minutes):
    """Let a trader in lock-step trade for some minutes, without an end of its shift."""
    for _ in trader.shift._steps(trader.clock.now() + minutes * MINUTE_NS):
        pass


def orders_of(sandbox, status="all"):
    return sandbox.alpaca().trading().get("/orders", {"status": status, "limit": 500})


@pytest.mark.parametrize(("action", "limit_bps"), [("halt", None), ("close", 30.0), ("cancel", 30.0)])
def test_an_order_whose_end_is_wanted_is_not_sent_again_when_the_venue_has_not_got_it(
    bundle, sandbox, tmp_path, action, limit_bps
):
    wants = replace(bundle, strategy=Always(), execution=Execution(limit_bps=limit_bps))
    trader = Trader(wants, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    try:
        sandbox.inject(Fault("http.reset", method="POST", path="/v2/orders", lasts=timedelta(hours=2)))
        step(trader, 61)
        assert len(trader.desk.engine.in_flight) == 2
        sandbox.heal()
        trader.operator.command(action)
        trader.shift._settle()
        step(trader, 3)
        assert orders_of(sandbox) == []
        assert not trader.desk.engine.in_flight
    finally:
        trader.stop()


def test_coins_that_come_from_elsewhere_are_noticed_though_an_order_rests_all_the_time(
    bundle, sandbox, tmp_path, monkeypatch
):
    monkeypatch.setattr("cryptoquant.live.shift.POLL_EVERY_SECONDS", 0.0)
    rests = replace(bundle, strategy=OnlyBitcoin(), execution=Execution(limit_bps=1_500.0))
    trader = Trader(rests, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    try:
        step(trader, 120)
        assert trader.desk.engine.in_flight
        sandbox.inject(Fault("trading.lose", symbol="ETH/USD", lasts=timedelta(hours=10)))
        body = {"symbol": "ETH/USD", "qty": "5", "side": "buy", "type": "market", "time_in_force": "gtc"}
        sandbox.alpaca().trading().post("/orders", body)
        with pytest.raises(HaltedError, match="ETH/USD: our books hold"):
            step(trader, 10)
    finally:
        trader.stop()


@dataclass(frozen=True)
class BreaksLater:
    """Wants a third of everything, until its defect shows."""

    since: int
    lookback: int = 1

    def decide(self, view):
        if view.time > self.since:
            raise RuntimeError("a defect")
        return dict.fromkeys(view.symbols, 0.3)


def test_a_halt_while_an_engine_is_ahead_of_the_journal_ends_the_buys_that_rest(bundle, sandbox, tmp_path):
    breaks = BreaksLater(sandbox.market.now + 90 * MINUTE_NS)
    rests = replace(bundle, strategy=breaks, execution=Execution(limit_bps=1_500.0))
    trader = Trader(rests, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j")
    with pytest.raises(HaltedError, match="a defect"):
        trader.run(until=timedelta(hours=4))
    assert [order["status"] for order in orders_of(sandbox)] == ["canceled", "canceled"]
    assert replay(tmp_path / "j", {"BreaksLater": BreaksLater}).engine.risk.halted == "RuntimeError: a defect"


def test_a_halt_at_the_start_ends_the_buys_that_rest(bundle, sandbox, tmp_path):
    rests = replace(bundle, strategy=OnlyBitcoin(), execution=Execution(limit_bps=1_500.0))

    def trader():
        return Trader(rests, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j")

    trader().run(until=timedelta(minutes=61))
    assert [order["status"] for order in orders_of(sandbox)] == ["new"]
    body = {"symbol": "ETH/USD", "qty": "5", "side": "buy", "type": "market", "time_in_force": "gtc"}
    sandbox.alpaca().trading().post("/orders", body)
    sandbox.advance(timedelta(minutes=1))
    with pytest.raises(HaltedError, match="ETH/USD: our books hold"):
        trader().open()
    assert {order["status"] for order in orders_of(sandbox) if order["symbol"] == "BTC/USD"} == {"canceled"}


def test_an_engine_that_fails_on_a_price_is_known_to_be_ahead_of_the_journal(hire, sandbox, monkeypatch):
    trader = hire().open()
    try:
        monkeypatch.setattr(trader.desk.engine, "on", lambda event: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trader.operator.command("cancel")
        with pytest.raises(HaltedError, match="a defect"):
            trader.floor.halt("a defect")
    finally:
        trader.stop()


def test_a_close_of_coins_that_the_venue_has_not_got_is_told_once_and_ends_in_a_halt(bundle, sandbox, tmp_path):
    wants = replace(bundle, strategy=OnlyBitcoin())
    trader = Trader(wants, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    notes = []
    try:
        step(trader, 62)
        held = trader.status().positions["BTC/USD"]
        sandbox.inject(Fault("trading.lose", symbol="BTC/USD", lasts=timedelta(minutes=3)))
        body = {"symbol": "BTC/USD", "qty": f"{held / 2:.9f}", "side": "sell", "type": "market"}
        sandbox.alpaca().trading().post("/orders", {**body, "time_in_force": "gtc"})
        sandbox.advance(timedelta(minutes=1))
        trader.floor.listeners = (notes.append,)
        trader.operator.command("close")
        with pytest.raises(HaltedError, match="BTC/USD: our books hold"):
            trader.shift._settle()
    finally:
        trader.stop()
    ((stuck,),) = ([note for note in notes if note.what == "stuck"],)
    assert (stuck.level, stuck.profile, stuck.facts["symbol"]) == ("error", "main", "BTC/USD")
    assert "available:" in stuck.facts["reason"]


def test_dust_that_a_close_leaves_does_not_sell_what_is_bought_later(bundle, sandbox, tmp_path):
    wants = replace(bundle, strategy=OnlyBitcoin())
    trader = Trader(wants, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    try:
        step(trader, 62)
        trader.operator.command("close")
        step(trader, 3)
        trader.operator.command("unpause")
        step(trader, 62)
        assert [order["side"] for order in reversed(orders_of(sandbox))] == ["buy", "sell", "buy"]
        assert trader.desk.holds
    finally:
        trader.stop()


class Recording:
    """A venue that knows no order and remembers what it is asked."""

    def __init__(self):
        self.asked = []

    def submit(self, order):
        self.asked.append(("send", order.id))

    def cancel(self, order):
        self.asked.append(("cancel", order.id))

    def status(self, order_id):
        self.asked.append(("look", order_id))

    def standing(self):
        return Standing({}, Decimal(0))


def test_at_its_end_the_way_to_the_venue_takes_cancels_and_exits_but_no_more_buys():
    venue, answers = Recording(), []
    dispatcher = Dispatcher([venue], answers.append)
    buy, sale = (Order(side, "main", "BTC/USD", side, 1e9, 1) for side in ("buy", "sell"))
    dispatcher.ask("send", buy)
    dispatcher.ask("cancel", buy)
    dispatcher.ask("send", sale, reduces=True)
    dispatcher.finish(10.0)
    dispatcher.stop()
    assert sorted(venue.asked) == [("cancel", "buy"), ("send", "sell")]
    assert [str(answer.trouble) for answer in answers if answer.trouble] == ["not sent: trading has ended"]


@pytest.mark.parametrize(("in_turn", "wanted"), [(False, ["b", "a", "c"]), (True, ["a", "b", "c"])])
def test_exits_overtake_what_waits_but_where_time_stands_still_the_first_goes_first(in_turn, wanted):
    venue = Recording()
    dispatcher = Dispatcher([venue], lambda answer: None, in_turn=in_turn)
    for name, side in (("a", "buy"), ("b", "sell"), ("c", "buy")):
        dispatcher.ask("send", Order(name, "main", "BTC/USD", side, 1e9, 1), reduces=side == "sell")
    dispatcher.start().settle(10.0)
    dispatcher.stop()
    assert [name for _, name in venue.asked] == wanted
