"""How a trader works, whatever it trades."""

from dataclasses import dataclass, field
from datetime import timedelta

from cryptoquant.data.rate import PER_MINUTE
from cryptoquant.data.receiver import Channel
from cryptoquant.live.watch import Patience


@dataclass(frozen=True, slots=True)
class TraderOptions:
    """How a trader works, whatever it trades.

    Parameters
    ----------
    patience
        When a silence makes it open nothing more.
    follows
        Take market data from a recorder of another process that writes into the same store.
    channels
        What is recorded; ``quotes`` lets stops and spread limits see more than minute bars.
    requests_per_minute
        What the venue allows a key; a sandbox allows any number.
    wind_down
        How long it may take to cancel and close when it is asked to stop, in the venue's time.
    checkpoint_every
        Slices between two savings of the features' memory.
    """

    patience: Patience = field(default_factory=Patience)
    follows: bool = False
    channels: tuple[Channel, ...] = ("bars",)
    requests_per_minute: int = PER_MINUTE
    wind_down: timedelta = timedelta(minutes=10)
    checkpoint_every: int = 60
