"""What a parameter may be in a search: a range of numbers, on a linear or a logarithmic scale, or a list of choices."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

Range = tuple[int, int] | tuple[float, float] | tuple[float, float, Literal["log"]] | list[Any]


class Trial(Protocol):
    """What draws values; Optuna's trials do."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Return one of the choices."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """Return a whole number in ``[low, high]``."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number in ``[low, high]``."""
        ...


def check_range(name: str, choice: Range) -> None:
    """Raise ValueError where a range makes no sense."""
    if isinstance(choice, list):
        if not choice:
            raise ValueError(f"{name}: an empty list of choices")
        strange = [one for one in choice if not _is_plain(one)]
        if strange:
            raise ValueError(f"{name}: a choice is a number, a text, true, false, none or a list, found {strange[0]!r}")
        return
    parts = choice if isinstance(choice, tuple) else ()
    log, numbers = parts[2:] == ("log",), parts[:2]
    if len(numbers) < 2 or len(parts) != 2 + log or not all(type(n) in (int, float) for n in numbers):
        raise ValueError(f'{name}: wanted (low, high), (low, high, "log") or a list, found {choice!r}')
    if not numbers[0] < numbers[1] or (log and numbers[0] <= 0):
        raise ValueError(f"{name}: wanted low < high{' and low > 0' if log else ''}, found {choice!r}")


def _is_plain(choice: Any) -> bool:
    if isinstance(choice, list | tuple):
        return all(_is_plain(one) for one in choice)
    return choice is None or isinstance(choice, bool | int | float | str)


def restored(params: dict[str, Any], space: Mapping[str, Range]) -> dict[str, Any]:
    """Return parameters that went through JSON as they were: a choice that is a tuple comes back as a list."""
    found = dict(params)
    for name, value in params.items():
        choices = space.get(name)
        if isinstance(choices, list) and isinstance(value, list):
            found[name] = next((one for one in choices if isinstance(one, tuple) and _listed(one) == value), value)
    return found


def _listed(choice: Any) -> Any:
    return [_listed(one) for one in choice] if isinstance(choice, list | tuple) else choice


def suggest(trial: Trial, name: str, choice: Range) -> Any:
    """Return a value of the range for one trial."""
    if isinstance(choice, list):
        return trial.suggest_categorical(name, choice)
    log = len(choice) == 3
    if isinstance(choice[0], int) and isinstance(choice[1], int):
        return trial.suggest_int(name, choice[0], choice[1], log=log)
    return trial.suggest_float(name, float(choice[0]), float(choice[1]), log=log)
