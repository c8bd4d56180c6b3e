"""The page of a deployed model: whole, self-contained, and plain about what is wrong."""

import math
import re
from datetime import timedelta

import numpy as np
import polars as pl

from cryptoquant.models.monitoring.divergence import Divergence
from cryptoquant.models.monitoring.drift import FeatureDrift
from cryptoquant.models.monitoring.duel import duel
from cryptoquant.models.monitoring.finding import Finding, Part
from cryptoquant.models.monitoring.monitor import Looked, Monitor, Watch
from cryptoquant.models.monitoring.page import Watched, page_text, verdict
from cryptoquant.models.monitoring.pictures import drift_picture
from cryptoquant.models.monitoring.skill import skill
from tests.models.datasets import HOUR
from tests.models.test_monitor import Limit
from tests.models.test_predictions import START, joined_frame, versions
from tests.performance.test_page import outline, pictures

DAY = 24 * HOUR


def watched_model() -> Watched:
    rng = np.random.default_rng(7)
    drift = FeatureDrift.fit(rng.standard_normal((900, 3)), ["a", "<b>", "c"], window=96)
    monitor = Monitor(
        {
            "features": Watch("drift", "features", drift),
            "skill": Watch("decay", "score", Limit(4.0)),
        },
        every=timedelta(days=20), trained=START, apart=timedelta(days=5),
    )  # fmt: skip
    for day in range(1, 31):
        moved = np.array([0.0, 2.0 * (day > 20), 0.0])
        monitor.update(features=rng.standard_normal((24, 3)) + moved, score=[5.0 * (day == 12)])
        monitor.check(START + day * DAY)
    champion, challenger = versions(edge=0.1, count=500)
    both = skill(pl.concat([champion, challenger]))
    aliases = {"champion": 1, "challenger": 2, "shadow": 3}
    everything = (tuple(monitor.looked), tuple(monitor.triggers))
    return Watched("m", START + 30 * DAY, both, aliases, *everything, duel(champion, challenger), START)


def test_the_page_is_whole_self_contained_and_says_at_its_head_what_is_wrong(tmp_path):
    watched = watched_model()
    text = page_text(watched)
    found = outline(text)
    words = " ".join(found.text)
    assert watched.to_html(tmp_path / "deep" / "watch.html").read_text() == text
    assert page_text(watched_model()) == text
    for tag, attributes in found.tags:
        assert tag not in ("script", "link", "img", "iframe")
        assert not attributes.get("href", "#").startswith("http")
    assert re.search(r"<h1>m</h1>.{0,200}Do not trust this model without a look", text)
    assert "features: the market has changed (&lt;b&gt;)" in text
    assert "skill: the skill has changed (5)" in text
    for part in ("m@1", "champion", "m@3", "shadow", "Calibration", "challenger earned more than chance", "drift"):
        assert part in words
    assert len(pictures(text)) == 6
    assert {one.kind for one in watched.triggers} == {"drift", "decay", "schedule"}


def finding_of(**parts: float) -> Finding:
    return Finding(1.0, 1.0, False, parts=tuple(Part(name, value, 2.0) for name, value in parts.items()))


def test_a_retrained_model_with_other_features_is_drawn_beside_the_one_before():
    looked = [
        Looked(START, "f", "drift", finding_of(alpha=1.0, beta=5.0)),
        Looked(START + DAY, "f", "drift", finding_of(beta=4.0, gamma=math.inf, delta=math.nan)),
    ]
    text = drift_picture(looked)
    for name, is_there in (("alpha", True), ("beta", True), ("gamma", True), ("delta", False)):
        assert (name in text) == is_there
    assert outline(page_text(Watched("m", START + DAY, looked=tuple(looked)))).open == []


def test_only_distances_are_drawn_in_units_of_their_threshold():
    rng = np.random.default_rng(1)
    found = Divergence(rng.standard_normal(200)).judge(rng.standard_normal(30))
    assert {part.alarms for part in found.parts} == {"below"}
    assert all(math.isnan(part.ratio) for part in found.parts)
    assert drift_picture([Looked(START, "d", "drift", found)]) == ""
    assert Part("slope", -3.0, 2.0).ratio == 1.5
    assert math.isnan(Part("none", 1.0, 0.0).ratio)


def test_a_quiet_model_and_one_that_nobody_has_seen_are_told_apart():
    assert verdict(Watched("m", START))[1] == "Nothing can be said yet: no watch has seen enough."
    monitor = Monitor({"s": Watch("drift", "score", Limit(1.0))}, every=timedelta(days=2), trained=START)
    monitor.update(score=[0.5])
    monitor.check(START + DAY)
    calm = Watched("m", START + DAY, looked=tuple(monitor.looked))
    assert verdict(calm)[:2] == ("passed", "Nothing that chance would not show.")
    monitor.check(START + 2 * DAY)
    due = Watched("m", START + 2 * DAY, looked=tuple(monitor.looked), triggers=tuple(monitor.triggers))
    assert "due for training" in verdict(due)[1]
    waiting = Watched("m", START, skill(joined_frame([0.5, 0.6], [None, None])))
    assert verdict(waiting)[2] == ["2 predictions wait for their outcome"]
    assert outline(page_text(waiting)).open == []
