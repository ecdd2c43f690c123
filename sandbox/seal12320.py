"""The sealed envelope of the 12320 style: AES-128-ECB with PKCS#7 in Base64, MD5 over sorted fields and a key."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from lxml import etree

from sandbox.soap_wire import PARSER

AES_KEY = b"SbxAesKey1234567"
MD5_KEY = "SBXMD5KEY"
USERS = ("HUB", "SBX")


class Rejected(Exception):
    """RETURN_CODE and text of an envelope, or of a business answer, that is not 0."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def encrypt(text: str) -> str:
    padder = PKCS7(128).padder()
    data = padder.update(text.encode()) + padder.finalize()
    cipher = Cipher(algorithms.AES(AES_KEY), modes.ECB()).encryptor()
    return base64.b64encode(cipher.update(data) + cipher.finalize()).decode()


def decrypt(sealed: str) -> str:
    """Raises ValueError for what is not Base64, not whole blocks, wrongly padded or not UTF-8."""
    cipher = Cipher(algorithms.AES(AES_KEY), modes.ECB()).decryptor()
    data = cipher.update(base64.b64decode(sealed, validate=True)) + cipher.finalize()
    unpadder = PKCS7(128).unpadder()
    return (unpadder.update(data) + unpadder.finalize()).decode()


def request_sign(function: str, sealed: str, user: str) -> str:
    text = f"FUN_CODE={function}&REQ_ENCRYPTED={sealed}&USER_ID={user}&KEY={MD5_KEY}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def response_sign(sealed: str, code: str, text: str) -> str:
    signed = f"RES_ENCRYPTED={sealed}&RETURN_CODE={code}&RETURN_MSG={text}&KEY={MD5_KEY}"
    return hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Opened:
    """A verified request: function code and the REQ fields (texts, by upper-case name)."""

    function: str
    fields: dict[str, str]


def parse(text: str, root: str) -> dict[str, str]:
    """The texts of a flat document's children. Raises ValueError."""
    try:
        top = etree.fromstring(text.encode(), PARSER)
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from None
    if top.tag != root or top.getroottree().docinfo.doctype:
        raise ValueError(f"not a {root}")
    return {child.tag: (child.text or "").strip() for child in top if isinstance(child.tag, str)}


def function_of(text: str) -> str:
    """FUN_CODE of an envelope that may be wrong otherwise; `malformed` when there is none."""
    try:
        return parse(text, "ROOT").get("FUN_CODE") or "malformed"
    except ValueError:
        return "malformed"


def open_request(text: str) -> Opened:
    """Verify, decrypt, parse, in this order. Raises Rejected with the RETURN_CODE of the first thing wrong."""
    if not text.strip():
        raise Rejected("11", "请求为空")
    try:
        outer = parse(text, "ROOT")
        function, user, sealed = outer["FUN_CODE"], outer["USER_ID"], outer["REQ_ENCRYPTED"]
    except (ValueError, KeyError) as error:
        raise Rejected("2", f"报文格式错误: {error}") from None
    if outer.get("SIGN_TYPE") != "MD5":
        raise Rejected("8", "签名类型错误")
    if outer.get("SIGN", "").lower() != request_sign(function, sealed, user):
        raise Rejected("7", "签名错误")
    if user not in USERS:
        raise Rejected("4", "用户错误")
    try:
        plain = decrypt(sealed)
    except ValueError:
        raise Rejected("9", "解密失败") from None
    try:
        return Opened(function, parse(plain, "REQ"))
    except ValueError as error:
        raise Rejected("2", f"业务报文格式错误: {error}") from None


def cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def seal_response(code: str, text: str, res: str) -> str:
    """The ROOT document around a RES document (or an empty text)."""
    sealed = encrypt(res)
    values = {
        "RETURN_CODE": code,
        "RETURN_MSG": text,
        "SIGN_TYPE": "MD5",
        "SIGN": response_sign(sealed, code, text),
        "RES_ENCRYPTED": sealed,
    }
    body = "".join(f"<{name}>{cdata(value)}</{name}>" for name, value in values.items())
    return f'<?xml version="1.0" encoding="UTF-8"?><ROOT>{body}</ROOT>'
