"""What one check of a deployed model found."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Part:
    """One number of a check, such as one feature's distance.

    Attributes
    ----------
    alarms
        On which side of the threshold it alarms: a distance ``above`` it, by its absolute value; a p-value ``below``.
    """

    name: str
    value: float
    threshold: float
    alarms: Literal["above", "below"] = "above"

    @property
    def ratio(self) -> float:
        """The distance in units of its threshold, 1 million at most; NaN where the part is no distance."""
        if self.alarms == "below" or not self.threshold > 0.0 or math.isnan(self.value):
            return math.nan
        return min(abs(self.value) / self.threshold, 1e6)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    value, threshold
        The number and its bound; NaN where a check has none.
    is_alarm
        Whether chance alone would seldom show it, at the false-alarm rate of the check.
    detail
        In words.
    parts
        The numbers that it was made of, if several.
    """

    value: float
    threshold: float
    is_alarm: bool
    detail: str = ""
    parts: tuple[Part, ...] = ()
