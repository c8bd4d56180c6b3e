"""The gate against looking ahead: change the future, and the past of every feature must stay the same to the bit.

The checks take any ``compute(bars) -> frame`` with columns ``symbol``, ``time``, ``known`` and features, so that
home-made features pass through the same gate. ``check_features`` runs all of them on a feature set, and adds what only
our own steps promise: history equals the online update, wherever it is cut, saved and restored.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError, LeakageError
from cryptoquant.features.feature import Feature
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.market.slice import Floats, Panel
from cryptoquant.market.time import iso

Compute = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = ("symbol", "time")
PRICES = ("open", "high", "low", "close", "vwap")
EVERY_CUT = 256
SAMPLED_CUTS = 24
FUTURES = 21
ONLINE_SLICES = 2_000
CLONE = "~CLONE"


class FeatureTable(Protocol):
    """What ``check_features`` needs of a feature set: the same columns from a frame, from a panel and online."""

    features: tuple[Feature, ...]
    names: tuple[str, ...]

    def compute(self, bars: Any) -> pl.DataFrame:
        """Return symbol, time, known and the features of a frame of bars."""
        ...

    def compute_panel(self, panel: Panel) -> Floats:
        """Return the features, shape (slices, symbols, columns)."""
        ...

    def online(self, symbols: Sequence[str]) -> OnlineFeatures:
        """Return the updater for the present."""
        ...


def check_features(features: FeatureTable, bars: pl.DataFrame, *, seed: int = 0) -> None:
    """Run every check of this file on a feature set.

    Parameters
    ----------
    bars
        Validated bars of one timeframe.
    seed
        Chooses cuts and changes.

    Raises
    ------
    LeakageError
        Names the feature, the symbol, the time and what changed.
    """
    alone = [name for feature in features.features if not feature.across for name in feature.outputs]
    check_prefixes(features.compute, bars, seed=seed)
    check_futures(features.compute, bars, seed=seed)
    check_row_order(features.compute, bars)
    check_isolation(features.compute, bars, columns=alone, seed=seed)
    check_online(features, Panel.from_frame(bars), seed=seed)


def check_prefixes(compute: Compute, bars: pl.DataFrame, *, cuts: Sequence[int] | None = None, seed: int = 0) -> None:
    """Cut the future off: the features up to each cut must be those of the whole series.

    Parameters
    ----------
    cuts
        Closes (ns UTC) after which bars are removed. By default every close of a series of up to ``EVERY_CUT`` slices,
        of a longer one every close of its first ``EVERY_CUT`` slices and ``SAMPLED_CUTS`` of the whole, drawn at random
        so that they hit every phase of a higher timeframe.

    Raises
    ------
    LeakageError
        A value before a cut changed.
    """
    times = np.unique(bars["time"].dt.epoch("ns").to_numpy())
    if cuts is None and len(times) > EVERY_CUT:
        check_prefixes(compute, _until(bars, int(times[EVERY_CUT - 1])), seed=seed)
    chosen = _draw(times, SAMPLED_CUTS if len(times) > EVERY_CUT else EVERY_CUT, seed) if cuts is None else cuts
    whole = _table(compute, bars)
    for cut in chosen:
        found = _table(compute, _until(bars, cut))
        _compare(_until(whole, cut), found, f"when the bars after {iso(cut)} were removed")


def check_futures(compute: Compute, bars: pl.DataFrame, *, seed: int = 0) -> None:
    """Change the future: scaled, spiked, frozen, missing, infinite, thinned and longer; the past must not move.

    A computation that refuses impossible bars with a DataError passes that change.

    Raises
    ------
    LeakageError
        A value before a cut changed.
    """
    times = np.unique(bars["time"].dt.epoch("ns").to_numpy())
    whole = _table(compute, bars)
    for index, cut in enumerate(_draw(times, FUTURES, seed + 1)):
        past, future = _until(bars, cut), bars.filter(pl.col("time").dt.epoch("ns") > cut)
        for kind, changed in _futures(future, index, seed + index):
            try:
                found = _table(compute, pl.concat([past, changed]))
            except DataError:
                continue
            _compare(_until(whole, cut), _until(found, cut), f"when the bars after {iso(cut)} were {kind}")


def check_row_order(compute: Compute, bars: pl.DataFrame) -> None:
    """Order the rows by time instead of by symbol: nothing may change.

    Raises
    ------
    LeakageError
        A value changed.
    """
    by_symbol, by_time = _table(compute, bars.sort("symbol", "time")), _table(compute, bars.sort("time", "symbol"))
    _compare(by_symbol, by_time, "when the rows were ordered by time")


def check_isolation(
    compute: Compute, bars: pl.DataFrame, *, columns: Sequence[str] | None = None, seed: int = 0
) -> None:
    """Change, remove and add other symbols: the features of a symbol (``columns``, by default all) must not move.

    A computation that refuses a universe without the symbol it compares with, with a DataError, passes that removal.

    Raises
    ------
    LeakageError
        A value changed with another symbol's bars.
    """
    whole = _table(compute, bars)
    symbols = sorted(bars["symbol"].unique())
    mine = pl.col("symbol") == symbols[0]
    clone = _scaled(bars.filter(mine), seed).with_columns(symbol=pl.lit(CLONE))
    found = _table(compute, pl.concat([bars, clone])).filter(pl.col("symbol") != CLONE)
    _compare(whole, found, "when another symbol was added", columns)
    for symbol in symbols if len(symbols) > 1 else []:
        mine = pl.col("symbol") == symbol
        changed = pl.concat([bars.filter(mine), _scaled(bars.filter(~mine), seed)])
        for kind, other in (("changed", changed), ("removed", bars.filter(mine))):
            try:
                found = _table(compute, other).filter(mine)
            except DataError:
                continue
            _compare(whole.filter(mine), found, f"when the other symbols were {kind}", columns)


def check_online(features: FeatureTable, panel: Panel, *, seed: int = 0) -> None:
    """Walk slice by slice, through holes and infinities, saved and restored on the way: equal to history to the bit.

    Raises
    ------
    LeakageError
        An online value differs from the batch value.
    """
    panel = _with_holes(panel, seed)
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    saves = set(_draw(panel.times, 16, seed))
    for row, slice in enumerate(panel):
        if slice.time in saves:
            memory = online.state()
            online.peek(slice)
            online = features.online(panel.symbols)
            online.restore(memory)
        found = online.update(slice)
        wrong = np.argwhere(_differs(history[row], found))
        if len(wrong):
            symbol, column = wrong[0]
            raise LeakageError(
                f"{features.names[column]}: {panel.symbols[symbol]} {iso(slice.time)}: history has "
                f"{history[row, symbol, column]!r}, the online update {found[symbol, column]!r}"
            )


def _differs(one: Floats, two: Floats) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = ~((one == two) | (np.isnan(one) & np.isnan(two)))
    return different


def _draw(times: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Return up to ``count`` closes, the last one never among them, in rising order."""
    inner = times[:-1]
    if len(inner) > count:
        inner = np.sort(np.random.default_rng(seed).choice(inner, count, replace=False))
    return [int(time) for time in inner]


