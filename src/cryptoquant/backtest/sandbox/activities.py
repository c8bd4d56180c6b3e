"""The account's activities: a FILL for each execution, and its CFEE, which is posted at the end of the UTC day."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cryptoquant.backtest.sandbox.exchange import DAY, Exchange
from cryptoquant.backtest.sandbox.refusal import Refusal, invalid_request, plain
from cryptoquant.backtest.sandbox.wire import Body, cents, execution, text
from cryptoquant.market.time import from_iso, iso, to_ns
from cryptoquant.trading.order import Fill

KINDS = ("FILL", "CFEE")
LARGEST_PAGE = 100
ALWAYS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request for activities.

    Attributes
    ----------
    kinds
        Of ``KINDS``; kinds that never occur here are left out.
    after, until
        Nanoseconds UTC, both exclusive.
    token
        Id of the last activity of the page before, empty for the first page.
    """

    kinds: tuple[str, ...]
    after: int
    until: int
    ascending: bool
    size: int
    token: str

    @classmethod
    def read(cls, query: Mapping[str, str], kind: str | None) -> "Question":
        """Return the question of a URL's parameters; ``kind`` is the one that the path names.

        Raises
        ------
        ValueError
            A parameter cannot be used.
        """
        named = [kind] if kind else [name for name in query.get("activity_types", "").split(",") if name]
        after, until = instant(query.get("after"), -ALWAYS), instant(query.get("until"), ALWAYS)
        if "date" in query:
            if "after" in query or "until" in query:
                raise ValueError("date cannot be used with after or until")
            day = to_ns(query["date"])
            after, until = day - 1, day + DAY
        direction = query.get("direction", "desc")
        if direction not in ("asc", "desc"):
            raise ValueError(f"invalid direction: {direction}")
        size = query.get("page_size", str(LARGEST_PAGE))
        if not size.isdigit() or not 1 <= int(size) <= LARGEST_PAGE:
            raise ValueError(f"page_size must lie between 1 and {LARGEST_PAGE}, found {size}")
        kinds = tuple(name for name in KINDS if not named or name in named)
        return cls(kinds, after, until, direction == "asc", int(size), query.get("page_token", ""))


def instant(text: str | None, default: int) -> int:
    """Return nanoseconds of a date or of RFC 3339, or the default where there is none."""
    if not text:
        return default
    return to_ns(text) if len(text) == 10 else from_iso(text)


def activities(exchange: Exchange, query: Mapping[str, str], kind: str | None, now: int) -> list[Body] | Refusal:
    """Return a page of what happened to the account up to ``now`` (ns), newest first unless asked otherwise.

    A day's fees are there when the day has ended, as at Alpaca ("Crypto Spot Trading Fees").
    """
    try:
        question = Question.read(query, kind)
    except ValueError as error:
        return invalid_request(str(error))
    filled: dict[str, float] = {}
    posted: list[tuple[int, Body]] = []
    for fill in exchange.fills:
        filled[fill.order_id] = filled.get(fill.order_id, 0.0) + fill.lots
        if "FILL" in question.kinds:
            posted.append((fill.time, fill_activity(fill, exchange, filled[fill.order_id])))
        midnight = (fill.time // DAY + 1) * DAY
        if "CFEE" in question.kinds and midnight <= now:
            posted.append((midnight, fee_activity(fill, exchange)))
    posted.sort(key=lambda one: one[0])
    found = [body for time, body in posted if question.after < time < question.until]
    if not question.ascending:
        found.reverse()
    if not question.token:
        return found[: question.size]
    places = [place for place, body in enumerate(found) if body["id"] == question.token]
    if not places:
        return invalid_request(f"invalid page_token: {question.token}")
    return found[places[0] + 1 :][: question.size]


def fill_activity(fill: Fill, exchange: Exchange, filled: float) -> Body:
    """Return a FILL; ``filled`` is the lots of its order that were filled up to and with this execution."""
    left = exchange.tickets[fill.order_id].order.lots - filled
    return {
        "id": _identity(fill.time, execution(fill, exchange)),
        "activity_type": "FILL",
        "transaction_time": iso(fill.time),
        "type": "partial_fill" if left else "fill",
        "price": text(fill.price),
        "qty": plain(exchange.coins(fill.symbol, fill.lots)),
        "side": fill.side,
        "symbol": fill.symbol,
        "leaves_qty": plain(exchange.coins(fill.symbol, left)),
        "order_id": fill.order_id,
        "cum_qty": plain(exchange.coins(fill.symbol, filled)),
        "order_status": "partially_filled" if left else "filled",
    }


def fee_activity(fill: Fill, exchange: Exchange) -> Body:
    """Return a CFEE: the fee is taken from what was received, coins of a buy as ``qty``, cash as ``net_amount``."""
    coins = exchange.coins(fill.symbol, fill.lots - fill.lots_change) if fill.side == "buy" else Decimal(0)
    return {
        "id": _identity((fill.time // DAY + 1) * DAY, exchange.identity("fee", fill.execution_id)),
        "activity_type": "CFEE",
        "date": iso(fill.time)[:10],
        "net_amount": "0" if coins else cents(-fill.fee),
        "description": "Coin Pair Transaction Fee (Non USD)" if coins else "Coin Pair Transaction Fee (USD)",
        "symbol": fill.symbol,
        "qty": plain(-coins),
        "price": text(fill.price),
        "status": "executed",
    }


def _identity(time: int, unique: str) -> str:
    stamp = "".join(filter(str.isdigit, iso(time)))[:17].ljust(17, "0")
    return f"{stamp}::{unique}"
