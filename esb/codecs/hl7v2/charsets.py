"""Which charset a message is in: MSH-18 in every form seen in China (HL7 table 0211), and what to try else."""

from __future__ import annotations

from esb.codecs import DecodeError

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

_WIDER = {"gbk": "gb18030", "gb2312": "gb18030"}
"""GB18030 holds these two, and their senders mix them up."""

_UTF16 = {b"\xff\xfe": "utf-16-le", b"M\0": "utf-16-le", b"\xfe\xff": "utf-16-be", b"\0M": "utf-16-be"}


def codec(name: str) -> str | None:
    """The Python codec of an MSH-18 value (``GB 18030-2000``, ``UNICODE UTF-8``, ``8859/1``); None when unknown.

    Case, spaces, hyphens, slashes and underscores do not matter. UTF-16 and UTF-32 are none: MLLP cannot carry them,
    and a message that says so in readable ASCII is not in them.
    """
    return _CODECS.get("".join(filter(str.isalnum, name)).upper())


def declared(data: bytes) -> str:
    """The first repetition of MSH-18 as it stands, "" when there is none. Read as ASCII, before anything is decoded."""
    head = data[data.find(b"MSH") :]
    head = head.split(b"\r", 1)[0].split(b"\n", 1)[0]
    if len(head) < 6:
        return ""
    fields = head.split(head[3:4], 18)
    return fields[17].split(head[5:6], 1)[0].decode("latin-1") if len(fields) > 17 else ""


def read(data: bytes, configured: str, default: str) -> tuple[str, str, str]:
    """The text, the Python codec that read it, and what deviated from the declaration ("" when nothing did).

    ``configured`` wins over MSH-18, ``default`` stands in for an empty one. When that fails UTF-8 is tried, then
    GB18030. Any bytes are some ISO 8859 text, so there UTF-8, which is hardly ever hit by chance, is tried first.
    Raises ``DecodeError``.
    """
    name = configured or declared(data) or default
    for candidate in _candidates(data, name):
        try:
            text = data.decode(candidate)
        except UnicodeError:
            continue
        return text, candidate, _deviation(text, candidate, name)
    raise DecodeError(f"is not {name[:20] or 'ASCII'}, nor UTF-8, nor GB18030", _first_bad(data))


def _candidates(data: bytes, name: str) -> dict[str, None]:
    if wide := _UTF16.get(data[:2]):
        return dict.fromkeys([wide])
    first = codec(name) or "utf-8"
    if data.startswith(b"\xef\xbb\xbf") or first.startswith("iso8859"):
        return dict.fromkeys(["utf-8", first, "gb18030"])
    first = _WIDER.get(first, first)
    return dict.fromkeys([first, "utf-8", "gb18030"])


def _deviation(text: str, used: str, name: str) -> str:
    """A GBK name in MSH-3 may hold the byte of the separator: then only MSH-18 as decoded tells."""
    if _is(used, name) or _is(used, declared(text[:1000].encode("utf-8", "replace"))):
        return ""
    return f"declared {name[:20]}, read as {used}" if name else f"no charset declared, read as {used}"


def _is(used: str, name: str) -> bool:
    known = codec(name)
    return known is not None and used in (known, _WIDER.get(known))


def _first_bad(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0
