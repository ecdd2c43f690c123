"""Signed client assertions (SMART backend services). Imported only where configured, for the library's weight."""

from __future__ import annotations

from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from adapters.fhir.settings import SmartBackend
from esb.spi import ConfigError, Finding


class Signer:
    """Signs for one client; raises ``ConfigError`` when its key cannot sign with its algorithm."""

    def __init__(self, auth: SmartBackend) -> None:
        self._auth = auth
        kind = RSAKey if auth.algorithm == "RS384" else ECKey
        try:
            self._key: RSAKey | ECKey = kind.import_key(auth.private_key.get_secret_value())
            self.sign({"iss": "self-check"})
        except (JoseError, ValueError, TypeError):
            message = f"'auth.private_key' is not a PEM private key that signs {auth.algorithm}"
            raise ConfigError([Finding("settings", 0, 0, message)]) from None

    def sign(self, claims: dict[str, Any]) -> str:
        """``claims`` as a compact JWT."""
        header = {"alg": self._auth.algorithm, "kid": self._auth.kid, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[self._auth.algorithm])
