"""The watchdog: silence is told from quiet by what is usual, and a jump of the clock is neither."""

from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.watchdog import SECOND, Watchdog
from tests.data.stream import START

TRADES, BARS = ("trades", "BTC/USD"), ("bars", "BTC/USD")
MINUTE = 60 * SECOND
pauses = st.lists(st.integers(1, 300 * SECOND), min_size=1, max_size=30)


def after(steps: list[int]) -> tuple[Watchdog, int]:
    dog, now = Watchdog(), START
    dog.heard(TRADES, now, 1)
    for step in steps:
        now += step
        dog.heard(TRADES, now, 1)
    return dog, now


@given(steps=pauses, later=st.integers(0, 300 * 20 * SECOND), more=st.integers(0, 10**14))
def test_who_is_silent_stays_silent_until_it_speaks(steps, later, more):
    dog, now = after(steps)
    if TRADES in dog.silent(now + later):
        assert dog.silent(now + later + more)[TRADES] == later + more
        dog.heard(TRADES, now + later + more, 1)
        assert not dog.silent(now + later + more)


@given(steps=pauses)
def test_nobody_is_silent_within_a_minute_and_everybody_after_twenty_of_the_longest_pauses(steps):
    dog, now = after(steps)
    assert not dog.silent(now + MINUTE)
    assert TRADES in dog.silent(now + max(MINUTE, 20 * max(steps)) + 1)


@given(steps=pauses, step=st.integers(-(10**15), 10**15), later=st.integers(0, 10**13))
def test_a_clock_that_jumps_changes_nothing_that_is_said(steps, step, later):
    dog, now = after(steps)
    said = dict(dog.silent(now + later))
    dog.shift(step)
    assert dict(dog.silent(now + later + step)) == said


@given(counts=st.lists(st.integers(1, 1_000), min_size=1, max_size=10))
def test_a_batch_is_one_pause_for_each_of_its_messages(counts):
    together, apart = Watchdog(), Watchdog()
    now = START
    for dog in (together, apart):
        dog.heard(TRADES, now, 1)
    for count in counts:
        together.heard(TRADES, now + count * SECOND, count)
        for _ in range(count):
            now += SECOND
        apart.heard(TRADES, now, 1)
        assert together._pulses[TRADES].usual <= apart._pulses[TRADES].usual + 1


def test_bars_must_come_every_minute_and_trades_that_never_came_need_not():
    dog = Watchdog()
    dog.expect([TRADES, BARS], START)
    assert not dog.silent(START + 150 * SECOND)
    assert dict(dog.silent(START + 151 * SECOND)) == {BARS: 151 * SECOND}
    dog.heard(BARS, START + 151 * SECOND, 1)
    assert not dog.silent(START + 152 * SECOND)


def test_a_new_connection_is_given_its_time():
    dog, now = after([SECOND] * 5)
    late = now + 10 * MINUTE
    assert TRADES in dog.silent(late)
    dog.expect([TRADES], late)
    assert not dog.silent(late + MINUTE)
    assert TRADES in dog.silent(late + MINUTE + 1)
