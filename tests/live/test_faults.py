"""What the trader does about everything that the sandbox can do to it, and about what no venue does."""

import dataclasses
import json
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import FAULT_KINDS, Fault
from cryptoquant.data import recorder, supervisor
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.store import Store
from cryptoquant.errors import DataError, HaltedError, StoreError, UnknownSymbolError
from cryptoquant.live import shift
from cryptoquant.live.journal import read_journal
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.live.watch import Patience
from tests.live.fault_proofs import (
    Proof,
    books_part_and_end,
    books_the_correction,
    comes_to,
    connects_again,
    decides_anew,
    fetches,
    hears_late,
    hears_twice,
    is_whole,
    keeps_first_prices,
    keeps_the_book,
    leaves_alone,
    let_in_again,
    looks_up,
    passes_over,
    sends_nothing_more,
    told_after,
    waits,
    waits_for_the_end,
)
from tests.live.fault_witness import Witness
from tests.sandbox.clients import until

HOURS, FEW_HOURS = 14, 4
UNCHANGED, BALANCED, HALTED = "trades as if nothing had happened", "books equal to the venue's", "halted"
LET_IN = "asks to be let in again"
OUTCOMES: dict[str, tuple[str, str, tuple[Proof, ...]]] = {
    "data.drop": (
        BALANCED,
        "connects again, fetches the gap; a slice that comes too late is passed over",
        (connects_again("data"), fetches),
    ),
    "data.mute": (BALANCED, "fetches the gap; a slice that comes too late is passed over", (fetches, passes_over)),
    "data.half_open": (BALANCED, "fetches slice by slice, and passes over what comes too late", (fetches,)),
    "data.slow_client": (BALANCED, "connects again and fetches the gap", (connects_again("data"), fetches)),
    "data.limit": (UNCHANGED, LET_IN, (let_in_again("data"),)),
    "data.refuse": (UNCHANGED, LET_IN, (let_in_again("data"),)),
    "data.duplicate": (UNCHANGED, "takes the first", (hears_twice,)),
    "data.reorder": (UNCHANGED, "fetches what is missing, and takes what comes later for known", (fetches, hears_late)),
    "data.late": (UNCHANGED, "fetches what is missing, and takes what comes later for known", (fetches, hears_late)),
    "data.corrupt": (UNCHANGED, "fetches the gap", (fetches,)),
    "data.no_reset": (UNCHANGED, "trades on bars; the recorder keeps the book as it came", (keeps_the_book,)),
    "data.correction": (
        UNCHANGED,
        "trades on bars; the store keeps the first price, as the history",
        (keeps_first_prices,),
    ),
    "data.wrong_bar": (UNCHANGED, "takes the first bar of a minute, as the history keeps it", (hears_twice,)),
    "trading.drop": (
        BALANCED,
        "connects again and looks the orders up",
        (connects_again("trading"), looks_up),
    ),
    "trading.mute": (BALANCED, "looks the orders up", (looks_up,)),
    "trading.half_open": (BALANCED, "looks the orders up", (looks_up,)),
    "trading.refuse": (UNCHANGED, LET_IN, (let_in_again("trading"),)),
    "trading.duplicate": (UNCHANGED, "books a fill once", (told_after("fill", "fill"),)),
    "trading.reorder": (
        UNCHANGED,
        "books what is told, in the order of cumulative quantity",
        (told_after("fill", "partial_fill"),),
    ),
    "trading.late": (BALANCED, "looks the orders up", (looks_up, told_after("fill"))),
    "trading.lose": (BALANCED, "looks the orders up", (looks_up,)),
    "http.rate_limit": (
        UNCHANGED,
        "waits as long as it is told, and asks again",
        (comes_to("POST 429", "POST 200"), waits(1.0)),
    ),
    "http.error": (
        UNCHANGED,
        "looks up by its id, and sends an order that the venue does not know once more",
        (comes_to("POST 503", "GET 404", "POST 200"),),
    ),
    "http.accepted": (UNCHANGED, "looks up by its id, and finds it", (comes_to("POST 504", "GET 200"),)),
    "http.reset": (
        UNCHANGED,
        "looks up, and sends once more",
        (comes_to("POST ConnectionError", "GET 404", "POST 200"),),
    ),
    "http.reset_after": (UNCHANGED, "looks up, and finds it", (comes_to("POST ConnectionError", "GET 200"),)),
    "http.hang": (
        UNCHANGED,
        "looks up, and sends once more",
        (comes_to("POST ConnectionError", "GET 404", "POST 200"),),
    ),
    "http.garbage": (UNCHANGED, "looks up, and finds it", (comes_to("POST 200 page", "GET 200"),)),
    "http.revoked": (HALTED, "refused the keys", (sends_nothing_more,)),
    "http.latency": (UNCHANGED, "waits", (waits(0.5),)),
    "order.late": (BALANCED, "leaves the symbol alone until the order has ended", (waits_for_the_end,)),
    "order.reject": (BALANCED, "books the refusal; decides anew at the next slice", (decides_anew,)),
    "order.partial": (BALANCED, "books the part and the end", (books_part_and_end,)),
    "order.restate": (BALANCED, "books the correction", (books_the_correction,)),
    "venue.restart": (
        BALANCED,
        "connects both streams again, fetches the gap, looks the orders up",
        (connects_again("data", "trading"), fetches, looks_up),
    ),
    "venue.clock": (BALANCED, "leaves bars of a wrong stamp alone and fetches their minutes", (leaves_alone, fetches)),
}
AT_START = ("data.limit", "data.refuse", "trading.refuse")
RECORDED = {"data.no_reset": "orderbooks", "data.correction": "trades"}
"""What a trader takes no channel for: it follows a recorder that does."""
WIDE = {"data.mute": 90, "data.half_open": 90, "trading.mute": 120, "trading.half_open": 120, "venue.clock": 300}
STRIKES: dict[str, dict[str, object]] = {
    "data.late": {"delay": timedelta(minutes=5)},
    "data.reorder": {"lasts": timedelta(minutes=3)},  # minutes of one symbol change places only if several are kept
    "trading.lose": {"event": "fill"},
    "trading.late": {"event": "fill"},
    "trading.duplicate": {"event": "fill"},
    "trading.reorder": {"event": "partial_fill", "lasts": timedelta(minutes=2)},
    "http.rate_limit": {"seconds": 1.0},
    "http.latency": {"seconds": 0.5},
    "order.late": {"delay": timedelta(minutes=70)},  # beyond the next slice
    "order.restate": {"factor": 1.01},
    "venue.restart": {"at": "2024-01-11T01:00:30Z", "seconds": 0.3},  # between the parts of the first orders
}


