"""HOST:PORT and TLS as the bench commands take them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Address(NamedTuple):
    """Where to connect to or to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """``HOST:PORT``, ``[::1]:PORT``, ``mllp://HOST:PORT`` or ``PORT``, which is one of 127.0.0.1.

    Raises ``ValueError`` with a sentence.
    """
    host, _, port = text.removeprefix("mllp://").rstrip("/").rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{text[:60]}' is no HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"'{text[:60]}' is no HOST:PORT: write [{host}]:{port}")
    return Address(host or "127.0.0.1", int(port))


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. ``ca``: who must have signed the other side; ``cert`` and ``key``: who we are."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    unchecked: bool = False
    """Take any certificate of the other side: for a bench, never for patients."""

    def client(self) -> ssl.SSLContext:
        """Raises ``OSError`` and ``ssl.SSLError`` for files that are none."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.unchecked:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._load(context)
        return context

    def server(self) -> ssl.SSLContext:
        """With ``ca`` it asks every client for a certificate. Raises as ``client`` does."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        if self.ca:
            context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
