"""A trader killed at random moments, again and again, and held to what one that nobody killed did on the same market.

Run as ``python -m tests.live.kill_harness SEED KILLS HOURS FOLDER [BUG]``; the last line of its output is the verdict
as JSON. The venue runs in lock-step in a process of its own that lives on, so no market time is lost while the trader
is dead. Each process is forked from one that has loaded everything and started nothing, so that a life costs less than
the seconds of an import.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.data.alpaca import Alpaca, _load_sdk
from cryptoquant.data.clock import SandboxClock
from cryptoquant.data.store import Store
from cryptoquant.errors import CryptoquantError
from cryptoquant.features import FeatureSet
from cryptoquant.live import broker as broker_module
from cryptoquant.live import shift
from cryptoquant.live.broker import AlpacaBroker
from cryptoquant.live.floor import Floor
from cryptoquant.live.journal import Journal
from cryptoquant.live.opening import Opening
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.tabular import Line
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Cancellation
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs
from tests.data.kill_harness import end, fork, listen, say

PAIRS = ("BTC/USD", "ETH/USD")
PAST = timedelta(days=10)
BUGS = ("written behind", "random ids", "cancelled blindly")
BLIND = "sent again blindly"  # no bug by itself: the ids stop what would be double
WAYS = ("write", "written", "request", "answered", "moved", "clock")
FURTHEST = {"write": 60, "written": 60, "request": 40, "answered": 40, "moved": 120, "clock": 1_500}
PATIENCE_SECONDS = 300.0


def bundle_of(name: str, timeframe: str, execution: Execution, turn: float) -> Bundle:
    """A line that turns every few bars: no skill, many orders."""
    evidence = Evidence(100, 1.0, 1.1, 0.9, 0.1, 2.0, 0.99, float("nan"), 50.0, -0.1, -0.2, 40, 1, 0)
    return Bundle(
        name=name,
        symbols=PAIRS,
        timeframe=timeframe,
        predictor=Line(np.array([turn, 0.0]), 0.0),
        features=FeatureSet([f.log_return(3), f.zscore("volume", 24)]),
        strategy=LongFlat(threshold=0.6, max_weight=0.4),
        execution=execution,
        costs=Costs.alpaca(tier=1, slippage_bps=2.0),
        horizon=timedelta(hours=3),
        evidence=evidence,
        fingerprints={},
    )


def profiles() -> list[Profile]:
    """Two profiles side by side, one with stops and targets, one with parts and lives, and a shadow that trails."""
    stops = Execution(stop_loss=0.006, take_profit=0.009)
    parts = Execution(parts=3, pause=timedelta(minutes=4), limit_bps=4.0, life=timedelta(minutes=7))
    trails = Execution(trailing=0.008)
    limits = RiskLimits(max_weight=0.6)
    return [
        Profile("stops", bundle_of("hourly", "1h", stops, 120.0), capital=40_000.0, limits=limits),
        Profile("parts", bundle_of("quarterly", "15m", parts, 250.0), capital=40_000.0, limits=limits),
        Profile("shadow", bundle_of("shadowy", "1h", trails, -120.0), capital=20_000.0, is_shadow=True),
    ]


def faults_of(seed: int, start: int, hours: int) -> Iterator[Fault]:
    """Yield what goes wrong, about four things an hour; the broker gets over each within one request."""
    rng = random.Random(seed)
    post, get = {"method": "POST", "path": "/v2/orders"}, {"path": "/v2"}
    for hour in range(hours):
        for _ in range(4):
            kind, more = rng.choice(
                [
                    ("http.accepted", post),
                    ("http.error", post),
                    ("http.reset_after", post),
                    ("http.garbage", post),
                    ("http.reset_after", {"method": "DELETE", "path": "/v2/orders"}),
                    ("http.error", {**get, "status": 500}),
                    ("http.rate_limit", {**get, "seconds": 0.0}),
                    ("http.hang", {**get, "seconds": 0.05}),
                    ("trading.duplicate", {}),
                    ("trading.lose", {}),
                    ("trading.reorder", {}),
                    ("data.duplicate", {}),
                ]
            )
            moment = start + (hour * 3_600 + rng.randrange(3_600)) * 10**9
            yield Fault(kind, at=moment, count=1, lasts=timedelta(hours=6), **more)


@dataclass
class Life:
    """What ends a trader: the how-manieth occasion of which kind; of ``clock`` milliseconds, counted from outside."""

    way: str
    left: int

    def pass_by(self, way: str) -> None:
        if way == self.way:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count every write of the journal, every request to the venue, and every move of its clock."""
        write, call, advance = Journal.write, AlpacaBroker._call, SandboxClock.advance

        def written(journal: Journal, rows: Any, *, durable: bool) -> int:
            self.pass_by("write")
            count = write(journal, rows, durable=durable)
            self.pass_by("written")
            return count

        def called(own: AlpacaBroker, request: Any) -> Any:
            self.pass_by("request")
            answer = call(own, request)
            self.pass_by("answered")
            return answer

        def advanced(clock: SandboxClock, by: timedelta) -> Any:
            moment = advance(clock, by)
            self.pass_by("moved")
            return moment

        Journal.write, AlpacaBroker._call, SandboxClock.advance = written, called, advanced  # type: ignore[method-assign]


