"""Rows as the recorder stores them, a log's tail in memory, and what a store should answer, told the slow way."""

from collections.abc import Collection

import polars as pl

from cryptoquant.data.layout import STORED, empty
from cryptoquant.data.segment import POSITION_BITS, position
from cryptoquant.market.time import to_ns

HOUR = 3_600_000_000_000
START = to_ns("2024-01-31T20:00:00Z")
SYMBOLS = ("BTC/USD", "ETH/USD", "X.Y/USDT")


def frame(kind: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows in the schema in which a kind is stored; instants are given in ns UTC."""
    schema = {n: pl.Int64 if isinstance(t, pl.Datetime) else t for n, t in STORED[kind].items()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    instants = [name for name, dtype in STORED[kind].items() if isinstance(dtype, pl.Datetime)]
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in instants)


def trade(
    sequence: int, number: int, symbol: str = "BTC/USD", minute: int = 0, price: float = 1.0
) -> dict[str, object]:
    time = START + minute * 60_000_000_000
    return {
        "symbol": symbol, "time": time, "known": time + sequence, "id": number, "price": price, "size": 1.0,
        "taker_side": "B", "position": position(sequence, 0), "rank": 0,
    }  # fmt: skip


def bar(sequence: int, hour: int, rank: int = 0, close: float = 100.0, symbol: str = "BTC/USD", timeframe: int = HOUR):
    opened = START + hour * timeframe
    closed = opened + timeframe
    return {
        "symbol": symbol, "time": closed, "known": closed + sequence, "open_time": opened, "open": 100.0,
        "high": 200.0, "low": 50.0, "close": close, "volume": 1.5, "trade_count": 3, "vwap": 100.0,
        "position": position(sequence, 0), "rank": rank,
    }  # fmt: skip


class Log:
    """A log in memory: records of rows, of which those up to some sequence may be dropped."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[int, dict[str, object]]]] = {}
        self.last = 0
        self.dropped = 0

    def append(self, kind: str, row: dict[str, object]) -> None:
        """Add one record of one row; its position says its sequence."""
        self.last = int(row["position"]) >> POSITION_BITS  # type: ignore[call-overload]
        self.rows.setdefault(kind, []).append((self.last, row))

    def frames(self, after: int, upto: int) -> dict[str, pl.DataFrame]:
        """Return the rows of some records by kind, as a publisher decodes them."""
        picked = {kind: [row for n, row in rows if after < n <= upto] for kind, rows in self.rows.items()}
        return {kind: frame(kind, rows) for kind, rows in picked.items()}

    def frame(self, kind: str, symbols: Collection[str] | None, after: int) -> pl.DataFrame | None:
        """Answer as the tail of a store; older rows come along, as they do from a whole segment."""
        if after < self.dropped:
            return None
        rows = [row for n, row in self.rows.get(kind, []) if n > self.dropped]
        return frame(kind, rows) if rows else empty(kind)
