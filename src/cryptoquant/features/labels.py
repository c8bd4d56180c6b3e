"""What came after a decision: the answers that a model learns, each with the time at which it was known.

Every label is decided at a bar's close and entered at that close. Its path is the bars after it, up to the first that
closes at or after ``time + horizon``; when bars are missing, the path ends at the first bar after the gap.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.compiled import kernel
from cryptoquant.features.catalogue.volatility import realized_volatility
from cryptoquant.features.feature import positive, whole
from cryptoquant.features.history import run_symbols
from cryptoquant.features.kernel import Integers
from cryptoquant.features.program import Program
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import span_ns


@kernel
def follow(
    prices: Floats,
    times: Integers,
    known: Integers,
    reach: Floats,
    barriers: Floats,
    horizon: int,
    out: Floats,
    when: Integers,
) -> None:
    """Follow the path of every bar of one symbol to its barrier.

    ``prices`` (4, rows): open, high, low, close. ``reach`` (rows,): the unit of the barriers, not finite for none.
    ``barriers``: take and stop in units. Writes label and log return to ``out`` (2, rows), NaN where the outcome is not
    known by the end, and the time at which it is known to ``when``.
    """
    rows = prices.shape[1]
    for row in range(rows):
        out[0, row] = np.nan
        out[1, row] = np.nan
        if not reach[row] > 0.0:
            continue
        entry = prices[3, row]
        upper = entry * np.exp(barriers[0] * reach[row])
        lower = entry * np.exp(-barriers[1] * reach[row])
        seen = known[row]
        for after in range(row + 1, rows):
            seen = max(seen, known[after])
            label = 0.0
            leave = np.nan
            if prices[0, after] <= lower:
                label, leave = -1.0, prices[0, after]
            elif prices[0, after] >= upper:
                label, leave = 1.0, prices[0, after]
            elif prices[2, after] <= lower:
                label, leave = -1.0, lower
            elif prices[1, after] >= upper:
                label, leave = 1.0, upper
            elif times[after] >= times[row] + horizon:
                leave = prices[3, after]
            if leave > 0.0:
                out[0, row] = label
                out[1, row] = np.log(leave / entry)
                when[row] = seen
                break


@dataclass(frozen=True, slots=True)
class TripleBarrier:
    """Which of three barriers the price meets first: +1 the take, -1 the stop, 0 the end of the horizon.

    The upper barrier is close * exp(take * s), the lower close * exp(-stop * s), with s the deviation of the last
    ``volatility_window`` log returns known at the decision, times the root of the bars in the horizon. Lopez de Prado
    (2018), Advances in Financial Machine Learning, section 3.4.

    A bar that opens beyond a barrier leaves at its open; otherwise the exit is at the barrier. When one bar spans both
    barriers the stop counts, as the order within a bar is not known. A flat past (s = 0) gives no label.

    Raises
    ------
    ValueError
        Take, stop or horizon is not above zero, or the window is smaller than 2.
    """

    take: float
    stop: float
    horizon: timedelta
    volatility_window: int = 48

    def __post_init__(self) -> None:
        object.__setattr__(self, "take", positive("triple_barrier", "take", self.take))
        object.__setattr__(self, "stop", positive("triple_barrier", "stop", self.stop))
        window = whole("triple_barrier", "volatility_window", self.volatility_window, 2)
        object.__setattr__(self, "volatility_window", window)
        _check_horizon("triple_barrier", self.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {
            "name": "triple_barrier",
            "take": self.take,
            "stop": self.stop,
            "horizon_ns": span_ns(self.horizon),
            "volatility_window": self.volatility_window,
        }

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars.

        Parameters
        ----------
        bars
            Schema ``bars``, polars or pandas, in time order within each symbol.

        Returns
        -------
        polars.DataFrame
            ``symbol``, ``time`` (of the decision), ``label_known``, ``label`` and ``label_return`` (log return from the
            close of the decision to the exit); bars without a known outcome are left out.

        Raises
        ------
        SchemaError
            The bars are impossible or out of order.
        """
        return _build(bars, self.horizon, np.array([self.take, self.stop]), self.volatility_window)


