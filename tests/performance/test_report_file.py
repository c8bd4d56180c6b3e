"""A saved report says the same page again, and a file with anything else in it is refused by name."""

import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.errors import DataError
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.page import page_text
from cryptoquant.performance.report import Report
from cryptoquant.performance.report_file import PAPERS, TABLES
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.trading.venue import Costs
from tests.market_makers import gapping_panel
from tests.performance.reports import GOOD, folds_frame, report_over

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def whole() -> Report:
    report = report_over(900, trades=40, name="a <study>", notes=("Said · in full.",))
    stresses = (Stress("costs", "costs x 2", 1.0, 0.1, -0.2), Stress("delay", "one bar", math.nan, 0.0, -0.1, 0.5))
    dossier = Dossier(
        evidence=replace(GOOD, dsr=math.nan, minimum_track_record_days=math.inf),
        before_costs=replace(report.statistics, calmar=-math.inf),
        robustness=Robustness(stresses),
        importance=pl.DataFrame({"feature": ["rsi"], "importance": [1.0]}),
        quality=pl.DataFrame({"symbol": ["BTC/USD"], "bars": [900]}),
        paths=pl.DataFrame({"path": [0], "sharpe": [0.1]}),
        fingerprints={"data": "9f" * 32},
    )
    return replace(report, folds=folds_frame(), dossier=dossier, costs=Costs.of("binance"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    numbers=st.tuples(NUMBERS, NUMBERS),
    slices=st.integers(1, 60),
    trades=st.integers(0, 20),
)
def test_a_report_that_was_saved_and_read_says_the_same_page(tmp_path, name, numbers, slices, trades):
    report = report_over(slices, trades=trades, name=name)
    free = replace(report.statistics, sharpe=numbers[0], fees=numbers[1])
    report = replace(report, dossier=Dossier(before_costs=free))
    back = Report.read(report.save(tmp_path / "run.cqr"))
    assert page_text(back) == page_text(report)


def test_everything_comes_back_to_the_bit_and_the_same_report_is_the_same_file(tmp_path):
    report = whole()
    first, second = report.save(tmp_path / "deep" / "one.cqr"), report.save(tmp_path / "two.cqr")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    back = Report.read(first)
    assert page_text(back) == page_text(report)
    for name in TABLES:
        assert getattr(back, name).equals(getattr(report, name), null_equal=True)
    for name in PAPERS:
        assert getattr(back.dossier, name).equals(getattr(report.dossier, name))
    assert back.costs == report.costs
    assert repr(back.dossier.evidence) == repr(report.dossier.evidence)
    assert repr(back.dossier.before_costs) == repr(report.dossier.before_costs)
    assert repr(back.dossier.robustness) == repr(report.dossier.robustness)
    assert not list(tmp_path.rglob("*.part"))


def test_a_simulated_run_is_kept_whole(tmp_path):
    panel = gapping_panel(300, ("BTC/USD", "ETH/USD"), seed=3, absent=0.1)
    weights = np.where(np.arange(300)[:, None] // 20 % 2 == 0, 0.4, 0.0) * np.ones((1, 2))
    report = simulate(weights, panel, Costs.alpaca(tier=1, slippage_bps=3.0))
    back = Report.read(report.save(tmp_path / "run.cqr"))
    assert page_text(back) == page_text(report)
    assert back.trades.equals(report.trades)


def changed(path, head=None, extra=None, without=None):
    """Write the archive again with another head, a further file, or without one."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name != without}
    if head:
        held["report.json"] = json.dumps(head(json.loads(held["report.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**held, **(extra or {})}.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"extra": {"macro.py": b"print(1)"}}, "found beside or missing: macro.py"),
        ({"extra": {"../equity.parquet": b""}}, "found beside or missing: ../equity"),
        ({"without": "fills.parquet"}, "found beside or missing: fills"),
        ({"without": "fills.parquet", "extra": {"macro.py": b""}}, "found beside or missing: fills, macro.py"),
        ({"without": "report.json"}, "holds no report.json"),
        ({"head": lambda head: {**head, "layout": 2}}, "layout 2; this version reads layout 1"),
        ({"head": lambda head: {**head, "hook": 1}}, "missing: hook"),
        ({"head": lambda head: [head]}, "layout None"),
        ({"head": lambda head: {**head, "statistics": {}}}, "not a saved report that this version reads"),
        ({"head": lambda head: {**head, "costs": {"maker_bps": -1.0}}}, "maker_bps must lie in"),
        ({"head": lambda head: {**head, "dossier": {**head["dossier"], "evidence": {"luck": 1}}}}, "luck"),
        ({"extra": {"equity.parquet": b"PAR1 or not"}}, "damaged"),
    ],
)
def test_a_file_with_anything_else_is_refused_by_name(tmp_path, change, text):
    path = changed(whole().save(tmp_path / "run.cqr"), **change)
    with pytest.raises(DataError, match=r"run\.cqr: ") as caught:
        Report.read(path)
    assert text in str(caught.value)


def test_a_table_without_its_columns_is_refused(tmp_path):
    report = report_over(50, trades=4)
    path = replace(report, fills=report.fills.drop("reason")).save(tmp_path / "run.cqr")
    with pytest.raises(DataError, match="fills lacks reason"):
        Report.read(path)


def test_a_file_that_is_absent_torn_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent.cqr: no such file"):
        Report.read(tmp_path / "absent.cqr")
    path = whole().save(tmp_path / "run.cqr")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="no saved report, or a damaged one"):
        Report.read(path)
    with pytest.raises(DataError, match="no saved report, or a damaged one"):
        Report.read(tmp_path)