@dataclass
class Harness:
    """Lets a trader live to the end of its time, first undisturbed, then killed ``kills`` times among faults."""

    seed: int
    kills: int
    hours: int
    folder: Path
    bug: str = ""
    died: int = 0
    said: list[str] = field(default_factory=list)

    def run(self) -> dict[str, object]:
        begun = time.monotonic()
        quiet = self.world("quiet", lambda root, pipe: self.live(root, pipe, None))
        rng = random.Random(self.seed)
        loud = self.world("loud", lambda root, pipe: self.lives(root, pipe, rng))
        self.compare(quiet, loud)
        orders, fills = loud.get("orders", []), loud.get("fills", [])
        return {
            "seed": self.seed,
            "kills": self.died,
            "orders": len(orders),
            "fills": len(fills),
            "cancels": loud.get("cancels", 0),
            "faults": loud.get("faults", 0),
            "mismatches": len(self.said),
            "said": self.said[:8],
            "seconds": round(time.monotonic() - begun, 1),
        }

    def world(self, name: str, happens: Callable[[Path, str], str]) -> dict[str, Any]:
        """Run a venue, let something happen to it, and return what it and the journal say at the end."""
        root = self.folder / name
        root.mkdir(parents=True)
        hear, tell = os.pipe()
        asked, ask = os.pipe()
        venue = fork(lambda: self.serve(name, tell, asked))
        os.close(tell)
        os.close(asked)
        try:
            connection = listen(hear, 60.0, "{")
            if wrong := happens(root, connection):
                self.said.append(f"{name}: {wrong}")
            os.write(ask, b"?")
            told = json.loads(listen(hear, 60.0, "{"))
        finally:
            end(venue)
            os.close(hear)
            os.close(ask)
        told["books"] = self.asked_of(lambda pipe: say(pipe, json.dumps(books_of(root / "journal.sqlite"))))
        (root / "told.json").write_text(json.dumps(told))
        return told

    def serve(self, name: str, tell: int, asked: int) -> None:
        """Be the venue until killed; answer the one question what has happened."""
        days = 12 + self.hours // 24
        faults = list(faults_of(self.seed, to_start(), self.hours)) if name == "loud" else []
        with Sandbox(self.seed, PAIRS, days=days, history=PAST, lockstep=True, faults=faults) as sandbox:
            say(tell, json.dumps(dataclasses.asdict(sandbox.alpaca())))
            os.read(asked, 1)
            say(tell, json.dumps(said_by(sandbox)))
            signal.pause()

    def live(self, root: Path, connection: str, life: Life | None) -> str:
        """Let a trader live until its time is over or it is killed; return what it complained of."""
        hear, tell = os.pipe()
        child = fork(lambda: self.trade(root, json.loads(connection), life, tell))
        os.close(tell)
        if life is not None and life.way == "clock":
            time.sleep(life.left / 1_000)
            os.kill(child, signal.SIGKILL)
        told = listen(hear, PATIENCE_SECONDS, "!")
        os.close(hear)
        _, status = os.waitpid(child, 0) if told or life else (0, end(child))
        if told.startswith("!halted"):
            return told[1:].strip()
        if not told and not (os.WIFSIGNALED(status) if status is not None else False):
            return f"a life ended with {status}"
        return "" if told else "killed"

    def lives(self, root: Path, connection: str, rng: random.Random) -> str:
        """Let it live again and again."""
        while self.died < self.kills:
            way = rng.choice(WAYS)
            found = self.live(root, connection, Life(way, 1 + int(rng.random() ** 2 * FURTHEST[way])))
            if not found:
                return ""
            if found != "killed":
                return f"after {self.died} kills: {found}"
            self.died += 1
        return self.live(root, connection, None)

    def trade(self, root: Path, connection: dict[str, Any], life: Life | None, tell: int) -> None:
        os.environ["CQ_STATE"] = str(root / "state")
        plant(self.bug if root.name == "loud" else "")
        shift.POLL_EVERY_SECONDS = 0.0  # polls go by the wall's clock, and here all that happens goes by the venue's
        broker_module.PAUSE_SECONDS = 0.01
        if life is not None:
            life.watch()
        try:
            trader = Trader(profiles(), Alpaca(**connection), Store(root / "store"), journal=root / "journal.sqlite")
            left = to_start() + self.hours * 3_600 * 10**9 - trader.clock.now()
            trader.open()
            if left > 0:
                trader.run(until=timedelta(microseconds=left // 1_000))
            trader.stop()
        except CryptoquantError as error:
            say(tell, f"!halted {type(error).__name__}: {error}")
        else:
            if trader.state == "halted":
                say(tell, f"!halted {trader.reason}")
            say(tell, "!done")

    def asked_of(self, work: Callable[[int], None]) -> Any:
        """Do something in a child, since whoever has used polars cannot be forked, and return the JSON that it says."""
        hear, tell = os.pipe()
        child = fork(lambda: work(tell))
        os.close(tell)
        said = listen(hear, 60.0, "{")
        os.close(hear)
        end(child)
        return json.loads(said) if said else {"trouble": "the journal cannot be read"}

    def compare(self, quiet: dict[str, Any], loud: dict[str, Any]) -> None:
        """Note what differs from the trader that lived undisturbed, and our books from the venue's."""
        if len({order[0] for order in loud["orders"]}) != len(loud["orders"]):
            self.said.append("an order was given twice")
        for name in ("orders", "fills", "account"):
            if quiet[name] != loud[name]:
                only = (
                    [one for one in quiet[name] if one not in loud[name]][:4],
                    [one for one in loud[name] if one not in quiet[name]][:4],
                )
                self.said.append(f"{name}: undisturbed {len(quiet[name])}, now {len(loud[name])}, only there {only}")
        for world, told in (("quiet", quiet), ("loud", loud)):
            books = told["books"]
            if "trouble" in books:
                self.said.append(f"{world}: {books['trouble']}")
            elif books["account"] != told["account"]:
                self.said.append(f"{world}: our books {books['account']}, the venue's {told['account']}")
        if quiet["books"] != loud["books"]:
            self.said.append("the books of the two traders differ")


def to_start() -> int:
    """When the market's past ends, nanoseconds UTC."""
    return 1_704_067_200 * 10**9 + int(PAST.total_seconds()) * 10**9


def said_by(sandbox: Sandbox) -> dict[str, Any]:
    """Return orders, fills and books as the venue has them."""
    exchange = sandbox._exchange
    own = {ticket.id: ticket.request.client_order_id for ticket in exchange.tickets.values()}
    orders = [
        [t.request.client_order_id, o.symbol, o.side, o.lots, o.type, o.limit_price, t.submitted, t.status]
        for t in exchange.tickets.values()
        for o in [t.order]
    ]
    fills = [[own[one.order_id], one.lots, one.price, one.time] for one in exchange.fills]
    return {
        "orders": sorted(orders, key=lambda order: (order[6], order[0])),
        "fills": sorted(fills, key=lambda fill: (fill[3], fill[0])),
        "cancels": sum(ticket.status == "canceled" for ticket in exchange.tickets.values()),
        "faults": sum(fault["fired"] for fault in sandbox.faults()),
        "account": [int(sandbox.account().cash), *map(int, sandbox.account().lots)],
    }


def books_of(journal: Path) -> dict[str, Any]:
    """Return what a journal says of each profile and of the account, to the unit."""
    try:
        found = replay_all(journal)
    except CryptoquantError as error:
        return {"trouble": str(error)}
    if wrong := [f"{name}: {one.difference}" for name, one in found.items() if not one.is_equal]:
        return {"trouble": f"replay differs: {wrong}"}
    books = {
        name: [int(one.engine.portfolio.cash), *map(int, one.engine.portfolio.lots)] for name, one in found.items()
    }
    unit = next(iter(found.values())).engine.venue.unit
    spare = round((100_000.0 - sum(one.start.cash for one in found.values() if not one.start.is_shadow)) / unit)
    real = [books[name] for name, one in found.items() if not one.start.is_shadow]
    total = [sum(column) for column in zip(*real, strict=True)]
    ids = {name: sorted(order.id for order in one.orders) for name, one in found.items()}
    return {"account": [total[0] + spare, *total[1:]], "profiles": books, "orders": ids}


def plant(bug: str) -> None:
    """Put a bug into this process."""
    if bug == BUGS[0]:
        _write_behind()
    elif bug == BUGS[1]:
        _name_at_random()
    elif bug:
        _start_blindly(bug)


def _write_behind() -> None:
    """Act first, and write a while later."""
    write, waiting = Journal.write, list[Any]()

    def written(journal: Journal, rows: Any, *, durable: bool) -> int:
        waiting.extend(rows)
        if len(waiting) < 40 and all(row[0] != "profile" for row in waiting):
            return 0
        found, waiting[:] = list(waiting), []
        return write(journal, found, durable=durable)

    Journal.write = written  # type: ignore[method-assign]


def _name_at_random() -> None:
    """Name orders at the venue by chance, and know them by that name until the end of this life."""
    names: dict[str, str] = {}
    submit, status, on_update = AlpacaBroker.submit, AlpacaBroker.status, Floor.on_update

    def submitted(own: AlpacaBroker, order: Any) -> Any:
        names[order.id] = uuid.uuid4().hex
        return submit(own, replace_id(order, names[order.id]))

    def asked(own: AlpacaBroker, order_id: str) -> Any:
        return status(own, names.get(order_id, order_id))

    def updated(floor: Floor, update: Any) -> None:
        told = update.data["order"]
        known = {name: order_id for order_id, name in names.items()}
        told["client_order_id"] = known.get(told["client_order_id"], told["client_order_id"])
        on_update(floor, update)

    AlpacaBroker.submit, AlpacaBroker.status, Floor.on_update = submitted, asked, updated  # type: ignore[method-assign]


def replace_id(order: Any, name: str) -> Any:
    from msgspec.structs import replace as changed

    return changed(order, id=name)


def _start_blindly(bug: str) -> None:
    """Do not ask at the start what became of open orders: send them again, or take them for ended."""
    catch_up = Opening.catch_up

    def blindly(opening: Opening, floor: Floor, heed: Any) -> None:
        for desk in floor.desks.values():
            for order in () if desk.profile.is_shadow else tuple(desk.engine.in_flight.values()):
                if bug == BLIND:
                    floor.dispatcher.ask("send", order)
                else:
                    floor.book(desk, [Cancellation(order.id, order.profile, order.symbol, opening.now)])
        told = {"status": "new", "filled_qty": "0", "filled_avg_price": None, "updated_at": "2024-01-01T00:00:00Z"}
        status, opening.broker.status = opening.broker.status, lambda order_id: told  # type: ignore[method-assign]
        try:
            catch_up(opening, floor, heed)
        finally:
            opening.broker.status = status  # type: ignore[method-assign]

    Opening.catch_up = blindly  # type: ignore[method-assign]


def main() -> None:
    seed, kills, hours, folder, *bug = sys.argv[1:]
    _load_sdk()
    place = Path(folder)
    verdict = Harness(int(seed), int(kills), int(hours), place, *bug).run()
    if not verdict["mismatches"]:
        for name in ("quiet", "loud"):
            shutil.rmtree(place / name, ignore_errors=True)
    sys.stdout.write(json.dumps(verdict) + "\n")


if __name__ == "__main__":
    main()
