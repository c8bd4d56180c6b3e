"""All that a feature set must stand: every check of ``causality``, and what only our own steps promise.

History equals the online update, wherever it is cut, saved and restored; ticks that are known later change nothing; and
the start of the series no longer matters after the declared warm-up.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl

from cryptoquant.errors import DataError, LeakageError
from cryptoquant.features.causality import (
    KEYS,
    check_futures,
    check_isolation,
    check_prefixes,
    check_row_order,
    differs,
    drawn,
    sizes_of,
    table_of,
)
from cryptoquant.features.feature import Feature
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.features.ticks import Ticks
from cryptoquant.features.timeframes import LongerBars
from cryptoquant.market.slice import FIELDS, Floats, Panel
from cryptoquant.market.time import iso

ONLINE_SLICES = 2_000
TICK_CUTS = 8
STARTS = (1, 7, 50)
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

    if not bars.height:
        raise DataError("causality: there are no bars to prove anything on")
    # A slice is known when the last of its bars is, and what reads ticks looks at that moment.
    is_even = bars.group_by("time").agg(pl.col("known").n_unique())["known"].max() == 1
    alone = [name for feature in features.features if not _is_across(feature, is_even) for name in feature.outputs]
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


def check_start(features: FeatureTable, bars: pl.DataFrame, ticks: Ticks | None = None) -> None:
    """Begin later: after its warm-up a feature must be what it is with the whole past, to ``START`` of its size.

    What is cumulative and what reads ticks is left out; so is a warm-up longer than the bars that there are. A feature
    that looks at other symbols counts when all symbols of the slice are warm.

    Raises
    ------
    LeakageError
        A value still depends on where the series began.
    """
    width = int((bars["time"] - bars["open_time"]).dt.total_nanoseconds().item(0))
    whole = table_of(lambda given: features.compute(given, ticks), bars)
    times = bars["time"].unique().sort()
    for skip in STARTS:
        later = bars.filter(pl.col("time") > times[skip - 1]) if len(times) > skip else bars.clear()
        if later.height == 0:
            return
        try:
            found = table_of(lambda given: features.compute(given, ticks), later)
        except DataError:
            continue
        joined = whole.join(found, on=KEYS, suffix="_later").join(later.select(*KEYS, *FIELDS), on=KEYS).sort(KEYS)
        is_old = pl.col("symbol").is_in(bars.filter(pl.col("time") <= times[skip - 1])["symbol"].unique().implode())
        for feature in features.features:
            needed = _warm_up(feature, width)
            if needed is None:
                continue
            full = pl.all_horizontal(pl.col(f"{name}_bar").is_finite() for name in _fields(feature))
            bar = joined.rename({name: f"{name}_bar" for name in FIELDS if name in joined.columns}, strict=False)
            is_warm = ~is_old | (full.cast(pl.Int64).cum_sum().over("symbol") > needed)
            rows = bar.with_columns(is_warm=is_warm.fill_null(False))
            if _is_across(feature):
                rows = rows.with_columns(is_warm=pl.col("is_warm").all().over("time"))
            for name in feature.outputs:
                _compare_start(rows.filter("is_warm"), name, skip, needed)


def _fields(feature: Any) -> list[str]:
    """Return the fields of a bar that a feature needs."""
    inner = feature.features.features if isinstance(feature, LongerBars) else [feature]
    return sorted(frozenset().union(*(part.reads for part in inner)) - {"time"})


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
            f"{name}: {symbol} {iso(time)}: {float(one[row])!r} became {float(two[row])!r} when the first {skip} "
            f"closes were left out, more than the declared warm-up of {needed} bars ago"
        )


def check_ticks(features: FeatureTable, panel: Panel, ticks: Ticks, *, seed: int = 0) -> None:
    """Remove, and change, the trades, quotes and books after a slice was known: what it saw must stay the same.

    Raises
    ------
    LeakageError
        A value before a cut changed.
    """
    whole = features.compute_panel(panel, ticks)
    moments = np.maximum.accumulate(panel.known)
    for cut in drawn(moments, TICK_CUTS, seed):
        last = int(np.searchsorted(moments, cut, side="right"))
        for kind, given in (("removed", ticks.until(cut)), ("changed", _other_after(ticks, cut))):
            found = features.compute_panel(panel, given)[:last]
            wrong = np.argwhere(differs(whole[:last], found))
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
    size = sizes_of(history.reshape(-1, history.shape[2]))
    waiting = next(events, None)
    online = features.online(panel.symbols)
    saves = set(drawn(panel.times, 16, seed))
    for row, slice in enumerate(panel):
        if slice.time in saves:
            memory = online.state()
            online = features.online(panel.symbols)
            online.restore(memory)
            online.peek(slice)
        while waiting is not None and waiting.known <= slice.known:
            online.observe(waiting)
            waiting = next(events, None)
        found = online.update(slice)
        wrong = np.argwhere(differs(history[row], found, loose, size))
        if len(wrong):
            symbol, column = wrong[0]
            raise LeakageError(
                f"{features.names[column]}: {panel.symbols[symbol]} {iso(slice.time)}: history has "
                f"{history[row, symbol, column]!r}, the online update {found[symbol, column]!r}"
            )


def _is_loose(feature: Any) -> bool:
    """Return whether a feature promises its numbers to ``LOOSE`` only."""
    if isinstance(feature, LongerBars):
        return any(_is_loose(inner) for inner in feature.features.features)
    return isinstance(feature, Feature) and feature.form == "expression"


def _is_across(feature: Any, is_even: bool = True) -> bool:
    """Return whether a feature may depend on other symbols; one of ticks does unless all are known together."""
    if isinstance(feature, TickFeature):
        return not is_even
    if isinstance(feature, LongerBars):
        return any(_is_across(inner) for inner in feature.features.features)
    return isinstance(feature, Feature) and feature.across


def _with_holes(panel: Panel, seed: int) -> Panel:
    """Return the first slices of a panel with some symbols absent and some inputs infinite."""
    rng = np.random.default_rng(seed)
    values = panel.rows(0, ONLINE_SLICES)
    values[rng.random(values.shape[:2]) < 0.05] = np.nan
    values[rng.random(values.shape) < 0.005] = np.inf
    return Panel.from_values(panel.times[:ONLINE_SLICES], panel.known[:ONLINE_SLICES], panel.symbols, values)
