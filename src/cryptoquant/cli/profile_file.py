"""What trades, from a TOML file: one table for each profile, checked before anything runs."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field

from cryptoquant.backtest.experiment import section_of
from cryptoquant.backtest.sections import Section
from cryptoquant.errors import ConfigurationError
from cryptoquant.live.operator import changed
from cryptoquant.live.profile import OnStop, Profile
from cryptoquant.models.registry import Registry
from cryptoquant.trading.risk import RiskLimits


class ProfileSection(Section):
    """One ``[[profile]]``; what it says is as for ``Profile``."""

    name: str
    reference: str
    capital: float | None = None
    on_stop: OnStop = "keep"
    shadow: bool = False
    limits: dict[str, float] = Field(default_factory=dict)


def read_profiles(path: Path, registry: Registry) -> list[Profile]:
    """Return the profiles of a file, with their bundles from the registry.

    Raises
    ------
    ConfigurationError
        The file is absent or no TOML, or a key or value is wrong; the message names its path in the file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"no profiles at {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    rows = content.pop("profile", None)
    if content or not isinstance(rows, list) or not rows:
        found = ", ".join(content) or "none"
        raise ConfigurationError(f"{path}: wanted tables [[profile]] and nothing else, found {found}")
    return [_profile(f"profile[{number}]", row, registry) for number, row in enumerate(rows)]


def _profile(where: str, row: dict[str, Any], registry: Registry) -> Profile:
    said: ProfileSection = section_of(where, ProfileSection, row)
    try:
        return Profile.of(
            said.reference,
            registry,
            name=said.name,
            capital=said.capital,
            limits=changed(RiskLimits(), said.limits),
            on_stop=said.on_stop,
            is_shadow=said.shadow,
        )
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
