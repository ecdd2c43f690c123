"""The response side of a draft: which answers are a yes, and where each canonical field stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import shorten

from esb.contract import Operation
from esb.editing.convert import Converter, Pipes, is_clock
from esb.editing.leaves import Leaf, leaves
from esb.editing.match import Match, for_each_of_ours, review, scorer
from esb.editing.names import Words
from esb.editing.paths import Chain, theirs_as_path
from esb.editing.sources import Source
from esb.editing.write import Fields, Items, Line, Remark, of_tree
from esb.mapping.codes import Table

_RESULT = re.compile(
    r"(?i)(result|return|ret|resp|response|trade|biz|err|error|status)?_?(code|flag|status|success|state)"
    r"|@?(处理结果|结果|返回|应答)(代码|编码|码|标志|状态)?"
)
_FIRST_OF = 0.9
_DEEPER = 0.98


class AnswerDraft:
    """Drafts ``response``."""

    def __init__(self, operation: Operation, source: Source, words: Words, convert: Converter) -> None:
        self.operation, self.source, self.convert, self.words = operation, source, convert, words
        self.score = scorer(words, operation.name.split(".")[0])
        self.ours = leaves(operation.answer_type)
        self.hl7 = source.style == "segments"
        self.result = None if self.hl7 or source.resources else _result(source.answer)
        self.theirs = [leaf for leaf in source.answer if leaf is not self.result]
        self.names: dict[tuple[str, ...], str] = {}

    def cases(self) -> Items:
        """Every outcome that the operation can have, those that nobody told us with a placeholder as their code."""
        done = Fields()
        body = self._body()
        when = self._when(body)
        if when:
            done.add("when", when)
        done.add("done", body)
        found = Items([*self._absent(), done, *self._refusals(), *self._unavailable()])
        if len(found.entries) > 1 and not when:
            found.entries = [*found.entries[1:], found.entries[0]]
        return found

    def _body(self) -> Fields:
        """The canonical answer; of a FHIR search for one thing the first resource."""
        lists = any(leaf.lists for leaf in self.ours if len(leaf.lists) == 1 and len(leaf.path) == 2)
        if not self.source.resources or (lists and all(leaf.lists for leaf in self.ours)):
            return self._structure((), ())
        name = self.source.resources[0]
        self.names[(name,)] = _variable(name, self.names.values())
        body = Fields([("$with", Line(f"$answer | resources('{name}') | first as {self.names[(name,)]}"))])
        body.entries += self._structure((), ((name,),)).entries
        return body

    def _structure(self, prefix: tuple[str, ...], chain: Chain) -> Fields:
        """What is directly in the structure or list of ours at ``prefix``, where theirs is the loop ``chain``."""
        fields, direct = Fields(), _direct(self.ours, prefix)
        matches = {match.ours.path: match for match in self._matches(direct, chain)}
        for path in dict.fromkeys(_below(leaf, prefix) for leaf in self.ours if leaf.path[: len(prefix)] == prefix):
            leaf = next((one for one in direct if one.path == path), None)
            inside = fields.at(path[len(prefix) : -1])
            if leaf is None:
                self._list(inside, path, chain)
            else:
                self._field(inside, leaf, matches.get(path), matches)
        return fields

    def _matches(self, ours: Sequence[Leaf], chain: Chain) -> list[Match]:
        reach = {id(leaf): self._reach(leaf, chain) for leaf in self.theirs}
        theirs = [leaf for leaf in self.theirs if reach[id(leaf)]]
        return for_each_of_ours(ours, theirs, lambda our, their: self.score(our, their) * reach[id(their)])

    def _reach(self, leaf: Leaf, chain: Chain) -> float:
        """1 for what stands in a loop's item; less the deeper, and for the first of a further list; 0 elsewhere."""
        common = min(len(leaf.chain), len(chain))
        if leaf.chain[:common] != chain[:common]:
            return 0.0
        lists = [path for path in leaf.chain[len(chain) :] if path[-1] != "coding"]
        further = _FIRST_OF if lists else 1.0
        inside = len(leaf.path) - 1 - (len(chain[common - 1]) if common else 0)
        return 1.0 if self.hl7 else further * _DEEPER ** max(0, inside)

    def _list(self, inside: Fields, path: tuple[str, ...], chain: Chain) -> None:
        """A list of ours: the loop of theirs whose items are most like it; without one a list of one."""
        direct = _direct(self.ours, path)
        found = max(self._chains(chain), key=lambda one: (self._total(direct, one), -len(one)), default=None)
        if found is not None and self._total(direct, found) > 0:
            inside.add(path[-1], self._loop(path, chain, found))
            return
        matched = {match.ours.path for match in self._matches(direct, chain)}
        if direct and 3 * len(matched) >= len(direct):
            inside.add(path[-1], Items([self._structure(path, chain)]))
        else:
            inside.add(path[-1], Line([], "nothing is like it"))

    def _chains(self, chain: Chain) -> set[Chain]:
        size = len(chain)
        found = {leaf.chain[:more] for leaf in self.theirs for more in range(1, len(leaf.chain) + 1)}
        others = {one for one in found if len(one) == 1 and one[0][0] in self.source.resources and one[0] not in chain}
        return {one for one in found if len(one) > size and one[:size] == chain} | (others if chain else set())

    def _total(self, direct: Sequence[Leaf], chain: Chain) -> float:
        return sum(match.score for match in self._matches(direct, chain))

    def _loop(self, path: tuple[str, ...], chain: Chain, found: Chain) -> Fields:
        known = dict(self.names)
        fresh = found[len(chain) :] if found[: len(chain)] == chain else found
        sources = []
        for theirs in fresh:
            source = self._source(theirs)
            self.names[theirs] = _variable(theirs[-1], self.names.values())
            sources.append(f"{source} as {self.names[theirs]}")
        loop = Fields([("$each", of_tree(sources[0] if len(sources) == 1 else sources))])
        loop.entries += self._structure(path, found).entries
        self.names = known
        return loop

    def _source(self, path: tuple[str, ...]) -> str:
        if path[0] in self.source.resources and len(path) == 1:
            return f"$answer | resources('{path[0]}')"
        if self.hl7:
            return f"${path[0]}"
        return theirs_as_path(Leaf(path, self.theirs[0].type), self.names, hl7=False) + "?"

    def _field(self, inside: Fields, leaf: Leaf, match: Match | None, matches: Mapping[tuple[str, ...], Match]) -> None:
        if match is not None:
            inside.add(leaf.path[-1], self._read(match, matches))
        elif len(leaf.type.words) == 1:
            inside.add(leaf.path[-1], Line(leaf.type.words[0], "the only word that it can be"))
        elif leaf.required and any(leaf.path == one.path for one in leaves(self.operation.request_type)):
            inside.add(leaf.path[-1], Line(f"$request.{'.'.join(leaf.path)}", "as it was asked for"))
        else:
            need = "must be answered, but" if leaf.required or leaf.type.required else "is left out:"
            inside.entries.append(Remark(f"review: {leaf.path[-1]} {need} nothing is like it"))

    def _read(self, match: Match, matches: Mapping[tuple[str, ...], Match]) -> Line:
        ours, theirs = match.ours, match.theirs
        path, pipes = self._path(theirs), self.convert.reading(ours, theirs)
        day = self._day(match, matches)
        if day is not None:
            path, pipes = f"{self._path(day)} | at({path})", Pipes("", "" if is_clock(theirs) else "a time of day?")
        elif not ours.type.required:
            path += "? | filled" if theirs.type.sort == "text" and not self.hl7 else "?"
        others = ", ".join(map(self._path, match.others))
        return Line(path + pipes.text, review(match, pipes.note, others))

    def _day(self, match: Match, matches: Mapping[tuple[str, ...], Match]) -> Leaf | None:
        """The date that a time of day belongs to, where theirs is in two fields."""
        if match.ours.type.sort != "moment" or "date" in self.words.read(match.theirs.path[-1]):
            return None
        if match.theirs.type.sort not in ("text", "time", "any") or not (
            is_clock(match.theirs) or match.theirs.value is None
        ):
            return None
        return next((one.theirs for one in matches.values() if one.ours.type.sort == "date"), None)

    def _path(self, leaf: Leaf) -> str:
        return theirs_as_path(leaf, self.names, self.hl7)

    def _when(self, body: Fields) -> Line | None:
        if self.hl7:
            return Line("$MSA-1 == 'AA'", "is every AA a yes?")
        if self.source.resources and not any(
            isinstance(entry, tuple) and entry[0] == "$with" for entry in body.entries
        ):
            return None
        if self.source.resources:
            return Line(f"$answer | resources('{self.source.resources[0]}') | count == 1")
        if self.result is None:
            return None
        yes = f"{self._path(self.result)} == {_literal(self.result, self.source.answered is not None)}"
        return Line(" and ".join([yes, *self._echoes(body)]), "what is a yes?")

    def _echoes(self, body: Fields) -> Iterator[str]:
        """A yes for another one is no yes: what was asked for and is answered must be the same."""
        asked = {leaf.path[0] for leaf in leaves(self.operation.request_type) if len(leaf.path) == 1 and leaf.required}
        for entry in body.entries:
            if isinstance(entry, tuple) and entry[0] in asked and isinstance(entry[1], Line):
                said = str(entry[1].value)
                if "|" not in said and not said.startswith("$request"):
                    yield f"{said} == $request.{entry[0]}"

    def _absent(self) -> Iterator[Fields]:
        if self.source.resources and "not_found" in self.operation.refusals:
            when = Line(f"$answer | resources('{self.source.resources[0]}') | count == 0")
            yield Fields([("when", when), ("refused", Fields([("code", Line("not_found"))]))])

    def _refusals(self) -> Iterator[Fields]:
        codes = [code for code in self.operation.refusals if not (self.source.resources and code == "not_found")]
        table = self._table(set(codes)) if self.result is not None else None
        if table is not None and self.result is not None:
            told = ", ".join(f"'{code}'" for code in table.meaning)
            meant = Line(
                f"{self._path(self.result)} | meaning({table.name})",
                shorten(f"are these their codes? {table.source}", 80),
            )
            yield Fields(
                [("when", Line(f"{self._path(self.result)} in [{told}]")), ("refused", Fields([("code", meant)]))]
            )
            codes = [code for code in codes if code not in table.meanings]
        for code in codes:
            when = Line(self._answered_with(f"?{code}"), "what do they answer then?")
            yield Fields([("when", when), ("refused", Fields([("code", Line(code))]))])

    def _unavailable(self) -> Iterator[Fields]:
        if self.source.resources:
            return
        when = "$MSA-1 == 'AR'" if self.hl7 else self._answered_with("?busy")
        line = Line(when, "what do they answer when they are too busy and did nothing?")
        yield Fields([("when", line), ("unavailable", Line("the system is too busy"))])

    def _answered_with(self, code: str) -> str:
        if self.hl7:
            return f"$MSA-1 == 'AE' and $ERR-3.1? == '{code}'"
        place = "$answer | text" if self.result is None else self._path(self.result)
        return f"{place}? == '{code}'" if self.result is not None else f"$code? == '{code}'"

    def _table(self, codes: set[str]) -> Table | None:
        """The code table that gives refusals of this operation only, the most of them."""
        found = [one for one in self.convert.codes.values() if one.meanings and one.meanings <= codes]
        return max(
            found, key=lambda one: (len(one.meanings), one.name.split("_")[0] in self.convert.hint), default=None
        )


