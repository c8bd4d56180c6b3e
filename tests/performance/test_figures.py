"""What is printed, and what a notebook draws."""

import sys
import types
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.figures import drawdown_figure, equity_figure, price_figure, show, show_evidence
from cryptoquant.performance.words import ABSENT, result_rows
from tests.performance.reports import GOOD, folds_frame, report_over


def test_show_prints_the_table_the_notes_and_the_evidence(capsys):
    report = report_over(900, trades=40, name="[bold]run", notes=("Say it.",))
    assert show(report) is None
    said = capsys.readouterr().out
    for words in ("[bold]run", "Say it.", "Sharpe ratio", "Not judged", "USD"):
        assert words in said
    for words in ("Against buy and hold", "Shortfall 95 % (1h)", "Best trade", "Deepest drawdowns", "Return, %", "Feb"):
        assert words in said
    assert "Capacity" not in said
    assert "PSR" not in said
    dossier = Dossier(GOOD, replace(report.statistics, sharpe=9.87))
    replace(report, folds=folds_frame(), dossier=dossier).show()
    said = capsys.readouterr().out
    for words in ("Passes the gate", "9.87", "PSR (2012)", "Test from", "2024-01-01"):
        assert words in said


def test_yearly_numbers_of_a_run_shorter_than_a_month_are_not_shown():
    short, long = (dict(result_rows(report_over(hours).statistics)) for hours in (200, 900))
    for name in ("Growth per year", "Volatility per year", "Sharpe ratio (1h)", "Sortino ratio (1h)", "Calmar ratio"):
        assert short[name] == ABSENT
        assert long[name] != ABSENT


def test_show_evidence_says_what_deflated_it(capsys):
    show_evidence(replace(GOOD, study_trials=1, dsr=float("nan")))
    said = " ".join(capsys.readouterr().out.split())
    assert "not defined" in said
    assert "fewer than" in said
    GOOD.show()
    assert "0.960" in capsys.readouterr().out


def test_a_notebook_also_gets_the_pictures(monkeypatch, capsys):
    shown = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    show(report_over(60, trades=6, symbols=("BTC/USD", "ETH/USD")))
    assert [figure.layout.title.text for figure in shown] == ["a run: equity", "a run: drawdown", "BTC/USD", "ETH/USD"]


def test_figures_are_thin_but_keep_the_extremes():
    report = report_over(20_000, trades=100)
    figure = equity_figure(report)
    strategy = next(trace for trace in figure.data if trace.name == "Strategy")
    assert len(strategy.x) < 1_600
    assert max(strategy.y) == report.equity["equity"].max()
    assert min(drawdown_figure(report).data[0].y) == pytest.approx(report.statistics.max_drawdown)
    close, bought, sold = price_figure(report, "BTC/USD").data
    assert len(close.x) < 1_600
    assert (len(bought.x), len(sold.x)) == (50, 50)
    with pytest.raises(ValueError, match="no prices of ETH/USD in this report; there are: BTC/USD"):
        price_figure(report, "ETH/USD")


def test_a_wide_span_is_drawn_on_a_logarithmic_axis():
    report = report_over(100)
    grown = report.equity.with_columns(pl.Series("equity", np.geomspace(1e5, 1e6, 100)))
    assert equity_figure(report).layout.yaxis.type == "linear"
    assert equity_figure(replace(report, equity=grown)).layout.yaxis.type == "log"
