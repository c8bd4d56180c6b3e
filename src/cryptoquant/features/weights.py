"""How much each label tells that the others do not: weights for examples whose outcomes overlap in time.

A label lives from its decision to the time at which it is known, the span (time, label_known]. Labels of one symbol
that live at the same time share what happens then; labels of different symbols do not. Lopez de Prado (2018), Advances
in Financial Machine Learning, chapter 4. Where the book counts bars, time is measured here: the same where bars are
evenly spaced, and no bars are needed.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.features.feature import whole
from cryptoquant.features.kernel import Integers
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.market.slice import Floats

BLOCK = 64


@kernel
def sum_between(values: Floats, starts: Integers, ends: Integers, out: Floats) -> None:
    """Write the sum of ``values[start:end]`` for each pair.

    Prefix sums carry what each addition rounds away (Knuth 1997, The Art of Computer Programming 2, section 4.2.2), so
    that a difference of two late ones is as good as a sum of its own.
    """
    high, low = np.zeros(len(values) + 1), np.zeros(len(values) + 1)
    total, rest = 0.0, 0.0
    for place in range(len(values)):
        value = values[place]
        larger = total + value
        share = larger - total
        rest += (total - (larger - share)) + (value - share)
        total = larger
        high[place + 1], low[place + 1] = total, rest
    for row in range(len(starts)):
        first, last = starts[row], ends[row]
        out[row] = (high[last] - high[first]) + (low[last] - low[first])


@kernel
def pick(values: Floats, first: int, last: int, rest: float) -> tuple[int, float]:
    """Return where the running sum from ``first`` on passes ``rest``, before ``last``, and what is left of it there."""
    place = first
    while place < last - 1 and rest >= values[place]:
        rest -= values[place]
        place += 1
    return place, rest


@kernel
def sum_blocks(values: Floats, first: int, last: int, sums: Floats) -> None:
    """Write the sums of the blocks of ``BLOCK`` values that hold those from ``first`` to ``last``."""
    for block in range(first // BLOCK, (last - 1) // BLOCK + 1):
        total = 0.0
        for place in range(block * BLOCK, min(block * BLOCK + BLOCK, len(values))):
            total += values[place]
        sums[block] = total


@kernel
def draw_labels(
    starts: Integers, ends: Integers, spans: Floats, lengths: Floats, furthest: Integers, chances: Floats, out: Integers
) -> None:
    """Draw labels in turn, each with a chance in proportion to its uniqueness beside those drawn before.

    Labels are sorted by ``starts``; a label covers the intervals ``starts`` to ``ends``, together ``spans`` long, of
    ``lengths``; ``furthest`` is the largest of the ends up to each label, ``chances`` are uniform numbers, ``out`` the
    labels drawn. A draw changes only the labels that live beside it, and chances are summed in blocks and blocks of
    blocks, so that a draw costs little more than there are such labels.
    """
    count = len(starts)
    blocks = (count + BLOCK - 1) // BLOCK
    groups = (blocks + BLOCK - 1) // BLOCK
    unique, sums, totals = np.ones(count), np.empty(blocks), np.empty(groups)
    sum_blocks(unique, 0, count, sums)
    sum_blocks(sums, 0, blocks, totals)
    shared, drawn = lengths.copy(), np.ones(len(lengths))
    until = np.zeros(len(lengths) + 1)
    for turn in range(len(chances)):
        group, rest = pick(totals, 0, groups, chances[turn] * totals.sum())
        block, rest = pick(sums, group * BLOCK, min(group * BLOCK + BLOCK, blocks), rest)
        label, rest = pick(unique, block * BLOCK, min(block * BLOCK + BLOCK, count), rest)
        out[turn] = label
        for place in range(starts[label], ends[label]):
            drawn[place] += 1.0
            shared[place] = lengths[place] / drawn[place]
        first = np.searchsorted(furthest, starts[label], side="right")
        last = np.searchsorted(starts, ends[label], side="left")
        until[starts[first]] = 0.0
        for place in range(starts[first], furthest[last - 1]):
            until[place + 1] = until[place] + shared[place]
        for other in range(first, last):
            unique[other] = (until[ends[other]] - until[starts[other]]) / spans[other]
        sum_blocks(unique, first, last, sums)
        sum_blocks(sums, first // BLOCK, (last - 1) // BLOCK + 1, totals)


@dataclass(frozen=True, slots=True)
class Lives:
    """Labels on the line of time, that of each symbol behind that of the one before, cut where a label begins or ends.

    Attributes
    ----------
    order
        The rows of the labels by symbol, begin and end; ``starts``, ``ends`` and ``spans`` have this order.
    starts, ends
        The first interval of each label, and the one behind its last.
    spans, lengths
        How long each label lives, and how long each interval is, in nanoseconds.
    """

    order: Integers
    starts: Integers
    ends: Integers
    spans: Floats
    lengths: Floats

    @classmethod
    def of(cls, labels: pl.DataFrame) -> "Lives":
        """Return the lives of labels; raise ValueError for one that is known before it begins."""
        codes, begins, knowns = _spans(labels)
        order = np.lexsort((knowns, begins, codes))
        codes, begins, knowns = codes[order], begins[order], knowns[order]
        starts, ends = np.empty_like(begins), np.empty_like(begins)
        lengths: list[Integers] = [np.empty(0, dtype=np.int64)]
        offset = 0
        for rows in _parts(codes):
            # Two runs that are nearly sorted: a stable sort merges them, several times faster than ``numpy.unique``.
            cuts = np.sort(np.concatenate([begins[rows], knowns[rows]]), kind="stable")
            cuts = cuts[np.diff(cuts, prepend=cuts[0] - 1) > 0]
            starts[rows] = offset + np.searchsorted(cuts, begins[rows])
            ends[rows] = offset + np.searchsorted(cuts, knowns[rows])
            lengths.append(np.diff(cuts))
            offset += len(cuts) - 1
        return cls(order, starts, ends, (knowns - begins).astype(float), np.concatenate(lengths).astype(float))


def uniqueness(labels: pl.DataFrame) -> pl.Series:
    """Return the average uniqueness of each label, above 0 and at most 1: its weight where outcomes overlap.

    Formula: the mean over (time, label_known] of 1 / c, with c the number of the symbol's labels that live then. Lopez
    de Prado (2018), Advances in Financial Machine Learning, sections 4.3 and 4.4, snippets 4.1 and 4.2.

    Parameters
    ----------
    labels
        Columns symbol, time and label_known, as a label's ``build`` gives them, in any order.

    Returns
    -------
    polars.Series
        ``uniqueness``, row by row.

    Raises
    ------
    ValueError
        A column is missing, or a label is known at its decision or before.
    """
    lives = Lives.of(labels)
    living = _living(lives.starts, lives.ends, len(lives.lengths))
    shared = np.divide(lives.lengths, living, out=np.zeros(len(living)), where=living > 0)
    found, out = np.empty(len(lives.starts)), np.empty(len(lives.starts))
    sum_between(shared, lives.starts, lives.ends, found)
    out[lives.order] = np.minimum(found / lives.spans, 1.0) if len(found) else found
    return pl.Series("uniqueness", out)


def return_attribution(labels: pl.DataFrame, bars: Any) -> pl.Series:
    """Return how much of the market's moves each label accounts for, on average 1 for the labels of a symbol.

    Formula: | sum of r / c over the bars that close in (time, label_known] |, with r the log return of the bar from the
    close before and c the number of the symbol's labels that live at its close; divided by the mean of the symbol. All
    are 1 where the price stands still. Lopez de Prado (2018), Advances in Financial Machine Learning, section 4.6,
    snippet 4.10.

    Parameters
    ----------
    labels
        Columns symbol, time and label_known, as a label's ``build`` gives them, in any order.
    bars
        Schema ``bars``, polars or pandas, in time order within each symbol.

    Returns
    -------
    polars.Series
        ``return_attribution``, row by row.

    Raises
    ------
    ValueError
        A column is missing, a label is known at its decision or before, or a symbol has labels but no bars.
    SchemaError
        The bars are impossible or out of order.
    """
    codes, begins, knowns = _spans(labels)
    parts = {rows["symbol"][0]: rows for rows in check_bars(validate(bars, "bars")).partition_by("symbol")}
    out = np.ones(labels.height)
    order = np.argsort(codes, kind="stable")
    for part in _parts(codes[order]):
        rows = order[part]
        symbol = labels["symbol"][int(rows[0])]
        if symbol not in parts:
            raise ValueError(f"return_attribution: no bars of {symbol}, found only {', '.join(parts)}")
        times, close = parts[symbol]["time"].dt.epoch("ns").to_numpy(), parts[symbol]["close"].to_numpy()
        starts = np.searchsorted(times, begins[rows], side="right")
        ends = np.searchsorted(times, knowns[rows], side="right")
        living = _living(starts, ends, len(times))
        returns = np.diff(np.log(close), prepend=np.log(close[0]))
        found = np.empty(len(rows))
        sum_between(np.divide(returns, living, out=np.zeros(len(times)), where=living > 0), starts, ends, found)
        total = np.abs(found).sum()
        if total > 0.0:
            out[rows] = np.abs(found) * (len(rows) / total)
    return pl.Series("return_attribution", out)


def time_decay(uniqueness: pl.Series, last: float, times: pl.Series | None = None) -> pl.Series:
    """Return weights that fade with the age of a label: 1 for the newest, ``last`` for the oldest.

    Formula: with x the sum of the uniqueness up to and with a label, and all of it X, the weight is a line in x that is
    1 at X. From zero on, ``last`` is its height at x = 0; below zero, the weights of the oldest share ``-last`` of X
    are 0, and the line rises from there. So what has told nothing new ages nothing. Lopez de Prado (2018), Advances in
    Financial Machine Learning, section 4.7, snippet 4.11.

    Parameters
    ----------
    uniqueness
        As ``uniqueness`` gives it.
    last
        Above -1 and at most 1; 1 is no decay.
    times
        When each label was decided; labels of one time are of one age. Without it the rows are in the order of time.

    Returns
    -------
    polars.Series
        ``time_decay``, row by row.

    Raises
    ------
    ValueError
        ``last`` is outside its range, or the columns differ in length.
    """
    if not -1.0 < last <= 1.0:
        raise ValueError(f"time_decay: last must be above -1 and at most 1, found {last!r}")
    if times is not None and len(times) != len(uniqueness):
        raise ValueError(f"time_decay: {len(times)} times for {len(uniqueness)} labels")
    shares = uniqueness.to_numpy()
    ages = np.arange(len(shares)) if times is None else times.rank("dense").to_numpy().astype(np.int64) - 1
    up_to = np.cumsum(np.bincount(ages, weights=shares))[ages] if len(shares) else shares
    whole_sum = up_to.max() if len(shares) else 1.0
    slope = (1.0 - last) / whole_sum if last >= 0.0 else 1.0 / ((last + 1.0) * whole_sum)
    return pl.Series("time_decay", np.maximum(1.0 - slope * (whole_sum - up_to), 0.0))


def sequential_bootstrap(labels: pl.DataFrame, draws: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of labels drawn with replacement, so that those drawn overlap less than by plain chance.

    Each label is drawn with a chance in proportion to its average uniqueness beside the labels drawn before. Lopez de
    Prado (2018), Advances in Financial Machine Learning, section 4.5, snippets 4.3 to 4.5.

    Parameters
    ----------
    labels
        Columns symbol, time and label_known, as a label's ``build`` gives them, in any order.
    draws
        How many labels are drawn; as many as there are is usual.
    seed
        The same seed draws the same labels.

    Returns
    -------
    numpy.ndarray
        Row numbers, shape (draws,).

    Raises
    ------
    ValueError
        There are no labels, a column is missing, a label is known at its decision or before, or ``draws`` is below 1.
    """
    draws = whole("sequential_bootstrap", "draws", draws)
    if not labels.height:
        raise ValueError("sequential_bootstrap: wanted labels, found none")
    lives = Lives.of(labels)
    furthest = np.maximum.accumulate(lives.ends)
    drawn = np.empty(draws, dtype=np.int64)
    chances = np.random.default_rng(seed).random(draws)
    draw_labels(lives.starts, lives.ends, lives.spans, lives.lengths, furthest, chances, drawn)
    return lives.order[drawn]


