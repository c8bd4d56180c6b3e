"""Tiny markets as a strategy sees them: prices by symbol, signals and a book, row by row."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.trading.history import History
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.strategy import Strategy, View
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START


def panel_of(
    closes: Mapping[str, list[float]], *, times: list[int] | None = None, width: int = HOUR, **fields: Any
) -> Panel:
    """Return a panel of stated closes; other fields are the close unless they are given by symbol."""
    symbols = tuple(closes)
    values = np.repeat(np.array([closes[symbol] for symbol in symbols], dtype=float).T[:, :, None], len(FIELDS), axis=2)
    for name, columns in fields.items():
        for place, symbol in enumerate(symbols):
            values[:, place, FIELDS.index(name)] = columns[symbol]
    stamps = START + width * np.arange(1, len(values) + 1) if times is None else np.array(times)
    stamps = stamps.astype(np.int64)
    return Panel.from_values(stamps, stamps.copy(), symbols, values, width)


def book_of(panel: Panel, held: Mapping[str, float] | None = None) -> Portfolio:
    """Return a book of 1000 in quote currency that holds stated weights at the panel's last closes."""
    book = Portfolio(panel.symbols, Venue.research(Costs.free()), 1000.0)
    marks = panel.field("close")[-1]
    for symbol, weight in (held or {}).items():
        place = book.index(symbol)
        book.lots[place] = weight * 1000.0 / marks[place] / book.lot[place]
        book.cash -= weight * 1000.0 / book.unit
    book.mark(marks)
    return book


def views(
    strategy: Strategy, panel: Panel, signals: Mapping[str, Signal] | None = None, book: Portfolio | None = None
) -> Iterator[View]:
    """Give the view of every slice, with as much of the past as the strategy asks for."""
    history, own = History(strategy.lookback, len(panel.symbols)), book or book_of(panel)
    for market in panel:
        history.append(market)
        yield View(market, history, signals or {}, own)


def decisions(strategy: Strategy, panel: Panel) -> np.ndarray:
    """Return what ``decide`` says at every slice, shape (slices, symbols), NaN for hold; each is asked twice."""
    rows = []
    for view in views(strategy, panel):
        target = strategy.decide(view)
        assert target == strategy.decide(view)
        rows.append([target.get(symbol, math.nan) for symbol in panel.symbols])
    return np.array(rows, dtype=float).reshape(len(panel), len(panel.symbols))


def last_view(
    strategy: Strategy,
    panel: Panel,
    values: Mapping[str, float] | None = None,
    *,
    kind: Any = "probability",
    held: Mapping[str, float] | None = None,
) -> View:
    """Return the view of the last slice, with signals of its close and a book."""
    time = int(panel.times[-1])
    signals = {symbol: Signal("m", symbol, time, time, kind, value, HOUR) for symbol, value in (values or {}).items()}
    return list(views(strategy, panel, signals, book_of(panel, held)))[-1]
