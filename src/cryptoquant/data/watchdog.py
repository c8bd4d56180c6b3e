"""The watchdog over a stream: which channel of which symbol has been silent for longer than it ever is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Key = tuple[str, str]
SECOND = 1_000_000_000
REGULAR = {"bars": 60 * SECOND, "daily_bars": 60 * SECOND}
MEMORY = 0.1


@dataclass(slots=True)
class _Pulse:
    last: int
    usual: float
    count: int = 0


@dataclass(slots=True)
class Watchdog:
    """Knows how often each kind and symbol speaks; a step over (key, time), without a clock of its own.

    The usual pause is an exponentially weighted mean of the pauses seen, of which a batch gives one: its mean. A key is
    silent when it has said nothing for ``patience`` times its usual pause, and at least for ``floor_ns``. Bars come
    each minute, whatever happens; anything else may be quiet, so that a silence is a question and not yet an answer.

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
            self._pulses[key] = _Pulse(now, usual, 0 if known is None else known.count)

    def heard(self, key: Key, last: int, count: int) -> None:
        """Take ``count`` messages of a key, the newest received at ``last`` (ns)."""
        pulse = self._pulses.setdefault(key, _Pulse(last, REGULAR.get(key[0], 0)))
        pause = max(0, last - pulse.last) / count
        if pulse.count:
            pulse.usual += MEMORY * (pause - pulse.usual)
        pulse.count += count
        pulse.last = max(pulse.last, last)

    def shift(self, step: int) -> None:
        """Take the clock to have been set by ``step`` (ns): what was heard was heard so much later or earlier."""
        for pulse in list(self._pulses.values()):
            pulse.last += step

    def silent(self, now: int) -> Mapping[Key, int]:
        """Return the keys that are silent and for how long (ns); one that never spoke is silent only if it must."""
        limits = {
            key: max(float(self.floor_ns), self.patience * pulse.usual if key[0] not in REGULAR else 2.5 * pulse.usual)
            for key, pulse in list(self._pulses.items())
            if pulse.count or key[0] in REGULAR
        }
        return {
            key: now - self._pulses[key].last for key, limit in limits.items() if now - self._pulses[key].last > limit
        }
