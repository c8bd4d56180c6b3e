"""The operator: commands to a running trader, each journalled before it is done, each answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any, Protocol, cast, get_args, get_type_hints

import msgspec

from cryptoquant.errors import ConfigurationError, CryptoquantError, HaltedError, JournalError
from cryptoquant.live.desk import Desk
from cryptoquant.live.floor import Floor
from cryptoquant.live.inbox import Inbox, Request
from cryptoquant.live.profile import Profile
from cryptoquant.live.start import check_change, check_strategy, limits_from_dict, limits_to_dict
from cryptoquant.models.bundle import Bundle, strategy_to_dict
from cryptoquant.models.registry import Registry
from cryptoquant.trading.engine import Action, Command
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy

ACTIONS = cast("tuple[str, ...]", get_args(Action))
FOR_ALL = (*ACTIONS, "stop")


class Preparing(Protocol):
    """Brings what is new up to the present while others trade; raises a CryptoquantError that says why it cannot."""

    def add(self, profile: Profile) -> None:
        """Set a new profile up."""
        ...

    def swap(self, desk: Desk, profile: Profile) -> None:
        """Let a desk trade by the bundle of ``profile``, and journal that."""
        ...


class Operator:
    """Does what is asked of a running trader.

    Parameters
    ----------
    preparing
        Sets profiles and models up.
    now
        The venue's present, nanoseconds UTC.

    Attributes
    ----------
    ending
        Why the trader was asked to stop, '' while it was not.
    """

    def __init__(self, floor: Floor, preparing: Preparing, registry: Registry | None, now: Callable[[], int]) -> None:
        self.floor, self.registry = floor, registry
        self.ending = ""
        self._preparing, self._now = preparing, now

    def heed(self, inbox: Inbox, *, opens: bool = False) -> None:
        """Do what waits in an inbox; what cannot be done is answered with the reason.

        While a trader ``opens``, only what engines do by themselves, up to the first wish that needs more.

        Raises
        ------
        JournalError, HaltedError
            The journal did not take it, or trading ended with it; that is answered too.
        """
        waiting = inbox.waiting()
        chosen = takewhile(lambda request: request.action in ACTIONS, waiting) if opens else waiting
        for request in filter(inbox.take, chosen):
            try:
                self.do(request)
                said = ""
            except (CryptoquantError, ValueError, TypeError, OSError) as error:
                said = str(error) or type(error).__name__
                if isinstance(error, JournalError) or (isinstance(error, HaltedError) and request.action in ACTIONS):
                    inbox.answer(request, said)
                    raise
            inbox.answer(request, said)

    def do(self, request: Request) -> None:
        """Do one wish.

        Raises
        ------
        ValueError
            There is no such action or profile.
        CryptoquantError
            It cannot be done now; the message says why.
        """
        wanted: Mapping[str, Callable[..., None]] = {
            "add": self.add,
            "remove": self.remove,
            "limits": self.change_limits,
            "strategy": self.change_strategy,
            "swap": self.swap,
            "stop": self.stop,
        }
        if request.action not in wanted and request.action not in ACTIONS:
            known = ", ".join(sorted([*wanted, *ACTIONS]))
            raise ValueError(f"no such command: {request.action!r}; wanted one of {known}")
        is_known = request.profile in self.floor.desks or (request.action in FOR_ALL and not request.profile)
        if request.action != "add" and not is_known:
            raise ValueError(f"no profile {request.profile!r}; there are {', '.join(self.floor.desks)}")
        if request.action in ACTIONS:
            self.command(request.action, request.profile, str(request.settings.get("reason", "by the operator")))
            return
        if objects := {"bundle", "strategy"} & set(request.settings):
            raise ValueError(f"{request.action}: {', '.join(objects)} cannot be told in words")
        wanted[request.action](request.profile, **request.settings)

    def command(self, action: str, profile: str = "", reason: str = "by the operator") -> None:
        """Halt, resume, pause, cancel or close: one profile, or all."""
        now = self._now()
        chosen = cast("Action", action)
        self.floor.command(Command(f"{action}-{profile}-{now}", chosen, now, reason), profile)

    def stop(self, profile: str = "", reason: str = "by the operator") -> None:
        """Ask for the end of trading; what becomes of positions is each profile's policy."""
        self.ending = reason

    def add(self, profile: str, reference: str = "", **settings: Any) -> None:
        """Add a registered bundle as a new profile."""
        if self.registry is None:
            raise ConfigurationError("this trader has no registry: give one, or add a Profile from Python")
        limits = changed(RiskLimits(), settings.pop("limits", None) or {})
        self._preparing.add(Profile.of(reference, self.registry, name=profile, limits=limits, **settings))
        self.floor.tell("profile", profile, "warning", action="add", reference=reference)

    def remove(self, profile: str) -> None:
        """Take a profile from the account; its cash is spare again, coins that are too few to be sold are left.

        Raises
        ------
        ConfigurationError
            It holds coins or has orders in flight: close it first; or it is the last one.
        """
        desk = self.floor.desks[profile]
        is_asked = self.floor.corrections.waits(profile)
        if desk.holds or desk.is_busy or is_asked or desk.engine.passing.is_waiting:
            raise ConfigurationError(f"profile {profile} holds coins or has open orders: close it first")
        if len(self.floor.desks) == 1:
            raise ConfigurationError(f"profile {profile} is the last one: stop the trader instead")
        self._note(profile, {"action": "remove"})
        if not desk.profile.is_shadow:
            self.floor.account.inherit(desk.engine.portfolio)
        self.floor.remove(profile)

    def change_limits(self, profile: str, **limits: Any) -> None:
        """Put other limits in the place of a profile's, from now on."""
        desk = self.floor.desks[profile]
        new = changed(desk.engine.limits, limits)
        self._note(profile, {"action": "limits", "limits": limits_to_dict(new)})
        desk.engine.change(limits=new)
        desk.profile = replace(desk.profile, limits=new)

    def change_strategy(self, profile: str, strategy: Strategy | None = None, **parameters: Any) -> None:
        """Give a profile another strategy, or other parameters of its own, from its next slice on.

        The engine has it from then on, after a restart too; the bundle stays the one that the model came with.

        Raises
        ------
        ConfigurationError
            It is of a class that the journal could not be read with again, or the engine cannot trade by it.
        ValueError
            A parameter is of another kind than the strategy's.
        """
        desk = self.floor.desks[profile]
        own: Any = desk.engine.strategy
        new = replace(own, **_kinds_checked(own, parameters)) if strategy is None else strategy
        check_strategy(new, desk.profile.strategies)
        check_change(desk.engine, new, desk.engine.execution)
        self._note(profile, {"action": "strategy", "strategy": strategy_to_dict(new)})
        desk.engine.change(strategy=new)

    def swap(self, profile: str, reference: str = "", bundle: Bundle | None = None, version: str = "") -> None:
        """Let a profile trade by another bundle from its next slice on; a swap back is the same command.

        Model, features, strategy and execution change, the books do not.

        Raises
        ------
        ConfigurationError
            The other bundle has another universe or timeframe.
        """
        desk = self.floor.desks[profile]
        if bundle is None:
            if self.registry is None:
                raise ConfigurationError("this trader has no registry: give one, or a bundle")
            found = self.registry.resolve(reference)
            bundle, version = self.registry.load(found), str(found)
        new = replace(desk.profile, bundle=bundle, reference=reference or bundle.name, version=version)
        if new.universe != desk.profile.universe:
            raise ConfigurationError(
                f"{new.reference} trades {new.universe}, profile {profile} {desk.profile.universe}"
            )
        self._preparing.swap(desk, new)
        self.floor.tell("swap", profile, "warning", reference=new.reference, version=version)

    def _note(self, profile: str, content: dict[str, Any]) -> None:
        now = self._now()
        self.floor.journal.note("profile", f"profile:{profile}:{content['action']}:{now}", now, content, profile)
        self.floor.tell("profile", profile, "warning", **content)


def _kinds_checked(strategy: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters, told in words or numbers, as the kinds of a strategy's fields.

    Raises
    ------
    ValueError
        One is of another kind: a strategy would find that out at its next slice only.
    """
    kinds = get_type_hints(type(strategy))
    try:
        return {name: msgspec.convert(value, kinds.get(name, Any)) for name, value in parameters.items()}
    except msgspec.ValidationError as error:
        raise ValueError(f"strategy: {', '.join(parameters)}: {error}") from error


def changed(limits: RiskLimits, values: Mapping[str, Any]) -> RiskLimits:
    """Return limits with other values, numbers or texts such as ``inf``.

    Raises
    ------
    ValueError
        There is no such limit, or its value is out of range.

    Examples
    --------
    >>> changed(RiskLimits(max_gross=0.5), {"max_weight": "0.2"}).max_weight
    0.2
    """
    known = limits_to_dict(limits)
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"no limit {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        return limits_from_dict({**known, **values})
    except (TypeError, OverflowError) as error:
        raise ValueError(f"limits: {error}") from error
