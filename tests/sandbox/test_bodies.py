import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from cryptoquant.backtest.sandbox import Sandbox

# What recorded bodies have and ours do not, each with the reason.
NOT_SPOKEN = {
    "pattern_day_trader": "removed from Alpaca's answers on 2026-07-06",
    "daytrade_count": "removed from Alpaca's answers on 2026-07-06",
    "daytrading_buying_power": "removed from Alpaca's answers on 2026-07-06",
    "options_buying_power": "no options here",
    "options_approved_level": "no options here",
    "options_trading_level": "no options here",
    "usd": "a second copy of a position's numbers, for accounts in other currencies",
    "swap_rate": "1 for accounts in USD, the only ones here",
    "commission": "set by brokers only; crypto fees are activities",
    "last_close_pct_change": "a placeholder of the SDK's own test, never seen in a recording",
    "last_price": "a placeholder of the SDK's own test, never seen in a recording",
    "margin_requirement_long": "newer and for margin only; spot needs all of the price",
    "margin_requirement_short": "newer and for margin only; spot cannot be sold short",
}
# Where a recorded type is not ours, with the reason.
OTHER_TYPE = {
    "order.qty": "the SDK's test writes a number, the venue a string (Alpaca's documentation)",
    "order.limit_price": "the SDK's test writes a number, the venue a string (Alpaca's documentation)",
    "order.notional": "given or null by how the order was asked for",
    "orders[0].filled_qty": "the SDK's test writes a number, the venue a string",
    "orders[0].filled_avg_price": "the SDK's test writes a number, the venue a string",
    "orders[0].qty": "the SDK's test writes a number, the venue a string",
    "assets[0].maintenance_margin_requirement": "a string in the older recording, a number in the newer one",
}


def recorded(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "alpaca_messages" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shape(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def agree(ours: Any, theirs: Any, where: str) -> None:
    """Every key of the recorded body is in ours, with the same JSON type where neither is null."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        missing = set(theirs) - set(ours) - set(NOT_SPOKEN)
        assert not missing, f"{where}: {sorted(missing)}"
        for key in set(theirs) & set(ours):
            agree(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for one in theirs[:1] if ours else []:
            agree(ours[0], one, f"{where}[0]")
    elif ours is not None and theirs is not None and where not in OTHER_TYPE:
        assert shape(ours) == shape(theirs), f"{where}: ours {ours!r}, theirs {theirs!r}"


@pytest.fixture
def ask(sandbox: Sandbox) -> Any:
    headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}

    def get(path: str, body: object = None) -> Any:
        method = "GET" if body is None else "POST"
        return requests.request(method, sandbox.url + path, headers=headers, json=body, timeout=10).json()

    return get


def test_market_data_has_the_shape_of_the_recorded_answers(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    sandbox.advance(timedelta(minutes=3))
    asked = "?symbols=BTC/USD&timeframe=1Min&limit=2"
    answers = {
        kind: ask(f"/v1beta3/crypto/us/{kind}{asked}")[kind] for kind in ("bars", "trades", "quotes", "snapshots")
    }
    latest = {
        kind: ask(f"/v1beta3/crypto/us/latest/{kind}{asked}")[kind]
        for kind in ("bars", "trades", "quotes", "orderbooks")
    }
    compared = 0
    rows = recorded(real_market, "alpaca-py_crypto.jsonl") + recorded(real_market, "ccxt_alpaca_recorded.jsonl")
    for row in [*rows, *recorded(real_market, "alpaca-trade-api-go_crypto.jsonl")]:
        if "held as strings" in row.get("endpoint", "") or not isinstance(row["payload"], dict):
            continue
        for kind, theirs in row["payload"].items():
            if kind not in (*answers, *latest):
                continue
            symbol, one = next(iter(theirs.items()))
            ours = answers[kind] if isinstance(one, list) or kind == "snapshots" else latest[kind]
            agree(ours["BTC/USD"], one, f"{kind} {symbol}")
            compared += 1
    assert compared > 15


ORDERS = (
    "test_market_order",
    "test_limit_order",
    "test_get_order_by_id",
    "test_get_order_by_client_id",
    "test_replace_order",
    "test_order_position_intent",
    "test_close_position_with_qty",
    "test_close_position_with_percentage",
)


def test_trading_bodies_have_the_shape_of_the_recorded_answers(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    order = {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "limit", "time_in_force": "gtc"}
    order |= {"limit_price": "90000"}
    ours = dict.fromkeys(ORDERS, ("order", ask("/v2/orders", order)))
    sandbox.advance(timedelta(minutes=1))
    assets = ask("/v2/assets")
    ours |= {
        "test_get_orders": ("orders", ask("/v2/orders?status=all")),
        "test_get_account": ("account", ask("/v2/account")),
        "test_get_account_configurations": ("configuration", ask("/v2/account/configurations")),
        "test_get_account_configurations_without_deprecated_pdt_fields": (
            "configuration",
            ask("/v2/account/configurations"),
        ),
        "test_get_all_positions": ("positions", ask("/v2/positions")),
        "test_get_all_assets": ("assets", assets),
        "test_get_all_assets_params": ("assets", assets),
        "test_get_asset": ("asset", assets[0]),
    }
    ours["test_cancel_orders"] = ("cancels", [{"id": "an id", "status": 200}])
    rows = recorded(real_market, "alpaca-py_trading.jsonl")
    assert {row["test"] for row in rows} == set(ours)
    for row in rows:
        where, body = ours[row["test"]]
        agree(body, row["payload"], where)


def test_refusals_have_the_shape_of_the_recorded_ones(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    rows = recorded(real_market, "alpaca-trade-api-go_trading.jsonl")
    (theirs,) = [row["payload"] for row in rows if "code" in row["payload"]]
    for refused in (ask("/v2/orders/none"), ask("/v2/orders", {}), ask("/v2/nothing")):
        assert list(refused)[:2] == ["code", "message"]
        agree(refused, theirs, "refusal")


def test_every_difference_is_one_that_is_met(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    names = set()
    for file in sorted((real_market / "alpaca_messages").glob("*.jsonl")):
        for row in recorded(real_market, file.name):
            names |= keys_of(row["payload"])
    assert set(NOT_SPOKEN) <= names


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_assets_and_fills_have_the_shape_of_the_recorded_answers(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    ask("/v2/orders", {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"})
    sandbox.advance(timedelta(minutes=1))
    rows = {row["endpoint"]: row["payload"] for row in recorded(real_market, "ccxt_alpaca_recorded.jsonl")}
    recordings = [payload for name, payload in rows.items() if name.startswith("GET /v2/assets")]
    assert len(recordings) == 2
    for assets in recordings:
        agree(ask("/v2/assets"), assets, "assets")
    agree(ask("/v2/account/activities/FILL"), rows["GET /v2/account/activities/FILL"], "fills")
    agree(ask("/v2/clock"), rows["GET /v2/clock"], "clock")