def _direct(ours: Iterable[Leaf], prefix: tuple[str, ...]) -> list[Leaf]:
    """The leaves at or below ``prefix`` that are in no further list."""
    size = len(prefix)
    return [leaf for leaf in ours if leaf.path[:size] == prefix and not any(length > size for length in leaf.lists)]


def _below(leaf: Leaf, prefix: tuple[str, ...]) -> tuple[str, ...]:
    """The leaf's own path, or that of the first list below ``prefix`` that it is in."""
    further = [size for size in leaf.lists if size > len(prefix)]
    return leaf.path[: further[0]] if further else leaf.path


def _result(answer: Sequence[Leaf]) -> Leaf | None:
    """The field at the top by which they say yes or no."""
    top = [leaf for leaf in answer if len(leaf.path) == 1 and not leaf.lists and _RESULT.fullmatch(leaf.path[0])]
    return max(top, key=lambda leaf: ("code" in leaf.path[0].lower(), len(leaf.path[0])), default=None)


def _literal(leaf: Leaf, sampled: bool) -> str:
    if isinstance(leaf.value, bool) or leaf.type.sort == "truth":
        return "true" if leaf.value is None else str(leaf.value).lower()
    if isinstance(leaf.value, int):
        return str(leaf.value)
    if leaf.type.sort == "integer":
        return "0"
    return f"'{leaf.value}'" if sampled and isinstance(leaf.value, str) else "'0'"


def _variable(name: str, taken: Iterable[str]) -> str:
    """A short name for an item of a list, none that is taken or a word of the language."""
    parts = [one.lower() for one in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name) if one.lower() != "list"]
    low = parts[-1] if parts else "row"
    used = {*taken, *_KEYWORDS}
    candidates = (low[:size] for size in range(1, len(low) + 1))
    return next((one for one in candidates if one not in used), f"{low}{len(used)}")


_KEYWORDS = (
    "answer",
    "request",
    "exchange",
    "site",
    "message",
    "as",
    "and",
    "or",
    "not",
    "in",
    "true",
    "false",
    "null",
)
