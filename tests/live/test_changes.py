"""Changes of a trader that runs: each is checked before it is journalled, and is in force after a restart."""

import shutil
import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import ConfigurationError, HaltedError, TradingError
from cryptoquant.features import FeatureSet
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.shift import _merged
from cryptoquant.live.trader import Trader
from cryptoquant.models.tabular import Line
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from tests.live.strategies import Always

HOUR, MINUTE_NS = timedelta(hours=1), 60 * 10**9


@dataclass(frozen=True)
class Once:
    """Holds for an hour of the day."""

    hour: int
    lookback: int = 1

    def decide(self, view):
        return dict.fromkeys(view.symbols, 0.3 if view.time // (60 * MINUTE_NS) % 24 == self.hour else 0.0)


@dataclass(frozen=True)
class Shelf:
    """A registry with one bundle."""

    bundle: object

    def load(self, version):
        return self.bundle


@pytest.fixture
def hire_all(sandbox, tmp_path):
    """Return a maker of traders of profiles, all on one journal."""

    def make(profiles, **settings):
        return Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite", **settings)

    return make


@pytest.fixture
def pair(bundle):
    return [Profile("a", bundle, capital=50_000.0), Profile("b", bundle, capital=20_000.0)]


def ends(trader):
    """Check that a trader's journal reads again."""
    known = trader.replays()
    assert all(one.is_equal for one in known.values()), [one.difference for one in known.values()]


def test_a_swap_that_the_engine_refuses_is_not_journalled(hire_all, bundle):
    name = "abcdefghijklmnop"  # with a new price for an order, its ids would be too long
    slow = replace(bundle, execution=Execution(limit_bps=5.0, reprice=timedelta(minutes=5)))
    trader = hire_all(Profile(name, bundle)).open()
    with pytest.raises(ConfigurationError, match="cannot trade so"):
        trader.operator.swap(name, bundle=slow)
    trader.stop()
    hire_all(Profile(name, bundle)).open().stop()
    ends(trader)


def test_a_setup_that_the_engine_refuses_is_not_journalled(hire_all, bundle):
    name = "abcdefghijklmnop"
    slow = replace(bundle, execution=Execution(limit_bps=5.0, reprice=timedelta(minutes=5)))
    with pytest.raises(ValueError, match="characters"):
        hire_all(Profile(name, slow)).open()
    hire_all(Profile(name, bundle)).open().stop()


def test_a_profile_that_cannot_be_added_takes_no_cash_and_leaves_nothing_in_the_journal(hire_all, bundle, pair):
    trader = hire_all(pair[:1]).open()
    ticks = replace(bundle, features=FeatureSet([f.mid_price()]), predictor=Line(np.array([1.0]), 0.0))
    spare = trader.floor.account.spare
    with pytest.raises(TradingError, match="read ticks"):
        trader.operator._preparing.add(Profile("b", ticks, capital=10_000.0))
    assert trader.floor.account.spare == spare
    trader.stop()
    assert list(replay_all(trader.journal_path)) == ["a"]
    hire_all(pair[:1]).open().stop()


def test_a_profile_added_between_the_bars_of_a_closing_slice_decides_on_it(hire_all, bundle, pair):
    trader = hire_all(pair[:1]).open()
    trader.shift._settle()
    for _ in trader.shift._steps(trader.clock.now() + 30 * MINUTE_NS):
        pass
    now = trader.clock.now()
    moment = trader.clock.advance(timedelta(microseconds=(60 * MINUTE_NS - now % (60 * MINUTE_NS)) // 1000))
    items = list(_merged(trader.feed.drain(moment.data, moment.trading)))
    for item in items[:-1]:
        trader.shift._take(item)
    own = replace(bundle, features=FeatureSet([f.log_return(5)]), predictor=Line(np.array([120.0]), 0.0))
    trader.operator._preparing.add(Profile("b", own, capital=20_000.0))
    trader.shift._take(items[-1])
    done = trader.run(until=HOUR * 3)
    assert done.profiles["a"].slices == done.profiles["b"].slices > 1
    ends(trader)


def test_the_same_configuration_starts_again_after_a_profile_was_removed(hire_all, pair):
    trader = hire_all(pair).open()
    trader.operator.remove("b")
    trader.run(until=HOUR * 2)
    told = []
    again = hire_all(pair, listeners=[told.append]).open()
    again.stop()
    assert list(again.floor.desks) == ["a"]
    assert again.status().spare == 50_000.0
    assert [note.profile for note in told if note.facts.get("action") == "removed"] == ["b"]
    with pytest.raises(HaltedError, match="also belongs to"):
        hire_all(pair[1:]).open()


def test_a_swap_outlives_a_restart_with_the_configuration_from_before(hire_all, bundle, pair):
    other = replace(bundle, name="other", features=FeatureSet([f.log_return(5)]), predictor=Line(np.array([90.0]), 0.0))
    trader = hire_all(pair).open()
    trader.operator.swap("a", bundle=other, version="other@2")
    trader.run(until=HOUR * 2)
    with pytest.raises(HaltedError, match="was swapped from turning to other"):
        hire_all(pair).open()
    again = hire_all(pair, registry=Shelf(other)).open()
    again.stop()
    assert again.desk.profile.reference == "other"
    assert again.desk.forecaster.predictor == other.predictor
    given = hire_all([replace(pair[0], bundle=other, reference="turning"), pair[1]]).open()
    given.stop()
    assert given.desk.profile.version == "other@2"
    ends(trader)


def test_limits_given_at_a_restart_are_in_force_and_the_operators_outlive_a_restart(hire_all, pair):
    hire_all(pair).open().stop()
    strict = [replace(pair[0], limits=RiskLimits(max_gross=0.01)), pair[1]]
    trader = hire_all(strict).open()
    assert trader.desk.engine.limits.max_gross == trader.desk.profile.limits.max_gross == 0.01
    trader.operator.change_limits("a", max_gross=0.02)
    trader.stop()
    again = hire_all(strict).open()
    again.stop()
    assert again.desk.engine.limits.max_gross == again.desk.profile.limits.max_gross == 0.02
    ends(trader)


def test_a_profile_does_not_become_a_shadow_at_a_restart(hire_all, pair):
    hire_all(pair).open().stop()
    with pytest.raises(HaltedError, match="is no shadow"):
        hire_all([replace(pair[0], is_shadow=True), pair[1]]).open()


def test_the_feed_brings_the_symbols_of_profiles_that_only_the_journal_knows(hire_all, bundle):
    one = Profile("a", replace(bundle, name="btc", symbols=("BTC/USD",)), capital=50_000.0)
    both = Profile("b", bundle, "both@1", "both@1", capital=20_000.0)
    hire_all([one, both]).run(until=HOUR)
    again = hire_all(one, registry=Shelf(bundle))
    done = again.run(until=HOUR * 3)
    assert set(again.feed.symbols) == {"BTC/USD", "ETH/USD"}
    assert done.profiles["b"].slices == 4


def test_a_strategy_that_the_journal_could_not_be_read_with_again_is_refused(hire):
    trader = hire().open()
    with pytest.raises(ConfigurationError, match=r"strategy Always: .* unknown"):
        trader.operator.change_strategy("main", Always())
    for wrong in ({"threshold": "abc"}, {"max_weight": "0.3"}):
        with pytest.raises(ValueError, match="Expected"):
            trader.operator.change_strategy("main", **wrong)
    trader.operator.change_strategy("main", threshold=0.55)
    trader.stop()
    again = hire().open()
    again.stop()
    assert again.desk.engine.strategy.threshold == 0.55


def test_features_whose_memory_is_damaged_are_warmed_from_the_history(hire):
    trader = hire()
    trader.run(until=HOUR * 2)
    (place,) = trader.checkpoints.folder.iterdir()
    whole = place.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        place.write_bytes(damaged)
        told = []
        again = hire(listeners=[told.append]).open()
        again.stop()
        assert [note.facts["task"] for note in told if note.what == "trouble"] == ["features"]


def test_a_trader_whose_features_memory_cannot_be_kept_gives_everything_back(hire, sandbox):
    before = {thread.name for thread in threading.enumerate()}
    trader = hire().open()
    trader.checkpoints.folder.write_text("no folder")
    assert trader.run(until=HOUR * 2).state == "stopped"
    trader.checkpoints.folder.unlink()
    assert {thread.name for thread in threading.enumerate()} <= before
    hire().open().stop()


def test_one_part_that_does_not_end_leaves_the_others_ended(hire):
    trader = hire().open()
    trader._exits.callback(shutil.rmtree, "/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        trader.stop()
    assert trader.state == "stopped"
    hire().open().stop()


def test_a_halt_from_another_thread_is_done_by_the_thread_that_trades(bundle, tmp_path):
    eager = replace(bundle, timeframe="5m", horizon=timedelta(minutes=15))
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=1_800) as venue:
        trader = Trader(eager, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite").open()
        done, failed = [], []

        def press() -> None:
            try:
                while trader.state in ("ready", "running") and done.count("running") < 20:
                    trader.halt("x")
                    trader.resume()
                    done.append(trader.state)
                    time.sleep(0.01)  # the turn is not given in order: who never rests would keep it
            except TradingError as error:
                failed.append(error)

        hand = threading.Thread(target=press)
        hand.start()
        trader.run(until=timedelta(hours=2))
        hand.join()
    assert "running" in done
    assert len(failed) <= 1  # the trader may end before the last one is heeded
    ends(trader)


def test_a_profile_with_coins_too_few_to_be_sold_is_removed_and_the_account_keeps_them(hire_all, bundle, sandbox):
    first = sandbox.market.now // (60 * MINUTE_NS) % 24 + 1
    pair = [
        Profile("a", bundle, capital=50_000.0),
        Profile("b", replace(bundle, strategy=Once(first)), capital=20_000.0),
    ]
    trader = hire_all(pair).open()
    for minutes in (70, 60):
        for _ in trader.shift._steps(trader.clock.now() + minutes * MINUTE_NS):
            pass
        sandbox.inject(Fault("order.partial", factor=0.9999, count=9, lasts=2 * HOUR))
    left = trader.floor.desks["b"].engine.portfolio.lots.copy()
    assert left.any()
    trader.operator.remove("b")
    assert list(trader.floor.account.left.values()) == left.tolist()
    trader.run(until=HOUR * 2)
    again = hire_all(pair).open()
    assert again.floor.account.left == trader.floor.account.left
    assert again.floor.account.spare == pytest.approx(trader.floor.account.spare)
    again.operator._preparing.add(Profile("c", bundle, capital=10_000.0))
    assert again.run(until=HOUR * 2).state == "stopped"
    ends(again)
