"""The present of a venue, and the latest that its clock may show."""

import time
from datetime import timedelta

import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.clock import WallClock, clock_of

MINUTE_NS = 60 * 10**9


@pytest.mark.parametrize(("how", "least"), [({"lockstep": True}, 60), ({"speed": 1_800}, 960)])
def test_a_sandbox_that_runs_on_while_it_answers_may_be_as_far_as_its_speed_takes_it(how, least):
    with Sandbox(11, days=2, history=timedelta(days=1), **how) as venue:
        clock = clock_of(venue.alpaca())
        before = clock.now()
        assert least <= (clock.latest() - before) / 1e9 < least + 600
        if "lockstep" in how:
            assert clock.latest() == before + MINUTE_NS


def test_clocks_of_machines_may_differ_by_a_minute():
    before = time.time_ns()
    assert MINUTE_NS <= WallClock().latest() - before < 2 * MINUTE_NS
