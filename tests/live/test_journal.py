"""The journal: append-only, written before acting, readable after any cut."""

import contextlib
import fcntl
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cryptoquant.errors import JournalError
from cryptoquant.live.journal import STRUCTS, Entry, Journal, decode, encode, encode_signals, read_journal, writer_of
from cryptoquant.live.reading import Reading
from cryptoquant.live.replay import replay
from cryptoquant.live.start import Start
from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.engine import Command, Timer
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Rejection
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs, Venue, increments

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text("abcXYZ/-0", min_size=1, max_size=8)
times = st.integers(0, 2**62)
facts = st.one_of(
    st.builds(
        Order, words, words, words, st.sampled_from(["buy", "sell"]), numbers, times, limit_price=st.none() | numbers
    ),
    st.builds(Fill, words, words, words, words, st.just("buy"), numbers, numbers, times, numbers, numbers, numbers),
    st.builds(Rejection, words, words, words, st.just("sell"), numbers, times, words),
    st.builds(Cancellation, words, words, words, times),
    st.builds(Adjustment, words, words, words, numbers, numbers, times, words),
    st.builds(Command, words, st.sampled_from(["halt", "resume"]), times, words),
    st.builds(Cancel, words, words, words, times),
    st.builds(Price, words, times, times, numbers, numbers, numbers, numbers),
    st.builds(Timer, times),
)
signals = st.lists(
    st.builds(Signal, words, words, times, times, st.just("score"), numbers, times), min_size=1, max_size=4
)


@given(facts)
def test_a_fact_reads_back_as_it_was_written(fact):
    kind, scope, _, time_, body = encode(fact, "all")
    assert decode(kind, body) == fact
    assert time_ == fact.time
    assert scope == getattr(fact, "profile", "all")


@given(
    st.sampled_from([math.nan, math.inf, -math.inf]), st.sampled_from(["lots", "limit_price", "stop_price", "trail"])
)
def test_an_order_without_a_number_for_its_size_or_price_cannot_be_journalled(value, name):
    order = Order("o", "main", "A/USD", "buy", **{"lots": 1.0, "time": 1, name: value})
    with pytest.raises(JournalError, match=f"order o: found {name}={value}"):
        encode(order)


@given(signals)
def test_the_signals_of_a_slice_are_one_row_and_read_back(given_signals):
    kind, scope, identity, time_, body = encode_signals(given_signals, "main")
    assert Entry(1, kind, scope, identity, time_, body).signals() == given_signals


@given(st.lists(st.floats(allow_infinity=False), min_size=2 * len(FIELDS), max_size=2 * len(FIELDS)))
def test_a_slice_reads_back_to_the_bit_with_its_absentees(values):
    market = Slice(5, 6, ("A/USD", "B/USD"), np.array(values).reshape(2, len(FIELDS)))
    kind, _, _, _, body = encode(market)
    again = decode(kind, body)
    assert np.array_equal(again.values, market.values, equal_nan=True)
    assert (again.time, again.known, again.symbols) == (5, 6, market.symbols)


def test_a_fact_is_kept_once_and_in_order(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    commands = [Command(str(number), "halt", number) for number in range(5)]
    assert journal.append(commands) == 5
    assert journal.append([commands[2], Command("x", "resume", 9)], durable=True) == 1
    assert [entry.fact().id for entry in journal.entries()] == ["0", "1", "2", "3", "4", "x"]
    assert [entry.seq for entry in journal.entries(after=4)] == [5, 6]
    journal.close()
    assert len(read_journal(tmp_path / "j.sqlite")) == 6


def test_a_second_writer_is_refused_and_the_first_one_is_named(tmp_path):
    path = tmp_path / "j.sqlite"
    assert writer_of(path) is None
    journal = Journal(path)
    assert writer_of(path) == os.getpid()
    with pytest.raises(JournalError, match="another trader"):
        Journal(path)
    journal.close()
    assert writer_of(path) is None
    Journal(path).close()


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all, but long enough to be read as one" * 20)
    with pytest.raises(JournalError, match="not a journal"):
        Journal(tmp_path / "text")
    with pytest.raises(JournalError, match="not a journal"):
        read_journal(tmp_path / "text")
    with pytest.raises(JournalError, match="no journal at"):
        read_journal(tmp_path / "absent")
    other = sqlite3.connect(tmp_path / "newer")
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(JournalError, match="format 99"):
        Journal(tmp_path / "newer")


bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"{}", b"[]", b"null", b"7", b'{"time":1}', b"[[", b'[{"symbol":1}]', "{}", "x", 5, None]),
)


