"""Verbs for a running trader: halt, resume, stop, and its profiles."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptoquant.cli.paper import JournalOption, LimitOption, OnStopOption, pairs, stopping
from cryptoquant.cli.terminal import say
from cryptoquant.live.asking import ask
from cryptoquant.live.journal import Journal, read_journal, writer_of
from cryptoquant.settings import settings
from cryptoquant.trading.engine import Command

Name = Annotated[str, typer.Argument(help="The profile.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is journalled.")]
OnlyOption = Annotated[str, typer.Option("--profile", help="One profile; by default all.")]
OPERATOR = "by the operator"


def halt(profile: OnlyOption = "", reason: ReasonOption = OPERATOR, journal: JournalOption = None) -> None:
    """Press the kill switch of the running trader: nothing is opened until `resume`; exits still act."""
    _asked("halt", profile, journal, reason=reason)


def resume(profile: OnlyOption = "", journal: JournalOption = None) -> None:
    """Reset a halt and every loss limit that was reached: of the running trader, or else in its journal."""
    place = _place(journal)
    if writer_of(place) is not None:
        _asked("resume", profile, journal)
        return
    known = {entry.scope for entry in read_journal(place) if entry.kind == "profile"}
    if profile and profile not in known:
        raise ValueError(f"no profile {profile!r} in {place}; there are {', '.join(sorted(known))}")
    now = time.time_ns()
    book = Journal(place)
    try:
        book.append([Command(f"resume-{profile}-{now}", "resume", now, OPERATOR)], profile, durable=True)
    finally:
        book.close()
    say("the halt is reset")


def stop(journal: JournalOption = None) -> None:
    """Ask the running trader to wind down and end; positions are kept or closed, as each profile says.

    The command goes by the journal's inbox; SIGTERM to the trader's process does the same.
    """
    _asked("stop", "", journal, reason="the command stop")


def add(
    name: Name,
    reference: Annotated[str, typer.Argument(help="name@champion, or name@number.")],
    capital: Annotated[float | None, typer.Option(help="Quote currency; by default what no profile has.")] = None,
    limit: LimitOption = None,
    on_stop: OnStopOption = "keep",
    shadow: Annotated[bool, typer.Option("--shadow", help="Send nothing to the venue.")] = False,
    journal: JournalOption = None,
) -> None:
    """Add a registered bundle to the running trader as a profile; it decides from its next slice on."""
    own: dict[str, Any] = {"capital": capital, "on_stop": stopping(on_stop), "is_shadow": shadow}
    _asked("add", name, journal, reference=reference, limits=pairs(limit), **own)


def remove(name: Name, journal: JournalOption = None) -> None:
    """Take a profile from the running trader; it must hold nothing. Its cash is spare again."""
    _asked("remove", name, journal)


def pause(name: Name, reason: ReasonOption = OPERATOR, journal: JournalOption = None) -> None:
    """Let a profile open nothing until it is unpaused; exits still act."""
    _asked("pause", name, journal, reason=reason)


def unpause(name: Name, journal: JournalOption = None) -> None:
    """Let a profile open positions again; a halt stays."""
    _asked("unpause", name, journal)


def close(name: Name, reason: ReasonOption = OPERATOR, journal: JournalOption = None) -> None:
    """Cancel a profile's orders, sell all that it holds at the market, and pause it."""
    _asked("close", name, journal, reason=reason)


def cancel(name: Name, reason: ReasonOption = OPERATOR, journal: JournalOption = None) -> None:
    """Cancel every open order of a profile."""
    _asked("cancel", name, journal, reason=reason)


def limits(
    name: Name,
    values: Annotated[list[str], typer.Argument(help="NAME=VALUE, for example max_weight=0.3.")],
    journal: JournalOption = None,
) -> None:
    """Give a profile other risk limits from now on; those that are not named stay."""
    _asked("limits", name, journal, **pairs(values))


def swap(
    name: Name,
    reference: Annotated[str, typer.Argument(help="name@champion, or name@number; to roll back, the one before.")],
    journal: JournalOption = None,
) -> None:
    """Let a profile trade by another registered bundle of the same universe from its next slice on; books stay."""
    _asked("swap", name, journal, reference=reference)


PROFILE_VERBS: dict[str, Callable[..., None]] = {
    "add": add,
    "remove": remove,
    "pause": pause,
    "unpause": unpause,
    "close": close,
    "cancel": cancel,
    "limits": limits,
    "swap": swap,
}


def _asked(action: str, profile: str, journal: Path | None, **wanted: Any) -> None:
    ask(_place(journal), action, profile, **wanted)
    say(f"{action}{f' {profile}' if profile else ''}: done")


def _place(journal: Path | None) -> Path:
    return journal or Path(settings().journal)
