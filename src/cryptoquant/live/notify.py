"""Notifications: what an operator must hear, by a webhook or a program; trading never waits for either."""

import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from cryptoquant.data.alpaca import LOOPBACK
from cryptoquant.errors import ConfigurationError, VenueUnreachableError
from cryptoquant.live.console import content_of, line_of
from cryptoquant.live.courier import Courier
from cryptoquant.live.note import Level, Note
from cryptoquant.live.redaction import Redaction

Delivery = Literal["arrived", "refused", "absent"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")
ATTEMPTS, FIRST_PAUSE_SECONDS, CAPACITY = 4, 0.5, 100
ASK_AGAIN = (408, 425, 429)


class Receiver(Protocol):
    """Takes a message of UTF-8 JSON, within a time-out of its own; it raises nothing.

    What is ``absent`` is offered again later, what is ``refused`` is not.
    """

    def __call__(self, body: bytes) -> Delivery:
        """Take a message, and say what came of it."""
        ...


class Webhook:
    """Posts messages to an address.

    Parameters
    ----------
    url
        https, or loopback.
    secret
        Travels as ``Authorization: Bearer``, so that the receiver knows who speaks.
    timeout
        Seconds for the connection, and for each pause of the answer.

    Raises
    ------
    ConfigurationError
        The address is neither https nor loopback.
    """

    def __init__(self, url: str, secret: str | None = None, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        is_near = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not parts.hostname or not (parts.scheme == "https" or is_near):
            shown = f"{parts.scheme}://{parts.hostname or ''}"
            raise ConfigurationError(f"webhook: found {shown}; wanted https, or http on loopback")
        self._url, self._timeout = url, timeout
        self._headers = {"Content-Type": "application/json"}
        if secret:
            self._headers["Authorization"] = f"Bearer {secret}"

    def __call__(self, body: bytes) -> Delivery:
        """Post a message; a redirect is a refusal, as it would carry the secret elsewhere."""
        import requests

        try:
            with requests.Session() as http:
                http.trust_env = urlsplit(self._url).hostname not in LOOPBACK
                http.auth = _unchanged  # else a .netrc would take the place of the secret
                done = http.post(
                    self._url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False
                )
        except requests.exceptions.RequestException:
            return "absent"
        if done.status_code >= 500 or done.status_code in ASK_AGAIN:
            return "absent"
        return "arrived" if done.status_code < 300 else "refused"


class Program:
    """Starts a program for each message, which reads it from its standard input.

    Parameters
    ----------
    command
        As a shell would split it; no shell runs.
    timeout
        Seconds after which it is killed.

    Raises
    ------
    ConfigurationError
        There is no command in it.
    """

    def __init__(self, command: str, timeout: float = 10.0) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(f"notification command: {error}") from error
        if not self._words:
            raise ConfigurationError("notification command: found nothing, wanted a program")
        self._timeout = timeout

    def __call__(self, body: bytes) -> Delivery:
        """Run the program; exit code 0 says that it arrived."""
        quiet = subprocess.DEVNULL
        try:
            done = subprocess.run(
                self._words, input=body, stdout=quiet, stderr=quiet, timeout=self._timeout, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return "absent"
        return "arrived" if done.returncode == 0 else "absent"


class Notifier:
    """A listener that sends what is grave enough to receivers, each with a thread and a queue of its own.

    A message is JSON: ``time``, ``wall``, ``level``, ``what``, ``profile``, ``facts`` as on the console, ``text`` for a
    person, and ``dropped``, how many the receiver's queue had to drop before, oldest first.

    Parameters
    ----------
    receivers
        Webhooks, programs, or your own.
    level
        The least grave level that is sent.
    attempts, pause
        How often a message is offered, and seconds after the first time; each further pause is twice as long.
    capacity
        Messages that may wait for a receiver.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        redaction: Redaction,
        *,
        level: Level = "warning",
        attempts: int = ATTEMPTS,
        pause: float = FIRST_PAUSE_SECONDS,
        capacity: int = CAPACITY,
    ) -> None:
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, found {level!r}")
        self.levels, self.redaction = LEVELS[LEVELS.index(level) :], redaction
        self._attempts, self._pause, self._ending = attempts, pause, threading.Event()
        self.couriers: list[Courier[tuple[Note, int]]] = []
        for number, receiver in enumerate(receivers):
            # Each message tells what its own courier has dropped, which is there once it delivers.
            deliver: Callable[[tuple[Note, int]], None] = partial(self._deliver, number, receiver)
            self.couriers.append(Courier(deliver, f"notify-{number}", capacity))

    def __call__(self, note: Note) -> None:
        """Take a note."""
        if note.level in self.levels:
            for courier in self.couriers:
                courier.put((note, time.time_ns()))

    def close(self) -> None:
        """Offer what waits once more, for some seconds at most, and end."""
        self._ending.set()
        for courier in self.couriers:
            courier.close()

    def _deliver(self, number: int, receiver: Receiver, told: tuple[Note, int]) -> None:
        content = content_of(*told, self.redaction)
        dropped = self.couriers[number].dropped if number < len(self.couriers) else 0
        body = msgspec.json.encode({**content, "text": line_of(content), "dropped": dropped})
        for attempt in range(self._attempts):
            found = receiver(body)
            if found == "arrived":
                return
            if found == "refused" or self._ending.wait(self._pause * 2**attempt):
                break
        raise VenueUnreachableError(f"a notification did not arrive: {found}")


def _unchanged(request: Any) -> Any:
    return request
