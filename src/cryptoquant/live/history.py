"""The history that a trader's features need, up to the last closed bar."""

import numpy as np

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.download import download
from cryptoquant.data.store import Store
from cryptoquant.errors import DataError
from cryptoquant.market.aggregation import bucket_open
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import iso, span_ns
from cryptoquant.models.bundle import Bundle


def history(bundle: Bundle, store: Store, source: Alpaca, now: int) -> Panel:
    """Return the stored slices up to the last close before ``now`` (ns); what the store lacks is downloaded first.

    Raises
    ------
    DataError
        Even then the history is too short for the features, or does not reach the present.
    """
    width = span_ns(bundle.timeframe)
    last = bucket_open(now, width)
    lookback, warm_up = bundle.features.needed(bundle.timeframe)
    lookback += bundle.predictor.window - 1
    needed = max(warm_up + bundle.predictor.window - 1, bundle.strategy.lookback) + 2
    for symbol in bundle.symbols:
        stored, reached = _reach(store, symbol, bundle.timeframe)
        if reached < last:
            begin = reached or last - needed * width
            download(store, symbol, stored, begin, last, source=source)
    try:
        panel = Panel.from_frame(store.bars(list(bundle.symbols), bundle.timeframe), bundle.symbols).between(0, last)
    except DataError as error:
        raise DataError(f"{bundle.name}: neither store nor venue has the history to trade on: {error}") from error
    for column, symbol in enumerate(bundle.symbols):
        there = ~np.isnan(panel.field("close")[:, column])
        recent = int(there[-needed:].sum())
        if int(panel.times[-1]) != last or not there[-1] or recent <= lookback:
            found = f"{recent} of the last {needed} bars, up to {iso(int(panel.times[there][-1]))}"
            wanted = f"{lookback + 1} up to {iso(last)}"
            raise DataError(f"{bundle.name}: {symbol}: found {found}; trading now needs {wanted}")
    return panel


def _reach(store: Store, symbol: str, timeframe: str) -> tuple[str, int]:
    """Return the timeframe in which the store keeps a symbol, and its last close in the bundle's timeframe (ns)."""
    for stored in (timeframe, "30m", "15m", "5m", "1m"):
        if span_ns(timeframe) % span_ns(stored) == 0 and store.coverage("bars", stored, symbol) is not None:
            bars = store.bars(symbol, timeframe)
            return stored, int(bars["time"].dt.epoch("ns").max()) if bars.height else 0  # type: ignore[arg-type]
    return timeframe, 0
