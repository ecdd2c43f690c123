"""What a query hears: RSP and its kin, made of rows, with what every answer to a query has whatever it is about.

MSA, QAK and the echo of the query (QPD, or QRD and QRF of before 2.4) are written here, the rows by a mapping. Where
the query wants a quantity (RCP-2, QRD-7) the rest waits for a query that brings DSC-1 back: it is asked anew then, and
refused if the answer is not the same any more, so that no row is left out or given twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from adapters.hl7v2.acknowledge import Mode, Writer, commit_wanted, verdict
from esb.codecs import EncodeError, hl7v2
from esb.codecs.hl7v2 import Message
from esb.spi import Flaw, Reply, Tree

_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_POINTER = re.compile(r"(\d{1,9})-([0-9a-f]{16})", re.ASCII)
_EVENT = re.compile(r"Q(\d\d)", re.ASCII)
_NOT_WRITTEN = Flaw("refused", "the answer cannot be written in the charset of the query")


class _Wish(NamedTuple):
    """How many rows a query wants, 0 for all, from which on, and of which answer."""

    most: int
    begin: int = 0
    digest: str = ""


class _Page(NamedTuple):
    """The rows that are given now, as lines of segments; ``pointer`` leads to the rest, "" when there is none."""

    lines: list[str]
    rows: int = 0
    total: int = 0
    left: int = 0
    pointer: str = ""


def respond(writer: Writer, query: Message, mode: Mode, accept: str, reply: Reply) -> bytes:
    """Every frame that is due; ``accept`` is MSH-15 of the query. Never raises."""
    wanted = commit_wanted(mode, accept, query.get("MSH", 0, 16) or "")
    is_enhanced, frames = wanted is not None, b""
    if wanted in ("AL", "SU"):
        frames = writer.write("CA", None)
    flaw, page = reply.flaw, _Page([])
    if flaw is None:
        found = _page(query, reply.rows)
        flaw, page = (found, page) if isinstance(found, Flaw) else (None, found)
    try:
        return frames + _written(writer, query, reply.type, flaw, page, is_enhanced=is_enhanced)
    except UnicodeEncodeError:
        return frames + _written(writer, query, reply.type, _NOT_WRITTEN, _Page([]), is_enhanced=is_enhanced)


def _written(
    writer: Writer, query: Message, structure: str, flaw: Flaw | None, page: _Page, *, is_enhanced: bool
) -> bytes:
    lines = [
        writer.header(_kind(query, structure, writer), "A" if is_enhanced else "", page.lines),
        writer.acknowledgement(verdict(flaw), flaw),
        *([writer.error(flaw)] if flaw else []),
        *_echo(query, writer, flaw, page),
        *page.lines,
    ]
    if page.pointer:
        lines.append(writer.joined("DSC", page.pointer, "I"))
    return writer.framed(lines, "strict" if flaw is None else "replace")


def _kind(query: Message, structure: str, writer: Writer) -> str:
    """MSH-9: Q22 is answered by K22, a local event (Z01) and those of before 2.4 by the same."""
    event = query.get("MSH", 0, 9, 1, 2) or ""
    code = structure.partition("_")[0]
    if code in ("RSP", "RTB"):
        event = _EVENT.sub(r"K\1", event)
    elif code == "ORF" and event == "R02":
        event = "R04"
    return writer.message_type(code, event, structure)


def _echo(query: Message, writer: Writer, flaw: Flaw | None, page: _Page) -> list[str]:
    """QAK, and the query's own segments as they came."""
    asked = [line for name in ("QPD", "QRD", "QRF") for line in query.segments(name)[:1]]
    if not asked:
        return []
    tag, name = (2, 1) if asked[0].name == "QPD" else (4, 0)
    fields = asked[0].fields() + [""] * 5
    status = ("AR" if verdict(flaw) == "AR" else "AE") if flaw else "OK" if page.total else "NF"
    counts = [] if flaw else [str(page.total), str(page.rows), str(page.left)]
    lines = [line.text for line in asked]
    if writer.version < "2.4":
        return lines
    return [writer.joined("QAK", fields[tag], status, fields[name] if name else "", *counts), *lines]


def _page(query: Message, rows: Sequence[Tree]) -> _Page | Flaw:
    wish = _wish(query)
    if isinstance(wish, Flaw):
        return wish
    try:
        written = [hl7v2.lines([row], query.syntax) for row in rows]
    except EncodeError as error:
        return Flaw("refused", f"the answer cannot be written: {error.reason}")
    digest = hashlib.blake2b("\n".join(map("\r".join, written)).encode(), digest_size=8).hexdigest()
    if wish.digest and (wish.digest != digest or wish.begin >= len(written)):
        return Flaw("outdated", "the answer is another one by now; ask again without DSC", "DSC-1")
    end = min(len(written), wish.begin + wish.most) if wish.most else len(written)
    given = written[wish.begin : end]
    pointer = f"{end}-{digest}" if end < len(written) else ""
    return _Page([line for row in given for line in row], len(given), len(written), len(written) - end, pointer)


def _wish(query: Message) -> _Wish | Flaw:
    """RCP-1 and -2, QRD-3 and -7, DSC-1."""
    segment, when, quantity = ("RCP", 1, 2) if query.segments("RCP") else ("QRD", 3, 7)
    if query.get(segment, 0, when) == "D":
        return Flaw("code_unknown", "answers come at once, not later", f"{segment}-{when}")
    most = query.get(segment, 0, quantity, 1, 1) or "0"
    if most != "0" and not _NUMBER.fullmatch(most):
        return Flaw("field_wrong", f"{segment}-{quantity}.1 is no quantity", f"{segment}-{quantity}.1")
    if most != "0" and (query.get(segment, 0, quantity, 1, 2) or "RD") != "RD":
        return Flaw("code_unknown", "a quantity is counted in records (RD)", f"{segment}-{quantity}.2")
    pointer = query.get("DSC", 0, 1)
    if pointer is None:
        return _Wish(int(most))
    found = _POINTER.fullmatch(pointer)
    if found is None:
        return Flaw("outdated", "DSC-1 is no pointer of an answer", "DSC-1")
    return _Wish(int(most), int(found[1]), found[2])
