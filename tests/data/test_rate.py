"""The allowance: never more requests in a minute than the venue permits, whatever the rhythm of asking."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.rate import TokenBucket


class Clock:
    """Seconds that pass by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def bucket(self, per_minute: int, burst: int) -> TokenBucket:
        return TokenBucket(per_minute, burst=burst, clock=lambda: self.now, sleep=self.sleep)


@given(
    st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3, 5.0, 61.0]), max_size=150),
)
def test_no_minute_holds_more_requests_than_allowed(limits, pauses):
    clock = Clock()
    bucket = clock.bucket(*limits)
    granted = []
    for pause in pauses:
        clock.now += pause
        waited = bucket.take()
        assert waited >= 0
        granted.append(clock.now)
    for number, moment in enumerate(granted):
        assert sum(moment <= other < moment + 59.999 for other in granted[number:]) <= limits[0]


def test_a_burst_comes_at_once_and_the_rest_evenly():
    clock = Clock()
    bucket = clock.bucket(200, 20)
    waits = [bucket.take() for _ in range(25)]
    assert waits[:20] == pytest.approx([0.0] * 20)
    assert waits[20:] == pytest.approx([1 / 3] * 5)
    clock.now += 600
    assert [bucket.take() for _ in range(20)] == pytest.approx([0.0] * 20)


@given(st.floats(0.1, 300), st.integers(0, 30))
def test_a_pause_holds_for_all_who_share_the_bucket(seconds, before):
    clock = Clock()
    bucket = clock.bucket(200, 20)
    for _ in range(before):
        bucket.take()
    asked = clock.now
    bucket.pause(seconds)
    bucket.pause(seconds / 2)
    bucket.take()
    assert clock.now >= asked + seconds - 1e-9


@given(st.integers(0, 60), st.floats(0, 100), st.sampled_from([None, False, True]))
def test_a_wait_that_is_ended_grants_nothing_and_one_that_is_not_grants(before, pause, ending):
    clock = Clock()
    said = None

    def sleep(seconds: float) -> bool | None:
        clock.sleep(seconds)
        return said

    bucket = TokenBucket(200, burst=20, clock=lambda: clock.now, sleep=sleep)
    for _ in range(before):
        assert bucket.take() is not None
    bucket.pause(pause)
    said, must_wait = ending, pause > 0 or before >= 20
    assert (bucket.take() is None) == (ending is True and must_wait)


def test_threads_share_one_allowance():
    clock = Clock()
    bucket = clock.bucket(20, 10)
    threads = [threading.Thread(target=lambda: [bucket.take() for _ in range(5)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert clock.now - 1_000.0 >= (30 - 10) * 6.0 - 1e-6


def test_limits_that_make_no_sense_are_refused():
    for limits in ((10, 10), (10, 0)):
        with pytest.raises(ValueError, match="burst"):
            Clock().bucket(*limits)
