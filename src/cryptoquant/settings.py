"""Keys and places, read once at the edge of the program from the environment."""

import os
from functools import lru_cache

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the environment says: Alpaca keys and the places of store, registry, trial ledger and journal.

    Alpaca's own variable names are understood (``APCA_API_KEY_ID``, ``APCA_API_SECRET_KEY``), and ours with the prefix
    ``CQ_``. Secrets print as asterisks. ``CQ_NOTIFY_WEBHOOK``, ``CQ_NOTIFY_SECRET`` and ``CQ_NOTIFY_COMMAND`` say
    who hears of what a trader warns about.
    """

    model_config = SettingsConfigDict(env_prefix="CQ_", extra="ignore", frozen=True)

    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("APCA_API_KEY_ID", "ALPACA_API_KEY", "CQ_API_KEY")
    )
    api_secret: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("APCA_API_SECRET_KEY", "ALPACA_SECRET_KEY", "CQ_API_SECRET")
    )
    store: str = "data"
    registry: str = "sqlite:///mlflow.db"
    trials: str = "trials.jsonl"
    tuning: str = Field(default="tuning", description="folder of the journals of parameter searches")
    unregistered: str = Field(default="unregistered", description="folder for what a registry did not take")
    journal: str = "journal.sqlite"
    keys: str | None = Field(default=None, description="file of the keys that stores are encrypted with")
    notify_webhook: str | None = Field(default=None, description="where notifications are posted; https or loopback")
    notify_secret: SecretStr | None = Field(default=None, description="sent to the webhook as a bearer token")
    notify_command: str | None = Field(default=None, description="program that reads each notification as JSON")
    state: str = Field(default="~/.local/state/cryptoquant", description="where accounts in use are noted")
    jobs: int = Field(default=-1, description="processes for parallel work; -1 uses every core")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process; the environment is read on the first call."""
    return Settings()


def quieten_mlflow() -> None:
    """Tell MLflow not to report home, to draw no bar and to give a dead server up soon, unless the user decided."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
