"""Outages: what was missed is fetched or passed over, never traded late, and a journal reads the same afterwards."""

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data import alpaca
from cryptoquant.data.download import download
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live import broker, shift
from cryptoquant.live.assembly import SliceBuilder
from cryptoquant.live.dispatcher import Answer
from cryptoquant.live.history import history
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.journal import read_journal
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.live.watch import Patience
from cryptoquant.market.schema import Bar, bar_rows
from cryptoquant.market.time import iso
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import MovingAverageCross
from tests.market_makers import frame_of, gapping_panel

HOUR_NS = 3_600 * 10**9
LONGEST_STOP = 15.0


def wait_for(condition):
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@dataclass(frozen=True)
class Own:
    """A strategy of the user's own."""

    share: float = 0.3
    lookback: int = 1

    def decide(self, view):
        return {symbol: self.share for symbol in view.symbols if view.weight(symbol) == 0.0}


@dataclass(frozen=True)
class Broken:
    """A strategy with a defect."""

    lookback: int = 1

    def decide(self, view):
        return dict.fromkeys(view.symbols, 1 / 0)


def universe_of(trader):
    return next(iter(trader.floor.universes.values()))


def builder_of(trader):
    return universe_of(trader).builder


def with_strategy(bundle, strategy):
    return replace(bundle, strategy=strategy)


def test_restarts_before_the_next_slice_do_not_double_what_was_missed(bundle, sandbox, tmp_path):
    crossing = with_strategy(bundle, MovingAverageCross(3, 24, 0.4))
    journal, store = tmp_path / "j.sqlite", Store(tmp_path / "store")

    def trader() -> Trader:
        return Trader(crossing, sandbox.alpaca(), store, journal=journal)

    trader().run(until=timedelta(hours=5))
    sandbox.advance(timedelta(hours=3, minutes=10))
    for _ in range(3):
        again = trader().open()
        again.stop()
    done = trader().run(until=timedelta(hours=30))
    known = replay(journal)
    assert known.is_equal, known.difference
    assert done.slices == len(known.slices)
    passed = [row[0] for entry in read_journal(journal) if entry.kind == "warm" for row in entry.content()["slices"]]
    assert len(passed) == len(set(passed)) == 2
    late = [market for market in known.slices if market.known > market.time]
    assert [market.known - market.time for market in late] == [10 * 60 * 10**9]


def test_a_crash_before_the_decision_is_journalled_leaves_a_journal_that_reads_on(hire, sandbox):
    class Crash(BaseException):
        pass

    trader = hire().open()
    write = trader.journal.write

    def crash(rows, *, durable):
        if any(row[0] == "order" for row in rows):
            raise Crash
        return write(rows, durable=durable)

    trader.journal.write = crash
    with pytest.raises(Crash):
        trader.run(until=timedelta(hours=24))
    assert replay(trader.journal_path).is_equal
    second = hire()
    second.run(until=timedelta(hours=24))
    assert replay(second.journal_path).is_equal
    assert (sandbox.account().lots == second.desk.engine.portfolio.lots).all()


def test_a_feed_that_ends_halts_the_trader(bundle, tmp_path):
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=3_600) as venue:
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite").open()
        trader.feed._cancel()
        with pytest.raises(HaltedError, match="feed-updates has ended"):
            trader.run(until=timedelta(hours=48))
        assert trader.state == "halted"
        assert "feed-updates has ended" in trader.status().reason


def test_slices_that_come_after_their_successor_are_passed_over_and_replay_agrees(hire, sandbox):
    trader = hire().open()
    drain, calls = trader.feed.drain, []

    def silent(*counts):
        items = drain(*counts)
        calls.append(len(items))
        return [item for item in items if not isinstance(item, Bar)] if 3 < len(calls) <= 8 else items

    trader.feed.drain = silent
    builder_of(trader).deadline_ns = 10**18
    builder_of(trader)._assembler.deadline_ns = 10**18
    done = trader.run(until=timedelta(hours=12))
    known = replay(trader.journal_path)
    assert known.is_equal, known.difference
    assert done.slices == 12 - 5
    decided = [market.time for market in known.slices]
    passed = [entry for entry in read_journal(trader.journal_path) if entry.kind == "warm"]
    assert len(passed) == 5
    assert universe_of(trader).seen == decided[-1]


