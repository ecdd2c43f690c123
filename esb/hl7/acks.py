"""Acknowledgements: reading what a peer says, and answering as a listener of the bench does."""

from __future__ import annotations

from typing import NamedTuple

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Message, decode, from_tree, to_tree


class Verdict(NamedTuple):
    """``code`` is MSA-1, ``control`` MSA-2, ``error`` ERR-3 or what older versions have in its place."""

    code: str
    control: str
    error: str


def verdict(raw: bytes) -> Verdict | None:
    """What a message says of another; None when it is no HL7 v2 or has no MSA."""
    try:
        answer = decode(raw)
    except DecodeError:
        return None
    code = answer.get("MSA", 0, 1, 1, 1)
    if code is None:
        return None
    error = answer.get("ERR", 0, 3, 1, 1) or answer.get("ERR", 0, 1, 1, 4, 1) or answer.get("MSA", 0, 6, 1, 1)
    return Verdict(code, answer.get("MSA", 0, 2, 1, 1) or "", error or "")


def acknowledgement(message: Message, code: str, control: str, now: str, text: str = "") -> bytes:
    """The answer in the version, charset and delimiters of ``message``; ``text`` becomes MSA-3."""
    tree = to_tree(message)
    rows = tree["segments"]
    assert isinstance(rows, list)
    head = rows[0]
    assert isinstance(head, list)

    def field(number: int) -> object:
        return head[number] if number < len(head) else ""

    kind = ["ACK", message.get("MSH", 0, 9, 1, 2) or ""]
    msh = ["MSH", *head[1:3], field(5), field(6), field(3), field(4), now, "", kind, control, field(11), field(12)]
    if field(18):
        msh += ["", "", "", "", "", field(18)]
    msa = ["MSA", code, field(10), *([text] if text else [])]
    return from_tree({"charset": tree["charset"], "segments": [msh, msa]}).encode()


def refusal(reason: str, control: str, now: str) -> bytes:
    """The answer to what could not be read."""
    head = ["MSH", "|", "^~\\&", "", "", "", "", now, "", "ACK", control, "P", "2.5"]
    return from_tree({"charset": "utf-8", "segments": [head, ["MSA", "AR", "", reason]]}).encode()
