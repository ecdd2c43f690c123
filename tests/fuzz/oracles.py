"""What must hold whatever comes in: the documented errors and nothing else, in places that exist; one meaning."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from json import loads
from typing import Any
from urllib.parse import parse_qsl

from lxml import etree

from esb.codecs import EncodeError, form, hl7v2, json, xml, yaml
from esb.errors import ConfigError, Finding
from esb.mapping import Codes, Mapping, MappingError, Parts, Translation, compile_mapping
from esb.mapping.codes import read_table
from esb.mapping.examples import EXCHANGE
from esb.mapping.expr import MESSAGE, PART, REQUEST, RESPONSE, ExprError, Parser
from esb.mapping.parts import read_parts

CODES = Codes(
    {
        name: read_table(name, yaml.load(text, f"{name}.yaml"))
        for name, text in {
            "gender": "source: a test\nentries: {male: '1', female: '2'}",
            "errors": "source: a test\nentries: {full: '1', stopped: '2'}\ndefault: {meaning: full}",
        }.items()
    }
)
LIBRARY = """
identifier: {takes: [cx], gives: {value: $cx.1, system: $cx.4.2?, type: $cx.5?}}
named: {takes: [p, q], gives: {$with: $p.a? as n, $when: $n?, name: $n, of: {$use: t.identifier, cx: $q}}}
rows: {takes: [all], gives: {$each: $all as one, $when: $one.a?, v: $one.a}}
"""
PARTS: Parts = read_parts([("t", "t.yaml", LIBRARY)], CODES)
SITE = {"hospital": "H", "a": {"b": "1"}}
SCOPES = (REQUEST, RESPONSE, PART, MESSAGE, REQUEST.bind("a", "item0"))


def expression(text: str) -> None:
    """The parser gives a tree or a mistake at a character of the text."""
    for scope in SCOPES:
        for read in (Parser.whole, Parser.naming):
            try:
                read(Parser(text, scope, CODES))
            except ExprError as error:
                _at_a_character(error, text)


def _at_a_character(error: ExprError, text: str) -> None:
    assert 0 <= error.offset <= len(text), (text, error.offset)
    assert error.message


def file(text: str) -> Mapping | Translation | None:
    """A file, as mapping, translation and library, is compiled or has findings that stand in it."""
    found: Mapping | Translation | None = None
    for read in (_mapping, _translation, _library):
        try:
            found = read(text) or found
        except ConfigError as error:
            all_inside(error.findings, text)
    return found


def all_inside(findings: Sequence[Finding], text: str) -> None:
    """There are findings, and their places are in the text; there is an empty line after the last line end."""
    lines = text.split("\n")
    assert findings
    for finding in findings:
        assert finding.file == "fuzz.yaml", finding
        assert 1 <= finding.line <= len(lines), finding
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1, finding
        assert finding.message


def _mapping(text: str) -> Mapping:
    return compile_mapping(yaml.load(text, "fuzz.yaml"), text, CODES, PARTS)


def _translation(text: str) -> Translation:
    return Translation.read(yaml.load(text, "fuzz.yaml"), text, CODES, PARTS)


def _library(text: str) -> None:
    read_parts([("fuzz", "fuzz.yaml", text)], CODES)


def runs(compiled: Mapping | Translation, request: Any, answer: Any) -> Iterable[Any]:
    """What was computed, compiled and by the reference alike."""
    if isinstance(compiled, Translation):
        yield from _translated(compiled, request)
        yield from _translated(compiled, answer)
        return
    yield from same(
        lambda: compiled.build(request, EXCHANGE, SITE),
        lambda: compiled.build_slowly(request, EXCHANGE, SITE),
        lambda: (compiled._action(request, EXCHANGE, SITE), compiled._request(request, EXCHANGE, SITE)),
    )
    yield from same(
        lambda: _parts(compiled.interpret(answer, request, EXCHANGE, SITE)),
        lambda: _parts(compiled.interpret_slowly(answer, request, EXCHANGE, SITE)),
        lambda: _found(compiled, compiled._response(answer, request, EXCHANGE, SITE)),
    )


def _translated(compiled: Translation, message: Any) -> Iterable[Any]:
    return same(
        lambda: compiled.translate(message, EXCHANGE, SITE),
        lambda: compiled.translate_slowly(message, EXCHANGE, SITE),
        lambda: compiled._translation(message, EXCHANGE, SITE),
    )


def _parts(verdict: Any) -> tuple[Any, ...]:
    return verdict.outcome, verdict.body, verdict.code, verdict.message, verdict.details


def _found(compiled: Mapping, found: Any) -> tuple[Any, ...]:
    if found is None:
        return _parts(compiled._unmatched())
    index, *parts = found
    return compiled._outcomes[index], *parts


def same(public: Callable[[], Any], slow: Callable[[], Any], fast: Callable[[], Any]) -> Iterable[Any]:
    """All give the same tree, or the first two the same ``MappingError``; ``fast`` may give up with any error."""
    found, wanted = outcome(public), outcome(slow)
    assert found == wanted, (found, wanted)
    with contextlib.suppress(Exception):
        computed = exact(fast())
        assert computed == wanted, Differs(computed, wanted)
    if not isinstance(wanted, str):
        yield public()


class Differs(AssertionError):
    """Compiled code gave another tree than the reference."""


def outcome(call: Callable[[], Any]) -> Any:
    """The exact result, or the sentence of a ``MappingError``; every other error is a finding."""
    try:
        return exact(call())
    except MappingError as error:
        return _sentence(error)


def _sentence(error: MappingError) -> str:
    assert error.line >= 1
    assert len(str(error)) < 5_000, "an error tells no value"
    return str(error)


def exact(tree: Any) -> Any:
    """A tree in which 1, 1.0 and true differ and the order of fields counts."""
    if isinstance(tree, hl7v2.Group | hl7v2.Message):
        return (type(tree), [segment.text for segment in tree])
    if isinstance(tree, hl7v2.Segment):
        return (type(tree), tree.text)
    if isinstance(tree, dict):
        return (dict, [(key, exact(value)) for key, value in tree.items()])
    if isinstance(tree, list | tuple):
        return (list, [exact(item) for item in tree])
    return (type(tree), tree) if isinstance(tree, str | int | Decimal | None) else (type(tree), id(tree))


def written(text: str) -> None:
    """A text that a mapping lets through comes back from each codec as it was, or is refused."""
    with contextlib.suppress(EncodeError):
        message = hl7v2.build([{"MSH-9.1": "ADT"}, {"PID-3.1": "before", "PID-5.1": text, "PID-8": "after"}])
        again = hl7v2.decode(message.encode())
        segments = [segment.name for segment in again]
        assert segments == ["MSH", "PID"], segments
        patient = again.segments("PID")[0]
        assert (patient.get(3), patient.get(8), patient.repetitions(5)) == ("before", "after", 1 if text else 0)
        read = patient.get(5, 1, 1)
        assert read == (text or None) or "\\" in text, (text, read)
    for charset in ("utf-8", "gbk", "gb18030"):
        _xml(text, charset)
        _form(text, charset)
    with contextlib.suppress(EncodeError):
        assert loads(json.encode({"a": text})) == {"a": text}


def _xml(text: str, charset: str) -> None:
    with contextlib.suppress(EncodeError):
        tree = {"@k": text, "t": [text, {"#cdata": text}], "after": "x"}
        data = xml.encode(tree, "r", charset=charset, declaration=True)
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False))
        assert [child.tag for child in root] == ["t", "t", "after"]
        assert [root.get("k"), *[child.text or "" for child in root]] == [text, text, text, "x"]


def _form(text: str, charset: str) -> None:
    with contextlib.suppress(EncodeError):
        data = form.encode({"a": text, "b": "after"}, charset=charset)
        assert parse_qsl(data.decode("ascii"), keep_blank_values=True, encoding=charset) == [
            ("a", text),
            ("b", "after"),
        ]


def encoded(trees: Sequence[Any]) -> None:
    """A tree is written by every codec or refused."""
    for tree in trees:
        for write in (
            hl7v2.build,
            lambda given: xml.encode(given, "r", charset="gbk"),
            form.encode,
            json.encode,
        ):
            with contextlib.suppress(EncodeError):
                write(tree)