def _spans(labels: pl.DataFrame) -> tuple[Integers, Integers, Integers]:
    """Return the number of the symbol of each label, when it was decided, and when it was known."""
    missing = [name for name in ("symbol", "time", "label_known") if name not in labels.columns]
    if missing:
        raise ValueError(f"labels: found no {', '.join(missing)}; wanted symbol, time, label_known")
    codes = labels["symbol"].rank("dense").to_numpy().astype(np.int64)
    begins, knowns = (labels[name].dt.epoch("ns").to_numpy() for name in ("time", "label_known"))
    early = np.flatnonzero(knowns <= begins)
    if len(early):
        row = int(early[0])
        raise ValueError(f"labels: {labels['symbol'][row]} {labels['time'][row]} is known at its decision or before")
    return codes, begins, knowns


def _parts(codes: Integers) -> list[slice]:
    """Return the rows of each symbol where its labels lie together."""
    cuts = np.flatnonzero(np.diff(codes)) + 1
    bounds = [0, *cuts.tolist(), len(codes)] if len(codes) else []
    return [slice(first, last) for first, last in pairwise(bounds)]


def _living(starts: Integers, ends: Integers, places: int) -> Integers:
    """Return how many labels live in each interval."""
    changes = np.bincount(starts, minlength=places + 1) - np.bincount(ends, minlength=places + 1)
    living: Integers = np.cumsum(changes)[:places]
    return living
