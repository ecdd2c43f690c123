"""``esb new mapping``: a mapping drafted from names, types and samples, with a remark at everything that is guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from esb.codecs import hl7v2, yaml
from esb.codecs.hl7v2 import Message
from esb.contract import Contract, Operation
from esb.editing.answers import AnswerDraft
from esb.editing.convert import Converter
from esb.editing.examples import example_request
from esb.editing.leaves import Leaf, leaves
from esb.editing.match import Match, for_each_of_theirs, review, scorer
from esb.editing.names import Words
from esb.editing.paths import ours_as_path, target
from esb.editing.persons import replaced, strangers
from esb.editing.schemas import MARK
from esb.editing.sources import Source
from esb.editing.write import Fields, Items, Line, Remark, document, of_tree
from esb.errors import Outcome
from esb.mapping import Codes, MappingError, compile_mapping
from esb.mapping import Mapping as FieldMapping
from esb.mapping.examples import EXCHANGE
from esb.model import Tree
from esb.types import Type

_CODE = re.compile(r"[A-Za-z][A-Za-z@._-]{0,15}[0-9]{0,2}|[0-9]{1,2}|[\u4e00-\u9fff]{2,8}")
_PERSONAL = frozenset({"name", "patient", "phone", "address", "birth", "document", "identity"})


@dataclass(frozen=True, slots=True)
class Drafter:
    """Drafts mappings of one contract; ``hint`` names the system."""

    contract: Contract
    codes: Codes
    words: Words
    hint: str = ""

    def draft(self, operation: Operation, source: Source, schema: str) -> str:
        """The text of a mapping that compiles; ``schema`` is the path to its editors' schema."""
        convert = Converter(self.codes, self.words, f"{source.adapter} {self.hint}")
        request = _Request(operation, source, self.words, convert).node()
        response = AnswerDraft(operation, source, self.words, convert).cases()
        root = Fields([Remark(f"{MARK.removeprefix('# ')}{schema}"), *_head(source)])
        root.add("action", Line(source.action, source.doubt))
        if request.entries:
            root.add("request", request)
        root.add("response", response)
        root.add("examples", self._examples(operation, source, document(root)))
        return document(root)

    def _examples(self, operation: Operation, source: Source, text: str) -> Items:
        """What the draft makes of the contract's example and of the sample answer: to be corrected, not trusted."""
        mapping = compile_mapping(yaml.load(text, "draft"), text, self.codes)
        given = example_request(self.contract, operation)
        found = Fields([("name", Line(f"drafted from {source.name}", "what does it show?")), ("given", of_tree(given))])
        remarks: list[Remark] = []
        try:
            found.add("sends", of_tree(mapping.build(given, dict(EXCHANGE), {})[1]))
        except MappingError as error:
            remarks.append(Remark(f"review: nothing can be sent yet: {error.field}: {error.path} {error.reason}"))
        if source.answered is not None:
            remarks += _answered(found, mapping, source, operation, given)
        shown = {name for name, _ in (entry for entry in found.entries if isinstance(entry, tuple))}
        missing = sorted(str(outcome) for outcome in mapping.outcomes if str(outcome) not in shown)
        if missing:
            remarks.append(Remark(f"review: outcomes without an example: {', '.join(missing)}"))
        return Items([*remarks, found] if {"sends", "answer"} & shown else [*remarks])


def _head(source: Source) -> Iterable[Remark]:
    yield Remark(f"Drafted from {source.name}: every line with 'review' is a guess with its likeness, 1.00 at most.")


def _answered(found: Fields, mapping: FieldMapping, source: Source, operation: Operation, given: Tree) -> list[Remark]:
    """Add the sample answer with what the draft makes of it; patients' texts that it finds become made-up ones."""
    answer, text = source.answered, re.sub("\r\n?", "\n", source.answer_text)
    try:
        verdict = mapping.interpret(answer, given, dict(EXCHANGE), {})
        known = strangers(verdict.body, operation.answer_phi)
        text = replaced(text, known)
        if isinstance(answer, Message):
            answer = hl7v2.decode(text.replace("\n", "\r").encode(), "UNICODE UTF-8")
        else:
            answer = replaced(answer, known)
        verdict = mapping.interpret(answer, given, dict(EXCHANGE), {})
    except MappingError as error:
        return [Remark(f"review: the sample answer is not understood yet: {error.field}: {error.path} {error.reason}")]
    found.add("answer", Line(text) if isinstance(answer, Message) else of_tree(answer))
    if verdict.outcome in (Outcome.DONE, Outcome.ACCEPTED):
        found.add(verdict.outcome, of_tree(verdict.body))
    else:
        found.add(verdict.outcome, of_tree({"code": verdict.code} if verdict.code else True))
    return []


