"""Notifications arrive, are offered again, are dropped when too many wait, and never hold trading up."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cryptoquant.errors import ConfigurationError
from cryptoquant.live.note import Note
from cryptoquant.live.notify import Notifier, Program, Webhook
from cryptoquant.live.redaction import Redaction
from cryptoquant.live.replay import replay

NONE = Redaction([])


class Hook(ThreadingHTTPServer):
    """A receiver on loopback: answers with the next of ``answers`` (200 when none is left), once ``gate`` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict]] = []
        self.answers: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.got.append((dict(handler.headers), json.loads(body)))
                self.gate.wait(20)
                handler.send_response(self.answers.pop(0) if self.answers else 200)
                handler.send_header("Location", self.url)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def handle_error(self, *_: object) -> None:
        """A client that gave up is what some tests want."""


@contextmanager
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join()


def note(number: int = 0, level: str = "warning") -> Note:
    return Note(1_700_000_000_000_000_000, level, "command", "main", {"number": number})  # type: ignore[arg-type]


def test_a_message_arrives_with_its_secret_and_keys_do_not():
    with hook() as server:
        notifier = Notifier([Webhook(server.url, "bearer-1234")], Redaction(["PKLIVE12345"]))
        notifier(Note(1_700_000_000_000_000_000, "error", "halted", "", {"reason": "PKLIVE12345 refused"}))
        notifier.close()
        ((headers, body),) = server.got
    assert headers["Authorization"] == "Bearer bearer-1234"
    assert headers["Content-Type"] == "application/json"
    assert (body["what"], body["level"], body["profile"], body["dropped"]) == ("halted", "error", "", 0)
    assert body["time"] == "2023-11-14T22:13:20Z"
    assert body["facts"] == {"reason": "*** refused"}
    assert "halted" in body["text"]
    assert notifier.couriers[0].delivered == 1


def test_only_what_is_grave_enough_is_sent():
    for least, wanted in (("info", 3), ("warning", 2), ("error", 1)):
        with hook() as server:
            notifier = Notifier([Webhook(server.url)], NONE, level=least)
            for level in ("info", "warning", "error"):
                notifier(note(level=level))
            notifier.close()
            assert len(server.got) == wanted
    with pytest.raises(ValueError, match="level must be one of"):
        Notifier([], NONE, level="loud")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "posts", "arrives"),
    [([503, 429, 200], 3, True), ([500] * 9, 4, False), ([400], 1, False), ([302], 1, False), ([204], 1, True)],
)
def test_what_fails_for_now_is_offered_again_and_what_is_refused_is_not(answers, posts, arrives):
    with hook() as server:
        server.answers = list(answers)
        notifier = Notifier([Webhook(server.url)], NONE, pause=0.001)
        courier = notifier.couriers[0]
        notifier(note())
        while courier.delivered + courier.failed == 0:
            threading.Event().wait(0.005)
        notifier.close()
        assert len(server.got) == posts
    assert (courier.delivered, courier.failed) == ((1, 0) if arrives else (0, 1))


def test_a_slow_receiver_costs_its_own_queue_only_and_trading_goes_on(hire):
    with hook() as slow, hook() as quick:
        slow.gate.clear()
        receivers = [Webhook(slow.url, timeout=30.0), Webhook("http://127.0.0.1:9/dead"), Webhook(quick.url)]
        notifier = Notifier(receivers, NONE, level="info", capacity=4, pause=0.001)
        trader = hire(listeners=[notifier])
        done = trader.run(until=timedelta(hours=12))
        # The whole run has passed while the first message is still being taken: nothing waited for it.
        assert len(slow.got) == 1
        assert done.slices == 12
        assert replay(trader.journal_path).is_equal
        first, dead, good = notifier.couriers
        assert first.delivered == 0
        assert first.dropped > 0
        slow.gate.set()
        notifier.close()
        assert first.delivered >= 4
        assert dead.delivered == 0
        assert dead.failed > 0
        assert good.delivered + good.dropped == first.delivered + first.dropped
        assert slow.got[-1][1]["dropped"] == first.dropped
        assert slow.got[-1][1]["what"] == "stopped"


def test_a_receiver_that_is_too_slow_is_given_up():
    with hook() as server:
        server.gate.clear()
        assert Webhook(server.url, timeout=0.05)(b"{}") == "absent"


def test_a_program_reads_the_message_and_one_that_hangs_or_fails_is_absent(tmp_path):
    place = tmp_path / "got.json"
    code = f"import sys; open({str(place)!r}, 'wb').write(sys.stdin.buffer.read())"
    notifier = Notifier([Program(f'{sys.executable} -c "{code}"')], NONE)
    notifier(note(5))
    notifier.close()
    assert json.loads(place.read_text())["facts"] == {"number": 5}
    assert Program(f'{sys.executable} -c "import time; time.sleep(60)"', timeout=0.2)(b"{}") == "absent"
    assert Program(f'{sys.executable} -c "raise SystemExit(3)"')(b"{}") == "absent"
    assert Program("/no/such/program")(b"{}") == "absent"
    for command in ("", "'"):
        with pytest.raises(ConfigurationError, match="notification command"):
            Program(command)


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "ftp://127.0.0.1/x", "example.com", "http://127.0.0.1.evil.org/"]
)
def test_an_address_that_is_neither_https_nor_loopback_is_refused_without_showing_its_path(url):
    with pytest.raises(ConfigurationError, match="wanted https, or http on loopback") as refused:
        Webhook(url + "token123")
    assert "token123" not in str(refused.value) or "/" not in url
    Webhook("https://hooks.example/T0")
    Webhook("http://localhost:9/x")
