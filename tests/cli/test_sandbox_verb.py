"""The verb ``sandbox``: its rules and accounts, faults from a file or drawn, and a state that outlives the process."""

import json
import signal
from datetime import timedelta

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.sandbox import FAULT_KINDS, Fault, Faults
from cryptoquant.cli.sandbox import schedule
from tests.cli.test_verbs import Served, call, home

__all__ = ["home"]
MARKET = ("--days", "3", "--lockstep", "--symbol", "BTC/USD")


def ask(url: str, keys: dict[str, str], method: str, path: str, body: object = None) -> requests.Response:
    headers = {"APCA-API-KEY-ID": keys["api_key"], "APCA-API-SECRET-KEY": keys["api_secret"]}
    return requests.request(method, url + path, json=body, headers=headers, timeout=10)


def introduced(venue: Served, accounts: int) -> tuple[str, list[dict[str, str]]]:
    url = venue.line().split()[2].rstrip(",")
    exports = [venue.line().split()[1:] for _ in range(accounts)]
    return url, [
        dict(zip(("api_key", "api_secret"), (e.partition("=")[2] for e in one), strict=True)) for one in exports
    ]


def test_accounts_rules_and_faults_are_served_and_the_state_goes_on(home):
    (home / "faults.json").write_text(json.dumps({"kind": "order.reject", "count": 1, "symbol": "BTC/USD"}))
    rules = ("--latency", "30", "--participation", "0.5", "--requests-per-minute", "9", "--state", "venue.json")
    command = ("sandbox", *MARKET, *rules, "--accounts", "2", "--faults", "faults.json")
    venue = Served(home, *command)
    url, keys = introduced(venue, 2)
    body = {"symbol": "BTC/USD", "qty": "0.01", "side": "buy", "type": "market", "time_in_force": "gtc"}
    for one in keys:
        assert ask(url, one, "POST", "/v2/orders", body).status_code == 200
    requests.post(f"{url}/sandbox/advance", json={"seconds": 120}, timeout=10)
    told = [ask(url, one, "GET", "/v2/orders?status=all").json() for one in keys]
    assert [one[0]["status"] for one in told] == ["rejected", "filled"]
    assert told[1][0]["filled_at"] > told[1][0]["submitted_at"]
    assert [ask(url, keys[0], "GET", "/v2/clock").status_code for _ in range(8)] == [200] * 7 + [429]
    code, out, said = venue.stop(signal.SIGTERM)
    assert (code, out.splitlines()[-2:]) == (0, ["state: venue.json", "sandbox stopped"]), said
    again = Served(home, *command)
    try:
        url, same = introduced(again, 2)
        assert same == keys
        assert [ask(url, one, "GET", "/v2/orders?status=all").json() for one in keys] == told
        assert [one["phase"] for one in requests.get(f"{url}/sandbox/faults", timeout=10).json()] == ["over"]
    finally:
        code, _, said = again.stop(signal.SIGINT)
    assert code == 0, said


@given(st.lists(st.builds(Fault, st.sampled_from(FAULT_KINDS), count=st.none() | st.integers(1, 9)), max_size=4))
def test_a_file_of_faults_is_the_schedule_that_it_says(tmp_path_factory, faults):
    path = tmp_path_factory.mktemp("faults") / "faults.json"
    path.write_text(json.dumps([one.body() for one in faults]))
    assert schedule(str(path)).faults == faults


def test_random_faults_are_those_of_their_seed():
    day = 86_400 * 10**9
    drawn = schedule("random:3:48").running(0, 10 * day).faults
    assert drawn == Faults.random(3, per_day=48).running(0, 10 * day).faults
    assert all(one.lasts == timedelta(days=1) for one in drawn)
    assert schedule(None).faults == []


@pytest.mark.parametrize(
    ("content", "arguments", "text"),
    [
        ("", ("--faults", "random:soon:24"), "wanted random:SEED:PER_DAY"),
        ("", ("--faults", "random:7"), "wanted random:SEED:PER_DAY"),
        ("", ("--faults", "random:7:0"), "wanted some"),
        ("", ("--faults", "absent.json"), "absent.json: No such file or directory: wanted a JSON file"),
        ("{", ("--faults", "given.json"), "given.json: wanted JSON"),
        ('[{"kind": "data.drop"}, {"kind": "data.jump"}]', ("--faults", "given.json"), "fault 2: kind of fault"),
        ("", ("--accounts", "0"), "accounts must be at least 1"),
        ("", ("--partial-fills", "2"), "partial_fills must be a fraction"),
        ("", ("--late-trades", "2"), "late_trades must be a fraction"),
        ("{}", ("--state", "given.json"), "holds no state"),
    ],
)
def test_a_mistake_is_one_line_and_no_venue_is_served(home, content, arguments, text):
    if content:
        (home / "given.json").write_text(content)
    code, _, said = call("sandbox", *MARKET, *arguments)
    assert code == 1
    assert text in said
    assert len(said.strip().splitlines()) == 1
