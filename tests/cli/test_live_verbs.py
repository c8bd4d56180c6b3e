"""What an operator does: trade in one process, look on and command from another, and leave no key anywhere."""

import contextlib
import json
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Fault, Sandbox
from cryptoquant.cli.app import app
from cryptoquant.cli.operate import PROFILE_VERBS
from cryptoquant.cli.terminal import redacted_errors
from cryptoquant.errors import ConfigurationError, VenueError
from cryptoquant.features import FeatureSet
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.journal import Journal
from cryptoquant.live.operator import changed
from cryptoquant.live.start import Start
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.registry import Registry
from cryptoquant.models.run_record import RunRecord
from cryptoquant.models.tabular import Line
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs, Venue

PAIRS = ("BTC/USD", "ETH/USD")


@dataclass
class Finished:
    """What a study offers to the registry."""

    bundle: Bundle

    def to_bundle(self, name: str) -> Bundle:
        return self.bundle

    def tracked(self) -> RunRecord:
        return RunRecord(params={}, metrics={})


def turning() -> Bundle:
    evidence = Evidence(100, 1.0, 1.1, 0.9, 0.1, 2.0, 0.99, float("nan"), 50.0, -0.1, -0.2, 40, 1, 0)
    return Bundle(
        name="turning",
        symbols=PAIRS,
        timeframe="1m",
        predictor=Line(np.array([0.0, 0.0]), 1.0),
        features=FeatureSet([f.log_return(3), f.zscore("volume", 24)]),
        strategy=LongFlat(threshold=0.6, max_weight=0.4),
        execution=Execution(),
        costs=Costs.alpaca(tier=1, slippage_bps=2.0),
        horizon=timedelta(minutes=3),
        evidence=evidence,
        fingerprints={},
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> str:
    """A registry with three versions of a bundle that buys at once and holds; the second one holds less."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"
    registry, bundle = Registry(uri), turning()
    registry.register("turning", Finished(bundle))
    registry.register("turning", Finished(replace(bundle, strategy=LongFlat(threshold=0.6, max_weight=0.2))))
    return uri


@pytest.fixture
def home(tmp_path, monkeypatch, shelf) -> Path:
    """A working folder whose places are all inside it, but for the registry."""
    monkeypatch.chdir(tmp_path)
    for name in ("CQ_STORE", "CQ_TRIALS", "CQ_JOURNAL", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    """A sandbox that runs by itself, a minute of market in a second."""
    with Sandbox(11, PAIRS, days=2, history=timedelta(days=1), speed=60.0) as sandbox:
        yield sandbox


class Paper:
    """``cryptoquant paper`` in a process of its own, with its output in files."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.out, self.err = home / "out.txt", home / "err.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cryptoquant.cli", "paper", *arguments], cwd=home, stdout=out, stderr=err
            )

    def end(self, timeout: float = 30.0) -> tuple[int, str, str]:
        try:
            self.process.wait(timeout)
        finally:
            self.process.kill()
        return self.process.wait(), self.out.read_text(), self.err.read_text()


