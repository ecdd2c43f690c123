"""Which mapping a message file belongs to, and which side of it: said by the caller, or found out and said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from esb.codecs import DecodeError
from esb.codecs.formats import FORMATS, FRAME, guess
from esb.codecs.yaml import nearest
from esb.config.settings import Settings
from esb.contract import Operation
from esb.endpoint import Endpoint
from esb.errors import AdapterError, Outcome
from esb.lint import Plan, Survey, survey
from esb.mapping import Mapping as FieldMapping
from esb.mapping import MappingError, Translation
from esb.mapping.examples import EXCHANGE
from esb.model import Tree

_RECORDED: Final = ("operation", "request", "answer", "raw", "exchange", "site")


class CannotExplainError(Exception):
    """A file that cannot be explained as asked; the text says why and what to do."""


@dataclass(slots=True)
class Chosen:
    """A message with all that is needed to follow it. ``assumed`` says what the caller did not say."""

    mapping: FieldMapping | Translation
    operation: Operation | None = None
    request: Tree = None
    has_request: bool = False
    answer: Tree = None
    has_answer: bool = False
    message: Tree = None
    exchange: dict[str, Tree] = field(default_factory=lambda: dict(EXCHANGE))
    site: dict[str, Tree] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)


class Chooser:
    """Finds the mapping of a file in a configuration."""

    def __init__(self, settings: Settings, plan: Plan, data: bytes, name: str) -> None:
        self.settings, self.plan, self.name = settings, plan, name
        self.data = data.strip(FRAME)
        self.format = guess(self.data)

    @cached_property
    def survey(self) -> Survey:
        """The translations, and the mappings of other hospitals."""
        return survey(self.settings, self.plan)

    @cached_property
    def tree(self) -> Tree:
        """The file by its own format."""
        try:
            return FORMATS[self.format].read(self.data, None)
        except DecodeError as error:
            raise CannotExplainError(f"{self.name}: {error.reason}") from None

    def choose(self, by: str | None, side: str | None, request: Tree, site: Mapping[str, Tree]) -> Chosen:
        """The mapping, the sides and their data; raises ``CannotExplainError``. ``site`` adds to the endpoint's."""
        recorded = self._recorded()
        mapping = self.named(by) if by else self._found(recorded)
        chosen = Chosen(mapping, self._operation(mapping))
        if isinstance(mapping, Translation):
            chosen.message = self._message(mapping)
            chosen.site = {**self._example_site(mapping, chosen.assumed), **site}
            return chosen
        chosen.site = {**(endpoint.site if (endpoint := self._endpoint(mapping)) else {}), **site}
        chosen.exchange["operation"] = chosen.operation.name if chosen.operation else ""
        if recorded is not None:
            self._both(chosen, recorded)
        elif (side or self._side(chosen)) == "request":
            self._asked(chosen)
        else:
            self._answered(chosen, request)
        chosen.assumed.append(f"the exchange is {chosen.exchange['id']} with the key {chosen.exchange['key']}")
        return chosen

    def _recorded(self) -> dict[str, Tree] | None:
        """An exchange written down as JSON: its operation, its request, what came back."""
        tree = self.tree if self.format in ("json", "fhir") else None
        if not isinstance(tree, dict) or "request" not in tree or not set(tree) <= set(_RECORDED):
            return None
        operation = tree.get("operation")
        if not isinstance(operation, str) or operation not in self.plan.mappings:
            return None
        for name in ("exchange", "site"):
            if not isinstance(tree.get(name) or {}, dict):
                raise CannotExplainError(f"{self.name}: '{name}' is no structure")
        return tree

    def named(self, by: str) -> FieldMapping | Translation:
        """The mapping of an operation, or the mapping or translation in a file."""
        if by in self.plan.mappings:
            return self.plan.mappings[by]
        known: dict[str, FieldMapping | Translation] = {each.file: each for each in self.plan.mappings.values()}
        known |= {**self.survey.others, **self.survey.translations}
        path = Path(by)
        found = next((each for file, each in known.items() if Path(file).absolute() == path.absolute()), None)
        if found is None:
            hint = nearest(by, [*self.plan.mappings, *known]) or "an operation, or a file under mappings/"
            raise CannotExplainError(f"there is no mapping '{by}' ({hint}){self._broken()}")
        return found

    def _broken(self) -> str:
        """What keeps files out of the choice, when something does."""
        found = self.survey.findings
        return f"\nesb lint has {len(found)} findings: {found[0]}" if found else ""

    def _found(self, recorded: dict[str, Tree] | None) -> FieldMapping | Translation:
        if recorded is not None:
            return self.plan.mappings[str(recorded["operation"])]
        candidates = dict(self._candidates())
        if len(candidates) != 1:
            names = "".join(f"\n  --by {each}" for each in candidates) or "; say which with --by"
            many = "several mappings fit:" if candidates else "no mapping fits"
            raise CannotExplainError(f"{self.name} is {self.format}: {many}{names}{self._broken()}")
        return next(iter(candidates.values()))

    def _candidates(self) -> Iterator[tuple[str, FieldMapping | Translation]]:
        for file, translation in self.survey.translations.items():
            if translation.source.format == self.format and _fits(translation.source.type, self.tree, self.format):
                yield file, translation
        for name, mapping in self.plan.mappings.items():
            if self._asks(name) or self._understood(mapping):
                yield name, mapping

    def _asks(self, name: str) -> bool:
        """Whether it is a request of that operation."""
        operation = self.plan.contract.operations[name]
        return self.format == "json" and not operation.check_request(self._typed(operation, self.tree))

    def _understood(self, mapping: FieldMapping) -> bool:
        """Whether an answer of its system can look like this, and means something."""
        try:
            answer = self._decoded(mapping)
            return mapping.interpret(answer, {}, dict(EXCHANGE), {}).outcome is not Outcome.MALFORMED
        except (CannotExplainError, MappingError):
            return False

    def _operation(self, mapping: FieldMapping | Translation) -> Operation | None:
        return None if isinstance(mapping, Translation) else self.plan.contract.operations.get(Path(mapping.file).stem)

    def _endpoint(self, mapping: FieldMapping) -> Endpoint | None:
        """The system that the mapping speaks to, or one of the same dialect."""
        routes, dialect = self.plan.routes, Path(mapping.file).parent.name
        named = [name for name, config in routes.endpoints.items() if config.dialect == dialect and not config.listens]
        return next((self.plan.endpoints[name] for name in named), None)

    @staticmethod
    def _example_site(translation: Translation, assumed: list[str]) -> Mapping[str, Tree]:
        """A translation belongs to no endpoint: what differs from hospital to hospital is as in its examples."""
        example = next((each for each in translation.examples if each.site), None)
        if example is None:
            return {}
        assumed.append(f"the site is that of the example '{example.name}'; --site NAME=VALUE changes it")
        return example.site

    def _message(self, translation: Translation) -> Tree:
        try:
            return FORMATS[translation.source.format].read(self.data, None)
        except DecodeError as error:
            raise CannotExplainError(f"{self.name} is no {translation.source.format}: {error.reason}") from None

    def _side(self, chosen: Chosen) -> str:
        operation = chosen.operation
        if self.format != "json" or operation is None:
            chosen.assumed.append(f"it is an answer, because it is {self.format}")
            return "answer"
        wrong = operation.check_request(self._typed(operation, self.tree))
        if wrong:
            reason = f"{wrong[0].pointer or '/'} {wrong[0].en}"
            chosen.assumed.append(f"it is an answer, because it is no request of {operation.name}: {reason}")
            return "answer"
        chosen.assumed.append(f"it is a request, because it satisfies the contract of {operation.name}")
        return "request"

    def _asked(self, chosen: Chosen) -> None:
        if self.format not in ("json", "fhir"):
            raise CannotExplainError(f"{self.name} is {self.format}; a canonical request is JSON")
        chosen.request, chosen.has_request = self._typed(chosen.operation, self.tree), True
        wrong = chosen.operation.check_request(chosen.request) if chosen.operation else []
        if wrong:
            chosen.assumed.append(f"the bus would refuse it: {wrong[0].pointer or '/'} {wrong[0].en}")

    def _both(self, chosen: Chosen, recorded: dict[str, Any]) -> None:
        chosen.request, chosen.has_request = self._typed(chosen.operation, recorded["request"]), True
        chosen.exchange |= recorded.get("exchange") or {}
        chosen.site |= recorded.get("site") or {}
        found = recorded.get("answer", recorded.get("raw"))
        if found is not None:
            assert isinstance(chosen.mapping, FieldMapping)
            chosen.has_answer = True
            chosen.answer = self._decoded(chosen.mapping, found) if isinstance(found, str) else found

    def _answered(self, chosen: Chosen, request: Tree) -> None:
        assert isinstance(chosen.mapping, FieldMapping)
        chosen.answer, chosen.has_answer = self._decoded(chosen.mapping), True
        chosen.request = {} if request is None else self._typed(chosen.operation, request)
        if request is None:
            chosen.assumed.append("the request that it answers is empty; --request FILE gives it")

    def _decoded(self, mapping: FieldMapping, text: str | None = None) -> Tree:
        """The answer as the mapping sees it, read by its system's adapter."""
        data = self.data if text is None else text.encode().strip(FRAME)
        endpoint = self._endpoint(mapping)
        if endpoint is None or data.startswith(b"MSH"):
            return self._plain(data)
        try:
            tree = endpoint.decode_example(_text(data))
        except (AdapterError, DecodeError) as error:
            raise CannotExplainError(f"{self.name} is no answer of {endpoint.name}: {error}") from None
        if isinstance(tree, str):
            raise CannotExplainError(f"{self.name} is no answer of {endpoint.name}")
        return tree

    def _plain(self, data: bytes) -> Tree:
        try:
            tree = FORMATS[guess(data)].read(data, None)
        except DecodeError as error:
            raise CannotExplainError(f"{self.name}: {error.reason}") from None
        return next(iter(tree.values())) if guess(data) == "xml" and isinstance(tree, dict) else tree

    @staticmethod
    def _typed(operation: Operation | None, tree: Tree) -> Tree:
        return tree if operation is None else operation.typed(tree)


def _fits(type_: str, tree: Tree, format: str) -> bool:
    """Whether a message is of the type that a translation is from; one without a type takes all."""
    if format == "hl7v2":
        code, event, structure = (tree.get("MSH", 0, 9, 1, at) or "" for at in (1, 2, 3))
        return type_ in ("", code, f"{code}_{event}", structure)
    if format == "fhir":
        return type_ in ("", tree.get("resourceType"))
    return type_ == "" or (isinstance(tree, dict) and type_ in tree)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")
