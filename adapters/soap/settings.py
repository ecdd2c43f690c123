"""What a SOAP endpoint can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, field_validator, model_validator

from adapters.soap.security import PasswordType
from esb.codecs import DecodeError
from esb.codecs import charset as charsets
from esb.http import HttpSettings


class Settings(HttpSettings):
    """One port of one service.

    ``wsdl`` is a file, or an address whose host is in ``wsdl_hosts``: the hosts (``his.example`` or
    ``his.example:8080``) whose documents somebody has reviewed. Files outside of the WSDL's folder are refused unless
    in ``wsdl_folder``; not ``wsdl_strict`` reads what can be read of one that is not well-formed. ``address``
    overrules the WSDL's, which is often an internal one. ``service``, ``port`` and ``binding`` are needed where the
    WSDL has several; the first SOAP port is taken otherwise. ``charset`` is that of requests; ``answer_charset``
    overrules what the system says of its answers. ``headers`` are SOAP headers (name -> tree), ``http_headers`` go
    beside them. ``result`` is the part of the answer that is the answer; the whole of it otherwise.
    """

    wsdl: str | Path
    wsdl_hosts: frozenset[str] = frozenset()
    wsdl_folder: Path | None = None
    wsdl_strict: bool = True
    address: str | None = None
    service: str | None = None
    port: str | None = None
    binding: str | None = None
    charset: str = "utf-8"
    answer_charset: str | None = None
    soap_action: Literal["quoted", "bare", "absent"] = "quoted"
    username: str | None = None
    password: SecretStr | None = None
    password_type: PasswordType = "text"
    headers: dict[str, Any] = {}
    http_headers: dict[str, SecretStr] = {}
    result: str | None = None

    @property
    def remote(self) -> bool:
        """Whether the WSDL lies at an address."""
        return isinstance(self.wsdl, str) and self.wsdl.startswith(("http://", "https://"))

    @field_validator("charset", "answer_charset")
    @classmethod
    def _charset_exists(cls, name: str | None) -> str | None:
        try:
            return name if name is None or charsets.writer(name) else None
        except DecodeError as error:
            raise ValueError(error.reason) from None

    @model_validator(mode="after")
    def _token_is_whole(self) -> Settings:
        if (self.username is None) != (self.password is None):
            raise ValueError("'username' and 'password' belong together")
        return self
