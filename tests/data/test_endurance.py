"""What would end, blind or slow a recorder that runs for months: each test says its outcome in a sentence."""

import time
from datetime import timedelta

import msgspec
import pytest

from cryptoquant.data import decode as decoding
from cryptoquant.data import supervisor
from cryptoquant.data.alpaca import _load_sdk
from cryptoquant.data.publisher import Publisher
from cryptoquant.data.receiver import Receiver
from cryptoquant.data.recorder import Recorder, record
from cryptoquant.data.recorder_status import LONGEST_LIST, RecorderOptions
from cryptoquant.errors import CryptoquantError, StoreError, VenueUnreachableError
from cryptoquant.market.time import iso
from tests.data.stream import MINUTE, START, bar, book, frame, history, quote, trade, venue
from tests.data.test_recorder import await_that, ids, nowhere, ticking

QUICK = RecorderOptions(flush_every=timedelta(seconds=0.1), compact_every=None, backfill=False)
DEEP = b"\x91" * 3_000 + b"\x90"


def page(body: object, kind: str = "trades") -> bytes:
    return msgspec.json.encode({"kind": kind, "body": body})


POISON = {
    "a page whose rows are null": ("_page", page({"trades": {"BTC/USD": None}})),
    "a page whose rows are a number": ("_page", page({"trades": {"BTC/USD": 3}})),
    "a page whose symbols are a list": ("_page", page({"trades": ["BTC/USD"]})),
    "a page that is a list": ("_page", page([1, 2])),
    "a page with a row that is none": ("_page", page({"trades": {"BTC/USD": [None]}})),
    "a page that is no JSON": ("_page", b"\xff\xfe"),
    "a page without a kind": ("_page", b"{}"),
    "a frame nested three thousand deep": ("take", DEEP),
    "a field nested three thousand deep": ("take", frame(trade(5)).replace(b"\xa1s", b"\xa1z" + DEEP + b"\xa1s", 1)),
    "a frame of a hundred thousand nothings": ("take", b"\xdd" + (100_000).to_bytes(4, "big") + b"\xc0" * 100_000),
    "an event that is no JSON": ("_event", b"{"),
    "an event without its facts": ("_event", b'{"event": "gap"}'),
    "an event that is a list": ("_event", b"[]"),
}


@pytest.mark.parametrize("name", POISON)
def test_a_record_that_nobody_can_read_waits_in_quarantine_and_stops_nothing(store, name):
    """Outcome: one row of the quarantine; what came before and after is read from the log and from the files."""
    way, payload = POISON[name]
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    recorder.take(frame(trade(1)))
    getattr(recorder, way)(payload)
    recorder.take(frame(trade(2)))
    recorder._receiver.log.wait(recorder._receiver.log.sequence)
    for _ in range(2):
        assert ids(store) == [1, 2]
        assert store.quarantine().height == 1
        assert store.gaps().height == 0
        recorder.flush()
    assert recorder.stop().rejected == 1


def test_a_record_that_fails_for_a_reason_that_nobody_foresaw_is_kept_whole(store, monkeypatch):
    """Outcome: exactly that record is set aside with its bytes; the others of the same chunk are stored."""
    as_it_is = decoding._Batch

    def breaks(records):
        if any(b"XYZ/USD" in record.payload for record in records):
            raise LookupError("no such thing")
        return as_it_is(records)

    monkeypatch.setattr(decoding, "_Batch", breaks)
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    for number in range(50):
        recorder.take(frame(trade(number, "XYZ/USD" if number == 23 else "BTC/USD")))
    recorder.stop()
    assert ids(store) == [number for number in range(50) if number != 23]
    row = store.quarantine().row(0, named=True)
    assert row["reason"] == "the record cannot be read: LookupError('no such thing')"
    assert row["message"] == frame(trade(23, "XYZ/USD")).hex()
    assert row["position"] == 24 << 20


def test_a_chunk_whose_decoding_fails_is_decoded_again_and_not_passed_over(store, monkeypatch):
    """Outcome: after an error that passes, the same records come again."""
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    recorder.take(frame(trade(1)))
    with monkeypatch.context() as patch:
        patch.setattr("cryptoquant.data.publisher.decode", lambda records: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            recorder.flush()
    recorder.take(frame(trade(2)))
    recorder.stop()
    assert ids(store) == [1, 2]


def test_a_connection_that_gave_data_is_followed_at_once_by_the_next(store, monkeypatch):
    """Outcome: each pause is that of a first attempt, however often the venue hangs up."""
    _load_sdk()
    attempts = []

    def delay(self, retries):
        attempts.append(retries)
        return 0.01

    monkeypatch.setattr("alpaca.data.live.websocket.DataStream._reconnect_delay", delay)

    def script(connection, asked):
        yield "echo"
        yield frame(trade(connection), quote(connection))

    with venue(script) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), options=QUICK).start()
        await_that(lambda: recorder.status().received >= 12)
        recorder.stop()
    assert len(attempts) >= 5
    assert set(attempts) == {1}


