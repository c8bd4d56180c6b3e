"""What a study adds to the page: what was stressed, learned and traded, and where it came from."""

import math
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence_lines import evidence_lines
from cryptoquant.performance.folding import folded_lines
from cryptoquant.performance.page import page_text
from cryptoquant.performance.page_folds import folds_table
from cryptoquant.performance.page_prices import MOST_BARRIERS, barriers_of, largest_fills
from cryptoquant.performance.page_study import importance_part, paths_part, quality_part, robustness_part
from cryptoquant.performance.page_tables import evidence_table
from cryptoquant.performance.page_trades import length
from cryptoquant.performance.report import Report
from cryptoquant.performance.robustness import Robustness, Stress
from tests.performance.reports import GOOD, folds_frame, report_over
from tests.performance.test_page import outline

EVIL = "<script>alert('x')</script>\"&"
STRESSES = (
    Stress("costs", "costs x 2", 1.4, 0.2, -0.1, 0.0),
    Stress("costs", EVIL, -0.5, -0.1, -0.3, 0.0),
    Stress("luck", "order of trades", math.nan, math.nan, -0.2, 0.5),
    Stress(EVIL, "free", 2.6, 0.4, -0.1),
)


def with_papers(**papers) -> Report:
    return replace(report_over(900, trades=60), dossier=Dossier(GOOD, **papers))


def test_a_change_that_misses_its_limit_is_crossed_and_called_missed():
    part = robustness_part(with_papers(robustness=Robustness(STRESSES)))
    found = outline(part)
    words = " ".join(found.text)
    assert "1 of 3 limits are kept." in words
    assert words.count("✓ met") == 1
    assert words.count("✗ missed") == 2
    signs = [attributes["href"] for tag, attributes in found.tags if tag == "use"]
    assert signs == ["#dot", "#failed", "#dot", "#failed", "#dot"]
    assert "script" not in {tag for tag, _ in found.tags}
    assert words.count("Costs") == 1


def test_paths_are_sorted_and_their_shares_written():
    paths = pl.DataFrame({"path": range(5), "sharpe": [1.0, -1.0, math.nan, 2.0, 0.5]})
    part = paths_part(with_papers(paths=paths))
    assert "4 paths: median 0.75, lowest -1.00, 25 % not above zero." in part
    assert part.count('<use href="#dot"') == 4


def test_importance_shows_the_first_thirty_with_bars_in_proportion():
    frame = pl.DataFrame({"feature": [EVIL, *(f"f{i}" for i in range(34))], "importance": np.geomspace(0.5, 0.001, 35)})
    part = importance_part(with_papers(importance=frame))
    assert "The first 30 of 35 features." in part
    assert 'width="100.0%"' in part
    assert "script" not in {tag for tag, _ in outline(part).tags}


def test_quality_and_fingerprints_are_written_as_they_are():
    quality = pl.DataFrame({"symbol": [EVIL], "bars": [8_328], "missing": [3], "longest_gap_bars": [2]})
    report = with_papers(quality=quality, fingerprints={"data": "9f" * 32, EVIL: EVIL})
    found = outline(page_text(report))
    words = " ".join(found.text)
    for text in ("Data quality", "8,328", "Longest gap bars", "9f" * 32):
        assert text in words
    assert "script" not in {tag for tag, _ in found.tags}


def test_what_a_run_does_not_know_is_not_on_its_page():
    report = report_over(300, trades=6)
    for part in (robustness_part, paths_part, importance_part, quality_part):
        assert part(report) == ""
    words = " ".join(outline(page_text(report)).text)
    for title in ("Robustness", "Paths", "Feature importance", "Data quality", "Folds"):
        assert title not in words


@pytest.mark.parametrize("reason", ["stop", "target", "liquidation"])
def test_a_forced_exit_has_a_sign_of_its_own_even_among_many_larger_fills(reason):
    report = report_over(3_000, trades=1_000)
    place = pl.int_range(pl.len()) == 501
    small = pl.when(place).then(0.01).otherwise("value").alias("value")
    forced = pl.when(place).then(pl.lit(reason)).otherwise("reason").alias("reason")
    report = replace(report, fills=report.fills.with_columns(small, forced))
    assert reason in largest_fills(report.fills)["reason"].to_list()
    text = page_text(report)
    assert text.count(f'<use href="#{reason}"') == 2
    assert f"({reason})" in text


