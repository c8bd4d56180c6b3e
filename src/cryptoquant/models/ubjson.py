"""Reads universal binary JSON, the format in which xgboost keeps its models, without xgboost."""

from typing import Any

import numpy as np

NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
WORDS = {b"Z": None, b"T": True, b"F": False}


def read_ubjson(content: bytes) -> Any:
    """Return the value that the bytes hold; arrays of one type of number as numpy arrays.

    Source: Universal Binary JSON Specification, draft 12 (ubjson.org).

    Raises
    ------
    ValueError
        The bytes are no such value, or end early.
    """
    return _Bytes(content).value()


class _Bytes:
    """Bytes that are read from front to back."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def value(self) -> Any:
        """Return the next value of any type."""
        return self._value(self._take(1))

    def _value(self, marker: bytes) -> Any:
        if marker == b"{":
            return self._object()
        if marker == b"[":
            return self._array()
        if marker == b"S":
            return self._text()
        if marker in NUMBERS:
            return self._numbers(marker, 1)[0].item()
        if marker in WORDS:
            return WORDS[marker]
        raise ValueError(f"byte {self._place - 1} is {marker!r}, wanted the type of a value")

    def _take(self, length: int) -> bytes:
        found = self._content[self._place : self._place + length]
        if length < 0 or len(found) < length:
            raise ValueError(f"the bytes end at {len(self._content)}, wanted {length} more from {self._place} on")
        self._place += length
        return found

    def _numbers(self, marker: bytes, count: int) -> Any:
        kind = np.dtype(NUMBERS[marker])
        return np.frombuffer(self._take(count * kind.itemsize), dtype=kind)

    def _count(self) -> int:
        marker = self._take(1)
        if marker not in NUMBERS or NUMBERS[marker][1] == "f":
            raise ValueError(f"byte {self._place - 1} is {marker!r}, wanted the type of a length")
        return int(self._numbers(marker, 1)[0])

    def _text(self) -> str:
        return self._take(self._count()).decode("utf-8")

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._content[self._place : self._place + 1] != b"}":
            name = self._text()
            found[name] = self.value()
        self._take(1)
        return found

    def _array(self) -> Any:
        marker = self._take(1)
        if marker == b"$":
            kind = self._take(1)
            if kind not in NUMBERS or self._take(1) != b"#":
                raise ValueError(f"byte {self._place - 1}: wanted an array of numbers and its length")
            return self._numbers(kind, self._count())
        if marker == b"#":
            return [self.value() for _ in range(self._count())]
        found = []
        while marker != b"]":
            found.append(self._value(marker))
            marker = self._take(1)
        return found
