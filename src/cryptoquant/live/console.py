"""The console: every decision and trade as one line, for a person or for a program, without keys.

What is told, by its word, and which facts stand beside it (money in quote currency, quantities in coins):

=========  =======  ===================================================================================================
word       level    facts
=========  =======  ===================================================================================================
started    info     reference, equity: a profile trades from now on
decided    info     slice (its close), equity, signals by symbol, orders: what a model and a strategy made of a slice
refused    info     order, symbol, side, quantity, reason: our own gate did not let an order pass
send       info     order, symbol, side, quantity, type, limit, reference (the price when it was decided)
cancel     info     as send: the order's end was asked for
fill       info     order, symbol, side, quantity, price, fee, slippage_bps (against the reference, positive is worse),
                    latency_s (from the sending to the fill, in the venue's time), reason (stop, target or nothing)
ended      warning  order, symbol, side, quantity, reason: an order's end without being filled whole
command    warning  action (halt, resume, pause, unpause, cancel, close), reason: by the operator or by a safeguard
profile    warning  action (add, remove, limits, strategy) and what changed
swap       warning  reference, version: a profile trades by another bundle from its next slice on
stuck      error    symbol, reason: a position cannot be sold, and the next try waits for minutes to an hour
stranger   warning  order, event: the venue tells of an order that is not ours
trouble    warning  task, reason: a request to the venue got no answer
halted     error    reason: nothing is opened any more until ``resume``; without a profile the trader ends
stopped    info     state, reason, equity; error when it was a halt
=========  =======  ===================================================================================================
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cryptoquant.live.courier import Courier
from cryptoquant.live.note import Note
from cryptoquant.live.redaction import Redaction
from cryptoquant.market.time import iso

ENCODER = msgspec.json.Encoder()


class Console:
    """A listener that writes a line for each note, in a thread of its own: a terminal that stands still stops nothing.

    Parameters
    ----------
    write
        Takes a line without its end; of a file, ``LogFile(path).write``.
    redaction
        Takes keys out; ``Redaction.of(connection)``.
    as_json
        One JSON object a line, instead of text.
    """

    def __init__(self, write: Callable[[str], None], redaction: Redaction, *, as_json: bool = False) -> None:
        self.redaction, self.as_json = redaction, as_json
        self.courier: Courier[tuple[Note, int]] = Courier(self._deliver, "console")
        self._write = write

    def __call__(self, note: Note) -> None:
        """Take a note and the present of this machine."""
        self.courier.put((note, time.time_ns()))

    def close(self) -> None:
        """Write what waits, and end."""
        self.courier.close()

    def _deliver(self, told: tuple[Note, int]) -> None:
        content = content_of(*told, self.redaction)
        self._write(ENCODER.encode(content).decode() if self.as_json else line_of(content))


def content_of(note: Note, wall: int, redaction: Redaction) -> dict[str, Any]:
    """Return a note as JSON-ready values: ``time`` of the market, ``wall`` of this machine (ns in, RFC 3339 out)."""
    head = {"time": iso(note.time), "wall": iso(wall), "level": note.level, "what": note.what, "profile": note.profile}
    return {**head, "facts": redaction.content(note.facts)}


def line_of(content: Mapping[str, Any]) -> str:
    """Return the content of a note as one line for a person."""
    facts = " ".join(f"{name}={_words(value)}" for name, value in content["facts"].items() if value not in ("", None))
    moments = f"{content['wall'][11:19]} [{content['time'][:19].replace('T', ' ')}]"
    whose = content["profile"] or "-"
    return f"{moments} {content['level']:7} {whose:8} {content['what']:8} {facts}".rstrip()


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_words(one)}" for name, one in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = " ".join(str(value).split())
    return f'"{text}"' if " " in text else text