def test_barriers_are_drawn_thinned_to_the_longest():
    report = report_over(900, trades=60)
    time = report.equity["time"]
    opened = time.gather(np.arange(800))
    hours = pl.Series([timedelta(hours=1 + i % 50) for i in range(800)])
    frame = pl.DataFrame({"symbol": "BTC/USD", "opened": opened, "closed": opened + hours, "take": 130.0, "stop": 70.0})
    frame = frame.with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then(math.nan).otherwise("take").alias("take"))
    report = replace(report, dossier=Dossier(barriers=frame))
    shown = barriers_of(report, "BTC/USD")
    assert shown.height == MOST_BARRIERS
    assert (shown["closed"] - shown["opened"]).min() >= timedelta(hours=31)
    assert shown["opened"].is_sorted()
    text = page_text(report)
    assert 'class="take"' in text
    assert 'class="guard"' in text
    assert barriers_of(report, "ETH/USD").is_empty()


def test_folds_are_rows_on_a_time_line_with_what_is_known_of_them():
    folds = folds_frame(3).with_columns(
        (pl.col("test_start") - timedelta(days=31)).alias("train_start"),
        (pl.col("test_start") - timedelta(days=1)).alias("train_end"),
        pl.Series("return", [0.1, -0.2, None]),
        pl.Series("sharpe", [1.5, math.nan, 0.0]),
        pl.Series("fees", [1_234.5, 0.0, 1.0]),
    )
    text = page_text(replace(report_over(700), folds=folds))
    assert text.count('class="learned"') == 3
    assert text.count('class="tested"') == 3
    assert text.count('class="embargo"') == 3
    words = " ".join(outline(text).text)
    for cell in ("Trained on", "Tested on", "+10.0 %", "-20.0 %", "1,234.50", "Fees, USD"):
        assert cell in words


def heads_of(part, label):
    """Return the heads of the table with that label."""
    return re.findall("<th(?: [^>]*)?>(.*?)</th>", part.split(f'aria-label="{label}"')[1].split("</thead>")[0])


def test_what_folds_chose_stands_below_them_and_columns_that_say_nothing_are_left_out():
    names = [name for name in folds_frame().columns if name.startswith("hit_rate")]
    chose = pl.Series("params", ['{"depth": 3}', '{"depth": 3}', '{"depth": 4}'])
    part = folds_table(replace(report_over(700), folds=folds_frame().with_columns(chose)))
    assert heads_of(part, "Folds") == ["Fold", "Tested on", "Train rows", "Test rows", "Hits, train", "Hits, test"]
    assert '<td class="n">2024-01-01 to 2024-01-09</td>' in part
    assert heads_of(part, "Chosen parameters") == ["Fold", "Trials", "Chosen parameters"]
    assert "<td>0 to 1</td><td>8</td><td>depth 3</td>" in part
    assert "<td>2</td><td>8</td><td>depth 4</td>" in part
    rule = folds_frame().with_columns(pl.lit(math.nan).alias(name) for name in names)
    part = folds_table(replace(report_over(700), folds=rule.with_columns(params=pl.lit("{}"), trials=0)))
    assert heads_of(part, "Folds") == ["Fold", "Tested on", "Train rows", "Test rows"]
    assert "Chosen parameters" not in part


def test_evidence_that_is_not_defined_is_one_line_for_each_reason():
    alone = replace(GOOD, study_trials=1, dsr=math.nan, pbo=math.nan, pbo_low=math.nan)
    lines = evidence_lines(alone)
    folded = folded_lines(lines)
    (line,) = [line for line in folded if line.meaning.startswith("fewer than two study trials: ")]
    assert line.name == "Not defined"
    assert "Reality check; SPA; SPA, lower; SPA, upper" in line.meaning
    assert int(line.value) == len(line.meaning.split("; "))
    assert [one for one in folded if one.wanted] == [one for one in lines if one.wanted]
    reasons = ["the equity never moved", "fewer than two study trials", "not known of this run"]
    assert {one.meaning.split(": ")[0] for one in folded if one.name == "Not defined"} == set(reasons)
    assert len(folded) < len(lines) - 8
    for line in lines:
        assert any(line.name in one.name + one.meaning for one in folded)
    part = evidence_table(replace(report_over(900, trades=60), dossier=Dossier(alone)))
    assert part.count("<tr>") == len(folded) + 1


def test_evidence_that_is_defined_is_not_folded():
    full = replace(GOOD, **{name: 0.5 for name, value in GOOD.to_dict().items() if isinstance(value, float)})
    assert folded_lines(evidence_lines(full)) == evidence_lines(full)


@pytest.mark.parametrize(("days", "text"), [(1 / 1_440, "1 min"), (2 / 24, "2 h"), (1.0, "1 d"), (12.34, "12.3 d")])
def test_a_length_is_written_in_its_natural_unit(days, text):
    assert length(days) == text