class _Request:
    def __init__(self, operation: Operation, source: Source, words: Words, convert: Converter) -> None:
        self.operation, self.source, self.words, self.convert = operation, source, words, convert
        self.ours = [*leaves(operation.request_type), *_EXCHANGE, *map(_site, source.site)]

    def node(self) -> Fields | Items:
        """What is sent, in the order and form of the system."""
        score = scorer(self.words, self.operation.name.split(".")[0], sending=True)
        matches = {match.theirs.path: match for match in for_each_of_theirs(self.ours, self.source.request, score)}
        node = self._search(matches) if self.source.style == "search" else self._tree(matches)
        used = {match.ours.path for match in matches.values()}
        left = [leaf for leaf in self.ours if leaf.path not in used and leaf.path[0] not in ("exchange", "site")]
        node.entries += [Remark(f"review: {ours_as_path(leaf)} is not sent") for leaf in left]
        return node

    def _tree(self, matches: Mapping[tuple[str, ...], Match]) -> Fields | Items:
        segments: dict[str, Fields] = {}
        root = Fields()
        for leaf in self.source.request:
            if self.source.style == "segments":
                inside = segments.setdefault(leaf.path[0], Fields())
            else:
                body = ("body",) if self.source.style == "body" else ()
                inside = root.at((*body, *leaf.path[:-1]))
            self._field(inside, leaf, matches.get(leaf.path))
        return Items(list(segments.values())) if self.source.style == "segments" else root

    def _search(self, matches: Mapping[tuple[str, ...], Match]) -> Fields:
        """Search parameters: only those that are alike; a resource can be searched by dozens."""
        root = Fields()
        for leaf in self.source.request:
            if leaf.path == ("date",) and len(self._period()) > 1:
                root.add("date", Items([Line(said, "dates from and to?") for said in self._period()]))
            elif leaf.path in matches:
                self._field(root, leaf, matches[leaf.path])
        return root

    def _period(self) -> list[str]:
        """The dates of ours between which something is searched for, as FHIR writes them."""
        signs = {"begin": "ge", "end": "le"}
        dates = [leaf for leaf in self.ours if leaf.type.sort == "date"]
        named = [(leaf, self.words.read(leaf.path[-1]) & signs.keys()) for leaf in dates]
        return [
            f"{ours_as_path(leaf)}{'' if leaf.required else '?'} | prefix('{signs[word]}')"
            for leaf, one in named
            for word in one
        ]

    def _field(self, inside: Fields, leaf: Leaf, match: Match | None) -> None:
        name = target(leaf, self.source.style)
        if match is not None:
            inside.add(name, self._sent(match))
        elif self._is_constant(leaf):
            inside.add(name, Line(leaf.value, "as in the sample"))
        else:
            need = "must be sent, but" if leaf.required else "is left out:"
            inside.entries.append(Remark(f"review: {name} {need} nothing is like it{_told(leaf)}"))

    def _sent(self, match: Match) -> Line:
        ours = match.ours
        pipes = self.convert.sending(ours, match.theirs, self._dated(match.theirs))
        missing = "" if ours.required else "?"
        others = ", ".join(ours_as_path(leaf) for leaf in match.others)
        return Line(f"{ours_as_path(ours)}{missing}{pipes.text}", review(match, pipes.note, others))

    def _is_constant(self, leaf: Leaf) -> bool:
        """Whether a value of a sample is rather a word of the interface than somebody's data."""
        named = self.words.read(leaf.path[-1]).union(*map(self.words.read, leaf.titles[-1:]))
        if not isinstance(leaf.value, str) or not _CODE.fullmatch(leaf.value) or named & _PERSONAL:
            return False
        return not self.words.may_be_person(leaf.value)

    def _dated(self, leaf: Leaf) -> bool:
        """Whether a date stands beside it in a field of its own."""
        beside = (one for one in self.source.request if one.path[:-1] == leaf.path[:-1] and one is not leaf)
        return any("date" in self.words.read(one.path[-1]) for one in beside)


def _told(leaf: Leaf) -> str:
    title = leaf.titles[-1] if leaf.titles else ""
    return f" ({title})" if title else ""


def _site(name: str) -> Leaf:
    return Leaf(("site", name), Type("text"), ("", ""), required=True)


def _exchange(name: str, type_: Type) -> Leaf:
    return Leaf(("exchange", name), type_, ("", type_.title), required=True)


_EXCHANGE = (
    _exchange("id", Type("text", title="Query tag / Message control id / Trace id")),
    _exchange("now", Type("moment", title="Query date time / Message time / Send time / Timestamp")),
)
