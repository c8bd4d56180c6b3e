"""Sessions by the clock of their place, around both switches to and from daylight saving, and who trades by them."""

import math
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.market.time import to_ns
from cryptoquant.trading.strategy import WORKDAYS, OpeningMomentum, OvernightHold, RuleOverBars, Session, TimeOfDay
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, gapping_panel
from tests.trading.views import decisions, last_view, panel_of

MINUTE = HOUR // 60
NEW_YORK = Session()


def ns(text):
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 3, 8), "2024-03-08T14:30", "2024-03-08T21:00"),  # Friday, winter: UTC-5
        (date(2024, 3, 10), "2024-03-10T13:30", "2024-03-10T20:00"),  # the Sunday of the switch: UTC-4 from 2:00
        (date(2024, 3, 11), "2024-03-11T13:30", "2024-03-11T20:00"),
        (date(2024, 11, 1), "2024-11-01T13:30", "2024-11-01T20:00"),
        (date(2024, 11, 3), "2024-11-03T14:30", "2024-11-03T21:00"),  # back to UTC-5 at 2:00
    ],
)
def test_a_session_follows_the_clock_of_its_place_over_both_switches(day, opens, closes):
    start, end = NEW_YORK.bounds(day)
    assert (start, end) == (ns(opens), ns(closes))
    assert [NEW_YORK.contains(moment) for moment in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert [NEW_YORK.slice_day(close) for close in (start, start + 1, end, end + 1)] == [None, day, day, None]


def test_the_night_of_a_switch_is_an_hour_shorter_or_longer():
    spring = NEW_YORK.bounds(date(2024, 3, 10))[0] - NEW_YORK.bounds(date(2024, 3, 9))[1]
    autumn = NEW_YORK.bounds(date(2024, 11, 3))[0] - NEW_YORK.bounds(date(2024, 11, 2))[1]
    assert (spring, autumn) == (16.5 * HOUR, 18.5 * HOUR)


def test_a_session_over_the_switch_itself_is_an_hour_shorter_or_longer():
    night = Session(open=time(22), close=time(6))
    assert night.bounds(date(2024, 3, 9))[1] - night.bounds(date(2024, 3, 9))[0] == 7 * HOUR
    assert night.bounds(date(2024, 11, 2))[1] - night.bounds(date(2024, 11, 2))[0] == 9 * HOUR
    assert night.longest == timedelta(hours=9)
    assert night.day(ns("2024-03-10T05:00")) == date(2024, 3, 9)


def test_an_hour_that_is_leapt_over_opens_by_the_old_clock_and_one_that_comes_twice_opens_the_first_time():
    early = Session(open=time(2, 30), close=time(9))
    assert early.bounds(date(2024, 3, 10))[0] == ns("2024-03-10T07:30")
    assert Session(open=time(1, 30), close=time(9)).bounds(date(2024, 11, 3))[0] == ns("2024-11-03T05:30")


def test_the_first_and_the_last_slice_of_a_session_are_known():
    start, end = NEW_YORK.bounds(date(2024, 7, 1))
    width = 5 * MINUTE
    closes = range(start - 2 * width, end + 3 * width, width)
    assert [close for close in closes if NEW_YORK.is_first(close, width)] == [start + width]
    assert [close for close in closes if NEW_YORK.is_last(close, width)] == [end]
    hours = range(start - 90 * MINUTE, end + 2 * HOUR, HOUR)  # 8:00, 9:00, ... New York: they do not meet the open
    assert [close for close in hours if NEW_YORK.is_first(close, HOUR)] == [start + 30 * MINUTE]
    assert [close for close in hours if NEW_YORK.is_last(close, HOUR)] == [end]


@given(moment=st.integers(ns("2023-01-01"), ns("2026-01-01")), span=st.integers(1, 24))
def test_a_moment_is_within_the_bounds_of_its_session_and_of_no_other(moment, span):
    session = Session("Europe/London", time(8), time((8 + span) % 24))
    around = datetime.fromtimestamp(moment // 10**9, UTC).date()
    inside = []
    for day in (around + timedelta(days=shift) for shift in (-2, -1, 0, 1)):
        start, end = session.bounds(day)
        if start <= moment < end:
            inside.append(day)
    found = session.day(moment)
    assert inside == [] if found is None else found in inside
    assert session.contains(moment) is bool(inside)


def test_a_session_of_workdays_has_no_weekend():
    session = Session(weekdays=WORKDAYS)
    assert session.contains(ns("2024-03-08T20:59"))
    assert not session.contains(ns("2024-03-09T18:00"))
    assert NEW_YORK.contains(ns("2024-03-09T18:00"))


def test_overnight_buys_at_the_close_and_sells_at_the_next_open_over_the_spring_switch():
    times = [ns(text) for text in (
        "2024-03-09T20:30", "2024-03-09T21:00", "2024-03-10T13:00", "2024-03-10T13:30", "2024-03-10T19:30",
        "2024-03-10T20:00",
    )]  # fmt: skip
    panel = panel_of({"A/USD": [1.0] * 6, "B/USD": [1.0] * 6}, times=times)
    assert decisions(OvernightHold(max_weight=0.3), panel)[:, 0].tolist() == [0, 0.3, 0.3, 0, 0, 0.3]
    assert decisions(OvernightHold(Session(weekdays=WORKDAYS)), panel)[:, 1].tolist() == [0.5] * 6


def test_a_time_of_day_is_held_between_its_hours_on_its_days():
    times = [ns(f"2024-01-0{day}T{hour:02}:00") for day in (1, 2) for hour in (20, 21, 22, 23)]
    panel = panel_of({"A/USD": [1.0] * 8}, times=times)
    assert decisions(TimeOfDay(max_weight=0.4), panel)[:, 0].tolist() == [0, 0.4, 0.4, 0] * 2
    mondays = TimeOfDay(time(22), time(22), weekdays=(0,), allows_short=True)
    assert decisions(mondays, panel)[:, 0].tolist() == [0, 0, -1, -1, -1, -1, 0, 0]


@pytest.mark.parametrize(
    "rule",
    [
        TimeOfDay(),
        TimeOfDay(time(23), time(4), (0, 5), "Asia/Tokyo", 0.2),
        OvernightHold(),
        OvernightHold(Session(open=time(16), close=time(16), weekdays=(1, 5)), 0.2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("start", ["2024-03-05T00:00", "2024-10-30T12:00"])
def test_hours_say_for_a_panel_what_they_decide_over_both_switches(rule, start):
    times = [ns(start) + 20 * MINUTE * row for row in range(700)]
    panel = panel_of({"A/USD": [1.0] * 700, "B/USD": [1.0] * 700}, times=times)
    assert isinstance(rule, RuleOverBars)
    assert np.array_equal(rule.weights(panel), decisions(rule, panel))


def opening(closes, start="2024-07-01T13:00", **more):
    """Half-hour bars of New York; the session opens at the first close of the default."""
    times = [ns(start) + 30 * MINUTE * (row + 1) for row in range(len(closes))]
    panel = panel_of({"A/USD": closes}, times=times, width=30 * MINUTE, open={"A/USD": [closes[0], *closes[:-1]]})
    return decisions(OpeningMomentum(bar="30m", **more), panel)[:, 0]


def test_the_opening_is_followed_until_the_close_and_not_beyond():
    # The close of row 0 is the open of the session; row 1 ends its first half hour 2 % up; row 13 is its close.
    assert opening([100, 102, *[90] * 13]).tolist() == [0, *[1] * 12, 0, 0]
    assert opening([100, 100.9, *[200] * 13]).tolist() == [0] * 15
    fallen = opening([100, 98, *[120] * 13], allows_short=True, max_weight=0.5)
    assert fallen.tolist() == [0, *[-0.5] * 12, 0, 0]
    assert opening([100, 98, *[120] * 13]).tolist() == [0] * 15


def test_the_opening_is_found_an_hour_later_in_winter():
    assert opening([100, 102, 102], start="2024-01-05T14:00").tolist() == [0, 1, 1]
    assert opening([100, 102, 102], start="2024-01-05T13:00").tolist() == [0, 0, 0]


def test_an_opening_without_its_prices_is_held_as_it_is():
    assert np.array_equal(opening([100, math.nan, 102, 103]), [0, math.nan, math.nan, math.nan], equal_nan=True)
    assert np.isnan(opening([100, 102, 103], start="2024-07-01T15:00")).all()


def test_an_opening_is_found_by_time_when_slices_are_missing():
    times = [ns("2024-07-01T13:30") + 30 * MINUTE * row for row in (0, 1, 5, 9)]
    prices = {"A/USD": [100, 102, 90, 90]}
    panel = panel_of(prices, times=times, width=30 * MINUTE, open={"A/USD": [99, 100, 90, 90]})
    assert decisions(OpeningMomentum(bar="30m"), panel)[:, 0].tolist() == [0, 1, 1, 1]


def test_bars_that_are_shorter_than_said_are_told_and_not_guessed_at():
    times = [ns("2024-07-01T13:00") + MINUTE * row for row in range(200)]
    panel = panel_of({"A/USD": [1.0] * 200}, times=times, width=MINUTE)
    rule = OpeningMomentum(bar="30m")
    with pytest.raises(ValueError, match="the last 17 slices begin at 2024-07-01T16:03:00Z, after the open at"):
        rule.decide(last_view(rule, panel))


@pytest.mark.parametrize("rule", [TimeOfDay(), OvernightHold(), OpeningMomentum(first="1h", bar="1h", threshold=0.001)])
def test_a_session_rule_trades_a_random_market(rule):
    report = simulate(rule, gapping_panel(300, ("A/USD", "B/USD"), seed=3), Costs.alpaca())
    assert report.fills.height > 5
    weights = decisions(rule, gapping_panel(300, ("A/USD", "B/USD"), seed=3, absent=0.05))
    assert set(weights[~np.isnan(weights)]) == {0.0, 0.5}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Session("Mars/Olympus"), "no time zone 'Mars/Olympus': wanted a name of the IANA data base"),
        (lambda: Session(open=time(9, tzinfo=UTC)), "open is in the clock of America/New_York, found a zone in 09:00"),
        (lambda: Session(weekdays=()), "weekdays are numbers from 0"),
        (lambda: TimeOfDay(weekdays=(7,)), r"weekdays are numbers .* found \(7,\)"),
        (lambda: OpeningMomentum(first="5m", bar="1h"), "wanted bar <= first < the session's length, found bar=1h"),
        (lambda: OpeningMomentum(first="8h"), "first < the session's length"),
        (lambda: OpeningMomentum(threshold=-1), "threshold must be a fraction of at least 0, found -1"),
        (lambda: OvernightHold(max_weight=0), "max_weight must lie in"),
    ],
)
def test_hours_that_make_no_sense_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
