"""Markets whose edge is known: none at all, or one that was planted."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import span_ns, to_ns

Floats = NDArray[np.float64]
COLUMNS = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
PRICES = ("open", "high", "low", "close", "vwap")
# A move of more than this share of the price is cut before its sign is turned, so that prices stay above zero.
LARGEST_MOVE = 0.9


class PlaceboMarket(Protocol):
    """Draws bars from a seed: the same seed gives the same bars on every machine."""

    @property
    def name(self) -> str:
        """The market's kind in a few words, for a table."""
        ...

    @property
    def key(self) -> str:
        """What runs are kept under: equal for two markets only where every seed gives both the same bars."""
        ...

    def bars(self, seed: int) -> pl.DataFrame:
        """Return bars (schema ``bars``)."""
        ...


@dataclass(frozen=True)
class RandomWalk:
    """A martingale with clustered volatility and heavy tails, as ``SyntheticMarket`` draws it without an edge."""

    like: SyntheticMarket

    @property
    def name(self) -> str:
        """The market's kind."""
        return "random walk"

    @property
    def key(self) -> str:
        """All that the bars depend on but the seed."""
        return json.dumps(["random walk", *_settings(self.like)])

    def bars(self, seed: int) -> pl.DataFrame:
        """Return the bars of one seed."""
        return replace(self.like, seed=seed, edge=0.0, _drawn={}).bars()


@dataclass(frozen=True)
class Planted:
    """A synthetic market with a planted edge (see ``SyntheticMarket``)."""

    like: SyntheticMarket
    edge: float

    def __hash__(self) -> int:
        return hash((self.like.symbols, self.edge))

    @property
    def name(self) -> str:
        """The market's kind and the strength of the edge."""
        return f"planted {self.edge:.4f}"

    @property
    def key(self) -> str:
        """All that the bars depend on but the seed."""
        return json.dumps(["planted", float(self.edge), *_settings(self.like)])

    def bars(self, seed: int) -> pl.DataFrame:
        """Return the bars of one seed."""
        return replace(self.like, seed=seed, edge=self.edge, _drawn={}).bars()


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Real bars in which nothing can be foreseen: blocks in random order, and a fair coin for the sign of every move.

    A bar's moves are those of its prices from the close before it, as fractions. The coin keeps sizes, volatility
    clusters inside a block and volumes as they were, but takes the drift and every dependence of a sign on the past,
    so that the price is a martingale; a block order alone would leave the drift of the period, which a strategy that
    is long earns without skill. All symbols share blocks and coins, so that they go on moving together. A bar that a
    symbol lacks moves with its block: every bar of the source is drawn once, at times that the source has.

    Parameters
    ----------
    source
        Schema ``bars``, one timeframe.
    block
        Length of a block.
    """

    source: pl.DataFrame
    block: timedelta = timedelta(days=1)

    @property
    def name(self) -> str:
        """The market's kind."""
        return "shuffled"

    @cached_property
    def key(self) -> str:
        """All that the bars depend on but the seed."""
        panel = self.panel
        digest = hashlib.sha256(panel.times.tobytes() + panel.known.tobytes())
        for name in COLUMNS:
            digest.update(panel.field(name).tobytes())
        return json.dumps(["shuffled", panel.symbols, panel.width, span_ns(self.block), digest.hexdigest()])

    @cached_property
    def panel(self) -> Panel:
        """The source, slice by slice."""
        return Panel.from_frame(self.source)

    def bars(self, seed: int) -> pl.DataFrame:
        """Return the bars of one seed: as many of each symbol as the source has."""
        panel = self.panel
        rng = np.random.default_rng(seed)
        rows = _shuffled_rows(len(panel), max(1, span_ns(self.block) // panel.width), rng)
        signs = np.where(rng.random(len(panel)) < 0.5, -1.0, 1.0)
        columns = {name: panel.field(name) for name in COLUMNS}
        frames = [
            _stamped(panel, symbol, _redrawn({name: column[:, k] for name, column in columns.items()}, rows, signs))
            for k, symbol in enumerate(panel.symbols)
        ]
        return pl.concat(frames).select(self.source.columns).cast(self.source.schema)


def _settings(like: SyntheticMarket) -> list[Any]:
    """Return what the bars of a synthetic market depend on but seed and edge."""
    return [like.symbols, to_ns(like.start), like.days, span_ns(like.timeframe), span_ns(like.regime)]


def _stamped(panel: Panel, symbol: str, columns: dict[str, Floats]) -> pl.DataFrame:
    """Return the bars of one symbol at the slices at which they were drawn, without those that are absent."""
    stamps = {"time": panel.times, "known": panel.known, "open_time": panel.times - panel.width}
    frame = pl.DataFrame({**stamps, **columns}).filter(pl.col("close").is_not_nan())
    return frame.with_columns(
        pl.lit(symbol).alias("symbol"),
        *(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in stamps),
        *(pl.col(name).fill_nan(None) for name in columns),
    )


def _shuffled_rows(length: int, block: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return every row once, in blocks whose order is random."""
    starts = rng.permutation(range(0, length, block)).tolist()
    rows: NDArray[np.int64] = np.concatenate([np.arange(start, min(start + block, length)) for start in starts])
    return rows


def _redrawn(columns: dict[str, Floats], rows: NDArray[np.int64], signs: Floats) -> dict[str, Floats]:
    """Return the bars of one symbol built from its moves in another order; absent bars stay absent."""
    close = columns["close"]
    there = np.flatnonzero(~np.isnan(close))
    before = np.full(len(close), np.nan)
    before[there[1:]] = close[there[:-1]]
    before[there[0]] = columns["open"][there[0]]
    moves = {name: np.clip(columns[name] / before - 1.0, -LARGEST_MOVE, LARGEST_MOVE)[rows] for name in PRICES}
    turned = signs < 0.0
    high, low = moves["high"], moves["low"]
    moves["high"], moves["low"] = np.where(turned, -low, high), np.where(turned, -high, low)
    for name in ("open", "close", "vwap"):
        moves[name] = moves[name] * signs
    growth = np.where(np.isnan(moves["close"]), 0.0, moves["close"])
    level = before[there[0]] * np.concatenate([[1.0], np.cumprod(1.0 + growth)[:-1]])
    prices = {name: level * (1.0 + moves[name]) for name in PRICES}
    return {**prices, **{name: columns[name][rows] for name in ("volume", "trade_count")}}
