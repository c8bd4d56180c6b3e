"""A sandbox at rest: what every account asked for, and when; the same market and the same calls rebuild it."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cryptoquant.backtest.sandbox.accounts import Accounts
from cryptoquant.backtest.sandbox.exchange import Call, Exchange
from cryptoquant.backtest.sandbox.faults import Faults, Past
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.order_faults import disturb
from cryptoquant.errors import ConfigurationError

VERSION = 1


class SavedAccount(msgspec.Struct, frozen=True):
    """What an account was opened with, when (ns), and the calls that changed it."""

    opened: int
    cash: float
    calls: list[Call]


class State(msgspec.Struct, frozen=True):
    """A sandbox's past.

    ``world`` identifies the market and the rules that it happened under, ``now`` is in ns, ``faults`` is the schedule
    with what has struck of it.
    """

    version: int
    world: str
    now: int
    accounts: list[SavedAccount]
    faults: list[Past] = []


def world_of(market: Market, accounts: Accounts) -> str:
    """Return a digest of everything that decides what a call leads to: bars, rules, seed."""
    digest = hashlib.blake2b(digest_size=16)
    for symbol in market.symbols:
        series = market.base(symbol)
        digest.update(f"{symbol}|{len(series.opens)}|".encode() + series.opens.tobytes() + series.values.tobytes())
    for part in (market.start, accounts.venue, accounts.seed, accounts.portion, market.late):
        digest.update(f"|{part!r}".encode())
    return digest.hexdigest()


def save(path: Path, market: Market, accounts: Accounts, faults: Faults) -> None:
    """Write the state of a sandbox to a file, which is replaced as a whole."""
    saved = [SavedAccount(one.exchange.opened, one.cash, one.exchange.calls) for one in accounts]
    packed = msgspec.json.encode(State(VERSION, world_of(market, accounts), market.now, saved, faults.past()))
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load(path: Path) -> State:
    """Read the state of a sandbox.

    Raises
    ------
    ConfigurationError
        There is no such file, or it holds no state of this version.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path} holds no state of a sandbox: {error}") from error
    if state.version != VERSION:
        raise ConfigurationError(f"{path} holds a state of version {state.version}, wanted {VERSION}")
    return state


def replay(state: State, market: Market, accounts: Accounts) -> None:
    """Rebuild the accounts by asking again for everything, each call at its moment; nothing of it is told again.

    ``accounts`` is empty before.

    Raises
    ------
    ConfigurationError
        The market, the rules or the seed are not those under which the state was saved.
    """
    if state.world != world_of(market, accounts):
        raise ConfigurationError("the saved state belongs to another market, seed or set of rules than this sandbox's")
    _ask(state.accounts, market, accounts, _next_close(market, state.now))
    for time in market.due(state.now):
        bars = market.closing(time)
        accounts.match(market.slice(bars), bars[0].open_time)
        market.now = time
        _ask(state.accounts, market, accounts, _next_close(market, state.now))
    market.now = state.now
    for account in accounts:
        account.exchange.told = len(account.exchange.updates)


def _next_close(market: Market, end: int) -> int:
    """Return the last instant before the next close, or the end when none comes before it."""
    return next(market.due(end), end + 1) - 1


def _ask(saved: Iterable[SavedAccount], market: Market, accounts: Accounts, until: int) -> None:
    """Open the accounts and repeat the calls that are due up to ``until`` (ns)."""
    present = market.now
    for place, one in enumerate(saved):
        if len(accounts) <= place and one.opened <= until:
            market.now = one.opened
            accounts.open(one.cash)
            market.now = present
    for account, one in zip(accounts, saved, strict=False):
        made = account.exchange.calls
        while len(made) < len(one.calls) and one.calls[len(made)].time <= until:
            _repeat(account.exchange, one.calls[len(made)])


def _repeat(exchange: Exchange, call: Call) -> None:
    if call.verb == "submit":
        exchange.submit(call.body, call.time)
    elif call.verb == "cancel":
        exchange.cancel(call.order_id, call.time)
    elif call.verb == "replace":
        exchange.replace(call.order_id, call.body, call.time)
    else:
        disturb(exchange, call)
