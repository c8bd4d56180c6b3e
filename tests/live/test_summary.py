"""The days of each profile add up to what it is at the end, and each fact stands on its day."""

from datetime import date, time, timedelta

import pytest

from cryptoquant.data.store import Store
from cryptoquant.live.profile import Profile
from cryptoquant.live.summary import DAY, summary
from cryptoquant.live.trader import Trader
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import TimeOfDay


@pytest.fixture
def traded(bundle, sandbox, tmp_path):
    """Two profiles, one of which its gate refuses, and a shadow, and a rule that is filled after its last slice."""
    small = RiskLimits(max_order_value=500.0)
    profiles = [
        Profile("free", bundle, capital=40_000.0),
        Profile("held", bundle, capital=10_000.0, limits=small),
        Profile("ghost", bundle, capital=40_000.0, is_shadow=True),
        Profile.rule("hours", TimeOfDay(time(3), time(9), max_weight=0.5), ["BTC/USD"], "1h", capital=10_000.0),
    ]
    trader = Trader(profiles, sandbox.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
    trader.run(until=timedelta(hours=51, minutes=5))
    return trader


def test_the_days_of_a_profile_add_up_to_its_status(traded):
    rows, done = traded.summary(), traded.status()
    assert rows["profile"].unique(maintain_order=True).to_list() == ["free", "held", "ghost", "hours"]
    for (name,), days in rows.group_by("profile", maintain_order=True):
        own = done.profiles[name]
        assert days["day"].to_list() == sorted(set(days["day"]))
        assert days["profit"].sum() == pytest.approx(own.profit, abs=1e-6)
        assert days["equity"][-1] == pytest.approx(own.equity, abs=1e-6)
        assert days["fees"].sum() == pytest.approx(own.fees, abs=1e-6)
        assert (days["fills"].sum(), days["refused"].sum()) == (own.fills, own.refused)
    assert done.profiles["free"].fills > 10
    assert done.profiles["held"].refused > 10
    hours = traded.replays()["hours"]
    assert hours.fills[-1].time >= hours.slices[-1].time
    assert hours.curve[-1][1] - done.profiles["hours"].equity > 10.0


def test_a_slice_that_closes_at_midnight_ends_its_day_and_what_it_decides_belongs_to_the_next(traded):
    known = traded.replays()
    rows = summary(known)
    one = known["free"]
    midnights = [(moment, equity) for moment, equity, _, _ in one.curve if moment % DAY == 0]
    assert len(midnights) == 2
    for moment, equity in midnights:
        day = date(1970, 1, 1) + timedelta(days=moment // DAY - 1)
        assert rows.filter(profile="free", day=day)["equity"].item() == equity
    last = rows.filter(profile="free")["day"][-1]
    after = [fill for fill in one.fills if fill.time // DAY == (last - date(1970, 1, 1)).days]
    assert rows.filter(profile="free")["fills"][-1] == len(after)
