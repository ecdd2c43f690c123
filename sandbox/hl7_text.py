"""Reading HL7 v2 frames with python-hl7 and writing answers: character sets, escapes, headers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import hl7

from sandbox.clock import local

CODECS = {
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "BIG5": "big5",
    "ASCII": "gb18030",
    "": "gb18030",
}
ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": "\\.br\\"})


def codec_of(label: str) -> str:
    """Python's codec of an MSH-18 value in any of the spellings met; GB18030 for GBK, nothing and the unknown."""
    key = label.split("~")[0].upper().replace(" ", "").replace("-", "").replace("_", "")
    return CODECS.get(key, "gb18030")


@dataclass(slots=True)
class Incoming:
    """A parsed message; `get` never fails, what is absent is an empty text."""

    message: Any
    text: str
    charset: str

    def get(self, segment: str, field: int, component: int = 1, repetition: int = 1, sub: int = 1) -> str:
        try:
            return str(self.message.extract_field(segment, 1, field, repetition, component, sub))
        except (KeyError, IndexError):
            return ""

    def repetitions(self, segment: str, field: int) -> int:
        try:
            return len(self.message.segment(segment)(field))
        except (KeyError, IndexError):
            return 0

    def raw(self, segment: str) -> str:
        """The segment as it was sent, or an empty text."""
        try:
            return str(self.message.segment(segment))
        except KeyError:
            return ""

    @property
    def kind(self) -> str:
        return f"{self.get('MSH', 9)}^{self.get('MSH', 9, 2)}"


def decode(frame: bytes) -> Incoming:
    """MSH as ASCII first, then the whole frame in its own character set, then split. Raises ValueError."""
    if frame[:3] != b"MSH" or len(frame) < 8:
        raise ValueError("a message begins with MSH")
    fields = frame.replace(b"\n", b"\r").split(b"\r", 1)[0].split(frame[3:4])
    charset = fields[17].decode("latin-1").strip() if len(fields) > 17 else ""
    text = frame.decode(codec_of(charset))
    text = text.replace("\r\n", "\r").replace("\n", "\r")
    try:
        return Incoming(hl7.parse(text), text, charset)
    except hl7.HL7Exception as error:
        raise ValueError(str(error)) from None


@dataclass(slots=True)
class Answer:
    """A message to send: text with CR after each segment, and the MSH-18 it is encoded by."""

    text: str
    charset: str

    def encoded(self) -> bytes:
        return self.text.encode(codec_of(self.charset), "replace")

    def in_charset(self, charset: str) -> Answer:
        head, mark, rest = self.text.partition("\r")
        fields = head.split("|")
        fields[17] = charset
        return Answer("|".join(fields) + mark + rest, charset)

    def as_reject(self) -> Answer:
        return Answer(self.text.replace("\rMSA|AA|", "\rMSA|AR|", 1).replace("\rMSA|AE|", "\rMSA|AR|", 1), self.charset)


def escape(text: str) -> str:
    return text.translate(ESCAPES)


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment from field number -> text that is escaped already where it must be."""
    last = max(fields, default=0)
    return "|".join([name, *(fields.get(n, "") for n in range(1, last + 1))])


def header(request: Incoming, kind: str, control_id: str, now: datetime) -> str:
    ours = (request.get("MSH", 5) or "HIS", request.get("MSH", 6) or "H1")
    theirs = (request.get("MSH", 3), request.get("MSH", 4))
    version = request.get("MSH", 12) or "2.4"
    stamp = f"{now:%Y%m%d%H%M%S}"
    fields = ["MSH", "^~\\&", *map(escape, ours + theirs), stamp, "", kind, control_id, "P", version]
    return "|".join([*fields, "", "", "", "", "CHN", request.charset])


def answer(
    request: Incoming, kind: str, control_id: str, now: datetime, segments: list[str], code: str = "AA", text: str = ""
) -> Answer:
    """MSH, MSA and the segments; MSA-2 is the request's control id."""
    msa = segment("MSA", {1: code, 2: escape(request.get("MSH", 10)), **({3: escape(text)} if text else {})})
    lines = [header(request, kind, control_id, now), msa, *segments]
    return Answer("\r".join(lines) + "\r", request.charset)


def read_time(text: str) -> datetime:
    """yyyyMMdd[HHmm[ss]] with or without a zone mark, as Shanghai time. Raises ValueError."""
    digits = text.split("+")[0].split(".")[0]
    patterns = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
    if len(digits) not in patterns:
        raise ValueError(f"not a time: {text!r}")
    return local(digits, patterns[len(digits)])
