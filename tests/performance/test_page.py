"""The page of a report: whole, self-contained, small, safe and the same each time."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.market.schema import SIGNALS
from cryptoquant.performance.alarms import Alarm
from cryptoquant.performance.axes import Scale, number_ticks, scale_over, time_ticks
from cryptoquant.performance.decimation import extreme_rows
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.page import alarm_box, page_text, write_page
from cryptoquant.performance.report import REJECTIONS
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, START, gapping_panel
from tests.performance.reports import GOOD, folds_frame, report_over, stamps

VOID = {"meta", "br", "img", "link", "hr", "input"}
DRAWN = {"path", "use", "line"}


class Outline(HTMLParser):
    """Checks that every tag is closed in order and keeps tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def pictures(text: str) -> list[ElementTree.Element]:
    return [
        ElementTree.fromstring(part) for part in re.findall(r'(?<=<div class="plot">)<svg.*?</svg>(?=</div>)', text)
    ]


def signals_frame(count: int = 50) -> pl.DataFrame:
    times = stamps(START + HOUR * np.arange(1, count + 1)).to_list()
    rows = {
        "name": ["m"] * count,
        "symbol": ["BTC/USD"] * count,
        "time": times,
        "known": times,
        "kind": ["probability"] * count,
        "value": np.linspace(0.2, 0.9, count),
        "horizon": [None] * count,
    }
    return pl.DataFrame(rows, schema=SIGNALS)


def refused_frame(reasons: list[str]) -> pl.DataFrame:
    count = len(reasons)
    rows = {
        "time": stamps([START + HOUR] * count),
        "symbol": ["BTC/USD"] * count,
        "side": ["buy"] * count,
        "quantity": [1.0] * count,
        "reason": reasons,
        "order_id": ["o"] * count,
    }
    return pl.DataFrame(rows, schema=REJECTIONS)


@pytest.fixture(scope="module")
def full():
    report = report_over(800, trades=140, symbols=("BTC/USD", "ETH/USD"), name="river", notes=("A seeded market.",))
    return replace(
        report,
        folds=folds_frame(),
        signals=signals_frame(),
        rejections=refused_frame(["insufficient cash"] * 30),
        dossier=Dossier(GOOD, replace(report.statistics, total_return=0.5)),
    )


def test_the_page_is_well_formed_and_holds_every_part(full):
    text = page_text(full)
    found = outline(text)
    words = " ".join(found.text)
    for part in ("Equity", "Drawdown", "Evidence", "Prices and fills", "Returns by month", "Folds", "Statistics"):
        assert part in words
    for part in (
        "Rolling Sharpe ratio",
        "Exposure and turnover",
        "Best trades",
        "Worst trades",
        "Time held",
        "Paid so far",
    ):
        assert part in words
    for part in ("Costs", "Refused orders", "insufficient cash", "Signals", "Last 50 of 70 trades", "A seeded market."):
        assert part in words
    for part in ("Risk", "Against buy and hold", "Deepest drawdowns", "Closed trades", "Ulcer index", "Impact"):
        assert part in words
    assert "Passes the gate" in words
    assert "deflated by 7 study trials" in words
    assert "depth 3, rate 0.01235" in words
    assert "95 % interval 0.40 to 3.50, daily returns" in words
    assert "Caution: 30 orders were refused" in words
    drawn = pictures(text)
    assert len(drawn) == 12
    assert all(any(element.tag in DRAWN for element in picture.iter()) for picture in drawn)


def test_the_page_needs_nothing_from_outside(full):
    text = page_text(full)
    assert "://" not in text.replace("http://www.w3.org/", "")
    assert "@import" not in text
    assert "url(" not in text
    for tag, attributes in outline(text).tags:
        assert tag not in {"script", "link", "iframe", "img", "object"}
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") or name == "src" for name in attributes)
    assert "prefers-color-scheme:dark" in text


def test_the_same_report_is_the_same_bytes(full, tmp_path):
    first, second = (write_page(full, tmp_path / "deep" / name) for name in ("one.html", "two.html"))
    assert first.read_bytes() == second.read_bytes()
    slower = replace(full, folds=full.folds.with_columns(pl.col("seconds") * 2))
    assert page_text(slower) == first.read_text(encoding="utf-8")
    assert full.to_html(tmp_path / "three.html").read_bytes() == first.read_bytes()


def test_hostile_text_is_escaped_everywhere():
    evil = "<script>alert('x')</script>\"&"
    report = report_over(100, trades=20, symbols=(evil + "/USD",), name=evil, notes=(evil,))
    folds = folds_frame().with_columns(pl.lit(evil).alias("params"))
    signals = signals_frame().with_columns(pl.lit(evil).alias("kind"))
    report = replace(report, folds=folds, signals=signals, rejections=refused_frame([evil]))
    found = outline(page_text(report))
    assert "script" not in {tag for tag, _ in found.tags}
    assert "".join(found.text).count(evil) >= 6


def test_a_hundred_thousand_slices_stay_below_a_megabyte(tmp_path):
    report = report_over(100_000, trades=4_000, symbols=("BTC/USD", "ETH/USD"), folds=folds_frame(60))
    path = write_page(report, tmp_path / "long.html")
    assert path.stat().st_size < 1_000_000
    text = path.read_text(encoding="utf-8")
    assert "300 of 2,000 fills are marked: forced exits, then the largest" in text
    assert text.count('<use href="#buy"') + text.count('<use href="#sell"') == 600 + 2


def test_many_symbols_are_capped_and_the_page_says_so():
    symbols = tuple(f"C{number}/USD" for number in range(100))
    text = page_text(report_over(200, trades=20, symbols=symbols))
    assert "The 12 most traded of 100 symbols are drawn." in text
    assert text.count('aria-label="Price of C') == 12


