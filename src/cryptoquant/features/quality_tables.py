"""The quality of features in the terminal: pairs, clusters and decay, 100 columns wide or 80."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from cryptoquant.features.quality_clusters import CLUSTER_CORRELATION
from cryptoquant.features.quality_pairs import QUANTILES

if TYPE_CHECKING:
    from rich.table import Table

    from cryptoquant.features.quality import FeatureQuality

ABSENT = "-"
WIDTH = 100
LONGEST_NAME = 27
MOST_DECAYS = 12
MOST_HORIZONS = 9
NOTES = (
    "IC: rank IC. Q1 to Q5: mean return in bps from the lowest to the highest fifth of the feature.",
    "Same: months whose IC has the sign of the whole. Turn: rows in another fifth than the bar before.",
    "* significant for all pairs looked at here (Benjamini, Hochberg); q: the rate at which it would be.",
    "Returns over more than one bar overlap: intervals and q-values come from blocks of closes.",
)


def show(quality: "FeatureQuality", rows: int) -> None:
    """Print pairs, clusters and decay."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal and console.width < WIDTH:
        console = Console(width=WIDTH)
    console.print(Text("Feature quality", style="bold"))
    console.print(Text(f"{quality.sample}\n{quality.verdict}"))
    strongest = by_strength(quality.frame)
    console.print(_pairs_table(strongest.head(rows), fifths=console.width >= WIDTH))
    left = strongest.height - rows
    for note in (*((f"{left} weaker pairs are not shown.",) if left > 0 else ()), *NOTES, *flaws(quality)):
        console.print(Text(note))
    console.print(_decay_table(quality))
    console.print(Text(f"Clusters (mean |correlation| of {CLUSTER_CORRELATION} and more)", style="bold"))
    for line in cluster_lines(quality.clusters):
        console.print(Text(line))


def by_strength(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a frame, the strongest rank IC first and those without one last."""
    return frame.sort(pl.col("rank_ic").abs().fill_nan(-1.0), descending=True, maintain_order=True)


def flaws(quality: "FeatureQuality") -> list[str]:
    """Return words about features that are constant or have no value."""
    found = quality.features
    names = {
        "Constant": found.filter("constant")["feature"],
        "Without a value": found.filter(pl.col("coverage") == 0.0)["feature"],
    }
    return [f"{words}: {', '.join(features)}." for words, features in names.items() if len(features)]


def cluster_lines(clusters: pl.DataFrame) -> list[str]:
    """Return a line for each cluster of several features, its representative first, and one for those alone."""
    lines, alone = [], []
    for (number,), members in clusters.group_by("cluster", maintain_order=True):
        leader = members["representative"][0]
        others = [name for name in members["feature"] if name != leader]
        if others:
            lines.append(f"{number}  {leader} stands for {', '.join(others)}")
        else:
            alone.append(leader)
    return [*lines, *([f"On their own: {', '.join(alone)}"] if alone else [])]


def number(value: float | None, digits: int = 3) -> str:
    """Return a signed number without the zero before its point, or a dash where there is none; zero has no minus."""
    if value is None or math.isnan(value):
        return ABSENT
    text = f"{round(value, digits) + 0.0:+.{digits}f}"
    return f"{text[0]}{text[2:]}" if text[1:3] == "0." else text


def bps(value: float) -> str:
    """Return a log return in basis points, with a decimal below ten."""
    if math.isnan(value):
        return ABSENT
    return f"{round(1e4 * value, 1) + 0.0:+.{0 if abs(value) >= 9.95e-4 else 1}f}"


def chance(value: float) -> str:
    """Return a p- or q-value; very small ones as a bound."""
    return ABSENT if math.isnan(value) else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def share(value: float) -> str:
    """Return a share in percent."""
    return ABSENT if math.isnan(value) else f"{value:.0%}"


def bars(value: float) -> str:
    """Return a number of bars."""
    return ABSENT if math.isnan(value) else "later" if math.isinf(value) else f"{value:.0f}"


def shortened(name: str) -> str:
    """Return a name that fits its column."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _pairs_table(frame: pl.DataFrame, *, fifths: bool) -> "Table":
    """Return the pairs; a narrow terminal has no room for the returns by fifth."""
    places = range(1, QUANTILES + 1) if fifths else range(0)
    heads = ("Feature", ">Bars", ">IC", ">95 %", ">q", *(f">Q{place}" for place in places), ">Q5-Q1", ">Same", ">Turn")
    return _table(heads, (_pair_cells(row, places) for row in frame.iter_rows(named=True)))


def _pair_cells(row: dict[str, Any], places: range) -> list[str]:
    return [
        shortened(row["feature"]),
        str(row["horizon"]),
        number(row["rank_ic"]) + ("*" if row["significant"] else " "),
        f"{number(row['rank_ic_low'])} {number(row['rank_ic_high'])}",
        chance(row["q_value"]),
        *(bps(row[f"quantile_{place}"]) for place in places),
        bps(row["spread"]),
        share(row["months_same_sign"]),
        share(row["turnover"]),
    ]


def _decay_table(quality: "FeatureQuality") -> "Table":
    """Return rank IC by horizon for the strongest features."""
    horizons = quality.decay["horizon"].unique().sort().to_list()[:MOST_HORIZONS]
    names = by_strength(quality.frame)["feature"].unique(maintain_order=True).head(MOST_DECAYS)
    half = dict(quality.features.select("feature", "half_life").iter_rows())
    ics = {(name, horizon): ic for name, horizon, ic in quality.decay.iter_rows()}
    rows = [
        (shortened(name), *(number(ics[name, horizon], 2) for horizon in horizons), bars(half[name])) for name in names
    ]
    return _table(("Decay, bars:", *(f">{horizon}" for horizon in horizons), ">Half at"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Return a rich table; a head that begins with ``>`` is that of a column of numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold underline")
    for head in heads:
        is_number = head.startswith(">")
        table.add_column(head.removeprefix(">"), justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
