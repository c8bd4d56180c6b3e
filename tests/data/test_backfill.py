"""Filling gaps from a history that is down, answers nonsense, comes back, or never does."""

import time
from datetime import timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data import backfill
from cryptoquant.data.alpaca_history import KINDS, times
from cryptoquant.data.backfill import Backfill
from cryptoquant.data.gaps import Gap
from cryptoquant.data.message import read_page
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.errors import RequestRefusedError, StoreError, UnknownSymbolError, VenueError, VenueUnreachableError
from cryptoquant.market.time import from_iso, iso
from tests.data.history import history as faulty_history
from tests.data.stream import MINUTE, START, history
from tests.data.test_recorder import await_that

NOW = timedelta(0)


def gap(number: int, kind: str = "trades", symbol: str = "BTC/USD") -> Gap:
    start = START + number * 10 * MINUTE
    return Gap(number, kind, symbol, start, start + MINUTE, "connection lost", "open")


def page(*times: int) -> dict[str, object]:
    rows = [{"t": iso(time), "p": 1.0, "s": 1.0, "i": index, "tks": "B"} for index, time in enumerate(times)]
    return {"trades": {"BTC/USD": rows}, "next_page_token": None}


class Kept:
    def __init__(self) -> None:
        self.pages, self.events, self.errors = [], [], []

    def over(self, source, delay: timedelta = NOW) -> Backfill:
        event = lambda payload: self.events.append(msgspec.json.decode(payload))  # noqa: E731
        return Backfill(source, self.pages.append, event, delay=delay, on_error=self.errors.append)


NONSENSE = [
    [],
    None,
    {},
    {"message": "no"},
    {"trades": []},
    {"trades": {"BTC/USD": None}},
    {"trades": {"BTC/USD": 7}},
    {"trades": {"BTC/USD": [None]}},
    {"trades": {"BTC/USD": [[]]}},
    {"trades": {"BTC/USD": [{"p": 1}]}},
    {"trades": {"BTC/USD": [{"t": 7}]}},
    {"trades": {"BTC/USD": [{"t": "yesterday"}]}},
    {"trades": {"BTC/USD": []}, "next_page_token": 7},
]


@pytest.mark.parametrize("nonsense", [(400, {"message": "down"}), *((200, body) for body in NONSENSE)])
def test_a_history_that_is_down_or_answers_nonsense_is_asked_again_until_it_is_up(monkeypatch, nonsense):
    """Outcome: the gap stays open, the reason is told, no nonsense is kept, and a later try fills it."""
    monkeypatch.setattr(backfill, "AGAIN", (NOW,))
    asked, kept = [], Kept()

    def answer(path, query):
        asked.append(query)
        return nonsense if len(asked) < 6 else (200, page(START + 1, START + 2 * MINUTE))

    with history(answer) as source:
        filling = kept.over(source)
        filling.submit([gap(0)])
        filling.start()
        await_that(lambda: filling.waiting == 0)
        filling.stop()
    assert len(kept.errors) == 5
    assert all("not fetched" in error for error in kept.errors)
    assert [msgspec.json.decode(payload)["body"] for payload in kept.pages] == [page(START + 1, START + 2 * MINUTE)]
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


def test_a_gap_that_cannot_be_filled_is_left_to_the_next_recorder_which_fills_it(tmp_path, monkeypatch):
    """Outcome: open in the ledger while the history is down, filled by the next recorder when it is up."""
    monkeypatch.setattr(backfill, "AGAIN", (timedelta(hours=2),))
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
        assert first.status().open_gaps == 1
        assert first.stop().open_gaps == 1
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


