"""Whether the stored trades are all there were: minute bars say how much was traded, and the trades have to add up."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import polars as pl

MINUTE = 60_000_000_000
SETTLED = 45_000_000_000
LONGEST = 240 * MINUTE
FRUITLESS = 3
MOST_ASKED = 10_000
FETCHED = 2
ABSOLUTE, RELATIVE = 5e-10, 1e-12
"""Half of the ninth decimal, to which the venue rounds, and what adding up floats may lose."""

Key = tuple[str, int]
Number = TypeVar("Number", float, pl.Expr)


class Shortfall(NamedTuple):
    """A minute of which trades are missing, by what its bar says.

    Attributes
    ----------
    start, end
        Open and close of the bar (ns UTC).
    volume, traded
        Volume of the bar and of the stored trades, in units of the base currency.
    trade_count, trades
        How many trades the bar counts (None when it does not say) and how many are stored.
    """

    symbol: str
    start: int
    end: int
    volume: float
    traded: float
    trade_count: int | None
    trades: int

    @property
    def cause(self) -> str:
        """The reason in words, for the gap ledger."""
        counted = "" if self.trade_count is None else f" in {self.trade_count}"
        return f"the bar has a volume of {self.volume:.9g}{counted} trades, stored {self.traded:.9g} in {self.trades}"


def by_minute(trades: pl.DataFrame) -> pl.DataFrame:
    """Return what was traded in each minute: symbol, open_time, traded (units of the base currency) and trades."""
    return trades.group_by("symbol", open_time=pl.col("time").dt.truncate("1m")).agg(
        traded=pl.col("size").sum(), trades=pl.len().cast(pl.Int64)
    )


def reconcile(bars: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return what one-minute bars and stored trades say of the minutes of the bars.

    Volume decides: a venue may count trades otherwise than it publishes them, but what was traded adds up.

    Parameters
    ----------
    bars
        One row per symbol and minute.
    stored
        The trades, each counted once, as `by_minute` sums them.

    Returns
    -------
    DataFrame
        symbol, open_time, volume, trade_count (as the bar says), traded, trades (as stored), is_short (trades with
        some of the volume are missing), by symbol and open time.
    """
    both = bars.select("symbol", "open_time", "volume", "trade_count").join(
        stored, on=["symbol", "open_time"], how="left"
    )
    return (
        both.with_columns(pl.col("traded").fill_null(0.0), pl.col("trades").fill_null(0))
        .with_columns(is_short=(_lacking(pl.col("volume"), pl.col("traded")) > ABSOLUTE).fill_null(value=False))
        .sort("symbol", "open_time")
    )


class Reconciliation:
    """Compares each minute bar of a stream with the trades that came, once both have settled; without a clock.

    What came over the stream is summed as it comes, which costs little. Only where the sum falls short of the bar the
    stored trades are asked for, each once and with those that were fetched since.

    Attributes
    ----------
    checked, short
        Minutes that were compared, and those of which trades were missing.
    """

    def __init__(self) -> None:
        self.checked = self.short = 0
        self._heard: dict[Key, float] = {}
        self._bars: dict[Key, tuple[int, int, float, int | None]] = {}
        self._asked: dict[int, Shortfall] = {}
        self._fruitless: dict[str, int] = {}

    def take(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take decoded rows of trades and bars."""
        trades, bars = frames.get("trades"), frames.get("bars")
        if trades is not None:
            sums = by_minute(trades.filter(pl.col("rank") == 0)).with_columns(pl.col("open_time").dt.epoch("ns"))
            for symbol, minute, traded, _ in sums.iter_rows():
                self._heard[symbol, minute] = self._heard.get((symbol, minute), 0.0) + traded
        if bars is not None:
            of_minutes = bars.filter(pl.col("time") - pl.col("open_time") == pl.duration(minutes=1))
            columns = of_minutes.select(
                "symbol", pl.col("open_time", "known").dt.epoch("ns"), "rank", "volume", "trade_count"
            )
            for symbol, opened, known, rank, volume, count in columns.iter_rows():
                found = self._bars.get((symbol, opened))
                if rank >= (found[1] if found is not None else 0) and (rank < FETCHED or found is not None):
                    self._bars[symbol, opened] = (known, rank, volume, count)

    def due(self, now: int) -> list[Key]:
        """Return symbol and open of the minutes that have settled at ``now`` (ns UTC) and seem to lack trades."""
        settled = [key for key, bar in self._bars.items() if max(bar[0], key[1] + MINUTE) + SETTLED <= now]
        lacking = []
        for key in settled:
            volume, heard = self._bars[key][2], self._heard.get(key, 0.0)
            if self._fruitless.get(key[0], 0) < FRUITLESS and _lacking(volume, heard) > ABSOLUTE:
                lacking.append(key)
            else:
                self._done(key)
        for key in [key for key in self._heard if key[1] + LONGEST < now]:
            del self._heard[key]  # a minute whose bar never came
        return lacking

    def judge(self, key: Key, trades: pl.DataFrame) -> Shortfall | None:
        """Take the stored trades of a minute that seemed to lack some; return what is missing of it, if anything is."""
        symbol, opened = key
        _, _, volume, count = self._bars[key]
        self._done(key)
        traded = float(trades["size"].sum())
        if _lacking(volume, traded) <= ABSOLUTE:
            return None
        self.short += 1
        return Shortfall(symbol, opened, opened + MINUTE, volume, traded, count, trades.height)

    def asked(self, gap: int, shortfall: Shortfall) -> None:
        """Note the gap for which the trades of a minute are fetched now."""
        self._asked[gap] = shortfall
        if len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]

    def answered(self, gap: int, rows: int) -> str | None:
        """Take how many trades were fetched; return the symbol when its bars and trades have disagreed too often now.

        A venue whose bars count more than its own history of trades would be asked for ever; after three fruitless
        questions in a row the symbol is let be.
        """
        asked = self._asked.pop(gap, None)
        if asked is None:
            return None
        again = 0 if rows > asked.trades else self._fruitless.get(asked.symbol, 0) + 1
        self._fruitless[asked.symbol] = again
        return asked.symbol if again == FRUITLESS else None

    def _done(self, key: Key) -> None:
        self.checked += 1
        del self._bars[key]
        self._heard.pop(key, None)


def _lacking(volume: Number, traded: Number) -> Number:
    """Return how much volume is missing, less what the rounding of a sum may hide."""
    return volume * (1 - RELATIVE) - traded
