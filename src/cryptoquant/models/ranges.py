"""Which values a parameter of a model may take, and what is said of one that it may not."""

import math
from datetime import timedelta
from numbers import Integral, Real
from typing import Literal

ClassWeight = Literal["balanced"] | None


def check_whole(owner: object, least: int, *names: str) -> None:
    """Refuse parameters that are no whole numbers from ``least``."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, found {value!r}")


def check_share(owner: object, *names: str) -> None:
    """Refuse parameters outside (0, 1]."""
    for name in names:
        value = getattr(owner, name)
        if not is_number(value) or not 0 < value <= 1:
            raise ValueError(f"{name} must lie in (0, 1], found {value!r}")


def check_above(owner: object, *names: str) -> None:
    """Refuse parameters that are not above zero."""
    for name in names:
        value = getattr(owner, name)
        if not is_number(value) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be above zero, found {value!r}")


def check_not_negative(owner: object, *names: str) -> None:
    """Refuse parameters below zero."""
    for name in names:
        value = getattr(owner, name)
        if not is_number(value) or not 0 <= value < math.inf:
            raise ValueError(f"{name} must not be negative, found {value!r}")


def check_span(owner: object, *names: str) -> None:
    """Refuse parameters that are no spans of time from zero."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, timedelta) or value < timedelta(0):
            raise ValueError(f"{name} must be a timedelta from zero, found {value!r}")


def check_one_of(owner: object, name: str, *choices: object) -> None:
    """Refuse a parameter that is none of the choices."""
    value = getattr(owner, name)
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, found {value!r}")


def is_number(value: object) -> bool:
    """Whether a value is a real number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)
