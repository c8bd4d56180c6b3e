"""The status of a trader, from its journal alone: once, or as it changes, for a person or a program."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptoquant.cli.data import Json, connection
from cryptoquant.cli.paper import JournalOption
from cryptoquant.cli.terminal import OUT, answer, line
from cryptoquant.data.clock import SandboxClock, WallClock, clock_of
from cryptoquant.errors import JournalError
from cryptoquant.live.reading import Reading, Standing
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, iso
from cryptoquant.settings import settings

SHOWN = 8
ProfileOption = Annotated[str | None, typer.Option("--profile", help="One profile; by default all, or the only one.")]


def status(
    profile: ProfileOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it as it changes, until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks of --watch.")] = 1.0,
    journal: JournalOption = None,
    sandbox: Annotated[str | None, typer.Option("--sandbox", help="URL of the trader's sandbox, for its time.")] = None,
    json: Json = False,
) -> None:
    """Say what a journal's trader holds and has done, while it runs or after; the journal is only read.

    With --watch a terminal shows it side by side and anew each second. Where the output is no terminal, a table (with
    --json a line) is written whenever something has changed, until the trader has ended.
    """
    reading = Reading(journal or Path(settings().journal))
    clock: SandboxClock | WallClock = WallClock() if sandbox is None else clock_of(connection(sandbox))
    reading.update()
    if watch:
        _watch(reading, profile, clock, every, as_json=json)
    elif json:
        answer(content_of(reading, profile, clock.now()))
    else:
        OUT.print(view(reading, profile, clock.now()))


def _watch(
    reading: Reading, profile: str | None, clock: SandboxClock | WallClock, every: float, *, as_json: bool
) -> None:
    """Show the status again and again; the interrupt key ends it."""
    try:
        if OUT.is_terminal and not as_json:
            with Live(view(reading, profile, clock.now()), console=OUT, auto_refresh=False) as shown:
                while True:
                    time.sleep(every)
                    reading.update()
                    shown.update(view(reading, profile, clock.now()), refresh=True)
        changes: int | None = None
        while True:
            is_running = reading.writer is not None
            if reading.update() or changes is None:
                changes = reading.seq
                if as_json:
                    line(content_of(reading, profile, clock.now()))
                else:
                    OUT.print(view(reading, profile, clock.now()))
            if not is_running:
                return
            time.sleep(every)
    except KeyboardInterrupt:
        return


def content_of(reading: Reading, profile: str | None, now: int) -> dict[str, Any]:
    """Return the status as JSON-ready values: sums over the profiles that are no shadows, and each profile.

    Raises
    ------
    JournalError
        The journal holds no profile.
    """
    found = standings(reading, profile)
    real = [one for one in found if not one.is_shadow] or found
    positions: dict[str, float] = {}
    for one in real:
        for symbol, quantity in one.positions.items():
            positions[symbol] = positions.get(symbol, 0.0) + quantity
    sums = ("equity", "profit", "cash", "fees", "slippage", "orders", "fills", "refused", "in_flight")
    return {
        "running": reading.writer is not None,
        "halted": next((one.halted for one in found if one.halted), ""),
        **{name: sum(getattr(one, name) for one in real) for name in sums},
        "slices": max(one.slices for one in found),
        "positions": positions,
        "profiles": {one.profile: {**asdict(one), "age_seconds": age_of(one, now)} for one in found},
        "trades": [_trade(reading, fill) for fill in reading.trades if fill.profile in {one.profile for one in found}],
        "notes": [note for note in reading.notes if note["profile"] in ("", *(one.profile for one in found))],
    }


def standings(reading: Reading, profile: str | None) -> list[Standing]:
    """Return what the chosen profiles hold."""
    found = reading.standings(profile)
    if not found:
        raise JournalError(f"{reading.path} holds no profile of a trader")
    return found


def view(reading: Reading, profile: str | None, now: int) -> Group:
    """Return the status as tables: profiles side by side, the last trades, the last notes."""
    content = content_of(reading, profile, now)
    head = "running" if content["running"] else "not running"
    state = f"halted: {content['halted']}" if content["halted"] else head
    title = f"{reading.path}  {head}  equity {content['equity']:,.2f}  P&L {content['profit']:+,.2f}"
    parts: list[Any] = [Text(title if state == head else f"{title}  {state}", style="bold")]
    parts.append(_profiles(standings(reading, profile), now))
    if trades := content["trades"][-SHOWN:]:
        parts += [Text(), _rows("last trades", trades)]
    if notes := content["notes"][-SHOWN:]:
        parts += [Text(), _rows("last notes", notes)]
    return Group(*parts)


def _profiles(found: list[Standing], now: int) -> Table:
    drawn = _table("", ["", *(one.profile + (" (shadow)" if one.is_shadow else "") for one in found)])
    rows: dict[str, list[str]] = {
        "bundle": [one.version or one.reference for one in found],
        "equity": [f"{one.equity:,.2f}" for one in found],
        "P&L": [f"{one.profit:+,.2f}" for one in found],
        "cash": [f"{one.cash:,.2f}" for one in found],
        "in flight": [str(one.in_flight) for one in found],
        "orders, fills": [f"{one.orders}, {one.fills}" for one in found],
        "refused": [str(one.refused) for one in found],
        "fees": [f"{one.fees:,.2f}" for one in found],
        "slippage": [f"{one.slippage:,.2f}" for one in found],
        "slices": [str(one.slices) for one in found],
        "last slice": [iso(one.seen)[:16].replace("T", " ") if one.seen else "-" for one in found],
        "age": [_span(age_of(one, now)) for one in found],
        "state": [_state(one) for one in found],
    }
    for symbol in dict.fromkeys(symbol for one in found for symbol in one.positions):
        rows[symbol] = [f"{one.positions[symbol]:.9g}" if symbol in one.positions else "" for one in found]
    for name, cells in rows.items():
        drawn.add_row(name, *(Text(cell) for cell in cells))
    return drawn


def _state(one: Standing) -> str:
    if one.halted:
        return f"halted: {one.halted}"
    return f"paused: {one.paused}" if one.paused else "open"


def _rows(title: str, rows: list[dict[str, Any]]) -> Table:
    drawn = _table(title, list(rows[0]))
    for row in rows:
        drawn.add_row(*(Text(f"{one:,.6g}" if isinstance(one, float) else str(one)) for one in row.values()))
    return drawn


def _table(title: str, columns: list[str]) -> Table:
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        drawn.add_column(name, justify="left" if number == 0 or title else "right")
    return drawn


def _trade(reading: Reading, fill: Any) -> dict[str, Any]:
    instrument = reading.profiles[fill.profile].engine.venue.instrument(fill.symbol)
    return {
        "time": iso(fill.time)[:19],
        "profile": fill.profile,
        "symbol": fill.symbol,
        "side": fill.side,
        "quantity": float(instrument.quantity(fill.lots)),
        "price": fill.price,
        "fee": fill.fee,
        "reason": fill.reason,
    }


def age_of(one: Standing, now: int) -> float | None:
    """Return seconds since the last slice's close by the clock of the venue, None before the first."""
    return (now - one.seen) / NANOSECONDS_PER_SECOND if one.seen else None


def _span(seconds: float | None) -> str:
    if seconds is None or seconds < 0:
        return "-"
    days, rest = divmod(int(seconds), 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
