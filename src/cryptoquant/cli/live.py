"""Verbs for the present: paper trading, its status, and journals."""

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from cryptoquant.cli.data import Json, SandboxOption, StoreOption, connection, opened
from cryptoquant.cli.registry import RegistryOption
from cryptoquant.cli.terminal import answer, facts, say, table
from cryptoquant.errors import JournalError
from cryptoquant.live.journal import Journal, read_journal, writer_of
from cryptoquant.live.replay import replay as read_again
from cryptoquant.live.trader import Trader
from cryptoquant.market.time import span
from cryptoquant.models.registry import Registry
from cryptoquant.performance.report import Report
from cryptoquant.settings import settings
from cryptoquant.trading.engine import Command
from cryptoquant.trading.risk import RiskLimits

DATABASE = b"SQLite format 3\x00"
JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="The trader's journal; by default CQ_JOURNAL, or journal.sqlite.")
]


def paper(
    reference: Annotated[str, typer.Argument(help="name@champion, or name@number.")],
    until: Annotated[str | None, typer.Option(help="Market time to trade, for example 6h; by default no end.")] = None,
    max_weight: Annotated[float, typer.Option(help="Largest share of the equity in one symbol.")] = 1.0,
    max_drawdown: Annotated[float, typer.Option(help="Stop buying below this fraction of the peak.")] = 1.0,
    profile: str = "main",
    journal: JournalOption = None,
    registry: RegistryOption = None,
    store: StoreOption = None,
    sandbox: SandboxOption = None,
    json: Json = False,
) -> None:
    """Trade a registered bundle on Alpaca's paper account, or on a sandbox, until interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    trader = Trader.paper(
        reference,
        broker=connection(sandbox),
        limits=RiskLimits(max_weight=max_weight, max_drawdown=max_drawdown),
        registry=Registry(registry),
        store=opened(store),
        profile=profile,
        journal=_place(journal),
    )
    done = asdict(trader.run(None if until is None else span(until)))
    if json:
        answer(done)
        return
    facts(done)


def status(journal: JournalOption = None, json: Json = False) -> None:
    """Say what a journal's trader holds and has done, while it runs or after."""
    known = read_again(_place(journal))
    book = known.engine.portfolio
    writer = writer_of(_place(journal))
    found: dict[str, Any] = {
        "reference": known.start.reference,
        "profile": known.start.profile,
        "running": writer is not None,
        "halted": known.engine.risk.halted,
        "equity": book.equity if known.slices else book.cash_value,
        "cash": book.cash_value,
        "positions": {symbol: book.quantity(symbol) for symbol in book.symbols},
        "fees": book.fees,
        "slices": len(known.slices),
        "orders": len(known.journalled),
        "fills": len(known.fills),
        "refused": len(known.refused),
        "in flight": len(known.engine.in_flight),
    }
    if json:
        answer(found)
        return
    facts(found)


def stop(journal: JournalOption = None) -> None:
    """Ask the running trader of a journal to stop; positions are kept."""
    writer = writer_of(_place(journal))
    if writer is None:
        raise JournalError(f"no trader writes {_place(journal)}")
    os.kill(writer, signal.SIGTERM)
    say(f"asked process {writer} to stop")


def resume(journal: JournalOption = None) -> None:
    """Reset the halt of a journal's trader, so that it may open positions again when it is started."""
    read_journal(_place(journal))
    now = time.time_ns()
    book = Journal(_place(journal))
    try:
        book.append([Command(f"resume-{now}", "resume", now, "by the operator")], durable=True)
    finally:
        book.close()
    say("the halt is reset")


def replay(journal: JournalOption = None, json: Json = False) -> None:
    """Read a journal through the engine again and say whether it gives the same orders."""
    again = read_again(_place(journal))
    if json:
        answer({"equal": again.is_equal, "difference": again.difference, "orders": len(again.journalled)})
    else:
        same = f"all {len(again.journalled)} orders are given again" if again.is_equal else again.difference
        say(f"{len(again.slices)} slices, {len(again.fills)} fills: {same}")
    if not again.is_equal:
        raise JournalError(f"the replay differs: {again.difference}")


def report(
    saved: Annotated[Path | None, typer.Argument(help="A report saved by Report.save, or a journal.")] = None,
    journal: JournalOption = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    json: Json = False,
) -> None:
    """Report what a journal's trader did, or show a saved report again."""
    if saved is not None and journal is not None:
        raise ValueError("a saved report and --journal are two things: give one")
    known = None if saved is None or is_journal(saved) else Report.read(saved)
    found = known or read_again(_place(saved or journal)).report()
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


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
