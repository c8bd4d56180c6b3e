"""Minute bars into the slices that a strategy decides on: each bar once, complete or at a deadline."""

from collections.abc import Iterable, Iterator

from cryptoquant.market.aggregation import BarAggregator, bucket_open
from cryptoquant.market.schema import Bar
from cryptoquant.market.slice import Slice, SliceAssembler
from cryptoquant.market.time import Timeframe, span_ns


class SliceBuilder:
    """Folds the bars of a universe into slices of a larger timeframe.

    Parameters
    ----------
    symbols
        The universe, in its fixed order.
    timeframe
        Of the slices.
    after
        Slices that close at or before this moment are known already and not built (nanoseconds UTC).
    deadline_ns
        How long after a close absent symbols are awaited.

    Attributes
    ----------
    late
        Bars of a close whose slice had been given already; they change nothing any more.
    """

    def __init__(self, symbols: tuple[str, ...], timeframe: Timeframe, after: int, deadline_ns: int) -> None:
        self.after = after
        self.deadline_ns = deadline_ns
        self.late = 0
        self._aggregators = {symbol: BarAggregator(timeframe) for symbol in symbols}
        self._assembler = SliceAssembler(symbols, deadline_ns)
        self.width = span_ns(timeframe)
        self._seen = dict.fromkeys(symbols, after)
        self._asked: dict[str, int] = {}

    def gap(self, bar: Bar) -> tuple[int, int] | None:
        """Return the span (start, end) before a bar that no bar of its symbol has covered, or None."""
        seen = self._seen.get(bar.symbol, bar.open_time)
        return (seen, bar.open_time) if bar.open_time > seen else None

    def overdue(self, now: int) -> Iterator[tuple[str, int, int]]:
        """Yield what no bar has covered of the buckets whose deadline has passed: (symbol, start, end).

        Each span that the caller came to the end of is told once: when nothing can be fetched for it, the market was
        silent. One that could not be asked for comes again.
        """
        end = bucket_open(now - self.deadline_ns, self.width)
        for symbol, seen in tuple(self._seen.items()):
            if seen < end and self._asked.get(symbol, 0) < end:
                yield symbol, seen, end
                self._asked[symbol] = end

    def take(self, bar: Bar) -> list[Slice]:
        """Take the next bar of a symbol; return the slices that it completes. A repeated or older bar is ignored."""
        if bar.open_time < self._seen.get(bar.symbol, bar.open_time + 1):
            return []
        self._seen[bar.symbol] = bar.time
        return self._collect(self._aggregators[bar.symbol].update(bar))

    def expire(self, now: int) -> list[Slice]:
        """Return, oldest first, the slices whose deadline has passed though a symbol was silent."""
        ended = [
            large for aggregator in self._aggregators.values() for large in aggregator.expire(now - self.deadline_ns)
        ]
        complete = self._collect(ended)
        overdue = self._assembler.expire(now)
        self.after = max([self.after, *(market.time for market in overdue)])
        return sorted([*complete, *overdue], key=lambda market: market.time)

    def _collect(self, bars: Iterable[Bar]) -> list[Slice]:
        complete: list[Slice] = []
        for bar in bars:
            if bar.time <= self.after:
                self.late += 1
                continue
            closed = self._assembler.add(bar)
            self.after = max([self.after, *(market.time for market in closed)])
            complete += closed
        return complete
