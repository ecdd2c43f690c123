"""What XML 1.0 lets through as text and as a name; the rules that every writer of XML here shares."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from esb.codecs import EncodeError
from esb.model import Tree

_UNSAFE = re.compile("[^\t\n -%'-;=?-\\\\^-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search
_START = (
    "A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NCNAME = f"[{_START}][{_START}0-9.\u00b7\u0300-\u036f\u203f\u2040-]*"
_NAME = re.compile(f"{_NCNAME}(?::{_NCNAME})?").fullmatch


def _refuse_controls(text: str, path: str) -> None:
    if found := _FORBIDDEN(text):
        raise EncodeError(f"character U+{ord(found[0]):04X} cannot be written in XML", path)


def escape(text: str, path: str = "$") -> str:
    """Text as element content. Raises ``EncodeError`` for a character that XML 1.0 cannot carry."""
    if _UNSAFE(text):
        _refuse_controls(text, path)
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return text


def escape_attribute(text: str, path: str = "$") -> str:
    """Text between double quotes; blanks other than the space survive as references."""
    text = escape(text, path)
    return text.replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")


def cdata_section(text: str, path: str = "$") -> str:
    """Text as CDATA, split where it holds ``]]>`` itself."""
    if _UNSAFE(text):
        _refuse_controls(text, path)
        if "\r" in text:  # a bare CR would come back as LF
            return "<![CDATA[]]>&#13;".join(map(cdata_section, text.split("\r")))
        text = text.replace("]]>", "]]]]><![CDATA[>")
    return f"<![CDATA[{text}]]>"


def scalar(value: Tree, path: str = "$") -> str:
    """A text, whole number, decimal or boolean as XML text. Raises ``EncodeError`` for anything else, a float too."""
    if type(value) is str:
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    raise EncodeError(f"a {type(value).__name__} has no XML text", path)


@lru_cache(4096)
def check_name(name: str) -> str:
    """The name, if it may be an element's or attribute's (with a prefix or without). Raises ``EncodeError``."""
    if not _NAME(name):
        raise EncodeError(f"{name[:40]!r} is not an XML name")
    return name
