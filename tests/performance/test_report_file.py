"""A saved report says the same page again, and a file with anything else in it is refused by name."""

import io
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
from cryptoquant.performance import saved_report
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


def head_with(head, part=None, **changes):
    return {**head, **changes} if part is None else {**head, part: {**head[part], **changes}}


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
        ({"head": lambda head: head_with(head, name="\ud800")}, "surrogates"),
        ({"head": lambda head: head_with(head, name=7)}, "name is 7, wanted a text"),
        ({"head": lambda head: head_with(head, initial=0)}, "initial is 0, wanted an amount above 0"),
        ({"head": lambda head: head_with(head, initial="inf")}, "initial is inf, wanted an amount above 0"),
        ({"head": lambda head: head_with(head, initial=True)}, "initial is True, wanted a number"),
        ({"head": lambda head: head_with(head, notes="abc")}, "notes is 'abc', wanted a list"),
        ({"head": lambda head: head_with(head, notes=[1])}, "notes is 1, wanted a text"),
        ({"head": lambda head: head_with(head, "statistics", trades="x")}, "statistics: trades is 'x', wanted a whole"),
        ({"head": lambda head: head_with(head, "statistics", trades=1.5)}, "statistics: trades is 1.5, wanted a whole"),
        ({"head": lambda head: head_with(head, "statistics", sharpe="x")}, "statistics: sharpe is 'x', wanted a numb"),
        ({"head": lambda head: head_with(head, "statistics", sharpe=None)}, "statistics: sharpe is None, wanted a nu"),
        ({"head": lambda head: head_with(head, "statistics", start=5)}, "statistics: start is 5, wanted an instant"),
        ({"head": lambda head: head_with(head, "statistics", end="soon")}, "statistics: end is 'soon', wanted an in"),
        ({"head": lambda head: head_with(head, "dossier", robustness=3)}, "robustness is 3, wanted a list"),
        ({"head": lambda head: head_with(head, "dossier", robustness=[3])}, "robustness is 3, wanted names"),
        ({"head": lambda head: head_with(head, "dossier", fingerprints=["a"])}, "fingerprints is ['a'], wanted names"),
        ({"head": lambda head: head_with(head, "dossier", fingerprints={"a": 1})}, "fingerprints is 1, wanted a text"),
        ({"head": lambda head: head_with(head, "costs", schedule=[5])}, "not a saved report that this version reads"),
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


def stored(frame):
    data = io.BytesIO()
    frame.write_parquet(data)
    return data.getvalue()


GAP = pl.when(pl.int_range(pl.len()) > 3)
FOREIGN = [
    ("equity", lambda frame: frame.cast({"equity": pl.String}), "equity: column equity is String, wanted Float64"),
    (
        "equity",
        lambda frame: frame.cast({"benchmark": pl.String}),
        "equity: column benchmark is String, wanted Float64",
    ),
    ("equity", lambda frame: frame.with_columns(pl.col("time").dt.replace_time_zone(None)), "column time is Datetime("),
    ("equity", lambda frame: frame.cast({"time": pl.Datetime("us", "UTC")}), "time_unit='ns', time_zone='UTC'"),
    ("equity", lambda frame: frame.clear(), "equity has no row, wanted one for each slice"),
    ("equity", lambda frame: frame.with_columns(GAP.then("equity")), "equity: column equity has 4 gaps, wanted none"),
    ("equity", lambda frame: frame.with_columns(GAP.then("time").alias("time")), "column time has 4 gaps, wanted none"),
    ("equity", lambda frame: frame.reverse(), "equity: its rows are not in time order"),
    ("fills", lambda frame: frame.reverse(), "fills: its rows are not in time order"),
    ("fills", lambda frame: frame.cast({"fee": pl.String}), "fills: column fee is String, wanted Float64"),
    ("fills", lambda frame: frame.with_columns(GAP.then("symbol").alias("symbol")), "column symbol has 4 gaps"),
    ("prices", lambda frame: frame.cast({"close": pl.String}), "prices: column close is String, wanted Float64"),
    ("rejections", lambda frame: frame.with_columns(reason=1), "rejections: column reason is Int32, wanted String"),
    ("folds", lambda frame: frame.cast({"test_end": pl.String}), "folds: column test_end is String, wanted Datetime"),
    ("folds", lambda frame: frame.with_columns(sharpe=pl.lit("x")), "folds: column sharpe is String, wanted numbers"),
    ("folds", lambda frame: frame.with_columns(trials=pl.lit("x")), "column trials is String, wanted whole numbers"),
    ("importance", lambda frame: frame.with_columns(importance=pl.lit("x")), "importance is String, wanted numbers"),
    ("paths", lambda frame: frame.with_columns(sharpe=pl.lit("x")), "paths: column sharpe is String, wanted numbers"),
]