def test_minutes_lost_over_the_close_of_an_hour_are_fetched_before_the_hour_is_closed(bundle, tmp_path):
    values = []
    for name, loses in (("whole", False), ("holed", True)):
        with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), lockstep=True) as venue:
            trader = Trader(bundle, venue.alpaca(), Store(tmp_path / name), journal=tmp_path / f"{name}.sqlite").open()
            if loses:
                drain = trader.feed.drain

                def holed(*counts, drain=drain):
                    return [
                        item
                        for item in drain(*counts)
                        if not (isinstance(item, Bar) and item.open_time // (60 * 10**9) % 60 >= 57)
                    ]

                trader.feed.drain = holed
                builder_of(trader).deadline_ns = 0
            trader.run(until=timedelta(hours=6))
            values.append(np.array([market.values for market in replay(trader.journal_path).slices]))
    assert values[0].shape == values[1].shape
    assert values[1] == pytest.approx(values[0], rel=1e-12)


def test_what_is_overdue_is_asked_for_once():
    bars = bar_rows(frame_of(gapping_panel(3, ("A/USD",))))
    builder = SliceBuilder(("A/USD",), "2h", bars[0].open_time, HOUR_NS // 2)
    builder.take(bars[0])
    end = bars[0].open_time + 2 * HOUR_NS
    assert list(builder.overdue(end)) == []
    assert list(builder.overdue(end + HOUR_NS // 2)) == [("A/USD", bars[0].time, end)]
    assert list(builder.overdue(end + HOUR_NS // 2)) == []
    builder.take(bars[1])
    assert list(builder.overdue(end + HOUR_NS)) == []


def test_a_symbol_whose_history_lags_is_brought_up_to_now(bundle, sandbox, tmp_path):
    store, now = Store(tmp_path / "store"), sandbox.market.now
    download(store, "BTC/USD", "1h", "2024-01-01", source=sandbox.alpaca())
    download(store, "ETH/USD", "5m", "2024-01-01", iso(now - 60 * HOUR_NS), source=sandbox.alpaca())
    panel = history(bundle, store, sandbox.alpaca(), now)
    assert int(panel.times[-1]) == now
    assert panel[-1].present.all()
    assert not np.isnan(panel.field("close")[-60:]).any()


def test_a_strategy_of_ones_own_trades_and_its_journal_is_read_again(bundle, sandbox, tmp_path):
    trader = Trader(with_strategy(bundle, Own()), sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j")
    done = trader.run(until=timedelta(hours=5))
    assert done.fills == 2
    assert replay(tmp_path / "j", {"Own": Own}).is_equal
    assert trader.report().statistics.fills == 2


def test_whatever_a_strategy_raises_halts_the_trader_and_is_journalled(bundle, sandbox, tmp_path):
    trader = Trader(with_strategy(bundle, Broken()), sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j")
    with pytest.raises(HaltedError, match="ZeroDivisionError: division by zero"):
        trader.run(until=timedelta(hours=2))
    assert replay(tmp_path / "j", {"Broken": Broken}).engine.risk.halted == "ZeroDivisionError: division by zero"


def protected(bundle, **execution):
    return replace(bundle, execution=Execution(**execution))


def test_a_stop_that_was_reached_while_the_trader_was_away_acts_when_it_is_back(bundle, sandbox, tmp_path):
    stopped = protected(bundle, stop_loss=0.004)

    def trader() -> Trader:
        return Trader(stopped, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j")

    hours = 0
    first = trader()
    while not (done := first.run(until=timedelta(minutes=61))).positions or not any(done.positions.values()):
        hours += 1
        assert hours < 24
        first = trader()
    exits = {one.order.symbol: one.order for one in first.desk.engine.held.exits}
    symbol, stop = next(iter(exits.items()))
    while True:
        before = sandbox.market.now
        sandbox.advance(timedelta(minutes=1))
        bar = next(iter(bar_rows(next(iter(first.connection.fetch_bars(symbol, "1m", before, sandbox.market.now))))))
        if bar.low <= stop.stop_price:
            break
    while (
        next(iter(sandbox.alpaca().fetch_bars(symbol, "1m", sandbox.market.now - 60 * 10**9, sandbox.market.now)))[
            "low"
        ].item()
        <= stop.stop_price
    ):
        sandbox.advance(timedelta(minutes=1))
    sent = sandbox.status()["now"]
    second = trader().open()
    second.floor.dispatcher.settle(10)
    second.stop()
    client = sandbox.alpaca().trading()
    found = [one for one in client.get("/orders", {"status": "all"}) if one["client_order_id"] == stop.id]
    assert [one["submitted_at"] for one in found] == [sent]
    assert replay(tmp_path / "j").is_equal


def test_minutes_that_come_again_or_late_are_no_new_prices(hire, sandbox):
    trader = hire().open()
    minute = 60 * 10**9
    opened = sandbox.market.now
    trader.clock.advance(timedelta(minutes=3))
    closes = [opened + minute * count for count in (1, 2, 3)]
    bars = [Bar("BTC/USD", close, close, close - minute, 1.0, 2.0, 1.0, 1.0, 1.0) for close in closes]
    seen = []
    trader.floor.on_price = seen.append
    for bar in (bars[0], bars[0], bars[1], bars[0], bars[2]):
        trader.floor.on_bar(bar)
    trader.stop()
    assert [price.time for price in seen] == [bar.time for bar in bars]


def test_a_bar_from_the_future_is_told_of_and_changes_nothing(hire, sandbox):
    trader = hire().open()
    day, now, notes, seen = 24 * HOUR_NS, sandbox.market.now, [], []
    trader.floor.listeners = (notes.append,)
    trader.floor.on_price = seen.append
    trader.floor.on_bar(Bar("BTC/USD", now + day + HOUR_NS // 60, now, now + day, 1.0, 1.0, 1.0, 1.0, 1.0))
    trader.floor.on_bar(Bar("BTC/USD", now + HOUR_NS // 60, now, now, 1.0, 2.0, 1.0, 1.0, 1.0))
    trader.stop()
    assert [(note.level, note.what, note.facts["task"]) for note in notes[:1]] == [("warning", "trouble", "bar")]
    assert [price.time for price in seen] == [now + HOUR_NS // 60]


def test_a_frame_without_items_does_not_hide_what_waits_behind_it(hire):
    trader = hire().open()
    trader.stop()
    trader.feed._put(Record(1, 1, 1, RecordKind.EVENT, b"{}"))
    trader.feed.put(Answer("compare"))
    assert trader.feed.next(0) == Answer("compare")
    assert trader.feed.next(0) is None


def test_a_history_that_is_away_pauses_the_trader_and_does_not_end_it(bundle, tmp_path):
    eager = replace(bundle, timeframe="5m", horizon=timedelta(minutes=15))
    options = TraderOptions(patience=Patience(venue=timedelta(seconds=0.1)))
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=300) as venue:
        places = {"journal": tmp_path / "j.sqlite", "options": options}
        trader = Trader(eager, venue.alpaca(), Store(tmp_path / "store"), **places).open()
        told = []

        def hear(note) -> None:
            is_paused = any(one.facts.get("action") == "pause" for one in told)
            told.append(note)
            if note.facts.get("action") == "pause" and "503" in note.facts["reason"]:
                venue.heal()
            elif note.what == "decided" and is_paused:
                trader.operator.stop(reason="it decides again")

        trader.floor.listeners = (hear,)
        venue.inject(Fault("http.error", path="/v1beta3", method="GET", lasts=timedelta(hours=90), status=503))
        venue.inject(Fault("data.mute", lasts=timedelta(minutes=12)))
        done = trader.run(until=timedelta(hours=10))
    known = replay(trader.journal_path)
    assert known.is_equal, known.difference
    assert (done.state, trader.reason) == ("stopped", "asked to stop: it decides again")
    assert all(not np.isnan(market.values).any() for market in known.slices)


def ask_to_stop(trader, way):
    if way == "stop()":
        threading.Thread(target=trader.stop, daemon=True).start()
    elif way == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        inbox = Inbox(trader.journal_path)
        inbox.ask("stop", reason="over")
        inbox.close()


@pytest.mark.parametrize(("path", "way"), [("/v1beta3", "stop()"), ("/v", "SIGTERM"), ("/v", "command")])
def test_a_trader_that_is_asked_to_stop_while_the_history_is_away_winds_down_once(
    path, way, bundle, tmp_path, monkeypatch
):
    """Whatever else is away with it; the venue's requests are made to give up soon, so that the test need not wait."""
    monkeypatch.setattr(alpaca, "ATTEMPTS", 2)
    monkeypatch.setattr(broker, "PAUSE_SECONDS", 0.01)
    eager = replace(bundle, timeframe="5m", horizon=timedelta(minutes=15), strategy=Own())
    ended, took = threading.Event(), []
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=300) as venue:
        trader = Trader(
            Profile("main", eager, on_stop="close"),
            venue.alpaca(),
            Store(tmp_path / "store"),
            journal=tmp_path / "j.sqlite",
            options=TraderOptions(wind_down=timedelta(minutes=5)),
        ).open()

        def work() -> None:
            wait_for(lambda: trader.desk.holds)
            venue.inject(Fault("http.error", path=path, count=10**6, lasts=timedelta(hours=900), status=503))
            venue.inject(Fault("data.refuse", count=10**4, lasts=timedelta(hours=900)))
            venue.inject(Fault("data.drop"))
            wait_for(lambda: trader.minutes.away is not None)
            begun = time.monotonic()
            ask_to_stop(trader, way)
            took.append(time.monotonic() - begun if ended.wait(LONGEST_STOP) else LONGEST_STOP)
            venue.heal()

        thread = threading.Thread(target=work)
        thread.start()
        done = trader.run(until=timedelta(hours=100))
        ended.set()
        thread.join()
    said = [entry.content() for entry in read_journal(trader.journal_path) if entry.kind == "command"]
    known = replay(trader.journal_path, {"Own": Own})
    assert done.state == "stopped"
    assert trader.reason.startswith("asked to stop")
    assert took[0] < LONGEST_STOP
    assert Counter(one["action"] for one in said if one["reason"] == trader.reason) == {"close": 1, "pause": 1}
    assert known.is_equal, known.difference


def test_a_trader_ends_with_the_market_of_its_sandbox_since_no_time_passes_there_any_more(bundle, tmp_path):
    holding = Profile("main", with_strategy(bundle, Own()), on_stop="close")
    with Sandbox(11, bundle.symbols, days=11, history=timedelta(days=10), speed=20_000) as venue:
        trader = Trader(holding, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite").open()
        trader.start()
        wait_for(lambda: trader.status().state == "stopped")
        assert trader.desk.holds
        assert trader.reason == "the sandbox's market has ended"
    assert replay(trader.journal_path, {"Own": Own}).is_equal


def test_a_venue_that_leaves_requests_unanswered_does_not_halt_a_trader_that_stops(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(shift, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(alpaca, "TIMEOUT_S", (0.5, 0.5))
    holding = Profile("main", with_strategy(bundle, Own()), on_stop="close")
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=3_600) as venue:
        trader = Trader(holding, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite").open()
        trader.start()
        wait_for(lambda: trader.desk.holds)
        venue.inject(Fault("http.hang", path="/v2", count=10**6, lasts=timedelta(hours=900)))
        done = trader.stop()
        venue.heal()
    assert (done.state, done.reason) == ("stopped", "asked to stop: stop()")
    assert not replay(trader.journal_path, {"Own": Own}).engine.risk.halted
