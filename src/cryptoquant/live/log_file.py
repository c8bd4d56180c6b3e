"""A log on disk that does not grow without end: when it is large, a new one is begun and the oldest goes."""

from pathlib import Path

LARGEST, KEPT = 10_000_000, 5


class LogFile:
    """Lines in a file; ``name``, and behind it ``name.1`` (younger) to ``name.5`` (older).

    Parameters
    ----------
    largest
        Bytes from which a new file is begun.
    kept
        Older files that stay.

    Raises
    ------
    OSError
        The file cannot be opened for writing; from ``write`` too, when the disk is full.
    """

    def __init__(self, path: str | Path, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path, self.largest, self.kept = Path(path), largest, kept
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")

    def write(self, line: str) -> None:
        """Write one line; it is with the system when this returns."""
        data = line.encode() + b"\n"
        if self._file.tell() and self._file.tell() + len(data) > self.largest:
            self._rotate()
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self.kept - 1, 0, -1):
            older = self._older(number)
            if older.is_file():
                older.replace(self._older(number + 1))
        if self.kept:
            self.path.replace(self._older(1))
        self._file = self.path.open("wb")

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
