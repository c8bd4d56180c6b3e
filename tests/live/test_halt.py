"""The kill switch: a halt or a pause of all holds for who joins meanwhile too, through restarts, until it is ended."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.journal import read_journal
from cryptoquant.live.profile import Profile
from cryptoquant.live.trader import Trader
from tests.live.test_restraint import step

PAIR = ("BTC/USD",)
SLICE_NS = 5 * 60 * 10**9
LATCHES = ("halt", "pause", "close", "itself", "ahead")
MOVES = (*LATCHES, "resume", "unpause", "resume first", "add", "shadow", "restart", "remove")


@dataclass(frozen=True)
class InAndOut:
    """Holds a third at every other slice."""

    lookback: int = 1

    def decide(self, view):
        return dict.fromkeys(view.symbols, 0.3 * (view.time // SLICE_NS % 2))


class Life:
    """A trader that is commanded, started again and given more profiles; all on one journal."""

    def __init__(self, venue, folder):
        self.venue, self.folder, self.profiles = venue, folder, []
        self.join(is_shadow=False)
        self.start()

    def join(self, *, is_shadow):
        name = f"p{len(self.profiles)}"
        made = Profile.rule(name, InAndOut(), PAIR, "5m", capital=5_000.0, is_shadow=is_shadow)
        self.profiles.append(made)
        return made

    def start(self):
        place = self.folder / "journal.sqlite"
        self.trader = Trader(self.profiles, self.venue.alpaca(), Store(self.folder / "store"), journal=place).open()
        self.trader.shift._settle()

    def do(self, move):
        trader = self.trader
        if move in ("itself", "ahead"):
            trader.floor._is_ahead = move == "ahead"
            with pytest.raises(HaltedError, match="in doubt"):
                trader.floor.halt("in doubt")
        if move in ("itself", "ahead", "restart"):
            trader.stop()
            self.join(is_shadow=False)
            self.start()
        elif move in ("add", "shadow"):
            trader.operator._preparing.add(self.join(is_shadow=move == "shadow"))
        elif move == "resume first":
            trader.operator.command("resume", next(iter(trader.floor.desks)))
        elif move == "remove":
            for name, desk in list(trader.floor.desks.items())[:-1]:
                if not (desk.holds or desk.is_busy):
                    trader.operator.remove(name)
        else:
            trader.operator.command(move)
        step(self.trader, 11)

    def end(self):
        """Resume all, let them trade, and return the journal's rows."""
        self.do("resume")
        assert all(one.is_equal for one in self.trader.replays().values())
        self.trader.stop()
        return read_journal(self.folder / "journal.sqlite")


def opened_against_the_switch(entries):
    """Return the ids of orders that open while a halt or a pause of all is in force for their profile."""
    shut, freed, present, found = set(), set(), set(), []
    for entry in entries:
        action = entry.fact().action if entry.kind == "command" else entry.kind
        if entry.kind == "profile":
            change = present.add if entry.content()["action"] == "add" else present.discard
            change(entry.scope)
            freed.discard(entry.scope)
        if action in ("halt", "halted", "pause", "close") and not entry.scope:
            shut.add("halt" if action.startswith("halt") else "pause")
            freed.clear()
        elif action == "resume":
            shut, freed = (shut, freed | {entry.scope}) if entry.scope else (set(), set())
        elif action == "unpause" and not entry.scope:
            shut.discard("pause")
        elif entry.kind == "order" and entry.fact().side == "buy" and shut and entry.scope not in freed:
            found.append(entry.id)
        if present and present <= freed:  # let go one by one
            shut.clear()
    return found


@settings(max_examples=4, deadline=None)
@given(moves=st.lists(st.sampled_from(MOVES), min_size=1, max_size=4))
@example(moves=["halt", "restart", "add", "remove", "restart"])
@example(moves=["ahead", "shadow", "unpause"])
@example(moves=["pause", "add", "itself", "resume first"])
def test_nothing_is_opened_between_a_halt_of_all_and_its_end_whoever_joins(tmp_path_factory, moves):
    with Sandbox(11, PAIR, days=3, history=timedelta(days=2), lockstep=True) as venue:
        life = Life(venue, tmp_path_factory.mktemp("halt"))
        for move in moves:
            life.do(move)
        entries = life.end()
    assert opened_against_the_switch(entries) == []
    last = max(entry.seq for entry in entries if entry.kind == "command")
    after = {entry.scope for entry in entries if entry.kind == "order" and entry.seq > last}
    assert after == set(life.trader.floor.desks)


@pytest.mark.parametrize(("is_running", "freed_by"), [(True, "p1"), (False, "")])
def test_a_profile_that_joins_under_a_halt_tells_so_and_trades_once_it_is_resumed(tmp_path, is_running, freed_by):
    with Sandbox(11, PAIR, days=3, history=timedelta(days=2), lockstep=True) as venue:
        life = Life(venue, tmp_path)
        life.trader.halt("panic")
        life.do("add" if is_running else "restart")
        assert life.trader.status().profiles["p1"].halted == "panic"
        entries = read_journal(tmp_path / "journal.sqlite")
        place = next(n for n, entry in enumerate(entries) if entry.kind == "profile" and entry.scope == "p1")
        assert (entries[place + 1].scope, entries[place + 1].fact().action) == ("p1", "halt")
        life.trader.operator.command("resume", freed_by)
        step(life.trader, 11)
        life.trader.stop()
    assert any(entry.kind == "order" and entry.scope == "p1" for entry in read_journal(tmp_path / "journal.sqlite"))


def test_a_halt_of_all_is_over_when_each_is_resumed(tmp_path):
    with Sandbox(11, PAIR, days=3, history=timedelta(days=2), lockstep=True) as venue:
        life = Life(venue, tmp_path)
        life.do("add")
        life.trader.halt("panic")
        halted = []
        for name in ("p0", "p1"):
            life.trader.operator.command("resume", name)
            life.do("shadow")
            halted.append(life.trader.status().profiles[life.profiles[-1].name].halted)
            life.trader.operator.command("resume", life.profiles[-1].name)
        life.trader.stop()
    assert halted == ["panic", ""]
