"""The audit: the books of all desks against what the venue says, one question at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cryptoquant.live.account import Account, moving_of
from cryptoquant.live.desk import Desk
from cryptoquant.live.dispatcher import Standing
from cryptoquant.trading.order import Adjustment


class Finding(NamedTuple):
    """What an answer shows: a difference in words ('' for none), and fees that were in doubt, by desk.

    ``settled`` is what the account has in doubt since, where that has changed.
    """

    difference: str = ""
    fees: Sequence[tuple[Desk, Adjustment]] = ()
    settled: Mapping[str, Any] | None = None


class Audit:
    """Asks what the account holds and judges the answers.

    Only a difference that is found twice in a row counts, so the venue is asked again when it seems to hold something
    else than the books. An answer that an order or a fill has overtaken says nothing.

    Parameters
    ----------
    ask
        Sends the question; `take` gets its answer, or `fail` is called.
    now
        The present at the venue, nanoseconds UTC.
    """

    def __init__(
        self, account: Account, desks: Mapping[str, Desk], ask: Callable[[], None], now: Callable[[], int]
    ) -> None:
        self._account, self._desks, self._ask, self._now = account, desks, ask, now
        self._doubt = ""
        self._moves = self._asked = 0
        self._is_open = self._is_wanted = False

    def moved(self) -> None:
        """Note that something was sent or booked: an answer that is on its way is from before it."""
        self._moves += 1

    def ask(self) -> None:
        """Ask what the account holds; while a question is open, once it has its answer."""
        self._is_wanted = self._is_open
        if not self._is_open:
            self._is_open, self._asked = True, self._moves
            self._ask()

    def fail(self) -> None:
        """Take that the open question gets no answer; the next poll asks again."""
        self._is_open = self._is_wanted = False

    def take(self, standing: Standing) -> Finding:
        """Take the answer to the open question."""
        self._is_open = False
        is_overtaken = self._asked != self._moves
        found = self._doubt if is_overtaken else self.difference(standing)
        if found and found == self._doubt and not is_overtaken:
            return Finding(found)
        if self._is_wanted or found != self._doubt:
            self.ask()
        self._doubt = found
        if found or is_overtaken:
            return Finding()
        before = self._account.settled
        fees = self._account.resolved(self._desks.values(), standing, self._now())
        after = self._account.settled
        return Finding(fees=fees, settled=None if after == before else after)

    def difference(self, standing: Standing) -> str:
        """Return in words what the venue holds otherwise than the books; where nothing differs, it is learned from."""
        desks = self._desks.values()
        found = self._account.difference(desks, standing, self._now())
        if not found:
            traded = {symbol for desk in desks for symbol in desk.profile.bundle.symbols}
            self._account.stand(standing.positions, traded - moving_of(desks))
        return found
