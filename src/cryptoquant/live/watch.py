"""The dead man's rule: what makes a trader stop opening positions because it cannot see or cannot act. Pure."""

from dataclasses import dataclass, field
from datetime import timedelta

LARGEST_JUMP = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a trader bears a silence before it opens nothing more.

    Parameters
    ----------
    data
        Without market data.
    updates
        Without the order stream; orders are looked up by REST meanwhile.
    venue
        While requests get no answer.
    """

    data: timedelta = timedelta(seconds=180)
    updates: timedelta = timedelta(seconds=60)
    venue: timedelta = timedelta(seconds=60)

    def __post_init__(self) -> None:
        for name in ("data", "updates", "venue"):
            if not getattr(self, name) > timedelta(0):
                raise ValueError(f"patience for {name} must be above zero, found {getattr(self, name)}")


@dataclass(slots=True)
class Watch:
    """Judges what is heard; all times are seconds of a clock that never goes back.

    Attributes
    ----------
    paused
        Why nothing is opened at present, '' when all is well.
    """

    patience: Patience
    paused: str = ""
    _since: dict[str, float] = field(default_factory=dict)
    _clocks: tuple[float, float] | None = None

    def look(self, now: float, *, data_age: float, is_listening: bool, trouble: str) -> str | None:
        """Return a new reason to pause, '' when there is none any more, None when nothing has changed.

        Parameters
        ----------
        data_age
            Seconds since the last market data.
        is_listening
            Whether the order stream is up.
        trouble
            Why the last request got no answer, '' when it got one.
        """
        found = ""
        if self._lasts("venue", bool(trouble), now, self.patience.venue):
            found = f"the venue does not answer: {trouble}"
        if self._lasts("updates", not is_listening, now, self.patience.updates):
            found = f"no order stream for {self.patience.updates.total_seconds():.0f} s"
        if data_age > self.patience.data.total_seconds():
            found = f"no market data for {self.patience.data.total_seconds():.0f} s"
        if bool(found) == bool(self.paused):
            return None
        self.paused = found
        return found

    def jump(self, wall: float, steady: float) -> float:
        """Return by how many seconds the wall clock moved more than the steady one since the last look; 0 if little."""
        before, self._clocks = self._clocks, (wall, steady)
        if before is None:
            return 0.0
        moved = (wall - before[0]) - (steady - before[1])
        return moved if abs(moved) > LARGEST_JUMP else 0.0

    def _lasts(self, name: str, is_so: bool, now: float, patience: timedelta) -> bool:
        if not is_so:
            self._since.pop(name, None)
            return False
        return now - self._since.setdefault(name, now) > patience.total_seconds()
