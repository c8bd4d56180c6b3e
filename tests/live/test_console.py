"""The console and the log: every decision and trade with its facts, and no key in any of it."""

import json
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.errors import VenueError
from cryptoquant.live.console import Console, content_of, line_of
from cryptoquant.live.courier import Courier
from cryptoquant.live.log_file import LogFile
from cryptoquant.live.note import Note
from cryptoquant.live.reading import Reading
from cryptoquant.live.redaction import Redaction
from cryptoquant.live.replay import replay
from cryptoquant.trading.risk import RiskLimits

KEY, SECRET = "PKLIVE12345", 'se"cr/et+99'


def note(**facts: object) -> Note:
    return Note(1_700_000_000_000_000_000, "warning", "trouble", "main", facts)


@given(st.text(), st.text(), st.sampled_from([KEY, SECRET]))
def test_no_key_passes_whatever_stands_around_it(before, behind, secret):
    redaction = Redaction([KEY, SECRET])
    facts = {"reason": before + secret + behind, "deep": [{"x": (secret, {secret: 1})}]}
    content = content_of(note(**facts), 0, redaction)
    for text in (json.dumps(content), json.dumps(content, ensure_ascii=False), line_of(content)):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text


def test_an_address_a_json_text_and_a_telling_name_hide_a_key_too():
    redaction = Redaction([KEY, SECRET, "", None, "abc"])
    assert redaction.text("abc at https://x/?k=se%22cr%2Fet%2B99 and " + json.dumps({"k": SECRET})) == (
        'abc at https://x/?k=*** and {"k": "***"}'
    )
    assert redaction.content({"api_secret": "other", "error": VenueError(f"403 for {KEY}")}) == {
        "api_secret": "***",
        "error": "403 for ***",
    }


def test_a_line_has_both_times_and_no_line_break():
    content = content_of(note(reason="two\nlines", price=43210.123456789, limit=None), 0, Redaction([]))
    assert content["time"] == "2023-11-14T22:13:20Z"
    assert content["wall"] == "1970-01-01T00:00:00Z"
    assert line_of(content) == (
        '00:00:00 [2023-11-14 22:13:20] warning main     trouble  reason="two lines" price=43210.12346'
    )


def test_the_console_tells_every_decision_and_trade_of_a_trader_as_its_journal_has_them(hire, tmp_path):
    log, lines = LogFile(tmp_path / "log" / "trader.jsonl"), list[str]()
    places = [(log.write, True), (lines.append, False)]
    trader = hire(reference="turning@7", limits=RiskLimits(max_weight=0.6, max_orders_per_minute=1))
    redaction = Redaction.of(trader.connection)
    consoles = [Console(write, redaction, as_json=as_json) for write, as_json in places]
    trader.listeners = tuple(consoles)
    trader.run(until=timedelta(hours=24))
    for console in consoles:
        console.close()
        assert console.courier.failed == console.courier.dropped == 0
    log.close()
    told = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert len(told) == len(lines)
    known = replay(trader.journal_path)
    by = {what: [one["facts"] for one in told if one["what"] == what] for what in {one["what"] for one in told}}
    assert by["started"] == [{"reference": "turning@7", "equity": known.start.cash}]
    assert by["stopped"][0]["state"] == "stopped"
    assert len(by["decided"]) == len(known.slices)
    assert [facts["order"] for facts in by["send"]] == [order.id for order in known.orders]
    assert [(facts["order"], facts["price"], facts["fee"]) for facts in by["fill"]] == [
        (fill.order_id, fill.price, fill.fee) for fill in known.fills
    ]
    assert {facts["order"] for facts in by["refused"]} == {one.order_id for one in known.refused}
    assert {facts["reason"] for facts in by["refused"]} == {one.reason for one in known.refused}
    venue = known.engine.venue
    sent = {facts["order"]: facts for facts in by["send"]}
    for facts, fill in zip(by["fill"], known.fills, strict=True):
        reference = sent[fill.order_id]["reference"]
        sign = 1 if fill.side == "buy" else -1
        assert facts["slippage_bps"] == pytest.approx((fill.price / reference - 1) * sign * 1e4)
        assert facts["quantity"] == float(venue.instrument(fill.symbol).quantity(fill.lots))
        assert 0 <= facts["latency_s"] < 3600
    signals = {(one.time, one.symbol): one.value for one in known.signals}
    first = by["decided"][0]
    assert first["signals"] == {s: signals[known.slices[0].time, s] for s in known.start.symbols}
    reading = Reading(trader.journal_path)
    reading.update()
    cost = sum(x["slippage_bps"] / 1e4 * sent[x["order"]]["reference"] * x["quantity"] for x in by["fill"])
    assert cost != 0.0
    assert reading.standings()[0].slippage == pytest.approx(cost)
    assert [facts["equity"] for facts in by["decided"]] == pytest.approx([row[1] for row in known.curve])
    everything = log.path.read_text() + "\n".join(lines)
    for secret in (trader.connection.api_key, trader.connection.api_secret):
        assert secret
        assert secret not in everything


