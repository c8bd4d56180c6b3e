"""A reason to train a deployed model again, and the file in which such reasons are kept."""

import fcntl
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryptoquant.errors import DataError
from cryptoquant.performance.trials import complete_length, strict_json

TriggerKind = Literal["schedule", "drift", "decay"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A reason to train again.

    Attributes
    ----------
    kind
        ``schedule`` (it is time), ``drift`` (the market is not the one that was learned) or ``decay`` (the skill is not
        the one that was found).
    name
        Of the watch that found it.
    at
        Nanoseconds UTC.
    value, threshold
        What was found and its bound, NaN where a watch has none; of a schedule the days since the training and those
        that were planned.
    """

    kind: TriggerKind
    name: str
    at: int
    value: float
    threshold: float
    detail: str = ""

    def to_line(self) -> str:
        """Return the trigger as one line of strict JSON."""
        return json.dumps(strict_json(asdict(self)), allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "Trigger":
        """Return the trigger of ``to_line``.

        Raises
        ------
        DataError
            The line holds no trigger.
        """
        try:
            read = cls(**json.loads(line))
            if read.kind not in ("schedule", "drift", "decay"):
                raise ValueError(read.kind)
        except (ValueError, TypeError) as error:
            raise DataError(f"no trigger: {line[:60]!r}") from error
        empty: dict[str, Any] = {name: math.nan for name in ("value", "threshold") if getattr(read, name) is None}
        return replace(read, **empty)


def write_triggers(triggers: Iterable[Trigger], path: Path) -> None:
    """Append triggers to a file of JSON lines; they have reached the disk when this returns.

    Safe for several processes; a line torn by a crash was never written.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    lines = "".join(f"{one.to_line()}\n" for one in triggers)
    if not lines:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(complete_length(file))
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"{path}: triggers cannot be kept: {error.strerror}") from error


def read_triggers(path: Path) -> list[Trigger]:
    """Return the triggers of a file, in its order; none where there is no file.

    Raises
    ------
    DataError
        The file cannot be read, or one of its whole lines is no trigger.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise DataError(f"{path}: triggers cannot be read: {error.strerror}") from error
    return [Trigger.from_line(line) for line in lines]
