"""Filling gaps from a history that is down, answers nonsense, comes back, or never does."""

import time
from datetime import timedelta

import msgspec
import pytest

from cryptoquant.data import backfill
from cryptoquant.data.backfill import Backfill
from cryptoquant.data.gaps import Gap
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.errors import StoreError
from cryptoquant.market.time import iso
from cryptoquant.settings import settings
from tests.data.stream import MINUTE, START, history

PATIENCE = 20.0
NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("CQ_STATE", str(tmp_path / "state"))
    settings.cache_clear()
    yield
    settings.cache_clear()


def await_that(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gap(number: int, kind: str = "trades") -> Gap:
    start = START + number * 10 * MINUTE
    return Gap(number, kind, "BTC/USD", start, start + MINUTE, "connection lost", "open")


def page(*times: int) -> dict[str, object]:
    rows = [{"t": iso(time), "p": 1.0, "s": 1.0, "i": index, "tks": "B"} for index, time in enumerate(times)]
    return {"trades": {"BTC/USD": rows}, "next_page_token": None}


class Kept:
    def __init__(self) -> None:
        self.pages, self.events, self.errors = [], [], []

    def over(self, source, delay: timedelta = NOW) -> Backfill:
        event = lambda payload: self.events.append(msgspec.json.decode(payload))  # noqa: E731
        return Backfill(source, self.pages.append, event, delay=delay, on_error=self.errors.append)


@pytest.mark.parametrize(
    "nonsense", [(400, {"message": "down"}), (200, {"trades": {"BTC/USD": [{"p": 1}]}}), (200, [])]
)
def test_a_history_that_is_down_or_answers_nonsense_is_asked_again_until_it_is_up(monkeypatch, nonsense):
    """Outcome: the gap stays open, the reason is told, and the next try fills it; the thread lives on."""
    monkeypatch.setattr(backfill, "AGAIN", (NOW, NOW, timedelta(hours=2)))
    asked, kept = [], Kept()

    def answer(path, query):
        asked.append(query)
        return nonsense if len(asked) < 3 else (200, page(START + 1, START + 2 * MINUTE))

    with history(answer) as source:
        filling = kept.over(source)
        filling.submit([gap(0)])
        filling.start()
        await_that(lambda: filling.waiting == 0)
        filling.stop()
    assert len(kept.errors) == 2
    assert all("not fetched" in error for error in kept.errors)
    assert [(event["state"], event["rows"]) for event in kept.events] == [("filled", 1)]


def test_a_gap_that_waits_for_hours_keeps_no_other_waiting(monkeypatch):
    """Outcome: a later gap is filled at once while an earlier one waits for its third try."""
    monkeypatch.setattr(backfill, "AGAIN", (timedelta(hours=2),))
    kept = Kept()

    def answer(path, query):
        return (400, {"message": "down"}) if query["start"] < iso(START + MINUTE) else (200, page())

    with history(answer) as source:
        filling = kept.over(source)
        filling.start()
        filling.submit([gap(0)])
        await_that(lambda: kept.errors)
        filling.submit([gap(7)])
        await_that(lambda: kept.events)
        assert filling.waiting == 1
        filling.stop()
    assert [event["id"] for event in kept.events] == [7]


def test_a_gap_that_is_given_up_is_left_to_the_next_recorder_which_fills_it(tmp_path, monkeypatch):
    """Outcome: open in the ledger while the history is down, filled by the next recorder when it is up."""
    monkeypatch.setattr(backfill, "AGAIN", ())
    store, is_up = Store(tmp_path / "store"), []
    options = RecorderOptions(backfill_after=NOW, compact_every=None)

    def answer(path, query):
        return (200, page(START + 5, START + 6)) if is_up else (400, {"message": "down"})

    with history(answer) as source:
        first = Recorder(store, "BTC/USD", source, channels=("trades",), options=options, clock=lambda: START + MINUTE)
        first.open()
        first._backfill.start()
        first._outage(START, START + MINUTE, "connection lost")
        await_that(lambda: first.status().errors)
        assert first.status().open_gaps == 0
        first.stop()
        assert store.gaps()["state"].to_list() == ["open"]
        is_up.append(True)
        second = Recorder(store, "BTC/USD", source, channels=("trades",), options=options, clock=lambda: START + MINUTE)
        second.open()
        assert second.status().open_gaps == 1
        second._backfill.start()
        await_that(lambda: second.status().open_gaps == 0)
        second.stop()
    assert store.gaps().select("state", "rows").rows() == [("filled", 2)]
    assert store.trades().height == 2


def test_a_page_that_the_log_does_not_take_is_not_called_filled(tmp_path):
    """Outcome: the gap stays open, and the connection, which lost nothing, stays too."""
    with history(lambda path, query: (200, page(*range(START, START + 50)))) as source:
        options = RecorderOptions(limit_bytes=600, compact_every=None, backfill_after=NOW)
        recorder = Recorder(Store(tmp_path / "store"), "BTC/USD", source, channels=("trades",), options=options)
        recorder.open()
        with pytest.raises(StoreError, match="did not take a page"):
            recorder._page(b"x" * 1_000)
        assert (recorder.status().dropped, recorder._receiver.missing_since) == (0, 0)
        recorder._backfill.submit([gap(0)])
        recorder._backfill.start()
        await_that(lambda: any("did not take" in error for error in recorder.status().errors))
        assert recorder.status().open_gaps == 1
        recorder.stop()