@pytest.mark.parametrize("slices", [1, 2, 50])
def test_a_report_without_fills_is_a_page(slices):
    words = " ".join(outline(page_text(report_over(slices))).text)
    assert "Not judged: this report holds no evidence" in words
    assert "none closed" in words
    assert "Mean gain to mean loss" not in words


def test_statistics_that_are_not_defined_are_dashes():
    report = report_over(20)
    flat = report.equity.with_columns(pl.lit(100_000.0).alias("equity"), pl.lit(math.nan).alias("benchmark"))
    numbers = {name: math.nan for name, value in report.statistics.to_dict().items() if isinstance(value, float)}
    folds = folds_frame().with_columns(pl.lit(math.nan).alias("hit_rate_test"))
    broken = replace(GOOD, **{name: math.nan for name, value in GOOD.to_dict().items() if isinstance(value, float)})
    dossier = Dossier(broken)
    page = replace(report, equity=flat, statistics=replace(report.statistics, **numbers), folds=folds, dossier=dossier)
    words = " ".join(outline(page_text(page)).text)
    assert "nan" not in words.lower().split()
    assert "Does not pass the gate" in words
    assert "probability of a Sharpe ratio above zero: not defined" in words


def test_a_run_without_a_benchmark_is_compared_with_nothing_and_a_known_volume_gives_a_capacity():
    report = report_over(900, trades=40)
    fills = report.fills.with_columns(pl.lit(0.001).alias("participation"))
    report = replace(report, equity=report.equity.drop("benchmark"), fills=fills)
    words = " ".join(outline(page_text(report)).text)
    assert "Against buy and hold" not in words
    assert "Capacity at 1 % of bars" in words


def test_a_simulated_run_has_a_page():
    panel = gapping_panel(300, ("BTC/USD", "ETH/USD"), seed=3, absent=0.1)
    weights = np.where(np.arange(300)[:, None] // 20 % 2 == 0, 0.4, 0.0) * np.ones((1, 2))
    report = simulate(weights, panel, Costs.alpaca(tier=1, slippage_bps=3.0))
    words = " ".join(outline(page_text(report)).text)
    assert "Fees, taker" in words
    assert f"{report.statistics.trades:,}" in words


def test_every_part_has_an_anchor_and_every_picture_and_table_a_name(full):
    text = page_text(full)
    anchors = re.findall(r'<a href="#([a-z-]+)">', text)
    assert anchors == re.findall(r'<section id="([a-z-]+)">', text)
    assert len(anchors) == len(set(anchors)) >= 12
    for tag, attributes in outline(text).tags:
        if attributes.get("role") in ("img", "region"):
            assert attributes.get("aria-label")
        if tag == "use" and attributes["href"] != "#alarm":
            assert f'id="{attributes["href"][1:]}"' in text


def test_alarms_stand_right_under_the_verdict_with_a_sign_and_are_escaped():
    box = alarm_box([Alarm("few days", "only <b>3</b> of them"), Alarm("costs", "the edge dies")])
    found = outline(box)
    assert "".join(found.text) == "Few days only <b>3</b> of themCosts the edge dies"
    assert [attributes["href"] for tag, attributes in found.tags if tag == "use"] == ["#alarm"] * 2
    assert alarm_box([]) == ""


@pytest.mark.parametrize("column", ["equity", "benchmark", "exposure"])
def test_holes_in_a_curve_do_not_break_the_page(column):
    report = report_over(900, trades=40)
    holed = pl.when(pl.int_range(pl.len()).is_between(300, 400)).then(math.nan).otherwise(column).alias(column)
    text = page_text(replace(report, equity=report.equity.with_columns(holed)))
    assert not re.search(r'd="[^"]*nan', text)
    assert "nan" not in " ".join(outline(text).text).lower().split()


def test_thinning_keeps_the_extremes_and_the_ends():
    values = np.random.default_rng(0).standard_normal(100_000)
    values[[777, 88_888]] = [50.0, -50.0]
    values[500:520] = np.nan
    rows = extreme_rows(values)
    assert {0, 777, 88_888, 99_999} <= set(rows.tolist())
    assert len(rows) <= 1_502
    assert (np.diff(rows) > 0).all()
    assert np.isfinite(values[rows]).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3e-9, 5e-9), (99.99, 100.01), (1e5, 4.2e6)])
def test_ticks_are_round_and_inside(low, high):
    for scale in (Scale(low, high), scale_over(abs(low) + 1, high + 7, logarithmic=True)):
        ticks = number_ticks(scale, 5)
        assert 2 <= len(ticks) <= 12
        assert all(scale.low <= value <= scale.high for value in ticks)
        assert all(len(f"{value:.6g}") <= 9 for value in ticks)


@given(low=st.floats(-50, 49), length=st.floats(0.01, 50), count=st.integers(3, 8))
def test_an_axis_has_three_ticks_at_least_and_not_too_many(low, length, count):
    assert 3 <= len(number_ticks(Scale(low, low + length), count)) <= 2 * count + 1


def test_an_axis_from_zero_to_nine_has_more_than_two_ticks():
    assert number_ticks(Scale(-0.36, 9.36), 3) == [0.0, 2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize("hours", [1, 5, 30, 24 * 9, 24 * 70, 24 * 400, 24 * 3_650])
def test_dates_on_the_axis_are_distinct_and_inside(hours):
    start = START + 37 * 60_000_000_000
    ticks = time_ticks(start, start + hours * HOUR, 8)
    assert 4 <= len(ticks) <= 14
    assert all(start <= instant <= start + hours * HOUR for instant, _ in ticks)
    assert all(after > before for (before, _), (after, _) in pairwise(ticks))