class Past:
    """A venue's history in memory: pages by symbol or by time, faults in turn, symbols that it does not know."""

    def __init__(self, rows: dict[str, list[int]], size: int, faults, gone, *, by_time: bool) -> None:
        self.rows, self.size, self.by_time = rows, size, by_time
        self.faults, self.gone = iter(faults), gone
        self.requests = 0

    def fetch_bodies(self, span, *, bucket):
        listed = [
            (symbol, row) for symbol in span.symbols for row in self.rows[symbol] if span.start <= row <= span.end
        ]
        listed.sort(key=(lambda row: row[1]) if self.by_time else None)
        for first in range(0, max(1, len(listed)), self.size):
            self.requests += 1
            assert self.requests < 500, "asked for ever"
            if self.gone & set(span.symbols):
                raise UnknownSymbolError(f"{span.symbols}: not known")
            fault = next(self.faults, None)
            if isinstance(fault, Exception):
                raise fault
            body: dict[str, list[dict[str, object]]] = {}
            for symbol, row in listed[first : first + self.size]:
                body.setdefault(symbol, []).append({"t": iso(row)})
            yield {span.kind: body, "next_page_token": None} if fault is None else fault


SYMBOLS = ("BTC/USD", "ETH/USD", "SOL/USD")
FAULTS = (
    VenueUnreachableError("no answer"),
    VenueError("HTTP 500"),
    RequestRefusedError("HTTP 422"),
    {"trades": {"ETH/USD": None}},
    [],
)


