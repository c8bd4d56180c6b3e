"""The dead man's rule: each silence pauses after its patience and no sooner, and its end lets trading go on."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.live.watch import LARGEST_JUMP, Patience, Watch

QUIET = {"data_age": 0.0, "is_listening": True, "trouble": ""}
SILENCES = {
    "updates": {**QUIET, "is_listening": False},
    "venue": {**QUIET, "trouble": "no answer"},
}


@given(st.sampled_from(sorted(SILENCES)), st.integers(1, 500), st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_a_silence_pauses_once_when_its_patience_is_over_and_its_end_unpauses(name, patience, steps):
    watch = Watch(Patience(**{name: timedelta(seconds=patience)}))
    now, said = 0.0, []
    for step in [0, *steps]:
        now += step
        said.append(watch.look(now, **SILENCES[name]))
        assert bool(watch.paused) == (now > patience)
    assert [bool(reason) for reason in said if reason is not None] == [True] * (now > patience)
    assert watch.look(now, **QUIET) == ("" if now > patience else None)
    assert watch.look(now + 1, **SILENCES[name]) is None


@given(st.floats(0.0, 400.0))
def test_market_data_that_are_older_than_the_patience_pause(age):
    reason = Watch(Patience(data=timedelta(seconds=180))).look(0.0, **{**QUIET, "data_age": age})
    assert bool(reason) == (age > 180.0)


def test_the_reason_names_what_is_silent_and_for_how_long():
    assert Watch(Patience()).look(0.0, **{**QUIET, "data_age": 181.0}) == "no market data for 180 s"
    deaf, mute = Watch(Patience()), Watch(Patience())
    deaf.look(0.0, **SILENCES["updates"])
    mute.look(0.0, **SILENCES["venue"])
    assert deaf.look(61.0, **SILENCES["updates"]) == "no order stream for 60 s"
    assert mute.look(61.0, **SILENCES["venue"]) == "the venue does not answer: no answer"


@given(st.floats(-20.0, 20.0) | st.floats(-1e6, 1e6), st.floats(0.0, 3_600.0))
def test_a_clock_that_moves_otherwise_than_the_steady_one_has_jumped(jump, passed):
    watch = Watch(Patience())
    assert watch.jump(1e9, 100.0) == 0.0
    told = watch.jump(1e9 + passed + jump, 100.0 + passed)
    if abs(jump) < LARGEST_JUMP - 1e-3:
        assert told == 0.0
    elif abs(jump) > LARGEST_JUMP + 1e-3:
        assert told == pytest.approx(jump, abs=1e-3)


@pytest.mark.parametrize("name", ["data", "updates", "venue"])
def test_a_patience_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"patience for {name} must be above zero"):
        Patience(**{name: timedelta(0)})


def test_the_end_of_a_silence_does_not_end_the_pause_of_the_operator(hire):
    trader = hire().open()
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


def test_the_end_of_a_silence_does_not_lift_what_the_operator_closed_meanwhile(hire):
    trader = hire().open()
    try:
        trader.shift._pause("no market data for 180 s")
        trader.operator.command("close", "main", "closed for the night")
        trader.shift._pause("")
        assert trader.desk.engine.risk.paused == "closed for the night"
    finally:
        trader.stop()


def test_once_it_winds_down_no_silence_and_no_end_of_one_changes_the_pause(hire):
    trader = hire().open()
    try:
        trader.shift._pause("no market data for 180 s")
        trader.shift.wind_down()
        assert trader.desk.engine.risk.paused == "paused by command"
        trader.operator.command("unpause", "main")
        trader.shift._heed_silence(trader.feed.heard + 1_000.0)
        assert trader.shift._watch.paused == "no market data for 180 s"
        assert trader.desk.engine.risk.paused == ""
    finally:
        trader.stop()
