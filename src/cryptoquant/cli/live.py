"""The verb report: what a journal's trader did, or a saved report again."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from cryptoquant.cli.data import Json
from cryptoquant.cli.paper import JournalOption
from cryptoquant.cli.status_view import ProfileOption
from cryptoquant.cli.terminal import answer, say, table
from cryptoquant.live.replay import replay as read_again
from cryptoquant.performance.report import Report
from cryptoquant.settings import settings

DATABASE = b"SQLite format 3\x00"


def report(
    saved: Annotated[Path | None, typer.Argument(help="A report saved by Report.save, or a journal.")] = None,
    profile: ProfileOption = None,
    journal: JournalOption = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    json: Json = False,
) -> None:
    """Report what a journal's trader did, or show a saved report again."""
    if saved is not None and journal is not None:
        raise ValueError("a saved report and --journal are two things: give one")
    known = None if saved is None or is_journal(saved) else Report.read(saved)
    found = known or read_again(_place(saved or journal), profile=profile).report()
    if html is not None:
        say(f"report: {found.to_html(html)}")
    if json:
        answer(found.statistics.to_dict())
    else:
        found.show()
        if found.fills.height:
            columns = ["time", "symbol", "side", "quantity", "price", "fee"]
            table(found.fills.select(pl.col(columns)).tail(10), "last fills")


def is_journal(path: Path) -> bool:
    """Return whether a file is a SQLite database, as journals are and saved reports are not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(DATABASE)) == DATABASE


def _place(journal: Path | None) -> Path:
    return journal or Path(settings().journal)