def test_an_outage_that_lasts_over_a_restart_begins_with_the_last_data(store):
    """Outcome: what the venue says of itself, pages and the ledger are no sign that the stream was heard."""
    clock = ticking()
    first = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=clock)
    first.take(frame(trade(1)))
    heard = first.status().last_known
    first.flush()
    for _ in range(3):
        first.take(frame({"T": "success", "msg": "connected"}))
        first.take(frame({"T": "error", "code": 406, "msg": "connection limit exceeded"}))
        first._page(page({"trades": {}}))
        first.flush()
    first.stop()
    assert store.received == heard
    second = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=clock)
    second.open()
    assert second._receiver.missing_since == heard
    second.take(frame({"T": "error", "code": 406, "msg": "connection limit exceeded"}))
    second.stop()
    third = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=clock)
    third.open()
    third.take(frame({"T": "subscription", "trades": ["BTC/USD"]}))
    third.stop()
    gap = store.gaps().row(0, named=True)
    assert gap["cause"] == "recorder was not running"
    assert store.gaps()["time"].to_physical().item() <= heard


class Watched:
    """A recorder of a market in which time is told, with a history that is told too."""

    def __init__(self, store, source, channels) -> None:
        self.now = START
        self.recorder = Recorder(
            store, ["BTC/USD", "ETH/USD"], source, channels=channels, options=QUICK, clock=self.clock
        )
        self.recorder.open()
        self.cut = []
        self.recorder._receiver.reconnect = lambda cause, since=None: self.cut.append((self.now, cause, since))
        confirmed = {channel: ["BTC/USD", "ETH/USD"] for channel in channels}
        self.recorder.take(frame({"T": "subscription", **confirmed}))

    def clock(self) -> int:
        self.now += 1
        return self.now

    def say(self, *messages) -> None:
        self.recorder.take(frame(*messages))
        self.recorder.flush()

    def check(self) -> None:
        self.recorder._supervisor._check_silence(self.now)


def latest(newest: dict[str, int], name: str):
    return lambda path, query: (
        (200, {name: {symbol: {"t": iso(at)} for symbol, at in newest.items() if symbol in query["symbols"]}})
        if path.endswith(f"latest/{name}")
        else (404, {"message": "no such thing"})
    )


def test_the_gap_of_a_muted_channel_begins_where_it_fell_silent(store):
    """Outcome: though others spoke all the time, what is fetched begins with the silence of the one that did not."""
    newest = {"BTC/USD": START + 30 * MINUTE}
    with history(latest(newest, "trades")) as source:
        there = Watched(store, source, ("trades",))
        for number in range(1, 4):
            there.now = START + number * 30 * 10**9
            there.say(trade(number, "BTC/USD"), trade(number, "ETH/USD"))
        fell = there.now
        while not there.cut and there.now < START + 30 * MINUTE:
            there.now += 30 * 10**9
            there.say(trade(there.now % 1_000, "ETH/USD"))
            there.check()
        there.recorder.stop()
    ((at, cause, since),) = there.cut
    assert at - fell > MINUTE
    assert "trades of BTC/USD silent" in cause
    assert abs(since - fell) < 10


@pytest.mark.parametrize("has_news", [True, False])
def test_a_dead_channel_of_books_is_noticed_by_the_newest_book(store, has_news):
    newest = {"BTC/USD": START + (9 * MINUTE if has_news else 0)}
    with history(latest(newest, "orderbooks")) as source:
        there = Watched(store, source, ("orderbooks",))
        there.recorder._supervisor._watchdog.heard(("books", "BTC/USD"), START + 5, 3)
        there.now = START + 10 * MINUTE
        there.check()
        there.recorder.stop()
    assert bool(there.cut) is has_news


def test_a_halted_pair_costs_the_others_nothing_and_is_asked_for_ever_more_rarely(store):
    """Outcome: no bar comes and the venue has none either: the connection stays, and the question doubles its pause."""
    asked = []
    answer = latest(dict.fromkeys(("BTC/USD", "ETH/USD"), START - 9 * MINUTE), "bars")

    def count(path, query):
        asked.append(path)
        return answer(path, query)

    with history(count) as source:
        there = Watched(store, source, ("bars", "dailyBars"))
        for minute in range(1, 121):
            there.now = START + minute * MINUTE
            there.say(bar(minute - 1, "ETH/USD"), bar(minute - 1, "ETH/USD", T="d"))
            there.check()
        there.recorder.stop()
    assert there.cut == []
    assert 4 <= len(asked) <= 7


