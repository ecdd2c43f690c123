"""What the MLLP listener can be told."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from adapters.hl7v2.acknowledge import Mode
from adapters.hl7v2.settings import Tls
from esb.codecs.hl7v2.charsets import codec
from esb.spi import AdapterSettings, ConfigError, Finding


class ServerTls(AdapterSettings):
    """PEM files. With ``client_ca`` only clients with a certificate of one of those authorities may connect."""

    cert: Path
    key: Path
    key_password: SecretStr | None = None
    client_ca: Path | None = None


class ListenerSettings(AdapterSettings):
    """``listen`` is ``mllp://host:port``, ``mllps://`` with ``tls``.

    ``default_charset`` reads messages whose MSH-18 is empty, ``charset`` wins over an MSH-18 that lies. ``framing``:
    strict closes a connection at the first byte outside of a frame. ``unreadable`` is what a frame that is no HL7 v2
    hears. ``acknowledge``: by the message's MSH-15 and MSH-16, or the mode that the sender understands whatever it
    writes there. ``sequence``: MSH-13 is checked and MSA-4 answered. ``same_id_s``: for so long an id stands for one
    message, 0 for ever. ``answer_to`` is where application acknowledgements of enhanced mode are sent,
    ``mllp://host:port``, each for ``answer_for_s`` at most; ``answer_tls`` makes that ``mllps``. ``later_answers`` is
    the word by which a client waits for answers that come here. A frame that has begun must end within ``frame_s`` and
    a second more for every ``bytes_per_s``. ``max_unfinished_bytes`` is what frames that have begun may take together:
    over it the connection that asks for more is closed, or, when that one has less than its equal share, the one that
    has most. ``idle_s`` 0 keeps silent connections open. ``in_flight`` messages of one connection wait for their
    answer at most; then it is not read.
    """

    listen: str
    tls: ServerTls | None = None
    default_charset: str = ""
    charset: str = ""
    framing: Literal["lenient", "strict"] = "lenient"
    unreadable: Literal["reject", "silent", "close"] = "reject"
    acknowledge: Mode = "by_message"
    sequence: bool = False
    same_id_s: float = Field(0.0, ge=0)
    answer_to: str = ""
    answer_tls: Tls | None = None
    answer_for_s: float = Field(600.0, gt=0)
    later_answers: str = ""
    max_frame_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    max_unfinished_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    max_connections: int = Field(200, ge=1, le=10_000)
    in_flight: int = Field(64, ge=1, le=10_000)
    frame_s: float = Field(10.0, gt=0)
    bytes_per_s: int = Field(1024, ge=1)
    idle_s: float = Field(0.0, ge=0)

    @field_validator("listen", "answer_to")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "answer_to":
            return value
        try:
            found = urlsplit(value)
            port = found.port
        except ValueError:
            port = None
        if port is None or not found.hostname or found.scheme not in ("mllp", "mllps") or found.path.strip("/"):
            raise ValueError("must be an address such as mllp://127.0.0.1:2575")
        return value

    @field_validator("default_charset", "charset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and codec(value) is None:
            raise ValueError(f"'{value}' is no charset of HL7 table 0211, as 'UNICODE UTF-8' or 'GB 18030-2000'")
        return value

    @model_validator(mode="after")
    def _secured(self) -> ListenerSettings:
        if (self.tls is not None) != self.listen.startswith("mllps:"):
            raise ValueError("mllps:// needs 'tls' with 'cert' and 'key', and 'tls' needs mllps://")
        if (self.answer_tls is not None) != self.answer_to.startswith("mllps:"):
            raise ValueError("'answer_to: mllps://' needs 'answer_tls', and 'answer_tls' needs mllps://")
        return self

    @model_validator(mode="after")
    def _holds_a_frame(self) -> ListenerSettings:
        if self.max_unfinished_bytes < self.max_frame_bytes:
            raise ValueError("'max_unfinished_bytes' is for several frames: at least 'max_frame_bytes'")
        return self

    @property
    def address(self) -> tuple[str, int]:
        return _split(self.listen)

    @property
    def answer_address(self) -> tuple[str, int]:
        return _split(self.answer_to)


def _split(address: str) -> tuple[str, int]:
    found = urlsplit(address)
    return str(found.hostname), int(found.port or 0)


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Raises ``ConfigError`` when a certificate or key cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    password = tls.key_password.get_secret_value() if tls.key_password else ""
    try:
        context.load_cert_chain(tls.cert, tls.key, password)
    except (OSError, ValueError):
        raise _fault("'tls.cert' and 'tls.key' cannot be read, or do not belong together") from None
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError:
            raise _fault("'tls.client_ca' cannot be read as PEM certificates") from None
    return context


def _fault(message: str) -> ConfigError:
    return ConfigError([Finding("settings", 0, 0, message)])