@dataclass(frozen=True, slots=True)
class ForwardReturn:
    """The log return from a bar's close to the first close at or after ``time + horizon``.

    Raises
    ------
    ValueError
        The horizon is not above zero.
    """

    horizon: timedelta

    def __post_init__(self) -> None:
        _check_horizon("forward_return", self.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {"name": "forward_return", "horizon_ns": span_ns(self.horizon)}

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars; columns and errors as for ``TripleBarrier.build``."""
        return _build(bars, self.horizon, np.array([np.inf, np.inf]), 0).with_columns(label=pl.col("label_return"))


Label = TripleBarrier | ForwardReturn


def triple_barrier(take: float, stop: float, horizon: timedelta, volatility_window: int = 48) -> TripleBarrier:
    """Return the label of three barriers, ``take`` and ``stop`` in units of past volatility; see ``TripleBarrier``."""
    return TripleBarrier(take, stop, horizon, volatility_window)


def forward_return(horizon: timedelta) -> ForwardReturn:
    """Return the label that is the log return over a horizon; see ``ForwardReturn``."""
    return ForwardReturn(horizon)


def label_from_dict(saved: dict[str, Any]) -> Label:
    """Return the label that ``to_dict`` described.

    Raises
    ------
    ValueError
        The name is unknown or a parameter is missing, surplus or wrong.
    """
    constructors = {"triple_barrier": TripleBarrier, "forward_return": ForwardReturn}
    rest = dict(saved)
    name = rest.pop("name", None)
    if name not in constructors:
        raise ValueError(f"label: unknown name {name!r}; wanted one of {', '.join(constructors)}")
    try:
        horizon = timedelta(microseconds=rest.pop("horizon_ns") // 1_000)
        label: Label = constructors[name](horizon=horizon, **rest)
    except (KeyError, TypeError) as error:
        raise ValueError(f"label: {name} cannot be read from {saved}: {error}") from error
    return label


def _check_horizon(label: str, horizon: timedelta) -> None:
    if not isinstance(horizon, timedelta) or horizon <= timedelta(0):
        raise ValueError(f"{label}: horizon must be a timedelta above zero, found {horizon!r}")


def _build(bars: Any, horizon: timedelta, barriers: Floats, window: int) -> pl.DataFrame:
    """Return the labels of all symbols; without a window the barriers are out of reach."""
    frame = check_bars(validate(bars, "bars"))
    out = np.full((2, frame.height), np.nan)
    when = np.zeros(frame.height, dtype=np.int64)
    for rows in frame.with_row_index("row").partition_by("symbol"):
        places = rows["row"].to_numpy()
        part_out, part_when = np.empty((2, rows.height)), np.zeros(rows.height, dtype=np.int64)
        times, known = (rows[name].dt.epoch("ns").to_numpy() for name in ("time", "known"))
        prices = rows.select("open", "high", "low", "close").to_numpy(order="c").T.copy()
        reach = _reach(rows, horizon, window) if window else np.ones(rows.height)
        follow(prices, times, known, reach, barriers, span_ns(horizon), part_out, part_when)
        out[:, places], when[places] = part_out, part_when
    label_known = pl.from_epoch(pl.Series("label_known", when), "ns").dt.replace_time_zone("UTC")
    labels = frame.select("symbol", "time").with_columns(
        label_known, pl.Series("label", out[0]), pl.Series("label_return", out[1])
    )
    return labels.filter(pl.col("label").is_not_nan())


def _reach(rows: pl.DataFrame, horizon: timedelta, window: int) -> Floats:
    """Return the volatility over the horizon known at each bar: deviation per bar times the root of its bars."""
    feature = realized_volatility(window)
    out = np.empty((1, rows.height))
    run_symbols(Program.of([feature]), {"close": rows["close"].to_numpy()}, [0, rows.height], out)
    spans = (rows["time"] - rows["open_time"]).dt.total_nanoseconds().to_numpy()
    scaled: Floats = out[0] * np.sqrt(span_ns(horizon) / spans)
    return scaled
