"""What is printed, and what a notebook draws."""

import math
import sys
import types
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.figures import show, show_evidence
from cryptoquant.performance.plots import drawdown_figure, equity_figure, price_figure
from cryptoquant.performance.robustness import Robustness, Stress
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
    titles = [figure.layout.title.text for figure in shown]
    assert titles[:2] == ["a run: equity", "a run: drawdown"]
    assert titles[-2:] == ["BTC/USD", "ETH/USD"]


def test_show_prints_the_robustness_with_what_was_missed(capsys):
    stresses = (Stress("costs", "costs x 2", -0.5, -0.1, -0.3, 0.0), Stress("luck", "order", math.nan, math.nan, -0.2))
    replace(report_over(900, trades=40), dossier=Dossier(robustness=Robustness(stresses))).show()
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "costs x 2" in line]
    assert line.split() == ["costs", "costs", "x", "2", "-0.50", ">", "0.00", "MISSED", "-10.0", "%", "-30.0", "%"]


def test_a_report_that_knows_everything_has_every_figure_and_one_that_knows_nothing_a_few():
    folds = folds_frame().with_columns(
        (pl.col("test_start") - timedelta(days=31)).alias("train_start"),
        (pl.col("test_start") - timedelta(days=1)).alias("train_end"),
    )
    dossier = Dossier(
        GOOD,
        robustness=Robustness((Stress("costs", "costs x 2", -0.5, -0.1, -0.3, 0.0),)),
        importance=pl.DataFrame({"feature": ["rsi", "age"], "importance": [0.7, 0.3]}),
        paths=pl.DataFrame({"path": [0, 1], "sharpe": [0.1, 0.9]}),
    )
    signals = pl.DataFrame({"kind": ["probability"] * 3, "value": [0.1, 0.5, math.nan]})
    full = replace(report_over(900, trades=40), folds=folds, dossier=dossier, signals=signals)
    found = full.figures()
    curves = ["equity", "drawdown", "rolling Sharpe", "exposure", "turnover", "months", "folds", "hit rates", "trades"]
    others = ["time held", "costs", "importance", "robustness", "paths", "signals", "price BTC/USD"]
    assert list(found) == curves + others
    assert found["months"].data[0].z.shape == (1, 12)
    assert list(found["importance"].data[0].y) == ["age", "rsi"]
    assert sum(found["trades"].data[0].y) == full.trades.height
    assert found["costs"].data[0].y[-1] == pytest.approx(full.statistics.fees)
    assert len(found["folds"].data) == 2
    for figure in found.values():
        assert figure.layout.title.text
        assert len(figure.to_json()) > 100
    assert {"equity", "drawdown", "price BTC/USD"} <= set(report_over(1).figures())
    assert not {"folds", "importance", "trades", "paths"} & set(report_over(1).figures())


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


def folds_printed(capsys, monkeypatch, folds):
    monkeypatch.setenv("COLUMNS", "80")
    replace(report_over(900, trades=40), folds=folds).show()
    lines = capsys.readouterr().out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(" Fold"))
    assert max(map(len, lines)) <= 80
    return [line.split() for line in lines[start:]]


def test_folds_are_whole_in_a_terminal_of_eighty_columns(capsys, monkeypatch):
    dates = [pl.Series("return", [0.123] * 3), pl.Series("sharpe", [-12.34] * 3), pl.Series("train_end", [None] * 3)]
    said = folds_printed(capsys, monkeypatch, folds_frame().with_columns(dates))
    assert said[0] == ["Fold", "Test", "from", "to", "Hits", "train", "test", "Return", "Sharpe"]
    assert said[2][:3] == ["0", "2024-01-01", "2024-01-09"]
    assert ["Fold", "Trials", "Chosen", "parameters"] in said
    assert ["0", "to", "2", "8", "depth", "3,", "rate", "0.01235"] in said


def test_the_folds_of_a_rule_have_no_column_of_dashes(capsys, monkeypatch):
    rates = [pl.lit(math.nan).alias(name) for name in ("hit_rate_train", "hit_rate_test")]
    rule = folds_frame().with_columns(*rates, params=pl.lit("{}"), trials=0)
    said = folds_printed(capsys, monkeypatch, rule)
    assert said[0] == ["Fold", "Test", "from", "to"]
    assert not [row for row in said if "parameters" in row]
