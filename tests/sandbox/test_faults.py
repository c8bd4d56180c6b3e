"""Schedules of faults: they strike exactly as often as said, replay identically, and change nothing where none is."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox import FAULT_KINDS, Fault, Faults, Sandbox, fault
from tests.sandbox.clients import Wire, until

MINUTE = timedelta(minutes=1)
EVERYTHING = {"trades": ["*"], "quotes": ["*"], "orderbooks": ["*"], "bars": ["*"], "dailyBars": ["*"]}
FRAMES = [f"data.{name}" for name in ("mute", "duplicate", "reorder", "late", "corrupt", "no_reset", "correction")]

times = st.integers(0, 1_000)
spans = st.none() | st.integers(1, 500).map(lambda us: timedelta(microseconds=us))
charges = st.builds(
    lambda kind, at, lasts, count, symbol: Fault(kind, at=at, lasts=lasts, count=count, symbol=symbol),
    st.sampled_from(FRAMES),
    st.none() | times.map(lambda us: us * 1_000 + us % 7),
    spans,
    st.none() | st.integers(1, 3),
    st.sampled_from(["", "BTC/USD", "ETH/USD"]),
)
occasions = st.lists(st.tuples(st.sampled_from(FRAMES), times, st.sampled_from(["BTC/USD", "ETH/USD"])), max_size=30)


@given(st.lists(charges, max_size=5), occasions)
def test_the_first_fault_strikes_that_matches_in_its_time_and_none_more_often_than_said(given_, asked):
    faults, fired = Faults(given_).running(0, 0), [0] * len(given_)
    for kind, moment, symbol in sorted(asked, key=lambda one: one[1]):
        now, wanted = moment * 1_000, None
        for place, one in enumerate(given_):
            begun = now - (one.at or 0)
            in_time = begun >= 0 and (one.lasts is None or begun < one.lasts.microseconds * 1_000)
            often = 1 if one.count is None and one.lasts is None else one.count
            if one.kind == kind and one.symbol in ("", symbol) and in_time and (often is None or fired[place] < often):
                wanted = one
                fired[place] += 1
                break
        assert faults.take({kind}, now, symbol=symbol) is wanted
    assert [charge["fired"] for charge in faults.state(0)] == fired


@given(charges)
def test_a_fault_survives_the_way_through_json(one):
    assert Fault.read(one.body()) == one


@given(st.integers(0, 2**32), st.sampled_from([1.0, 24.0, 300.0]))
@settings(max_examples=25)
def test_a_random_schedule_is_the_same_for_the_same_seed_and_in_order(seed, per_day):
    day = 86_400 * 10**9
    first, second = (Faults.random(seed, per_day=per_day).running(day, 11 * day).faults for _ in range(2))
    assert first == second
    moments = [one.at for one in first]
    assert moments == sorted(moments)
    assert all(day <= moment < 11 * day for moment in moments)
    assert abs(len(first) - 10 * per_day) < 6 * (10 * per_day) ** 0.5 + 1
    assert Faults.random(seed + 1, per_day=per_day).running(day, 11 * day).faults != first or not first


def test_every_kind_has_its_row_in_the_table():
    for kind in FAULT_KINDS:
        assert f"\n{kind} " in fault.__doc__


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "data.explode"}, "wanted one of data.drop"),
        ({"kind": "data.drop", "count": 0}, "wanted 1 or more"),
        ({"kind": "data.drop", "lasts": 0.0}, "wanted more than nothing"),
        ({"kind": "http.hang", "seconds": -1.0}, "wanted 0 or more"),
        ({"kind": "http.error", "status": 418}, "wanted one of"),
        ({"kind": "order.partial", "factor": 1.0}, "below 1"),
        ({"kind": "data.drop", "colour": "red"}, "colour"),
        ({"at": "2024-01-02"}, "wanted a fault"),
        ({"kind": "data.late", "delay": "soon"}, "data.late"),
        ({"kind": "data.late", "at": "soon"}, "soon"),
    ],
)
def test_what_is_no_fault_is_named(sandbox: Sandbox, fields: dict, said: str) -> None:
    answer = requests.post(f"{sandbox.url}/sandbox/faults", json=[{"kind": "data.drop"}, fields], timeout=10)
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert sandbox.faults() == []


def test_a_random_schedule_refuses_kinds_that_are_none():
    with pytest.raises(ValueError, match="wanted one of"):
        Faults.random(1, kinds=["data.explode"])
    with pytest.raises(ValueError, match="wanted some"):
        Faults.random(1, kinds=[])
    with pytest.raises(ValueError, match="wanted some"):
        Faults.random(1, per_day=0)


def play(sandbox: Sandbox, client: Wire, minutes: int) -> tuple[list[bytes], list[dict]]:
    """All that a client hears, by the counts alone, and what the venue says of it."""
    client.sign_in(**EVERYTHING)
    frames, said, seen = [], [], 0
    headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
    for _ in range(minutes):
        body = {"symbol": "BTC/USD", "qty": "0.01", "side": "buy", "type": "market", "time_in_force": "gtc"}
        said.append(requests.post(f"{sandbox.url}/v2/orders", json=body, headers=headers, timeout=10).json())
        status = sandbox.advance(MINUTE)
        said.append({key: value for key, value in status.items() if key not in ("url", "running")})
        while seen < status["sent"]["data"]:
            frames.append(client.bytes())
            seen += count(frames[-1])
        assert seen == status["sent"]["data"]
    said.append(requests.get(f"{sandbox.url}/v2/orders?status=all", headers=headers, timeout=10).json())
    return frames, said


def count(frame: bytes) -> int:
    return 0 if frame[:1] == b"\xc1" else frame[0] & 15 if frame[0] < 0xA0 else int.from_bytes(frame[1:3], "big")


def test_without_a_fault_that_strikes_nothing_changes_by_a_byte(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    runs = []
    asleep = [Fault(kind, at="2030-01-01") for kind in FAULT_KINDS]
    for faults in ([], asleep):
        sandbox = open_sandbox(faults=faults)
        runs.append(play(sandbox, wire(sandbox), 5))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seeded_schedule_replays_to_the_byte_and_the_counts_are_those_of_the_socket(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire], seed: int
) -> None:
    kinds = [*FRAMES, "order.late", "order.reject", "order.partial", "order.restate", "data.wrong_bar"]
    runs = []
    for _ in range(2):
        sandbox = open_sandbox(faults=Faults.random(seed, per_day=1_440.0, kinds=kinds))
        runs.append((*play(sandbox, wire(sandbox), 30), sandbox.faults()))
    assert runs[0] == runs[1]
    struck = {one["kind"] for one in runs[0][2] if one["fired"]}
    assert len(struck) >= 6
    plain = open_sandbox()
    assert play(plain, wire(plain), 30)[0] != runs[0][0]


def test_faults_are_given_listed_and_healed_by_request(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/sandbox/faults"
    body = [{"kind": "http.error", "path": "/v2", "count": 2}, {"kind": "data.drop", "at": "2024-01-03T00:00:00Z"}]
    given_ = requests.post(url, json=body, timeout=10).json()
    assert [(one["kind"], one["phase"], one["fired"]) for one in given_] == [
        ("http.error", "active", 0),
        ("data.drop", "pending", 0),
    ]
    assert requests.get(f"{sandbox.url}/v2/account", timeout=10).status_code == 503
    assert requests.get(url, timeout=10).json() == sandbox.faults()
    assert sandbox.faults()[0]["fired"] == 1
    healed = requests.delete(url, timeout=10).json()
    assert [one["phase"] for one in healed] == ["over", "over"]
    assert requests.get(f"{sandbox.url}/v2/account", timeout=10).status_code == 401


def test_a_restart_that_is_healed_is_over_at_once(sandbox: Sandbox) -> None:
    sandbox.inject(Fault("venue.restart", seconds=60))
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{sandbox.url}/v2/account", timeout=10)
    sandbox.heal()
    assert requests.get(f"{sandbox.url}/v2/account", timeout=10).status_code == 401


def test_it_stops_quickly_while_a_request_hangs(sandbox: Sandbox) -> None:
    sandbox.inject(Fault("http.hang", seconds=60))
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(requests.get, f"{sandbox.url}/v2/account", timeout=10)
        until(lambda: sandbox.faults()[0]["fired"] == 1)
        began = time.monotonic()
        sandbox.stop()
        assert time.monotonic() - began < 3.0
        assert isinstance(asked.exception(10), requests.ConnectionError) or asked.result().status_code == 500


def test_a_schedule_may_serve_two_sandboxes(open_sandbox: Callable[..., Sandbox]) -> None:
    schedule = Faults([Fault("http.error")])
    for _ in range(2):
        sandbox = open_sandbox(faults=schedule)
        codes = [requests.get(f"{sandbox.url}/v2/account", timeout=10).status_code for _ in range(2)]
        assert codes == [503, 401]


def test_the_first_of_two_faults_strikes_first_and_one_occasion_meets_one(sandbox: Sandbox) -> None:
    sandbox.inject(Fault("http.error", status=502))
    sandbox.inject(Fault("http.rate_limit"))
    codes = [requests.get(f"{sandbox.url}/v2/account", timeout=10).status_code for _ in range(3)]
    assert codes == [502, 429, 401]
