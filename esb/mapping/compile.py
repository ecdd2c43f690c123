"""A mapping file, compiled: the request it makes and what it understands of the answer."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

from esb.codecs import yaml
from esb.errors import ConfigError, Finding, Outcome
from esb.mapping import values
from esb.mapping.cases import read_cases
from esb.mapping.codegen import Program
from esb.mapping.codes import Codes
from esb.mapping.evaluate import Evaluator, Failure
from esb.mapping.examples import Example, ExampleReader
from esb.mapping.parts import Parts, crowd
from esb.mapping.reader import Reader
from esb.mapping.shape import Constant, Sheet
from esb.model import Tree


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means. ``body`` when done or accepted; ``code`` when refused; ``message`` for people."""

    outcome: Outcome
    body: Tree = None
    code: str = ""
    message: str = ""
    details: MappingOf[str, Tree] = field(default_factory=dict)


class MappingError(Exception):
    """A mapping met data it cannot map. Names file, line, target field, source path and reason, never a value."""

    def __init__(self, file: str, line: int, field: str, path: str, reason: str) -> None:
        self.file, self.line, self.field, self.path, self.reason = file, line, field, path, reason
        super().__init__(f"{file}:{line}: {field}: {path + ' ' if path else ''}{reason}")


class Unreadable(ConfigError):
    """A file with mistakes; ``sheet`` is what could be read of it, so that it can be checked all the same."""

    def __init__(self, findings: Iterable[Finding], sheet: Sheet) -> None:
        super().__init__(findings)
        self.sheet = sheet


E = TypeVar("E")


class Read(NamedTuple, Generic[E]):
    """What a file says: its shapes and its examples."""

    file: str
    sheet: Sheet
    examples: tuple[E, ...]


class Compiled(ABC, Generic[E]):
    """What every compiled file has: its functions, and its sheet and examples as long as somebody needs them.

    Running needs the functions only. ``pack`` gives the rest back; it is read again from the text when a failure must
    be explained.
    """

    def __init__(self, read: Read[E], text: str, codes: Codes, parts: Parts) -> None:
        self.file = read.file
        self._text, self._codes, self._parts = zlib.compress(text.encode()), codes, parts
        self._kept: Read[E] | None = read

    @classmethod
    def read(cls, document: yaml.Document, text: str, codes: Codes, parts: Parts) -> Self:
        """Check and compile a document whose text is ``text``; raises ``ConfigError`` with every finding at once."""
        reader = Reader(document, codes, parts, text)
        read = cls._read(reader)
        if wrong := crowd(reader.uses):
            reader.find((), wrong)
        if reader.findings:
            raise Unreadable(reader.findings, read.sheet)
        try:
            return cls(read, text, codes, parts)
        except (SyntaxError, RecursionError, MemoryError):
            raise ConfigError([document.finding((), "is nested too deeply to compile")]) from None

    @property
    def sheet(self) -> Sheet:
        """The file as shapes."""
        return self._again().sheet

    @property
    def examples(self) -> tuple[E, ...]:
        """The examples of the file."""
        return self._again().examples

    @property
    def python(self) -> str:
        """The Python that the file was compiled to."""
        return Program(self.sheet).source

    @property
    def text(self) -> str:
        """The file as it was when it was loaded."""
        return zlib.decompress(self._text).decode()

    def pack(self) -> None:
        """Keep what running needs and forget the rest."""
        self._kept = None

    def _again(self) -> Read[E]:
        if self._kept is None:
            text = self.text
            self._kept = self._read(Reader(yaml.load(text, self.file), self._codes, self._parts, text))
        return self._kept

    @staticmethod
    @abstractmethod
    def _read(reader: Reader) -> Read[E]:
        """What the reader's document says; its findings are kept in it."""

    def _diagnosed(self, error: Exception, side: str) -> MappingError:
        if isinstance(error, Failure):
            where = error.expression
            return MappingError(where.file or self.file, where.line, error.target, error.path, error.reason)
        return MappingError(self.file, 1, side, "", f"cannot be computed: {type(error).__name__}")


