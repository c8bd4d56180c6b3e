"""What a study adds to a report's page: robustness, paths, what mattered, data quality and fingerprints."""

import math
from html import escape
from itertools import groupby

import numpy as np
import polars as pl

from cryptoquant.performance.axes import Scale, Tick, number_ticks, scale_over
from cryptoquant.performance.page_pictures import legend
from cryptoquant.performance.page_tables import MET, Drawn, bar_cell, frame_table, scrolling, table
from cryptoquant.performance.report import Report
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.performance.svg import Axes, Mark, picture
from cryptoquant.performance.words import number, percent

MOST_FEATURES = 30
MOST_PATHS = 400


def robustness_part(report: Report) -> str:
    """Return the same study under other assumptions: each Sharpe ratio as a dot beside its limit; empty if unknown."""
    found = report.dossier.robustness
    if found is None or not found.stresses:
        return ""
    scale, base = _sharpes(report, found), _own_sharpe(report)
    rows = []
    for family, stresses in groupby(found.stresses, key=lambda stress: stress.family):
        rows.append(f'<tr class="family"><th colspan="7">{escape(family.capitalize())}</th></tr>')
        rows += [_stress_row(stress, scale, base) for stress in stresses]
    heads = "".join(f'<th class="n">{head}</th>' for head in ("Sharpe", "Wanted", "Return", "Drawdown"))
    whole = f"<thead><tr><th>Change</th><th></th><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    judged = [stress for stress in found.stresses if stress.passed is not None]
    failed = len(found.failures)
    words = f"{len(judged) - failed} of {len(judged)} limits are kept. " if judged else "No limit is set. "
    keys = legend([("dot", "Sharpe ratio"), ("failed", "Limit missed"), ("limit", "Limit"), ("own", "The run itself")])
    line = '<span class="dots"> The thin line is zero.</span>'
    note = f"<p>{words}Sharpe ratios are annual, from daily returns.{line}</p>"
    return (
        f'{note}<div class="dots">{keys}</div>{scrolling(f"""<table class="stresses">{whole}</table>""", "Robustness")}'
    )


def _own_sharpe(report: Report) -> float:
    evidence = report.dossier.evidence
    return report.risk.daily_sharpe if evidence is None else evidence.sharpe


def _sharpes(report: Report, found: Robustness) -> Scale:
    every = [0.0, _own_sharpe(report), *(value for stress in found.stresses for value in (stress.sharpe, stress.limit))]
    known = [value for value in every if math.isfinite(value)]
    return scale_over(min(known), max(known), margin=0.06)


def _stress_row(stress: Stress, scale: Scale, base: float) -> str:
    drawn = [_tick(scale, 0.0, "zero"), _tick(scale, base, "own"), _tick(scale, stress.limit, "limit")]
    if math.isfinite(stress.sharpe):
        kind = "failed" if stress.passed is False else "dot"
        drawn.append(f'<use href="#{kind}" class="{kind}" x="{_place(scale, stress.sharpe)}" y="9"/>')
    limit = "" if math.isnan(stress.limit) else f"> {number(stress.limit)}"
    numbers = (number(stress.sharpe), limit, percent(stress.total_return, 1, signed=True))
    cells = "".join(f'<td class="n">{escape(cell)}</td>' for cell in (*numbers, percent(stress.max_drawdown, 1)))
    line = f'<svg class="line" aria-hidden="true">{"".join(drawn)}</svg>'
    return f"<tr><td>{escape(stress.name)}</td><td>{line}</td><td>{MET[stress.passed]}</td>{cells}</tr>"


def _tick(scale: Scale, value: float, kind: str) -> str:
    if not math.isfinite(value):
        return ""
    place = _place(scale, value)
    return f'<line class="{kind}" x1="{place}" x2="{place}" y1="0" y2="100%"/>'


def _place(scale: Scale, value: float) -> str:
    return f"{100.0 * float(scale.share(value)):.2f}%"


def paths_part(report: Report) -> str:
    """Draw the Sharpe ratios of the paths of a combinatorial cross-validation, sorted; empty without paths."""
    paths = report.dossier.paths
    if "sharpe" not in paths.columns:
        return ""
    values = paths["sharpe"].cast(pl.Float64).fill_null(math.nan).to_numpy()
    found = np.sort(values[np.isfinite(values)])
    if not len(found):
        return ""
    across = scale_over(min(0.0, float(found[0])), max(0.0, float(found[-1])))
    ticks: tuple[Tick, ...] = tuple((value, f"{value:g}") for value in number_ticks(across, 8))
    axes = Axes(across, Scale(0.0, 1.0), lambda share: percent(share, 0), ticks)
    shares = (np.arange(len(found)) + 0.5) / len(found)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(len(found), MOST_PATHS)).astype(int))
    signs = [axes.sign(Mark(found[i], shares[i], "dot", f"Sharpe ratio {found[i]:.2f}")) for i in chosen]
    lines = [axes.upright(0.0, "base"), axes.upright(float(np.median(found)), "middle")]
    lost = float((found <= 0).mean())
    words = (
        f"{len(found):,} paths: median {number(float(np.median(found)))}, lowest {number(float(found[0]))}, "
        f"{percent(lost, 0)} not above zero. Across: Sharpe ratio; upwards: share of the paths at or below."
    )
    return f"<p>{words}</p>" + picture(axes, lines, signs, label="Sharpe ratio by path", height=200)


def importance_part(report: Report) -> str:
    """Return the features that mattered most as bars, empty where it is not known."""
    frame = report.dossier.importance
    if frame.is_empty() or not {"feature", "importance"} <= set(frame.columns):
        return ""
    shown = frame.select("feature", pl.col("importance").cast(pl.Float64)).head(MOST_FEATURES)
    largest = float(np.nanmax(np.abs(shown["importance"].fill_null(math.nan).to_numpy()), initial=0.0))
    rows = [
        (
            name,
            bar_cell(abs(share) / largest if largest > 0 else 0.0),
            percent(share, 1),
        )
        for name, share in shown.with_columns(pl.col("importance").fill_null(math.nan)).iter_rows()
    ]
    note = f"<p>The first {shown.height} of {frame.height:,} features.</p>" if frame.height > shown.height else ""
    return note + table(["Feature", "", "Share"], rows, kind="with-bars features", label="Feature importance")


def quality_part(report: Report) -> str:
    """Return what the traded bars lack, empty where it is not known."""
    quality = report.dossier.quality
    return "" if quality.is_empty() else frame_table(quality, label="Data quality")


def fingerprints_part(report: Report) -> Drawn:
    """Return the digests of data, configuration and code, empty without any."""
    found = report.dossier.fingerprints
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(digest)}</dd>" for name, digest in found.items())
    return Drawn(f'<dl class="fingerprints">{rows}</dl>' if rows else "")
