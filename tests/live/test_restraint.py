"""What a trader must not send, or not go on sending: orders that it wanted ended, and exits that are refused."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.trader import Trader
from cryptoquant.trading.execution import Execution

MINUTE_NS = 60 * 10**9


@dataclass(frozen=True)
class Always:
    """Wants a third of everything."""

    share: float = 0.3
    lookback: int = 1

    def decide(self, view):
        return dict.fromkeys(view.symbols, self.share)


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
    trader = Trader(wants, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").start()
    try:
        sandbox.inject(Fault("http.reset", method="POST", path="/v2/orders", lasts=timedelta(hours=2)))
        step(trader, 61)
        assert len(trader.floor.unknown) == len(trader.desk.engine.in_flight) == 2
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
    trader = Trader(rests, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").start()
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
