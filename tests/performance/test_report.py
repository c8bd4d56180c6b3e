"""A report makes a table when it is first read, once."""

import pickle
from dataclasses import FrozenInstanceError, replace

import polars as pl
import pytest

from cryptoquant.performance.report import Report
from tests.performance.reports import report_over

TABLES = ("equity", "fills", "rejections", "signals", "prices")


class Maker:
    """Gives a table and counts how often."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame, self.calls = frame, 0

    def __call__(self) -> pl.DataFrame:
        self.calls += 1
        return self.frame


@pytest.fixture
def lazy():
    whole = report_over(200, trades=10)
    makers = {name: Maker(getattr(whole, name)) for name in TABLES}
    report = Report("a run", whole.initial, whole.statistics, whole.costs, **makers)
    return whole, report, makers


def test_a_table_is_made_when_it_is_read_and_kept(lazy):
    whole, report, makers = lazy
    assert report.statistics == whole.statistics
    assert "10 fills" in repr(report)
    assert [maker.calls for maker in makers.values()] == [0] * 5
    assert report.equity is report.equity is makers["equity"].frame
    assert report.returns.equals(whole.returns)
    assert [maker.calls for maker in makers.values()] == [1, 0, 0, 0, 0]
    with pytest.raises(FrozenInstanceError):
        report.equity = whole.equity


def test_a_changed_copy_keeps_the_tables(lazy):
    whole, report, makers = lazy
    noted = replace(report, notes=("said",), fills=whole.fills.head(2))
    assert noted.notes == ("said",)
    assert noted.fills.height == 2
    assert noted.equity.equals(whole.equity)
    assert report.fills.height == 10
    assert all(maker.calls <= 1 for maker in makers.values())


def test_a_pickled_report_holds_its_tables(lazy):
    whole, report, _ = lazy
    there = Report(
        "local", 1.0, whole.statistics, whole.costs, *(lambda name=name: getattr(whole, name) for name in TABLES)
    )
    for sent in (report, there):
        back = pickle.loads(pickle.dumps(sent))
        for name in TABLES:
            assert getattr(back, name).equals(getattr(whole, name))
        assert back.statistics == whole.statistics
        assert back.folds.is_empty()


@pytest.mark.parametrize("slices", [1, 30, 900])
def test_quantstats_reads_the_daily_returns_as_we_do(slices):
    quantstats = pytest.importorskip("quantstats")
    report = report_over(slices)
    returns = report.to_quantstats_returns()
    assert returns.index.tz is None
    assert returns.index[0].isoformat() == "2024-01-01T00:00:00"
    assert (1.0 + returns).prod() - 1.0 == pytest.approx(report.statistics.total_return, abs=1e-12)
    if slices > 30:
        assert quantstats.stats.sharpe(returns, periods=365) == pytest.approx(report.risk.daily_sharpe, abs=1e-9)
        assert quantstats.stats.max_drawdown(returns) <= 0.0
