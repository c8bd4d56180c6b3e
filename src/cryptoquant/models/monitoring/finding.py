"""What one check of a deployed model found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One number of a check, such as one feature's distance."""

    name: str
    value: float
    threshold: float


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
