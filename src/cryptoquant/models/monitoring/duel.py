"""Champion against challenger: the same moments, the same market, and how sure one can be of the difference."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.models.monitoring.skill import log_losses, positions
from cryptoquant.performance.significance import stationary_indices

Floats = NDArray[np.float64]
DRAWS = 1_000
CONFIDENCE = 0.95
FEWEST_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference, challenger less champion, with its interval and the two-sided p-value of zero."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan


@dataclass(frozen=True, slots=True)
class Duel:
    """Two versions on the moments that both predicted.

    Attributes
    ----------
    periods
        Common settled moments.
    start, end
        First and last of them, nanoseconds UTC.
    pnl
        Of the profit at a moment, before costs, by the position that ``skill`` states.
    log_loss
        Of probabilities: below zero the challenger is better; NaN for other kinds.
    """

    champion: str
    challenger: str
    periods: int
    start: int
    end: int
    pnl: Difference
    log_loss: Difference

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        pnl, loss = (
            {name: getattr(one, name) for name in ("mean", "low", "high", "p_value")}
            for one in (self.pnl, self.log_loss)
        )
        plain = {name: getattr(self, name) for name in ("champion", "challenger", "periods", "start", "end")}
        return {**plain, "pnl": pnl, "log_loss": loss}


def duel(
    champion: pl.DataFrame, challenger: pl.DataFrame, *, margin: float = 0.0, by: str = "version", seed: int = 0
) -> Duel:
    """Compare two versions by joined predictions (``PredictionJournal.joined``), paired by symbol and time.

    Raises
    ------
    ModelError
        The two share no settled prediction, or a frame holds several versions.
    """
    names = [_only(frame, by, who) for frame, who in ((champion, "champion"), (challenger, "challenger"))]
    columns = ("symbol", "time", "kind", "value")
    second = challenger.select(*columns).rename({"kind": "kind_two", "value": "value_two"})
    both = champion.drop_nulls("rise").join(second, on=["symbol", "time"], how="inner").sort("time", "symbol")
    if not both.height:
        raise ModelError(f"{names[0]} and {names[1]} share no settled prediction: wanted the same live period")
    returns, rises = both["label_return"].to_numpy(), both["rise"].to_numpy()
    one, two = both["value"].to_numpy(), both["value_two"].to_numpy()
    gained = (positions(two, both["kind_two"], margin) - positions(one, both["kind"], margin)) * returns
    is_chance = bool((both["kind"] == "probability").all() and (both["kind_two"] == "probability").all())
    lost = log_losses(two, rises) - log_losses(one, rises) if is_chance else np.full(len(one), np.nan)
    moments = (
        both.select("time", "horizon", gained=pl.Series(gained), lost=pl.Series(lost))
        .group_by("time")
        .agg(pl.col("gained", "lost").mean(), pl.col("horizon").max())
        .sort("time")
    )
    times = moments["time"].dt.epoch("ns").to_numpy()
    horizon = float(moments["horizon"].dt.total_nanoseconds().max() or 0)  # type: ignore[arg-type]
    overlap = _overlap(times, horizon)
    pnl, loss = (mean_difference(moments[name].to_numpy(), overlap, seed) for name in ("gained", "lost"))
    return Duel(names[0], names[1], len(times), int(times[0]), int(times[-1]), pnl, loss)


def mean_difference(differences: Floats, overlap: int, seed: int = 0) -> Difference:
    """Return the mean of paired differences with its interval by the stationary bootstrap.

    Blocks have a mean length of twice the overlap of labels and the cube root of the periods. The spread of the draws
    is taken with Student's t of one degree of freedom less than there are blocks, and raised by what such blocks miss
    of a dependence as long as the overlap. Fewer than eight blocks say nothing: NaN.

    Source: Politis, Romano (1994), "The stationary bootstrap", JASA 89.

    Parameters
    ----------
    differences
        Shape (periods,), in time order.
    overlap
        Periods that a label reaches over, 1 without overlap.
    """
    from scipy.special import stdtr, stdtrit

    count, mean = len(differences), float(np.mean(differences))
    block = 2 * overlap + math.ceil(math.cbrt(count))
    blocks = count / block
    if blocks < FEWEST_BLOCKS or not math.isfinite(mean):
        return Difference(mean)
    drawn = np.array(
        [differences[stationary_indices(count, block, 1, (seed, draw))[0]].mean() for draw in range(DRAWS)]
    )
    missing = overlap / (3.0 * block) + 1.0 / blocks
    spread = float(drawn.std(ddof=1)) / math.sqrt(1.0 - missing)
    freedom = blocks - 1.0
    if spread == 0.0:
        return Difference(mean, mean, mean, 1.0 if mean == 0.0 else 0.0)
    reach = float(stdtrit(freedom, (1.0 + CONFIDENCE) / 2.0)) * spread
    return Difference(mean, mean - reach, mean + reach, float(2.0 * stdtr(freedom, -abs(mean) / spread)))


def _overlap(times: NDArray[np.int64], horizon: float) -> int:
    step = float(np.median(np.diff(times))) if len(times) > 1 else math.inf
    return max(1, math.ceil(horizon / step))


def _only(frame: pl.DataFrame, by: str, who: str) -> str:
    names = frame[by].unique().sort().to_list()
    if len(names) != 1:
        raise ModelError(f"{who}: wanted predictions of one version, found {', '.join(names) or 'none'}")
    return str(names[0])
