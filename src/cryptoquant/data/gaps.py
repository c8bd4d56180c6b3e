"""The gap ledger: when the stream was not heard, what of it could be fetched since, and what is lost for good."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
import polars as pl

from cryptoquant.market.time import iso

GapState = Literal["open", "filled", "permanent"]
FILLABLE = ("trades", "quotes", "bars")


class Gap(NamedTuple):
    """A span of one symbol and kind in which messages may be missing.

    Attributes
    ----------
    id
        Tells gaps apart; every change of a gap is a row with the same id, and the last one counts.
    start, end
        Nanoseconds UTC: the last message before, and the confirmed subscription after.
    cause
        In words, for example ``connection lost``.
    state
        ``open`` (to be fetched), ``filled``, or ``permanent``: the venue has no history of order books.
    rows
        Rows of the span that were fetched.
    """

    id: int
    kind: str
    symbol: str
    start: int
    end: int
    cause: str
    state: GapState
    rows: int = 0

    def event(self) -> bytes:
        """Return the payload of the log record that says so."""
        told = {**self._asdict(), "event": "gap", "start": iso(self.start), "end": iso(self.end)}
        return msgspec.json.encode(told)


def outage(ids: Iterator[int], keys: Sequence[tuple[str, str]], start: int, end: int, cause: str) -> list[Gap]:
    """Return the gaps of an outage, one for each kind and symbol; days need none, for the next message tells all."""
    return [
        Gap(next(ids), kind, symbol, start, end, cause, "open" if kind in FILLABLE else "permanent")
        for kind, symbol in keys
        if kind != "daily_bars"
    ]


def outages(ledger: pl.DataFrame) -> list[str]:
    """Return a line for each outage of a ledger (`Store.gaps`): when, why, and what became of each kind."""
    span, lines = ["time", "end", "cause"], []
    for (start, end, cause), rows in ledger.group_by(span, maintain_order=True):
        kinds = []
        for (kind, state), some in rows.group_by("kind", "state", maintain_order=True):
            fetched = f" with {some['rows'].sum():,} rows" if state == "filled" else ""
            kinds.append(f"{kind} of {some.height} {state}{fetched}")
        seconds = (end - start).total_seconds()
        lines.append(f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC ({seconds:,.1f} s), {cause}: {', '.join(kinds)}")
    return lines