class Mapping(Compiled[Example]):
    """One compiled file. Safe for many threads and tasks at once.

    ``action`` is the action's text when it is fixed, otherwise "". ``outcomes`` are the ones its cases can give; an
    answer that no case matches is malformed. ``refusal_codes`` are all codes that ``refused`` cases can give.
    ``request_fields`` are the names at the top of the request, for HL7 the field paths of all segments.
    """

    def __init__(self, read: Read[Example], text: str, codes: Codes, parts: Parts) -> None:
        super().__init__(read, text, codes, parts)
        sheet = read.sheet
        self.action_is_fixed = isinstance(sheet.action, Constant)
        self.action = str(sheet.action.value) if isinstance(sheet.action, Constant) else ""
        self.outcomes = frozenset(case.outcome for case in sheet.cases)
        self.refusal_codes = frozenset(sheet.codes)
        self.request_fields = tuple(sheet.names)
        self._outcomes = tuple(case.outcome for case in sheet.cases)
        functions = Program(sheet).run(read.file)
        self._action, self._request, self._response = (functions[name] for name in ("action", "request", "response"))

    def build(self, request: Tree, exchange: dict[str, Tree], site: dict[str, Tree]) -> tuple[str, Tree]:
        """Action and payload for a canonical request; raises ``MappingError``."""
        try:
            return self._action(request, exchange, site), self._request(request, exchange, site)
        except Exception:
            return self.build_slowly(request, exchange, site)

    def interpret(self, answer: Tree, request: Tree, exchange: dict[str, Tree], site: dict[str, Tree]) -> Verdict:
        """What an answer means, malformed when no case matches; raises ``MappingError`` when one cannot be computed."""
        try:
            found = self._response(answer, request, exchange, site)
        except Exception:
            return self.interpret_slowly(answer, request, exchange, site)
        if found is None:
            return self._unmatched()
        index, body, code, message, details = found
        return Verdict(self._outcomes[index], body, code, message, details)

    def build_slowly(self, request: Tree, exchange: Tree, site: Tree) -> tuple[str, Tree]:
        """The same as ``build``, by the reference evaluator."""
        sheet = self.sheet
        evaluator = Evaluator({"request": request, "exchange": exchange, "site": site})
        try:
            return evaluator.checked(sheet.action, values.action), evaluator.whole(sheet.request)
        except Exception as error:
            raise self._diagnosed(error, "request") from None

    def interpret_slowly(self, answer: Tree, request: Tree, exchange: Tree, site: Tree) -> Verdict:
        """The same as ``interpret``, by the reference evaluator."""
        cases = self.sheet.cases
        evaluator = Evaluator({"answer": answer, "request": request, "exchange": exchange, "site": site})
        try:
            found = ((case.outcome, evaluator.case(case)) for case in cases)
            return next((Verdict(outcome, *parts) for outcome, parts in found if parts), None) or self._unmatched()
        except Exception as error:
            raise self._diagnosed(error, "response") from None

    def _unmatched(self) -> Verdict:
        return Verdict(Outcome.MALFORMED, message=f"no case of {self.file} matches the answer")

    @staticmethod
    def _read(reader: Reader) -> Read[Example]:
        root = reader.root(("action", "request", "response", "examples"), ("action", "response"))
        reader.action(root.get("action", "-"))
        reader.request(root.get("request"))
        if "response" in root:
            read_cases(reader, root["response"])
        examples = ExampleReader(reader.document, reader.findings).read()
        return Read(reader.document.file, reader.sheet, examples)


def load_mapping(path: Path, codes: Codes, parts: Parts | None = None) -> Mapping:
    """Read, check and compile a mapping file; raises ``ConfigError`` with every finding at once."""
    text = yaml.read(path)
    return compile_mapping(yaml.load(text, str(path)), text, codes, parts)


def compile_mapping(document: yaml.Document, text: str, codes: Codes, parts: Parts | None = None) -> Mapping:
    """The mapping in a loaded document whose text is ``text``; raises ``ConfigError`` with every finding at once."""
    return Mapping.read(document, text, codes, parts or {})
