"""One symbol over one month or day of a download: how far it came, what it keeps, and whether all of it was kept."""

from dataclasses import dataclass

import polars as pl

from cryptoquant.data.alpaca_history import Span
from cryptoquant.data.store import Store
from cryptoquant.errors import EmptyStoreError, StoreError, UnknownSymbolError
from cryptoquant.market.schema import SCHEMAS
from cryptoquant.market.time import from_iso, iso

KEYS = {
    "bars": ("open_time",),
    "trades": ("id",),
    "quotes": ("time", "bid_price", "bid_size", "ask_price", "ask_size"),
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is fetched in one go; times in nanoseconds UTC. Its progress is kept in the store's manifest."""

    kind: str
    symbol: str
    timeframe: str
    start: int
    end: int
    origin: str

    @property
    def key(self) -> str:
        """The lineage key, to which the time reached is added."""
        return f"{self.origin}/{self.kind}/{self.timeframe}/{self.symbol}/{iso(self.start)}/"

    @property
    def width(self) -> int:
        """The length of a bar (ns), 0 for ticks."""
        return self.span(0).width

    def mark(self, reached: int) -> str:
        """Return the lineage key of a write by which the chunk has come to a time."""
        return self.key + iso(reached)

    def reached(self, lineages: frozenset[str]) -> int | None:
        """Return the time to which an earlier download of this chunk came (of bars: the last close)."""
        marks = [from_iso(name[len(self.key) :]) for name in lineages if name.startswith(self.key)]
        return max(marks, default=None)

    def is_complete(self, reached: int | None) -> bool:
        """Whether nothing of the chunk can be left after what was reached."""
        return reached is not None and reached + max(self.width, 1) > self.end

    def span(self, begin: int) -> Span:
        """Return what to ask for from a time on; the first instant of the next chunk is not this one's."""
        end = self.end if self.kind == "bars" else self.end - 1
        return Span(self.kind, (self.symbol,), begin, end, self.timeframe or None)

    @property
    def nothing(self) -> pl.DataFrame:
        """A frame of the chunk's kind without rows."""
        return pl.DataFrame(schema=SCHEMAS[self.kind])

    def stored(self, store: Store, begin: int, end: int) -> pl.DataFrame:
        """Return the stored rows of the chunk's kind and symbol over a range, as the store's readers give them."""
        try:
            if self.kind == "bars":
                rows = store.bars(self.symbol, self.timeframe, begin, end)
            else:
                rows = getattr(store, self.kind)(self.symbol, begin, end)
        except (EmptyStoreError, UnknownSymbolError):
            return self.nothing
        return rows.select(*SCHEMAS[self.kind])

    def news(self, rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are not held with these values; another value of a held bar is news."""
        columns = [name for name in rows.columns if name != "known"]
        numbers = [pl.col(name).fill_null(0) for name in ("trade_count", "vwap") if name in columns]
        once = rows.unique(columns, keep="first", maintain_order=True)
        return once.join(held.with_columns(numbers), on=columns, how="anti", nulls_equal=True)

    def comes_again(self, held: pl.DataFrame, rows: pl.DataFrame) -> bool:
        """Whether the rows that an earlier download kept are among those that came."""
        return bool(self.identities(held).is_in(self.identities(rows).implode()).all())

    def identities(self, rows: pl.DataFrame) -> pl.Series:
        """Return a number for each row that tells it from others of the chunk."""
        return rows.select(KEYS[self.kind]).hash_rows(seed=7)

    def verify(self, store: Store, begin: int, came: pl.Series) -> None:
        """Compare what came with what the store gives back.

        Raises
        ------
        StoreError
            A row that came is not there.
        """
        kept = self.identities(self.stored(store, begin, self.end))
        lost = came.unique().is_in(kept.implode()).not_().sum()
        if lost:
            what = f"{self.symbol} {self.kind} from {iso(begin)}"
            raise StoreError(f"download: {what}: {came.n_unique():,} rows came, {lost:,} of them are not in the store")
