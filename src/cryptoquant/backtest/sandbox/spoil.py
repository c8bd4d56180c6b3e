"""What a fault makes of the content of a frame of market data."""

from collections.abc import Sequence

from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.backtest.sandbox.wire import CHANNELS, Body

CORRUPT, CORRUPT_TEXT = b"\xc1\xc1\xc1", b'[{"T":'
"""No msgpack begins with 0xc1: the specification never uses it."""
LETTERS = {"data.correction": CHANNELS["trades"], "data.wrong_bar": CHANNELS["bars"]}


def spoilable(points: Sequence[Body]) -> set[str]:
    """Return the kinds of faults that have something to spoil in a frame."""
    letters = {point["T"] for point in points}
    kinds = {kind for kind, letter in LETTERS.items() if letter in letters} | {"data.corrupt"}
    return kinds | {"data.no_reset"} if any(point.get("r") for point in points) else kinds


def spoiled(points: Sequence[Body], fault: Fault, *, with_updates: bool) -> list[Body]:
    """Return the points of a frame as a fault has them; ``with_updates``: the client hears of updated bars."""
    if fault.kind == "data.no_reset":
        return [{name: value for name, value in point.items() if name != "r"} for point in points]
    letter = LETTERS.get(fault.kind)
    last = next((point for point in reversed(points) if point["T"] == letter), None)
    if last is None:
        return list(points)
    if fault.kind == "data.correction":
        return [*points, {**last, "p": last["p"] * fault.factor}]
    close = last["c"] * fault.factor
    wrong = {**last, "c": close, "h": max(last["h"], close), "l": min(last["l"], close)}
    return [*points, {**wrong, "T": CHANNELS["updatedBars"] if with_updates else letter}]