def test_days_are_missed_when_the_minutes_of_their_symbol_come(store):
    with history(latest({}, "bars")) as source:
        there = Watched(store, source, ("bars", "dailyBars"))
        for minute in range(1, 5):
            there.now = START + minute * MINUTE
            there.say(*(bar(minute - 1, symbol) for symbol in ("BTC/USD", "ETH/USD")))
            there.check()
        there.recorder.stop()
    assert "daily_bars of BTC/USD and 1 more silent" in there.cut[0][1]


def test_a_subscription_that_is_never_confirmed_is_tried_anew_and_then_given_up(store, monkeypatch):
    """Outcome: a new connection after half a minute; five of them end the recording with the venue's last word."""
    monkeypatch.setattr(supervisor, "CONFIRMED_SECONDS", 0.1)
    monkeypatch.setattr("cryptoquant.data.recorder.CHECK_SECONDS", 0.05)

    def script(connection, asked):
        yield frame({"T": "error", "code": 405, "msg": "symbol limit exceeded"})
        yield "hold"

    with venue(script) as there, pytest.raises(VenueUnreachableError, match=r"no subscription was confirmed in 5"):
        record(store, "BTC/USD", there.alpaca(), until=timedelta(seconds=20), options=QUICK)
    assert there.connections in (5, 6)


def test_a_start_after_one_that_failed_records(store, monkeypatch):
    """Outcome: what could not be opened is let go of, and the next start takes everything anew."""
    monkeypatch.setattr(
        "cryptoquant.data.recorder.Publisher.drain", lambda self: (_ for _ in ()).throw(StoreError("no"))
    )
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    with pytest.raises(StoreError, match="no"):
        recorder.start()
    monkeypatch.undo()
    recorder.take(frame(trade(1)))
    recorder.stop()
    assert ids(store) == [1]


def test_a_frame_that_comes_without_a_log_is_counted_as_dropped(store):
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    recorder._receiver.take(frame(trade(1)))
    assert recorder.status().dropped == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("place", [(Receiver, "_stream"), (Publisher, "decode"), (supervisor.Supervisor, "check")])
def test_a_thread_that_dies_ends_the_recording_with_its_reason(store, monkeypatch, place):
    """Outcome: `run` raises, so that whoever supervises the process starts it again."""

    def dies(self, *_):
        raise AttributeError("a fault of our own")

    monkeypatch.setattr(*place, dies)
    monkeypatch.setattr("cryptoquant.data.recorder.CHECK_SECONDS", 0.05)
    begun = time.monotonic()
    with venue(lambda connection, asked: iter(["echo", "hold"])) as there:
        recorder = Recorder(store, "BTC/USD", there.alpaca(), options=QUICK)
        with pytest.raises(CryptoquantError, match="a fault of our own"):
            recorder.run(timedelta(seconds=30))
    assert time.monotonic() - begun < 20
    assert "a fault of our own" in recorder.status().errors[-1]


def test_of_many_troubles_the_last_are_listed_and_all_are_counted_and_logged(store, caplog):
    recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
    for number in range(1_500):
        recorder._receiver.say(f"trouble {number}")
    status = recorder.status()
    assert (status.error_count, len(status.errors)) == (1_500, LONGEST_LIST)
    assert status.errors[-1].endswith("trouble 1499")
    assert caplog.records[0].name == "cryptoquant.recorder"
    assert len(caplog.records) == 1_500


def test_a_subscription_without_data_is_where_the_next_outage_begins(store):
    """Outcome: a recorder that was stopped before the first message leaves no span unlisted."""
    clock = ticking()
    first = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=clock)
    first.open()
    first.take(frame({"T": "subscription", "trades": ["BTC/USD"]}))
    heard = first.status().last_known
    first.stop()
    second = Recorder(store, "BTC/USD", nowhere(), channels=("trades",), options=QUICK, clock=clock)
    second.take(frame({"T": "subscription", "trades": ["BTC/USD"]}))
    second.stop()
    assert store.gaps()["time"].to_physical().to_list() == [heard]


def test_connections_of_two_recorders_differ(store):
    for _ in range(2):
        recorder = Recorder(store, "BTC/USD", nowhere(), options=QUICK, clock=ticking())
        recorder.open()
        recorder._receiver.opened(lambda: None)
        recorder.take(frame(book(1)))
        recorder.stop()
    assert store.scan("books")["connection"].n_unique() == 2
