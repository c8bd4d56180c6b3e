"""The adapter to Alpaca's paper account: exact numbers out, fills in, and no order sent twice."""

import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.errors import (
    AuthenticationError,
    ConfigurationError,
    OrderRefusedError,
    VenueError,
    VenueUnreachableError,
)
from cryptoquant.market.instrument import Instrument, normalize_symbol
from cryptoquant.market.time import from_iso
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Cancellation, Fill, Order, Rejection, reject
from cryptoquant.trading.resting import execute
from cryptoquant.trading.venue import Costs, Venue

FINAL = ("filled", "canceled", "expired", "rejected", "replaced")
DUPLICATE = 40010001
QUESTIONS = 4
PAUSE_SECONDS = 0.5
SENT_TYPES, SENT_LIVES = ("market", "limit"), ("gtc", "ioc")
NOT_SENT = ("limit_bps", "life", "stop_loss", "take_profit", "trailing", "pause", "reprice")


class WireOrder:
    """An order as the SDK sends it: decimal strings, never floats (``1e-05`` is refused by the venue)."""

    def __init__(self, order: Order, instrument: Instrument) -> None:
        self.fields: dict[str, Any] = {
            "symbol": order.symbol,
            "qty": plain(instrument.quantity(order.lots)),
            "side": order.side,
            "type": order.type,
            "time_in_force": order.time_in_force,
            "client_order_id": order.id,
        }
        if order.limit_price is not None:
            self.fields["limit_price"] = plain(Decimal(repr(order.limit_price)))

    def to_request_fields(self) -> dict[str, Any]:
        """Return the body of the request."""
        return self.fields


class AlpacaBroker:
    """Submits orders and states what became of them.

    Parameters
    ----------
    connection
        Alpaca's paper account, or a sandbox.
    venue
        The costs by which fills are settled in our books.
    """

    def __init__(self, connection: Alpaca, venue: Venue) -> None:
        self.venue = venue
        self._client = connection.trading()

    def submit(self, order: Order) -> Rejection | None:
        """Send an order; return the venue's refusal, or None when the venue has it.

        An answer that never came (time-out, 5xx) or says that the id is taken is no refusal: the venue is asked by the
        client order id, and only an order that it does not know is sent once more. An order that asks for more than a
        market or a plain limit order says is refused here: it is not sent without its stop.

        Raises
        ------
        VenueUnreachableError
            The outcome could not be learned; the order stays in flight.
        """
        extra = beyond_plain(order)
        if extra:
            return reject(
                order, f"not sent: paper trading sends market and plain limit orders, found {extra}", order.time
            )
        for _ in range(2):
            try:
                self._call(lambda: self._client.submit_order(WireOrder(order, self._instrument(order))))  # type: ignore[arg-type]
            except OrderRefusedError as error:
                if error.code == DUPLICATE and self.status(order.id) is not None:
                    return None
                return reject(order, f"venue: {error}", order.time)
            except VenueUnreachableError:
                if self.status(order.id) is not None:
                    return None
                continue
            return None
        raise VenueUnreachableError(f"order {order.id}: the venue neither confirms nor denies it")

    def status(self, order_id: str) -> dict[str, Any] | None:
        """Return the venue's order with this client id, None when there is none."""
        try:
            found = self._ask("/orders:by_client_order_id", {"client_order_id": order_id})
        except OrderRefusedError as error:
            if error.status == 404:
                return None
            raise
        answer: dict[str, Any] = found
        return answer

    def cash(self) -> Decimal:
        """Return the account's cash, in quote currency."""
        return Decimal(str(self._ask("/account")["cash"]))

    def positions(self) -> dict[str, Decimal]:
        """Return the coins held by symbol, in slash form."""
        held = self._ask("/positions")
        return {normalize_symbol(row["symbol"]): Decimal(row["qty"]) for row in held}

    def instruments(self, symbols: tuple[str, ...]) -> dict[str, Instrument]:
        """Return the increments of the universe from the venue's asset list.

        Raises
        ------
        VenueError
            A symbol is not traded.
        """
        listed = self._ask("/assets", {"asset_class": "crypto", "status": "active"})
        found = {
            row["symbol"]: Instrument(
                row["symbol"],
                Decimal(row["min_trade_increment"]),
                Decimal(row["price_increment"]),
                Decimal(row["min_order_size"]),
            )
            for row in listed
            if row["symbol"] in symbols
        }
        absent = [symbol for symbol in symbols if symbol not in found]
        if absent:
            raise VenueError(f"the venue does not trade {', '.join(absent)}")
        return found

    def outcomes(
        self, order: Order, told: Mapping[str, Any], booked: tuple[float, float], at: str | None = None
    ) -> list[Fill | Rejection | Cancellation]:
        """Return what an order's state adds to what is booked: a fill of the new quantity, and how it ended.

        The venue tells cumulative quantity and mean price; the new part's price follows from what is booked. The
        identity of a fill is the order and its cumulative quantity, so that the stream and a look-up tell it once.

        Parameters
        ----------
        told
            The venue's order, as REST and the stream give it.
        booked
            Lots of it that are in the books already, and lots times price of those.
        at
            When it happened, RFC 3339; by default the order's own last update.
        """
        facts: list[Fill | Rejection | Cancellation] = []
        moment = from_iso(at or told["updated_at"])
        filled = self._instrument(order).lots(Decimal(told["filled_qty"] or "0"))
        lots, value = booked
        if filled > lots:
            part = msgspec.structs.replace(order, lots=filled - lots)
            mean = float(told["filled_avg_price"])
            price = mean if lots == 0.0 else (mean * filled - value) / (filled - lots)
            fill = execute(part, price, moment, self.venue, "maker" if order.type == "limit" else "taker")
            facts.append(msgspec.structs.replace(fill, execution_id=f"{order.id}-{int(filled)}"))
        if told["status"] == "rejected":
            facts.append(reject(order, "venue: rejected after acceptance", moment))
        elif told["status"] in FINAL and told["status"] != "filled":
            facts.append(Cancellation(order.id, order.profile, order.symbol, moment))
        return facts

    def _ask(self, path: str, query: dict[str, str] | None = None) -> Any:
        """Read from the venue; a question that gets no answer is asked again, with pauses."""
        for attempt in range(1, QUESTIONS):
            try:
                return self._call(lambda: self._client.get(path, query))
            except VenueUnreachableError:
                time.sleep(PAUSE_SECONDS * attempt)
        return self._call(lambda: self._client.get(path, query))

    def _instrument(self, order: Order) -> Instrument:
        return self.venue.instrument(order.symbol)

    @staticmethod
    def _call(request: Any) -> Any:
        import requests
        from alpaca.common.exceptions import APIError

        try:
            return request()
        except requests.exceptions.RequestException as error:
            raise VenueUnreachableError(f"no answer from the venue: {type(error).__name__}") from error
        except APIError as error:
            status, code, text = _told(error)
            if status in (401, 403) and code is None:
                raise AuthenticationError(f"the venue refused the keys: {text}") from error
            if status is None or status >= 500:
                raise VenueUnreachableError(f"the venue failed with {status}: {text}") from error
            raise OrderRefusedError(text, status=status, code=code) from error


