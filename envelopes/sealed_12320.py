"""The sealed ROOT of the 12320 interface 3.3: AES-128-ECB with PKCS#5 and Base64, signed with MD5.

The mapping's action is the FUN_CODE, its request the content of REQ. The answer is the content of RES beside
``RETURN_CODE`` and ``RETURN_MSG``. An ``xml_string`` outside of it carries the text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr, field_validator

from esb.codecs import DecodeError, EncodeError, xml
from esb.spi import AdapterSettings, Call, Malformed, Refused, Tree


class Settings(AdapterSettings):
    """``aes_key`` has 16 bytes. ``sign`` is the case of the hex digits that this system wants; any is taken from it."""

    user: str
    aes_key: SecretStr
    md5_key: SecretStr
    sign: Literal["lower", "upper"] = "lower"

    @field_validator("aes_key")
    @classmethod
    def _key_has_16_bytes(cls, key: SecretStr) -> SecretStr:
        if len(key.get_secret_value().encode()) != 16:
            raise ValueError("must have 16 bytes")
        return key


def connect(settings: Settings) -> Sealed:
    """The envelope. Raises ``ConfigError``."""
    return Sealed(settings)


class Sealed:
    """See the module."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cipher = Cipher(algorithms.AES(settings.aes_key.get_secret_value().encode()), modes.ECB())

    def wrap(self, action: str, payload: Tree, call: Call) -> tuple[str, Tree]:
        """Raises ``Refused`` for a request that cannot be written."""
        try:
            sealed = self.seal(xml.encode({} if payload is None else payload, "REQ", cdata=True))
        except EncodeError as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None
        user = self._settings.user
        sign = self.sign(FUN_CODE=action, REQ_ENCRYPTED=sealed, USER_ID=user)
        root = {"FUN_CODE": action, "USER_ID": user, "SIGN_TYPE": "MD5", "SIGN": sign, "REQ_ENCRYPTED": sealed}
        return action, {"ROOT": root}

    def unwrap(self, action: str, answer: Tree, call: Call) -> Tree:
        """Raises ``Malformed`` for an answer that is not whole, not signed by the key or not sealed with it."""
        if not isinstance(answer, Mapping):
            raise Malformed("the answer is no ROOT")
        code, message = _text(answer, "RETURN_CODE"), _text(answer, "RETURN_MSG")
        sealed, sign = _text(answer, "RES_ENCRYPTED"), _text(answer, "SIGN")
        if not code:
            raise Malformed("the answer has no RETURN_CODE")
        expected = self.sign(RES_ENCRYPTED=sealed, RETURN_CODE=code, RETURN_MSG=message)
        if not hmac.compare_digest(expected.lower().encode(), sign.strip().lower().encode()):
            raise Malformed("the answer's signature is missing or wrong")
        return {"RETURN_CODE": code, "RETURN_MSG": message} | self._content(sealed)

    def sign(self, **fields: str) -> str:
        """MD5 of the fields in this order and the key, in hex."""
        text = "&".join(f"{name}={value}" for name, value in fields.items())
        text += f"&KEY={self._settings.md5_key.get_secret_value()}"
        found = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        return found.upper() if self._settings.sign == "upper" else found

    def seal(self, plain: str) -> str:
        """Encrypted and in Base64."""
        padder, encryptor = PKCS7(128).padder(), self._cipher.encryptor()
        padded = padder.update(plain.encode()) + padder.finalize()
        return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode("ascii")

    def open(self, sealed: str) -> str:
        """The plain text; nothing for nothing. Raises ``Malformed``."""
        try:
            data = base64.b64decode("".join(sealed.split()), validate=True)
            if not data:
                return ""
            decryptor, unpadder = self._cipher.decryptor(), PKCS7(128).unpadder()
            padded = decryptor.update(data) + decryptor.finalize()
            return (unpadder.update(padded) + unpadder.finalize()).decode()
        except (binascii.Error, ValueError):
            raise Malformed("the answer is not sealed with the key") from None

    def _content(self, sealed: str) -> dict[str, Tree]:
        plain = self.open(sealed).strip()
        if not plain:
            return {}
        try:
            tree = xml.decode(plain, drop_controls=True)
        except DecodeError as error:
            raise Malformed(f"the sealed answer {error.reason}", raw=plain.encode()) from None
        if not isinstance(tree, Mapping):
            return {}
        return {name: value for name, value in tree.items() if name not in ("RETURN_CODE", "RETURN_MSG")}


def _text(answer: Mapping[str, Tree], name: str) -> str:
    value = answer.get(name)
    return value if isinstance(value, str) else ""
