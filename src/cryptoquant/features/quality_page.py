"""The quality of features as one page: pictures and tables in a single file that needs no network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptoquant.features.quality_clusters import CLUSTER_CORRELATION
from cryptoquant.features.quality_pairs import QUANTILES
from cryptoquant.features.quality_tables import bars, bps, by_strength, chance, flaws, number, share

if TYPE_CHECKING:
    from cryptoquant.features.quality import FeatureQuality

STYLE = """
:root{color-scheme:light}body{margin:0;background:#fff;color:#2b3138;font:15px/1.5 system-ui,sans-serif}
main{max-width:1400px;margin:0 auto;padding:28px 24px 60px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:18px;margin:40px 0 8px}p{max-width:90ch;margin:4px 0}.soft{color:#5c6670}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 9px;border-bottom:1px solid #e3e6ea;text-align:right;white-space:nowrap}
th{color:#5c6670;font-weight:600;position:sticky;top:0;background:#fff}
.w{text-align:left}td.w:first-child,th.w:first-child{position:sticky;left:0;background:#fff}
.found td,.found td.w:first-child{background:#eef5fa;font-weight:600}
"""
FOUND = ' class="found"'
READING = (
    "Rank IC is Spearman's correlation between a feature and the log return over the bars ahead, linear IC Pearson's; "
    "both are pure numbers, taken within symbols and averaged by rows. Intervals are of 95 %, by a bootstrap of blocks "
    "of closes, because returns over several bars overlap.",
    "Every pair of a feature and a horizon is one look at the data. A q-value is the false discovery rate at which the "
    "pair would still count among all pairs of this page (Benjamini, Hochberg 1995); rows set in bold are below 5 %. "
    "Looks taken on other occasions are not known here.",
    "Q1 to Q5 are the mean log returns, in basis points and before costs, from the lowest to the highest fifth of the "
    "feature in the whole sample. Turnover is the share of bars at which the fifth changes.",
)
PAIR_HEADS = (
    *("Feature", "Bars", "Rows", "Rank IC", "95 %", "t", "p", "q", "Linear IC", "95 %"),
    *(f"Q{place}" for place in range(1, QUANTILES + 1)),
    *("Q5 - Q1", "95 %", "Monotonic", "Turnover", "Hits", "Months same sign", "Worst month", "Across symbols", "IR"),
)
FEATURE_HEADS = ("Feature", "Covered", "First bar", "Autocorrelation", "Strongest at", "Half left at", "Constant")


def write_page(quality: "FeatureQuality", path: Path) -> Path:
    """Write the page and return its path; the same bytes for the same quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page_text(quality), encoding="utf-8", newline="\n")
    return path


def page_text(quality: "FeatureQuality") -> str:
    """Return the page as text."""
    figure = quality.figure().update_layout(title=None, margin_t=70)
    pictures = figure.to_html(
        full_html=False, include_plotlyjs=True, include_mathjax=False, div_id="pictures", config={"displaylogo": False}
    )
    words = "".join(f"<p>{escape(text)}</p>" for text in (*flaws(quality), *READING))
    pairs = [(_pair(row), row["significant"]) for row in by_strength(quality.frame).iter_rows(named=True)]
    body = (
        f"<h1>Feature quality</h1><p>{escape(quality.sample)}</p><p><b>{escape(quality.verdict)}</b></p>{pictures}"
        f'<h2>How to read this</h2><div class="soft">{words}</div>'
        f"<h2>Pairs, the strongest rank IC first</h2>{_table(PAIR_HEADS, pairs)}"
        f"<h2>Clusters: mean |Spearman correlation| of {CLUSTER_CORRELATION} and more</h2>{_clusters(quality)}"
        f"<h2>Features</h2>{_features(quality)}<h2>Decay: rank IC by bars ahead</h2>{_decay(quality)}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Feature quality</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _pair(row: dict[str, Any]) -> list[str]:
    worst = row["worst_month"]
    return [
        row["feature"],
        str(row["horizon"]),
        f"{row['rows']:,}",
        number(row["rank_ic"]),
        _interval(row, "rank_ic"),
        number(row["t_ratio"], 1),
        chance(row["p_value"]),
        chance(row["q_value"]),
        number(row["linear_ic"]),
        _interval(row, "linear_ic"),
        *(bps(row[f"quantile_{place}"]) for place in range(1, QUANTILES + 1)),
        bps(row["spread"]),
        f"{bps(row['spread_low'])} {bps(row['spread_high'])}",
        number(row["monotonicity"], 1),
        share(row["turnover"]),
        share(row["hit_rate"]),
        share(row["months_same_sign"]),
        f"{worst} {number(row['worst_month_ic'])}" if worst else number(None),
        number(row["cross_ic"]),
        number(row["cross_ic_ratio"], 2),
    ]


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{number(row[f'{name}_low'])} {number(row[f'{name}_high'])}"


def _clusters(quality: "FeatureQuality") -> str:
    rows = [
        (
            [
                row["feature"],
                row["representative"],
                str(row["cluster"]),
                number(row["correlation"], 2),
                number(row["rank_ic"]),
                str(row["horizon"]),
            ],
            row["feature"] == row["representative"],
        )
        for row in quality.clusters.iter_rows(named=True)
    ]
    heads = ("Feature", "Represented by", "Cluster", "Correlation", "Strongest rank IC", "Bars")
    return _table(heads, rows, words=2)


def _features(quality: "FeatureQuality") -> str:
    rows = [
        (
            [
                row["feature"],
                share(row["coverage"]),
                number(None) if row["first_row"] is None else str(row["first_row"]),
                number(row["autocorrelation"]),
                number(None) if row["peak_horizon"] is None else str(row["peak_horizon"]),
                bars(row["half_life"]),
                "constant" if row["constant"] else "",
            ],
            False,
        )
        for row in quality.features.iter_rows(named=True)
    ]
    return _table(FEATURE_HEADS, rows)


def _decay(quality: "FeatureQuality") -> str:
    wide = quality.decay.pivot("horizon", index="feature", values="rank_ic")
    rows = [([name, *(number(ic) for ic in ics)], False) for name, *ics in wide.iter_rows()]
    return _table(wide.columns, rows)


def _table(heads: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], words: int = 1) -> str:
    """Return a table; its first ``words`` columns are text, rows come with whether they are set off."""
    kind = [' class="w"' if place < words else "" for place in range(len(heads))]
    head = "".join(f"<th{of}>{escape(text)}</th>" for of, text in zip(kind, heads, strict=True))
    body = "".join(
        f"<tr{FOUND if is_found else ''}>"
        + "".join(f"<td{of}>{escape(text)}</td>" for of, text in zip(kind, cells, strict=True))
        + "</tr>"
        for cells, is_found in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
