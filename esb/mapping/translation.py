"""A message into another, whatever operation it belongs to.

from: hl7v2 ADT_A01
to: fhir Bundle
gives: {resourceType: Bundle, ...}

A bare path is a path of the message, ``$message`` the whole of it. Examples are ``{name, message, gives}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb.codecs import yaml
from esb.codecs.formats import FORMATS
from esb.codecs.yaml import PathTuple, nearest
from esb.mapping.codegen import Program
from esb.mapping.codes import Codes
from esb.mapping.compile import Compiled, MappingError, Read
from esb.mapping.evaluate import Evaluator
from esb.mapping.examples import EXCHANGE, ExampleResult, differences
from esb.mapping.expr import MESSAGE
from esb.mapping.parts import Parts
from esb.mapping.reader import Reader
from esb.model import Tree

_KEYS = ("from", "to", "gives", "examples")
_EXAMPLE_KEYS = ("name", "message", "gives", "exchange", "site")


@dataclass(frozen=True, slots=True)
class Message:
    """What a translation says of one side: a codec's name and the message's type in it, "" where it does not say."""

    format: str
    type: str


@dataclass(frozen=True, slots=True)
class TranslationExample:
    """A message, as a tree or as text on the wire, and what it becomes."""

    name: str
    line: int
    message: Tree
    gives: Tree
    exchange: Mapping[str, Tree]
    site: Mapping[str, Tree]


class Translation(Compiled[TranslationExample]):
    """A compiled translation. Safe for many threads and tasks at once."""

    def __init__(self, read: Read[TranslationExample], text: str, codes: Codes, parts: Parts) -> None:
        super().__init__(read, text, codes, parts)
        self.source, self.target = (Message(*words) for words in read.sheet.formats)
        self._translation = Program(read.sheet).run(read.file)["translation"]

    def translate(self, message: Tree, exchange: dict[str, Tree], site: dict[str, Tree]) -> Tree:
        """The message in the other form; raises ``MappingError``."""
        try:
            return self._translation(message, exchange, site)
        except Exception:
            return self.translate_slowly(message, exchange, site)

    def translate_slowly(self, message: Tree, exchange: Tree, site: Tree) -> Tree:
        """The same as ``translate``, by the reference evaluator."""
        gives = self.sheet.gives
        assert gives is not None
        try:
            return Evaluator({"message": message, "exchange": exchange, "site": site}).whole(gives)
        except Exception as error:
            raise self._diagnosed(error, "gives") from None

    @staticmethod
    def _read(reader: Reader) -> Read[TranslationExample]:
        root = reader.root(_KEYS, _KEYS[:3])
        reader.sheet.formats = tuple(_format(reader, root, key) for key in _KEYS[:2] if key in root)
        reader.sheet.gives = reader.whole(root.get("gives", {}), ("gives",), "gives", MESSAGE)
        return Read(reader.document.file, reader.sheet, tuple(_examples(reader, root.get("examples"))))


def load_translation(path: Path, codes: Codes, parts: Parts) -> Translation:
    """Read, check and compile a translation; raises ``ConfigError`` with every finding at once."""
    text = yaml.read(path)
    return Translation.read(yaml.load(text, str(path)), text, codes, parts)


def is_translation(document: yaml.Document) -> bool:
    """Whether a document is a translation and not the mapping of an operation."""
    return isinstance(document.value, dict) and not {"action", "response"} & set(document.value)


def run_translation_examples(translation: Translation) -> list[ExampleResult]:
    """Run every example of a translation."""
    return [_result(translation, example) for example in translation.examples]


def _result(translation: Translation, example: TranslationExample) -> ExampleResult:
    found = list(_differences(translation, example))
    return ExampleResult(example.name, example.line, not found, found)


def _differences(translation: Translation, example: TranslationExample) -> Iterable[str]:
    message = example.message
    try:
        if isinstance(message, str):
            message = FORMATS[translation.source.format].read(message.replace("\n", "\r").encode(), "UTF-8")
        given = translation.translate(message, dict(example.exchange), dict(example.site))
    except MappingError as error:
        yield str(error)
    except Exception as error:
        yield f"message: cannot be decoded: {error}"
    else:
        yield from differences(example.gives, given, "gives")


def _format(reader: Reader, root: Mapping[str, Any], key: str) -> tuple[str, str]:
    value = root.get(key)
    name, _, kind = value.partition(" ") if isinstance(value, str) else ("", "", "")
    if name not in FORMATS:
        hint = nearest(name, FORMATS) or f"one of {', '.join(FORMATS)}, with a type: hl7v2 ADT_A01"
        reader.find((key,), f"'{key}' must name a format, got '{value}'", hint)
    return name, kind.strip()


def _examples(reader: Reader, value: Any) -> Iterable[TranslationExample]:
    if value is None:
        return
    if not isinstance(value, list):
        reader.find(("examples",), "'examples' must be a list")
        return
    for at, entry in enumerate(value):
        path: PathTuple = ("examples", at)
        if not isinstance(entry, dict) or not {"name", "message", "gives"} <= set(entry):
            reader.find(path, "an example needs 'name', 'message' and 'gives'")
            continue
        reader.only(entry, path, _EXAMPLE_KEYS)
        exchange, site = (entry.get(key) or {} for key in ("exchange", "site"))
        if not isinstance(exchange, dict) or not isinstance(site, dict):
            reader.find(path, "'exchange' and 'site' must be structures")
            continue
        line = reader.document.mark(path).line
        yield TranslationExample(
            str(entry["name"]), line, entry["message"], entry["gives"], {**EXCHANGE, **exchange}, site
        )
