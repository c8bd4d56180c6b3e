import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests
from alpaca.trading.client import TradingClient

from cryptoquant.backtest.sandbox import Fault, Faults, Sandbox
from cryptoquant.errors import ConfigurationError

MINUTE = timedelta(minutes=1)
PATHS = (
    "/v2/account",
    "/v2/positions",
    "/v2/orders?status=all&limit=500",
    "/v2/account/activities",
    "/v2/account/portfolio/history?period=1D&timeframe=1Min",
    "/v2/clock",
    "/v1beta3/crypto/us/latest/bars?symbols=BTC/USD",
)
RULES = {
    "latency": timedelta(seconds=90),
    "participation": 0.05,
    "partial_fills": 0.5,
    "late_trades": 0.1,
    "history": timedelta(days=1.5),
}


def ask(sandbox: Sandbox, keys: tuple[str, str], method: str, path: str, body: object = None) -> Any:
    headers = {"APCA-API-KEY-ID": keys[0], "APCA-API-SECRET-KEY": keys[1]}
    answer = requests.request(method, sandbox.url + path, headers=headers, json=body, timeout=10)
    return answer.json() if answer.content else None


def everything(sandbox: Sandbox) -> list:
    return [ask(sandbox, keys, "GET", path) for keys in sandbox.keys for path in PATHS]


def live(sandbox: Sandbox, minutes: int) -> None:
    for minute in range(minutes):
        for place, keys in enumerate(sandbox.keys):
            price = {"type": "limit", "limit_price": "30000"} if minute % 3 == 0 else {"type": "market"}
            body = {"symbol": "BTC/USD", "qty": f"0.0{1 + minute % 7}", "side": "buy", "time_in_force": "gtc"} | price
            order = ask(sandbox, keys, "POST", "/v2/orders", body).get("id", "none")
            if minute % 6 == 0:
                ask(sandbox, keys, "PATCH", f"/v2/orders/{order}", {"limit_price": 30_500.5})
            elif minute % 3 == 0:
                ask(sandbox, keys, "DELETE", f"/v2/orders/{order}")
            if minute % 5 == place:
                ask(sandbox, keys, "DELETE", "/v2/positions/BTCUSD?percentage=50")
        sandbox.advance(timedelta(seconds=80))


def test_a_restored_sandbox_goes_on_as_if_it_had_never_stopped(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path
) -> None:
    sandbox = open_sandbox(**RULES)
    live(sandbox, 4)
    second = sandbox.open_account(cash=5_000.0)
    live(sandbox, 9)
    path, before, port = tmp_path / "sandbox.json", everything(sandbox), int(sandbox.url.rpartition(":")[2])
    sandbox.save(path)
    live(sandbox, 3)
    later = everything(sandbox)
    sandbox.stop()
    with Sandbox.restore(path, bars=bars, lockstep=True, port=port, **RULES) as again:
        assert again.keys[1] == (second.api_key, second.api_secret)
        assert everything(again) == before
        assert again.status()["sent"] == {"data": 0, "trading": 0}
        live(again, 3)
        assert everything(again) == later
        found = TradingClient(second.api_key, second.api_secret, url_override=second.trading_url).get_orders()
        assert len(found) > 2


def test_what_was_told_before_is_not_told_again(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path
) -> None:
    sandbox = open_sandbox()
    live(sandbox, 2)
    sandbox.stop()
    sandbox.save(tmp_path / "state")
    again = Sandbox.restore(tmp_path / "state", bars=bars, lockstep=True, history=timedelta(days=1.5))
    assert again._exchange.updates == sandbox._exchange.updates
    assert again._exchange.told == len(sandbox._exchange.updates) > 3


def test_a_state_belongs_to_its_market_seed_and_rules(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path
) -> None:
    sandbox, path = open_sandbox(), tmp_path / "state"
    sandbox.save(path)
    for other in ({"seed": 8}, {"latency": MINUTE}, {"bars": bars.head(5_000)}, {"history": timedelta(days=1)}):
        arguments = {"bars": bars, "history": timedelta(days=1.5)} | other
        with pytest.raises(ConfigurationError, match="another market, seed or set of rules"):
            Sandbox.restore(path, **arguments)


