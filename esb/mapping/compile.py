"""A mapping file, compiled: the request it makes and what it understands of the answer."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from pathlib import Path

from esb.codecs import yaml
from esb.codecs.yaml import Mark
from esb.errors import ConfigError, Outcome
from esb.mapping import values
from esb.mapping.cases import read_cases
from esb.mapping.codegen import Program
from esb.mapping.codes import Codes
from esb.mapping.evaluate import Evaluator, Failure
from esb.mapping.examples import Example, ExampleReader
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


class Mapping:
    """One compiled file. Safe for many threads and tasks at once.

    ``action`` is the action's text when it is fixed, otherwise "". ``outcomes`` are the ones its cases can give; an
    answer that no case matches is malformed. ``refusal_codes`` are all codes that ``refused`` cases can give.
    ``request_fields`` are the names at the top of the request, for HL7 the field paths of all segments.
    """

    def __init__(self, file: str, sheet: Sheet, examples: tuple[Example, ...]) -> None:
        self.file = file
        self.action_is_fixed = isinstance(sheet.action, Constant)
        self.action = str(sheet.action.value) if isinstance(sheet.action, Constant) else ""
        self.outcomes = frozenset(case.outcome for case in sheet.cases)
        self.refusal_codes = frozenset(sheet.codes)
        self.request_fields = tuple(sheet.names)
        self.examples = examples
        self._sheet = sheet
        program = Program(sheet)
        self.source = program.source
        functions = program.run(file)
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
        return Verdict(self._sheet.cases[index].outcome, body, code, message, details)

    def source_paths(self, side: str) -> list[tuple[str, Mark]]:
        """Every static path with its place.

        ``side`` is ``request`` (paths into the canonical request), ``answer`` (into the answer), ``site`` (into the
        endpoint's site values) or ``done`` (names at the top of ``done`` bodies).

        Paths are written ``slot.start``, ``items[].code`` for an item of a loop, ``items[0].code``, ``PID-3.1``.
        """
        return list(self._sheet.targets if side == "done" else self._sheet.sources[side])

    def build_slowly(self, request: Tree, exchange: Tree, site: Tree) -> tuple[str, Tree]:
        """The same as ``build``, by the reference evaluator."""
        evaluator = Evaluator({"request": request, "exchange": exchange, "site": site})
        try:
            return evaluator.checked(self._sheet.action, values.action), evaluator.whole(self._sheet.request)
        except Exception as error:
            raise self._diagnosed(error, "request") from None

    def interpret_slowly(self, answer: Tree, request: Tree, exchange: Tree, site: Tree) -> Verdict:
        """The same as ``interpret``, by the reference evaluator."""
        evaluator = Evaluator({"answer": answer, "request": request, "exchange": exchange, "site": site})
        try:
            found = ((case.outcome, evaluator.case(case)) for case in self._sheet.cases)
            return next((Verdict(outcome, *parts) for outcome, parts in found if parts), None) or self._unmatched()
        except Exception as error:
            raise self._diagnosed(error, "response") from None

    def _diagnosed(self, error: Exception, side: str) -> MappingError:
        if isinstance(error, Failure):
            where = error.expression
            return MappingError(self.file, where.line, where.target, error.path, error.reason)
        return MappingError(self.file, 1, side, "", f"cannot be computed: {type(error).__name__}")

    def _unmatched(self) -> Verdict:
        return Verdict(Outcome.MALFORMED, message=f"no case of {self.file} matches the answer")


def load_mapping(path: Path, codes: Codes) -> Mapping:
    """Read, check and compile a mapping file; raises ``ConfigError`` with every finding at once."""
    document = yaml.load(path)
    return compile_mapping(document, path.read_text(encoding="utf-8"), codes)


def compile_mapping(document: yaml.Document, text: str, codes: Codes) -> Mapping:
    """The mapping in a loaded document whose text is ``text``; raises ``ConfigError`` with every finding at once."""
    reader = Reader(document, codes, text)
    root = document.value
    if not isinstance(root, dict):
        raise ConfigError([document.finding((), "a mapping needs 'action' and 'response'")])
    reader.only(root, (), ("action", "request", "response", "examples"))
    for key in ("action", "response"):
        if key not in root:
            reader.find((), f"'{key}' is missing")
    reader.action(root.get("action", "-"))
    reader.request(root.get("request"))
    read_cases(reader, root.get("response", {"done": None}))
    examples = ExampleReader(document, reader.findings).read()
    if reader.findings:
        raise ConfigError(reader.findings)
    try:
        return Mapping(document.file, reader.sheet, examples)
    except (SyntaxError, RecursionError, MemoryError):
        raise ConfigError([document.finding((), "is nested too deeply to compile")]) from None
