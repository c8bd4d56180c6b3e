import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from cryptoquant.backtest.sandbox import Sandbox

REMOVED = {"pattern_day_trader", "daytrade_count", "daytrading_buying_power"}
OTHER_MARKETS = {"options_buying_power", "options_approved_level", "options_trading_level"}
NOT_SPOKEN = REMOVED | OTHER_MARKETS | {"usd", "commission", "swap_rate"}


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
        missing = set(theirs) - set(ours) - NOT_SPOKEN
        assert not missing, f"{where}: {sorted(missing)}"
        for key in set(theirs) & set(ours):
            agree(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for one in theirs[:1] if ours else []:
            agree(ours[0], one, f"{where}[0]")
    elif ours is not None and theirs is not None:
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


def test_trading_bodies_have_the_shape_of_the_recorded_answers(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    order = {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"}
    ours = {"order": ask("/v2/orders", order)}
    sandbox.advance(timedelta(minutes=1))
    ours |= {"account": ask("/v2/account"), "position": ask("/v2/positions"), "asset": ask("/v2/assets/BTC/USD")}
    compared = 0
    for row in recorded(real_market, "alpaca-py_trading.jsonl"):
        kind = {"test_get_account": "account", "test_get_all_positions": "position"}.get(row["test"])
        kind = "order" if row["test"] in ("test_market_order", "test_limit_order") else kind
        if kind is not None:
            theirs = row["payload"] | {"qty": "1", "limit_price": None} if kind == "order" else row["payload"]
            agree(ours[kind], theirs, kind)
            compared += 1
    assert compared == 4


def test_assets_and_fills_have_the_shape_of_the_recorded_answers(sandbox: Sandbox, ask: Any, real_market: Path) -> None:
    ask("/v2/orders", {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"})
    sandbox.advance(timedelta(minutes=1))
    rows = {row["endpoint"]: row["payload"] for row in recorded(real_market, "ccxt_alpaca_recorded.jsonl")}
    (assets,) = [payload for name, payload in rows.items() if name.startswith("GET /v2/assets") and "older" in name]
    agree(ask("/v2/assets"), assets, "assets")
    agree(ask("/v2/account/activities/FILL"), rows["GET /v2/account/activities/FILL"], "fills")
    agree(ask("/v2/clock"), rows["GET /v2/clock"], "clock")
