"""The verb that trades on paper: profiles, their limits, what is written about them, and who is told."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptoquant.cli.data import Json, SandboxOption, StoreOption, connection, opened
from cryptoquant.cli.profile_file import read_profiles
from cryptoquant.cli.registry import RegistryOption
from cryptoquant.cli.terminal import answer, facts, redacted_errors
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.errors import TradingError
from cryptoquant.live.console import Console
from cryptoquant.live.log_file import LogFile
from cryptoquant.live.note import Level, Listener
from cryptoquant.live.notify import Notifier, Program, Receiver, Webhook
from cryptoquant.live.operator import changed
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.profile import OnStop, Profile
from cryptoquant.live.redaction import Redaction
from cryptoquant.live.trader import Trader
from cryptoquant.market.time import span
from cryptoquant.models.monitoring.predictions import PredictionJournal
from cryptoquant.models.registry import Registry
from cryptoquant.settings import settings
from cryptoquant.trading.risk import RiskLimits

JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="The trader's journal; by default CQ_JOURNAL, or journal.sqlite.")
]
LimitOption = Annotated[
    list[str] | None, typer.Option("--limit", help="NAME=VALUE of a risk limit, for example max_daily_loss=0.03.")
]
OnStopOption = Annotated[str, typer.Option("--on-stop", help="keep or close: positions when the trader stops.")]


def paper(
    reference: Annotated[str | None, typer.Argument(help="name@champion, or name@number.")] = None,
    until: Annotated[str | None, typer.Option(help="Market time to trade, for example 6h; by default no end.")] = None,
    max_weight: Annotated[float, typer.Option(help="Largest share of the equity in one symbol.")] = 1.0,
    max_drawdown: Annotated[float, typer.Option(help="Stop buying below this fraction of the peak.")] = 1.0,
    limit: LimitOption = None,
    capital: Annotated[float | None, typer.Option(help="Quote currency to trade; by default all there is.")] = None,
    profile: Annotated[str, typer.Option(help="Name of the profile that trades REFERENCE.")] = "main",
    profile_file: Annotated[Path | None, typer.Option(help="TOML file of [[profile]] tables; see the README.")] = None,
    on_stop: OnStopOption = "keep",
    follow: Annotated[
        bool, typer.Option("--follow", help="Take market data from a recorder that writes into the store.")
    ] = False,
    quotes: Annotated[bool, typer.Option("--quotes", help="Watch quotes too: stops and spreads see more.")] = False,
    log: Annotated[Path | None, typer.Option(help="Write each decision and trade here too, as JSON lines.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="JSON lines on the terminal too.")] = False,
    notify_webhook: Annotated[str | None, typer.Option(help="Post warnings here; or CQ_NOTIFY_WEBHOOK.")] = None,
    notify_command: Annotated[
        str | None, typer.Option(help="Start this for each warning, JSON on its input; or CQ_NOTIFY_COMMAND.")
    ] = None,
    notify_level: Annotated[str, typer.Option(help="Least grave level to tell: info, warning or error.")] = "warning",
    journal: JournalOption = None,
    registry: RegistryOption = None,
    store: StoreOption = None,
    sandbox: SandboxOption = None,
    json: Json = False,
) -> None:
    """Trade registered bundles on Alpaca's paper account, or on a sandbox, until stopped.

    Every decision and trade is a line on the standard output (with --json: on the standard error). SIGTERM or the
    interrupt key winds down: open orders are cancelled, positions kept or closed; a second one ends it at once. The
    exit code is 0 after that, and 1 when trading halted.
    """
    if reference is None and profile_file is None:
        raise typer.BadParameter("wanted a reference, --profile-file, or both")
    limits = changed(RiskLimits(max_weight=max_weight, max_drawdown=max_drawdown), pairs(limit))
    policy, least, receivers = stopping(on_stop), level(notify_level), receivers_of(notify_webhook, notify_command)
    shelf, venue = Registry(registry), connection(sandbox)
    profiles = [] if profile_file is None else read_profiles(profile_file, shelf)
    if reference is not None:
        own: dict[str, Any] = {"capital": capital, "limits": limits, "on_stop": policy}
        profiles.insert(0, Profile.of(reference, shelf, name=profile, **own))
    place = journal or Path(settings().journal)
    with listening(venue, log, receivers, least, as_json=log_json, beside=json) as listeners:
        trader = Trader(
            profiles,
            venue,
            opened(store),
            journal=place,
            predictions=PredictionJournal(place.with_suffix(".predictions.jsonl")),
            registry=shelf,
            options=TraderOptions(follows=follow, channels=("bars", "quotes") if quotes else ("bars",)),
            listeners=listeners,
        )
        done = trader.run(None if until is None else span(until))
    if done.reason == "interrupted":
        raise TradingError("interrupted: ended at once, positions and orders are as they were; the journal knows them")
    if json:
        answer(asdict(done))
        return
    facts({name: value for name, value in asdict(done).items() if name != "profiles"})


@contextmanager
def listening(
    venue: Alpaca, log: Path | None, receivers: list[Receiver], least: Level, *, as_json: bool, beside: bool
) -> Iterator[list[Listener]]:
    """Yield what hears the floor: the terminal, a file, and who is notified; all are closed in the end."""
    redaction = Redaction.of(venue)
    stream = sys.stderr if beside else sys.stdout

    def show(text: str) -> None:
        stream.write(text + "\n")
        stream.flush()

    listeners: list[Console | Notifier] = []
    file = None if log is None else LogFile(log)
    with redacted_errors(redaction.text):
        try:
            listeners.append(Console(show, redaction, as_json=as_json))
            if file is not None:
                listeners.append(Console(file.write, redaction, as_json=True))
            if receivers:
                listeners.append(Notifier(receivers, redaction, level=least))
            yield [*listeners]
        finally:
            for one in listeners:
                one.close()
            if file is not None:
                file.close()


def receivers_of(webhook: str | None, command: str | None) -> list[Receiver]:
    """Return who is notified, by the options or else the settings."""
    known = settings()
    url, program = webhook or known.notify_webhook, command or known.notify_command
    secret = None if known.notify_secret is None else known.notify_secret.get_secret_value()
    found: list[Receiver] = []
    if url:
        found.append(Webhook(url, secret))
    if program:
        found.append(Program(program))
    return found


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Return NAME=VALUE texts by their names."""
    found = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator:
            raise typer.BadParameter(f"wanted NAME=VALUE, found {text!r}")
        found[name] = value
    return found


def stopping(text: str) -> OnStop:
    """Return the policy that a text names."""
    if text not in ("keep", "close"):
        raise typer.BadParameter(f"wanted keep or close, found {text!r}")
    return text  # type: ignore[return-value]


def level(text: str) -> Level:
    """Return the level that a text names."""
    if text not in ("info", "warning", "error"):
        raise typer.BadParameter(f"wanted info, warning or error, found {text!r}")
    return text  # type: ignore[return-value]
