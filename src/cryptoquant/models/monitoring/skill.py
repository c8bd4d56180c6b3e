"""Whether deployed models still know anything: skill, calibration and profit by version, from joined predictions."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError

Floats = NDArray[np.float64]
CLIP = 1e-6
Z_95 = 1.959963984540054
BINS = 10


@dataclass(frozen=True, slots=True)
class Skill:
    """How well predictions did, by version.

    Attributes
    ----------
    table
        A row for each version: predictions, settled, pending, auc, log_loss, brier, hit_rate, base_rate, pnl.
    rolling
        The same numbers over the last ``window`` settled predictions, at the time when the last of them was known.
    calibration
        By bin of the predicted probability: low, high, count, predicted (mean), found (share of rises), and Wilson's
        95 % interval of it. Neighbouring labels overlap: the interval is that of independent ones.
    profit
        By moment: known (when the last label of the moment was known), pnl, and their sum, cumulative.
    by, window
        What the versions are named by, and the predictions of a rolling number.
    """

    table: pl.DataFrame
    rolling: pl.DataFrame
    calibration: pl.DataFrame
    profit: pl.DataFrame
    by: str
    window: int


def skill(joined: pl.DataFrame, by: str = "version", window: int = 200, margin: float = 0.0) -> Skill:
    """Return the skill of joined predictions (``PredictionJournal.joined``).

    Profit and loss are before costs and of a stated position: long above, short below the middle (0.5 of a probability,
    else 0), none within ``margin`` of it. Holdings overlap when a horizon is longer than the time between predictions;
    each then gets that share of the capital, and symbols share alike.

    Parameters
    ----------
    by
        The column that tells versions apart.
    window
        Settled predictions of a rolling number.

    Raises
    ------
    ModelError
        There are no predictions.
    """
    if not joined.height:
        raise ModelError("no predictions: there is no skill to tell")
    table, rolling, calibration, profit = [], [], [], []
    for (name,), part in joined.group_by([by], maintain_order=True):
        settled = part.drop_nulls("rise").sort("label_known", "time", "symbol")
        values, rises = settled["value"].to_numpy(), settled["rise"].to_numpy()
        is_chance = bool((part["kind"] == "probability").all())
        gained = _profit(settled, margin)
        counts = {"predictions": part.height, "settled": settled.height, "pending": part.height - settled.height}
        table.append({by: name, **counts, **_numbers(values, rises, is_chance), "pnl": float(gained["pnl"].sum())})
        profit.append(gained.select(pl.lit(name).alias(by), pl.all()))
        when = settled["label_known"].to_list()
        step = max(1, window // 20)
        for end in range(window, settled.height + 1, step):
            cut = slice(end - window, end)
            rolling.append({by: name, "time": when[end - 1], **_numbers(values[cut], rises[cut], is_chance)})
        if is_chance and settled.height:
            calibration += [{by: name, **row} for row in calibration_rows(values, rises)]
    empty: dict[str, Any] = {
        by: pl.String,
        "time": joined.schema["time"],
        **dict.fromkeys(_numbers(_NONE, _NONE, True), pl.Float64),
    }
    return Skill(
        pl.DataFrame(table),
        pl.DataFrame(rolling, schema=empty),
        pl.DataFrame(calibration, infer_schema_length=None),
        pl.concat(profit),
        by,
        window,
    )


_NONE = np.empty(0)


def _numbers(values: Floats, rises: Floats, is_chance: bool) -> dict[str, float]:
    """Return the skill of settled predictions; log loss and Brier score of probabilities only."""
    some = len(values) > 0
    return {
        "auc": area_under_curve(values, rises),
        "log_loss": float(log_losses(values, rises).mean()) if some and is_chance else math.nan,
        "brier": float(np.square(values - rises).mean()) if some and is_chance else math.nan,
        "hit_rate": float(((values > (0.5 if is_chance else 0.0)) == (rises > 0.5)).mean()) if some else math.nan,
        "base_rate": float(rises.mean()) if some else math.nan,
    }


def area_under_curve(values: Floats, rises: Floats) -> float:
    """Return the chance that a rise was given a higher value than a fall, ties counted half; NaN for one class.

    Source: Mann, Whitney (1947), "On a test of whether one of two random variables is stochastically larger".
    """
    up = int((rises > 0.5).sum())
    down = len(rises) - up
    if not up or not down:
        return math.nan
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return float((ranks[rises > 0.5].sum() - up * (up + 1) / 2.0) / (up * down))


def log_losses(values: Floats, rises: Floats) -> Floats:
    """Return the log loss of each probability, which is kept off 0 and 1 by 1e-6."""
    chance = np.clip(values, CLIP, 1.0 - CLIP)
    losses: Floats = -np.where(rises > 0.5, np.log(chance), np.log1p(-chance))
    return losses


def calibration_rows(values: Floats, rises: Floats, bins: int = BINS) -> list[dict[str, float]]:
    """Return the reliability table over equal bins of the probability; empty bins are left out."""
    place = np.clip((values * bins).astype(int), 0, bins - 1)
    rows = []
    for one in np.unique(place):
        mine = place == one
        count, up = int(mine.sum()), float(rises[mine].sum())
        low, high = wilson(up, count)
        rows.append(
            {
                "low": one / bins,
                "high": (one + 1) / bins,
                "count": count,
                "predicted": float(values[mine].mean()),
                "found": up / count,
                "found_low": low,
                "found_high": high,
            }
        )
    return rows


def wilson(successes: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of a share, 95 % unless another normal quantile is given.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.

    Examples
    --------
    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def positions(values: Floats, kinds: pl.Series, margin: float = 0.0) -> Floats:
    """Return the stated position of each prediction: 1 above the middle, -1 below, 0 within ``margin`` of it."""
    middle = np.where((kinds == "probability").to_numpy(), 0.5, 0.0)
    above = values - middle
    held: Floats = np.where(np.abs(above) > margin, np.sign(above), 0.0)
    return held


def _profit(settled: pl.DataFrame, margin: float) -> pl.DataFrame:
    """Return the profit of each moment, oldest first: columns time, known, pnl, cumulative."""
    gained = positions(settled["value"].to_numpy(), settled["kind"], margin) * settled["label_return"].to_numpy()
    moments = (
        settled.with_columns(gained=pl.Series(gained, dtype=pl.Float64))
        .group_by("time")
        .agg(pl.col("label_known").max().alias("known"), pl.col("gained").mean(), pl.col("horizon").max())
        .sort("time")
    )
    steps = moments["time"].diff().dt.total_nanoseconds().drop_nulls()
    step = float(np.median(steps.to_numpy())) if len(steps) else math.inf
    span = pl.col("horizon").dt.total_nanoseconds().cast(pl.Float64)
    share = pl.min_horizontal(pl.lit(1.0), pl.lit(step) / pl.max_horizontal(span, pl.lit(1.0)))
    return moments.select("time", "known", pnl=pl.col("gained") * share).with_columns(
        cumulative=pl.col("pnl").cum_sum()
    )