@given(st.sampled_from(["slice", "signals", "profile", *STRUCTS]), bodies)
@example("slice", b'{"time":1,"known":1,"symbols":["A/USD"],"values":[[1.0]]}')
@example("slice", b'{"time":"soon","known":1,"symbols":["A/USD"],"values":[[1,1,1,1,1]]}')
def test_a_damaged_row_is_named_by_its_place_and_never_raises_anything_else(kind, body):
    entry = Entry(7, kind, "main", f"{kind}:1", 1, body, "j.sqlite")
    read = {"signals": entry.signals, "profile": entry.content}.get(kind, entry.fact)
    said = ""
    try:
        read()
    except JournalError as error:
        said = str(error)
    is_named = said.startswith(f"j.sqlite: row 7 ({kind} {kind}:1) is damaged: found ") and ", wanted " in said
    assert is_named or (not said and kind in ("profile", "signals", "timer"))  # of the others, none of these is a body


def damaged(path, statement):
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        insert = "INSERT INTO facts (kind, scope, id, time, body) VALUES (?, ?, ?, ?, ?)"
        raw.execute(insert, encode(Command("a", "halt", 1), "main"))
        raw.execute(statement)
    return path


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DROP TABLE facts", "no such table"),
        ("UPDATE facts SET kind = x'ff00'", r"row 1 .* is damaged: found .*, wanted texts"),
        ("UPDATE facts SET time = 'soon'", r"row 1 \(command command:a\) is damaged: found .*, wanted texts"),
        ("UPDATE facts SET id = CAST(x'ff00' AS TEXT)", "UTF-8"),
    ],
)
def test_a_damaged_file_is_an_error_of_the_journal_for_who_writes_and_who_reads_it(tmp_path, statement, text):
    path = damaged(tmp_path / "j.sqlite", statement)
    with pytest.raises(JournalError, match=text):
        read_journal(path)
    if "DROP" in statement:
        return  # who writes makes the table anew
    with contextlib.closing(Journal(path)) as journal, pytest.raises(JournalError, match=text):
        journal.entries()


def test_pages_that_rotted_are_an_error_of_the_journal_for_who_opens_it(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal.append([Command(str(number), "halt", 1, "x" * 500) for number in range(100)])
    journal.close()
    content = bytearray(path.read_bytes())
    content[8_192::97] = bytes(byte ^ 0x5A for byte in content[8_192::97])
    path.write_bytes(content)
    with pytest.raises(JournalError), contextlib.closing(Journal(path)) as journal:
        journal.entries()


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        (
            Order("o", "two", "A/USD", "buy", 1.0, 1),
            "found profile 'two', wanted one that was set up before, which are main",
        ),
        (Order("o", "main", "B/USD", "buy", 1.0, 1), "B/USD is not of A/USD"),
        (Fill("e", "o", "two", "A/USD", "buy", 1.0, 1.0, 1, 1.0, 1.0, 1.0), "found profile 'two'"),
        (Fill("e", "o", "main", "A/USD", "buy", 1.0, 1.0, 1, 1.0, 1.0, 1.0), "'?o'?"),
    ],
)
def test_what_no_row_before_has_told_of_is_damage_for_who_watches(tmp_path, fact, text):
    venue = Venue.alpaca(Costs.alpaca(2, 1.5), [increments("A/USD", "0.0001", "0.01", "0.001")])
    start = Start(
        "a@champion", "main", "1h", LongFlat(0.6), venue, Execution(0.1, 0.2), RiskLimits(), ("A/USD",), 1234.5, 7, ()
    )  # fmt: skip
    journal = Journal(tmp_path / "j.sqlite")
    journal.note("profile", "profile:main", 7, {"action": "add", **start.to_dict()}, "main")
    journal.append([fact])
    journal.close()
    with pytest.raises(JournalError, match=text):
        Reading(tmp_path / "j.sqlite").update()


