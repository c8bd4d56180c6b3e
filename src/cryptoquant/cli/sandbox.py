"""The verb that serves a venue on this machine, with its accounts, rules and faults, until it is told to stop."""

import json
import math
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptoquant.backtest.sandbox import Fault, Faults, Sandbox
from cryptoquant.cli.terminal import say
from cryptoquant.data.store import Store

RANDOM = "random"


def sandbox(
    symbols: Annotated[list[str] | None, typer.Option("--symbol", help="Pair; by default BTC/USD and ETH/USD.")] = None,
    seed: int = 7,
    edge: Annotated[float, typer.Option(help="Planted drift; 0 is a market without any edge.")] = 0.0,
    days: int = 395,
    speed: Annotated[float, typer.Option(help="Market seconds in a wall second.")] = 60.0,
    lockstep: Annotated[bool, typer.Option(help="Time moves only when it is told to.")] = False,
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.")] = 0,
    store: Annotated[str | None, typer.Option(help="Replay this store's bars instead of a synthetic market.")] = None,
    timeframe: Annotated[str, typer.Option(help="Of the store's bars.")] = "1m",
    accounts: Annotated[int, typer.Option(help="How many, each with keys, orders and positions of its own.")] = 1,
    latency: Annotated[float, typer.Option(help="Market seconds from an order to its arrival.")] = 0.0,
    participation: Annotated[float, typer.Option(help="Largest share of a bar's volume that an account fills.")] = (
        math.inf
    ),
    partial_fills: Annotated[float, typer.Option(help="Fraction of marketable orders that fill in two parts.")] = 0.0,
    late_trades: Annotated[float, typer.Option(help="Fraction of bars that a late trade changes.")] = 0.0,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Trading requests of an account before a 429; Alpaca takes 200.")
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="What goes wrong: a JSON file of faults, or random:SEED:PER_DAY.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Go on from this file if it exists, and write it at the end.")
    ] = None,
) -> None:
    """Serve a venue on loopback that speaks Alpaca's protocol, until interrupted.

    Accounts and faults of an existing --state are those of the file; everything else must be as it was.
    """
    market: dict[str, Any] = {"days": days, "edge": edge, "symbols": symbols or ["BTC/USD", "ETH/USD"]}
    if store is not None:
        market = {"bars": Store(store).bars(symbols, timeframe)}
    rules = {
        "latency": timedelta(seconds=latency),
        "participation": participation,
        "partial_fills": partial_fills,
        "late_trades": late_trades,
        "requests_per_minute": requests_per_minute,
    }
    arguments = {"seed": seed, "lockstep": lockstep, "speed": speed, "port": port, **rules, **market}
    if state is not None and state.exists():
        serve(Sandbox.restore(state, **arguments), state)
    else:
        serve(Sandbox(accounts=accounts, faults=schedule(faults), **arguments), state)


def schedule(text: str | None) -> Faults:
    """Return the faults of a JSON file (a fault or a list, as ``POST /sandbox/faults`` takes them), or random ones.

    Raises
    ------
    ValueError
        The text names neither; the message says what in the file is no fault.
    """
    if text is None:
        return Faults()
    if text.partition(":")[0] == RANDOM:
        return _random(text)
    try:
        content = json.loads(Path(text).read_text())
    except OSError as error:
        wanted = f"wanted a JSON file of faults, or {RANDOM}:SEED:PER_DAY"
        raise ValueError(f"faults: {text}: {error.strerror}: {wanted}") from error
    except ValueError as error:
        raise ValueError(f"{text}: wanted JSON: {error}") from error
    found = []
    for place, body in enumerate(content if isinstance(content, list) else [content], start=1):
        try:
            found.append(Fault.read(body))
        except ValueError as error:
            raise ValueError(f"{text}, fault {place}: {error}") from error
    return Faults(found)


def _random(text: str) -> Faults:
    _, _, numbers = text.partition(":")
    seed, _, per_day = numbers.partition(":")
    try:
        drawn = int(seed), float(per_day)
    except ValueError as error:
        raise ValueError(f"faults: found {text}, wanted {RANDOM}:SEED:PER_DAY, for example {RANDOM}:7:24") from error
    return Faults.random(drawn[0], per_day=drawn[1])


def serve(venue: Sandbox, state: Path | None) -> None:
    """Start a sandbox, say how to reach it, and keep it until an interrupt or SIGTERM; then save it."""
    signal.signal(signal.SIGTERM, _interrupt)
    with venue:
        try:
            say(f"sandbox at {venue.url}, market time {venue.status()['now']}")
            for key, secret in venue.keys:
                say(f"export APCA_API_KEY_ID={key} APCA_API_SECRET_KEY={secret}")
            say(f"try: cryptoquant download BTC/USD --sandbox {venue.url}")
            while True:
                time.sleep(0.5)
        except KeyboardInterrupt:
            if state is not None:
                venue.save(state)
                say(f"state: {state}")
            say("sandbox stopped")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
