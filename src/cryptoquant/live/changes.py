"""What changes while a trader runs: profiles that join, and models that are swapped."""

from collections.abc import Callable, Sequence

from cryptoquant.errors import ConfigurationError
from cryptoquant.live.desk import Desk
from cryptoquant.live.floor import Floor
from cryptoquant.live.opening import Opening
from cryptoquant.live.profile import Profile

SETTLE_SECONDS = 20.0


class Changes:
    """Sets profiles and models up in the middle of a shift.

    Parameters
    ----------
    symbols
        What the feed brings.
    opening
        Makes an opening at the present moment.
    """

    def __init__(self, floor: Floor, symbols: Sequence[str], opening: Callable[[], Opening]) -> None:
        self.floor, self.symbols, self.opening = floor, tuple(symbols), opening

    def add(self, profile: Profile) -> None:
        """Set a new profile up; it decides from the next slice on.

        Raises
        ------
        ConfigurationError
            There is a profile of that name, or the feed does not bring its symbols.
        CryptoquantError
            As `Opening.add`.
        """
        if profile.name in self.floor.desks:
            raise ConfigurationError(f"there is a profile {profile.name} already: take another name")
        known = self.opening().journal.entries()
        if any(entry.kind == "profile" and entry.scope == profile.name for entry in known):
            raise ConfigurationError(f"the journal knows a profile {profile.name} that was removed: take another name")
        lacking = set(profile.bundle.symbols) - set(self.symbols)
        if lacking:
            raise ConfigurationError(f"the feed does not bring {', '.join(sorted(lacking))}: start the trader anew")
        if profile.capital is None and not self.floor.account.spare > 0:
            raise ConfigurationError(
                f"profile {profile.name}: no profile left any cash: give it a capital that is free"
            )
        # The account is asked for what it holds, and an order on its way would be in it or not.
        self.floor.dispatcher.settle(SETTLE_SECONDS)
        opening = self.opening()
        opening.add(self.floor, profile, opening.broker.standing())

    def swap(self, desk: Desk, profile: Profile) -> None:
        """Let a desk trade by the bundle of ``profile`` from its next slice on, and journal that."""
        self.opening().swap(self.floor, desk, profile)
