"""Feature quality as a table in the terminal, as a figure and as a page."""

import re
from pathlib import Path

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.features.quality import FeatureQuality, measure_quality
from cryptoquant.features.quality_tables import bps, chance, number
from tests.features.quality_markets import foreseen, market
from tests.market_makers import frame_of, gapping_panel


@pytest.fixture(scope="module")
def quality() -> FeatureQuality:
    random = np.random.default_rng(0)
    returns = 0.01 * random.standard_normal((2, 2_000))
    signal = foreseen(returns) + 0.03 * random.standard_normal(returns.shape)
    features = {
        "a_feature_with_quite_a_long_name_indeed": signal,
        "its_shadow": signal + 0.01 * random.standard_normal(returns.shape),
        "<b>noise</b>": random.standard_normal(returns.shape),
        "steady": np.ones(returns.shape),
        "absent": np.full(returns.shape, np.nan),
    }
    return measure_quality(*market(returns, features), (1, 6, 24))


def test_the_table_fits_a_hundred_columns_and_says_how_many_pairs_were_looked_at(
    quality: FeatureQuality, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert quality.show() is None
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert "5 features x 3 horizons = 15 pairs looked at" in printed
    head, first = next((lines[n], lines[n + 1]) for n in range(len(lines)) if lines[n].startswith("Feature  "))
    assert " ".join(head.split()) == "Feature Bars IC 95 % q Q1 Q2 Q3 Q4 Q5 Q5-Q1 Same Turn"
    assert first.startswith("a_feature_with_quite_a_lon… ")
    assert "*" in first
    assert first.endswith("%")
    assert "Constant: steady." in printed
    assert "Without a value: absent." in printed
    assert "stands for its_shadow" in printed
    assert "Decay, bars:" in printed


def test_only_as_many_pairs_are_printed_as_wanted(quality: FeatureQuality, capsys: pytest.CaptureFixture[str]) -> None:
    quality.show(rows=4)
    assert "11 weaker pairs are not shown." in capsys.readouterr().out


def test_a_figure_has_a_panel_for_each_question(quality: FeatureQuality) -> None:
    figure = quality.figure()
    titles = [note.text for note in figure.layout.annotations]
    assert len(titles) == 5
    whiskers = [trace for trace in figure.data if trace.type == "scatter" and trace.error_x.array is not None]
    assert [trace.name for trace in whiskers] == ["1 bar", "6 bars", "24 bars"]
    row = quality.frame.row(0, named=True)
    assert whiskers[0].x[0] == row["rank_ic"]
    assert whiskers[0].x[0] + whiskers[0].error_x.array[0] == pytest.approx(row["rank_ic_high"])
    assert whiskers[0].x[0] - whiskers[0].error_x.arrayminus[0] == pytest.approx(row["rank_ic_low"])
    fifths, months, between = (trace for trace in figure.data if trace.type == "heatmap")
    assert fifths.text[0][0] == bps(row["quantile_1"])
    assert len(months.y) == len(between.y) == 5
    curves = {trace.name: trace for trace in figure.data if trace.legend == "legend2"}
    assert list(curves["its_shadow"].x) == quality.decay["horizon"].unique().sort().to_list()


def test_a_page_is_one_file_without_a_network_and_the_same_each_time(quality: FeatureQuality, tmp_path: Path) -> None:
    path = quality.to_html(tmp_path / "new" / "page.html")
    text = path.read_text(encoding="utf-8")
    assert len(text) < 6_000_000
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    assert "15 pairs looked at" in text
    assert "&lt;b&gt;noise&lt;/b&gt;" in text
    assert '<td class="w"><b>noise' not in text
    assert "Constant: steady." in text
    assert quality.to_html(str(tmp_path / "again.html")).read_bytes() == path.read_bytes()


def test_one_feature_over_one_horizon_is_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    features = {"x": random.standard_normal(60), "flat": np.ones(60)}
    one = measure_quality(*market(0.01 * random.standard_normal(60), {"x": features["x"]}), (1,))
    none = measure_quality(*market(0.01 * random.standard_normal(60), {"flat": features["flat"]}), (1,))
    for quality in (one, none):
        quality.show()
        quality.to_html(tmp_path / "page.html")
    assert "1 feature x 1 horizon = 1 pair looked at, 0 significant" in capsys.readouterr().out
    assert repr(one).startswith("FeatureQuality(1 feature x 1 horizon = 1 pair")


def test_numbers_are_written_for_a_narrow_column() -> None:
    assert [number(value) for value in (0.1234, -0.1234, 0.0, -0.0001, 1.0, -1.0, float("nan"), None)] == [
        *("+.123", "-.123", "+.000", "+.000", "+1.000", "-1.000", "-", "-")
    ]
    assert [bps(value) for value in (0.00123, -0.000123, -0.000001, 0.000996, 0.000994, float("nan"))] == [
        *("+12", "-1.2", "+0.0", "+10", "+9.9", "-")
    ]
    assert [chance(value) for value in (0.0002, 0.0321, 1.0, float("nan"))] == ["<.001", ".032", "1.000", "-"]


def test_a_narrow_terminal_leaves_the_fifths_out_and_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    bars = frame_of(gapping_panel(200, seed=3))
    f.FeatureSet([f.rsi(5), f.roc(3)]).quality(bars, horizons=[1]).show()
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    row = next(line for line in lines if "rsi_5" in line)
    assert "…" not in row
    assert max(map(len, lines[4:6])) <= 80
    assert not any(" Q2" in line for line in lines[:6])
