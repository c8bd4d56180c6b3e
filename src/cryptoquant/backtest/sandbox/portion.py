"""Which marketable orders the venue fills in two parts, and how large the first part is: drawn from seed and id."""

import hashlib
from dataclasses import dataclass

SMALLEST, LARGEST = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Portion:
    """The venue's habit of filling some marketable orders in two parts.

    Alpaca's paper simulator fills a random part first for about one order in ten ("Paper Trading", Alpaca's
    documentation); here the draw depends on the seed and on the client's order id only.

    Parameters
    ----------
    seed
        Of the sandbox.
    share
        Fraction of marketable orders that are filled in two parts, 0 to 1.
    """

    seed: int
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"partial_fills must be a fraction from 0 to 1, found {self.share}")

    def first(self, client_order_id: str, lots: float) -> float:
        """Return the lots of the first part, 10 to 90 % of ``lots``; 0 when the order fills in one."""
        digest = hashlib.blake2b(f"{self.seed}|{client_order_id}".encode(), digest_size=16).digest()
        chance, size = (int.from_bytes(half) / 2**64 for half in (digest[:8], digest[8:]))
        if chance >= self.share or lots < 2:
            return 0.0
        return float(min(max(1, int(lots * (SMALLEST + size * (LARGEST - SMALLEST)))), int(lots) - 1))
