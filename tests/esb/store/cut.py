"""A way to PostgreSQL that is cut at a commit: before the server hears of it, or before its answer comes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Cut:
    """``arm`` says how the next commit ends: "before" or "after" the server had it. ``cuts`` counts."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.arm = ""
        self.cuts = 0
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._end(self._listening, *self._ends)
        for one in (self._listening, *self._ends):
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._ends += (client, server)
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and self.arm and b"COMMIT" in data:
                    return self._cut(data, source, target)
                target.sendall(data)
        self._end(source, target)
        return None

    def _cut(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        how, self.arm = self.arm, ""
        self.cuts += 1
        if how == "after":
            self._end(client)
            server.sendall(data)
            return
        self._end(client, server)

    def _end(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cut(url: str) -> Iterator[tuple[str, Cut]]:
    """The URL of the same database through a ``Cut``."""
    made = Cut(("127.0.0.1", 5432))
    try:
        yield url.replace(":5432", f":{made.port}"), made
    finally:
        made.close()
