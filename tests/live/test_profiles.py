"""Profiles side by side: each has its ledger, the account is their sum, and a shadow is its own simulation."""

from dataclasses import replace
from datetime import time, timedelta

import pytest

from cryptoquant.data.store import Store
from cryptoquant.errors import ConfigurationError, HaltedError
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import FixedQuantity, LongFlat, TimeOfDay

HOURS = TimeOfDay(time(3), time(9), max_weight=0.5)


@pytest.fixture
def several(bundle) -> list[Profile]:
    careful = replace(bundle, strategy=LongFlat(threshold=0.7, max_weight=0.2))
    return [
        Profile("eager", bundle, capital=50_000.0),
        Profile("careful", careful, capital=20_000.0),
        Profile.rule("hours", HOURS, bundle.symbols, "30m", capital=10_000.0),
        Profile("ghost", bundle, capital=50_000.0, is_shadow=True),
    ]


def test_the_account_is_the_sum_of_its_ledgers_and_the_spare_cash(several, sandbox, tmp_path):
    trader = Trader(several, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
    done = trader.run(until=timedelta(hours=24))
    assert done.spare == 20_000.0
    real = [one for name, one in done.profiles.items() if name != "ghost"]
    assert all(one.fills > 0 for one in done.profiles.values())
    assert done.cash == pytest.approx(20_000.0 + sum(one.cash for one in real), abs=1e-6)
    books = sandbox.account()
    assert done.cash == pytest.approx(books.cash_value, abs=1e-6)
    for symbol, quantity in done.positions.items():
        assert quantity == pytest.approx(books.quantity(symbol), abs=1e-12)
    known = replay_all(trader.journal_path)
    assert list(known) == ["eager", "careful", "hours", "ghost"]
    assert all(one.is_equal for one in known.values()), [one.difference for one in known.values()]


def test_a_shadow_trades_as_its_twin_does_and_sends_nothing(bundle, sandbox, tmp_path):
    twins = [Profile("real", bundle, capital=50_000.0), Profile("ghost", bundle, capital=50_000.0, is_shadow=True)]
    trader = Trader(twins, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
    done = trader.run(until=timedelta(hours=24))
    real, ghost = replay_all(trader.journal_path).values()
    assert [(o.symbol, o.side, o.lots, o.time) for o in ghost.orders] == [
        (o.symbol, o.side, o.lots, o.time) for o in real.orders
    ]
    assert done.profiles["ghost"].cash == done.profiles["real"].cash
    orders = sandbox.alpaca().trading().get("/orders", {"status": "all", "limit": 500})
    assert {order["client_order_id"].split("-")[1] for order in orders} == {"real"}


def test_profiles_go_on_after_a_restart_each_with_its_ledger(several, sandbox, tmp_path):
    def trader() -> Trader:
        return Trader(several, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")

    for hours in (7, 8):
        done = trader().run(until=timedelta(hours=hours))
    known = replay_all(tmp_path / "j.sqlite")
    assert all(one.is_equal for one in known.values()), [one.difference for one in known.values()]
    assert done.cash == pytest.approx(sandbox.account().cash_value, abs=1e-6)
    with pytest.raises(HaltedError, match="also belongs to profile"):
        Trader(several[:2], sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite").open()


def test_capital_is_bounded_by_what_is_there_and_asked_for_once(bundle, sandbox, tmp_path):
    store, greedy = Store(tmp_path / "store"), Profile("greedy", bundle, capital=1e9)
    with pytest.raises(HaltedError, match="more than the spare"):
        Trader(greedy, sandbox.alpaca(), store, journal=tmp_path / "j.sqlite").open()
    with pytest.raises(ValueError, match="all want the rest of the cash"):
        Trader([Profile("a", bundle), Profile("b", bundle)], sandbox.alpaca(), store)
    with pytest.raises(ValueError, match="different names"):
        Trader([Profile("a", bundle), Profile("a", bundle)], sandbox.alpaca(), store)


def test_a_rule_needs_no_model_and_trades_a_stated_quantity(bundle, sandbox, tmp_path):
    rule = FixedQuantity(replace(HOURS, max_weight=None), 0.25)
    own = Profile.rule("hours", rule, ["BTC/USD"], "30m", execution=Execution(reserve=0.0))
    trader = Trader(own, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
    done = trader.run(until=timedelta(hours=24))
    assert done.fills == 2
    assert replay_all(trader.journal_path)["hours"].orders[0].lots == 250_000_000.0
    with pytest.raises(ConfigurationError, match="reads signals"):
        Profile.rule("model", LongFlat(), ["BTC/USD"], "1h")


@pytest.mark.parametrize("name", ["", "Big", "with space", "seventeen-letters", "-a", "main\n"])
def test_a_name_that_no_order_could_carry_is_refused(bundle, name):
    with pytest.raises(ValueError, match="1 to 16"):
        Profile(name, bundle)


def test_the_fees_of_a_shadow_leave_what_the_account_may_differ_by_as_it_is(bundle, sandbox, tmp_path):
    quiet = replace(bundle, symbols=("ETH/USD",), strategy=LongFlat(threshold=0.99, max_weight=0.4))
    ghost = replace(bundle, execution=Execution(limit_bps=1.0))
    profiles = [Profile("real", quiet, capital=10_000.0), Profile("ghost", ghost, capital=50_000.0, is_shadow=True)]

    def trader():
        return Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")

    first = trader()
    done = first.run(until=timedelta(hours=24))
    assert done.profiles["ghost"].fills > done.profiles["real"].fills == 0
    assert first.floor.account.doubts == {}
    second = trader().open()
    second.stop()
    assert second.floor.account.doubts == {}


def test_an_order_that_a_shadow_cannot_take_over_after_a_restart_ends(bundle, sandbox, tmp_path):
    waits = replace(bundle, execution=Execution(limit_bps=900.0))
    profiles = [Profile("ghost", waits, capital=50_000.0, is_shadow=True)]

    def trader():
        return Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")

    first = trader()
    first.run(until=timedelta(hours=24))
    assert first.desk.engine.in_flight
    order = next(iter(first.desk.engine.in_flight.values()))
    second = trader().open()
    floor, desk = second.floor, second.desk
    desk.engine.working.left[order.id] = 1.0
    floor.add(desk)
    second.stop()
    assert order.id not in desk.engine.in_flight


@pytest.mark.parametrize("more", [{"life": timedelta(minutes=20)}, {"reprice": timedelta(minutes=20)}])
def test_an_order_of_a_shadow_that_was_to_end_when_the_process_died_is_not_open_again(more, bundle, sandbox, tmp_path):
    class Crash(BaseException):
        pass

    waits = replace(bundle, execution=Execution(limit_bps=80.0, **more))
    profiles = [Profile("ghost", waits, capital=20_000.0, is_shadow=True)]

    def trader():
        return Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")

    first, ended = trader().open(), []
    write = first.journal.write

    def die(rows, *, durable):
        write(rows, durable=durable)
        ended.extend(row[2].removeprefix("cancel:") for row in rows if row[0] == "cancel")
        if ended:
            raise Crash

    first.journal.write = die
    with pytest.raises(Crash):
        first.run(until=timedelta(hours=48))
    second = trader().open()
    open_again = set(ended) & second.desk.engine.in_flight.keys()
    second.run(until=timedelta(hours=26))
    known = replay_all(tmp_path / "j.sqlite")["ghost"]
    assert not open_again
    assert known.is_equal, known.difference
    assert not [fill for fill in known.fills if fill.order_id in ended]
