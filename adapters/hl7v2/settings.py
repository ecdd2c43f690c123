"""What the HL7 v2 adapter can be told."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from esb.codecs.hl7v2.charsets import codec
from esb.spi import AdapterSettings, ConfigError, Finding


class Tls(AdapterSettings):
    """PEM files: ``ca`` replaces the machine's authorities; ``client_cert`` and ``client_key`` are for mutual TLS."""

    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    client_key_password: SecretStr | None = None
    server_name: str | None = None


class Settings(AdapterSettings):
    """``charset`` is an MSH-18 value: we write in it and read in it what declares none; ``answer_charset`` wins over
    the MSH-18 of answers that lie. ``accept_ack`` and ``application_ack`` are MSH-15 and MSH-16; both empty is original
    mode. Texts of MSH may hold components (``HUB^1.2.3^ISO``). Each connection has ``in_flight`` messages outstanding
    at most; more than one is for peers that answer by MSA-2 and take a message before they have answered the last.
    A connection that was silent for ``idle_s`` is not used again; 0 opens one for every message, for peers that close
    it after each: a message sent while they close is lost, and nobody can know that it was. ``sequence``: MSH-13
    counts, one message at a time. ``later_answers``: the application answers on a connection of its own, to the
    listener whose settings have the same word there; it has the time that the call has.
    """

    host: str
    port: int = Field(ge=1, le=65535)
    tls: Tls | None = None
    charset: str = "UNICODE UTF-8"
    answer_charset: str = ""
    version: str = "2.5.1"
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = "P"
    accept_ack: Literal["", "AL", "NE", "ER", "SU"] = ""
    application_ack: Literal["", "AL", "NE"] = ""
    country: str = ""
    sequence: bool = False
    later_answers: str = ""
    connections: int = Field(1, ge=1, le=100)
    in_flight: int = Field(1, ge=1, le=1000)
    max_frame_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    connect_timeout_s: float = Field(3.0, gt=0)
    idle_s: float = Field(60.0, ge=0)

    @field_validator("charset", "answer_charset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and codec(value) is None:
            raise ValueError(f"'{value}' is no charset of HL7 table 0211, as 'UNICODE UTF-8' or 'GB 18030-2000'")
        return value

    @model_validator(mode="after")
    def _answered(self) -> Settings:
        if not self.charset:
            raise ValueError("'charset' is empty; to leave MSH-18 empty give the mapping an MSH-18 of ''")
        if self.application_ack == "NE" and self.accept_ack != "AL":
            raise ValueError("'application_ack: NE' needs 'accept_ack: AL': a call must be answered")
        if self.later_answers and (self.accept_ack != "AL" or self.application_ack != "AL"):
            raise ValueError("'later_answers' needs 'accept_ack: AL' and 'application_ack: AL'")
        if self.sequence and (self.connections, self.in_flight, self.later_answers) != (1, 1, ""):
            raise ValueError(
                "'sequence' is for one message at a time: one connection, no 'in_flight', no 'later_answers'"
            )
        return self


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises ``ConfigError`` when a certificate or key cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError:
        raise _fault("'tls.ca' cannot be read as PEM certificates") from None
    if tls.client_cert is not None:
        password = tls.client_key_password
        try:
            context.load_cert_chain(tls.client_cert, tls.client_key, password.get_secret_value() if password else "")
        except (OSError, ValueError):
            raise _fault("'tls.client_cert' and 'tls.client_key' cannot be read, or do not belong together") from None
    return context


def _fault(message: str) -> ConfigError:
    return ConfigError([Finding("settings", 0, 0, message)])
