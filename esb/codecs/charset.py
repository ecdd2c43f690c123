"""Names of charsets as the field writes them, and bytes -> text by the first one that fits.

GB2312 and GBK are read as GB18030, which holds both and every name that a patient may have.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from functools import lru_cache

from esb.codecs import DecodeError

UTF8 = "utf-8"
GB18030 = "gb18030"

_NAMES = {
    "utf8": UTF8,
    "unicodeutf8": UTF8,
    "unicode": UTF8,
    "iso10646": UTF8,
    "utf16": "utf-16",
    "unicodeutf16": "utf-16",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "gb2312": GB18030,
    "gb23121980": GB18030,
    "gbk": GB18030,
    "cp936": GB18030,
    "ms936": GB18030,
    "936": GB18030,
    "xgbk": GB18030,
    "euccn": GB18030,
    "gb18030": GB18030,
    "gb180302000": GB18030,
    "gb180302005": GB18030,
    "gb180302022": GB18030,
    "big5": "big5hkscs",
    "cns116431992": "big5hkscs",
    "ascii": "ascii",
    "usascii": "ascii",
    "iso88591": "latin-1",
    "88591": "latin-1",
    "latin1": "latin-1",
}
_BOMS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@lru_cache(256)
def codec(name: str) -> str:
    """Python's codec for a name seen in an HTTP header, an XML declaration, MSH-18 or a setting.

    Case, blanks and punctuation do not count: ``GB 18030-2000``, ``UNICODE UTF-8``, ``utf8``. Raises ``DecodeError``
    for a name that nobody knows and for codecs that are not charsets.
    """
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if plain in _NAMES:
        return _NAMES[plain]
    try:
        known = codecs.lookup(name.strip())
    except (LookupError, ValueError):
        raise DecodeError(f"charset {name[:40]!r} is not known") from None
    if not known._is_text_encoding or known.name in ("utf-7", "idna", "punycode", "raw_unicode_escape"):
        raise DecodeError(f"{name[:40]!r} is not a charset for messages")
    return known.name


def writer(name: str) -> str:
    """The codec to write with: what was asked for exactly, since a system that says GBK may not read GB18030."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if plain.startswith("gb2312"):
        return "gb2312"
    return "gbk" if plain in ("gbk", "cp936", "ms936", "936", "xgbk") else codec(name)


def bom(data: bytes) -> tuple[str, int] | None:
    """The codec that a byte order mark tells, and the mark's length."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name, len(mark)
    return None


def decode_text(data: bytes, declared: str | None = None, fallbacks: Iterable[str] = ()) -> tuple[str, str]:
    """The text and the codec that fitted: a byte order mark's, the declared one, UTF-8 where nothing is declared,
    fallbacks.

    Nothing is guessed beyond the names given, and no byte is replaced. Raises ``DecodeError`` with the offset at
    which the first candidate failed.
    """
    marked = bom(data)
    if marked:
        name, length = marked
        data = data[length:]
        candidates = [name]
    else:
        candidates = [codec(name) for name in (declared or UTF8, *fallbacks)]
    first: UnicodeDecodeError | None = None
    for name in dict.fromkeys(candidates):
        try:
            return data.decode(name), name
        except UnicodeDecodeError as error:
            first = first or error
    assert first is not None
    raise DecodeError(f"is not {first.encoding} at byte {first.start}", first.start)
