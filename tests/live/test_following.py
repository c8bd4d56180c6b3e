"""One data connection for an account: a trader takes its market from its own recorder, or follows another's log."""

from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.store import Store
from cryptoquant.errors import StoreError
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader


def test_what_a_trader_traded_on_is_in_its_store(hire, sandbox):
    trader = hire()
    trader.run(until=timedelta(hours=6))
    start = replay(trader.journal_path).start.time
    minutes = trader.store.bars("BTC/USD", "1m")
    assert minutes.filter(minutes["time"].dt.epoch("ns") > start).height == 6 * 60


def test_a_trader_follows_the_log_of_a_recorder_that_has_the_connection(bundle, tmp_path):
    store, journal = Store(tmp_path / "store"), tmp_path / "j.sqlite"
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=3_600) as venue:
        connection = venue.alpaca()
        recorder = Recorder(store, bundle.symbols, connection, channels=["bars"]).start()
        try:
            with pytest.raises(StoreError, match="held by"):
                Trader(bundle, connection, store, journal=journal).open()
            trader = Trader(bundle, connection, store, journal=journal, options=TraderOptions(follows=True))
            done = trader.run(until=timedelta(hours=6))
        finally:
            recorder.stop()
        again = replay(journal)
    assert done.slices >= 3
    assert again.is_equal, again.difference
    assert again.slices[-1].present.all()
