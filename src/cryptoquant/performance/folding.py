"""What would only fill a table, folded: evidence that is not defined, columns without a value, parameters all alike."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import polars as pl

from cryptoquant.performance.evidence_lines import EvidenceLine
from cryptoquant.performance.words import ABSENT, UNDEFINED, parameters

WHY = f"{UNDEFINED}: "
NOTHING = ("", ABSENT, UNDEFINED)
Head = TypeVar("Head")


def folded_lines(lines: Iterable[EvidenceLine]) -> list[EvidenceLine]:
    """Return lines of evidence with those that are not defined, and not asked for, as one line for each reason."""
    kept, folded = [], dict[str, list[EvidenceLine]]()
    for line in lines:
        if line.value == UNDEFINED and not line.wanted:
            why = line.meaning.removeprefix(WHY) if line.meaning.startswith(WHY) else "not known of this run"
            folded.setdefault(why, []).append(line)
        else:
            kept.append(line)
    for why, alike in folded.items():
        words = f"{why}: {'; '.join(line.name for line in alike)}"
        kept.append(EvidenceLine(UNDEFINED.capitalize(), str(len(alike)), "", None, words, alike[0].group))
    return kept


def without_empty(heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> tuple[list[Head], list[list[str]]]:
    """Return a table without the columns in which no row says anything."""
    full = [place for place in range(len(heads)) if any(row[place] not in NOTHING for row in rows)]
    return [heads[place] for place in full], [[row[place] for place in full] for row in rows]


def chosen(folds: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Return fold, trials and chosen parameters of each fold that chose any; folds that chose alike are one row.

    Examples
    --------
    >>> folds = pl.DataFrame({"fold": [0, 1, 2, 3], "params": ['{"depth": 2}', '{"depth": 2}', "{}", '{"depth": 3}']})
    >>> chosen(folds)
    [('0 to 1', '', 'depth 2'), ('3', '', 'depth 3')]
    """
    if "params" not in folds.columns:
        return []
    runs: list[list[Any]] = []
    for place, row in enumerate(folds.iter_rows(named=True)):
        words = "" if row["params"] is None else parameters(row["params"])
        trials = f"{row['trials']:,}" if row.get("trials") else ""
        name = str(row.get("fold", place))
        if runs and runs[-1][2:] == [trials, words]:
            runs[-1][1] = name
        else:
            runs.append([name, name, trials, words])
    return [
        (first if first == last else f"{first} to {last}", trials, words)
        for first, last, trials, words in runs
        if words
    ]
