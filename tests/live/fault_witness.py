"""A witness of a run: what the trader asked and heard on the wire, what it told its listeners, and what it wrote."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
import pytest
import requests

from cryptoquant.data.receiver import Receiver
from cryptoquant.data.store import Store
from cryptoquant.live.feed import Feed
from cryptoquant.live.floor import Floor
from cryptoquant.live.journal import Entry, read_journal
from cryptoquant.live.note import Note

BY_ID, ORDERS, BARS = "/v2/orders:by_client_order_id", "/v2/orders", "/v1beta3/crypto/us/bars"


class Asked(NamedTuple):
    """A request: the order that it is about, and the status or the error that came of it after so many seconds."""

    method: str
    path: str
    order: str
    said: str
    began: float
    ended: float
    thread: str


class Update(NamedTuple):
    """A word of the venue's stream on an order, and whether the order was still open in the books when it came."""

    order: str
    event: str
    was_open: bool


@dataclass
class Witness:
    """Takes down what goes over the wire and what listeners hear, from ``begin`` on; ``entries`` are the journal's."""

    store: Store
    asked: list[Asked] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)
    bars: list[tuple[str, int]] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    _after: int = 0

    def begin(self, journal: Path) -> None:
        """Forget what was before."""
        self._after = read_journal(journal)[-1].seq
        for one in (self.asked, self.heard, self.bars, self.updates, self.notes):
            one.clear()

    def end(self, journal: Path) -> None:
        """Take the journal's rows since the beginning."""
        self.entries = read_journal(journal, self._after)

    def of(self, kind: str) -> list[Any]:
        """Return the facts of a kind that the journal holds."""
        return [entry.fact() for entry in self.entries if entry.kind == kind]

    def calls(self, order: str) -> list[str]:
        """Return what was asked about an order and what was said, in turn, such as ``POST 200``."""
        return [f"{one.method} {one.said}" for one in self.asked if one.order == order]

    @property
    def decided(self) -> dict[int, np.ndarray]:
        """The values of the slices that were decided on, by their time."""
        return {market.time: market.values for market in self.of("slice")}

    @property
    def passed(self) -> dict[int, np.ndarray]:
        """The values of the slices that were passed over."""
        rows = [row for entry in self.entries if entry.kind == "warm" for row in entry.content()["slices"]]
        return {row[0]: np.array(row[2], dtype=np.float64) for row in rows}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take down what happens inside."""
        with pytest.MonkeyPatch.context() as patch:
            for stream, where in (("data", Receiver), ("trading", Feed)):
                patch.setattr(where, "_note", self._hearing(stream, where._note))
            patch.setattr(Floor, "on_bar", self._seeing(Floor.on_bar))
            patch.setattr(Floor, "on_update", self._learning(Floor.on_update))
            patch.setattr(requests.Session, "send", self._asking(requests.Session.send))
            yield

    def _hearing(self, stream: str, note: Callable[..., None]) -> Callable[..., None]:
        def hear(place: Any, event: str, text: str) -> None:
            self.heard.append((stream, event))
            note(place, event, text)

        return hear

    def _seeing(self, on_bar: Callable[..., None]) -> Callable[..., None]:
        def see(floor: Floor, bar: Any) -> None:
            self.bars.append((bar.symbol, bar.open_time))
            on_bar(floor, bar)

        return see

    def _learning(self, on_update: Callable[..., None]) -> Callable[..., None]:
        def learn(floor: Floor, update: Any) -> None:
            order = update.data["order"]["client_order_id"]
            was_open = any(order in desk.engine.in_flight for desk in floor.desks.values())
            self.updates.append(Update(order, update.data["event"], was_open))
            on_update(floor, update)

        return learn

    def _asking(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def ask(session: Any, request: Any, **more: Any) -> Any:
            began, said = time.monotonic(), "cut short"
            try:
                answer = send(session, request, **more)
                is_page = answer.headers.get("content-type", "").startswith("text/html")
                said = f"{answer.status_code} page" if is_page else str(answer.status_code)
                return answer
            except requests.RequestException as error:
                said = type(error).__name__
                raise
            finally:
                where, thread = urlsplit(request.url), threading.current_thread().name
                ids = parse_qs(where.query).get("client_order_id", [""])
                if where.path == ORDERS and request.body:
                    ids = [msgspec.json.decode(request.body)["client_order_id"]]
                self.asked.append(Asked(request.method, where.path, ids[0], said, began, time.monotonic(), thread))

        return ask