def disturbed(kind: str) -> Fault:
    """Return a fault that strikes a trader of a few hours where it hurts."""
    more: dict[str, object] = {}
    if kind.startswith("http."):
        more = {"method": "POST", "path": "/v2/orders", "seconds": 0.05}
    if kind in WIDE:
        more["lasts"] = timedelta(minutes=WIDE[kind])
    return Fault(kind, **more | STRIKES.get(kind, {}))  # type: ignore[arg-type]


@pytest.fixture
def polls(monkeypatch):
    """In lock-step the wall's clock stands for nothing: poll at each step."""
    monkeypatch.setattr(shift, "POLL_EVERY_SECONDS", 0.0)


def orders_of(venue: Sandbox) -> list[tuple[object, ...]]:
    tickets = venue._exchange.tickets.values()
    return [(t.request.client_order_id, t.order.lots, t.order.side, t.submitted) for t in tickets]


def is_balanced(trader: Trader, venue: Sandbox) -> None:
    """Hold our books, and what the journal says of them, to the venue's."""
    again, books = replay(trader.journal_path), venue.account()
    assert again.is_equal, again.difference
    ids = [order[0] for order in orders_of(venue)]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {order.id for order in again.orders}
    assert again.engine.portfolio.lots.tolist() == books.lots.tolist()
    assert abs(again.engine.portfolio.cash - books.cash) <= 2


def venue_of(bundle, faults=()) -> Sandbox:
    """Return a venue that fills each order in two parts, a minute apart."""
    days = {"days": 15, "history": timedelta(days=10)}
    return Sandbox(11, bundle.symbols, lockstep=True, partial_fills=1.0, faults=faults, **days)


