"""The trader on the sandbox venue: what was tested is what trades, and a crash changes nothing."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.cli.parity import parity
from cryptoquant.data.store import Store
from cryptoquant.errors import (
    AuthenticationError,
    ConfigurationError,
    DataError,
    HaltedError,
    JournalError,
    TradingError,
    VenueUnreachableError,
)
from cryptoquant.live.history import history
from cryptoquant.live.journal import encode, read_journal
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.replay import replay
from cryptoquant.live.start import Start
from cryptoquant.live.trader import Trader
from cryptoquant.market.schema import Bar
from cryptoquant.market.slice import Panel
from cryptoquant.trading.engine import Command
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.venue import Costs, Venue

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS


def minutes_of(trader) -> Panel:
    """Return the market's minutes, as the venue's history tells them."""
    symbols = trader.profiles[0].bundle.symbols
    start = replay(trader.journal_path).start.time
    pages = list(trader.connection.fetch_bars(symbols, "1m", start, trader.clock.now()))
    return Panel.from_frame(pl.concat(pages).sort("symbol", "time"), symbols)


def past_of(trader) -> Panel:
    bars = trader.store.bars(list(trader.profiles[0].bundle.symbols), trader.profiles[0].bundle.timeframe)
    first = replay(trader.journal_path).slices[0].time
    return Panel.from_frame(bars, trader.profiles[0].bundle.symbols).between(0, first - 1)


def test_in_lockstep_paper_replay_and_backtest_agree_order_by_order(hire, sandbox):
    trader = hire()
    done = trader.run(until=timedelta(hours=48))
    again = replay(trader.journal_path)
    compared = parity(again, trader.profiles[0].bundle, past_of(trader), minutes_of(trader))
    assert done.state == "stopped"
    assert done.slices == 48
    assert done.orders > 10
    assert done.fills >= done.orders - 2
    assert again.is_equal, again.difference
    assert compared.is_equal, str(compared)
    books = sandbox.account()
    assert books.cash == trader.desk.engine.portfolio.cash
    assert (books.lots == trader.desk.engine.portfolio.lots).all()
    assert trader.report().statistics.fills == done.fills


def test_a_backtest_that_lacks_recorded_minutes_says_which_slices_it_could_not_decide_on(hire):
    trader = hire()
    trader.run(until=timedelta(hours=12))
    again, minutes = replay(trader.journal_path), minutes_of(trader)
    second = again.slices[1].time
    compared = parity(again, trader.profiles[0].bundle, past_of(trader), minutes.between(second, trader.clock.now()))
    assert compared.unseen == tuple(market.time for market in again.slices[:2])
    assert "2 slices have no recorded minutes, the first " in str(compared)
    assert f"first: {again.orders[0].id} buy " in str(compared)


def test_a_longer_timeframe_trades_as_it_is_tested(bundle, sandbox, tmp_path):
    longer = [f.log_return(3), f.timeframe("4h", [f.zscore("volume", 6)])]
    joined = replace(bundle, features=f.FeatureSet(longer))
    trader = Trader(joined, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "journal.sqlite")
    assert trader.run(until=timedelta(hours=24)).orders > 3
    assert parity(replay(trader.journal_path), joined, past_of(trader), minutes_of(trader)).is_equal


def test_features_of_ticks_are_refused_by_a_feed_of_bars(bundle, sandbox, tmp_path):
    ticks = replace(bundle, features=f.FeatureSet([f.log_return(3), f.mid_price()]))
    trader = Trader(ticks, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "journal.sqlite")
    with pytest.raises(TradingError, match="turning: its features read ticks, and this feed brings bars only"):
        trader.run(until=timedelta(hours=2))


def test_a_start_in_the_middle_of_a_bar_trades_on_whole_bars(hire, sandbox):
    sandbox.advance(timedelta(minutes=25))
    trader = hire()
    trader.run(until=timedelta(hours=20))
    traded = replay(trader.journal_path).slices
    whole = trader.connection.fetch_bars("BTC/USD", "1h", traded[0].time - 3_600 * 10**9, traded[-1].time)
    closes = [row for page in whole for row in page["volume"].to_list()]
    assert [market.field("volume")[0] for market in traded] == pytest.approx(closes, rel=1e-12)


def test_minutes_that_the_stream_loses_are_fetched_and_change_nothing(bundle, tmp_path):
    journals = []
    for name, loses in (("whole", False), ("holed", True)):
        with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), lockstep=True) as venue:
            trader = Trader(bundle, venue.alpaca(), Store(tmp_path / name), journal=tmp_path / f"{name}.sqlite")
            trader.open()
            if loses:
                drain = trader.feed.drain

                def holed(*counts, drain=drain):
                    items = drain(*counts)
                    return [i for i in items if not (isinstance(i, Bar) and 17 <= i.open_time // MINUTE_NS % 60 < 31)]

                trader.feed.drain = holed
            trader.run(until=timedelta(hours=12))
            journals.append(replay(trader.journal_path))
    whole, holed = journals
    assert len(whole.journalled) > 2
    assert holed.journalled == whole.journalled
    for ours, theirs in zip(holed.slices, whole.slices, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-12)


def test_parity_notices_an_order_that_differs(hire):
    trader = hire()
    trader.run(until=timedelta(hours=24))
    again = replay(trader.journal_path)
    again.journalled[0] = Order("cq-other", "main", "BTC/USD", "buy", 1.0, 1)
    compared = parity(again, trader.profiles[0].bundle, past_of(trader), minutes_of(trader))
    assert not compared.is_equal
    assert "differ" in str(compared)
    assert "order 0" in again.difference


def test_a_trader_stopped_and_started_again_ends_with_the_orders_of_one_that_never_stopped(bundle, tmp_path):
    journals = []
    for name, parts in (("whole", [30]), ("parts", [7, 11, 12])):
        with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), lockstep=True) as venue:
            journal = tmp_path / f"{name}.sqlite"
            for hours in parts:
                trader = Trader(bundle, venue.alpaca(), Store(tmp_path / name), journal=journal)
                trader.run(until=timedelta(hours=hours))
            journals.append(replay(journal))
    whole, parts = journals
    assert len(whole.journalled) > 5
    assert parts.is_equal, parts.difference
    assert [(o.id, o.lots) for o in parts.journalled] == [(o.id, o.lots) for o in whole.journalled]
    assert parts.engine.portfolio.cash == whole.engine.portfolio.cash


class Crash(BaseException):
    """A stand-in for kill -9 inside one process: nothing catches it."""


@pytest.mark.parametrize("after_sending", [False, True], ids=["before the order is sent", "after the order is sent"])
def test_a_crash_around_a_submission_neither_loses_nor_doubles_the_order(hire, sandbox, after_sending):
    trader = hire()
    trader.open()

    def ask(task, order=None, *, reduces=False):
        if after_sending:
            trader.broker.submit(order)
        raise Crash

    trader.floor.dispatcher.ask = ask
    with pytest.raises(Crash):
        trader.run(until=timedelta(hours=24))
    intents = [entry for entry in read_journal(trader.journal_path) if entry.kind == "order"]
    assert len(intents) >= 1

    second = hire()
    second.run(until=timedelta(hours=24))
    again = replay(second.journal_path)
    assert again.is_equal, again.difference
    books = sandbox.account()
    assert books.cash == second.desk.engine.portfolio.cash
    assert (books.lots == second.desk.engine.portfolio.lots).all()
    orders = second.connection.trading().get("/orders", {"status": "all", "limit": 500})
    ids = [order["client_order_id"] for order in orders]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {order.id for order in again.journalled}


def test_coins_that_no_journal_explains_halt_the_trader(hire, sandbox):
    client = sandbox.alpaca().trading()
    body = {"symbol": "BTC/USD", "notional": "1000", "side": "buy", "type": "market", "time_in_force": "gtc"}
    client.post("/orders", body)
    sandbox.advance(timedelta(minutes=2))
    with pytest.raises(HaltedError, match="no journal explains"):
        hire().open()


def test_a_position_changed_behind_the_traders_back_halts_it_and_the_halt_survives(hire, sandbox):
    trader = hire()
    trader.run(until=timedelta(hours=12))
    body = {"symbol": "ETH/USD", "notional": "500", "side": "buy", "type": "market", "time_in_force": "gtc"}
    sandbox.alpaca().trading().post("/orders", body)
    sandbox.advance(timedelta(minutes=2))
    second = hire()
    with pytest.raises(HaltedError, match="ETH/USD: our books hold"):
        second.open()
    assert replay(second.journal_path).engine.risk.halted.startswith("ETH/USD: our books hold")


def test_a_loss_limit_that_was_reached_holds_after_a_restart_until_it_is_reset(hire):
    limits = RiskLimits(max_drawdown=0.001)
    hire(limits=limits).run(until=timedelta(hours=30))
    again = hire(limits=limits).open()
    assert "drawdown" in again.status().reason
    again.resume()
    assert not again.stop().reason
    assert not hire(limits=limits).open().stop().reason


def test_a_journal_of_another_trader_is_refused(hire):
    hire().run(until=timedelta(hours=2))
    with pytest.raises(HaltedError, match="belongs to"):
        hire(profile="other").open()


def test_two_traders_cannot_share_a_journal(hire):
    first = hire().open()
    try:
        with pytest.raises(JournalError, match="written by another trader"):
            hire().open()
    finally:
        first.stop()


def test_wrong_keys_and_a_dead_venue_give_one_clear_error(hire, sandbox):
    wrong = replace(sandbox.alpaca(), api_secret="wrong")
    with pytest.raises(AuthenticationError, match="refused the keys"):
        hire(connection=wrong).open()
    gone = sandbox.alpaca()
    sandbox.stop()
    with pytest.raises(VenueUnreachableError):
        hire(connection=gone)


def test_the_risk_gate_is_on(hire):
    trader = hire(limits=RiskLimits(max_weight=0.1))
    done = trader.run(until=timedelta(hours=24))
    assert done.fills == 0
    assert done.refused > 3
    reasons = {entry.fact().reason for entry in read_journal(trader.journal_path) if entry.kind == "rejection"}
    assert reasons == {"weight above 10.0%"}
    assert replay(trader.journal_path).is_equal


def test_on_a_clock_that_runs_by_itself_books_balance_and_nothing_is_double(bundle, tmp_path):
    past = timedelta(days=10)
    with Sandbox(11, bundle.symbols, days=15, history=past, speed=7_200) as venue:
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "journal.sqlite")
        done = trader.run(until=timedelta(hours=12))
        again = replay(trader.journal_path)
        assert again.is_equal, again.difference
        assert done.slices >= 3  # a machine that stalls for half a second passes an hour over
        assert len({order.id for order in again.journalled}) == len(again.journalled)
        held = {s: Decimal(p["qty"]) for p in venue.alpaca().trading().get("/positions") for s in [p["symbol"]]}
        for symbol, quantity in done.positions.items():
            if not done.in_flight:
                assert float(held.get(symbol.replace("/", ""), 0)) == pytest.approx(quantity, abs=1e-8)


def test_keys_appear_in_no_journal(hire, sandbox):
    trader = hire()
    trader.run(until=timedelta(hours=3))
    raw = b"".join(path.read_bytes() for path in trader.journal_path.parent.glob("journal.sqlite*"))
    assert sandbox.api_secret.encode() not in raw
    assert sandbox.api_key.encode() not in raw


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("costs", Costs.of("coinbase"), r"costs\.schedule"),
    ],
)
def test_what_only_the_simulator_can_do_makes_no_trader_and_no_journal(bundle, sandbox, tmp_path, part, value, named):
    asked, journal = replace(bundle, **{part: value}), tmp_path / "journal.sqlite"
    with pytest.raises(ConfigurationError, match=named):
        Trader(asked, sandbox.alpaca(), Store(tmp_path / "store"), journal=journal)
    assert not journal.exists()


def test_the_start_of_a_journal_keeps_every_setting_of_costs_and_execution(bundle):
    execution = Execution(0.02, 0.1, 5.0, timedelta(minutes=30), 0.02, 0.04, 0.03)
    costs = replace(Costs.of("coinbase", 1.0), spread_bps=2.0, impact_sqrt=0.5)
    start = Start(
        reference="turning",
        profile="main",
        timeframe="1h",
        strategy=bundle.strategy,
        venue=Venue.alpaca(costs),
        execution=execution,
        limits=RiskLimits(),
        symbols=bundle.symbols,
        cash=100_000.0,
        time=0,
    )
    read = Start.from_dict(json.loads(json.dumps(start.to_dict())))
    assert read == start
    assert read.execution.plan == execution.plan
    assert read.venue.costs.schedule == costs.schedule


def test_commands_and_changes_of_one_moment_are_all_in_force_after_a_restart(hire):
    trader = hire().open()
    trader.halt("one")
    trader.resume()
    trader.halt("two")
    trader.operator.change_limits("main", max_weight=0.5)
    trader.operator.change_limits("main", max_weight=0.1)
    trader.stop()
    again = hire().open()
    again.stop()
    assert again.desk.engine.risk.halted == "two"
    assert again.desk.engine.limits.max_weight == 0.1


def test_a_command_that_the_journal_would_leave_out_is_an_error(hire):
    trader = hire().open()
    twice = Command("same", "pause", 1, "once")
    trader.journal.write([encode(twice)], durable=True)
    with pytest.raises(JournalError, match="not new"):
        trader.journal.write([encode(twice)], durable=True)
    trader.stop()


def test_a_status_says_why_a_paused_profile_opens_nothing(hire):
    trader = hire().open()
    trader.operator.command("pause", "main", "lunch")
    assert trader.status().profiles["main"].halted == "lunch"
    trader.stop()


def test_the_features_memory_is_kept_once_the_journal_has_the_slice_and_threads_take_short_turns_meanwhile(hire):
    trader = hire(options=TraderOptions(checkpoint_every=5)).open()
    save, kept, usual = trader.checkpoints.save, [], sys.getswitchinterval()

    def noting(universe):
        known = [entry.time for entry in trader.journal.entries() if entry.kind == "slice"]
        kept.append((universe.seen, known[-1], len(known), sys.getswitchinterval()))
        save(universe)

    trader.checkpoints.save = noting
    trader.run(until=timedelta(hours=12))
    assert [count for _, _, count, _ in kept] == [5, 10, 12]
    assert all(seen == known for seen, known, _, _ in kept)
    assert [turn < usual for *_, turn in kept] == [True, True, False]
    assert sys.getswitchinterval() == usual


def test_a_trader_that_starts_at_a_close_bears_a_clock_of_the_venue_that_is_behind(hire, sandbox):
    hire().run(until=timedelta(minutes=90))
    sandbox.advance(timedelta(minutes=90))
    sandbox.inject(Fault("venue.clock", seconds=-2.0, lasts=timedelta(minutes=5)))
    assert hire().open().stop().state == "stopped"


def test_a_last_close_that_the_venue_publishes_late_is_asked_for_again(bundle, tmp_path):
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=1_800) as venue:
        last = (venue.market.now // HOUR_NS + 1) * HOUR_NS
        panel = history(bundle, Store(tmp_path / "store"), venue.alpaca(), last)
    assert int(panel.times[-1]) == last


def test_a_last_close_that_does_not_come_is_said_with_how_long_it_was_asked_for(bundle, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("cryptoquant.live.history.PAUSES", (0.01, 0.02))
    with pytest.raises(DataError, match=r"asked 3 times in 0 s, .* up to .*T00:00:00Z; .* up to .*T01:00:00Z"):
        history(bundle, Store(tmp_path / "store"), sandbox.alpaca(), sandbox.market.now + HOUR_NS)
