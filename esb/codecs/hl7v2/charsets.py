"""Which charset a message is in: MSH-18 in every form seen in China (HL7 table 0211), and what to try else."""

from __future__ import annotations

import codecs
from functools import lru_cache

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import iso2022

_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "GB18030": "gb18030",
    "GB180302000": "gb18030",
    "GB180302005": "gb18030",
    "GBK": "gbk",
    "CP936": "gbk",
    "GB2312": "gb2312",
    "GB231280": "gb2312",
    "BIG5": "cp950",
    "LATIN1": "iso8859-1",
    "ISOIR14": "shift_jis",
    "ISOIR87": "iso2022_jp",
    "ISOIR159": "iso2022_jp_1",
    "KSX1001": "euc_kr",
} | {f"{prefix}8859{part}": f"iso8859-{part}" for prefix in ("", "ISO") for part in (*range(1, 12), 13, 14, 15, 16)}

_CHUNK = 1 << 16

_WIDER = {"gbk": "gb18030", "gb2312": "gb18030"}
"""GB18030 holds these two, and their senders mix them up."""

_BOMS = {
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
_ZEROS = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
"""Which bytes of two or one character of ASCII are zero."""

_WIDE = {"UNICODEUTF16": "utf-16", "UTF16": "utf-16", "UNICODEUTF32": "utf-32", "UTF32": "utf-32"}
"""Charsets of files. MLLP cannot carry them, and a message that names them in readable ASCII is not in them."""

_SWITCHED = {"iso2022_jp": ("jisx0208",), "iso2022_jp_1": ("jisx0212",), "shift_jis": ("jisx0201",)} | {
    "euc_kr": ("ksx1001",),
    "gb2312": ("gb2312",),
}
"""The sets that ISO 2022 switches to where MSH-18 names these."""


@lru_cache(512)
def codec(name: str, *, wide: bool = False) -> str | None:
    """The Python codec of an MSH-18 value (``GB 18030-2000``, ``UNICODE UTF-8``, ``8859/1``); None when unknown.

    Case, spaces, hyphens, slashes and underscores do not matter. Several, with ``~`` between them, are sets that ISO
    2022 switches between, the first (ASCII where it is empty) the one in which text begins. UTF-16 and UTF-32 are only
    known to those who ask for ``wide``.
    """
    if "~" in name:
        return _several(tuple(name.split("~")))
    plain = "".join(filter(str.isalnum, name)).upper()
    return _CODECS.get(plain) or (_WIDE.get(plain) if wide else None)


@lru_cache(256)
def _several(names: tuple[str, ...]) -> str | None:
    """Charsets that ISO 2022 does not switch between, as UTF-8, are used whole: the first of them."""
    found = [codec(name) if name else "ascii" for name in names]
    known = [one for one in found if one]
    if len(known) < len(found):
        return None
    sets = [one for name in known for one in _sets(name)]
    return iso2022.name_of(list(dict.fromkeys(sets))) if all(map(_sets, known)) else known[0]


def _sets(codec_name: str) -> tuple[str, ...]:
    """The sets of ISO 2022 that a charset is; none when it is none."""
    plain = codec_name.replace("-", "_")
    return _SWITCHED.get(codec_name) or ((plain,) if plain in iso2022.SETS else ())


def declared(data: bytes) -> str:
    """MSH-18 as it stands, repetitions with ``~`` between them; "" when there is none.

    Read as ASCII, before anything is decoded.
    """
    head = data[data.find(b"MSH") :]
    head = head.split(b"\r", 1)[0].split(b"\n", 1)[0]
    if len(head) < 6:
        return ""
    fields = head.split(head[3:4], 18)
    return fields[17].replace(head[5:6], b"~").decode("latin-1").rstrip("~") if len(fields) > 17 else ""


def read(data: bytes, configured: str, default: str) -> tuple[str, str, str]:
    """The text, the Python codec that read it, and what deviated from the declaration ("" when nothing did).

    ``configured`` wins over MSH-18, ``default`` stands in for an empty one. When that fails the other repetitions of
    MSH-18 are tried, then UTF-8, then GB18030. Any bytes are some ISO 8859 text, so there UTF-8, which is hardly ever
    hit by chance, is tried first; and where there are escape sequences of ISO 2022, these come before a charset of
    single bytes. Raises ``DecodeError``.
    """
    name = configured or declared(data) or default
    if data.startswith(b"MSH|") and 27 not in data and (usual := _usual(name)):
        try:
            return data.decode(usual), usual, ""
        except UnicodeError:
            pass
    for candidate in _candidates(data, name):
        try:
            text = data.decode(candidate)
        except UnicodeError:
            continue
        return text, candidate, _deviation(text, candidate, name)
    raise DecodeError(f"is not {name[:20] or 'ASCII'}, nor UTF-8, nor GB18030", _first_bad(data))


def fitting(data: bytes, configured: str, default: str) -> tuple[str, str]:
    """What ``read`` reads a long message with, and what deviated, without holding all of its text. Not of UTF-16."""
    name = configured or declared(data) or default
    for candidate in _candidates(data, name):
        if _fits(data, candidate):
            return candidate, _deviation(data[:4000].decode(candidate, "ignore"), candidate, name)
    raise DecodeError(f"is not {name[:20] or 'ASCII'}, nor UTF-8, nor GB18030", _first_bad(data))


def _fits(data: bytes, candidate: str) -> bool:
    try:
        if candidate.startswith("iso2022_"):
            data.decode(candidate)
        else:
            reader = codecs.getincrementaldecoder(candidate)()
            for at in range(0, len(data), _CHUNK):
                reader.decode(data[at : at + _CHUNK], at + _CHUNK >= len(data))
    except UnicodeError:
        return False
    return True


def wide(data: bytes) -> str | None:
    """The UTF-16 or UTF-32 that begins with a BOM or with ASCII; None when it is none of these."""
    for mark, name in _BOMS.items():
        if data.startswith(mark):
            return name
    return _ZEROS.get(tuple([byte == 0 for byte in data[:4]])) if 0 in data[:4] else None  # type: ignore[arg-type]


def _candidates(data: bytes, name: str) -> dict[str, None]:
    if found := wide(data):
        return dict.fromkeys([found])
    known = [found for one in name.split("~") if (found := codec(one) if one else "ascii")] if name else []
    known = [_WIDER.get(one, one) for one in known] or ["utf-8"]
    if 27 in data and (not name or _sets(known[0])):
        return dict.fromkeys([_switching(name), *known, "utf-8", "gb18030"])
    if data.startswith(b"\xef\xbb\xbf") or known[0].startswith("iso8859"):
        known = ["utf-8", *known]
    return dict.fromkeys([*known, "utf-8", "gb18030"])


@lru_cache(256)
def _usual(name: str) -> str:
    """What a message in bytes of ASCII and without escape sequences is tried in first, where that is as declared."""
    first = next(iter(_candidates(b"MSH|", name)))
    return first if _is(first, name) else ""


def _switching(name: str) -> str:
    """One set alone is what text goes to from ASCII, unless it is one that text can begin in; none known is ASCII."""
    if "~" not in name:
        (only,) = _sets(codec(name) or "ascii")
        return iso2022.name_of([only] if iso2022.start(only).right else list(dict.fromkeys(("ascii", only))))
    found = codec(name)
    return found if found and found.startswith("iso2022_") else "iso2022_ascii"


def _deviation(text: str, used: str, name: str) -> str:
    """A GBK name in MSH-3 may hold the byte of the separator: then only MSH-18 as decoded tells."""
    if _is(used, name) or _is(used, declared(text[:1000].encode("utf-8", "replace"))):
        return ""
    return f"declared {name[:20]}, read as {used}" if name else f"no charset declared, read as {used}"


def _is(used: str, name: str) -> bool:
    """Of several the first is used where nothing is switched."""
    if used.startswith("iso2022_"):
        return bool(name) and used == _switching(name)
    known = codec(name.split("~")[0] or "ascii", wide=True) if name else None
    return known is not None and (used in (known, _WIDER.get(known)) or (known in used and known in _WIDE.values()))


def _first_bad(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0