def seen(bundle, folder: Path, kind: str = "") -> tuple[Witness, Sandbox]:
    """Trade some hours, disturbed after the first or from the start; return what was seen, and the venue."""
    store = Store(folder / "s")
    run, strikes = Witness(store), [disturbed(kind)] if kind else []
    outcome, words, _ = OUTCOMES.get(kind, (UNCHANGED, "", ()))
    with ExitStack() as held:
        held.enter_context(run.watching())
        venue = held.enter_context(venue_of(bundle, strikes if kind in AT_START + tuple(RECORDED) else ()))
        places = {"journal": folder / "j.sqlite", "listeners": (run.notes.append,)}
        if kind in RECORDED:
            beside = Recorder(store, bundle.symbols, venue.alpaca(), channels=["bars", RECORDED[kind]]).start()
            held.callback(beside.stop)
            until(lambda: beside.status().is_subscribed)
            trader = Trader(bundle, venue.alpaca(), store, **places, options=TraderOptions(follows=True)).open()
        else:
            Trader(bundle, venue.alpaca(), store, **places).run(until=timedelta(hours=1))
            trader = Trader(bundle, venue.alpaca(), store, **places).open()
        if not venue.faults():
            run.begin(trader.journal_path)
            for fault in strikes:
                venue.inject(fault)
        with pytest.raises(HaltedError, match=words) if outcome == HALTED else nullcontext():
            trader.run(until=timedelta(hours=HOURS if kind not in RECORDED else FEW_HOURS))
        run.end(trader.journal_path)
        assert all(fault["fired"] for fault in venue.faults())
        is_balanced(trader, venue)
    return run, venue


@pytest.fixture(scope="module")
def quiet(bundle, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shift, "POLL_EVERY_SECONDS", 0.0)
        return seen(bundle, tmp_path_factory.mktemp("quiet"))


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_fault_has_an_outcome_and_that_is_it(kind, bundle, tmp_path, quiet, polls):
    outcome, words, proofs = OUTCOMES[kind]
    run, venue = seen(bundle, tmp_path, kind)
    assert [proof.__qualname__ for proof in proofs if not proof(run)] == [], words
    assert orders_of(venue)
    now = venue.market.now
    if outcome != HALTED:
        assert is_whole(run, quiet[0], now)
    if outcome == UNCHANGED:
        assert orders_of(venue) == [order for order in orders_of(quiet[1]) if order[-1] <= now]
        assert now < quiet[1].market.now or venue.account().cash == quiet[1].account().cash


def test_what_proves_the_outcome_of_a_fault_is_not_so_where_there_is_none(quiet):
    for kind, (_, _, proofs) in OUTCOMES.items():
        assert [proof.__qualname__ for proof in proofs if proof(quiet[0])] == [], kind


def test_the_table_names_every_kind_and_no_other():
    assert set(OUTCOMES) == set(FAULT_KINDS)
    assert all(words for _, words, _ in OUTCOMES.values())


def free(bundle) -> Sandbox:
    return Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=1_800)


