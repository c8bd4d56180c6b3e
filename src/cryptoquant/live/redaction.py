"""What must never be written: keys and secrets, taken out of every text that leaves the trader."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.settings import settings

MASK = "***"
SHORTEST = 4
TELLING = ("secret", "password", "token", "authorization", "api_key", "apikey", "apca-api")


class Redaction:
    """Takes secrets out of texts, as they are, as JSON writes them and as an address does.

    Parameters
    ----------
    secrets
        Empty ones and those under four characters are left out: they would hit every text.

    Examples
    --------
    >>> Redaction(["PKTEST1234"]).text("refused for PKTEST1234")
    'refused for ***'
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        long = {one for one in secrets if one and len(one) >= SHORTEST}
        shapes = {shape for one in long for shape in (one, json.dumps(one)[1:-1], quote(one, safe=""))}
        self._shapes = sorted(shapes, key=len, reverse=True)

    @classmethod
    def of(cls, connection: Alpaca | None = None) -> "Redaction":
        """Return what takes out the keys of a connection and those of the settings."""
        known = settings()
        own = [one.get_secret_value() for one in (known.api_key, known.api_secret, known.notify_secret) if one]
        # The address of a webhook is a secret too: who has it may post.
        told = [] if connection is None else [connection.api_key, connection.api_secret]
        return cls([*own, known.notify_webhook, *told])

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for shape in self._shapes:
            text = text.replace(shape, MASK)
        return text

    def content(self, value: Any) -> Any:
        """Return JSON-ready values without the secrets, and without what stands under a name that tells of one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._under(str(name), one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.content(one) for one in value]
        return value if value is None or isinstance(value, bool | int | float) else self.text(str(value))

    def _under(self, name: str, value: Any) -> Any:
        return MASK if any(word in name.lower() for word in TELLING) else self.content(value)
