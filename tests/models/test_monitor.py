"""The monitor: streams taken whole, alarms that are not lost, triggers that keep their distance."""

import json
import math
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.errors import DataError, ModelError
from cryptoquant.models.monitoring.drift import FeatureDrift
from cryptoquant.models.monitoring.finding import Finding, Part
from cryptoquant.models.monitoring.monitor import Monitor, Watch, outcome_streams
from cryptoquant.models.monitoring.trigger import Trigger, read_triggers, write_triggers
from tests.models.datasets import HOUR
from tests.models.test_predictions import START, joined_frame, versions

DAY = 24 * HOUR


class Limit:
    """A stream check that alarms once for each value above a bound: what a user may write."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.reset()

    def update(self, rows) -> None:
        self.seen += [float(value) for value in np.ravel(rows)]

    def look(self) -> Finding | None:
        if not self.seen:
            return None
        worst, self.seen = max(self.seen), []
        return Finding(worst, self.bound, worst > self.bound, f"{worst:g}")

    def reset(self) -> None:
        self.seen = []


class Mean:
    """A window check of the mean of eight rows."""

    window = 8

    def judge(self, rows) -> Finding:
        found = float(rows[-8:].mean())
        return Finding(found, 1.0, found > 1.0, parts=(Part("mean", found, 1.0),))


portions = st.lists(st.integers(1, 9), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=8, max_size=60), portions)
def test_a_window_is_judged_as_it_stands_whatever_portions_its_rows_came_in(values, sizes):
    rows = np.array(values)
    whole, parts = (Monitor({"m": Watch("drift", "score", Mean())}) for _ in range(2))
    whole.update(score=rows)
    place = 0
    for size in [*sizes, len(rows)]:
        parts.update(score=rows[place : place + size])
        place += size
    assert whole.check(5) == parts.check(5)
    assert whole.looked == parts.looked
    assert whole.looked[0].finding.value == pytest.approx(rows[-8:].mean())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.booleans()), max_size=40), st.integers(0, 72))
def test_triggers_of_one_kind_keep_their_distance_and_a_schedule_is_never_early(steps, apart):
    watches = {"a": Watch("drift", "score", Limit(1.0)), "b": Watch("decay", "loss", Limit(1.0))}
    monitor = Monitor(watches, every=timedelta(hours=100), trained=START, apart=timedelta(hours=apart))
    now = START
    for hours, drifts, decays in steps:
        now += hours * HOUR
        monitor.update(score=[2.0 * drifts], loss=[2.0 * decays])
        made = monitor.check(now)
        assert all(one.at == now for one in made)
        if not any(one.kind == "drift" for one in monitor.triggers):
            assert not drifts
    for kind in ("drift", "decay", "schedule"):
        times = [one.at for one in monitor.triggers if one.kind == kind]
        assert all(later - one >= apart * HOUR for one, later in pairwise(times))
        if kind == "schedule":
            assert all(at >= START + 100 * HOUR for at in times)


def test_the_strongest_alarm_of_a_kind_gives_the_trigger_and_the_schedule_begins_anew():
    watches = {"a": Watch("drift", "score", Limit(1.0)), "b": Watch("drift", "score", Limit(0.5))}
    monitor = Monitor(watches, every=timedelta(days=30), trained=START)
    monitor.update(score=[2.0])
    (trigger,) = monitor.check(START + DAY)
    assert (trigger.name, trigger.value, trigger.threshold, trigger.detail) == ("b", 2.0, 0.5, "2; also a")
    (due,) = monitor.check(START + 30 * DAY)
    assert (due.kind, due.value, due.threshold) == ("schedule", 30.0, 30.0)
    monitor.update(score=[9.0])
    monitor.retrained(START + 30 * DAY, {"a": Limit(100.0)})
    assert monitor.check(START + 59 * DAY) == []
    monitor.update(score=[50.0])
    assert [one.name for one in monitor.check(START + 60 * DAY)] == ["b", "schedule"]
    with pytest.raises(ValueError, match="no watch reads loss; read are score"):
        monitor.update(loss=[1.0])
    with pytest.raises(ValueError, match="every must be longer"):
        Monitor({}, every=timedelta(0))


def test_a_window_is_looked_at_again_when_a_quarter_of_it_is_new():
    monitor = Monitor({"m": Watch("drift", "score", Mean())})
    monitor.update(score=np.zeros(7))
    monitor.check(1)
    assert monitor.looked == []
    for count, looks in ((1, 1), (1, 1), (1, 2), (8, 3)):
        monitor.update(score=np.zeros(count))
        monitor.check(2)
        assert len(monitor.looked) == looks


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=8, max_size=40), st.lists(st.integers(0, 7), max_size=5))
def test_rows_that_are_not_finite_are_left_out_and_counted(values, places):
    holed = np.insert(np.array(values), places, np.nan)
    whole, torn = (Monitor({"m": Watch("drift", "score", Mean()), "l": Watch("decay", "loss", Mean())}) for _ in "ab")
    whole.update(score=values, loss=values)
    torn.update(score=holed, loss=values)
    assert torn.left_out == ({"score": len(places)} if places else {})
    assert torn.check(5) == whole.check(5)
    assert torn.looked == whole.looked


def test_a_bad_row_neither_raises_nor_costs_another_watch_its_alarm():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((800, 2))
    drift = FeatureDrift.fit(rows, window=100)
    monitor = Monitor({"a": Watch("decay", "score", Limit(1.0)), "f": Watch("drift", "features", drift)})
    fresh = rows[:200].copy()
    fresh[50, 1] = np.nan
    monitor.update(score=[2.0], features=fresh)
    assert [one.name for one in monitor.check(1)] == ["a"]
    assert [one.name for one in monitor.looked] == ["a", "f"]
    assert monitor.left_out == {"features": 1}


class Broken:
    """A stream check that cannot judge."""

    def update(self, rows) -> None:
        pass

    def look(self) -> Finding | None:
        raise ModelError("no judgement")

    def reset(self) -> None:
        pass


def test_a_watch_that_cannot_judge_costs_the_others_nothing():
    watches = {
        "a": Watch("drift", "score", Limit(1.0)),
        "b": Watch("drift", "score", Broken()),
        "c": Watch("decay", "score", Limit(1.0)),
    }
    monitor = Monitor(watches)
    monitor.update(score=[2.0])
    with pytest.raises(ModelError, match=r"b: no judgement \(triggers made all the same: drift by a, decay by c\)"):
        monitor.check(7)
    assert [one.name for one in monitor.looked] == ["a", "c"]
    assert [(one.kind, one.name, one.at) for one in monitor.triggers] == [("drift", "a", 7), ("decay", "c", 7)]


def test_a_stream_is_taken_whole_or_refused_in_words():
    drift = FeatureDrift.fit(np.random.default_rng(0).standard_normal((100, 3)), window=10)
    monitor = Monitor({"f": Watch("drift", "features", drift), "s": Watch("decay", "score", Limit(1.0))})
    for wrong, words in (
        ([1.0, 2.0], r"features: rows of shape \(2,\), wanted \(rows, 3\)"),
        (np.zeros((2, 4)), r"features: rows of shape \(2, 4\), wanted \(rows, 3\)"),
        ([["a", "b", "c"]], "features: rows that are no numbers"),
        ([[1.0, 2.0, 3.0], [1.0]], "features: rows that are no numbers"),
        (np.zeros((2, 3, 1)), r"features: rows of shape \(2, 3, 1\)"),
    ):
        with pytest.raises(ModelError, match=words):
            monitor.update(score=[5.0], features=wrong)
    assert monitor.check(1) == []
    monitor.update(features=[], score=[])
    monitor.update(features=[1.0, 2.0, 3.0], score=2.0)
    assert monitor._checks["f"]._rows.tolist() == [[1.0, 2.0, 3.0]]
    assert [one.name for one in monitor.check(2)] == ["s"]
    with pytest.raises(ModelError, match=r"score: rows of shape \(1, 2\), wanted \(rows\) as before"):
        monitor.update(score=[[1.0, 2.0]])


def test_a_restarted_monitor_does_not_give_its_triggers_again(tmp_path):
    path = tmp_path / "triggers.jsonl"

    def watched() -> Monitor:
        watches = {"a": Watch("drift", "score", Limit(1.0))}
        return Monitor(watches, apart=timedelta(days=1), triggers=read_triggers(path))

    first = watched()
    first.update(score=[2.0])
    write_triggers(first.check(START), path)
    again = watched()
    again.update(score=[2.0])
    assert again.check(START + 23 * HOUR) == []
    again.update(score=[2.0])
    assert [one.at for one in again.check(START + DAY)] == [START + DAY]
    assert [one.at for one in again.triggers] == [START, START + DAY]


@given(
    st.sampled_from(["schedule", "drift", "decay"]),
    st.text(max_size=20),
    st.integers(0, 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_trigger_is_read_as_it_was_written(kind, words, at, value):
    trigger = Trigger(kind, words, at, value, 1.0, words)
    assert Trigger.from_line(trigger.to_line()) == trigger
    assert "\n" not in trigger.to_line()


def test_triggers_are_kept_as_strict_json_lines(tmp_path):
    path = tmp_path / "deep" / "triggers.jsonl"
    made = [Trigger("drift", "a", 1, 2.0, 1.0), Trigger("decay", "b", 2, math.nan, math.nan, "mean 1 before")]
    for one in made:
        write_triggers([one], path)
    assert "NaN" not in path.read_text()
    first, second = read_triggers(path)
    assert first == made[0]
    assert math.isnan(second.threshold)
    for wrong in ("{", "[]", json.dumps({**json.loads(made[0].to_line()), "kind": "mood"})):
        with pytest.raises(DataError, match="no trigger"):
            Trigger.from_line(wrong)


def test_a_torn_trigger_was_never_written_and_hides_no_other(tmp_path):
    path = tmp_path / "triggers.jsonl"
    assert read_triggers(path) == []
    first, second = Trigger("drift", "a", 1, 2.0, 1.0), Trigger("decay", "b", 2, 3.0, 1.0)
    write_triggers([first], path)
    with path.open("ab") as file:
        file.write(b'{"kind": "dri')
    assert read_triggers(path) == [first]
    write_triggers([second], path)
    assert read_triggers(path) == [first, second]
    for act in (lambda: read_triggers(tmp_path), lambda: write_triggers([first], tmp_path)):
        with pytest.raises(DataError, match="triggers cannot be"):
            act()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_outcomes_are_taken_once_in_time_order_whenever_one_asks(steps):
    rng = np.random.default_rng(0)
    one, _ = versions(edge=0.0, count=120)
    late = one.with_columns(
        symbol=pl.lit("ETH/USD"),
        label_known=(pl.col("time") + pl.duration(hours=pl.Series(rng.integers(1, 8, 120)))).dt.cast_time_unit("ns"),
        value=pl.Series(rng.random(120)),
    )
    both = pl.concat([one, late]).sort("time", "symbol")

    def known(now: int) -> pl.DataFrame:
        seen = both.filter(pl.col("time").dt.epoch("ns") <= now)
        there = pl.col("label_known").dt.epoch("ns") <= now
        return seen.with_columns(pl.when(there).then(pl.col(name)) for name in ("rise", "label_return", "label_known"))

    def watched() -> Monitor:
        keeps = {name: Watch("decay", name, Limit(2.0)) for name in ("outcomes", "brier", "log_loss", "pnl")}
        return Monitor(keeps)

    whole, parts = watched(), watched()
    end = START + 130 * HOUR
    whole.settle(known(end))
    now = START
    for hours in steps:
        now += hours * HOUR
        parts.settle(known(min(now, end)))
    parts.settle(known(end))
    for name in ("outcomes", "brier", "log_loss", "pnl"):
        assert parts._checks[name].seen == whole._checks[name].seen
    assert len(whole._checks["outcomes"].seen) == 2 * 240
    # Labels reach four hours ahead: every fourth moment is free of overlap.
    assert len(whole._checks["brier"].seen) == 30


def test_the_thinned_streams_by_hand():
    frame = joined_frame([0.6, 0.9, 0.2], [1, 0, 0], returns=[0.01, -0.02, -0.03], horizon=2)
    streams, after = outcome_streams(frame)
    assert streams["brier"] == pytest.approx([0.16, 0.04])
    assert streams["log_loss"] == pytest.approx([-math.log(0.6), -math.log(0.8)])
    assert streams["pnl"] == pytest.approx([0.01, 0.03])
    assert after == START + 4 * HOUR
    assert outcome_streams(frame, after)[0]["brier"].tolist() == []


def test_an_outcome_that_never_comes_does_not_hold_up_the_others():
    frame = joined_frame([0.6] * 10, [1, None, *[0] * 8], horizon=2)
    monitor = Monitor({"o": Watch("decay", "outcomes", Limit(2.0))})
    monitor.settle(frame.head(6))
    assert len(monitor._checks["o"].seen) == 2
    monitor.settle(frame)
    assert len(monitor._checks["o"].seen) == 2 * 9
