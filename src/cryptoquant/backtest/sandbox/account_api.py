"""The account over HTTP: its balance, configuration, activities and history, as Alpaca's paper venue does."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from cryptoquant.backtest.sandbox.activities import activities
from cryptoquant.backtest.sandbox.exchange import Exchange
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.portfolio_history import portfolio_history
from cryptoquant.backtest.sandbox.refusal import Refusal
from cryptoquant.backtest.sandbox.trading import Handled, answer, refuse
from cryptoquant.backtest.sandbox.wire import account_body, configuration_body


class AccountApi:
    """Answers requests about the account."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def handlers(self) -> Sequence[Handled]:
        """Return method, path and handler of each address; the configuration can only be read."""
        return (
            ("GET", "/account", self.account),
            ("GET", "/account/configurations", self.configurations),
            ("GET", "/account/activities", self.activities),
            ("GET", "/account/activities/{kind}", self.activities),
            ("GET", "/account/portfolio/history", self.portfolio_history),
        )

    async def account(self, exchange: Exchange, request: Request) -> Response:
        """Return the account."""
        return answer(account_body(exchange))

    async def configurations(self, exchange: Exchange, request: Request) -> Response:
        """Return what the account may do."""
        return answer(configuration_body())

    async def activities(self, exchange: Exchange, request: Request) -> Response:
        """Return fills, and the fees of the days that have ended."""
        kind = request.path_params.get("kind")
        found = activities(exchange, request.query_params, kind, self.market.now)
        return refuse(found) if isinstance(found, Refusal) else answer(found)

    async def portfolio_history(self, exchange: Exchange, request: Request) -> Response:
        """Return what the account was worth over time."""
        found = portfolio_history(exchange, request.query_params, self.market.now)
        return refuse(found) if isinstance(found, Refusal) else answer(found)