def test_a_file_that_holds_no_state_is_named(bars: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(ConfigurationError, match=str(path)):
        Sandbox.restore(path, bars=bars)
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="holds no state"):
        Sandbox.restore(path, bars=bars)
    path.write_text('{"version":99,"world":"","now":0,"accounts":[]}')
    with pytest.raises(ConfigurationError, match="version 99, wanted 1"):
        Sandbox.restore(path, bars=bars)


def test_a_saved_file_is_replaced_as_a_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    sandbox.save(path)
    assert json.loads(path.read_text())["version"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("seed", [3, 4])
def test_what_faults_did_to_orders_is_restored_and_what_was_to_come_comes(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path, seed: int
) -> None:
    kinds = ["order.late", "order.reject", "order.partial", "order.restate"]
    faults = Faults.random(seed, per_day=2_000.0, kinds=kinds)
    sandbox, path = open_sandbox(**RULES, accounts=2, faults=faults), tmp_path / "state"
    live(sandbox, 12)
    sandbox.save(path)
    before = everything(sandbox), sandbox.faults()
    live(sandbox, 8)
    later = everything(sandbox), sandbox.faults()
    with Sandbox.restore(path, bars=bars, lockstep=True, **RULES) as again:
        assert (everything(again), again.faults()) == before
        live(again, 8)
        assert (everything(again), again.faults()) == later
    assert {one["kind"] for one in before[1] if one["fired"]} == set(kinds)
    verbs = {call.verb for account in sandbox._accounts for call in account.exchange.calls}
    assert verbs == {"submit", "cancel", "replace", "delay", "reject", "cut", "end", "restate"}


def test_a_healed_fault_stays_healed_and_an_injected_one_is_kept(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path
) -> None:
    sandbox, path = open_sandbox(faults=[Fault("http.error", count=2)]), tmp_path / "state"
    sandbox.heal()
    sandbox.inject(Fault("order.reject", symbol="ETH/USD", lasts=MINUTE))
    sandbox.save(path)
    with Sandbox.restore(path, bars=bars, lockstep=True, history=timedelta(days=1.5)) as again:
        assert again.faults() == sandbox.faults()
        assert [one["phase"] for one in again.faults()] == ["over", "active"]


def test_an_old_fill_meets_no_fault_again_and_a_part_that_waits_still_ends(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame, tmp_path: Path
) -> None:
    sandbox, path = open_sandbox(), tmp_path / "state"
    keys, body = sandbox.keys[0], {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "time_in_force": "gtc"}
    ask(sandbox, keys, "POST", "/v2/orders", body | {"type": "market"})
    sandbox.advance(MINUTE)
    ahead = bars.filter(symbol="BTC/USD").filter(pl.col("open_time").dt.epoch("ns") >= sandbox.market.now)
    lowest = ahead.head(12 * 60)["low"].min() * 1.0005
    sandbox.inject(Fault("order.partial", factor=0.5))
    waiting = ask(sandbox, keys, "POST", "/v2/orders", body | {"type": "limit", "limit_price": f"{lowest:.0f}"})
    sandbox.advance(MINUTE)
    assert sandbox.faults()[0]["fired"] == 1
    assert waiting["id"] in sandbox._exchange.matcher.open
    sandbox.save(path)
    with Sandbox.restore(path, bars=bars, lockstep=True, history=timedelta(days=1.5)) as again:
        again.inject(Fault("order.restate"))
        again.advance(MINUTE)
        assert again.faults()[1]["fired"] == 0
        again.advance(timedelta(hours=12))
        ended = ask(again, keys, "GET", f"/v2/orders/{waiting['id']}")
        assert (ended["status"], ended["filled_qty"]) == ("canceled", "0.05")
