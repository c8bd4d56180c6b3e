"""Fee schedules: the row that applies at a time and a volume, and the volume of the last 30 days."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.compiled import plain
from cryptoquant.market.time import to_datetime, to_ns
from cryptoquant.trading.schedule import (
    DAY_NS,
    SCHEDULES,
    Rate,
    note_volume,
    rates_at,
    schedule,
    table_of,
    trailing_volume,
    volume_state,
)
from cryptoquant.trading.venue import ALPACA_TIERS, Costs

START = to_ns("2020-02-20T13:00:00Z")
DATES = [to_ns(day) for day in ("2019-12-31", "2020-02-29", "2021-01-01")]


def naive_rates(rates, time, volume):
    """The row that applies, as a person reads a price list."""
    dates = sorted({rate.since for rate in rates})
    since = max([date for date in dates if date <= time], default=dates[0])
    return max((rate for rate in rates if rate.since == since and rate.volume_from <= volume), key=volume_of)


def volume_of(rate):
    return rate.volume_from


@st.composite
def schedules(draw):
    rates = []
    for since in draw(st.lists(st.sampled_from(DATES), min_size=1, unique=True)):
        volumes = draw(st.lists(st.integers(1, 1000), max_size=4, unique=True))
        fee = st.floats(0, 50)
        rates += [Rate(since, float(volume), draw(fee), draw(fee)) for volume in (0, *volumes)]
    return draw(st.permutations(rates))


@given(schedules(), st.integers(-400, 800), st.sampled_from([-1, 0, 1]), st.integers(0, 1100))
def test_the_rate_is_that_of_the_last_table_and_the_highest_volume_reached(rates, days, nanosecond, volume):
    time = DATES[0] + days * DAY_NS + nanosecond * 10**9
    wanted = naive_rates(rates, time, volume)
    for found in (rates_at, plain(rates_at)):
        assert found(table_of(rates), time, float(volume)) == (wanted.maker_bps * 1e-4, wanted.taker_bps * 1e-4)


@given(
    st.lists(st.tuples(st.integers(0, 40 * 24 * 60), st.integers(0, 10**9)), max_size=80),
    st.integers(0, 70 * 24 * 60),
)
def test_the_trailing_volume_is_what_the_30_days_before_today_traded(trades, wait):
    time, state, slow = START, volume_state(), volume_state()
    traded: list[tuple[datetime, int]] = []
    for minutes, value in [*trades, (wait, 0)]:
        time += minutes * 60 * 10**9
        today = to_datetime(time).date()
        window = [today - timedelta(days=back) for back in range(1, 31)]
        wanted = float(sum(value for when, value in traded if when.date() in window))
        assert trailing_volume(state, time) == wanted
        assert plain(trailing_volume)(slow, time) == wanted
        note_volume(state, time, float(value))
        plain(note_volume)(slow, time, float(value))
        traded.append((to_datetime(time), value))
        assert state.tobytes() == slow.tobytes()


@given(st.lists(st.tuples(st.integers(0, 3 * DAY_NS), st.floats(0, 1e9)), max_size=60))
def test_machine_code_and_python_remember_the_same_bits(trades):
    fast, slow, time = volume_state(), volume_state(), START
    for wait, value in trades:
        time += wait
        note_volume(fast, time, value)
        plain(note_volume)(slow, time, value)
        assert fast.tobytes() == slow.tobytes()
        assert (
            np.float64(trailing_volume(fast, time)).tobytes()
            == np.float64(plain(trailing_volume)(slow, time)).tobytes()
        )


def test_a_tier_is_reached_on_the_day_after_and_left_after_thirty_days():
    table, state = table_of(schedule("alpaca")), volume_state()
    first = to_ns("2024-01-01T10:00:00Z")
    note_volume(state, first, 99_500.0)
    note_volume(state, first + 1, 600.0)

    def taker(text: str) -> float:
        return rates_at(table, to_ns(text), trailing_volume(state, to_ns(text)))[1]

    assert taker("2024-01-01T23:59:59Z") == pytest.approx(25e-4)
    assert taker("2024-01-02T00:00:00Z") == pytest.approx(22e-4)
    assert taker("2024-01-31T23:59:59Z") == pytest.approx(22e-4)
    assert taker("2024-02-01T00:00:00Z") == pytest.approx(25e-4)


def test_the_schedule_of_alpaca_ends_in_the_tiers_that_the_venue_charges_today():
    table = table_of(schedule("alpaca"))
    volumes = (0.0, 1e5, 5e5, 1e6, 1e7, 2.5e7, 5e7, 1e8)
    for (maker, taker), volume in zip(ALPACA_TIERS.values(), volumes, strict=True):
        assert rates_at(table, to_ns("2025-09-24"), volume) == pytest.approx((maker * 1e-4, taker * 1e-4))
    assert rates_at(table, to_ns("2023-03-13") - 1_000, 0.0) == pytest.approx((25e-4, 25e-4))


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_more_volume_never_costs_more_and_makers_never_pay_more_than_takers(name):
    table = table_of(schedule(name))
    assert np.all(table[:, 2] <= table[:, 3])
    for since in np.unique(table[:, 0]):
        rows = table[table[:, 0] == since]
        assert np.all(np.diff(rows[:, 2:], axis=0) <= 0)
        assert to_datetime(int(since)) >= datetime(2017, 1, 1, tzinfo=UTC)


def test_an_unknown_venue_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="alpaca, binance, bitstamp, coinbase"):
        schedule("kraken")


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ([], "at least one"),
        ([Rate(0, 5.0, 1.0, 1.0)], "wanted 0"),
        ([Rate(0, 0.0, 1.0, 1.0), Rate(0, 0.0, 2.0, 2.0)], "two rates"),
        ([Rate(0, 0.0, 1.0, 1.0), Rate(7, 3.0, 2.0, 2.0)], "wanted 0"),
    ],
)
def test_a_table_with_a_hole_is_refused(rates, words):
    with pytest.raises(ValueError, match=words):
        table_of(rates)


@pytest.mark.parametrize("row", [(0, -1.0, 1.0, 1.0), (0, 0.0, -1.0, 1.0), (0, 0.0, 1.0, 10_000.0)])
def test_an_impossible_rate_is_refused(row):
    with pytest.raises(ValueError, match="found"):
        Rate(*row)


def test_costs_say_that_a_schedule_charges_and_not_all_of_its_rates():
    assert repr(Costs.of("alpaca")).endswith(f"schedule=<{len(schedule('alpaca'))} rates>)")
    assert repr(Costs.of("binance")).endswith("schedule=<1 rate>)")
    assert "maker_bps" not in repr(Costs.of("binance"))
    assert "maker_bps=15.0, taker_bps=25.0" in repr(Costs.alpaca())
