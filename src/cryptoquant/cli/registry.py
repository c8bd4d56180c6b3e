"""Verbs for registered models, and the doctor."""

import os
import sys
from typing import Annotated

import polars as pl
import typer

from cryptoquant.cli.data import Json
from cryptoquant.cli.terminal import answer, say, table
from cryptoquant.models.bundle import library_versions
from cryptoquant.models.registry import Registry
from cryptoquant.performance.evidence import Gate
from cryptoquant.settings import settings

RegistryOption = Annotated[
    str | None, typer.Option("--registry", help="MLflow URI; by default CQ_REGISTRY, or mlflow.db.")
]
Alias = Annotated[str, typer.Option(help="champion, challenger or shadow.")]


def promote(
    version: Annotated[str, typer.Argument(help="name@number.")],
    alias: Alias = "champion",
    gate: Annotated[str | None, typer.Option(help="TOML file of the gate; by default the library's own.")] = None,
    registry: RegistryOption = None,
) -> None:
    """Give a version an alias; champion only when its evidence passes the gate."""
    home = Registry(registry)
    found = home.resolve(version)
    home.promote(found, alias, None if gate is None else Gate.from_toml(gate))
    say(f"{found} is {alias}")


def rollback(
    name: Annotated[str, typer.Argument(help="Registered name.")],
    alias: Alias = "champion",
    registry: RegistryOption = None,
) -> None:
    """Give an alias back to the version that held it before."""
    say(f"{Registry(registry).rollback(name, alias)} is {alias} again")


def compare(
    one: Annotated[str, typer.Argument(help="name@number or name@alias.")],
    other: Annotated[str, typer.Argument(help="The version beside it.")],
    registry: RegistryOption = None,
    json: Json = False,
) -> None:
    """Show what differs between two versions: evidence, strategy, features, costs and data."""
    frame = Registry(registry).compare(one, other).filter(~pl.col("is_equal")).drop("is_equal")
    if json:
        answer(frame.to_dicts())
    else:
        table(frame)


def models(
    name: Annotated[str | None, typer.Argument(help="Show one model's versions.")] = None,
    registry: RegistryOption = None,
    json: Json = False,
) -> None:
    """List registered models, their versions, evidence and aliases."""
    home = Registry(registry)
    rows = []
    for one in [name] if name else home.names():
        held = home.aliases(one)
        for version in home.versions(one):
            evidence = home.load(version).evidence
            rows.append(
                {
                    "model": str(version),
                    "alias": ", ".join(alias for alias, number in held.items() if number == version.number),
                    "sharpe": evidence.sharpe,
                    "psr": evidence.psr,
                    "dsr": evidence.dsr,
                    "positions": evidence.round_trips,
                    "days": evidence.days,
                }
            )
    if json:
        answer(rows)
    elif rows:
        table(pl.DataFrame(rows))
    else:
        say("no model is registered")


def doctor(json: Json = False) -> None:
    """Say what this installation has: versions, keys, places, and room on the disk."""
    known = settings()
    free = os.statvfs(".")
    found = {
        "python": sys.version.split()[0],
        **{f"version of {name}": version for name, version in library_versions().items() if name != "python"},
        "Alpaca keys": "found"
        if known.api_key and known.api_secret
        else "none: set APCA_API_KEY_ID, APCA_API_SECRET_KEY",
        "store": known.store,
        "registry": known.registry,
        "trial ledger": known.trials,
        "journal": known.journal,
        "free disk": f"{free.f_bavail * free.f_frsize / 2**30:.1f} GiB",
        "cores": str(os.cpu_count()),
    }
    if json:
        answer(found)
        return
    for what, value in found.items():
        say(f"{what + ':':26}{value}")
