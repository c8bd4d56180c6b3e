"""A journal whose rows do not hold what they should is refused, with the place of the row."""

import shutil
import sqlite3
from contextlib import closing
from datetime import time, timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.store import Store
from cryptoquant.errors import JournalError
from cryptoquant.live.journal import read_journal
from cryptoquant.live.latch import latched
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.trading.strategy import TimeOfDay

PAIR = ("BTC/USD",)
NEW = Profile.rule("one", TimeOfDay(time(22), time(22), max_weight=0.4), PAIR, "5m", capital=5_000.0)


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """Yield the venue and the folder of a trader that has traded, been halted and ended."""
    folder = tmp_path_factory.mktemp("traded")
    with Sandbox(11, PAIR, days=3, history=timedelta(days=2), lockstep=True) as venue:
        place = folder / "whole.sqlite"
        trader = Trader(NEW, venue.alpaca(), Store(folder / "store"), journal=place)
        trader.run(until=timedelta(minutes=15))
        trader.open().halt("panic")
        trader.floor.journal.note("halted", "halted:1", 1, {"reason": "in doubt"})
        market = {"slices": [[1, 1, [[1.0] * 7]]]}
        trader.floor.journal.note("warm", "warm:1", 1, market, NEW.universe)
        trader.stop()
        yield venue, folder


@pytest.fixture
def spoil(traded, tmp_path):
    """Return what does a statement to a copy of the journal, and gives its place."""

    def do(statement):
        place = tmp_path / "journal.sqlite"
        shutil.copy(traded[1] / "whole.sqlite", place)
        with closing(sqlite3.connect(place)) as database:
            database.execute(statement)
            database.commit()
        return place

    return do


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("profile", "{}"),
        ("profile", "[]"),
        ("profile", '{"action": "add"}'),
        ("profile", '{"action": "limits", "limits": {}}'),
        ("halted", "{}"),
        ("warm", '{"slices": []}'),
        ("warm", '{"slices": [[1, 1, [[1.0]]]]}'),
        ("slice", '{"time": 1, "known": 1, "symbols": ["BTC/USD"], "values": [[1.0]]}'),
        ("slice", '{"time": "x", "known": 1, "symbols": ["BTC/USD"], "values": [[1, 1, 1, 1, 1, 1, 1]]}'),
        ("cancellation", '{"order_id": "x", "profile": "one", "symbol": "DOGE/USD", "time": 1}'),
    ],
)
def test_a_row_that_lacks_what_it_should_hold_is_told_with_its_place(spoil, kind, body):
    if kind == "cancellation":
        place = spoil(f"insert into facts (kind, scope, id, time, body) values ('{kind}', 'one', 'c', 1, '{body}')")
    else:
        place = spoil(f"update facts set body = '{body}' where kind = '{kind}'")
    (seq, name), *_ = [(entry.seq, entry.id) for entry in read_journal(place) if entry.kind == kind]
    with pytest.raises(JournalError) as caught:
        replay_all(place)
    assert str(caught.value).startswith(f"{place}: row {seq} ({kind} {name}) is damaged: found ")
    assert "wanted" in str(caught.value)


def test_a_row_of_a_profile_that_was_never_set_up_is_told(spoil):
    with pytest.raises(JournalError, match=r"row \d+ \(order .* found profile 'lost', wanted .* which are one"):
        replay_all(spoil("update facts set scope = 'lost' where kind = 'order'"))


def test_what_is_in_force_for_all_is_not_read_out_of_a_damaged_row(spoil):
    with pytest.raises(JournalError, match=r"row \d+ \(halted halted:1\) is damaged"):
        latched(read_journal(spoil("update facts set body = '{}' where kind = 'halted'")))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("delete from facts where kind = 'profile'", "no profile, wanted the profiles that wrote them"),
        ("update facts set body = '{}' where kind = 'account'", r"row 1 \(account .* is damaged"),
    ],
)
def test_a_journal_that_lost_what_it_began_with_is_not_opened_as_a_new_one(spoil, traded, statement, said):
    place = spoil(statement)
    before = read_journal(place)
    with pytest.raises(JournalError, match=said):
        Trader(NEW, traded[0].alpaca(), Store(traded[1] / "store"), journal=place).open()
    assert read_journal(place) == before
