"""One thing that can go wrong at the venue: what, when, how often and for how long.

What a client sees of each kind, and what stays true all the same:

====================  ==============================================  ==========================================
kind                  what the client sees                            what stays true
====================  ==============================================  ==========================================
data.drop             the socket ends without a close frame           missed points are in the history over REST
data.mute             connected, pings answered, frames withheld      withheld points are in the history
data.half_open        nothing: no data, no pong, TCP stays open       its slot is free: a new connection is let in
data.slow_client      error 407, then a close                         missed points are in the history
data.limit            error 406 when it shows its keys                nothing was subscribed; later it is let in
data.refuse           HTTP 429 instead of the handshake               as data.limit
data.duplicate        a frame twice                                   both are equal to the byte
data.reorder          a frame after the one that follows it           stamps tell the true order
data.late             a frame ``delay`` of market time later          its stamps are the true ones
data.corrupt          a frame that is no msgpack and no JSON          its points are in the history
data.no_reset         a whole book without ``r``                      the next book of the symbol has it again
data.correction       a trade again, same id, price * ``factor``      the history keeps the first price
data.wrong_bar        a bar again, close * ``factor``                 the history keeps the first bar
trading.drop          the socket ends without a close frame           orders and fills are told by REST
trading.mute          connected, pings answered, updates withheld     as trading.drop
trading.half_open     nothing: no update, no pong, TCP stays open     as trading.drop
trading.refuse        HTTP 429 instead of the handshake               as trading.drop
trading.duplicate     an update twice                                 both have the same ``execution_id``
trading.reorder       an update after the one that follows it         ``timestamp`` tells the true order
trading.late          an update ``delay`` of market time later        REST tells it at once
trading.lose          an update never                                 REST tells it
http.rate_limit       429 with ``Retry-After: seconds``               the request was not done
http.error            ``status`` (500, 502, 503, 504)                 the request was not done
http.accepted         504                                             the request was done: the order exists
http.reset            the connection is reset                         the request was not done
http.reset_after      the connection is reset                         the request was done
http.hang             nothing for ``seconds``, then a reset           the request was not done
http.garbage          200 with a page of HTML                         the request was done
http.revoked          401                                             the request was not done
http.latency          the answer ``seconds`` later                    the request is done after the wait
order.late            no fill before ``delay`` of market time         open and cancelable until then
order.reject          ``rejected`` after ``new``                      nothing was filled; what it held back is free
order.partial         ``partial_fill``, then ``canceled``             the share ``factor`` was filled and is held
order.restate         ``restated`` after a fill, price * ``factor``   order, cash and position all follow
venue.restart         all sockets end, resets for ``seconds``         orders, positions and market are kept
venue.clock           ``/v2/clock`` and the stamps of both streams    the market goes on; stamps of orders and of
                      are ``seconds`` ahead (negative: behind)        the history are the true ones
====================  ==============================================  ==========================================

Alpaca documents neither corrections nor cancels of crypto trades ("Real-time Crypto Data" lists trades, quotes, bars,
updated bars, daily bars and books): ``data.correction`` is what a client would see of one without a message of its own.
Updated bars are documented: sent after the half-minute when a late trade changed a minute. ``data.wrong_bar`` goes to
``updatedBars`` where the client has subscribed to it, and comes as another bar of the same minute where not.
``restated`` is an event of the page "WebSocket Stream"; what it means for a crypto order is not documented.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import timedelta
from typing import Any

from cryptoquant.market.time import Instant, from_iso, iso, span_ns, to_ns

KINDS: Mapping[str, tuple[str, ...]] = {
    "data": (
        "drop",
        "mute",
        "half_open",
        "slow_client",
        "limit",
        "refuse",
        "duplicate",
        "reorder",
        "late",
        "corrupt",
        "no_reset",
        "correction",
        "wrong_bar",
    ),
    "trading": ("drop", "mute", "half_open", "refuse", "duplicate", "reorder", "late", "lose"),
    "http": (
        "rate_limit",
        "error",
        "accepted",
        "reset",
        "reset_after",
        "hang",
        "garbage",
        "revoked",
        "latency",
    ),
    "order": ("late", "reject", "partial", "restate"),
    "venue": ("restart", "clock"),
}
FAULT_KINDS: tuple[str, ...] = tuple(f"{where}.{name}" for where, names in KINDS.items() for name in names)
STATUSES = (500, 502, 503, 504)
DURATIONS = ("lasts", "delay")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, once or as often as it is said.

    Parameters
    ----------
    kind
        One of ``FAULT_KINDS``; the table of this module says what each does.
    at
        Market time from which it strikes at the first occasion, by default from when it is given to the sandbox. An
        occasion is a frame, an update, a request, a handshake, an order or a fill that it matches; of ``drop``,
        ``half_open`` and ``slow_client`` a client that listens; of ``restart`` the moment.
    lasts
        Market time after which it is over, whether it struck or not.
    count
        How often it strikes; by default once, or on every occasion of the time that it ``lasts``.
    method, path
        Of HTTP requests: the method, and how the path begins. Empty: any.
    symbol, event
        Of frames, updates, orders and fills: the pair, and the event of an update. Empty: any.
    delay
        Market time by which ``late`` is late.
    seconds
        On the wall's clock: of ``rate_limit``, ``hang``, ``latency``, ``restart``; of ``clock`` the jump.
    status
        Of ``http.error``.
    factor
        Of a corrected price and a wrong bar; of ``partial`` the share that is filled.

    Raises
    ------
    ValueError
        A kind is unknown, or a number makes no sense.

    Examples
    --------
    >>> Fault("http.error", path="/v2/orders", count=2, status=502).body()["kind"]
    'http.error'
    """

    kind: str
    _: KW_ONLY
    at: Instant | None = None
    lasts: timedelta | None = None
    count: int | None = None
    method: str = ""
    path: str = ""
    symbol: str = ""
    event: str = ""
    delay: timedelta = timedelta(minutes=1)
    seconds: float = 1.0
    status: int = 503
    factor: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"kind of fault: found {self.kind!r}, wanted one of {', '.join(FAULT_KINDS)}")
        if self.at is not None:
            object.__setattr__(self, "at", to_ns(self.at))
        if self.count is not None and self.count < 1:
            raise ValueError(f"count of {self.kind}: found {self.count}, wanted 1 or more")
        for name in DURATIONS:
            span = getattr(self, name)
            if span is not None and span <= timedelta(0):
                raise ValueError(f"{name} of {self.kind}: found {span}, wanted more than nothing")
        if self.seconds < 0 and self.kind != "venue.clock":
            raise ValueError(f"seconds of {self.kind}: found {self.seconds}, wanted 0 or more")
        if self.status not in STATUSES:
            raise ValueError(f"status of {self.kind}: found {self.status}, wanted one of {STATUSES}")
        if not self.factor > 0.0 or (self.kind == "order.partial" and self.factor >= 1.0):
            raise ValueError(f"factor of {self.kind}: found {self.factor}, wanted one above 0, of a part below 1")

    @property
    def limit(self) -> int | None:
        """How often it strikes at most, None for any number."""
        return 1 if self.count is None and self.lasts is None else self.count

    def end(self, since: int) -> int | None:
        """Return when it is over that began at ``since`` (ns UTC), None for never."""
        return None if self.lasts is None else since + span_ns(self.lasts)

    def matches(self, occasion: Mapping[str, str]) -> bool:
        """Whether an occasion is what it waits for; the path need only begin alike."""
        for name in ("method", "symbol", "event"):
            wanted = getattr(self, name)
            if wanted and occasion.get(name, "") != wanted:
                return False
        return occasion.get("path", "").startswith(self.path)

    def body(self) -> dict[str, Any]:
        """Return it as JSON: durations in seconds, the moment in RFC 3339."""
        fields = asdict(self)
        fields |= {name: None if fields[name] is None else fields[name].total_seconds() for name in DURATIONS}
        return {**fields, "at": None if self.at is None else iso(to_ns(self.at))}

    @classmethod
    def read(cls, body: Any) -> "Fault":
        """Return the fault of a JSON body as ``body`` writes it; what is left out has its default.

        Raises
        ------
        ValueError
            It is none.
        """
        if not isinstance(body, Mapping) or "kind" not in body:
            raise ValueError('wanted a fault: {"kind": ..., and what else it has}')
        fields = dict(body)
        try:
            for name in DURATIONS:
                if fields.get(name) is not None:
                    fields[name] = timedelta(seconds=fields[name])
            # A text of a date alone is left to the fault; one with a time keeps its nanoseconds here.
            if isinstance(fields.get("at"), str) and len(fields["at"]) > len("2024-01-01"):
                fields["at"] = from_iso(fields["at"])
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"{body.get('kind')}: {error}") from error
