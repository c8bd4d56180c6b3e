"""What an account pays at a moment: flat fees, or a schedule by date and by its own volume of the last 30 days."""

from cryptoquant.compiled import plain
from cryptoquant.trading.matching import rates_of
from cryptoquant.trading.schedule import note_volume, rates_at, trailing_volume, volume_state
from cryptoquant.trading.venue import BASIS_POINT, Venue


class Tariff:
    """The fees of one account.

    Parameters
    ----------
    venue
        Whose costs are charged.
    """

    def __init__(self, venue: Venue) -> None:
        self._flat = (venue.costs.maker_bps * BASIS_POINT, venue.costs.taker_bps * BASIS_POINT)
        self._rates = rates_of(venue)
        self._traded = volume_state()

    def at(self, time: int) -> tuple[float, float]:
        """Return maker and taker fee at a moment (ns), as fractions."""
        if not len(self._rates):
            return self._flat
        maker, taker = plain(rates_at)(self._rates, time, plain(trailing_volume)(self._traded, time))
        return float(maker), float(taker)

    def note(self, time: int, value: float) -> None:
        """Count the value of a fill, in quote currency."""
        if len(self._rates):
            plain(note_volume)(self._traded, time, value)
