"""The adapter to Alpaca's paper account: exact numbers out, fills in, and no order sent twice."""

import time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import msgspec

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.rate import TokenBucket
from cryptoquant.errors import (
    AuthenticationError,
    ConfigurationError,
    OrderRefusedError,
    UnknownSymbolError,
    VenueUnreachableError,
)
from cryptoquant.live.dispatcher import Standing
from cryptoquant.live.settlement import FINAL
from cryptoquant.market.instrument import Instrument, normalize_symbol
from cryptoquant.trading.at_venue import at_venue
from cryptoquant.trading.order import Order, Rejection, reject
from cryptoquant.trading.venue import Costs, Venue

DUPLICATE = 40010001
TAKEN = "client_order_id must be unique"
NOISE = Decimal("1e-12")
QUESTIONS = 4
PAUSE_SECONDS = 0.5
ATTEMPTS = 5
LONGEST_PAUSE_SECONDS = 60.0
SENT_TYPES, SENT_LIVES = ("market", "limit"), ("gtc", "ioc")


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
            self.fields["limit_price"] = plain(on_increment(order, instrument.price_increment))

    def to_request_fields(self) -> dict[str, Any]:
        """Return the body of the request."""
        return self.fields


class AlpacaBroker:
    """Submits and cancels orders and looks up what became of them; not for several threads at once.

    Parameters
    ----------
    connection
        Alpaca's paper account, or a sandbox.
    venue
        The increments by which lots become coins.
    bucket
        The allowance that every request takes from; None where the venue sets none, as a sandbox.
    """

    def __init__(self, connection: Alpaca, venue: Venue, bucket: TokenBucket | None = None) -> None:
        self.venue, self.bucket = venue, bucket
        self._client = connection.trading()

    def submit(self, order: Order) -> Rejection | None:
        """Send an order; return the venue's refusal, or None when the venue has it.

        An answer that never came (time-out, 5xx) or says that the id is taken is no refusal: the venue is asked by the
        client order id, and only an order that it does not know is sent once more. An order that asks for more than a
        market or a plain limit order says is refused here: it is not sent without its stop.

        Raises
        ------
        AuthenticationError
            The keys are refused.
        VenueUnreachableError
            The outcome could not be learned; the order stays in flight.
        """
        order = at_venue(order)
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
                if TAKEN in str(error):
                    break
                return reject(order, f"venue: {error}", order.time)
            except VenueUnreachableError:
                if self.status(order.id) is not None:
                    return None
                continue
            return None
        raise VenueUnreachableError(f"order {order.id}: the venue neither confirms nor denies it")

    def cancel(self, order: Order) -> dict[str, Any] | None:
        """Ask for the end of an order and return the venue's order afterwards, None when it does not know it.

        A cancel that comes too late is no error: the order that is returned says how it ended.

        Raises
        ------
        AuthenticationError, VenueUnreachableError
            As `submit`.
        """
        told = self.status(order.id)
        if told is None or told["status"] in FINAL:
            return told
        try:
            self._call(lambda: self._client.delete(f"/orders/{told['id']}"))
        except OrderRefusedError as error:
            if error.status not in (404, 422):
                raise
        return self.status(order.id)

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

    def standing(self) -> Standing:
        """Return the coins held by symbol, in slash form, and the account's cash.

        Cash is asked for first: an order that moved it has moved the coins too.
        """
        account, held = self._ask("/account"), self._ask("/positions")
        positions = {normalize_symbol(row["symbol"]): Decimal(row["qty"]) for row in held}
        return Standing(positions, Decimal(str(account["cash"])))

    def instruments(self, symbols: tuple[str, ...]) -> dict[str, Instrument]:
        """Return the increments of the universe from the venue's asset list.

        Raises
        ------
        UnknownSymbolError
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
            raise UnknownSymbolError(f"the venue does not trade {', '.join(absent)}")
        return found

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

    def _call(self, request: Any) -> Any:
        """Make one request; one that the venue has no time for (429, which it did not act on) is made again."""
        import requests
        from alpaca.common.exceptions import APIError

        for attempt in range(1, ATTEMPTS + 1):
            if self.bucket is not None and self.bucket.take() is None:
                raise VenueUnreachableError("the trader is stopping: no request is made any more")
            try:
                return request()
            except requests.exceptions.RequestException as error:
                raise VenueUnreachableError(f"no answer from the venue: {type(error).__name__}") from error
            except APIError as error:
                status, code, text = _told(error)
                if status == 429:
                    self._wait(error, attempt)
                    continue
                if status in (401, 403) and code is None:
                    raise AuthenticationError(f"the venue refused the keys: {text}") from error
                if status is None or status >= 500:
                    raise VenueUnreachableError(f"the venue failed with {status}: {text}") from error
                raise OrderRefusedError(text, status=status, code=code) from error
        raise VenueUnreachableError(f"the venue had no time for {ATTEMPTS} requests (HTTP 429)")

    def _wait(self, error: Any, attempt: int) -> None:
        """Wait as long as the venue asks for, at most LONGEST_PAUSE_SECONDS, and longer with each attempt if not."""
        said = getattr(error.response, "headers", {}).get("Retry-After", "")
        asked = float(said) if said.replace(".", "", 1).isdigit() else PAUSE_SECONDS * 2.0**attempt
        pause = min(asked, LONGEST_PAUSE_SECONDS)
        if self.bucket is not None:
            self.bucket.pause(pause)
        else:
            time.sleep(pause)


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


def check_tradable(costs: Costs) -> None:
    """Refuse costs that paper trading cannot settle by, before anything is journalled.

    What they say of slippage, spread and impact is an assumption of the simulator and changes no live order; fees
    settle our books, so they must be those that the venue charges.

    Raises
    ------
    ConfigurationError
        The fees are not Alpaca's flat ones.
    """
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


def on_increment(order: Order, increment: Decimal) -> Decimal:
    """Return the limit price of an order as the venue takes it: a multiple of its increment, never a worse price.

    What floats left beside a multiple is not a price between two. An increment of 0 is no grid.
    """
    price = Decimal(repr(order.limit_price))
    if not increment:
        return price
    nearest = (price / increment).to_integral_value() * increment
    if abs(nearest - price) <= NOISE * price:
        return nearest
    rounding = ROUND_CEILING if order.side == "sell" else ROUND_FLOOR
    return (price / increment).to_integral_value(rounding) * increment


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
