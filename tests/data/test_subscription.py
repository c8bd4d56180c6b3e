"""Live consumers: what comes over the stream, each message once and in order, whatever is fetched in between."""

import tempfile
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.events import events
from cryptoquant.data.log import Log
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.subscription import Follower, Subscription
from cryptoquant.market.time import iso
from tests.data.stream import MINUTE, START, frame, quote, trade

FRAME, PAGE, EVENT = RecordKind
RECEIVED = START + MINUTE


def page(*numbers: int) -> bytes:
    rows = [{"t": iso(START + number), "p": 1.0, "s": 1.0, "i": 2**60 + number, "tks": "B"} for number in numbers]
    body = {"trades": {"BTC/USD": rows}, "next_page_token": None}
    return msgspec.json.encode({"kind": "trades", "body": body})


def log_of(kinds: list[RecordKind]) -> list[Record]:
    """Return frames of rising trades and a quote, pages that repeat what came before, and news of gaps."""
    payload = {
        FRAME: lambda number: frame(trade(2 * number), quote(number), trade(2 * number + 1)),
        PAGE: lambda number: page(*range(2 * number)),
        EVENT: lambda number: b'{"event": "gap"}',
    }
    return [Record(n + 1, RECEIVED + n, 1, kind, payload[kind](n)) for n, kind in enumerate(kinds)]


@given(st.lists(st.sampled_from(list(RecordKind)), max_size=30), st.data())
def test_a_subscription_gives_the_messages_of_the_frames_once_and_in_order(kinds, data):
    records = log_of(kinds)
    live, past = Subscription(), Subscription(history=True)
    heard, fetched = [], []
    for record in records:
        live.push(record)
        past.push(record)
        if data.draw(st.booleans()):
            heard += live.next(0.0)
            fetched += past.next(0.0)
    heard += live.next(0.0)
    fetched += past.next(0.0)
    assert heard == events([record for record in records if record.kind == FRAME])
    assert len(heard) == 3 * kinds.count(FRAME)
    assert [event.known for event in heard] == [r.received for r in records if r.kind == FRAME for _ in range(3)]
    assert fetched == events(records, history=True)
    assert len(fetched) == len(heard) + sum(2 * n for n, kind in enumerate(kinds) if kind == PAGE)


@given(st.lists(st.sampled_from(list(RecordKind)), max_size=15))
def test_a_follower_gives_the_messages_of_the_frames_once_and_in_order(kinds):
    records = log_of(kinds)
    with tempfile.TemporaryDirectory() as folder:
        log = Log(LocalDisk(Path(folder)), epoch=1, threaded=False)
        with Follower(Path(folder)) as live, Follower(Path(folder), history=True) as past:
            heard, fetched = [], []
            for record in records:
                log.append(record.received, record.connection, record.kind, record.payload)
                log.commit()
                heard += live.next(0.0)
                fetched += past.next(0.0)
            assert (live.last, live.missed) == (len(records), 0)
        log.close()
    assert heard == events([record for record in records if record.kind == FRAME])
    assert len(heard) == 3 * kinds.count(FRAME)
    assert fetched == events(records, history=True)


def test_pages_push_no_frame_out_of_a_subscription():
    numbers = count(1)
    live = Subscription(limit_bytes=2_000)
    live.push(Record(next(numbers), RECEIVED, 1, FRAME, frame(trade(0))))
    for _ in range(20):
        live.push(Record(next(numbers), RECEIVED, 1, PAGE, page(*range(50))))
    assert [event.id for event in live.next(0.0)] == [2**60]
    assert live.dropped == 0


@pytest.mark.parametrize("body", [{"trades": {"BTC/USD": None}}, [], {"trades": 3}])
def test_a_page_that_is_none_harms_no_live_consumer(body):
    spoilt = Record(1, RECEIVED, 1, PAGE, msgspec.json.encode({"kind": "trades", "body": body}))
    assert len(events([spoilt, Record(2, RECEIVED, 1, FRAME, frame(trade(1)))])) == 1