@pytest.mark.parametrize(("table", "change", "text"), FOREIGN)
def test_a_table_of_another_type_order_or_with_gaps_is_refused_by_name(tmp_path, table, change, text):
    report = whole()
    frame = change(getattr(report if table in TABLES else report.dossier, table))
    path = changed(report.save(tmp_path / "run.cqr"), extra={f"{table}.parquet": stored(frame)})
    with pytest.raises(DataError, match=r"run\.cqr: ") as caught:
        Report.read(path)
    assert text in str(caught.value)


def test_a_report_without_its_equity_is_refused(tmp_path):
    drop = {"head": lambda head: {**head, "tables": [name for name in head["tables"] if name != "equity"]}}
    path = changed(whole().save(tmp_path / "run.cqr"), **drop, without="equity.parquet")
    with pytest.raises(DataError, match="equity lacks every column"):
        Report.read(path)


def test_a_file_that_would_unpack_to_more_than_a_report_may_have_is_refused_unread(tmp_path, monkeypatch):
    path = whole().save(tmp_path / "run.cqr")
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(saved_report, "MOST_BYTES", size)
    Report.read(path)
    monkeypatch.setattr(saved_report, "MOST_BYTES", size - 1)
    with pytest.raises(DataError, match=rf"run.cqr: .* unpacks to {size:,} bytes; a report may have {size - 1:,}"):
        Report.read(path)


def test_tables_of_very_many_equal_rows_are_refused_before_they_are_unpacked(tmp_path):
    rows = 300_000_000
    table = tmp_path / "paths.parquet"
    one = pl.DataFrame({"sharpe": [0.5]}).lazy()
    pl.concat([one.select(pl.col("sharpe").first().repeat_by(rows // 300).explode())] * 300).sink_parquet(table)
    path = changed(whole().save(tmp_path / "run.cqr"), extra={"paths.parquet": table.read_bytes()})
    with pytest.raises(DataError, match="cells; a report may have"):
        Report.read(path)


def torn(path, place):
    """Spoil a byte inside the packed head, whose stream then cannot be unpacked, or sums to another check value."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("report.json")
        start = entry.header_offset + 30 + len(entry.filename)
    data = bytearray(path.read_bytes())
    data[start + place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 1, 5, 40, 200])
def test_a_spoiled_byte_in_a_packed_part_is_damage(tmp_path, place):
    path = whole().save(tmp_path / "run.cqr")
    torn(path, place)
    with pytest.raises(DataError, match="no saved report, or a damaged one"):
        Report.read(path)


def test_a_head_of_very_deep_lists_is_refused(tmp_path):
    deep = {"extra": {"report.json": b"[" * 200_000}}
    with pytest.raises(DataError, match="no saved report, or a damaged one"):
        Report.read(changed(whole().save(tmp_path / "run.cqr"), **deep))


@pytest.mark.parametrize(("flags", "kind"), [(1, 0), (0, 12), (0, 97)])
def test_a_part_that_is_locked_or_packed_in_another_way_is_refused(tmp_path, flags, kind):
    path = whole().save(tmp_path / "run.cqr")
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 8], data[place + 10] = flags, kind
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"run\.cqr: .*stored or deflated entries wanted"):
        Report.read(path)
