"""The watchdog over a stream: which channel of which symbol has been silent for longer than it ever is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Key = tuple[str, str]
SECOND = 1_000_000_000
REGULAR = {"bars": 60 * SECOND, "daily_bars": 60 * SECOND}
MEMORY = 0.1
REGULAR_PAUSES = 2.5
MOST_DOUBLED = 5


@dataclass(slots=True)
class _Pulse:
    last: int
    usual: float
    count: int = 0
    asked: int = 0
    doubled: int = 0


@dataclass(slots=True)
class Watchdog:
    """Knows how often each kind and symbol speaks; a step over (key, time), without a clock of its own.

    The usual pause is an exponentially weighted mean of the pauses seen, of which a batch gives one: its mean. A key is
    silent when it has said nothing for ``patience`` times its usual pause, and at least for ``floor_ns``; bars are
    expected each minute from the beginning. A silence is a question and not yet an answer: once it is asked, it is
    asked again after twice the time, until something is heard.

    Parameters
    ----------
    patience
        How many usual pauses are a silence.
    floor_ns
        No shorter silence counts.
    """

    patience: float = 20.0
    floor_ns: int = 60 * SECOND
    _pulses: dict[Key, _Pulse] = field(default_factory=dict)

    def expect(self, keys: Iterable[Key], now: int) -> None:
        """Begin to listen at ``now`` (ns): nothing was heard yet of these keys on this connection."""
        for key in keys:
            known = self._pulses.get(key)
            usual = REGULAR.get(key[0], 0) if known is None else known.usual
            count, doubled = (0, 0) if known is None else (known.count, known.doubled)
            self._pulses[key] = _Pulse(now, usual, count, doubled=doubled)

    def heard(self, key: Key, last: int, count: int) -> None:
        """Take ``count`` messages of a key, the newest received at ``last`` (ns)."""
        pulse = self._pulses.setdefault(key, _Pulse(last, REGULAR.get(key[0], 0)))
        pause = max(0, last - pulse.last) / count
        if pulse.count:
            pulse.usual += MEMORY * (pause - pulse.usual)
        pulse.count += count
        pulse.last = max(pulse.last, last)
        pulse.asked = pulse.doubled = 0

    def ask(self, keys: Iterable[Key], now: int) -> None:
        """Note that it was asked at ``now`` (ns) why these keys are silent."""
        for key in keys:
            pulse = self._pulses[key]
            pulse.asked, pulse.doubled = now, min(pulse.doubled + 1, MOST_DOUBLED)

    def shift(self, step: int) -> None:
        """Take the clock to have been set by ``step`` (ns): what was heard was heard so much later or earlier."""
        for pulse in list(self._pulses.values()):
            pulse.last += step
            pulse.asked += step if pulse.asked else 0

    def silent(self, now: int) -> Mapping[Key, int]:
        """Return the keys that are silent and for how long (ns); one that never spoke is silent only if it must."""
        found = {}
        for key, pulse in list(self._pulses.items()):
            pauses = REGULAR_PAUSES if key[0] in REGULAR else self.patience
            limit = max(float(self.floor_ns), pauses * pulse.usual) * 2**pulse.doubled
            if (pulse.count or key[0] in REGULAR) and now - max(pulse.last, pulse.asked) > limit:
                found[key] = now - pulse.last
        return found
