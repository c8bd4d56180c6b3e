"""The files of a store as a list, so that DuckDB, polars and others read exactly those that count."""

from collections.abc import Sequence

import polars as pl

from cryptoquant.data.entry import Entry
from cryptoquant.data.reading import View, loose
from cryptoquant.data.selection import Bounds

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("path", "timeframe", "symbol"), pl.String),
    **dict.fromkeys(("first", "last"), pl.Datetime("ns", "UTC")),
    **dict.fromkeys(("rows", "bytes"), pl.Int64),
}


def files(view: View, place: str, kind: str, symbols: Sequence[str], bounds: Bounds) -> pl.DataFrame:
    """Return the files of a kind that may hold rows of some symbols in a range, by symbol and time.

    A glob over the store's folder also finds files that stopped counting and are not deleted yet. In these files rows
    may stand more than once and beyond the range, of bars all revisions; what only the log holds is in none.

    Parameters
    ----------
    place
        The store's folder or URL.

    Returns
    -------
    polars.DataFrame
        ``path`` (whole, or a URL), ``timeframe`` (of bars, else ``""``), ``symbol`` (``""`` for several), ``first`` and
        ``last`` time of its rows, ``rows`` and ``bytes``.
    """
    wanted = {*symbols}
    chosen: list[Entry] = []
    for symbol in ("", *symbols):
        for timeframe in sorted(view.snapshot.timeframes(kind, symbol)):
            entries = view.snapshot.series(kind, timeframe, symbol).within(*loose(kind, bounds))
            chosen += [entry for entry in entries if symbol or not wanted.isdisjoint(entry.symbols)]
    columns = {name: [getattr(entry, name) for entry in chosen] for name in COLUMNS if name != "path"}
    paths = [f"{entry.place or place}/{entry.path}" for entry in chosen]
    return pl.DataFrame({"path": paths, **columns}, schema=COLUMNS)
