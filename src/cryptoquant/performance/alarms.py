"""Alarms of overfitting in plain words: what a reader must know before believing a good result."""

from dataclasses import dataclass

from cryptoquant.performance.report import Report


@dataclass(frozen=True, slots=True)
class Alarm:
    """One reason for doubt: its name and what it says."""

    name: str
    words: str


def alarms(report: Report) -> tuple[Alarm, ...]:
    """Return the alarms that a report raises, empty when there is none."""
    return ()
