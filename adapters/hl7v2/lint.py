"""What HL7 has to say of a mapping's action and field paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from esb.codecs.hl7v2 import parse, tables
from esb.spi import Description

_ACTION = re.compile(r"[A-Z][A-Z0-9]{2}\^[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2}(_[A-Z0-9]{2,4})?)?")


def describe(action: str, version: str) -> Description:
    """The message that an action sends, whose MSH is ours to write, and any message for the answer.

    The tables do not say which message answers which, and every system may answer with an ACK, so that all segments may
    be there.
    """
    request = tables.message_type(action, version, header=False)
    return Description(request, tables.message_type("", version, header=False))


def check(action: str, fields: Sequence[str], version: str) -> Iterable[str]:
    """One sentence for each mistake that ``describe`` cannot show; a computed action (``$``) is not judged."""
    return [*_action(action, version), *(sentence for field in fields for sentence in _field(field))]


def _action(action: str, version: str) -> Iterator[str]:
    if action.startswith("$"):
        return
    if not _ACTION.fullmatch(action):
        yield f"'{action}' is no HL7 message: write type^event^structure, as in QBP^Q22^QBP_Q21"
        return
    code = action[:3]
    known = tables.message_codes(version)
    if known and not code.startswith("Z") and not tables.has_message(code, version):
        yield f"'{code}' is no HL7 message type{_hint(code, known)}"


def _field(field: str) -> Iterator[str]:
    try:
        path = parse(field)
    except ValueError as error:
        yield str(error)
        return
    if path.segment == "MSH" and path.field < 3:
        yield f"'{field}': the delimiters are not for a mapping to set"
    elif path.occurrence:
        yield f"'{field}': the place of a segment is its place in the list"


def _hint(word: str, known: Iterable[str]) -> str:
    """Three letters are too few for the usual distance: the same ones in another order come first, then one wrong."""

    def unlike(other: str) -> tuple[bool, int, str]:
        return sorted(word) != sorted(other), sum(a != b for a, b in zip(word, other, strict=False)), other

    nearest = min(known, key=unlike)
    differs, wrong, _ = unlike(nearest)
    return f"; did you mean {nearest}?" if not differs or wrong == 1 else "; a local one begins with Z"