@pytest.mark.parametrize("kind", ["data.mute", "data.half_open"])
def test_a_silence_of_the_market_pauses_and_its_end_lets_trading_go_on(bundle, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(supervisor, "SILENCE", 10**9)  # a second of this machine, at the market's speed
    monkeypatch.setattr(recorder, "CHECK_SECONDS", 0.2)
    patience, run = Patience(data=timedelta(seconds=0.7)), Witness(Store(tmp_path / "s"))

    def hear(note) -> None:
        run.notes.append(note)
        if note.what == "decided" and any(one.facts.get("action") == "unpause" for one in run.notes):
            trader.operator.stop(reason="it decides again")

    with run.watching(), free(bundle) as venue:
        places = {"journal": tmp_path / "j", "options": TraderOptions(patience=patience), "listeners": (hear,)}
        trader = Trader(bundle, venue.alpaca(), run.store, **places).open()
        run.begin(trader.journal_path)
        venue.inject(Fault(kind, lasts=timedelta(minutes=50)))
        assert trader.run(until=timedelta(hours=24)).state == "stopped"
    assert trader.reason == "asked to stop: it decides again"
    done = [entry.fact() for entry in read_journal(tmp_path / "j") if entry.kind == "command"]
    assert [command.action for command in done[:2]] == ["pause", "unpause"]
    assert done[0].reason.startswith("no market data for")
    assert kind == "data.mute" or connects_again("data")(run)


def test_keys_that_are_revoked_while_it_waits_halt_it_and_the_halt_survives(hire, sandbox, polls):
    trader = hire().open()
    sandbox.inject(Fault("http.revoked", lasts=timedelta(days=1)))
    with pytest.raises(HaltedError, match="refused the keys"):
        trader.run(until=timedelta(hours=5))
    sandbox.heal()
    assert "refused the keys" in replay(trader.journal_path).engine.risk.halted
    assert "refused the keys" in hire().open().stop().reason


def test_a_symbol_that_the_venue_does_not_trade_is_named_at_the_start(bundle, sandbox, tmp_path):
    other = replace(bundle, symbols=("BTC/USD", "XYZ/USD"))
    with pytest.raises(UnknownSymbolError, match="XYZ/USD"):
        Trader(other, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()


def test_a_second_trader_on_the_account_is_refused_on_this_machine(bundle, hire, sandbox, tmp_path):
    first = hire().open()
    try:
        with pytest.raises(StoreError):
            Trader(bundle, sandbox.alpaca(), Store(tmp_path / "other"), journal=tmp_path / "other.sqlite").open()
    finally:
        first.stop()


def test_a_second_trader_on_another_machine_is_noticed_by_its_fills(hire, sandbox, polls):
    trader = hire().open()
    body = {"symbol": "ETH/USD", "notional": "700", "side": "buy", "type": "market", "time_in_force": "gtc"}
    sandbox.alpaca().trading().post("/orders", {**body, "client_order_id": "cq-main-ETHUSD-1-0"})
    with pytest.raises(HaltedError, match="our books hold"):
        trader.run(until=timedelta(hours=14))
    assert "our books hold" in replay(trader.journal_path).engine.risk.halted


def test_a_clock_of_this_machine_that_jumps_halts_it(bundle, tmp_path, monkeypatch):
    with free(bundle) as venue:
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
        begun = time.monotonic()

        def wall() -> float:
            return time.time() + (30.0 if time.monotonic() > begun + 1.0 else 0.0)

        monkeypatch.setattr(shift, "time", SimpleNamespace(time=wall, monotonic=time.monotonic))
        with pytest.raises(HaltedError, match=r"jumped by 30\.0 s"):
            trader.run(until=timedelta(hours=24))


def test_a_model_whose_features_the_history_cannot_feed_is_refused_at_the_start(bundle, sandbox, tmp_path):
    deep = replace(bundle, features=f.FeatureSet([f.log_return(3), f.zscore("volume", 24 * 30)]))
    with pytest.raises(DataError, match="trading now needs"):
        Trader(deep, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    assert not [entry for entry in read_journal(tmp_path / "j") if entry.kind in ("profile", "order")]


FULL_DISK = """
import json, os, resource, sqlite3, sys
from datetime import timedelta
from pathlib import Path
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data import recorder, supervisor
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.trader import Trader
from tests.live.kill_harness import bundle_of
from cryptoquant.trading.execution import Execution

folder = Path(sys.argv[1])
trader = Trader(
    bundle_of("hourly", "1h", Execution(), 120.0), Alpaca(**json.loads(sys.argv[2])), Store(folder / "s"),
    journal=folder / "j",
).open()
reader = sqlite3.connect(folder / "j")
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM facts").fetchone()  # as long as it reads, the log beside the journal grows
trader.journal.note("filler", "filler", 1, {"text": "x" * 3_000_000}, "nobody")
room = int(sys.argv[3]) + os.stat(folder / "j-wal").st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    trader.run(until=timedelta(hours=40))
except HaltedError as error:
    print("halted", error, trader.state)
"""


@pytest.mark.parametrize("room", [9_000, 40_000])
def test_a_disk_that_is_full_halts_it_and_nothing_is_sent_that_is_not_in_the_journal(sandbox, tmp_path, room):
    root = Path(__file__).resolve().parents[2]
    connection = json.dumps(dataclasses.asdict(sandbox.alpaca()))
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), connection, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=120)
    assert done.stdout.startswith("halted"), done.stderr
    assert "cannot write" in done.stdout
    assert done.stdout.rstrip().endswith("halted")
    known = {entry.id.removeprefix("order:") for entry in read_journal(tmp_path / "j") if entry.kind == "order"}
    assert {order[0] for order in orders_of(sandbox)} <= known
    assert replay(tmp_path / "j").is_equal
