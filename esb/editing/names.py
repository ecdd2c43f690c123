"""How alike two names are: cut into words, and the words read as concepts, whatever their language or abbreviation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from esb.codecs import yaml

OWN = Path(__file__).with_name("words.yaml")
_GENERIC = 0.5
_CONTEXT = 0.8
_ASCII = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_RUNS = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_LEAST_PREFIX = 3
_LONGEST_PINYIN = 12
_LONGEST_NAME = 4


@dataclass(frozen=True, slots=True)
class Name:
    """A field's name as concepts: ``own`` of itself, ``around`` of what it stands in."""

    own: frozenset[str]
    around: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Words:
    """A glossary: concepts by the words for them, Pinyin initials and phrases as concepts.

    ``search`` has FHIR's search parameters with what they ask for, ``surnames`` what a Chinese name may begin with.
    """

    generic: frozenset[str]
    ignored: frozenset[str]
    concepts: Mapping[str, str]
    phrases: Mapping[str, tuple[str, ...]]
    pinyin: Mapping[str, tuple[str, ...]]
    chinese: tuple[str, ...]
    search: Mapping[str, str]
    surnames: frozenset[str]
    _read: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def may_be_person(self, text: str) -> bool:
        """Whether a Chinese text may be somebody's name."""
        return 2 <= len(text) <= _LONGEST_NAME and text[0] in self.surnames

    def read(self, text: str) -> frozenset[str]:
        """The concepts of a name: ``DeptCode``, ``DEPT_CODE``, ``KSDM`` and ``科室代码`` are department and number."""
        if text not in self._read:
            self._read[text] = frozenset(self._concepts(text))
        return self._read[text]

    def _concepts(self, text: str) -> Iterable[str]:
        whole = re.sub(r"[^0-9a-z]", "", text.lower())
        if whole in self.phrases:
            return self.phrases[whole]
        found = [one for run in _RUNS.findall(text) for one in (self._ascii(run) if run.isascii() else self._cut(run))]
        return [one for one in found if one not in self.ignored]

    def _ascii(self, text: str) -> Iterable[str]:
        for word in _ASCII.findall(text):
            low = word.lower()
            if low in self.ignored:
                continue
            pieces = () if low in self.concepts else self._initials(word.upper())
            yield from pieces or (self._concept(low),)

    def _concept(self, word: str) -> str:
        """The concept of a word; of one that is not known, of the one word that it shortens; else the word itself."""
        if word in self.concepts or word.isdigit():
            return self.concepts.get(word, "") or word
        singular = word[:-1] if word.endswith("s") else word
        if singular in self.concepts:
            return self.concepts[singular]
        longer = {self.concepts[one] for one in self.concepts if one.startswith(word) and len(word) >= _LEAST_PREFIX}
        return longer.pop() if len(longer) == 1 else singular

    def _initials(self, word: str) -> tuple[str, ...]:
        """Pinyin initials, the longest first; nothing when they do not make up the whole word."""
        if len(word) > _LONGEST_PINYIN:
            return ()
        if word in self.pinyin:
            return self.pinyin[word]
        for size in range(len(word) - 1, 1, -1):
            rest = self._initials(word[size:]) if word[:size] in self.pinyin else ()
            if rest:
                return (*self.pinyin[word[:size]], *rest)
        return ()

    def _cut(self, text: str) -> Iterable[str]:
        """Chinese text cut into the longest words that are known; what is between them is left out."""
        at = 0
        while at < len(text):
            word = next((one for one in self.chinese if text.startswith(one, at)), "")
            if word:
                yield self.concepts[word]
            at += len(word) or 1

    def alike(self, ours: Name, theirs: Name) -> float:
        """From 0 to 1: how much of both names the other one says, itself or by what it stands in."""
        common = ours.own & (theirs.own | theirs.around) | (theirs.own & ours.around)
        if not common or (common <= self.generic and ours.own != theirs.own):
            return 0.0
        said = self._said(ours.own, theirs) + self._said(theirs.own, ours)
        return said / (self._weight(ours.own) + self._weight(theirs.own))

    def _said(self, words: frozenset[str], other: Name) -> float:
        beside = (words - other.own) & other.around
        return self._weight(words & other.own) + _CONTEXT * self._weight(beside)

    def _weight(self, words: Iterable[str]) -> float:
        return sum(_GENERIC if word in self.generic else 1.0 for word in words)


def load_words(*others: Path) -> Words:
    """Our glossary with a hospital's own added to it; raises ``ConfigError``."""
    trees = [_own(), *(yaml.load(path).value for path in others)]
    spoken = {spelt.lower(): concept for tree in trees for concept, spelt in _spellings(tree)}
    return Words(
        generic=frozenset(word for tree in trees for word in tree.get("generic", ())),
        ignored=frozenset(word for tree in trees for word in tree.get("ignored", ())),
        concepts=spoken,
        phrases={key: tuple(said.split()) for tree in trees for key, said in tree.get("phrases", {}).items()},
        pinyin={key.upper(): tuple(said.split()) for tree in trees for key, said in tree.get("pinyin", {}).items()},
        chinese=tuple(sorted((word for word in spoken if not word.isascii()), key=len, reverse=True)),
        search={name: title for tree in trees for name, title in tree.get("search", {}).items()},
        surnames=frozenset(one for tree in trees for one in tree.get("surnames", "") if one.isalpha()),
    )


@lru_cache(1)
def _own() -> Any:
    return yaml.load(OWN).value


def _spellings(tree: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for concept, spellings in tree.get("concepts", {}).items():
        yield concept, concept
        yield from ((concept, spelling.replace("_", "")) for spelling in spellings)
