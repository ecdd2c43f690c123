"""``esb hl7 validate``: what is wrong with messages, as an ERR segment would say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from esb.codecs.hl7v2.faults import CODES, Fault
from esb.codecs.hl7v2.profile import Profile
from esb.codecs.hl7v2.validate import validate
from esb.hl7.sources import Piece, Unreadable, read, wanted
from esb.model import Tree


@dataclass(frozen=True, slots=True)
class Checked:
    """One message, with its faults or why it could not be read."""

    piece: Piece
    faults: tuple[Fault, ...] = ()
    error: Unreadable | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether there is more than warnings."""
        return self.error is not None or any(fault.severity == "E" for fault in self.faults)

    def tree(self) -> dict[str, Tree]:
        """As a JSON line."""
        head: dict[str, Tree] = {"file": self.piece.file, "number": self.piece.number, "offset": self.piece.offset}
        if self.error is not None:
            return {**head, "error": self.error.tree()}
        return {**head, "faults": [_tree(fault) for fault in self.faults]}

    def lines(self) -> Iterator[str]:
        """For people, one a fault."""
        place = f"{self.piece.file}:{self.piece.number}"
        if self.error is not None:
            yield f"{place}: {self.error}"
        for fault in self.faults:
            kind = "" if fault.severity == "E" else "warning: "
            yield f"{place}: {kind}{fault.path} {fault.text} ({fault.code})"


@dataclass(slots=True)
class Counts:
    """Over all messages."""

    messages: int = 0
    wrong: int = 0
    unreadable: int = 0
    errors: int = 0
    warnings: int = 0
    codes: Counter[int] = field(default_factory=Counter)

    def add(self, checked: Checked) -> None:
        self.messages += checked.piece.kind == "message"
        self.wrong += checked.is_wrong and checked.piece.kind == "message"
        self.unreadable += checked.error is not None
        for fault in checked.faults:
            self.errors += fault.severity == "E"
            self.warnings += fault.severity == "W"
            self.codes[fault.code] += 1

    def tree(self) -> dict[str, Tree]:
        """As JSON."""
        codes: dict[str, Tree] = {str(code): count for code, count in sorted(self.codes.items())}
        names = ("messages", "wrong", "unreadable", "errors", "warnings")
        return {**{name: getattr(self, name) for name in names}, "codes": codes}

    def text(self) -> str:
        """The same for people."""
        codes = "".join(f"\n{code} {CODES.get(code, '')}: {count}" for code, count in sorted(self.codes.items()))
        unread = f", {self.unreadable} places unreadable" if self.unreadable else ""
        counts = f"{self.errors} errors, {self.warnings} warnings"
        return f"{self.messages} messages, {self.wrong} wrong{unread}; {counts}{codes}"


def check(pieces: Iterable[Piece], charset: str, version: str, profile: Profile | None) -> Iterator[Checked]:
    """Every message in order. Raises ``LookupError`` where hl7apy is needed and not installed."""
    for piece in wanted(pieces):
        message = read(piece, charset)
        if isinstance(message, Unreadable):
            yield Checked(piece, error=message)
        else:
            yield Checked(piece, tuple(validate(message, version, profile)))


def _tree(fault: Fault) -> dict[str, Tree]:
    return {
        "path": fault.path,
        "location": dict(fault.location),
        "code": fault.code,
        "meaning": CODES.get(fault.code, ""),
        "severity": fault.severity,
        "text": fault.text,
    }