def beyond_plain(order: Order) -> str:
    """Return what an order asks for that the request of a market or a plain limit order cannot say, '' for nothing."""
    if order.type not in SENT_TYPES:
        return f"type {order.type}"
    if order.time_in_force not in SENT_LIVES:
        return f"time_in_force {order.time_in_force}"
    for name in ("stop_price", "trail", "expires", "group", "reduces", "protection", "replaces"):
        value = getattr(order, name)
        if value is not None and value not in (0, "", False):
            return name
    return ""


def check_tradable(execution: Execution, costs: Costs) -> None:
    """Refuse what the simulator can do and paper trading cannot do yet, before anything is journalled.

    What the costs say of slippage, spread and impact is an assumption of the simulator and changes no live order; fees
    settle our books, so they must be those that the venue charges.

    Raises
    ------
    ConfigurationError
        The execution asks for other orders than market orders, or the fees are not Alpaca's flat ones.
    """
    for name in NOT_SENT:
        value = getattr(execution, name)
        if value is not None:
            raise ConfigurationError(
                f"execution.{name} is {value}: the simulator can do that, paper trading cannot yet; "
                "it sends market orders only, wanted None"
            )
    if costs.schedule:
        raise ConfigurationError(
            "costs.schedule is given: the simulator can charge fees by date and volume, paper trading cannot yet; "
            "wanted those of today, such as Costs.alpaca(tier=1)"
        )
    if costs.fee_asset != "received":
        raise ConfigurationError(
            f"costs.fee_asset is {costs.fee_asset!r}: the simulator can charge that, but Alpaca takes its fee from "
            "what is received; wanted 'received'"
        )


def plain(number: Decimal) -> str:
    """Return a decimal without exponent and trailing zeros.

    Examples
    --------
    >>> plain(Decimal("1E-5"))
    '0.00001'
    """
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _told(error: Any) -> tuple[int | None, int | None, str]:
    """Return status, code and text of an SDK error whose body may be no JSON."""
    body = str(error)
    try:
        content = msgspec.json.decode(body.encode())
    except msgspec.DecodeError:
        content = {}
    if not isinstance(content, dict):
        content = {}
    return error.status_code, content.get("code"), str(content.get("message", body[:200]))
