"""The gate against looking ahead: change the future, and the past of every feature must stay the same to the bit.

The checks take any ``compute(bars) -> frame`` with columns ``symbol``, ``time``, ``known`` and features, so that
home-made features pass through the same gate. Columns named ``loose``, those of polars expressions, may differ by
``LOOSE`` of their size or of the usual size of their column: they promise no more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError, LeakageError
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import iso

Compute = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = ("symbol", "time")
PRICES = ("open", "high", "low", "close", "vwap")
EVERY_CUT = 256
SAMPLED_CUTS = 24
FUTURES = 21
CLONE = "~CLONE"
LOOSE = 1e-10


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

    A computation that refuses bars with a DataError, such as those without a symbol it compares with, passes that cut.

    Raises
    ------
    LeakageError
        A value before a cut changed.
    """
    times = np.unique(bars["time"].dt.epoch("ns").to_numpy())
    if cuts is None and len(times) > EVERY_CUT:
        check_prefixes(compute, _until(bars, int(times[EVERY_CUT - 1])), seed=seed, loose=loose)
    chosen = drawn(times, SAMPLED_CUTS if len(times) > EVERY_CUT else EVERY_CUT, seed) if cuts is None else cuts
    whole = table_of(compute, bars)
    for cut in chosen:
        try:
            found = table_of(compute, _until(bars, cut))
        except DataError:
            continue
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
    whole = table_of(compute, bars)
    for index, cut in enumerate(drawn(times, FUTURES, seed + 1)):
        past, future = _until(bars, cut), bars.filter(pl.col("time").dt.epoch("ns") > cut)
        for kind, changed in _futures(future, index, seed + index):
            try:
                found = table_of(compute, pl.concat([past, changed]))
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
    by_symbol, by_time = table_of(compute, bars.sort("symbol", "time")), table_of(compute, bars.sort("time", "symbol"))
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
    whole = table_of(compute, bars)
    symbols = sorted(bars["symbol"].unique())
    mine = pl.col("symbol") == symbols[0]
    clone = _scaled(bars.filter(mine), seed).with_columns(symbol=pl.lit(CLONE))
    found = table_of(compute, pl.concat([bars, clone])).filter(pl.col("symbol") != CLONE)
    _compare(whole, found, "when another symbol was added", columns)
    for symbol in symbols if len(symbols) > 1 else []:
        mine = pl.col("symbol") == symbol
        changed = pl.concat([bars.filter(mine), _scaled(bars.filter(~mine), seed)])
        for kind, other in (("changed", changed), ("removed", bars.filter(mine))):
            try:
                found = table_of(compute, other).filter(mine)
            except DataError:
                continue
            _compare(whole.filter(mine), found, f"when the other symbols were {kind}", columns)


def differs(one: Floats, two: Floats, loose: Any = False, size: Any = 0.0) -> NDArray[np.bool_]:
    """Return where numbers are not the same bits; in columns marked ``loose``, where they are further apart.

    ``size`` is the usual size of the numbers of each column.
    """
    different: NDArray[np.bool_] = ~((one == two) | (np.isnan(one) & np.isnan(two)))
    if np.any(loose) and one.size:
        near = np.abs(one - two) <= LOOSE * np.maximum(np.abs(one), size)
        different &= ~(np.broadcast_to(loose, different.shape) & near)
    return different


def sizes_of(table: Floats) -> Floats:
    """Return the median size of the finite numbers of each column, 0 where there is none."""
    sizes = [np.abs(column[np.isfinite(column)]) for column in table.T]
    return np.array([np.median(size) if len(size) else 0.0 for size in sizes])


def drawn(times: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Return up to ``count`` closes, the last one never among them, in rising order."""
    inner = times[:-1]
    if len(inner) > count:
        inner = np.sort(np.random.default_rng(seed).choice(inner, count, replace=False))
    return [int(time) for time in inner]


def _until(frame: pl.DataFrame, cut: int) -> pl.DataFrame:
    return frame.filter(pl.col("time").dt.epoch("ns") <= cut)


def table_of(compute: Compute, bars: pl.DataFrame) -> pl.DataFrame:
    """Return what a computation makes of bars, by symbol and time."""
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
    wrong = np.argwhere(differs(one, two, np.isin(names, loose), sizes_of(one)))
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
