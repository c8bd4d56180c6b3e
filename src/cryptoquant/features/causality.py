"""The gate against looking ahead: change the future, and the past of every feature must stay the same to the bit.

The checks take any ``compute(bars) -> frame`` with columns ``symbol``, ``time``, ``known`` and features, so that
home-made features pass through the same gate. ``check_features`` runs all of them on a feature set, and adds what only
our own steps promise: history equals the online update, wherever it is cut, saved and restored; and the start of the
series no longer matters after the declared warm-up. Columns named ``loose``, those of polars expressions, may differ by
``LOOSE`` of their size: they promise no more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError, LeakageError
from cryptoquant.features.feature import Feature
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.ticks import Ticks
from cryptoquant.features.timeframes import LongerBars
from cryptoquant.market.slice import Floats, Panel
from cryptoquant.market.time import iso

Compute = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = ("symbol", "time")
PRICES = ("open", "high", "low", "close", "vwap")
EVERY_CUT = 256
SAMPLED_CUTS = 24
FUTURES = 21
TICK_CUTS = 8
STARTS = (1, 7, 50)
ONLINE_SLICES = 2_000
CLONE = "~CLONE"
LOOSE = 1e-10
START = 1e-9


class FeatureTable(Protocol):
    """What ``check_features`` needs of a feature set: the same columns from a frame, from a panel and online."""

    @property
    def features(self) -> tuple[Any, ...]:
        """The features, in the order of their columns."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        ...

    def compute(self, bars: Any, ticks: Ticks | None = None) -> pl.DataFrame:
        """Return symbol, time, known and the features of a frame of bars."""
        ...

    def compute_panel(self, panel: Panel, ticks: Ticks | None = None) -> Floats:
        """Return the features, shape (slices, symbols, columns)."""
        ...

    def online(self, symbols: Sequence[str]) -> OnlineFeatures:
        """Return the updater for the present."""
        ...


def check_features(features: FeatureTable, bars: pl.DataFrame, ticks: Ticks | None = None, *, seed: int = 0) -> None:
    """Run every check of this file on a feature set.

    Parameters
    ----------
    bars
        Validated bars of one timeframe.
    ticks
        What the features of ticks read.
    seed
        Chooses cuts and changes.

    Raises
    ------
    LeakageError
        Names the feature, the symbol, the time and what changed.
    """

    def compute(given: pl.DataFrame) -> pl.DataFrame:
        return features.compute(given, ticks)

    alone = [name for feature in features.features if not _is_across(feature) for name in feature.outputs]
    loose = [
        name
        for feature in features.features
        if getattr(feature, "form", "") == "expression"
        for name in feature.outputs
    ]
    check_prefixes(compute, bars, seed=seed, loose=loose)
    check_futures(compute, bars, seed=seed, loose=loose)
    check_row_order(compute, bars)
    check_isolation(compute, bars, columns=alone, seed=seed)
    check_start(features, bars, ticks)
    panel = Panel.from_frame(bars)
    if ticks is not None:
        check_ticks(features, panel, ticks, seed=seed)
    check_online(features, panel, ticks, seed=seed)


def check_prefixes(
    compute: Compute,
    bars: pl.DataFrame,
    *,
    cuts: Sequence[int] | None = None,
    seed: int = 0,
    loose: Sequence[str] = (),
) -> None:
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
        check_prefixes(compute, _until(bars, int(times[EVERY_CUT - 1])), seed=seed, loose=loose)
    chosen = _draw(times, SAMPLED_CUTS if len(times) > EVERY_CUT else EVERY_CUT, seed) if cuts is None else cuts
    whole = _table(compute, bars)
    for cut in chosen:
        found = _table(compute, _until(bars, cut))
        _compare(_until(whole, cut), found, f"when the bars after {iso(cut)} were removed", loose=loose)


def check_futures(compute: Compute, bars: pl.DataFrame, *, seed: int = 0, loose: Sequence[str] = ()) -> None:
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
            change = f"when the bars after {iso(cut)} were {kind}"
            _compare(_until(whole, cut), _until(found, cut), change, loose=loose)


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


def check_start(features: FeatureTable, bars: pl.DataFrame, ticks: Ticks | None = None) -> None:
    """Begin later: after its warm-up a feature must be what it is with the whole past, to ``START`` of its size.

    What is cumulative and what reads ticks is left out; so is a warm-up longer than the bars that there are.

    Raises
    ------
    LeakageError
        A value still depends on where the series began.
    """
    width = int((bars["time"] - bars["open_time"]).dt.total_nanoseconds().item(0)) if bars.height else 0
    whole = _table(lambda given: features.compute(given, ticks), bars)
    for skip in STARTS:
        later = bars.filter(pl.int_range(pl.len()).over("symbol") >= skip)
        if later.height == 0:
            return
        found = _table(lambda given: features.compute(given, ticks), later)
        joined = whole.join(found, on=KEYS, suffix="_later")
        complete = later.select(*KEYS, full=pl.all_horizontal(pl.col(name).is_finite() for name in (*PRICES, "volume")))
        seen = complete.sort(KEYS).select(*KEYS, seen=pl.col("full").cast(pl.Int64).cum_sum().over("symbol"))
        joined = joined.join(seen, on=KEYS)
        for feature in features.features:
            needed = _warm_up(feature, width)
            if needed is None:
                continue
            rows = joined.filter(pl.col("seen") > needed)
            for name in feature.outputs:
                _compare_start(rows, name, skip, needed)


def _warm_up(feature: Any, width: int) -> int | None:
    if isinstance(feature, Feature):
        return None if feature.memory == "cumulative" else feature.warm_up
    if isinstance(feature, LongerBars):
        inner = feature.features.features
        is_cumulative = any(part.memory == "cumulative" for part in inner)
        return None if is_cumulative else feature.needed(width)[1]
    return None


