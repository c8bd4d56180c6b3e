"""Strategies of a user's own, for the tests of the live room."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Always:
    """Wants a third of everything."""

    share: float = 0.3
    lookback: int = 1

    def decide(self, view):
        return dict.fromkeys(view.symbols, self.share)