@given(
    rows=st.fixed_dictionaries({symbol: st.lists(st.integers(-4, 4), max_size=12).map(sorted) for symbol in SYMBOLS}),
    size=st.integers(1, 5),
    faults=st.lists(st.none() | st.sampled_from(FAULTS), max_size=12),
    gone=st.sets(st.sampled_from(SYMBOLS[1:])),
    by_time=st.booleans(),
)
def test_whatever_fails_all_is_fetched_without_going_back_and_a_bad_symbol_hinders_none(
    rows, size, faults, gone, by_time
):
    """Law: each good gap is filled once with the number of its rows, and what was reached is not asked for again."""
    rows = {symbol: [START + step * MINUTE // 2 for step in steps] for symbol, steps in rows.items()}
    gaps = [gap(0, symbol=symbol)._replace(id=number) for number, symbol in enumerate(SYMBOLS)]
    past, kept = Past(rows, size, faults, gone, by_time=by_time), Kept()
    filling = kept.over(past)

    def event(payload: bytes) -> None:
        kept.events.append(msgspec.json.decode(payload))
        if len(kept.events) == len(SYMBOLS) - len(gone):
            filling.stop()

    filling._event = event
    filling.submit(gaps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backfill, "AGAIN", (NOW,))
        filling._run()
    good = [gap for gap in gaps if gap.symbol not in gone]
    filled = {event["symbol"]: event["rows"] for event in kept.events if event["state"] == "filled"}
    assert filled == {gap.symbol: sum(gap.start <= row <= gap.end for row in rows[gap.symbol]) for gap in good}
    assert len(kept.events) == len(good)
    assert filling.waiting == len(gone)
    assert all(filling.is_open("trades", gap.symbol, gap.start) == (gap.symbol in gone) for gap in gaps)
    pages = [times("trades", msgspec.json.decode(payload)["body"]) for payload in kept.pages]
    for symbol in {gap.symbol for gap in good}:
        came = [time for stamps in pages for time in stamps.get(symbol, [])]
        assert came == sorted(came)
        assert set(came) == {row for row in rows[symbol] if START - 2 * MINUTE <= row <= START + 2 * MINUTE}


def test_a_span_of_many_pages_goes_on_at_the_time_that_it_had_reached(monkeypatch):
    monkeypatch.setattr(backfill, "AGAIN", (NOW,))
    asked, kept = [], Kept()

    def answer(path, query):
        asked.append(query["start"])
        begin = from_iso(query["start"])
        rows = [START + step * 10**9 for step in range(100) if START + step * 10**9 >= begin]
        first = int(query.get("page_token", "0"))
        if len(asked) in (4, 7):
            return 400, {"message": "broken"}
        more = str(first + 10) if first + 10 < len(rows) else None
        return 200, {**page(*rows[first : first + 10]), "next_page_token": more}

    with history(answer) as source:
        filling = kept.over(source)
        filling.submit([gap(0)])
        filling.start()
        await_that(lambda: filling.waiting == 0)
        filling.stop()
    assert [event["rows"] for event in kept.events] == [61]
    assert list(dict.fromkeys(asked)) == [iso(START - 2 * MINUTE), iso(START + 29 * 10**9), iso(START + 48 * 10**9)]
    assert sum(len(msgspec.json.decode(payload)["body"]["trades"]["BTC/USD"]) for payload in kept.pages) == 102


def test_a_symbol_that_the_venue_refuses_is_open_in_ledger_and_status_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(backfill, "AGAIN", (timedelta(hours=2),))
    store, pairs = Store(tmp_path / "store"), ["BTC/USD", "ETH/USD", "GONE/USD"]
    options = RecorderOptions(backfill_after=NOW, compact_every=None)

    def answer(path, query):
        known = "GONE/USD" not in query["symbols"]
        return (200, {"trades": {}, "next_page_token": None}) if known else (400, {"message": "invalid symbol"})

    with history(answer) as source:
        recorder = Recorder(store, pairs, source, channels=("trades",), options=options, clock=lambda: START + MINUTE)
        recorder.open()
        recorder._backfill.start()
        recorder._outage(START, START + MINUTE, "connection lost")
        await_that(lambda: recorder.status().open_gaps == 1 and recorder.status().errors)
        final = recorder.stop()
    assert final.open_gaps == 1
    assert [("GONE/USD" in error, "BTC/USD" in error) for error in final.errors] == [(True, False)]
    ledger = store.gaps()
    assert dict(ledger.select("symbol", "state").rows()) == {
        "BTC/USD": "filled",
        "ETH/USD": "filled",
        "GONE/USD": "open",
    }


def test_a_pause_that_the_venue_asks_for_does_not_hold_up_the_end():
    kept = Kept()
    with faulty_history(pl.DataFrame()) as server:
        server.faults = [(429, {"Retry-After": "100"}, "slow down")] * 5
        filling = kept.over(server.alpaca())
        filling.submit([gap(0)])
        filling.start()
        await_that(lambda: filling._bucket._closed_until > time.monotonic() + 50)
        began = time.monotonic()
        filling.stop()
        assert time.monotonic() - began < 2.0
        assert len(server.requests) == 1
    assert (filling.waiting, kept.events, kept.errors) == (1, [], [])


def test_an_end_between_two_pages_calls_nothing_filled():
    kept = Kept()
    filling = kept.over(Past({"BTC/USD": [START, START + 1]}, 1, (), set(), by_time=False))
    filling._page = lambda payload: (kept.pages.append(payload), filling.stop())
    filling.submit([gap(0)])
    filling._run()
    assert (len(kept.pages), kept.events, filling.waiting) == (1, [], 1)


JUNK = st.sampled_from([None, 7, 10**30, "", "x", [], {}, [None], True])
STAMPS = st.sampled_from([iso(START), "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"]) | JUNK
ROW = st.fixed_dictionaries({"t": STAMPS}, optional={"p": JUNK, "i": JUNK, "s": st.just(1.0), "T": JUNK}) | JUNK
LISTED = st.dictionaries(st.sampled_from(["BTC/USD", "ETH/USD", ""]), st.lists(ROW, max_size=2) | JUNK, max_size=2)


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from([*KINDS, "next_page_token"]), LISTED | JUNK, max_size=4) | JUNK,
)
def test_what_is_taken_for_a_page_can_be_read_back_row_by_row(kind, body):
    """Law: a page that the log is given spoils nothing for those who read the log."""
    try:
        found = times(kind, body)
    except ValueError:
        return
    assert {symbol: len(rows) for symbol, rows in found.items()} == {s: len(r) for s, r in (body[kind] or {}).items()}
    written = msgspec.json.encode({"kind": kind, "body": body})
    assert len(list(read_page(written))) == sum(map(len, found.values()))
