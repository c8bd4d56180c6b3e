"""Verbs for market data: download, record, import, export, check."""

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from cryptoquant.cli.terminal import OUT, answer, line, progress, say, status_line
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.download import download as fetch
from cryptoquant.data.gaps import outages
from cryptoquant.data.quality import QualityReport
from cryptoquant.data.quality_report import MarketQuality
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.settings import settings

LARGEST = 10
Symbols = Annotated[list[str], typer.Argument(help="Pairs such as BTC/USD.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Folder of the store; by default CQ_STORE, or data.")]
SandboxOption = Annotated[
    str | None, typer.Option("--sandbox", help="URL of a running sandbox; without it, Alpaca with your keys.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def opened(store: str | None) -> Store:
    """Return the store in a folder, by default that of the settings."""
    return Store(store or settings().store)


def connection(sandbox: str | None) -> Alpaca:
    """Return Alpaca with the keys of the environment, or the sandbox at a URL."""
    return Alpaca() if sandbox is None else Alpaca.sandbox(sandbox)


def download(
    symbols: Symbols,
    timeframe: Annotated[str, typer.Option(help="Length of a bar, for example 5m or 1h.")] = "1h",
    start: Annotated[str, typer.Option(help="First day, for example 2024-01-01.")] = "2024-01-01",
    end: Annotated[str | None, typer.Option(help="Last moment; by default now.")] = None,
    kind: Annotated[str, typer.Option(help="bars, trades or quotes.")] = "bars",
    jobs: Annotated[int, typer.Option(help="Requests under way at once, within the venue's limit.")] = 4,
    store: StoreOption = None,
    sandbox: SandboxOption = None,
) -> None:
    """Fetch bars, trades or quotes from Alpaca into the store; a second run fetches only what is missing."""
    home = opened(store)
    with progress("download") as advance:
        got = fetch(
            home, symbols, timeframe, start, end, kind=kind, source=connection(sandbox), jobs=jobs, progress=advance
        )
    what = (
        f"bars of {', '.join(got.symbols)} ({timeframe})" if kind == "bars" else f"{kind} of {', '.join(got.symbols)}"
    )
    parts = "days" if kind == "quotes" else "months"
    say(f"{got.rows:,} {what} into {home.root}; {got.skipped} {parts} were there")
    for gap in got.gaps.head(LARGEST).iter_rows(named=True):
        missing = "nothing there" if gap["missing"] is None else f"{gap['missing']:,} missing"
        say(f"  gap {gap['symbol']}: {gap['start']:%Y-%m-%d %H:%M} to {gap['end']:%Y-%m-%d %H:%M}, {missing}")
    if got.gaps.height > LARGEST:
        say(f"  and {got.gaps.height - LARGEST:,} more gaps")


def record(
    symbols: Symbols,
    seconds: Annotated[float | None, typer.Option(help="How long; by default until interrupted.")] = None,
    no_backfill: Annotated[bool, typer.Option("--no-backfill", help="Leave gaps as they are.")] = False,
    store: StoreOption = None,
    sandbox: SandboxOption = None,
    json: Json = False,
) -> None:
    """Record trades, quotes, bars and order books from the live stream into the store.

    Shows a line about itself while it runs on a terminal; with --json, one JSON object a second. Troubles are told as
    they come, on the standard error.
    """
    until = None if seconds is None else timedelta(seconds=seconds)
    home = opened(store)
    recorder = Recorder(home, symbols, connection(sandbox), options=RecorderOptions(backfill=not no_backfill))
    with status_line() as show:
        done = recorder.run(until, on_status=(lambda status: line(asdict(status))) if json else lambda s: show(s.line))
    if json:
        line(asdict(done))
    else:
        say(done.line)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Parquet or CSV files of bars, trades or quotes.")],
    symbol: Annotated[str | None, typer.Option(help="When the file has no symbol column.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Length of a bar; by default found from the times.")] = None,
    stamped: Annotated[str, typer.Option(help="Whether bar times are their open or their close.")] = "open",
    column: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, for a column of another name.")] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of times that have none, for example UTC.")] = None,
    store: StoreOption = None,
) -> None:
    """Take Parquet and CSV files into the store; a file is taken whole or not at all."""
    columns = dict(_pair(text) for text in column or [])
    home = opened(store)
    for file in files:
        rows = home.import_file(
            file,
            symbol=symbol,
            timeframe=timeframe,
            stamped=_stamp(stamped),
            columns=columns or None,
            zone=zone,
        )
        say(f"{file.name}: {rows:,} rows into {home.root}")


def export(
    path: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    symbols: Annotated[list[str] | None, typer.Option("--symbol", help="Pair; by default all.")] = None,
    kind: Annotated[str, typer.Option(help="bars, trades, quotes or books.")] = "bars",
    timeframe: Annotated[str | None, typer.Option(help="Of bars.")] = None,
    start: Annotated[str | None, typer.Option()] = None,
    end: Annotated[str | None, typer.Option()] = None,
    store: StoreOption = None,
) -> None:
    """Write rows of the store into a file."""
    rows = opened(store).export(path, kind, symbols, timeframe=timeframe, start=start, end=end)
    say(f"{rows:,} rows into {path}")


def check(
    kind: Annotated[str, typer.Option(help="bars, trades, quotes or books; all for everything.")] = "bars",
    html: Annotated[Path | None, typer.Option(help="Write a page about all kinds, by symbol and day.")] = None,
    store: StoreOption = None,
    json: Json = False,
) -> None:
    """Look for what is missing, doubled, idle or implausible in a store, and list the outages of its recorder."""
    home = opened(store)
    ledger = home.gaps()
    if kind == "bars" and html is None:
        report: QualityReport | MarketQuality = home.check()
    else:
        report = home.quality() if kind == "all" or html is not None else home.quality([kind])
    if html is not None and isinstance(report, MarketQuality):
        report.to_html(html)
    if json:
        found = {"clean": report.is_clean, "gaps": report.gaps.to_dicts(), "totals": report.totals().to_dicts()}
        answer({**found, "outages": ledger.drop("position", "rank").to_dicts()})
        return
    report.show(OUT)
    for outage in outages(ledger):
        say(f"  outage {outage}")
    left = ledger.filter(pl.col("state") != "filled").height
    if ledger.height:
        say(f"recorder: {ledger.height:,} gaps, {left:,} not filled")
    if html is not None:
        say(f"wrote {html}")


def _pair(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"wanted THEIRS=OURS, found {text!r}")
    return theirs, ours


def _stamp(text: str) -> Any:
    if text not in ("open", "close"):
        raise typer.BadParameter(f"wanted open or close, found {text!r}")
    return text
