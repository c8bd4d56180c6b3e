"""Several timeframes at once from one stream: trades make the shortest bars, and those the longer ones."""

from collections.abc import Sequence

from cryptoquant.market.aggregation import BarAggregator
from cryptoquant.market.schema import Bar, Trade
from cryptoquant.market.time import Timeframe, span_ns, timeframe_name
from cryptoquant.market.time_bars import TimeBars


class BarLadder:
    """Folds the trades, or the bars, of any number of symbols into bars of several timeframes.

    Trades are folded into the shortest timeframe, and its bars into each longer one; bars may be given instead of
    trades when they divide every timeframe. Each timeframe equals what `time_bars` and `aggregate` make of the whole
    history, to the bit. Unfinished bars are never given out; spans without a trade have no bar.

    Parameters
    ----------
    timeframes
        Any order; the longer ones are multiples of the shortest.
    since
        From when the stream is complete (ns UTC); bars that open earlier are left out. By default the first bar of
        each symbol and timeframe counts only when the stream began at its open.

    Raises
    ------
    ValueError
        A timeframe is not a multiple of the shortest.

    Examples
    --------
    >>> ladder = BarLadder(["1m", "5m"], since=0)
    >>> ladder.update(Trade("BTC/USD", 1, 1, 1, 100.0, 1.0))
    []
    >>> [(name, bar.time) for name, bar in ladder.expire(300_000_000_000)]
    [('1m', 60000000000), ('5m', 300000000000)]
    """

    def __init__(self, timeframes: Sequence[Timeframe], *, since: int | None = None) -> None:
        widths = sorted({span_ns(timeframe): timeframe_name(timeframe) for timeframe in timeframes}.items())
        if not widths:
            raise ValueError("bar ladder: found no timeframe, wanted at least one")
        shortest, name = widths[0]
        for width, other in widths[1:]:
            if width % shortest:
                raise ValueError(f"bar ladder: {other} is not a multiple of {name}, the shortest")
        self.timeframes = tuple(name for _, name in widths)
        self.since = since
        self._trades: dict[str, TimeBars] = {}
        self._bars: dict[str, dict[str, BarAggregator]] = {}

    @property
    def late(self) -> int:
        """How many trades came after their bar had closed and are in no bar."""
        return sum(folding.late for folding in self._trades.values())

    def update(self, event: Trade | Bar) -> list[tuple[str, Bar]]:
        """Take the next trade or bar; return the bars that it closes with the names of their timeframes.

        Raises
        ------
        SchemaError
            A bar overlaps the one before or does not fit into a timeframe.
        """
        if isinstance(event, Bar):
            return self._raise(event.symbol, [event], self.timeframes)
        shortest = self.timeframes[0]
        if event.symbol not in self._trades:
            self._trades[event.symbol] = TimeBars(shortest, since=self.since)
        return self._climb(event.symbol, self._trades[event.symbol].update(event))

    def expire(self, now: int) -> list[tuple[str, Bar]]:
        """Return the bars of all symbols whose end lies at or before ``now`` (ns UTC), by symbol, shortest first."""
        closed = []
        for symbol in sorted({*self._trades, *self._bars}):
            if symbol in self._trades:
                closed += self._climb(symbol, self._trades[symbol].expire(now))
            for name, folding in self._bars.get(symbol, {}).items():
                closed += [(name, bar) for bar in folding.expire(now)]
        return closed

    def _climb(self, symbol: str, bars: list[Bar]) -> list[tuple[str, Bar]]:
        return [(self.timeframes[0], bar) for bar in bars] + self._raise(symbol, bars, self.timeframes[1:])

    def _raise(self, symbol: str, bars: list[Bar], timeframes: Sequence[str]) -> list[tuple[str, Bar]]:
        if symbol not in self._bars:
            self._bars[symbol] = {name: BarAggregator(name, since=self._beginning(symbol)) for name in timeframes}
        folds = self._bars[symbol].items()
        return [(name, closed) for name, folding in folds for bar in bars for closed in folding.update(bar)]

    def _beginning(self, symbol: str) -> int | None:
        """Return from when the short bars of a symbol are complete: those of trades are so from the first trade on."""
        return self._trades[symbol].since if symbol in self._trades else self.since
