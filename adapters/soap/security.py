"""WS-Security UsernameToken 1.0, with the password as text or as digest."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from esb.codecs.xmltext import escape

_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_WSSE = f"{_WSS}-wssecurity-secext-1.0.xsd"
_WSU = f"{_WSS}-wssecurity-utility-1.0.xsd"
_PROFILE = f"{_WSS}-username-token-profile-1.0"
_BASE64 = f"{_WSS}-soap-message-security-1.0#Base64Binary"

PasswordType = Literal["text", "digest"]


def digest(nonce: bytes, created: str, password: str) -> str:
    """Base64(SHA-1(nonce + created + password)), as the profile wants it."""
    return base64.b64encode(hashlib.sha1(nonce + created.encode() + password.encode()).digest()).decode("ascii")


def username_token(
    username: str,
    password: str,
    kind: PasswordType,
    now: datetime,
    nonce: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[str, str]:
    """The Security header, and the same for the journal without the password."""
    once = nonce(16)
    created = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = digest(once, created, password) if kind == "digest" else password
    type_ = f"{_PROFILE}#Password{kind.capitalize()}"
    before = (
        f'<wsse:Security xmlns:wsse="{_WSSE}" xmlns:wsu="{_WSU}"><wsse:UsernameToken>'
        f"<wsse:Username>{escape(username)}</wsse:Username>"
        f'<wsse:Password Type="{type_}">'
    )
    after = (
        f'</wsse:Password><wsse:Nonce EncodingType="{_BASE64}">{base64.b64encode(once).decode("ascii")}</wsse:Nonce>'
        f"<wsu:Created>{created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
    )
    return f"{before}{escape(value)}{after}", f"{before}***{after}"