def _until(frame: pl.DataFrame, cut: int) -> pl.DataFrame:
    return frame.filter(pl.col("time").dt.epoch("ns") <= cut)


def _table(compute: Compute, bars: pl.DataFrame) -> pl.DataFrame:
    return compute(bars).sort(KEYS)


def _compare(expected: pl.DataFrame, found: pl.DataFrame, change: str, columns: Sequence[str] | None = None) -> None:
    """Raise LeakageError for the first row, and in it the first feature, in which two tables differ."""
    if not expected.select(KEYS).equals(found.select(KEYS)):
        raise LeakageError(f"the rows themselves: {expected.height} became {found.height} {change}")
    names = [name for name in expected.columns if name not in (*KEYS, "known")] if columns is None else list(columns)
    one, two = (
        table.select(pl.col(names).cast(pl.Float64).fill_null(np.nan)).to_numpy() for table in (expected, found)
    )
    wrong = np.argwhere(_differs(one, two))
    if len(wrong):
        row, column = wrong[0]
        symbol, time = expected["symbol"][int(row)], expected["time"].dt.epoch("ns")[int(row)]
        raise LeakageError(
            f"{names[column]}: {symbol} {iso(time)}: {float(one[row, column])!r} became "
            f"{float(two[row, column])!r} {change}"
        )


def _scaled(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    factor = pl.Series(np.random.default_rng(seed).lognormal(0.0, 0.5, bars.height))
    return bars.with_columns(*(pl.col(name) * factor for name in PRICES), volume=pl.col("volume") * factor)


def _filled(bars: pl.DataFrame, value: float) -> pl.DataFrame:
    return bars.with_columns(pl.lit(value).alias(name) for name in PRICES)


def _longer(bars: pl.DataFrame) -> pl.DataFrame:
    elapsed = int(bars["time"].dt.epoch("ns").to_numpy().max() - bars["open_time"].dt.epoch("ns").to_numpy().min())
    moved = pl.col("open_time", "time", "known") + pl.duration(nanoseconds=elapsed, time_unit="ns")
    return pl.concat([bars, bars.with_columns(moved)])


def _futures(future: pl.DataFrame, index: int, seed: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield two of the seven ways in which a future can be another one, by turns."""
    ways: list[tuple[str, Callable[[], pl.DataFrame]]] = [
        ("scaled", lambda: _scaled(future, seed)),
        (
            "spiked",
            lambda: future.with_columns(*(pl.col(name) * 1e6 for name in PRICES), volume=pl.col("volume") * 1e6),
        ),
        ("frozen", lambda: _filled(future, 1.0).with_columns(volume=pl.lit(0.0))),
        ("missing", lambda: _filled(future, np.nan)),
        ("infinite", lambda: _filled(future, np.inf)),
        ("thinned", lambda: future.filter(pl.int_range(pl.len()).over("symbol") % 2 == 1)),
        ("longer", lambda: _longer(future)),
    ]
    for turn in (0, 3):
        kind, change = ways[(index + turn) % len(ways)]
        yield kind, change()


def _with_holes(panel: Panel, seed: int) -> Panel:
    """Return the first slices of a panel with some symbols absent and some inputs infinite."""
    rng = np.random.default_rng(seed)
    values = panel.rows(0, ONLINE_SLICES)
    values[rng.random(values.shape[:2]) < 0.05] = np.nan
    values[rng.random(values.shape) < 0.005] = np.inf
    return Panel.from_values(panel.times[:ONLINE_SLICES], panel.known[:ONLINE_SLICES], panel.symbols, values)