def test_a_loss_limit_that_latches_is_told_as_a_halt(hire):
    heard: list[Note] = []
    trader = hire(limits=RiskLimits(max_drawdown=0.001), listeners=[heard.append])
    trader.run(until=timedelta(hours=48))
    (halted,) = [note for note in heard if note.what == "halted"]
    assert (halted.level, halted.profile) == ("error", "main")
    assert halted.facts["reason"] == trader.desk.engine.risk.halted == "drawdown reached 0.1%"


def test_a_log_begins_anew_when_it_is_large_and_keeps_the_youngest(tmp_path):
    log = LogFile(tmp_path / "a.log", largest=50, kept=2)
    lines = [f"line {number:04}" for number in range(40)]
    for line in lines:
        log.write(line)
    log.close()
    found = [tmp_path / name for name in ("a.log.2", "a.log.1", "a.log")]
    assert sorted(tmp_path.iterdir()) == sorted(found)
    assert all(path.stat().st_size <= 50 for path in found)
    kept = "".join(path.read_text() for path in found).splitlines()
    assert kept == lines[-len(kept) :]
    again = LogFile(tmp_path / "a.log", largest=10_000)
    again.write("more")
    again.close()
    assert (tmp_path / "a.log").read_text().splitlines()[-2:] == ["line 0039", "more"]


def test_a_courier_never_waits_and_drops_the_oldest():
    gate, got = threading.Event(), list[int]()

    def slow(number: int) -> None:
        assert gate.wait(20)
        got.append(number)
        if number == 98:
            raise OSError("the disk is full")

    courier = Courier(slow, "test", capacity=3)
    for number in range(100):
        courier.put(number)
    gate.set()
    courier.close()
    assert got[-3:] == [97, 98, 99]
    assert courier.dropped + len(got) == 100
    assert (courier.failed, courier.delivered) == (1, len(got) - 1)


def test_a_journal_read_as_it_grows_says_the_same_as_one_read_whole(hire):
    trader = hire()
    trader.run(until=timedelta(hours=1))
    growing, rows = Reading(trader.journal_path), 0
    for _ in range(3):
        rows += growing.update()
        again = hire()
        again.run(until=timedelta(hours=5))
    rows += growing.update()
    whole = Reading(trader.journal_path)
    assert whole.update() == rows == whole.seq
    assert growing.standings() == whole.standings()
    assert growing.trades == whole.trades
    assert growing.notes == whole.notes
    assert growing.update() == 0
    (one,) = growing.standings("main")
    own = again.status().profiles["main"]
    for name in ("equity", "cash", "positions", "fees", "profit", "slices", "orders", "fills", "refused", "in_flight"):
        assert getattr(one, name) == getattr(own, name), name
    with pytest.raises(ValueError, match=r"no profile 'other'.*there are main"):
        growing.standings("other")
    assert growing.writer is None


def test_settings_of_this_process_are_secrets_too(monkeypatch):
    from cryptoquant.settings import settings

    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    monkeypatch.setenv("CQ_NOTIFY_SECRET", "bearer-1234")
    monkeypatch.setenv("CQ_NOTIFY_WEBHOOK", "https://hooks.example/T0/B0/xyz")
    settings.cache_clear()
    try:
        redaction = Redaction.of(SimpleNamespace(api_key=KEY, api_secret="conn-secret"))
    finally:
        settings.cache_clear()
    said = redaction.text(f"{SECRET} bearer-1234 https://hooks.example/T0/B0/xyz {KEY} conn-secret")
    assert said == "*** *** *** *** ***"


def test_nothing_is_bought_after_the_end_was_asked_for_and_only_the_operators_pause_outlives_it(hire):
    heard: list[Note] = []
    trader = hire(listeners=[heard.append])
    trader.open()
    trader.inbox.ask("stop")
    trader.run(until=timedelta(hours=24))
    assert trader.desk.engine.risk.paused.startswith("asked to stop")
    again = hire(listeners=[heard.append])
    again.open()
    assert again.desk.engine.risk.paused == ""
    again.inbox.ask("pause", "main", reason="lunch")
    again.inbox.ask("stop")
    again.run(until=timedelta(hours=24))
    last = hire()
    last.start()
    try:
        assert last.desk.engine.risk.paused
    finally:
        last.stop()
    assert replay(trader.journal_path).is_equal
