"""The history that a trader's features need, up to the last closed bar."""

import time

import numpy as np

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.download import download
from cryptoquant.data.store import Store
from cryptoquant.errors import DataError
from cryptoquant.market.aggregation import bucket_open
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import Timeframe, iso, span_ns
from cryptoquant.models.bundle import Bundle

SILENCE_NS = 10 * 60 * 10**9
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds after which the venue is asked again for a last close that it lacks: it publishes a bar some seconds late."""


def history(bundle: Bundle, store: Store, source: Alpaca, now: int) -> Panel:
    """Return the stored slices up to the last close before ``now`` (ns); what the store lacks is downloaded first.

    A symbol without a trade in the last bars has none there, as while trading. The slice itself may be as old as
    ``SILENCE_NS`` says: of short bars, the last may be silent for all symbols. An older one is asked for again after
    each of ``PAUSES``: bars come some seconds after their close, and the venue's clock may be behind ours.

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
    panel = _brought(bundle, store, source, last - needed * width, last)
    for pause in PAUSES:
        if int(panel.times[-1]) >= last - max(0, SILENCE_NS - width):
            break
        time.sleep(pause)
        panel = _brought(bundle, store, source, last - needed * width, last)
    for column, symbol in enumerate(bundle.symbols):
        there = ~np.isnan(panel.field("close")[:, column])
        recent = int(there[-needed:].sum())
        if recent <= lookback:
            found = f"{recent} of the last {needed} bars"
            raise DataError(f"{bundle.name}: {symbol}: found {found}; trading now needs {lookback + 1}")
    reached = int(panel.times[-1])
    if reached < last - max(0, SILENCE_NS - width):
        asked = f"asked {len(PAUSES) + 1} times in {sum(PAUSES):.0f} s, found bars up to {iso(reached)}"
        raise DataError(f"{bundle.name}: {asked}; trading now needs them up to {iso(last)}")
    return panel


def _brought(bundle: Bundle, store: Store, source: Alpaca, start: int, last: int) -> Panel:
    """Download what the store lacks between two closes (ns), and return all that it holds up to the last."""
    for symbol in bundle.symbols:
        begin = _lacking(store, symbol, bundle.timeframe, start, last)
        if begin < last:
            download(store, symbol, _kept(store, symbol, bundle.timeframe), begin, last, source=source)
    try:
        return Panel.from_frame(store.bars(list(bundle.symbols), bundle.timeframe), bundle.symbols).between(0, last)
    except DataError as error:
        raise DataError(f"{bundle.name}: neither store nor venue has the history to trade on: {error}") from error


def _lacking(store: Store, symbol: str, timeframe: str, start: int, end: int) -> int:
    """Return from when on (ns) the store lacks bars of a timeframe up to ``end``: ``end`` when it lacks none.

    From the first hole behind ``start`` on all is asked for, or from where older bars end; what is there is not
    downloaded again.
    """
    try:
        times = store.bars(symbol, timeframe)["time"].dt.epoch("ns").to_numpy()
    except DataError:
        return start
    before = times[times <= start]
    begin = int(before[-1]) if len(before) else start
    reached = np.concatenate([[begin], times[times > begin]])
    holes = np.flatnonzero(np.diff(reached) > span_ns(timeframe))
    return int(reached[holes[0]] if len(holes) else reached[-1])


def _kept(store: Store, symbol: str, timeframe: Timeframe) -> Timeframe:
    """Return the timeframe in which the store keeps a symbol: the largest that makes ``timeframe``, or that itself."""
    width = span_ns(timeframe)
    for stored in (timeframe, "30m", "15m", "5m", "1m"):
        if width % span_ns(stored) == 0 and store.coverage("bars", stored, symbol) is not None:
            return stored
    return timeframe
