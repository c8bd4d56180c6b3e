"""How far long work is and how much time is left: a bar in a terminal or a notebook, nothing where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]


@contextmanager
def bar(what: str) -> Iterator[Advance]:
    """Yield a function ``(done, total, *words)``; a bar with the time left is drawn only where a person is watching."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield lambda done, total, *words: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=None)

        def advance(done: int, total: int, *words: object) -> None:
            shown.update(task, completed=done, total=total, description=" ".join([what, *map(str, words)]))

        yield advance
