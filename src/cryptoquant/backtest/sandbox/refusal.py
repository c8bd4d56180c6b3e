"""What the venue answers when it says no: the HTTP status, Alpaca's code and Alpaca's words."""

from dataclasses import dataclass
from decimal import Decimal

UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
UNPROCESSABLE = 422
TOO_MANY = 429

INSUFFICIENT_BALANCE = 40310000
ABSENT = 40410000
INVALID_REQUEST = 40010001
INVALID_ORDER = 42210000
TOO_MANY_REQUESTS = 42910000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request.

    Attributes
    ----------
    status
        HTTP status.
    code
        Alpaca's error code.
    message
        What a user reads.
    details
        Further keys of the error body, such as ``available`` and ``symbol``.
    """

    status: int
    code: int
    message: str
    details: tuple[tuple[str, str], ...] = ()


def invalid_order(message: str) -> Refusal:
    """Return the refusal of an order that breaks a rule of crypto orders (422, 42210000)."""
    return Refusal(UNPROCESSABLE, INVALID_ORDER, message)


def invalid_request(message: str) -> Refusal:
    """Return the refusal of a request whose fields do not fit together (422, 40010001)."""
    return Refusal(UNPROCESSABLE, INVALID_REQUEST, message)


def absent(message: str) -> Refusal:
    """Return the refusal of a request for something that is not there (404, 40410000)."""
    return Refusal(NOT_FOUND, ABSENT, message)


def insufficient_balance(asset: str, requested: Decimal, available: Decimal, balance: Decimal) -> Refusal:
    """Return the refusal of an order for more than there is (403, 40310000), in the words Alpaca uses."""
    numbers = {"requested": plain(requested), "available": plain(available)}
    text = f"insufficient balance for {asset} (requested: {numbers['requested']}, available: {numbers['available']})"
    details = (("available", numbers["available"]), ("balance", plain(balance)), ("symbol", asset))
    return Refusal(FORBIDDEN, INSUFFICIENT_BALANCE, text, details)


def plain(number: Decimal) -> str:
    """Return a decimal without exponent and without trailing zeros.

    Examples
    --------
    >>> plain(Decimal("1E-5")), plain(Decimal("10.500"))
    ('0.00001', '10.5')
    """
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
