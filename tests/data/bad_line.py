"""A line between a client and a server on loopback that can be cut and can fall silent without being cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

READ_BYTES = 1 << 16


class BadLine:
    """Carries bytes both ways between who connects to ``port`` and a server, while it does."""

    def __init__(self, target: int) -> None:
        self.target, self.is_mute = target, False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._ends: list[socket.socket] = []
        self._ended: list[socket.socket] = []
        self._carriers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End all connections without a word; the next ones are heard again."""
        with self._lock:
            ends, self._ends = self._ends, []
            self._ended += ends
            self.is_mute = False
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mute(self) -> None:
        """Swallow what either side says from now on, until the line is cut."""
        self.is_mute = True

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._door.close()
        self.cut()
        for thread in self._carriers:
            thread.join()
        for end in self._ended:
            end.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            with self._lock:
                self._ends += [client, server]
            for source, sink in ((client, server), (server, client)):
                carrier = threading.Thread(target=self._carry, args=(source, sink), daemon=True)
                self._carriers.append(carrier)
                carrier.start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(READ_BYTES):
                if not self.is_mute:
                    sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def bad_line(target: int) -> Iterator[BadLine]:
    line = BadLine(target)
    try:
        yield line
    finally:
        line.close()