def call(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def ok(*arguments: str) -> str:
    code, out, said = call(*arguments)
    assert code == 0, said
    return out


def refused(*arguments: str) -> str:
    code, _, said = call(*arguments)
    assert code == 1, said
    assert len(said.strip().splitlines()) == 1, said
    return said


def status(*arguments: str) -> dict:
    return json.loads(ok("status", "--json", *arguments))


def wait(trader: Paper, holds: Callable[[dict], bool], seconds: float = 40.0) -> dict:
    deadline, found = time.monotonic() + seconds, {}
    while time.monotonic() < deadline:
        code, out, _ = call("status", "--json")
        if code == 0 and holds(found := json.loads(out)):
            return found
        assert trader.process.poll() is None, trader.end()
        time.sleep(0.1)
    raise AssertionError(f"not in {seconds} s: {found} {trader.err.read_text()} {trader.out.read_text()[-2000:]}")


def is_flat(found: dict) -> bool:
    return all(quantity < 1e-3 for quantity in found["positions"].values())


def test_a_trader_is_watched_commanded_and_wound_down_from_other_processes(home, venue, shelf):
    keys = venue.alpaca()
    told = home / "told.jsonl"
    tell = f"{sys.executable} -c \"import sys; open({str(told)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')\""
    options = ("--sandbox", venue.url, "--registry", shelf, "--log", "log/trader.jsonl", "--capital", "50000")
    trader = Paper(home, "turning@1", *options, "--on-stop", "close", "--limit", "max_gross=0.9",
                   "--notify-command", tell)  # fmt: skip
    watching = home / "watch.jsonl"
    try:
        found = wait(trader, lambda s: s["fills"] >= 2)
        assert found["running"] is True
        own = found["profiles"]["main"]
        assert (own["version"], own["is_shadow"], own["halted"], own["paused"]) == ("turning@1", False, "", "")
        with watching.open("w") as out:
            watch = [sys.executable, "-m", "cryptoquant.cli", "status", "--watch", "--json", "--every", "0.1"]
            watcher = subprocess.Popen(watch, cwd=home, stdout=out)

        assert ok("profile", "pause", "main", "--reason", "lunch") == "pause main: done\n"
        assert status()["profiles"]["main"]["paused"] == "lunch"
        ok("profile", "unpause", "main")
        assert status()["profiles"]["main"]["paused"] == ""
        ok("halt", "--reason", "a test")
        assert status()["halted"] == "a test"
        ok("resume", "--profile", "main")
        assert status()["halted"] == ""

        assert "no profile 'other'; there are main" in refused("profile", "pause", "other")
        assert "no limit max_wait; there are" in refused("profile", "limits", "main", "max_wait=1")
        assert "max_weight must be above zero" in refused("profile", "limits", "main", "max_weight=-1")
        assert "more than the spare" in refused("profile", "add", "big", "turning@2", "--capital", "90000")
        assert "not registered" in refused("profile", "add", "big", "nothing@2")

        terms = ("--capital", "20000", "--limit", "max_weight=0.1", "--limit", "max_age=inf")
        ok("profile", "add", "second", "turning@1", *terms)
        assert "there is a profile second already" in refused("profile", "add", "second", "turning@1")
        ok("profile", "limits", "second", "max_weight=0.5", "max_orders_per_minute=50")
        ok("profile", "add", "beside", "turning@2", "--capital", "1000", "--shadow")
        found = wait(trader, lambda s: all(one["fills"] > 0 for one in s["profiles"].values()))
        assert set(found["profiles"]) == {"main", "second", "beside"}
        assert found["profiles"]["beside"]["is_shadow"] is True
        assert found["equity"] == pytest.approx(70_000, rel=0.02)

        ok("profile", "swap", "main", "turning@2")
        assert status("--profile", "main")["profiles"]["main"]["version"] == "turning@2"
        decided = status()["profiles"]["main"]["slices"]
        wait(trader, lambda s: s["profiles"]["main"]["slices"] > decided)
        ok("profile", "swap", "main", "turning@1")
        assert status()["profiles"]["main"]["version"] == "turning@1"

        assert "close it first" in refused("profile", "remove", "second")
        ok("profile", "close", "second")
        wait(trader, lambda s: is_flat(s["profiles"]["second"]) and not s["profiles"]["second"]["in_flight"])
        ok("profile", "remove", "second")
        assert "was removed: take another name" in refused("profile", "add", "second", "turning@1")
        assert set(status()["profiles"]) == {"main", "beside"}
        assert json.loads(ok("replay", "--profile", "main", "--json"))["main"]["equal"] is True
        assert set(json.loads(ok("replay", "--json"))) == {"main", "second", "beside"}
        assert "found 'nobody'" in refused("replay", "--profile", "nobody")
        assert json.loads(ok("report", "--profile", "second", "--json"))["fills"] >= 2
        shown = ok("status", "--sandbox", venue.url)
        for word in ("main", "beside (shadow)", "turning@1", "last trades", "last notes", "swap", "00:0"):
            assert word in shown

        trader.process.send_signal(signal.SIGTERM)
        code, out, said = trader.end()
        assert (code, said) == (0, ""), said
        assert watcher.wait(20) == 0
    finally:
        trader.process.kill()
        trader.process.wait()
    found = status()
    assert found["running"] is False
    assert found["profiles"]["main"]["paused"] == "asked to stop: SIGTERM"
    assert is_flat(found["profiles"]["main"])
    assert found["in_flight"] == 0
    assert json.loads(ok("replay", "--profile", "main", "--json"))["main"]["equal"] is True
    for verb in (("halt",), ("stop",), ("profile", "pause", "main")):
        assert "no trader writes journal.sqlite" in refused(*verb)
    assert ok("resume") == "the halt is reset\n"

    lines = [json.loads(line) for line in (home / "log" / "trader.jsonl").read_text().splitlines()]
    assert {"started", "decided", "send", "fill", "command", "profile", "swap", "stopped"} <= {x["what"] for x in lines}
    assert "fill" in out
    seen = [json.loads(line) for line in watching.read_text().splitlines()]
    assert len(seen) > 5
    assert seen[-1]["fills"] == found["fills"]
    heard = [json.loads(line) for line in told.read_text().splitlines()]
    assert {"command", "profile", "swap"} <= {one["what"] for one in heard}
    assert {one["level"] for one in heard} <= {"warning", "error"}
    for place in home.rglob("*"):
        if place.is_file():
            for secret in (keys.api_key, keys.api_secret):
                assert secret
                assert secret.encode() not in place.read_bytes(), place


def test_a_second_signal_ends_a_trader_at_once_the_next_one_goes_on_and_a_halt_is_exit_code_1(home, venue, shelf):
    (home / "profiles.toml").write_text(
        '[[profile]]\nname = "main"\nreference = "turning@1"\ncapital = 30000\non_stop = "close"\n'
        '[profile.limits]\nmax_weight = 0.5\n[[profile]]\nname = "shade"\nreference = "turning@2"\n'
        "capital = 500\nshadow = true\n"
    )
    options = ("--profile-file", "profiles.toml", "--sandbox", venue.url, "--registry", shelf, "--quotes")
    trader = Paper(home, *options, "--log-json", "--json")
    try:
        wait(trader, lambda s: s["profiles"]["main"]["fills"] >= 2 and not s["in_flight"])
        venue.inject(Fault("order.late", delay=timedelta(minutes=6), lasts=timedelta(minutes=2)))
        trader.process.send_signal(signal.SIGTERM)
        wait(trader, lambda s: s["in_flight"] > 0)
        began = time.monotonic()
        trader.process.send_signal(signal.SIGINT)
        code, out, said = trader.end()
        assert time.monotonic() - began < 5
        assert code == 1
        assert out == ""
        *lines, last = said.splitlines()
        assert last.startswith("error: interrupted: ended at once")
        assert {json.loads(line)["profile"] for line in lines} >= {"main", "shade"}
        assert status()["in_flight"] > 0

        # What a terminal shows while the next trader goes on; the interrupt key ends it.
        trader = Paper(home, *options)
        wait(trader, lambda s: s["running"])
        screen = watched(home)
        assert "shade (shadow)" in screen
        assert "P&L" in screen
        # It buys again: the pause of the end that was cut short has ended with the new start.
        wait(trader, lambda s: s["profiles"]["main"]["fills"] >= 6 and s["profiles"]["main"]["paused"] == "")

        # Keys that the venue refuses halt it.
        venue.inject(Fault("http.revoked", lasts=timedelta(days=1)))
        ok("profile", "close", "main")
        code, out, said = trader.end()
        assert code == 1
        assert len(said.strip().splitlines()) == 1
        assert said.startswith("error: ")
        assert re.search(r"error +- +halted", out)
    finally:
        trader.process.kill()
        trader.process.wait()


def watched(home: Path) -> str:
    """What ``status --watch`` shows on a terminal until the interrupt key is pressed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cryptoquant.cli", "status", "--watch", "--every", "0.1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "60"}
    process = subprocess.Popen(command, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    screen = b""
    try:
        while screen.count(b"last notes") < 3:
            screen += os.read(ours, 65536)
        pressed = -math.inf
        with contextlib.suppress(OSError):  # the terminal has nobody on its other side any more
            while process.poll() is None:
                if time.monotonic() - pressed > 5.0:  # Python may lose an interrupt, as in a destructor
                    process.send_signal(signal.SIGINT)
                    pressed = time.monotonic()
                if select.select([ours], [], [], 0.1)[0]:  # a terminal that is full would stop who writes
                    screen += os.read(ours, 65536)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return screen.decode()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "wanted tables [[profile]] and nothing else, found none"),
        ("[[profile]]\nname = 'a'\n", "profile[0].reference: absent"),
        ("[[profile]]\nname = 'a'\nreference = 'x@1'\ncapitol = 5\n", "capitol: unknown, did you mean 'capital'"),
        ("[[profile]]\nname = 'a'\nreference = 'x@1'\ncapital = '5'\n", "profile[0].capital: "),
        ("[[profile]]\nname = 'a'\nreference = 'x@1'\non_stop = 'sell'\n", "profile[0].on_stop: "),
        ("[[profile]]\nname = 'A B'\nreference = 'turning@1'\n", "profile[0]: profile 'A B': wanted 1 to 16"),
        ("[[profile]]\nname = 'a'\nreference = 'turning@1'\nlimits = { max_wait = 1 }\n", "profile[0]: no limit"),
        ("[[profile]\n", "profiles.toml: "),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_of_profiles_is_named_by_its_path(home, shelf, venue, content, text):
    (home / "profiles.toml").write_text(content)
    said = refused("paper", "--profile-file", "profiles.toml", "--registry", shelf, "--sandbox", venue.url)
    assert text in said


def test_wrong_usage_of_paper_is_2():
    for options, text in (
        ((), "wanted a reference"),
        (("x@1", "--on-stop", "sell"), "keep or close"),
        (("x@1", "--limit", "max_weight"), "NAME=VALUE"),
        (("x@1", "--notify-level", "loud"), "info, warning or error"),
    ):
        code, _, said = call("paper", *options)
        assert code == 2
        assert text in said


@pytest.mark.parametrize("verb", sorted(PROFILE_VERBS))
def test_every_verb_of_a_profile_explains_itself(verb):
    assert "Usage:" in ok("profile", verb, "--help")


def test_a_command_that_no_one_takes_is_withdrawn_and_does_not_come_true_later(home):
    from cryptoquant.errors import TradingError
    from cryptoquant.live.asking import ask

    place = home / "journal.sqlite"
    book = Journal(place)
    try:
        with pytest.raises(TradingError, match="did not answer in 0 s; the command was withdrawn"):
            ask(place, "stop", timeout=0.1)
        inbox = Inbox(place)
        assert inbox.waiting() == []
        number = inbox.ask("halt")
        (request,) = inbox.waiting()
        assert inbox.take(request)
        assert not inbox.withdraw(number)
        inbox.answer(request, "")
        inbox._db.execute("INSERT INTO asked (body) VALUES ('{\"action\": 7}')")
        assert inbox.waiting() == []
        assert "this is no command" in (inbox.answer_of(number + 1) or "")
        inbox.close()
    finally:
        book.close()


@pytest.mark.parametrize("verb", ["status", "replay", "report"])
@pytest.mark.parametrize(("kind", "body"), [("profile", b"{"), ("profile", b"[]"), ("order", b"{}"), ("fill", b"x")])
def test_a_damaged_journal_is_one_line_that_names_the_row_as_it_is(home, shelf, verb, kind, body):
    with contextlib.closing(Journal("journal.sqlite")) as journal:
        if kind != "profile":
            limits, venue = RiskLimits(), Venue.alpaca(Costs.alpaca())
            start = Start("a", "one", "1h", LongFlat(0.6), venue, Execution(), limits, ("A/USD",), 9.5, 7, ())
            journal.note("profile", "profile:one:7", 7, {"action": "add", **start.to_dict()}, "one")
        journal.write([(kind, "one", f"{kind}:one:9", 9, body)], durable=False)
    rest = ("--registry", shelf, "--store", "store") if verb == "replay" else ()
    said = refused(verb, "--journal", "journal.sqlite", *rest)
    assert f"({kind} {kind}:one:9) is damaged: found " in said
    assert len(said.strip().splitlines()) == 1


def test_a_capital_that_is_no_number_is_refused_and_nothing_is_asked(home):
    with contextlib.closing(Journal("journal.sqlite")):
        for text in ("nan", "inf"):
            said = refused("profile", "add", "x", "m@champion", "--capital", text, "--journal", "journal.sqlite")
            assert f"add x: found capital={text}, wanted a finite number" in said
        with contextlib.closing(Inbox(Path("journal.sqlite"))) as inbox:
            assert inbox.waiting() == []


def test_limits_are_read_from_numbers_and_texts():
    assert changed(RiskLimits(), {"max_age": "inf", "max_orders_per_minute": "7"}) == RiskLimits(
        max_orders_per_minute=7
    )
    for wrong in ({"max_age": "soon"}, {"max_orders_per_minute": "inf"}, {"max_weight": None}, {"max_gross": 0}):
        with pytest.raises(ValueError):
            changed(RiskLimits(), wrong)


def test_an_error_of_any_kind_shows_no_key(capsys):
    def redact(text: str) -> str:
        return text.replace("PKLIVE12345", "***")

    def fail() -> None:
        with redacted_errors(redact):
            sys.stderr.write("seen PKLIVE12345\n")
            raise ConfigurationError("refused PKLIVE12345") from VenueError("403 for PKLIVE12345")

    with pytest.raises(ConfigurationError) as raised:
        fail()
    assert (str(raised.value), str(raised.value.__cause__)) == ("refused ***", "403 for ***")
    assert capsys.readouterr().err == "seen ***\n"
