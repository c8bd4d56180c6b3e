"""Which barrier the price meets first: the triple barrier, and whether the trades of a rule would have made money."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.compiled import kernel
from cryptoquant.features.feature import positive, whole
from cryptoquant.features.kernel import Integers
from cryptoquant.features.paths import check_horizon, horizon_of, instants, labelled, stamps, volatility_over
from cryptoquant.market.schema import INSTANT, to_polars
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import span_ns


@kernel
def follow(
    prices: Floats,
    times: Integers,
    known: Integers,
    reach: Floats,
    sides: Floats,
    barriers: Floats,
    horizon: int,
    out: Floats,
    when: Integers,
) -> None:
    """Follow the path of every bar of one symbol to its barrier.

    ``prices`` (4, rows): open, high, low, close. ``reach`` (rows,): the unit of the barriers, not above zero for no
    label. ``sides`` (rows,): 1 for a trade that gains when the price rises, -1 when it falls, 0 for none. ``barriers``:
    take and stop in units, seen from the trade. Writes label and log return of the trade to ``out`` (2, rows), NaN
    where the outcome is not known by the end, and the time at which it is known to ``when``.
    """
    rows = prices.shape[1]
    for row in range(rows):
        out[0, row] = np.nan
        out[1, row] = np.nan
        side = sides[row]
        if not reach[row] > 0.0 or side == 0.0:
            continue
        entry = prices[3, row]
        take = side * entry * np.exp(side * barriers[0] * reach[row])
        stop = side * entry * np.exp(-side * barriers[1] * reach[row])
        # Times the side, prices rise towards the take whichever way the trade goes; then the low is the high's mirror.
        best, worst = (1, 2) if side > 0.0 else (2, 1)
        seen = known[row]
        for after in range(row + 1, rows):
            seen = max(seen, known[after])
            label = 0.0
            leave = np.nan
            if side * prices[0, after] <= stop:
                label, leave = -1.0, prices[0, after]
            elif side * prices[0, after] >= take:
                label, leave = 1.0, prices[0, after]
            elif side * prices[worst, after] <= stop:
                label, leave = -1.0, side * stop
            elif side * prices[best, after] >= take:
                label, leave = 1.0, side * take
            elif times[after] >= times[row] + horizon:
                leave = prices[3, after]
            if leave > 0.0:
                out[0, row] = label
                out[1, row] = side * np.log(leave / entry)
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
        check_horizon("triple_barrier", self.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {
            "name": "triple_barrier",
            "take": self.take,
            "stop": self.stop,
            "horizon_ns": span_ns(self.horizon),
            "volatility_window": self.volatility_window,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "TripleBarrier":
        """Return the label that ``to_dict`` described."""
        rest = {name: value for name, value in saved.items() if name != "name"}
        return cls(horizon=horizon_of(rest), **rest)

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

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            self.trade(rows, np.ones(rows.height), out, when)

        return labelled(bars, ("label", "label_return"), path)

    def trade(self, rows: pl.DataFrame, sides: Floats, out: Floats, when: Integers) -> None:
        """Write barrier met and log return of a trade at each bar of one symbol, ``sides`` 1, -1 or 0 for none."""
        prices = rows.select("open", "high", "low", "close").to_numpy(order="c").T.copy()
        reach = volatility_over(rows, self.horizon, self.volatility_window)
        barriers = np.array([self.take, self.stop])
        times, known = stamps(rows, "time"), stamps(rows, "known")
        follow(prices, times, known, reach, sides, barriers, span_ns(self.horizon), out, when)


@dataclass(frozen=True, slots=True, eq=False)
class MetaLabel:
    """Whether the trade of a primary rule would have made money: 1 if it did, 0 if not.

    A trade enters at the close of the signal's bar on the signal's side and leaves by the triple barrier of that side,
    whose take and stop are seen from the trade: a short takes below and stops above. A second model learns from it when
    to follow the rule, and how much. Lopez de Prado (2018), Advances in Financial Machine Learning, sections 3.6, 3.7.

    Attributes
    ----------
    signals
        Columns symbol, time (the close of a bar, by which the signal is known) and side (1 or -1), by symbol and time.
    long, short
        The barriers of each side.
    """

    signals: pl.DataFrame
    long: TripleBarrier
    short: TripleBarrier

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, MetaLabel)
            and (self.long, self.short) == (other.long, other.short)
            and self.signals.equals(other.signals)
        )

    def __hash__(self) -> int:
        return hash((self.long, self.short, self.signals.height))

    @property
    def horizon(self) -> timedelta:
        """The longer of the horizons of both sides."""
        return max(self.long.horizon, self.short.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the label, its signals included, as plain JSON values."""
        signals = {
            rows["symbol"][0]: {"times_ns": stamps(rows, "time").tolist(), "sides": rows["side"].to_list()}
            for rows in self.signals.partition_by("symbol", maintain_order=True)
        }
        return {
            "name": "meta_label",
            "signals": signals,
            "long": self.long.to_dict(),
            "short": self.short.to_dict(),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "MetaLabel":
        """Return the label that ``to_dict`` described."""
        parts = [pl.DataFrame(schema={"symbol": pl.String(), "time": INSTANT, "side": pl.Int64()})]
        for symbol, rows in saved["signals"].items():
            times = instants("time", np.array(rows["times_ns"], dtype=np.int64))
            sides = pl.Series("side", rows["sides"], dtype=pl.Int64)
            parts.append(pl.DataFrame([times, sides]).select(pl.lit(symbol).alias("symbol"), "time", "side"))
        long, short = (TripleBarrier.from_dict(saved[side]) for side in ("long", "short"))
        return meta_label(pl.concat(parts), long, short)

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of the signals' bars; a signal without a bar, or without a known outcome, is left out.

        Columns and errors are those of ``TripleBarrier.build``, with ``side``; ``label_return`` is the log return of
        the trade, so that of a short is above zero when the price falls.
        """

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            joined = rows.join(self.signals, on=["symbol", "time"], how="left", maintain_order="left")
            sides = joined["side"].fill_null(0).cast(pl.Float64).to_numpy()
            for barrier, side in ((self.long, 1.0), (self.short, -1.0)):
                part, part_when = np.empty((2, rows.height)), np.zeros(rows.height, dtype=np.int64)
                barrier.trade(rows, np.where(sides == side, side, 0.0), part, part_when)
                found = ~np.isnan(part[0])
                out[0, found], out[1, found], out[2, found] = part[1, found] > 0.0, part[1, found], side
                when[found] = part_when[found]

        return labelled(bars, ("label", "label_return", "side"), path)


def triple_barrier(take: float, stop: float, horizon: timedelta, volatility_window: int = 48) -> TripleBarrier:
    """Return the label of three barriers, ``take`` and ``stop`` in units of past volatility; see ``TripleBarrier``."""
    return TripleBarrier(take, stop, horizon, volatility_window)


def meta_label(signals: Any, long: TripleBarrier, short: TripleBarrier | None = None) -> MetaLabel:
    """Return the label that judges the trades of a primary rule; see ``MetaLabel``.

    Parameters
    ----------
    signals
        Columns symbol, time (the close of a bar) and side: above zero for a long trade, below for a short one, zero for
        none; polars or pandas.
    long, short
        The barriers of each side; those of the long side count for both unless short ones are given.

    Raises
    ------
    ValueError
        A column is missing, a side is no number, a time has no zone, or a symbol has two signals at one time.
    """
    table = to_polars(signals)
    missing = [name for name in ("symbol", "time", "side") if name not in table.columns]
    if missing:
        raise ValueError(f"meta_label: the signals lack {', '.join(missing)}; wanted symbol, time, side")
    if not (table["side"].dtype.is_numeric() and table["side"].cast(pl.Float64).is_finite().fill_null(False).all()):
        raise ValueError("meta_label: each side must be a number: above zero for long, below for short, zero for none")
    if getattr(table["time"].dtype, "time_zone", None) is None:
        raise ValueError(f"meta_label: the times of the signals are {table['time'].dtype}; wanted instants with a zone")
    sides = pl.col("side").cast(pl.Float64).sign().cast(pl.Int64)
    chosen = table.select(pl.col("symbol").cast(pl.String), pl.col("time").cast(INSTANT), sides)
    twice = chosen.filter(chosen.select("symbol", "time").is_duplicated())
    if twice.height:
        raise ValueError(f"meta_label: {twice['symbol'][0]} has two signals at {twice['time'][0]}")
    trades = chosen.filter(pl.col("side") != 0).sort("symbol", "time")
    return MetaLabel(trades, long, long if short is None else short)
