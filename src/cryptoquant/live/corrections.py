"""Corrections that a stream told too late: the venue is asked for the order, and its answer is what holds."""

from collections.abc import Mapping
from typing import Any

from cryptoquant.live.settlement import Booked
from cryptoquant.trading.order import Order


class Corrections:
    """Orders of which a correction has come that tells less than what is booked, or is no newer.

    What was booked since is not in such a word, and to book it would undo that. An answer counts when nothing was
    booked after the question; otherwise it is put again.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Order, Booked | None]] = {}

    @property
    def orders(self) -> list[Order]:
        """The orders that the venue is still to be asked for."""
        return [order for order, _ in self._waiting.values()]

    def waits(self, profile: str) -> bool:
        """Return whether an order of a profile is among them."""
        return any(order.profile == profile for order in self.orders)

    def add(self, order: Order) -> None:
        """Take an order of which a correction came late."""
        self._waiting[order.id] = order, None

    def asked(self, order: Order, booked: Booked) -> None:
        """Note what is booked of an order as the venue is asked for it."""
        if order.id in self._waiting:
            self._waiting[order.id] = order, booked

    def word(self, order: Order, told: Mapping[str, Any], booked: Booked) -> Mapping[str, Any]:
        """Return what the venue answered, as a correction where that is what it was asked for."""
        if order.id not in self._waiting or self._waiting[order.id][1] != booked:
            return told
        del self._waiting[order.id]
        return {**told, "event": "restated"}
