"""Who trades at the sandbox: accounts with keys, orders and books of their own, at one market."""

from collections.abc import Iterator

from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.portion import Portion
from cryptoquant.errors import ConfigurationError
from cryptoquant.market.slice import Slice
from cryptoquant.trading.venue import Venue

Keys = tuple[str, str]


class Account:
    """One account: its keys, its exchange, and the cash that it was opened with, in quote currency."""

    __slots__ = ("cash", "exchange", "keys")

    def __init__(self, exchange: Exchange, cash: float) -> None:
        self.exchange, self.cash = exchange, cash
        self.keys: Keys = (f"SANDBOX{exchange.identity('key')[:8].upper()}", exchange.identity("secret"))


class Accounts:
    """Every account by its keys; keys and ids derive from the seed and from the order of opening.

    Accounts meet the same bars and do not compete for them: what one trades is not missing for another.
    """

    def __init__(self, venue: Venue, market: Market, seed: int, portion: Portion) -> None:
        self.venue, self.market, self.seed, self.portion = venue, market, seed, portion
        self._by_key: dict[str, Account] = {}

    def open(self, cash: float) -> Account:
        """Open an account with ``cash`` in quote currency at the market's present."""
        name = str(len(self._by_key)) if self._by_key else ""
        marks, now = self.market.marks(), self.market.now
        exchange = Exchange(self.venue, marks, cash, self.seed, name=name, portion=self.portion, opened=now)
        account = Account(exchange, cash)
        self._by_key[account.keys[0]] = account
        return account

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def first(self) -> Account:
        """The account that was opened first."""
        return next(iter(self))

    def knows(self, key: str | None, secret: str | None) -> bool:
        """Whether these are the keys of an account."""
        return self.find(key, secret) is not None

    def find(self, key: object, secret: object) -> Account | None:
        """Return the account of these keys, None when they are wrong."""
        account = self._by_key.get(key) if isinstance(key, str) else None
        return account if account is not None and account.keys[1] == secret else None

    def of(self, key: str) -> Account:
        """Return the account of a key.

        Raises
        ------
        ConfigurationError
            No account has this key.
        """
        account = self._by_key.get(key)
        if account is None:
            raise ConfigurationError(f"no account has the key {key}; known: {', '.join(self._by_key)}")
        return account

    def match(self, market: Slice, opened: int) -> None:
        """Let the open orders of every account meet the bars that opened at ``opened`` (ns)."""
        for account in self:
            account.exchange.match(market, opened)