def _compare_start(rows: pl.DataFrame, name: str, skip: int, needed: int) -> None:
    one, two = (rows[column].fill_null(np.nan).to_numpy() for column in (name, f"{name}_later"))
    size = np.nanmax(np.abs(one), initial=0.0) if np.isfinite(one).any() else 0.0
    same = (np.abs(one - two) <= START * size) | (np.isnan(one) & np.isnan(two)) | (one == two)
    wrong = np.flatnonzero(~same)
    if len(wrong):
        row = int(wrong[0])
        symbol, time = rows["symbol"][row], rows["time"].dt.epoch("ns")[row]
        raise LeakageError(
            f"{name}: {symbol} {iso(time)}: {float(one[row])!r} became {float(two[row])!r} when the first {skip} bars "
            f"were left out, more than the declared warm-up of {needed} bars ago"
        )


def check_ticks(features: FeatureTable, panel: Panel, ticks: Ticks, *, seed: int = 0) -> None:
    """Remove, and change, the trades, quotes and books after a slice was known: what it saw must stay the same.

    Raises
    ------
    LeakageError
        A value before a cut changed.
    """
    whole = features.compute_panel(panel, ticks)
    for cut in _draw(np.asarray(panel.known), TICK_CUTS, seed):
        last = int(np.searchsorted(panel.known, cut, side="right"))
        for kind, given in (("removed", ticks.until(cut)), ("changed", _other_after(ticks, cut))):
            found = features.compute_panel(panel, given)[:last]
            wrong = np.argwhere(_differs(whole[:last], found))
            if len(wrong):
                row, symbol, column = wrong[0]
                raise LeakageError(
                    f"{features.names[column]}: {panel.symbols[symbol]} {iso(int(panel.times[row]))}: "
                    f"{whole[row, symbol, column]!r} became {found[row, symbol, column]!r} when the ticks after "
                    f"{iso(cut)} were {kind}"
                )


def _other_after(ticks: Ticks, cut: int) -> Ticks:
    """Return ticks whose prices and sizes are others after a time at which they were known (ns UTC)."""
    numbers = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
    frames = {}
    for kind in ("trades", "quotes", "books"):
        frame = getattr(ticks, kind)
        is_after = pl.col("known").dt.epoch("ns") > cut
        names = [name for name in numbers if frame is not None and name in frame.columns]
        changed = (pl.when(is_after).then(pl.col(name) * 3.0).otherwise(pl.col(name)).alias(name) for name in names)
        frames[kind] = None if frame is None else frame.with_columns(*changed)
    return Ticks(**frames)


def check_online(features: FeatureTable, panel: Panel, ticks: Ticks | None = None, *, seed: int = 0) -> None:
    """Walk slice by slice, through holes and infinities, saved and restored on the way: equal to history to the bit.

    Raises
    ------
    LeakageError
        An online value differs from the batch value.
    """
    panel = _with_holes(panel, seed)
    history = features.compute_panel(panel, ticks)
    events = iter(ticks.events() if ticks is not None else ())
    loose = np.array([_is_loose(feature) for feature in features.features for _ in feature.outputs])
    waiting = next(events, None)
    online = features.online(panel.symbols)
    saves = set(_draw(panel.times, 16, seed))
    for row, slice in enumerate(panel):
        if slice.time in saves:
            memory = online.state()
            online.peek(slice)
            online = features.online(panel.symbols)
            online.restore(memory)
        while waiting is not None and waiting.known <= slice.known:
            online.observe(waiting)
            waiting = next(events, None)
        found = online.update(slice)
        wrong = np.argwhere(_differs(history[row], found, loose))
        if len(wrong):
            symbol, column = wrong[0]
            raise LeakageError(
                f"{features.names[column]}: {panel.symbols[symbol]} {iso(slice.time)}: history has "
                f"{history[row, symbol, column]!r}, the online update {found[symbol, column]!r}"
            )


def _differs(one: Floats, two: Floats, loose: Any = False) -> NDArray[np.bool_]:
    """Return where numbers are not the same bits; in columns marked ``loose``, where they are further apart."""
    different: NDArray[np.bool_] = ~((one == two) | (np.isnan(one) & np.isnan(two)))
    if np.any(loose):
        near = np.abs(one - two) <= LOOSE * np.maximum(np.abs(one), 1.0)
        different &= ~(np.broadcast_to(loose, different.shape) & near)
    return different


def _is_loose(feature: Any) -> bool:
    """Return whether a feature promises its numbers to ``LOOSE`` only."""
    if isinstance(feature, LongerBars):
        return any(_is_loose(inner) for inner in feature.features.features)
    return isinstance(feature, Feature) and feature.form == "expression"


def _is_across(feature: Any) -> bool:
    """Return whether a feature may depend on other symbols."""
    if isinstance(feature, LongerBars):
        return any(_is_across(inner) for inner in feature.features.features)
    return isinstance(feature, Feature) and feature.across


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


def _compare(
    expected: pl.DataFrame,
    found: pl.DataFrame,
    change: str,
    columns: Sequence[str] | None = None,
    loose: Sequence[str] = (),
) -> None:
    """Raise LeakageError for the first row, and in it the first feature, in which two tables differ."""
    if not expected.select(KEYS).equals(found.select(KEYS)):
        raise LeakageError(f"the rows themselves: {expected.height} became {found.height} {change}")
    names = [name for name in expected.columns if name not in (*KEYS, "known")] if columns is None else list(columns)
    one, two = (
        table.select(pl.col(names).cast(pl.Float64).fill_null(np.nan)).to_numpy() for table in (expected, found)
    )
    wrong = np.argwhere(_differs(one, two, np.isin(names, loose)))
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
