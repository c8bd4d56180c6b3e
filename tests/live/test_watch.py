"""The dead man's rule: a silence that lasts pauses, its end opens again, and nothing else does."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.live.watch import Patience, Watch

SECOND = timedelta(seconds=1)
PATIENCE = Patience(data=30 * SECOND, updates=20 * SECOND, venue=10 * SECOND)
moments = st.lists(
    st.tuples(st.floats(0.1, 8.0), st.floats(0.0, 60.0), st.booleans(), st.sampled_from(["", "no answer"])), max_size=40
)


@given(moments)
def test_it_is_paused_exactly_while_something_was_silent_for_longer_than_is_borne(told):
    watch, now, deaf_since, mute_since = Watch(PATIENCE), 0.0, None, None
    for step, data_age, is_listening, trouble in told:
        now += step
        deaf_since = None if is_listening else (now if deaf_since is None else deaf_since)
        mute_since = None if not trouble else (now if mute_since is None else mute_since)
        before = watch.paused
        said = watch.look(now, data_age=data_age, is_listening=is_listening, trouble=trouble)
        lasts = [data_age > 30.0, deaf_since is not None and now - deaf_since > 20.0]
        lasts.append(mute_since is not None and now - mute_since > 10.0)
        assert bool(watch.paused) == any(lasts)
        assert (said is None) == (bool(before) == any(lasts))


def test_a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not():
    watch = Watch(PATIENCE)
    assert watch.jump(1_000.0, 0.0) == 0.0
    assert watch.jump(1_010.1, 10.0) == 0.0
    assert watch.jump(1_080.1, 20.0) == pytest.approx(60.0)
    assert watch.jump(1_090.1, 30.0) == 0.0
    assert watch.jump(1_000.1, 40.0) == pytest.approx(-100.0)


def test_a_patience_of_nothing_is_refused():
    with pytest.raises(ValueError, match="patience for updates must be above zero"):
        Patience(updates=timedelta(0))


def test_the_end_of_a_silence_does_not_end_the_pause_of_the_operator(hire):
    trader = hire().start()
    try:
        trader.operator.command("pause", "main", "a look at the model")
        trader.shift._pause("no market data for 180 s")
        trader.shift._pause("")
        assert trader.desk.engine.risk.paused == "a look at the model"
        trader.operator.command("unpause", "main")
        trader.shift._pause("no market data for 180 s")
        assert trader.desk.engine.risk.paused == "no market data for 180 s"
        trader.shift._pause("")
        assert trader.desk.engine.risk.paused == ""
    finally:
        trader.stop()
