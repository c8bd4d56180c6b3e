"""The executable ``cryptoquant``: its verbs, and what an error looks like (one line, exit code 1; wrong usage: 2)."""

import _thread
import errno
import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from cryptoquant.cli import data, demo, live, operate, paper, registry, replay, research, sandbox, status_view
from cryptoquant.cli.terminal import complain
from cryptoquant.errors import CryptoquantError

RESEND_AFTER_SECONDS = 0.05


@contextmanager
def interruptible() -> Iterator[None]:
    """Send an interrupt again that fell into a finalizer or a callback, where Python would drop it."""
    before, main = sys.unraisablehook, threading.main_thread().ident or 0

    def again() -> None:
        time.sleep(RESEND_AFTER_SECONDS)
        signal.pthread_kill(main, signal.SIGINT)

    def unraisable(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            _thread.start_new_thread(again, ())
        else:
            before(lost)

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = before


def guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """Return a verb whose failures are one line on stderr and exit code 1."""

    @functools.wraps(verb)
    def run(*args: object, **options: object) -> None:
        try:
            with interruptible():
                verb(*args, **options)
        except KeyboardInterrupt:
            reason = "interrupted; what was written so far is whole, and the same command goes on from there"
        except (CryptoquantError, ValueError) as error:
            reason = str(error)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            reason = f"{'the disk is full' if full else error.strerror or error}: {error.filename or 'while writing'}"
        else:
            return
        raise typer.Exit(complain(reason))

    return run


app = typer.Typer(
    name="cryptoquant",
    help="Research, backtest and paper-trade machine-learning strategies on crypto.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "doctor": registry.doctor,
    "download": data.download,
    "record": data.record,
    "import": data.import_,
    "export": data.export,
    "check": data.check,
    "backtest": research.backtest,
    "sweep": research.sweep,
    "walk-forward": research.walk_forward,
    "placebo": research.placebo,
    "register": research.register,
    "promote": registry.promote,
    "rollback": registry.rollback,
    "compare": registry.compare,
    "models": registry.models,
    "sandbox": sandbox.sandbox,
    "paper": paper.paper,
    "status": status_view.status,
    "halt": operate.halt,
    "resume": operate.resume,
    "stop": operate.stop,
    "replay": replay.replay,
    "report": live.report,
}
for verb, function in VERBS.items():
    app.command(verb)(guarded(function))
profile = typer.Typer(help="Profiles of a running trader: each command waits for its answer.", no_args_is_help=True)
for verb, command in operate.PROFILE_VERBS.items():
    profile.command(verb)(guarded(command))
app.add_typer(profile, name="profile")


def main() -> None:
    """Run the command line and leave with its exit code: 0, 1 (the work failed) or 2 (wrong usage)."""
    app()
