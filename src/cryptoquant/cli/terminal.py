"""What the verbs print: lines, tables, JSON and a progress bar where a person is watching."""

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import polars as pl
from rich.console import Console
from rich.table import Table

from cryptoquant.performance.progress import Advance
from cryptoquant.performance.progress import bar as progress
from cryptoquant.performance.trials import strict_json

OUT = Console(highlight=False, soft_wrap=True, emoji=False)
ERR = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

__all__ = [
    "Advance",
    "answer",
    "complain",
    "facts",
    "line",
    "progress",
    "redacted_errors",
    "say",
    "status_line",
    "table",
]


class Redacted(io.TextIOBase):
    """A stream that changes what is written before it passes it on."""

    def __init__(self, stream: TextIO, redact: Callable[[str], str]) -> None:
        self._stream, self._redact = stream, redact

    def write(self, text: str) -> int:
        """Write a changed text."""
        return self._stream.write(self._redact(text))

    def flush(self) -> None:
        """Pass on what waits."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._stream.isatty()


@contextmanager
def redacted_errors(redact: Callable[[str], str]) -> Iterator[None]:
    """Let every error of this process pass through ``redact``, also one that ends it, with its traceback."""
    before = sys.stderr
    sys.stderr = Redacted(before, redact)
    try:
        yield
    except Exception as error:
        # Printed by the interpreter after this has ended, or as one line by the verb's guard.
        found: BaseException | None = error
        while found is not None:
            found.args = tuple(redact(one) if isinstance(one, str) else one for one in found.args)
            found = found.__cause__ or found.__context__
        raise
    finally:
        sys.stderr = before


def say(text: str) -> None:
    """Print a line."""
    OUT.print(text, markup=False)


def complain(text: str) -> int:
    """Print one line on stderr; return the exit code of work that failed."""
    ERR.print(f"error: {' '.join(text.split())}", markup=False)
    return 1


def answer(content: Mapping[str, Any] | list[Any]) -> None:
    """Print JSON that a program may read; not a number becomes null."""
    print(json.dumps(strict_json(content), default=str, indent=1))  # noqa: T201


def line(content: Mapping[str, Any]) -> None:
    """Print JSON on one line, of which a program reads many."""
    print(json.dumps(strict_json(content), default=str), flush=True)  # noqa: T201


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line in place of the one before; only on an interactive terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    with ERR.status("starting") as shown:
        yield lambda text: shown.update(text)


def facts(content: Mapping[str, Any]) -> None:
    """Print names and values, one a line in two columns, numbers as a person reads them."""
    width = max((len(name) for name in content), default=0) + 2
    for name, value in content.items():
        OUT.print(f"{name.replace('_', ' ') + ':':{width}}{_words(value)}", markup=False)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{quantity:.9g} {name}" for name, quantity in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "not known yet" if value != value else f"{value:,.2f}"
    return str(value) if value != "" else "-"


def table(frame: pl.DataFrame, title: str = "") -> None:
    """Print a frame."""
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, dtype in frame.schema.items():
        drawn.add_column(name, justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        drawn.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in row))
    OUT.print(drawn)
