"""Which event a message becomes, or which operation answers it, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from esb.codecs import json
from esb.contract import Event, Operation
from esb.mapping import MappingError, Translation
from esb.model import Tree
from esb.spi import Flaw


class FlawError(Exception):
    """A message that cannot become the event."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.text)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Callback:
    """One line of ``callbacks`` with its parts. ``mapped_by`` is the translation's file with its digest."""

    name: str
    on: tuple[str, ...]
    event: Event
    translation: Translation
    site: Mapping[str, Tree]
    mapped_by: str

    def make(self, message: Tree, exchange: dict[str, Tree]) -> bytes:
        """The event as JSON; raises ``FlawError``."""
        try:
            body = self.translation.translate(message, exchange, dict(self.site))
        except MappingError as error:
            raise FlawError(_flaw(error)) from None
        if errors := self.event.check(body):
            more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
            raise FlawError(Flaw("event_wrong", f"{errors[0].pointer} of the event {errors[0].en}{more}"))
        return json.encode(body)


@dataclass(frozen=True, slots=True)
class Question:
    """A line of ``callbacks`` that answers: ``translation`` makes the operation's request, ``answer`` the rows."""

    name: str
    on: tuple[str, ...]
    operation: Operation
    translation: Translation
    answer: Translation
    site: Mapping[str, Tree]
    mapped_by: str

    def request(self, message: Tree, exchange: dict[str, Tree]) -> dict[str, Tree]:
        """What the operation is asked; raises ``FlawError``."""
        try:
            asked = self.translation.translate(message, exchange, dict(self.site))
        except MappingError as error:
            raise FlawError(_flaw(error)) from None
        return asked if isinstance(asked, dict) else {}

    def rows(self, body: Tree, exchange: dict[str, Tree]) -> list[Tree]:
        """What was found, a row each; raises ``MappingError``."""
        rows = self.answer.translate(body, exchange, dict(self.site))
        return rows if isinstance(rows, list) else [rows]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Those of one listener. ``version`` is the configuration's."""

    by_kind: Mapping[str, Callback | Question] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def of(cls, callbacks: Iterable[Callback | Question], version: str) -> Callbacks:
        return cls({kind: callback for callback in callbacks for kind in callback.on}, version)

    def question(self, kind: str) -> Question | None:
        """The callback for that kind where it answers."""
        found = self.by_kind.get(kind) or self.by_kind.get(kind.partition("^")[0])
        return found if isinstance(found, Question) else None

    def find(self, kind: str) -> Callback:
        """The callback for ``ORU^R01``, else the one for all of ``ORU``; raises ``FlawError``."""
        found = self._find(kind)
        if isinstance(found, Callback):
            return found
        raise FlawError(Flaw("unwanted", "this kind of message is a question, and this one asks nothing"))

    def _find(self, kind: str) -> Callback | Question:
        found = self.by_kind.get(kind)
        if found is not None:
            return found
        type_, _, event = kind.partition("^")
        if type_ in self.by_kind:
            return self.by_kind[type_]
        if any(known.partition("^")[0] == type_ for known in self.by_kind):
            raise FlawError(Flaw("unwanted_event", f"no callback is for the event {event[:20]!r} of {type_[:20]}"))
        raise FlawError(Flaw("unwanted", f"no callback is for messages of type {type_[:20]!r}"))


def _flaw(error: MappingError) -> Flaw:
    path = error.path.removeprefix("$").removeprefix("message.").replace("[*]", "")
    code = "field_wrong"
    if error.reason == "is missing":
        code = "field_missing"
    elif error.reason.startswith(("code(", "meaning(")):
        code = "code_unknown"
    return Flaw(code, f"{path or error.field} {error.reason}", path)