def test_who_only_looks_whether_a_journal_is_written_does_not_keep_a_trader_from_it(tmp_path):
    path = tmp_path / "j.sqlite"
    Journal(path).close()
    with path.with_name("j.sqlite.lock").open("r+") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (look, fcntl.LOCK_UN)).start()
        Journal(path).close()


def test_a_write_that_fails_leaves_the_journal_as_it_was(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.append([Command("a", "halt", 1)])
    journal._db.execute("PRAGMA max_page_count=4")
    with pytest.raises(JournalError, match="cannot write"):
        journal.append([Command(str(number), "halt", 1, "x" * 5_000) for number in range(50)])
    assert [entry.fact().id for entry in journal.entries()] == ["a"]
    journal.close()


WRITER = """
import sys
from cryptoquant.live.journal import STRUCTS, Entry, Journal, decode, encode, encode_signals, read_journal, writer_of
from cryptoquant.trading.engine import Command, Timer
journal = Journal(sys.argv[1])
number = len(journal.entries())
while True:
    journal.append([Command(str(number), "halt", number)], durable=True)
    print(number, flush=True)
    number += 1
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    path = tmp_path / "j.sqlite"
    acknowledged = -1
    for delay in (0.05, 0.2, 0.35):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read().split()
        acknowledged = max([acknowledged, *(int(word) for word in said)])
        ids = [int(entry.fact().id) for entry in read_journal(path)]
        assert ids == list(range(len(ids)))
        assert len(ids) > acknowledged
    assert acknowledged > 5


def test_a_start_reads_back_as_it_was():
    venue = Venue.alpaca(Costs.alpaca(2, 1.5), [increments("A/USD", "0.0001", "0.01", "0.001")])
    values = np.full((1, len(FIELDS)), math.nan)
    start = Start(
        "a@champion", "main", "1h", LongFlat(0.6), venue, Execution(0.1, 0.2), RiskLimits(max_weight=0.3), ("A/USD",),
        1234.5, 7, (Slice(1, 2, ("A/USD",), values),),
    )  # fmt: skip
    again = Start.from_dict(start.to_dict())
    assert (again.strategy, again.venue, again.execution, again.limits) == (
        start.strategy,
        venue,
        start.execution,
        start.limits,
    )
    assert np.isnan(again.warm[0].values).all()


def test_a_journal_without_a_start_cannot_be_replayed(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.append([Command("a", "halt", 1)])
    journal.close()
    with pytest.raises(JournalError, match="no profile"):
        replay(tmp_path / "j.sqlite")


def test_what_was_written_goes_into_the_file_proper_at_rest_and_not_in_a_write(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    empty = (tmp_path / "j.sqlite").stat().st_size
    for number in range(4):
        journal.append([Command(f"{number}-{one}", "halt", one) for one in range(400)], durable=True)
    assert (tmp_path / "j.sqlite").stat().st_size == empty
    head = (tmp_path / "j.sqlite-wal").read_bytes()[:32]
    journal.rest()
    assert (tmp_path / "j.sqlite-wal").read_bytes()[:32] != head  # begun anew, so that no write has to
    shutil.copy(tmp_path / "j.sqlite", tmp_path / "alone.sqlite")  # without the log beside it
    assert len(read_journal(tmp_path / "alone.sqlite")) == 1_600
    size = (tmp_path / "j.sqlite-wal").stat().st_size
    journal.append([Command("next", "halt", 1)], durable=True)
    assert (tmp_path / "j.sqlite-wal").stat().st_size == size
    assert len(journal.entries()) == 1_601
    journal.close()


def test_a_rest_after_little_changes_nothing(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.rest()
    before = (tmp_path / "j.sqlite").read_bytes()
    journal.append([Command("one", "halt", 1)])
    journal.rest()
    assert (tmp_path / "j.sqlite").read_bytes() == before
    journal.close()
